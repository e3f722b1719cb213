//! R68, R69, B34: calls that fail, do half, or do something else than they say.

use std::io::{self, Write};

use rustix::io::Errno;

use super::crash::{Scenario, expected, kept_in, scenarios};
use super::faulty::Fault;
use super::*;

/// The index of the call from which on the operation has succeeded, if the calls before it did.
fn done_from(scenario: &Scenario) -> usize {
    let disk = scenario.disk(&scenario.start);
    (scenario.act)(&scenario.journal(&disk)).unwrap();
    let calls = disk.calls();
    let Some(commit) = calls.iter().position(|call| *call == format!("rename {NEW} {FILE}")) else {
        return calls.len();
    };
    commit + 2 // the commit, and syncing the directory
}

/// Lets calls go wrong in one way, each in turn; returns how many.
fn fail_each(scenario: &Scenario, fault: fn(usize) -> Fault, is_retried: fn(&str) -> bool) -> usize {
    let done_from = done_from(scenario);
    let old = scenario.start.read(FILE);
    let new = Some(scenario.new.to_owned());
    for call in 0.. {
        let disk = scenario.disk(&scenario.start).with_fault(fault(call));
        let journal = scenario.journal(&disk);
        let result = (scenario.act)(&journal);
        let Some(failed) = disk.calls().get(call).cloned() else {
            result.unwrap();
            return call;
        };
        let context = format!("{}: call {call}, {failed}: {result:?}", scenario.name);

        // An error is never swallowed before the new content is certain to last.
        assert_eq!(result.is_ok(), is_retried(&failed) || call >= done_from, "{context}");
        let content = disk.seen().read(FILE);
        if result.is_ok() || call + 1 == done_from {
            assert_eq!(content, new, "{context}");
        } else {
            assert!(content == old || content == new, "{context}");
        }
        disk.heal();
        for image in disk.images() {
            let after = scenario.disk(&image);
            let recovered = scenario.journal(&after).recover();
            let content = after.seen().read(FILE);
            assert!(content == new || (result.is_err() && content == old), "{context}: {content:?}");
            assert_eq!(recovered.is_ok(), content.is_some(), "{context}");
        }

        // A change that fails before its commit puts everything back at once.
        let fails_once = matches!(fault(call), Fault::Once(..) | Fault::Short(_));
        if fails_once && result.is_err() && call + 1 < done_from && scenario.name.contains("change") {
            let seen = disk.seen();
            assert_eq!(seen.links(FILE), 1, "{context}");
            assert_eq!((seen.read(NEW), seen.read(COPY)), (None, None), "{context}");
        }

        // Nor does a power failure during the repair lose anything, or a generation too many.
        if let Some(content) = &content {
            for cut in 0.. {
                let fork = disk.fork().with_fault(Fault::Crash(cut));
                let done = scenario.journal(&fork).recover().is_ok();
                for image in fork.images() {
                    let found = expected(&image);
                    assert!(
                        found.as_ref() == Some(content) || (!done && found == old),
                        "{context}, cut at {cut}"
                    );
                    let Some(found) = found else { continue };
                    let after = scenario.disk(&image);
                    scenario.journal(&after).recover().unwrap();
                    assert_eq!(after.seen().read(FILE).as_ref(), Some(&found), "{context}, cut at {cut}");
                    scenario.assert_kept(&after.seen(), &found);
                }
                if fork.calls().len() <= cut {
                    break;
                }
            }
        }

        // Without a repair in between, the next one goes well.
        let content = expected(&disk.seen());
        let next = match content {
            Some(_) => change_to(&journal, "next").map(drop),
            None => create(&journal, "next"),
        };
        let is_marked = disk.seen().read(LOCK).is_some_and(|mark| !mark.is_empty());
        if let (None, Err(error)) = (&content, &next) {
            // A creation that failed after the mark: nobody but the owner can know that nothing was lost.
            assert!(is_marked && error.code() == "seal.missing", "{context}: {error}");
            continue;
        }
        next.unwrap();
        let after = disk.seen();
        assert_eq!(after.read(FILE).as_deref(), Some("next"), "{context}");
        assert_eq!(kept_in(&after).first(), content.as_ref(), "{context}");
        assert_eq!((after.read(NEW), after.read(COPY)), (None, None), "{context}");
    }
    unreachable!()
}

/// R68, B34: each call fails in each way, once and for good.
#[test]
fn every_call_may_fail() {
    let is_io = |call: &str| call == "read" || call == "write";
    let mut failures = 0;
    for scenario in scenarios() {
        for fault in [
            |call| Fault::Once(call, Errno::IO),
            |call| Fault::Once(call, Errno::NOSPC),
            |call| Fault::From(call, Errno::IO),
            |call| Fault::From(call, Errno::NOSPC),
        ] {
            failures += fail_each(&scenario, fault, |_| false);
        }
        failures += fail_each(&scenario, |call| Fault::Once(call, Errno::INTR), is_io);
        failures += fail_each(&scenario, Fault::Short, |_| true);
    }
    let _ = writeln!(io::stderr(), "{failures} calls failed");
    assert!(failures > 1_000, "only {failures}");
}

/// R69: a disk that stores something else than was written is found out before anything old is given up, whichever bit it is,
/// and also where the old content had to be copied.
#[test]
fn a_disk_that_lies_is_caught() {
    for scenario in scenarios().iter().filter(|scenario| scenario.name.starts_with("change")) {
        let disk = scenario.disk(&scenario.start);
        (scenario.act)(&scenario.journal(&disk)).unwrap();
        let calls = disk.calls();
        let syncs = calls.iter().enumerate().filter(|(_, call)| *call == "sync").map(|(index, _)| index);
        let syncs: Vec<_> = syncs.collect();
        assert_eq!(syncs.len(), if scenario.links { 1 } else { 2 });
        for (sync, bit) in
            syncs.iter().flat_map(|sync| (0..8 * "new content".len()).map(move |bit| (*sync, bit)))
        {
            let disk = scenario.disk(&scenario.start).with_fault(Fault::Flip(sync, bit));
            let journal = scenario.journal(&disk);
            (scenario.act)(&journal).unwrap_err();
            let after = disk.seen();
            assert_eq!(after.read(FILE).unwrap(), "old content");
            let mut expected = kept_in(&scenario.start);
            expected.truncate(scenario.keep);
            assert_eq!(kept_in(&after), expected, "{}: bit {bit}", scenario.name);
            assert_eq!((after.read(NEW), after.read(COPY)), (None, None));
            (scenario.act)(&journal).unwrap();
        }
    }

    let disk = faulty::FaultyDisk::from(&faulty::Image::default()).with_fault(Fault::Flip(0, 5));
    let journal = protocol(disk.clone(), 1);
    assert_eq!(create(&journal, "content").unwrap_err().code(), "envelope.malformed");
    assert_eq!(disk.seen().names(), [LOCK]);
    create(&journal, "content").unwrap();
}

/// A closure that fails, or panics, leaves nothing.
#[test]
fn a_closure_may_fail() {
    let start = faulty::Image::default().with(FILE, "old content");
    let disk = faulty::FaultyDisk::from(&start);
    let journal = protocol(disk.clone(), 1);
    let refuse = || Err::<(), _>(Error::Malformed("refused"));
    journal.change(|_, _| refuse(), |_, ()| Ok(())).unwrap_err();
    journal.change(|_, new| write(new, "new"), |_, ()| refuse()).unwrap_err();
    let panicking =
        || journal.change(|_, _| -> Result<(), Error> { panic!("within a test") }, |_, ()| Ok(()));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panicking)).unwrap_err();
    assert_eq!(disk.seen().names(), [LOCK, FILE]);
    assert_eq!(disk.seen().read(FILE).unwrap(), "old content");
    change_to(&journal, "new").unwrap();
}
