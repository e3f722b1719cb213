//! R72, R75, R84-R86, R91: generations are made, found, and retired.

use std::fs;

use bulla::journal::Journal;
use bulla::{Kem, RecipientKey, Ring, Unsealer};

use crate::support::{Place, code, context, keys};

#[test]
fn a_new_ring_has_one_generation_and_opens_again() {
    let place = Place::new();
    let sealer = place.sealer("orders").created(1_700_000_000).label("tier", "gold");
    let made = Ring::create(place.path("orders"), sealer, place.unsealer("orders")).unwrap();
    assert_eq!((made.name(), made.role()), ("orders", "data"));
    assert_eq!(made.opened().header.epoch(), Some(1));
    assert_eq!(made.current().created(), Some(1_700_000_000));

    let opened = place.open("orders").unwrap();
    assert_eq!(opened.id(), made.id());
    assert_eq!(keys(&opened), keys(&made));
    assert_eq!(opened.opened().header.labels().collect::<Vec<_>>(), [("tier", "gold")]);
}

/// R91: nothing of a key comes from the machine, which is the same here.
#[test]
fn keys_are_random() {
    let place = Place::new();
    let one = place.create("orders");
    fs::create_dir(place.path("other")).unwrap();
    let path = place.path("other/orders");
    let other = Ring::create(path, place.sealer("orders"), place.unsealer("orders")).unwrap();
    assert_ne!(one.id(), other.id());
    assert_ne!(one.current().id(), other.current().id());
    assert!(!one.current().secret().unwrap().ct_eq(other.current().secret().unwrap()));
}

/// R75: a new generation leaves the older ones and the openers as they are, under a new file key.
#[test]
fn rotating_adds_a_generation() {
    let place = Place::new();
    let offline = RecipientKey::generate(Kem::XWing).unwrap();
    let sealer = place.sealer("orders").recovery(offline.recipient()).created(1).label("tier", "gold");
    let mut ring = Ring::create(place.path("orders"), sealer, place.unsealer("orders")).unwrap();
    let first = keys(&ring);
    let envelope = *ring.opened().header.envelope_id();

    assert!(ring.rotate(2, Some(1_800_000_000)).unwrap());
    let both = keys(&ring);
    assert_eq!(both[..1], first);
    assert!(both[1].0 == 2 && both[1].1 != both[0].1 && both[1].2 != both[0].2);
    assert_eq!(ring.current().created(), Some(1_800_000_000));

    let header = &ring.opened().header;
    assert_ne!(*header.envelope_id(), envelope);
    assert_eq!((header.epoch(), header.created()), (Some(2), Some(1_800_000_000)));
    assert_eq!(header.labels().collect::<Vec<_>>(), [("tier", "gold")]);
    assert_eq!(keys(&place.open("orders").unwrap()), both);
    let recovered = Ring::open(place.path("orders"), Unsealer::new(&context("orders")).key(&offline));
    assert_eq!(keys(&recovered.unwrap()), both);
}

/// R85: twice is once.
#[test]
fn rotating_twice_to_one_generation_makes_it_once() {
    let place = Place::new();
    let mut ring = place.create("orders");
    let mut other = place.open("orders").unwrap();
    assert!(ring.rotate(2, None).unwrap());
    let files = place.files();
    assert!(!ring.rotate(2, None).unwrap());
    assert!(!ring.rotate(1, None).unwrap());
    assert_eq!(place.files(), files);

    assert!(!other.rotate(2, None).unwrap()); // it had seen one generation only
    assert_eq!(keys(&other), keys(&ring));
    assert_eq!(other.opened().header.epoch(), Some(2));

    for to in [0, 4, u32::MAX] {
        assert_eq!(ring.rotate(to, None).unwrap_err().code(), "usage.invalid");
    }
    assert_eq!(place.files(), files);
}

/// R86: a key is named, and a name that is not there is an error.
#[test]
fn an_unknown_key_is_an_error() {
    let place = Place::new();
    let mut ring = place.create("orders");
    ring.rotate(2, None).unwrap();
    for generation in [1, 2] {
        let key = ring.key(generation).unwrap();
        assert_eq!(key.generation(), generation);
        assert_eq!(ring.key_by_id(key.id()).unwrap().generation(), generation);
    }
    for generation in [0, 3, u32::MAX] {
        assert_eq!(ring.key(generation).err().unwrap().code(), "ring.unknown_key");
    }
    let stranger = *place.create("other").current().id();
    assert_eq!(ring.key_by_id(&stranger).err().unwrap().code(), "ring.unknown_key");
}

/// R84, R86: the key leaves the ring, its number and id do not. Nothing was erased: the generation that the journal keeps has it.
#[test]
fn a_retired_key_is_gone_from_the_ring_and_not_from_older_copies() {
    let place = Place::new();
    let mut ring = place.create("orders");
    ring.rotate(2, None).unwrap();
    let before = keys(&ring);

    assert!(ring.retire(1).unwrap());
    for ring in [&ring, &place.open("orders").unwrap()] {
        let retired = ring.key(1).unwrap();
        assert!(retired.is_retired());
        assert_eq!(retired.id(), &before[0].1);
        assert_eq!(retired.secret().err().unwrap().code(), "ring.retired_key");
        assert_eq!(ring.active().map(|(key, _)| key.generation()).collect::<Vec<_>>(), [2]);
        assert_eq!(ring.opened().header.epoch(), Some(3));
        let payload = place.unsealer("orders").unseal(&fs::read(place.path("orders")).unwrap()).unwrap().0;
        let lost = before[0].2.unwrap();
        assert!(!payload.expose().windows(32).any(|window| window == lost));
    }
    assert!(!ring.retire(1).unwrap()); // R85

    let kept = Ring::open(place.path(".orders.bulla-1"), place.unsealer("orders")).unwrap();
    assert_eq!(keys(&kept), before);
    Journal::at(&place.path("orders")).unwrap().retire().unwrap();
    assert!(!place.path(".orders.bulla-1").exists());

    ring.rotate(3, None).unwrap();
    assert!(ring.generations().iter().map(bulla::RingKey::generation).eq(1..=3));
}

#[test]
fn the_newest_generation_is_not_retired() {
    let place = Place::new();
    let mut ring = place.create("orders");
    let files = place.files();
    assert_eq!(ring.retire(1).unwrap_err().code(), "usage.invalid");
    assert_eq!(ring.retire(2).unwrap_err().code(), "ring.unknown_key");
    assert_eq!(place.files(), files);

    // Nor is one that another process made the newest meanwhile forgotten: what counts is what is on disk.
    place.open("orders").unwrap().rotate(2, None).unwrap();
    assert!(ring.retire(1).unwrap());
    assert_eq!(ring.retire(2).unwrap_err().code(), "usage.invalid");
}

#[test]
fn a_ring_is_not_made_over_another() {
    let place = Place::new();
    let files = (place.create("orders"), place.files()).1;
    let again = Ring::create(place.path("orders"), place.sealer("orders"), place.unsealer("orders"));
    assert_eq!(code(again), "file.exists");
    assert_eq!(place.files(), files);
}
