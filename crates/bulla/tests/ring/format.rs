//! The committed vectors, which hold the format still.

use std::fs;

use serde::Deserialize;

use bulla::Ring;

use crate::support::{Place, code};

#[derive(Deserialize)]
struct Vector {
    shows: String,
    payload: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Refused { refused: String },
    Opens { id: String, name: String, role: String, keys: Vec<Key> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    id: String,
    created: Option<u64>,
    key: Option<String>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

#[test]
fn the_vectors_open_or_are_refused_as_they_say() {
    let place = Place::new();
    let path = place.path("orders");
    let (mut opened, mut refused) = (0, 0);
    for Vector { shows, payload, outcome } in vectors() {
        let payload = hex::decode(payload).unwrap();
        fs::write(&path, place.sealer("orders").epoch(5000).seal(&payload).unwrap()).unwrap();
        match outcome {
            Outcome::Refused { refused: wanted } => {
                assert_eq!(code(place.open("orders")), wanted, "{shows}");
                refused += 1;
            }
            Outcome::Opens { id, name, role, keys } => {
                let ring = place.open("orders").unwrap();
                assert_eq!(
                    (hex::encode(ring.id()), ring.name(), ring.role()),
                    (id, &*name, &*role),
                    "{shows}"
                );
                assert_eq!(ring.generations().len(), keys.len());
                for ((found, key), generation) in ring.generations().iter().zip(keys).zip(1..) {
                    assert_eq!(
                        (found.generation(), hex::encode(found.id())),
                        (generation, key.id),
                        "{shows}"
                    );
                    assert_eq!(found.created(), key.created, "{shows}");
                    let secret = found.secret().ok().map(|secret| hex::encode(secret.expose()));
                    assert_eq!(secret, key.key, "{shows}");
                }
                opened += 1;
            }
        }
    }
    assert!(opened >= 3 && refused >= 30, "{opened} {refused}");
}

/// What is written is what the specification says, byte for byte.
#[test]
fn a_ring_is_written_as_specified() {
    let place = Place::new();
    let sealer = place.sealer("orders").created(1_700_000_000);
    let mut ring = Ring::create(place.path("orders"), sealer, place.unsealer("orders")).unwrap();
    ring.rotate(2, None).unwrap();
    ring.retire(1).unwrap();

    let mut expected = [&[0x85, 1, 0x50][..], ring.id(), b"\x66orders\x64data", &[0x82]].concat();
    expected.extend(
        [&[0x83, 0x50][..], ring.key(1).unwrap().id(), &[0x1A, 0x65, 0x53, 0xF1, 0x00, 0x40]].concat(),
    );
    let newest = ring.current();
    expected.extend(
        [&[0x83, 0x50][..], newest.id(), &[0xF6, 0x58, 32], newest.secret().unwrap().expose()].concat(),
    );
    let (payload, opened) =
        place.unsealer("orders").unseal(&fs::read(place.path("orders")).unwrap()).unwrap();
    assert_eq!(hex::encode(payload.expose()), hex::encode(expected));
    assert_eq!(opened.header.context(), "ring/orders/data");
    assert_eq!(opened.header.epoch(), Some(3));
}
