//! R95, B39: where data or anything else says that there was a ring, no new one is made.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use bulla::Ring;

use crate::support::{Place, code, keys};

#[test]
fn the_first_time_a_ring_is_made_and_from_then_on_it_is_opened() {
    let place = Place::new();
    let made = keys(&place.ensure("orders").unwrap());
    fs::write(place.path("orders.db"), b"data").unwrap();
    assert_eq!(keys(&place.ensure("orders").unwrap()), made);
    assert_eq!(keys(&place.open("orders").unwrap()), made);
}

/// Where a database would create itself is not yet data.
#[test]
fn empty_files_and_directories_are_no_data() {
    let place = Place::new();
    fs::write(place.path("orders.db"), b"").unwrap();
    place.ensure("orders").unwrap();
    fs::create_dir(place.path("customers.db")).unwrap();
    place.ensure("customers").unwrap();
}

/// B39: the ring is deleted, its data is there. Whatever is left of the ring, also nothing at all.
#[test]
fn a_deleted_ring_is_missing_and_nothing_is_made() {
    for left in
        [&[".orders.bulla-lock", ".orders.bulla-1"][..], &[".orders.bulla-lock"], &[".orders.bulla-1"], &[]]
    {
        for has_data in [true, false] {
            let place = Place::new();
            place.ensure("orders").unwrap().rotate(2, None).unwrap();
            if has_data {
                fs::write(place.path("orders.db"), b"data").unwrap();
            }
            for name in ["orders", ".orders.bulla-lock", ".orders.bulla-1"] {
                if !left.contains(&name) {
                    fs::remove_file(place.path(name)).unwrap();
                }
            }
            if left.is_empty() && !has_data {
                continue; // as if there never was one: only an anchor can tell
            }
            let files = place.files();
            let error = place.ensure("orders").err().unwrap();
            assert_eq!(error.code(), "seal.missing", "{left:?}, data: {has_data}");
            assert_eq!(error.class(), bulla_crypto::Class::Refused);
            assert_eq!(place.files(), files, "{left:?}, data: {has_data}");
            if !left.is_empty() {
                let made =
                    Ring::create(place.path("orders"), place.sealer("orders"), place.unsealer("orders"));
                assert_eq!(code(made), "seal.missing");
            }
            assert_eq!(place.files(), files, "{left:?}, data: {has_data}");
        }
    }
}

/// A leftover of a change is a trace, too.
#[test]
fn a_leftover_is_a_trace() {
    let place = Place::new();
    fs::write(place.path(".orders.bulla-new"), b"half a ring").unwrap();
    let files = place.files();
    assert_eq!(code(place.ensure("orders")), "seal.missing");
    assert_eq!(place.files(), files);
}

/// R95: what cannot be judged counts as data: a directory with anything in it, a device, a link to what is not there now; and the
/// last path counts like the first.
#[test]
fn anything_that_may_be_data_is_data() {
    let cases: [fn(&Place); 4] = [
        |place| fs::write(place.path("orders.db"), b"x").unwrap(),
        |place| {
            fs::create_dir(place.path("orders.db")).unwrap();
            fs::write(place.path("orders.db/.hidden"), b"").unwrap();
        },
        |place| symlink("/dev/null", place.path("orders.db")).unwrap(),
        |place| symlink("not-mounted", place.path("orders.db")).unwrap(),
    ];
    for (number, prepare) in cases.into_iter().enumerate() {
        let place = Place::new();
        prepare(&place);
        let data = [place.path("nothing"), place.path("orders.db")];
        let made =
            Ring::ensure(place.path("orders"), &data, place.sealer("orders"), place.unsealer("orders"));
        let error = made.err().unwrap();
        assert_eq!(error.code(), "seal.missing", "case {number}");
        assert!(error.to_string().contains("orders.db"), "{error}");
        assert!(!place.path("orders").exists() && !place.path(".orders.bulla-lock").exists());
    }
    // And what cannot be looked at is an error of its own.
    let place = Place::new();
    fs::write(place.path("file"), b"").unwrap();
    let data = [place.path("file/orders.db")];
    let made = Ring::ensure(place.path("orders"), &data, place.sealer("orders"), place.unsealer("orders"));
    assert_eq!(code(made), "io");
    assert!(!place.path("orders").exists());
}

/// B39: a ring that is there and does not open is not replaced, with data or without.
#[test]
fn a_ring_that_does_not_open_is_not_replaced() {
    let place = Place::new();
    place.ensure("orders").unwrap();
    let mut damaged = fs::read(place.path("orders")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    for content in [&damaged[..], b"", &damaged[..40]] {
        fs::write(place.path("orders"), content).unwrap();
        let files = place.files();
        assert!(code(place.ensure("orders")).starts_with("envelope."));
        assert_eq!(place.files(), files);
    }
    // Nor is one that is for another machine.
    let place = Place::new();
    place.ensure("orders").unwrap();
    let (files, other) = (place.files(), Place::new());
    let data = [place.path("orders.db")];
    let made = Ring::ensure(place.path("orders"), &data, other.sealer("orders"), other.unsealer("orders"));
    assert_eq!(code(made), "machine.other_machine");
    assert_eq!(place.files(), files);
}

/// R72, R95: many start at once; one makes the ring, and all have it.
#[test]
fn of_several_that_start_at_once_one_makes_the_ring() {
    for _ in 0..20 {
        let place = Place::new();
        let all: Vec<_> = thread::scope(|scope| {
            let start = || {
                let ring = place.ensure("orders").unwrap();
                fs::write(place.path("orders.db"), b"data").unwrap();
                keys(&ring)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|keys| *keys == all[0] && keys.len() == 1));
    }
}
