//! Whom the client believes: the provider, its own host, and neither more than it must.

use std::sync::Arc;

use bulla_attest::{Policy, TrustAnchor};
use bulla_client::{Clause, Client, Error, Pin, PinnedEnclave};
use bulla_crypto::Class;
use bulla_sim::{EnclaveIdentity, TdDescription};
use bulla_tee::{
    DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, Policy as Binding, ReportData, Tee,
};

use crate::provider::Provider;
use crate::request::{code, failure};
use crate::world::{AUTHORITY, MEASUREMENT, PIN, ROOT_ID, World, enclave_of, identity};

/// R40, B21: only the pinned provider, and nothing is asked of another.
#[test]
fn a_provider_that_is_not_pinned_is_refused() {
    let world = World::new();
    let other = EnclaveIdentity { mrenclave: [0x66; 32], ..identity() };
    let cases = [
        (Provider::new(&enclave_of(&world.machine, &other), AUTHORITY, ROOT_ID), Clause::Measurement, "66"),
        (
            Provider::new(&enclave_of(&world.machine, &identity()), [0x66; 32], ROOT_ID),
            Clause::Authority,
            "66",
        ),
        (Provider::new(&enclave_of(&world.machine, &identity()), AUTHORITY, [0x66; 16]), Clause::Root, "66"),
    ];
    for (provider, wrong, value) in cases {
        let server = provider.serve();
        let error = failure(&world.client(&server.url));
        let Error::UntrustedProvider { clause, ref wanted, ref found } = error else {
            panic!("{wrong}: {error}");
        };
        assert_eq!((clause, error.class(), server.calls().len()), (wrong, Class::Refused, 1));
        assert_ne!(wanted, found);
        assert_eq!(*found, value.repeat(wanted.len() / 2));
    }
    // A guest is no provider, whatever it says.
    let server = Provider::new(&world.guest(), AUTHORITY, ROOT_ID).serve();
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.no_enclave");
    assert_eq!(server.calls().len(), 1);
}

/// R40, B21: a pin on a signer takes every release of the product since a version, and nothing else.
#[test]
fn r40_a_pin_on_a_signer_takes_its_product_since_a_version() {
    let world = World::new();
    let pin = |signer: u8, product, min_svn| Pin {
        enclave: PinnedEnclave::Signer { signer: [signer; 32], product, min_svn },
        ..PIN
    };
    let next = EnclaveIdentity::new([0x5F; 32], [0x51; 32], 1, 2);
    for enclave in [identity(), next] {
        let server = Provider::new(&enclave_of(&world.machine, &enclave), AUTHORITY, ROOT_ID).serve();
        let request = |pin| world.client_of(world.guest(), &server.url, pin).request("app/db", "disk", 32);
        assert!(request(pin(0x51, 1, 1)).is_ok());
        for (pin, refused, code) in [
            (pin(0x52, 1, 1), Clause::Signer, "untrusted_provider.signer"),
            (pin(0x51, 2, 1), Clause::Product, "untrusted_provider.product"),
            (pin(0x51, 1, 3), Clause::Svn, "untrusted_provider.svn"),
        ] {
            let error = request(pin).err().unwrap();
            assert!(matches!(error, Error::UntrustedProvider { clause, .. } if clause == refused), "{error}");
            assert_eq!(error.code(), code);
        }
    }
}

/// B21: a debugger can look into a debug enclave, the pinned one included.
#[test]
fn a_debug_provider_is_refused() {
    let world = World::new();
    let enclave = enclave_of(&world.machine, &identity().with_debug());
    let server = Provider::new(&enclave, AUTHORITY, ROOT_ID).serve();
    let error = failure(&world.client(&server.url));
    assert!(matches!(error, Error::ProviderEvidence(_)), "{error}");
    assert_eq!((error.code(), error.class(), server.calls().len()), ("policy.debug", Class::Refused, 1));
}

/// B21, R22.
#[test]
fn a_provider_with_an_old_tcb_is_too_old() {
    let world = World::new();
    let old = world.out_of_date();
    let server = Provider::new(&enclave_of(&old, &identity()), AUTHORITY, ROOT_ID).serve();
    let error = failure(&world.client(&server.url));
    assert!(matches!(error, Error::ProviderEvidence(_)), "{error}");
    assert_eq!((error.code(), error.class(), server.calls().len()), ("policy.tcb_status", Class::TooOld, 1));
}

/// R36: the same code on the next machine has other keys and another operator's hands on it.
#[test]
fn a_provider_on_another_machine_is_refused() {
    let world = World::new();
    let neighbour = world.neighbour();
    let server = Provider::new(&enclave_of(&neighbour, &identity()), AUTHORITY, ROOT_ID).serve();
    let error = failure(&world.client(&server.url));
    assert_eq!((error.code(), error.class()), ("untrusted_provider.machine", Class::Refused));
    assert_eq!(server.count("POST /v1/keys"), 0);
    // R97: no machine is named.
    assert!(error.to_string().len() < 200, "{error}");
}

/// R27: a machine under another root is none.
#[test]
fn a_provider_under_another_root_is_refused() {
    let world = World::new();
    let server = world.provider().serve();
    let judge = world.judge_under(TrustAnchor::intel(), Policy::strict().allow_simulated());
    let client = Client::new(Arc::new(world.guest()), &server.url, PIN, judge).unwrap();
    let error = failure(&client);
    assert!(matches!(error, Error::ProviderEvidence(_)), "{error}");
    assert_eq!((error.code(), server.calls().len()), ("tcb_info.untrusted_root", 1));
}

/// R15, R110.
#[test]
fn a_simulated_machine_is_refused_unless_it_is_allowed() {
    let world = World::new();
    let server = world.provider().serve();
    let client =
        Client::new(Arc::new(world.guest()), &server.url, PIN, world.judge(Policy::strict())).unwrap();
    assert_eq!((code(&client), server.calls().len()), ("policy.simulated", 1));
}

/// B9, R23: a guest that is not fit to hold a key does not ask for one.
#[test]
fn a_debug_guest_does_not_ask() {
    let world = World::new();
    let server = world.provider().serve();
    let guest = world.machine.guest(TdDescription::default_guest().with_debug()).unwrap();
    let error = failure(&world.client_of(guest, &server.url, PIN));
    assert!(matches!(error, Error::OwnEvidence(_)), "{error}");
    assert_eq!((error.code(), server.count("POST /v1/keys")), ("policy.debug", 0));
}

#[test]
fn an_enclave_is_no_guest() {
    let world = World::new();
    let server = world.provider().serve();
    let enclave = enclave_of(&world.machine, &identity());
    assert_eq!(code(&world.client_of(enclave, &server.url, PIN)), "machine.wrong_backend");
}

/// A guest whose host returns other quotes than were asked for.
struct Lied<F> {
    guest: Box<dyn Tee>,
    /// From the guest's own quote and the report data.
    host: F,
}

impl<F: Fn(Evidence, &ReportData) -> Evidence + Send + Sync> Tee for Lied<F> {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        self.guest.identity()
    }

    fn bind(&self, policy: &Binding) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        self.guest.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        self.guest.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        Ok((self.host)(self.guest.attest(data, kind)?, data))
    }
}

/// The failure of a guest whose host lies, which asked for nothing.
fn lied(world: &World, host: impl Fn(Evidence, &ReportData) -> Evidence + Send + Sync + 'static) -> Error {
    let server = world.provider().serve();
    let guest = Lied { guest: Box::new(world.guest()), host };
    let error = failure(&world.client_of(guest, &server.url, PIN));
    assert_eq!(server.count("POST /v1/keys"), 0);
    error
}

/// A host could order in the name of a guest of its own and hand the key, which its guest knows too, to this one: the quote
/// must be about this guest.
#[test]
fn a_quote_of_another_guest_is_not_ours() {
    let world = World::new();
    let accomplice = world.other_guest();
    let error = lied(&world, move |_, data| accomplice.attest(data, EvidenceKind::Quote).unwrap());
    assert_eq!((error.code(), error.class()), ("own_evidence.identity", Class::Refused));
}

/// The host cannot move the guest to the provider's machine by a quote of an equal guest there: that one quotes for itself.
#[test]
fn a_replayed_quote_is_not_ours() {
    let world = World::new();
    let old = world.guest().attest(&world.provider().statement.report_data(), EvidenceKind::Quote).unwrap();
    let error = lied(&world, move |_, _| old.clone());
    assert!(matches!(error, Error::OwnEvidence(_)), "{error}");
    assert_eq!(error.code(), "binding.report_data");
}

/// The guest's own evidence is verified too, whatever the host hands back.
#[test]
fn a_damaged_quote_is_not_ours() {
    let error = lied(&World::new(), |own, _| {
        let mut bytes = own.bytes().to_vec();
        bytes[48 + 584 + 4] ^= 1;
        Evidence::TdxQuote(bytes)
    });
    assert!(matches!(error, Error::OwnEvidence(_)), "{error}");
    assert_eq!((error.code(), error.class()), ("quote.signature", Class::Refused));
}

/// R40: what differs is said in full, because an operator has to compare it.
#[test]
fn a_refusal_says_what_is_pinned_and_what_is_there() {
    let world = World::new();
    let server = world.provider().serve();
    let pin = Pin { enclave: PinnedEnclave::Measurement([0x77; 32]), ..PIN };
    let message = failure(&world.client_of(world.guest(), &server.url, pin)).to_string();
    assert!(message.contains(&"77".repeat(32)) && message.contains(&hex::encode(MEASUREMENT)), "{message}");
}
