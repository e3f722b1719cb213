//! A short run of every target: its corpus, and a bounded number of mutations of it, which are the same in every run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use bulla::{Header, Opener};
use bulla_fuzz::{TARGETS, Target};
use mutator::Mutator;

mod mutator;

/// Shows the input if the target panics with it.
struct Shown<'a>(&'a Target, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self(target, input) = self;
            let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(io::stderr(), "{} panics with these bytes: {digits}", target.name);
        }
    }
}

/// The largest of those with 64 slots.
const LARGEST_VECTOR: usize = 32 * 1024;

fn short_run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(target);
    let run = |input: &[u8]| {
        let _shown = Shown(target, input);
        (target.run)(input);
    };
    seeds.iter().for_each(|seed| run(seed));
    let mut mutator = Mutator::new(name);
    for _ in 0..target.rounds {
        run(&mutator.mutate(&seeds));
    }
    // Past the test harness, which would keep it to itself.
    let _ = writeln!(io::stderr(), "fuzz {name}: {} seeds, {} mutations", seeds.len(), target.rounds);
}

/// The committed corpus, and what the committed vectors have in them.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = files(&root.join("corpus").join(target.name));
    assert!(!seeds.is_empty());
    let vectors = || files(&root.join("../crates/bulla/tests/vectors"));
    match target.name {
        "header" => {
            seeds.extend(
                vectors()
                    .into_iter()
                    .filter(|vector| vector.len() < LARGEST_VECTOR && vector.starts_with(b"\x93")),
            );
        }
        "key_request" => {
            let headers =
                vectors().into_iter().filter_map(|vector| Header::read(&mut vector.as_slice()).ok());
            seeds.extend(
                headers.flat_map(|header| header.slots().iter().filter_map(request).collect::<Vec<_>>()),
            );
        }
        _ => {}
    }
    seeds
}

/// The request of a machine's slot, with the number of its kind before it.
fn request(slot: &bulla::Slot) -> Option<Vec<u8>> {
    let Opener::Machine(request) = slot.opener() else { return None };
    let kind = bulla_fuzz::KINDS.iter().position(|kind| *kind == request.kind()).unwrap();
    Some([&[kind as u8], request.encode().as_slice()].concat())
}

/// The content of every file, in the order of their names.
fn files(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What nobody edited is accepted, so that the targets for evidence do not end at the first signature.
#[test]
fn untouched_evidence_is_accepted() {
    let accepted = |name: &str, target: fn(&[u8]) -> bool| {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let paths = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
        let untouched = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("untouched");
        let accepted: Vec<_> = paths.filter(untouched).map(|path| target(&fs::read(path).unwrap())).collect();
        assert!(!accepted.is_empty() && accepted.iter().all(|accepted| *accepted), "{name}");
    };
    accepted("quote", bulla_fuzz::quote);
    accepted("pck", bulla_fuzz::pck);
    accepted("collateral", bulla_fuzz::collateral);
    accepted("document", bulla_fuzz::document);
    accepted("crl", bulla_fuzz::crl);
    accepted("td_report", bulla_fuzz::td_report);
    accepted("event_log", bulla_fuzz::event_log);
    accepted("ra_tls", bulla_fuzz::ra_tls);
    accepted("policy", bulla_fuzz::policy);
    accepted("snp", bulla_fuzz::snp);
    accepted("audit", bulla_fuzz::audit);
    accepted("order", bulla_fuzz::order);
    accepted("legacy", bulla_fuzz::legacy);
    accepted("import", bulla_fuzz::import);
    accepted("tpm_quote", bulla_fuzz::tpm_quote);
}

macro_rules! short_runs {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                short_run(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_run() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($target)),*]);
        }
    };
}

short_runs! { header unseal stream recipient_text share_text key_request floor luks ring successor quote pck collateral document crl td_report event_log ra_tls policy snp audit order legacy import tpm_quote }
