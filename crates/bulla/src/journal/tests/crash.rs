//! R67, R76, B34: the power fails before every call of every operation, and before every call of every recovery after it, and
//! so on; each time with everything that it can leave.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::faulty::{Fault, FaultyDisk, Image};
use super::*;

/// An operation from a start.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) start: Image,
    pub(super) keep: usize,
    pub(super) links: bool,
    pub(super) act: fn(&Protocol<FaultyDisk>) -> Result<(), Error>,
    /// The content of the sealed file when the operation was done.
    pub(super) new: &'static str,
}

impl Scenario {
    pub(super) fn disk(&self, image: &Image) -> FaultyDisk {
        let disk = FaultyDisk::from(image);
        if self.links { disk } else { disk.without_links() }
    }

    pub(super) fn journal(&self, disk: &FaultyDisk) -> Protocol<FaultyDisk> {
        protocol(disk.clone(), self.keep)
    }

    /// What kept generations there may be beside this content, the newest first.
    pub(super) fn assert_kept(&self, image: &Image, content: &str) {
        let kept = kept_in(image);
        let earlier = kept_in(&self.start);
        if self.name == "retire" {
            assert!(kept.iter().all(|kept| earlier.contains(kept)), "{kept:?}");
            return;
        }
        let mut expected = earlier;
        expected.retain(|kept| kept != content); // restored, or not replaced after all
        if let Some(old) = self.start.read(FILE).filter(|old| old != content) {
            expected.insert(0, old);
        }
        expected.truncate(self.keep);
        assert_eq!(kept, expected);
    }
}

pub(super) fn kept_in(image: &Image) -> Vec<String> {
    Names::generations().filter_map(|generation| image.read(&kept(generation))).collect()
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let change = |journal: &Protocol<FaultyDisk>| change_to(journal, "new content").map(drop);
    let recover = |journal: &Protocol<FaultyDisk>| journal.recover().map(drop);
    let first = Image::default().with(FILE, "old content");
    let marked = first.clone().with(LOCK, "x");
    let second = marked.clone().with(&kept(1), "older");
    let fourth = second.clone().with(&kept(2), "oldest").with(&kept(3), "ancient content");
    let scenario = |name, start: &Image, keep, links, act, new| Scenario {
        name,
        start: start.clone(),
        keep,
        links,
        act,
        new,
    };
    vec![
        scenario("first change", &first, 1, true, change, "new content"),
        scenario("first change, copied", &first, 1, false, change, "new content"),
        scenario("change", &second, 1, true, change, "new content"),
        scenario("change, copied", &second, 1, false, change, "new content"),
        scenario("change of many", &fourth, 3, true, change, "new content"),
        scenario("change of many, copied", &fourth, 3, false, change, "new content"),
        scenario("change with fewer to keep", &fourth, 1, true, change, "new content"),
        scenario(
            "create",
            &Image::default(),
            1,
            true,
            |journal| create(journal, "new content"),
            "new content",
        ),
        scenario("retire", &fourth, 3, true, |journal| journal.retire().map(drop), "old content"),
        scenario(
            "restore",
            &Image::default().with(LOCK, "").with(&kept(2), "old content").with(NEW, "unverified"),
            2,
            true,
            recover,
            "old content",
        ),
        scenario(
            "undo",
            &marked.with_link(FILE, &kept(1)).with(&kept(2), "older").with(NEW, "unverified"),
            2,
            true,
            recover,
            "old content",
        ),
    ]
}

/// What recovery has to arrive at, told from what is there alone: the sealed file, or else the newest kept generation.
pub(super) fn expected(image: &Image) -> Option<String> {
    image.read(FILE).or_else(|| kept_in(image).into_iter().next())
}

/// Recovers, asserts that all is well, and goes on working.
fn recover_and_go_on(scenario: &Scenario, image: &Image) {
    let disk = scenario.disk(image);
    let journal = scenario.journal(&disk);
    let Some(content) = expected(image) else {
        let is_marked = image.read(LOCK).is_some_and(|mark| !mark.is_empty());
        match journal.recover().map(drop).unwrap_err() {
            Error::MissingSeal { trace, .. } => assert!(is_marked && trace == LOCK),
            Error::Io { source, .. } => assert!(!is_marked && source.kind() == io::ErrorKind::NotFound),
            other => panic!("{other}"),
        }
        assert_eq!(create(&journal, "again").is_ok(), !is_marked);
        return;
    };

    journal.recover().map(drop).unwrap();
    let after = disk.seen();
    assert_eq!(after.read(FILE).as_ref(), Some(&content));
    assert_eq!(after.links(FILE), 1);
    assert_eq!((after.read(NEW), after.read(COPY)), (None, None));
    assert!(!after.read(LOCK).unwrap().is_empty());
    scenario.assert_kept(&after, &content);
    assert_eq!(journal.recover().unwrap(), Recovered::default());
    assert_eq!(disk.seen(), after);

    assert_eq!(change_to(&journal, "next").unwrap(), Recovered::default());
    let after = disk.seen();
    assert_eq!((after.read(FILE), after.read(&kept(1))), (Some("next".into()), Some(content)));
}

/// Tries every way to lose power from here on, however often; returns every state that this can leave.
fn explore(scenario: &Scenario) -> BTreeSet<Image> {
    let old = scenario.start.read(FILE);
    let new = Some(scenario.new.to_owned());
    let mut states = BTreeSet::new();
    let mut unseen = Vec::new();

    cut_at_each_call(scenario, &scenario.start, scenario.act, |call, done, image| {
        let content = expected(&image);
        assert!(content == new || (!done && content == old), "{}: {content:?}, cut at {call}", scenario.name);
        // R95: what is there, or was said to be there, can be missed later.
        let is_there = image.read(FILE).is_some() && scenario.start.read(FILE).is_none();
        let is_marked = image.read(LOCK).is_some_and(|mark| !mark.is_empty());
        assert!(
            is_marked || !(done || is_there) || scenario.name == "restore",
            "{}, cut at {call}",
            scenario.name
        );
        if states.insert(image.clone()) {
            unseen.push(image);
        }
    });
    while let Some(image) = unseen.pop() {
        recover_and_go_on(scenario, &image);
        let recover = |journal: &Protocol<FaultyDisk>| journal.recover().map(drop);
        cut_at_each_call(scenario, &image, recover, |call, _, after| {
            assert_eq!(expected(&after), expected(&image), "{}: recovery cut at {call}", scenario.name);
            if states.insert(after.clone()) {
                unseen.push(after);
            }
        });
    }
    states
}

/// From every state, tries every way to lose power during a whole further change; returns the states that only this leaves.
fn explore_next_change(scenario: &Scenario, states: &BTreeSet<Image>) -> usize {
    let next = Some("next".to_owned());
    let mut after_next = BTreeSet::new();
    for image in states.iter().filter(|image| expected(image).is_some()) {
        let content = expected(image);
        let change = |journal: &Protocol<FaultyDisk>| change_to(journal, "next").map(drop);
        cut_at_each_call(scenario, image, change, |call, done, after| {
            let found = expected(&after);
            let context = || format!("{}: next change cut at {call}, leaves {after:?}", scenario.name);
            assert!(found == next || (!done && found == content), "{}", context());
            if states.contains(&after) || !after_next.insert(after.clone()) {
                return;
            }
            let disk = scenario.disk(&after);
            scenario.journal(&disk).recover().map(drop).unwrap();
            let recovered = disk.seen();
            assert_eq!(recovered.read(FILE), found, "{}", context());
            if found == next {
                assert_eq!(kept_in(&recovered).first(), content.as_ref(), "{}", context());
            } else {
                scenario.assert_kept(&recovered, &content.clone().unwrap());
            }
        });
    }
    after_next.len()
}

/// Cuts the power before each call of an operation; reports whether the operation had returned well, and each image left.
fn cut_at_each_call(
    scenario: &Scenario,
    start: &Image,
    act: impl Fn(&Protocol<FaultyDisk>) -> Result<(), Error>,
    mut report: impl FnMut(usize, bool, Image),
) {
    for call in 0.. {
        let disk = scenario.disk(start).with_fault(Fault::Crash(call));
        let done = act(&scenario.journal(&disk)).is_ok();
        for image in disk.images() {
            report(call, done, image);
        }
        if disk.calls().len() <= call {
            return;
        }
    }
}

/// R67, R74, R76: whatever a power failure leaves, recovery gives the whole old or the whole new content, the new one once
/// the operation had returned, and the generations before it; and the next change goes well, or is cut in turn.
#[test]
fn no_power_failure_loses_anything() {
    let (mut first, mut second) = (0, 0);
    for scenario in scenarios() {
        let states = explore(&scenario);
        let more = explore_next_change(&scenario, &states);
        let _ = writeln!(
            io::stderr(),
            "{}: {} states after power failures, {more} more in the next change",
            scenario.name,
            states.len()
        );
        first += states.len();
        second += more;
    }
    let _ = writeln!(io::stderr(), "{first} and {second} different states in all, nothing lost in any");
    assert!(first > 1_500 && second > 15_000, "only {first} and {second} states");
}
