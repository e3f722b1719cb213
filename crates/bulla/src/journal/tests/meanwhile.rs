//! R67, R70, R72: what others see and do while a change goes on.

use std::sync::{Arc, Mutex};

use super::super::safe;
use super::crash::scenarios;
use super::faulty::{FaultyDisk, Image};
use super::*;

/// R67: whoever reads without the lock, at whatever moment, sees the whole old or the whole new content; with links, too,
/// though the old one has two names for a while.
#[test]
fn a_reader_sees_old_or_new_at_every_moment() {
    for scenario in scenarios().iter().filter(|scenario| scenario.start.read(FILE).is_some()) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reads = seen.clone();
        let old = scenario.start.read(FILE).unwrap();
        let disk = scenario.disk(&scenario.start).with_watcher(Box::new(move |_, disk| {
            let mut file = safe::open(disk, &Names::of(FILE.as_ref()).unwrap(), u64::MAX).unwrap();
            reads.lock().unwrap().push(read(&mut file).unwrap());
        }));
        (scenario.act)(&scenario.journal(&disk)).unwrap();
        let seen = seen.lock().unwrap();
        let turn = seen.iter().position(|content| *content != old).unwrap_or(seen.len());
        assert!(seen[turn..].iter().all(|content| content == scenario.new), "{}: {seen:?}", scenario.name);
    }
}

/// R67: a reader that opened the old content and is slow reads it to its end.
#[test]
fn a_slow_reader_keeps_what_it_opened() {
    let disk = FaultyDisk::from(&Image::default().with(FILE, "old content"));
    let mut file = safe::open(&disk, &Names::of(FILE.as_ref()).unwrap(), u64::MAX).unwrap();
    let journal = protocol(disk, 1);
    change_to(&journal, "new").unwrap();
    journal.retire().unwrap();
    assert_eq!(read(&mut file).unwrap(), "old content");
}

/// R72: another program replaces the file without the lock, before any call of a change. Either the change is on top of it or it
/// is refused as a conflict; what the other wrote is lost in neither. The one exception is what the documentation says:
/// the instant of the commit.
#[test]
fn what_others_write_is_not_lost() {
    for links in [true, false] {
        let start = Image::default().with(FILE, "old").with(LOCK, "x");
        let disk = || if links { FaultyDisk::from(&start) } else { FaultyDisk::from(&start).without_links() };
        let calm = disk();
        append(&protocol(calm.clone(), 1), '+').unwrap();
        let calls = calm.calls();
        let commit = calls.iter().position(|call| *call == format!("rename {NEW} {FILE}")).unwrap();

        let (mut on_top, mut conflicts) = (0, 0);
        for (moment, before) in calls.iter().enumerate().take(commit) {
            let disk = disk().with_watcher(Box::new(move |call, disk| {
                if call == moment {
                    disk.put(FILE, "other");
                }
            }));
            let result = append(&protocol(disk.clone(), 1), '+');
            disk.heal();
            let content = disk.seen().read(FILE).unwrap();
            match result {
                Ok(()) => {
                    assert_eq!(content, "other+", "at call {moment}, {before}");
                    on_top += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), "file.conflict", "at call {moment}, {before}: {error}");
                    assert_eq!(content, "other");
                    conflicts += 1;
                }
            }
            append(&protocol(disk.clone(), 1), '+').unwrap();
            assert!(disk.seen().read(FILE).unwrap().starts_with("other+"));
        }
        assert!(on_top > 5 && conflicts > 5, "{on_top} {conflicts}");
    }
}

/// R72, R95: a file that appears while one is created is not overwritten.
#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten() {
    let calm = FaultyDisk::from(&Image::default());
    create(&protocol(calm.clone(), 1), "new").unwrap();
    let commit = calm.calls().iter().position(|call| *call == format!("rename {NEW} {FILE}")).unwrap();
    for moment in 0..commit {
        let disk = FaultyDisk::from(&Image::default()).with_watcher(Box::new(move |call, disk| {
            if call == moment {
                disk.put(FILE, "other");
            }
        }));
        let error = create(&protocol(disk.clone(), 1), "new").unwrap_err();
        assert!(["file.exists", "file.conflict"].contains(&error.code()), "{error}");
        assert_eq!(disk.seen().read(FILE).as_deref(), Some("other"));
        assert_eq!(disk.seen().read(NEW), None);
    }
}

/// R72: a file that goes meanwhile is not made again behind the back of whoever removed it.
#[test]
fn a_file_that_goes_meanwhile_is_a_conflict() {
    let disk = FaultyDisk::from(&Image::default().with(FILE, "old").with(&kept(1), "older"));
    let journal = protocol(disk.clone(), 1);
    let error = journal.change(
        |_, new| {
            disk.take_away(FILE);
            write(new, "new")
        },
        |written, ()| verify(written, "new"),
    );
    assert_eq!(error.unwrap_err().code(), "file.conflict");
    assert_eq!((disk.seen().read(FILE), disk.seen().read(&kept(1))), (None, Some("older".into())));
}

/// R69: what is verified is what was written, not what somebody put under its name.
#[test]
fn a_new_file_that_is_swapped_is_a_conflict() {
    let disk = FaultyDisk::from(&Image::default().with(FILE, "old")).with_watcher(Box::new(|_, disk| {
        if disk.calls().last().is_some_and(|call| *call == format!("open {NEW}")) {
            disk.put(NEW, "other");
        }
    }));
    let error = protocol(disk.clone(), 1).change(|_, new| write(new, "new"), |_, ()| Ok::<_, Error>(()));
    assert_eq!(error.unwrap_err().code(), "file.conflict");
    assert_eq!(disk.seen().read(FILE).unwrap(), "old");
}
