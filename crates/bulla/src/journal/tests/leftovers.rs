//! R74, R95: every combination of what can be there before a change.

use super::faulty::{FaultyDisk, Image};
use super::*;

/// One combination. The lock is missing, empty or marked.
#[derive(Clone, Copy, Debug)]
struct Leftovers {
    lock: Option<&'static str>,
    file: bool,
    new: Option<&'static str>,
    copy: bool,
    /// Generations 1, 2 and 3; the first may also be the sealed file itself, by content or as a link.
    first: First,
    second: bool,
    third: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Missing,
    Other,
    Same,
    Link,
}

fn combinations() -> Vec<Leftovers> {
    let mut all = Vec::new();
    for lock in [None, Some(""), Some("x")] {
        for new in [None, Some("par"), Some("verified, perhaps")] {
            for first in [First::Missing, First::Other, First::Same, First::Link] {
                for bits in 0..16 {
                    let [file, copy, second, third] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
                    if file || first != First::Link {
                        all.push(Leftovers { lock, file, new, copy, first, second, third });
                    }
                }
            }
        }
    }
    all
}

fn image(leftovers: Leftovers) -> Image {
    let mut image = Image::default();
    let mut put = |name: &str, content: Option<&str>| {
        if let Some(content) = content {
            image = std::mem::take(&mut image).with(name, content);
        }
    };
    put(LOCK, leftovers.lock);
    put(NEW, leftovers.new);
    put(FILE, leftovers.file.then_some("present"));
    put(COPY, leftovers.copy.then_some("pres"));
    put(&kept(2), leftovers.second.then_some("second"));
    put(&kept(3), leftovers.third.then_some("third"));
    match leftovers.first {
        First::Missing => image,
        First::Other => image.with(&kept(1), "first"),
        First::Same => image.with(&kept(1), "present"),
        First::Link => image.with_link(FILE, &kept(1)),
    }
}

/// Each combination has one outcome: the sealed file as it is; or the newest kept generation in its place; or an error that
/// names the trace, and nothing changed. A temporary file is never used. Doing it again changes nothing.
#[test]
fn every_combination_has_one_outcome() {
    let all = combinations();
    assert_eq!(all.len(), 504);
    for leftovers in all {
        let start = image(leftovers);
        let disk = FaultyDisk::from(&start);
        let journal = protocol(disk.clone(), 2);
        let outcome = journal.recover();
        let context = format!("{leftovers:?}: {outcome:?}");
        let after = disk.seen();

        // The generations in order, as one would say them.
        let mut generations: Vec<&str> = Vec::new();
        match leftovers.first {
            First::Other => generations.push("first"),
            First::Same if !leftovers.file => generations.push("present"),
            _ => {}
        }
        generations.extend(leftovers.second.then_some("second"));
        generations.extend(leftovers.third.then_some("third"));
        let restored = !leftovers.file && !generations.is_empty();
        let content = match (leftovers.file, restored) {
            (true, _) => "present",
            (false, true) => generations.remove(0),
            (false, false) => {
                assert!(!after.names().contains(&FILE), "{context}");
                let temporary = leftovers.new.map(|_| NEW).or(leftovers.copy.then_some(COPY));
                let trace = match leftovers.lock {
                    Some("") => None,
                    Some(_) => Some(LOCK),
                    None => temporary,
                };
                let made = create(&journal, "made");
                let Some(trace) = trace else {
                    assert_eq!(outcome.unwrap_err().code(), "io", "{context}");
                    made.unwrap();
                    assert_eq!(disk.seen().names(), [LOCK, FILE], "{context}");
                    continue;
                };
                for error in [outcome.unwrap_err(), made.unwrap_err()] {
                    assert!(
                        matches!(&error, Error::MissingSeal { trace: named, .. } if named == trace),
                        "{context}"
                    );
                }
                assert_eq!(disk.seen(), start, "{context}");
                continue;
            }
        };

        generations.truncate(2);
        assert_eq!(after.read(FILE).as_deref(), Some(content), "{context}");
        assert_eq!(crash::kept_in(&after), generations, "{context}");
        assert_eq!(after.names().len(), 2 + generations.len(), "{context}");
        assert!(!after.read(LOCK).unwrap().is_empty(), "{context}");
        let recovered = outcome.unwrap();
        assert_eq!(recovered.restored, restored, "{context}");
        if leftovers.new.is_some() || leftovers.copy {
            assert!(recovered.undone, "{context}");
        }

        assert_eq!(journal.recover().unwrap(), Recovered::default(), "{context}");
        assert_eq!(disk.seen(), after, "{context}");
        assert_eq!(create(&journal, "made").unwrap_err().code(), "file.exists", "{context}");
        change_to(&journal, "next").unwrap();
        assert_eq!(disk.seen().read(&kept(1)).as_deref(), Some(content), "{context}");
    }
}

/// R84: generations are kept as long as was said, and go on request.
#[test]
fn generations_are_kept_and_retired() {
    let disk = FaultyDisk::from(&Image::default());
    let journal = protocol(disk.clone(), 3);
    create(&journal, "0").unwrap();
    for content in ["1", "2", "3", "4", "5"] {
        change_to(&journal, content).unwrap();
    }
    assert_eq!(crash::kept_in(&disk.seen()), ["4", "3", "2"]);
    change_to(&protocol(disk.clone(), 1), "6").unwrap();
    assert_eq!(crash::kept_in(&disk.seen()), ["5"]);
    journal.retire().unwrap();
    assert_eq!(disk.seen().names(), [LOCK, FILE]);
}
