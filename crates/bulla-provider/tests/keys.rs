//! What can be asked for, in one request and of a guest that does not run yet; and by what evidence.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::sync::Arc;

use bulla_attest::{Collateral, CollateralId, CollateralSource, TeeKind, TrustAnchor};
use bulla_crypto::{HpkePrivateKey, HpkePublicKey, Info, Kem, Secret, VerifyingKey};
use bulla_protocol::Code;
use bulla_protocol::v1::{
    Algorithm, Binding, EvidenceKind, FutureKey, KEYS_MAX, Order, PublicKey, Register, Selector,
};
use bulla_provider::Provider;
use bulla_sim::{Machine, Step, TdDescription};
use bulla_tee::{DerivedKey, Evidence, GuestRegisters, Identity, KeyRequest, Policy, ReportData, Tee};

use support::{Client, Running, Site, Source, now, selector, v1_key};

fn default() -> TdDescription {
    TdDescription::default_guest()
}

fn last_cause(site: &Site) -> String {
    site.audit().last().unwrap()["cause"].as_str().unwrap_or("released").to_owned()
}

/// The keys for `wanted`, in one request.
fn keys(site: &Site, running: &Running, instance: Option<&str>, wanted: &[Selector]) -> Vec<Vec<u8>> {
    let mut client = Client::new(running.http);
    client.request.keys = wanted.to_vec();
    client.request.instance = instance.map(str::to_owned);
    let order = client.order(&site.machine(), &default());
    let answer = client.send(&order).unwrap();
    let opened = client.open(&order, &answer).unwrap();
    let mut rest = opened.expose();
    let split = |wanted: &Selector| {
        let (key, left) = rest.split_at(wanted.length.into());
        rest = left;
        key.to_vec()
    };
    let keys = wanted.iter().map(split).collect();
    assert!(rest.is_empty());
    keys
}

/// R10, R11: a batch is what its keys are alone; paths, algorithms and instances have nothing to do with each other.
#[test]
fn a_batch_gives_each_key_that_could_be_asked_for_alone() {
    let site = Site::new();
    let running = site.start();
    let with = |algorithm, length| Selector { algorithm, length, ..selector("app/db") };
    let wanted = [
        selector("app/db"),
        selector("app"),
        selector("app/db/replica"),
        with(Algorithm::HkdfSha256, 64),
        with(Algorithm::HkdfSha384, 32),
        with(Algorithm::HkdfSha384, 64),
        with(Algorithm::X25519, 32),
        with(Algorithm::XWing, 32),
    ];
    let together = keys(&site, &running, None, &wanted);
    for (wanted, key) in wanted.iter().zip(&together) {
        assert_eq!(keys(&site, &running, None, std::slice::from_ref(wanted)), std::slice::from_ref(key));
    }
    let instance = keys(&site, &running, Some("replica-1"), &wanted);
    let other = keys(&site, &running, Some("replica-2"), &wanted);
    let starts: std::collections::HashSet<_> =
        together.iter().chain(&instance).chain(&other).map(|key| key[..16].to_vec()).collect();
    assert_eq!(starts.len(), 3 * wanted.len());

    let many: Vec<_> = (0..KEYS_MAX).map(|n| selector(&format!("disk/{n}"))).collect();
    assert_eq!(keys(&site, &running, None, &many)[255], keys(&site, &running, None, &many[255..])[0]);
    let line = site.audit().into_iter().rfind(|line| line["entry"] == "released").unwrap();
    assert!(line.to_string().contains("disk/255"), "the audit log names what was released");

    let mut client = Client::new(running.http);
    client.request.keys = vec![selector("a"); KEYS_MAX + 1];
    let order = client.order(&site.machine(), &default());
    assert_eq!(client.send(&order).unwrap_err(), Code::TooLarge);
}

/// R41: suite 1 falls to quantum computers, and needs a policy that allows it.
#[test]
fn the_classical_suite_is_not_allowed_by_default() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let private = HpkePrivateKey::generate(Kem::X25519).unwrap();
    (client.request.suite, client.request.public_key) = (1, private.public_key().as_bytes().into());
    let order = client.order(&site.machine(), &default());
    assert_eq!(client.send(&order).unwrap_err(), Code::PolicyDenied);
    assert_eq!(last_cause(&site), "policy.classical");
}

// A guest that does not run yet.

fn described(client: &Client, td: &TdDescription, algorithm: Algorithm) -> FutureKey {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path().join("machine")).unwrap();
    let Identity::Tdx(guest) = machine.guest(td.clone()).unwrap().identity().unwrap() else {
        panic!("no guest")
    };
    let registers = GuestRegisters::from(guest.as_ref());
    let register = |(name, value): (&str, &[u8; 48])| Register { name: name.into(), value: *value };
    FutureKey {
        binding: Binding::Measurement,
        registers: registers.named().into_iter().map(register).collect(),
        attributes: td.attributes.to_be_bytes(),
        root_id: client.request.root_id,
        instance: None,
        key: Selector { algorithm, ..selector("inbox") },
    }
}

/// The public key, with the provider's signature checked.
fn public_key(client: &mut Client, wanted: &FutureKey) -> Result<Vec<u8>, Code> {
    let answer: PublicKey = client.http.post("/v1/public-key", &serde_json::to_vec(wanted).unwrap())?;
    let signed = PublicKey::signed(wanted, &client.statement, &answer.public_key);
    VerifyingKey::from_bytes(client.statement.signing_key).verify(&signed, &answer.signature).unwrap();
    Ok(answer.public_key)
}

/// Anybody can seal to a guest that has never run; when it runs, it gets the private half, and no other guest does.
#[test]
fn a_described_guest_can_be_sealed_to_before_it_runs() {
    let site = Site::new();
    let running = site.start();
    let next = TdDescription { mrtd: [7; 48], ..default() };
    for (algorithm, kem) in [(Algorithm::XWing, Kem::XWing), (Algorithm::X25519, Kem::X25519)] {
        let mut client = Client::new(running.http);
        let wanted = described(&client, &next, algorithm);
        let public = public_key(&mut client, &wanted).unwrap();
        let info = Info::new("test");
        let sealed = HpkePublicKey::from_bytes(kem, &public).unwrap().seal(&info, b"", b"hello").unwrap();

        let open = |td: &TdDescription, instance: Option<String>| {
            let mut client = Client::new(running.http);
            (client.request.keys, client.request.instance) = (vec![wanted.key.clone()], instance);
            let order = client.order(&site.machine(), td);
            let answer = client.send(&order).unwrap();
            let seed = client.open(&order, &answer).unwrap().expose().try_into().unwrap();
            HpkePrivateKey::from_seed(kem, Secret::new(seed)).open(&info, b"", &sealed).ok()
        };
        assert_eq!(open(&next, None).unwrap().expose(), b"hello");
        assert!(open(&default(), None).is_none());
        assert!(open(&next, Some("one".into())).is_none());
    }
}

/// B4, R25, R26: a description is whole, in order, and of a key that has a public half; the owner's has no registers.
#[test]
fn a_description_is_exactly_one_shape() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let good = described(&client, &default(), Algorithm::X25519);
    let key = public_key(&mut client, &good).unwrap();
    type Edit = fn(&mut FutureKey);
    let edits: [(&str, Edit, Code); 8] = [
        ("one register missing", |w| drop(w.registers.pop()), Code::Malformed),
        ("none", |w| w.registers.clear(), Code::Malformed),
        ("another order", |w| w.registers.swap(0, 1), Code::Malformed),
        ("one more", |w| w.registers.push(w.registers[0].clone()), Code::Malformed),
        ("an unknown one", |w| w.registers[0].name = "MRSEAM".into(), Code::Malformed),
        ("no private key", |w| w.key.algorithm = Algorithm::HkdfSha256, Code::Unsupported),
        ("another root", |w| w.root_id[0] ^= 1, Code::UnknownRoot),
        (
            "registers of an owner",
            |w| w.binding = Binding::Owner { owner: [1; 32], product: "a".into(), svn: 1 },
            Code::Malformed,
        ),
    ];
    for (what, edit, code) in edits {
        let mut wanted = good.clone();
        edit(&mut wanted);
        assert_eq!(public_key(&mut Client::new(running.http), &wanted), Err(code), "{what}");
    }
    let unknown = Binding::Registers { name: "none".into(), version: 1 };
    let wanted = FutureKey { binding: unknown, ..good.clone() };
    assert_eq!(public_key(&mut Client::new(running.http), &wanted), Err(Code::UsageDenied));

    let owner = Binding::Owner { owner: [1; 32], product: "a".into(), svn: 1 };
    let owners = FutureKey { binding: owner, registers: Vec::new(), ..good.clone() };
    assert_ne!(public_key(&mut client, &owners).unwrap(), key);
    let debugged = FutureKey { attributes: (default().attributes | 1).to_be_bytes(), ..good };
    assert_ne!(public_key(&mut client, &debugged).unwrap(), key, "the attributes enter");
}

// A report of a guest on the provider's machine.

/// An order with a TDREPORT instead of a quote, as the guest gets it from its device.
fn order_with_report(client: &Client, machine: &Machine, td: &TdDescription) -> Order {
    let guest = machine.guest(td.clone()).unwrap();
    let evidence = guest.attest(&client.request.report_data(), bulla_tee::EvidenceKind::TdReport).unwrap();
    let evidence = evidence.bytes().to_vec();
    Order { kind: EvidenceKind::TdxReport, evidence, ..client.order(machine, td) }
}

fn key_by_report(machine: &Machine, td: &TdDescription, running: &Running) -> Result<Vec<u8>, Code> {
    let mut client = Client::new(running.http);
    let order = order_with_report(&client, machine, td);
    let answer = client.send(&order)?;
    Ok(client.open(&order, &answer).expect("an answer to this order").expose().to_vec())
}

/// R35: without a quote, and the same key.
#[test]
fn a_local_report_gets_what_a_quote_gets() {
    let site = Site::new();
    let running = site.start();
    for td in [default(), TdDescription { mrconfigid: [3; 48], ..default() }] {
        let key = key_by_report(&site.machine(), &td, &running).unwrap();
        assert_eq!(v1_key(&site.machine(), &td, running.http), Ok(key));
    }
}

/// R35, B17: a report that was changed, of another machine, over something else, or of no length.
#[test]
fn a_report_that_is_not_of_this_machine_gets_nothing() {
    let site = Site::new();
    let running = site.start();
    let refusal = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut client = Client::new(running.http);
        let mut order = order_with_report(&client, &site.machine(), &default());
        edit(&mut order.evidence);
        client.send(&order).unwrap_err()
    };
    for at in (0..1024).step_by(17) {
        let code = refusal(&|report| report[at] ^= 1);
        let refused = [Code::BadEvidence, Code::WrongPlatform, Code::Malformed, Code::Unsupported];
        assert!(refused.contains(&code), "bit flipped in byte {at}: {code:?}");
    }
    assert_eq!(refusal(&|report| report.truncate(1023)), Code::Malformed);
    assert_eq!(refusal(&|report| report.push(0)), Code::Malformed);
    assert_eq!(key_by_report(&Site::new().machine(), &default(), &running), Err(Code::WrongPlatform));
    assert_eq!(last_cause(&site), "report.mac");

    let mut client = Client::new(running.http);
    let earlier = order_with_report(&Client::new(running.http), &site.machine(), &default()).evidence;
    let order = Order { evidence: earlier, ..order_with_report(&client, &site.machine(), &default()) };
    assert_eq!(client.send(&order).unwrap_err(), Code::BindingMismatch);
    key_by_report(&site.machine(), &default(), &running).expect("the honest client was refused");
}

/// R22-R24: a report is appraised like a quote.
#[test]
fn a_report_is_judged_by_the_same_policy() {
    let site = Site::new();
    let running = site.start();
    let refusal = |td: &TdDescription| key_by_report(&site.machine(), td, &running).unwrap_err();
    assert_eq!(refusal(&default().with_debug()), Code::PolicyDenied);
    let migratable = TdDescription { attributes: default().attributes | 1 << 29, ..default() };
    assert_eq!(refusal(&migratable), Code::PolicyDenied);

    let current = site.machine();
    site.machine().microcode(Step::Down).unwrap();
    assert!(key_by_report(&site.machine(), &default(), &running).is_err());
    key_by_report(&current, &default(), &running).expect("the honest client was refused");
}

/// An enclave whose processor does not know EVERIFYREPORT2.
struct Older(Arc<dyn Tee>);

impl Tee for Older {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        self.0.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        self.0.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        self.0.derive(request)
    }

    fn attest(
        &self,
        data: &ReportData,
        kind: bulla_tee::EvidenceKind<'_>,
    ) -> Result<Evidence, bulla_tee::Error> {
        self.0.attest(data, kind)
    }
}

#[test]
fn evidence_that_cannot_be_judged_here_is_named() {
    let site = Site::new();
    let running = site.start_with(Arc::new(Older(site.enclave())));
    assert_eq!(key_by_report(&site.machine(), &default(), &running), Err(Code::Unsupported));
    assert_eq!(last_cause(&site), "report.unverifiable");
    assert!(v1_key(&site.machine(), &default(), running.http).is_ok());

    // A SEV-SNP guest is on another vendor's processor, and so on another machine.
    let mut client = Client::new(running.http);
    let order = Order {
        kind: EvidenceKind::SnpReport,
        evidence: vec![0; 1184],
        ..client.order(&site.machine(), &default())
    };
    assert_eq!(client.send(&order).unwrap_err(), Code::WrongPlatform);
    assert_eq!(last_cause(&site), "platform.other_vendor");
}

/// What it has for guests is newer than what it has for enclaves, as of a service that publishes between two questions.
struct Publishing(Source);

impl CollateralSource for Publishing {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, bulla_attest::Error> {
        let newer = id.intel().is_some_and(|id| id.tee == TeeKind::Tdx);
        self.0.as_of(id, if newer { now() + 3600 } else { now() })
    }
}

/// R29: the newer lists that come with the second set make the first one no older than it may be.
#[test]
fn newer_lists_with_the_second_set_refuse_nobody() {
    let site = Site::new();
    let source = Arc::new(Publishing(Source(site.machine_dir())));
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    let provider = Provider::start(site.enclave(), source, anchor, &site.settings()).unwrap();
    let running = Running::new(provider, &site.settings());
    key_by_report(&site.machine(), &default(), &running).unwrap();
    key_by_report(&site.machine(), &default(), &running).unwrap();
}

/// R38: a report is evidence only as what it is.
#[test]
fn evidence_of_one_kind_is_none_of_another() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let report = order_with_report(&client, &site.machine(), &default());
    let as_quote = Order { kind: EvidenceKind::TdxQuote, ..report };
    assert!(client.send(&as_quote).is_err());
    let mut client = Client::new(running.http);
    let quote = client.order(&site.machine(), &default());
    assert_eq!(client.send(&Order { kind: EvidenceKind::TdxReport, ..quote }).unwrap_err(), Code::Malformed);
}
