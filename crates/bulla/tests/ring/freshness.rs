//! R66, R94, B40: what an anchor notices, and that without one nothing is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bulla_tee::{Anchor, Error, Freshness, Reading};

use bulla::{Ring, Unsealer};

use crate::support::{Place, code, keys};

const ID: [u8; 16] = *b"orders database\0";

/// Remembers in this process, and fails when told to.
#[derive(Default)]
struct Memory {
    epochs: Mutex<BTreeMap<[u8; 16], u64>>,
    is_down: AtomicBool,
    authenticated: bool,
}

impl Memory {
    fn known(&self) -> u64 {
        self.epochs.lock().unwrap().get(&ID).copied().unwrap_or(0)
    }

    fn answers(&self) -> Result<(), Error> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::Unavailable { machine: "anchor", reason: "it is down".into() });
        }
        Ok(())
    }
}

impl Anchor for Memory {
    fn highest(&self, id: &[u8; 16]) -> Result<Reading, Error> {
        let highest = self.epochs.lock().unwrap().get(id).copied().unwrap_or(0);
        Ok(Reading { highest, authenticated: self.authenticated })
    }

    fn advance(&self, id: &[u8; 16], to: u64) -> Result<(), Error> {
        self.answers()?;
        let mut epochs = self.epochs.lock().unwrap();
        let highest = epochs.entry(*id).or_insert(0);
        *highest = to.max(*highest);
        Ok(())
    }
}

fn anchored<'a>(place: &'a Place, anchor: &'a Memory) -> Unsealer<'a> {
    place.unsealer("orders").anchor(anchor, ID)
}

/// B40: the host puts back the ring and the database as they once were. Nothing notices that, and the result says so.
#[test]
fn without_an_anchor_a_snapshot_opens() {
    let place = Place::new();
    let mut ring = place.create("orders");
    assert_eq!(ring.opened().freshness, Freshness::None);
    let snapshot = fs::read(place.path("orders")).unwrap();
    let then = keys(&ring);
    ring.rotate(2, None).unwrap();

    fs::write(place.path("orders"), snapshot).unwrap();
    let restored = place.open("orders").unwrap();
    assert_eq!((restored.opened().freshness, keys(&restored)), (Freshness::None, then));
}

/// B40, R94: with an anchor it is a rollback, after a new generation and after a retirement.
#[test]
fn with_an_anchor_a_snapshot_is_a_rollback() {
    for authenticated in [false, true] {
        let place = Place::new();
        let anchor = Memory { authenticated, ..Memory::default() };
        let path = place.path("orders");
        let mut ring = Ring::create(&path, place.sealer("orders"), anchored(&place, &anchor)).unwrap();
        assert_eq!(anchor.known(), 1);
        let fresh = if authenticated { Freshness::Anchored } else { Freshness::Unauthenticated };
        assert_eq!(ring.opened().freshness, fresh);

        let mut snapshots = vec![fs::read(&path).unwrap()];
        ring.rotate(2, None).unwrap();
        assert_eq!((anchor.known(), ring.opened().freshness), (2, fresh));
        snapshots.push(fs::read(&path).unwrap());
        ring.retire(1).unwrap();
        assert_eq!(anchor.known(), 3);
        let newest = fs::read(&path).unwrap();

        for snapshot in snapshots {
            fs::write(&path, snapshot).unwrap();
            let error = Ring::open(&path, anchored(&place, &anchor)).err().unwrap();
            assert_eq!((error.code(), error.class()), ("envelope.rollback", bulla_crypto::Class::TooOld));
            assert_eq!(ring.rotate(3, None).unwrap_err().code(), "envelope.rollback");
        }
        fs::write(&path, newest).unwrap();
        assert_eq!(Ring::open(&path, anchored(&place, &anchor)).unwrap().opened().freshness, fresh);
    }
}

/// R66: a ring that is open knows its epoch, and needs no anchor to see that the file on disk became older.
#[test]
fn an_open_ring_notices_an_older_file() {
    let place = Place::new();
    let mut ring = place.create("orders");
    let snapshot = fs::read(place.path("orders")).unwrap();
    ring.rotate(2, None).unwrap();
    fs::write(place.path("orders"), snapshot).unwrap();
    let files = place.files();
    let now = keys(&ring);
    assert_eq!(ring.rotate(3, None).unwrap_err().code(), "envelope.rollback");
    assert_eq!(ring.rotate(2, None).unwrap_err().code(), "envelope.rollback");
    assert_eq!(
        (keys(&ring), place.files().get(&place.path("orders"))),
        (now, files.get(&place.path("orders")))
    );
}

/// R72: nor does it take another ring of the same name for itself.
#[test]
fn an_open_ring_notices_another_one_in_its_place() {
    let place = Place::new();
    let mut ring = place.create("orders");
    fs::create_dir(place.path("other")).unwrap();
    let path = place.path("other/orders");
    let mut other = Ring::create(&path, place.sealer("orders"), place.unsealer("orders")).unwrap();
    other.rotate(2, None).unwrap();
    fs::copy(&path, place.path("orders")).unwrap();
    assert_eq!(ring.rotate(3, None).unwrap_err().code(), "file.conflict");
    assert_eq!(ring.rotate(2, None).unwrap_err().code(), "file.conflict");
}

/// R94, R95: everything is gone, also every trace on the disk, but the anchor remembers.
#[test]
fn an_anchor_is_a_trace_of_a_ring() {
    let place = Place::new();
    let anchor = Memory::default();
    let path = place.path("orders");
    let data = [place.path("orders.db")];
    let ensure = || Ring::ensure(&path, &data, place.sealer("orders"), anchored(&place, &anchor));
    assert_eq!(ensure().unwrap().opened().header.epoch(), Some(1));
    assert_eq!(anchor.known(), 1);
    for file in place.files().keys() {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(code(ensure()), "envelope.rollback");
    assert_eq!(
        code(Ring::create(&path, place.sealer("orders"), anchored(&place, &anchor))),
        "envelope.rollback"
    );
    assert!(!path.exists());
}

/// R94: the anchor hears of a change only once it is on disk, and if it does not answer then, the same call completes it.
#[test]
fn an_anchor_that_was_down_is_told_by_the_same_call() {
    let place = Place::new();
    let anchor = Memory::default();
    let path = place.path("orders");
    let mut ring = Ring::create(&path, place.sealer("orders"), anchored(&place, &anchor)).unwrap();

    anchor.is_down.store(true, Ordering::Relaxed);
    assert_eq!(ring.rotate(2, None).unwrap_err().code(), "machine.unavailable");
    assert_eq!(anchor.known(), 1);
    let made = keys(&place.open("orders").unwrap());
    assert_eq!(made.len(), 2);
    assert_eq!(keys(&ring), made);
    Ring::open(&path, anchored(&place, &anchor)).unwrap();

    anchor.is_down.store(false, Ordering::Relaxed);
    assert!(!ring.rotate(2, None).unwrap());
    assert_eq!((anchor.known(), keys(&ring)), (2, made));
}

/// R94: a change that fails is none for the anchor either, or the ring that stayed would be locked out.
#[test]
fn an_anchor_does_not_hear_of_a_change_that_failed() {
    let place = Place::new();
    let anchor = Memory::default();
    let path = place.path("orders");
    let mut ring = Ring::create(&path, place.sealer("orders"), anchored(&place, &anchor)).unwrap();
    fs::create_dir(place.path(".orders.bulla-new")).unwrap(); // in the way of the new content
    assert_eq!(ring.rotate(2, None).unwrap_err().code(), "io");
    assert_eq!(anchor.known(), 1);
    fs::remove_dir(place.path(".orders.bulla-new")).unwrap();
    assert_eq!(Ring::open(&path, anchored(&place, &anchor)).unwrap().generations().len(), 1);
    assert!(ring.rotate(2, None).unwrap());
}
