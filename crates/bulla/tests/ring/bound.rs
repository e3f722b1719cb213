//! R63, R90: a ring opens for its own database, role and program only.

use std::fs;

use bulla_sim::EnclaveIdentity;

use bulla::{Policy, Ring, Sealer, Unsealer};

use crate::support::{Place, code};

/// R90: whoever swaps the rings of two databases, or of two roles of one, gets neither opened.
#[test]
fn swapped_rings_are_refused() {
    let place = Place::new();
    place.create("orders");
    place.create("customers");
    fs::rename(place.path("orders"), place.path("swap")).unwrap();
    fs::rename(place.path("customers"), place.path("orders")).unwrap();
    fs::rename(place.path("swap"), place.path("customers")).unwrap();
    assert_eq!(code(place.open("orders")), "envelope.other_context");
    assert_eq!(code(place.open("customers")), "envelope.other_context");
    assert_eq!(code(place.ensure("orders")), "envelope.other_context");

    let log = Unsealer::new(&Ring::context("customers", "log").unwrap()).machine(&place.enclave);
    assert_eq!(code(Ring::open(place.path("orders"), log)), "envelope.other_context");
}

/// R90: nor is the payload of one ring taken under the context of another, whoever sealed it there.
#[test]
fn a_payload_is_bound_to_its_ring() {
    let place = Place::new();
    place.create("orders");
    let (payload, _) = place.unsealer("orders").unseal(&fs::read(place.path("orders")).unwrap()).unwrap();
    let moved = place.sealer("customers").epoch(1).seal(payload.expose()).unwrap();
    fs::write(place.path("customers"), moved).unwrap();
    assert_eq!(code(place.open("customers")), "ring.malformed");
}

/// R90: an epoch below the number of generations, or none, is no ring's.
#[test]
fn a_payload_is_bound_to_its_epoch() {
    let place = Place::new();
    place.create("orders").rotate(2, None).unwrap();
    let (payload, _) = place.unsealer("orders").unseal(&fs::read(place.path("orders")).unwrap()).unwrap();
    for sealer in [place.sealer("orders"), place.sealer("orders").epoch(1)] {
        fs::write(place.path("orders"), sealer.seal(payload.expose()).unwrap()).unwrap();
        assert_eq!(code(place.open("orders")), "ring.malformed");
    }
    fs::write(place.path("orders"), place.sealer("orders").epoch(2).seal(payload.expose()).unwrap()).unwrap();
    place.open("orders").unwrap();
}

#[test]
fn another_program_cannot_open_it() {
    let place = Place::new();
    place.create("orders");
    let other = place.machine.enclave(&EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)).unwrap();
    let unsealer = Unsealer::new("ring/orders/data").machine(&other);
    assert_eq!(code(Ring::open(place.path("orders"), unsealer)), "machine.other_identity");
}

/// R63: what is no context of a ring makes none.
#[test]
fn a_ring_needs_a_context_of_rings() {
    let place = Place::new();
    for context in ["wallet", "ring/orders", "ring//data", "ring/a/b/c", "ring/a b/c", "Ring/a/b"] {
        let sealer = Sealer::new(context).machine(&place.enclave, Policy::default());
        let unsealer = Unsealer::new(context).machine(&place.enclave);
        assert_eq!(code(Ring::create(place.path("orders"), sealer, unsealer)), "usage.invalid", "{context}");
    }
    // An unsealer of another ring is found out before anything is in place.
    let made = Ring::create(place.path("orders"), place.sealer("orders"), place.unsealer("customers"));
    assert_eq!(code(made), "envelope.other_context");
    assert!(!place.path("orders").exists());
    place.create("orders");
}

/// R70: a ring that others can write to is not read.
#[test]
fn a_ring_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = Place::new();
    place.create("orders");
    fs::set_permissions(place.path("orders"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(code(place.open("orders")), "file.unsafe");
    symlink(place.path("orders"), place.path("link")).unwrap();
    assert_eq!(code(Ring::open(place.path("link"), place.unsealer("orders"))), "file.unsafe");
}
