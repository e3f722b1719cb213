//! R72, R85: several change one ring at once; none of their changes is lost, and none is made twice.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use bulla_sim::Machine;

use bulla::{Ring, Unsealer};

use crate::support::{Place, context, enclave, keys};

const MACHINE: &str = "BULLA_RING_TEST_MACHINE";
const RING: &str = "BULLA_RING_TEST_RING";
const LAST: u32 = 12;

/// Rotates through the generations up to [`LAST`], and says which of them it made.
fn rotate_through(path: &Path, unsealer: Unsealer<'_>) -> Vec<u32> {
    let mut ring = Ring::open(path, unsealer).unwrap();
    (2..=LAST).filter(|generation| ring.rotate(*generation, None).unwrap()).collect()
}

/// Two threads ask for the same next generation: one makes it, both have the same key.
#[test]
fn two_threads_that_rotate_at_once_get_one_generation() {
    let place = Place::new();
    place.create("orders");
    let mut made = [Vec::new(), Vec::new()];
    let seen: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = made
            .iter_mut()
            .map(|made| {
                scope.spawn(|| {
                    let mut ring = place.open("orders").unwrap();
                    let mut seen = Vec::new();
                    for generation in 2..=LAST {
                        if ring.rotate(generation, None).unwrap() {
                            made.push(generation);
                        }
                        seen.push(keys(&ring)[generation as usize - 1]);
                    }
                    seen
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(seen[0], seen[1]);
    let mut all = made.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(2..=LAST));
    let ring = place.open("orders").unwrap();
    assert_eq!(ring.opened().header.epoch(), Some(LAST.into()));
    assert_eq!(keys(&ring)[1..], seen[0]);
}

/// Two processes do the same: see [`a_process_of_its_own_rotates`].
#[test]
fn two_processes_that_rotate_at_once_get_one_generation() {
    let place = Place::new();
    let first = keys(&place.create("orders"));
    let start = |number: u32| {
        let output = place.state().join(format!("output-{number}"));
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "together::a_process_of_its_own_rotates", "--nocapture"])
            .env(MACHINE, place.machine_dir())
            .env(RING, place.path("orders"))
            .stdout(fs::File::create(&output).unwrap())
            .spawn()
            .unwrap();
        (child, output)
    };
    let children = [start(1), start(2)];
    let mut all = Vec::new();
    for (mut child, output) in children {
        assert!(child.wait().unwrap().success());
        let output = fs::read_to_string(output).unwrap();
        all.extend(output.lines().filter_map(|line| line.strip_prefix("made ")?.parse::<u32>().ok()));
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(2..=LAST), "{all:?}");
    let ring = place.open("orders").unwrap();
    assert_eq!((ring.generations().len(), ring.opened().header.epoch()), (LAST as usize, Some(LAST.into())));
    assert_eq!(keys(&ring)[..1], first);
}

/// What each of the two processes runs; alone, it does the same to a ring of its own.
#[test]
fn a_process_of_its_own_rotates() {
    let (place, machine, path);
    match (env::var_os(MACHINE), env::var_os(RING)) {
        (Some(dir), Some(ring)) => (machine, path) = (Machine::open(dir).unwrap(), PathBuf::from(ring)),
        _ => {
            place = Place::new();
            place.create("orders");
            (machine, path) = (Machine::open(place.machine_dir()).unwrap(), place.path("orders"));
        }
    }
    let enclave = enclave(&machine);
    let made = rotate_through(&path, Unsealer::new(&context("orders")).machine(&enclave));
    println!();
    made.iter().for_each(|generation| println!("made {generation}"));
    assert!(
        Ring::open(&path, Unsealer::new(&context("orders")).machine(&enclave)).unwrap().key(LAST).is_ok()
    );
}

/// R72: one rotates while another retires; both changes are there.
#[test]
fn a_rotation_and_a_retirement_at_once_are_both_there() {
    let place = Place::new();
    place.create("orders").rotate(2, None).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| place.open("orders").unwrap().rotate(3, None).unwrap());
        scope.spawn(|| place.open("orders").unwrap().retire(1).unwrap());
    });
    let ring = place.open("orders").unwrap();
    assert_eq!(ring.active().map(|(key, _)| key.generation()).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(ring.opened().header.epoch(), Some(4));
}
