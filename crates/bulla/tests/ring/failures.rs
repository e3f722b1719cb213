//! R68, R69, R95: a change that fails leaves a ring that opens.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulla_sim::SimulatedEnclave;
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, Floor, Identity, KeyRequest, Policy, ReportData, Tee,
};

use bulla::{Kem, RecipientKey, Ring, Unsealer};

use crate::support::{Place, code, context, keys};

/// A machine that goes away with its n-th call.
struct Failing<'a> {
    enclave: &'a SimulatedEnclave,
    left: AtomicUsize,
}

impl Failing<'_> {
    fn call(&self) -> Result<(), Error> {
        let spend = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Unavailable { machine: "enclave", reason: "it went away".into() }),
        }
    }
}

impl Tee for Failing<'_> {
    fn identity(&self) -> Result<Identity, Error> {
        self.call()?;
        self.enclave.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        self.call()?;
        self.enclave.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        self.call()?;
        self.enclave.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        self.enclave.attest(data, kind)
    }
}

/// R68, R69: the machine fails at every call of a change, those of the reading back among them.
#[test]
fn a_machine_that_fails_anywhere_leaves_the_ring() {
    let place = Place::new();
    let before = keys(&place.create("orders"));
    for calls in 0.. {
        let failing = Failing { enclave: &place.enclave, left: AtomicUsize::new(usize::MAX) };
        let unsealer = Unsealer::new(&context("orders")).machine(&failing);
        let mut ring = Ring::open(place.path("orders"), unsealer).unwrap();
        failing.left.store(calls, Ordering::Relaxed);
        let result = ring.rotate(2, None);
        if result.is_ok() {
            assert!(calls >= 5, "{calls} calls");
            break;
        }
        assert_eq!(keys(&ring), before);
        assert_eq!(keys(&place.open("orders").unwrap()), before);
        assert!(!place.path(".orders.bulla-new").exists());
    }
    assert_eq!(place.open("orders").unwrap().generations().len(), 2);
}

/// The same for the first content: a ring is whole or not there, and can be made again.
#[test]
fn a_machine_that_fails_anywhere_makes_no_ring() {
    let place = Place::new();
    for calls in 0.. {
        let failing = Failing { enclave: &place.enclave, left: AtomicUsize::new(calls) };
        let unsealer = Unsealer::new(&context("orders")).machine(&failing);
        let sealer = bulla::Sealer::new(&context("orders")).machine(&failing, Policy::default());
        match Ring::ensure(place.path("orders"), &[place.path("orders.db")], sealer, unsealer) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), "machine.unavailable", "after {calls} calls"),
        }
        assert!(!place.path("orders").exists());
    }
    place.open("orders").unwrap();
}

/// A holder of a recovery key reads the ring and cannot change it, which needs the machine to make its slot anew.
#[test]
fn a_recovery_key_opens_and_does_not_change() {
    let place = Place::new();
    let offline = RecipientKey::generate(Kem::X25519).unwrap();
    let sealer = place.sealer("orders").recovery(offline.recipient());
    let made = Ring::create(place.path("orders"), sealer, place.unsealer("orders")).unwrap();
    let files = place.files();
    let mut ring = Ring::open(place.path("orders"), Unsealer::new(&context("orders")).key(&offline)).unwrap();
    assert_eq!(keys(&ring), keys(&made));
    assert_eq!(ring.rotate(2, None).unwrap_err().code(), "slot.not_carried");
    assert_eq!(place.files().get(&place.path("orders")), files.get(&place.path("orders")));

    // A ring that has no machine slot needs no machine.
    let sealer = bulla::Sealer::new(&context("vault")).recovery(offline.recipient());
    let unsealer = Unsealer::new(&context("vault")).key(&offline);
    let mut ring = Ring::create(place.path("vault"), sealer, unsealer).unwrap();
    assert!(ring.rotate(2, None).unwrap());
}

/// R6: a change writes nothing below the floor of whoever opened the ring.
#[test]
fn a_change_keeps_to_the_floor() {
    let place = Place::new();
    let before = keys(&place.create("orders"));
    let floor = Floor { isvsvn: 4, ..Floor::default() };
    let unsealer = place.unsealer("orders").floor(&floor).below_floor();
    let mut ring = Ring::open(place.path("orders"), unsealer).unwrap();
    assert_eq!(ring.rotate(2, None).unwrap_err().code(), "machine.below_floor");
    assert_eq!(keys(&place.open("orders").unwrap()), before);
}

/// R95: the ring goes away while it is open. A change does not bring back the older one that the journal keeps: data may be under
/// the newest key.
#[test]
fn a_ring_that_went_away_is_missing() {
    let place = Place::new();
    let mut ring = place.create("orders");
    ring.rotate(2, None).unwrap();
    fs::remove_file(place.path("orders")).unwrap();
    let files = place.files();
    assert_eq!(ring.rotate(3, None).unwrap_err().code(), "seal.missing");
    assert_eq!(ring.retire(1).unwrap_err().code(), "seal.missing");
    assert_eq!(code(place.open("orders")), "seal.missing");
    assert_eq!(place.files(), files);
}
