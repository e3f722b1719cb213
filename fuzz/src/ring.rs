//! What is inside a key ring's envelope: whoever can open a ring could have written it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use bulla::{Error, Ring, Sealer, Unsealer};

use crate::cbor::is_canonical;
use crate::vectors;

/// Seals the bytes after the first as a key ring, of the epoch that the first one says, and opens that.
pub fn ring(data: &[u8]) {
    let Some((&epoch, content)) = data.split_first() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let context = Ring::context("orders", "data").unwrap();
    let key = &vectors::of_recipient().reader.keys[0];
    let mut sealer = Sealer::new(&context).recovery(key.recipient());
    if epoch > 0 {
        sealer = sealer.epoch(epoch.into());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all(&sealer.seal(content).unwrap()).unwrap();

    match Ring::open(&path, Unsealer::new(&context).key(key)) {
        Ok(ring) => check(&ring, content),
        Err(Error::MalformedRing(_) | Error::Unsupported { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn check(ring: &Ring<'_>, content: &[u8]) {
    assert!(is_canonical(content), "a ring in another encoding was taken");
    assert_eq!((ring.name(), ring.role()), ("orders", "data"));
    assert!(content.windows(16).any(|found| found == ring.id()));
    assert!(ring.opened().header.epoch() >= Some(ring.current().generation().into()));
    ring.current().secret().unwrap();
    for (key, generation) in ring.generations().iter().zip(1..) {
        assert_eq!(key.generation(), generation);
        assert_eq!(ring.key(generation).unwrap().id(), key.id());
        assert_eq!(ring.key_by_id(key.id()).unwrap().generation(), generation, "one id twice");
        assert_eq!(key.secret().is_err(), key.is_retired());
    }
    assert_eq!(ring.active().count(), ring.generations().iter().filter(|key| !key.is_retired()).count());
}
