//! The whole path of `bulla-attest` against a verifier that shares nothing with it: Intel's own quote verification library, as
//! `python/qvl.txt` names it. Both judge all genuine evidence, what the recipes make of it, and mutations that are the same in
//! every run. What counts as agreement is in `agreement.rs`. Levels and advisories are compared with `python/levels.py` as well, which
//! follows Intel's description alone: the library has no advisories, and it is older than TDX module identities.
//!
//! `BULLA_DIFFERENTIAL_ROUNDS` asks for more mutations than the few thousand of every run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod agreement;
#[path = "../../../crates/bulla-attest/tests/common/mod.rs"]
mod common;
mod inputs;
#[path = "../../../fuzz/tests/mutator/mod.rs"]
mod mutator;
mod qvl;
mod recipes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use agreement::{Kind, judge};
use common::{Vectors, announce, loose, verify};
use inputs::{Input, Source, random};
use qvl::Qvl;

/// Mutations of a run that nobody asked to be longer.
const ROUNDS: usize = 2_000;

fn rounds() -> usize {
    std::env::var("BULLA_DIFFERENTIAL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

#[test]
fn intel_agrees() {
    let vectors = Vectors::load();
    let source = Source::new(&vectors);
    let mut inputs = source.genuine();
    // Every run has one base of each kind; a longer one every case that verifies.
    let everywhere = rounds() > ROUNDS;
    inputs.extend(source.bases(everywhere).iter().flat_map(|base| recipes::of(base, &source)));
    inputs.extend(random(&source, rounds()));

    let (kinds, disagreements) = compare(&inputs, &source.root());
    announce(format_args!("{} inputs from the {}", inputs.len(), vectors.origin));
    let mut sums = BTreeMap::<_, usize>::new();
    for (kind, count) in kinds {
        *sums.entry(kind.label()).or_default() += count;
        announce(format_args!("{count:8} {kind}"));
    }
    announce(format_args!("{sums:?}"));
    // Of each disagreement the first input that shows it.
    let shown: Vec<_> = disagreements
        .iter()
        .map(|(what, inputs)| format!("{} times: {what}\n  {}\n", inputs.len(), inputs[0]))
        .collect();
    assert!(shown.is_empty(), "{}", shown.concat());
    // It must not be that one of the two refuses everything.
    assert!(sums["both accept, same level"] > 20, "{sums:?}");
    assert!(sums["both refuse"] > 500, "{sums:?}");
}

/// How often they agree in which way, and the inputs about which they do not.
type Found = (BTreeMap<Kind, usize>, BTreeMap<String, Vec<String>>);

/// Asks both about every input.
fn compare(inputs: &[Input], root: &[u8]) -> Found {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut qvl, mut found) = (Qvl::start(root), Found::default());
        while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ours = verify(&input.quote, &input.collateral, input.now, &loose());
            let theirs = qvl.ask(input, ours.is_ok());
            match judge(input, &ours, &theirs) {
                Ok(kind) => *found.0.entry(kind).or_default() += 1,
                Err(what) => {
                    found.1.entry(what).or_default().push(format!("{}: {:?}", input.what, theirs.steps))
                }
            }
        }
        found
    };
    let workers = thread::available_parallelism().unwrap().get();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Found::default();
        for worker in workers {
            let (kinds, disagreements) = worker.join().unwrap();
            kinds.into_iter().for_each(|(kind, count)| *all.0.entry(kind).or_default() += count);
            disagreements
                .into_iter()
                .for_each(|(what, inputs)| all.1.entry(what).or_default().extend(inputs));
        }
        all
    })
}
