//! A guest with a provider, as one more machine to seal on.

use bulla_client::{Pin, PinnedEnclave, ProviderTee};
use bulla_crypto::{Class, Role, RoleHash};
use bulla_protocol::Code;
use bulla_sim::EnclaveIdentity;
use bulla_tee::{
    Error, Evidence, EvidenceKind, GuestBinding, GuestRegisters, Identity, KeyRequest, Policy,
    ProviderRequest, Register, Tee,
};

use crate::provider::Provider;
use crate::server::{Reply, Server};
use crate::world::{AUTHORITY, MEASUREMENT, PIN, ROOT_ID, World, enclave_of, identity};

fn machine(world: &World, server: &Server) -> ProviderTee {
    ProviderTee::new(world.client(&server.url))
}

fn bound(world: &World, server: &Server) -> ProviderRequest {
    match machine(world, server).bind(&Policy::measurement()).unwrap().0 {
        KeyRequest::Simulated(inner) => match *inner {
            KeyRequest::TdxProvider(request) => *request,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn simulated(request: ProviderRequest) -> KeyRequest {
    KeyRequest::Simulated(Box::new(KeyRequest::TdxProvider(Box::new(request))))
}

/// R1: everything that went into the key is recorded; a restart of the guest changes nothing.
#[test]
fn what_was_bound_is_derived_again() {
    let world = World::new();
    let server = world.provider().serve();
    let (request, key) = machine(&world, &server).bind(&Policy::measurement()).unwrap();
    assert_eq!((request.kind(), key.expose().len()), ("sim", 32));
    let decoded = KeyRequest::decode("sim", &request.encode()).unwrap();
    assert!(machine(&world, &server).derive(&decoded).unwrap().ct_eq(&key));

    let recorded = bound(&world, &server);
    let Identity::Tdx(guest) = world.guest().identity().unwrap() else { panic!() };
    assert_eq!(recorded.guest, GuestRegisters::from(guest.as_ref()));
    assert_eq!((recorded.root_id, recorded.provider, recorded.authority), (ROOT_ID, MEASUREMENT, AUTHORITY));
    // No other request gives the sealing key.
    let other = machine(&world, &server);
    assert!(!other.client().request("envelope", "sealing", 32).unwrap().ct_eq(&key));
}

#[test]
fn identity_and_evidence_are_the_guests() {
    let world = World::new();
    let server = world.provider().serve();
    let machine = machine(&world, &server);
    assert_eq!(machine.identity().unwrap(), world.guest().identity().unwrap());
    let evidence = machine.attest(&RoleHash::new(Role::GuestRequest, &[]), EvidenceKind::Quote).unwrap();
    assert!(matches!(evidence, Evidence::Simulated(inner) if matches!(*inner, Evidence::TdxQuote(_))));
    assert_eq!(server.calls(), []);
}

/// After an update of the provider's platform new keys come from a new root, and the recorded one still opens (R5).
#[test]
fn opening_asks_for_the_recorded_root() {
    let world = World::new();
    let before = world.provider().serve();
    let (request, key) = machine(&world, &before).bind(&Policy::measurement()).unwrap();

    let mut provider = Provider::new(&enclave_of(&world.machine, &identity()), AUTHORITY, [0x08; 16]);
    provider.roots.insert(ROOT_ID, [0x33; 32]);
    provider.roots.insert([0x08; 16], [0x34; 32]);
    let after = provider.serve();
    let pin = Pin { root_id: None, ..PIN };
    let machine = ProviderTee::new(world.client_of(world.guest(), &after.url, pin));
    assert!(machine.derive(&request).unwrap().ct_eq(&key));
    assert!(!machine.bind(&Policy::measurement()).unwrap().1.ct_eq(&key));
}

fn owner() -> GuestBinding {
    GuestBinding::Owner { owner: [0x0A; 32], product: "wallet".into(), svn: 3 }
}

/// R79: a later release of the provider that has the root, and that is pinned by now, opens what the earlier one sealed; which
/// one it was is recorded for people to read.
#[test]
fn a_successor_of_the_provider_opens() {
    let world = World::new();
    let (request, key) = machine(&world, &world.provider().serve()).bind(&Policy::measurement()).unwrap();
    let next = EnclaveIdentity::new([0x5F; 32], [0x51; 32], 1, 2);
    let server = Provider::new(&enclave_of(&world.machine, &next), AUTHORITY, ROOT_ID).serve();
    let pin = Pin { enclave: PinnedEnclave::Measurement([0x5F; 32]), ..PIN };
    let machine = ProviderTee::new(world.client_of(world.guest(), &server.url, pin));
    assert!(machine.derive(&request).unwrap().ct_eq(&key));
    // Until it is pinned, it is not asked.
    let error = self::machine(&world, &server).derive(&request).err().unwrap();
    assert_eq!(error.code(), "untrusted_provider.measurement");
}

/// What a header says is a claim: it chooses neither another authority, nor another owner, path or purpose.
#[test]
fn an_edited_request_is_refused_before_anyone_is_asked() {
    let world = World::new();
    let server = world.provider().serve();
    let recorded = bound(&world, &server);
    let before = server.calls().len();
    type Edit = fn(&mut ProviderRequest);
    let cases: [(Edit, &str, Class, &str); 6] = [
        (|r| r.binding = owner(), "usage.manifest", Class::Usage, "manifest"),
        (|r| r.authority = [1; 32], "machine.other_identity", Class::Refused, "provider authority"),
        (|r| r.guest.mrtd = [1; 48], "machine.other_identity", Class::Refused, "MRTD"),
        (|r| r.guest.mrowner = [1; 48], "machine.other_identity", Class::Refused, "MROWNER"),
        (|r| r.path = "app/db".into(), "request.invalid", Class::Damaged, "path"),
        (|r| r.purpose = "disk".into(), "request.invalid", Class::Damaged, "purpose"),
    ];
    for (edit, code, class, word) in cases {
        let mut edited = recorded.clone();
        edit(&mut edited);
        let error = machine(&world, &server).derive(&simulated(edited)).err().unwrap();
        assert_eq!((error.code(), error.class()), (code, class), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(server.calls().len(), before);
}

#[test]
fn another_guest_does_not_get_it() {
    let world = World::new();
    let server = world.provider().serve();
    let (request, _) = machine(&world, &server).bind(&Policy::measurement()).unwrap();
    let other = ProviderTee::new(world.client_of(world.other_guest(), &server.url, PIN));
    let error = other.derive(&request).err().unwrap();
    assert!(matches!(&error, Error::OtherIdentity(mismatch) if mismatch.register == "MRTD"), "{error}");
}

/// R15: simulated and real never mix, nor do kinds of machines.
#[test]
fn another_kind_of_request_is_refused() {
    let world = World::new();
    let server = world.provider().serve();
    let machine = machine(&world, &server);
    let recorded = bound(&world, &server);
    let (sgx, _) = enclave_of(&world.machine, &identity()).bind(&Policy::measurement()).unwrap();
    let KeyRequest::Simulated(bare) = sgx.clone() else { panic!() };
    let before = server.calls().len();
    for request in [KeyRequest::TdxProvider(Box::new(recorded)), sgx, *bare] {
        let error = machine.derive(&request).err().unwrap();
        assert!(matches!(error, Error::WrongBackend { .. }), "{error}");
    }
    assert_eq!(server.calls().len(), before);
}

/// The provider of another machine never had the root, and says so.
#[test]
fn the_provider_of_another_machine_does_not_open() {
    let world = World::new();
    let server = world.provider().serve();
    let (request, _) = machine(&world, &server).bind(&Policy::measurement()).unwrap();
    let mut provider = world.provider();
    provider.roots.clear();
    let error = machine(&world, &provider.serve()).derive(&request).err().unwrap();
    assert!(matches!(error, Error::OtherMachine), "{error}");

    let neighbour = world.neighbour();
    let elsewhere = Provider::new(&enclave_of(&neighbour, &identity()), AUTHORITY, ROOT_ID).serve();
    let error = machine(&world, &elsewhere).derive(&request).err().unwrap();
    assert_eq!((error.code(), error.class()), ("untrusted_provider.machine", Class::Refused));
}

/// Other failures keep their code and class on the way up.
#[test]
fn failures_pass_through() {
    let world = World::new();
    for (code, class) in [(Code::TcbTooOld, Class::TooOld), (Code::Busy, Class::Peer)] {
        let server = Server::start(move |_| Reply::Problem(code));
        let error = machine(&world, &server).bind(&Policy::measurement()).err().unwrap();
        assert!(matches!(error, Error::Delegate(_)));
        assert_eq!((error.code(), error.class()), (code.as_str(), class));
    }
}

/// R9, R14: a guest is bound by its measurement, and every other policy is refused before the provider is asked.
#[test]
fn a_guest_is_bound_by_its_measurement_only() {
    let world = World::new();
    let server = world.provider().serve();
    let code = |policy: &Policy| machine(&world, &server).bind(policy).err().unwrap().code();
    for text in ["signer:product=1,svn=1,label=acme", "registers:MRENCLAVE+CONFIGID"] {
        assert_eq!(code(&text.parse().unwrap()), "machine.unsupported", "{text}");
    }
    assert_eq!(code(&Policy::measurement().with_register(Register::MrSigner)), "policy.under_bound");
    assert!(server.calls().is_empty());
}
