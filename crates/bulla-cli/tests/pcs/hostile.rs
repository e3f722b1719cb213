//! B42, R51: a service that misbehaves costs nobody the collateral that is there, and whoever has none learns why, in
//! bounded time and memory. R29: nor does it make anybody take an older set.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use bulla_attest::collateral::{Directory, Minimum, Store};
use bulla_attest::pcs::{PcsClient, PcsSettings};
use bulla_attest::{Collateral, CollateralId, CollateralSource, Error, TrustAnchor, Verifier};
use bulla_sim::{Machine, Recovery, TdDescription};

use crate::misbehave;
use crate::service::{DAY, NOW, Service, client, replace, set_clock};
use crate::support::{Bulla, PATIENCE};

/// For services that never come to an end: how long they may take.
const BRIEF: Duration = Duration::from_millis(300);

/// A hostile service for the machine `host`.
struct Trial {
    bulla: Bulla,
    service: Service,
    anchor: TrustAnchor,
    id: CollateralId,
}

impl Trial {
    fn new() -> Self {
        let bulla = Bulla::with_host();
        // Another model, for what answers with the wrong one's documents.
        bulla.run("sim new host.other").ok();
        bulla.set("host.other/machine.toml", "fmspc", "\"b011a51a0001\"");
        set_clock(&bulla, NOW);
        replace(&bulla.path("behaviour"), "honest");
        let (anchor, id) = subject(&bulla);
        let service = Service::hostile(&bulla);
        Self { bulla, service, anchor, id }
    }

    fn behave(&self, behaviour: &str) {
        replace(&self.bulla.path("behaviour"), behaviour);
    }

    /// A store that has nothing.
    fn store(&self, deadline: Duration) -> Store {
        Store::in_memory(Verifier::new(self.anchor.clone()), Minimum::NONE)
            .with_source(client(&self.service.url(), deadline))
    }

    /// The same, for any thread.
    fn shared(&self, deadline: Duration) -> Arc<Store> {
        Arc::new(self.store(deadline))
    }

    fn current(&self, store: &Arc<Store>, now: u64) -> Result<Arc<Collateral>, Error> {
        let (store, id) = (Arc::clone(store), self.id);
        in_time(move || store.current(&id, now))
    }

    fn refresh(&self, store: &Arc<Store>, now: u64) -> Result<(), Error> {
        let (store, id) = (Arc::clone(store), self.id);
        in_time(move || store.refresh(&id, now))
    }
}

/// The root of the machine `host`, and what its guests need.
fn subject(bulla: &Bulla) -> (TrustAnchor, CollateralId) {
    let machine = Machine::open(bulla.path("host")).unwrap();
    let quote = machine.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
    let anchor = TrustAnchor::from_der(&machine.root_der()).unwrap();
    (anchor, CollateralId::of_quote(&quote).unwrap())
}

/// Fails where nothing comes of something.
fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = channel();
    thread::spawn(move || drop(sender.send(what())));
    result.recv_timeout(PATIENCE).expect("nothing came of it")
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

/// What is in its own way as it should be. (And another process of this test is the service that misbehaves.)
#[test]
fn every_spelling_of_an_answer_is_understood() {
    if let Ok(role) = std::env::var(misbehave::ROLE) {
        return misbehave::serve(&role);
    }
    let trial = Trial::new();
    for behaviour in ["honest", "hex pckcrl", "unmeasured"] {
        trial.behave(behaviour);
        assert_eq!(code(trial.current(&trial.shared(PATIENCE), NOW)), "ok", "{behaviour}");
    }
}

/// How it misbehaves, and what is said of it.
const PATIENT: &[(&str, &str)] = &[
    ("close", "collateral.service.unreachable"),
    ("reset", "collateral.service.unreachable"),
    ("half", "collateral.service.unreachable"),
    ("noise", "collateral.service.malformed"),
    ("endless-header", "collateral.service.too_large"),
    ("endless-headers", "collateral.service.malformed"),
    ("endless-continue", "collateral.service.too_large"),
    ("endless-body", "collateral.service.too_large"),
    ("gibibyte", "collateral.service.too_large"),
    ("redirect", "collateral.service.redirect"),
    ("redirect-relative", "collateral.service.redirect"),
    ("redirect-file", "collateral.service.redirect"),
    ("redirect-loop", "collateral.service.redirect"),
    ("busy", "collateral.service.busy"),
    ("busy-date", "collateral.service.busy"),
    ("204", "collateral.service.failed"),
    ("304", "collateral.service.redirect"),
    ("400", "collateral.service.failed"),
    ("401", "collateral.service.denied"),
    ("404", "collateral.service.unknown_platform"),
    ("410", "collateral.service.retired"),
    ("418", "collateral.service.failed"),
    ("460", "collateral.service.failed"),
    ("500", "collateral.service.failed"),
    ("502", "collateral.service.failed"),
    ("busy-503", "collateral.service.busy"),
    ("good-500", "collateral.service.failed"),
    ("good-206", "collateral.service.failed"),
    ("500 qe/identity", "collateral.service.failed"),
    ("404 pckcrl", "collateral.service.unknown_platform"),
    ("busy-503 rootcacrl", "collateral.service.busy"),
    ("empty", "collateral.service.malformed"),
    ("empty pckcrl", "pck_crl.parse"),
    ("empty rootcacrl", "root_crl.parse"),
    ("portal", "collateral.service.malformed"),
    ("portal rootcacrl", "collateral.service.malformed"),
    ("nested", "collateral.service.malformed"),
    ("binary", "collateral.service.malformed"),
    ("binary rootcacrl", "collateral.service.malformed"),
    ("more", "collateral.service.malformed"),
    ("more pckcrl", "pck_crl.parse"),
    ("edited /tcb?", "tcb_info.signature"),
    ("unsigned /tcb?", "tcb_info.signature"),
    ("unsigned qe/identity", "qe_identity.signature"),
    ("no-chain", "collateral.service.malformed"),
    ("bad-chain", "tcb_info.chain"),
    ("empty-chain", "tcb_info.chain"),
    ("other-chain /tcb?", "tcb_info.chain"),
    ("other-chain qe/identity", "qe_identity.chain"),
    ("swapped /tcb?", "qe_identity.wrong_id"),
    ("swapped qe/identity", "qe_identity.wrong_id"),
    ("swapped pckcrl", "pck_crl.wrong_issuer"),
    ("swapped rootcacrl", "root_crl.wrong_issuer"),
    ("other-platform /tcb?", "tcb_info.fmspc_mismatch"),
    ("expired", "tcb_info.expired"),
    ("expired rootcacrl", "root_crl.expired"),
    ("future", "tcb_info.not_yet_valid"),
    ("future pckcrl", "pck_crl.not_yet_valid"),
];

/// What never comes to an end by itself.
const ENDLESS: &[&str] = &["silent", "slow-header", "slow-body", "slow-body rootcacrl"];

#[test]
fn b42_what_is_there_stays_and_what_is_wrong_is_named() {
    let trial = Trial::new();
    let endless = ENDLESS.iter().map(|behaviour| (behaviour, &"collateral.service.unreachable", BRIEF));
    let patient = PATIENT.iter().map(|(behaviour, wanted)| (behaviour, wanted, PATIENCE));
    let mut wrong = Vec::new();
    for (behaviour, wanted, deadline) in patient.chain(endless) {
        trial.behave("honest");
        let warm = trial.store(PATIENCE);
        let before = warm.current(&trial.id, NOW).unwrap();
        let warm = Arc::new(warm.with_source(client(&trial.service.url(), deadline)));
        trial.behave(behaviour);

        let cold = code(trial.current(&trial.shared(deadline), NOW));
        let refreshed = code(trial.refresh(&warm, NOW));
        if [cold, refreshed] != [*wanted; 2] {
            wrong.push(format!("{behaviour}: {wanted}, not {cold} and {refreshed}"));
        }
        assert!(trial.current(&warm, NOW).unwrap() == before, "{behaviour}");
        let status = warm.status(NOW);
        assert_eq!(status.sets[0].last_failure.as_ref().map(|failure| failure.code), Some(refreshed));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    trial.behave("honest");
    assert!(
        !trial.service.asked().iter().any(|target| target.contains("/elsewhere")),
        "a redirection was followed"
    );
    // Of all tests of this program together.
    assert!(crate::MEMORY.peak_usage_as_mb() < 64.0, "{} MB", crate::MEMORY.peak_usage_as_mb());
}

/// R29: what was seen is the floor, item by item, also after a restart; and whoever has seen nothing has what is set.
#[test]
fn r29_a_service_that_goes_back_is_not_followed() {
    let trial = Trial::new();
    let directory = || Directory::open(&trial.bulla.path("store")).unwrap();
    let open = || {
        let verifier = Verifier::new(trial.anchor.clone());
        let store = Store::open(directory(), verifier, Minimum::NONE).unwrap();
        Arc::new(store.with_source(client(&trial.service.url(), PATIENCE)))
    };
    let editions = |store: &Store| store.status(NOW).sets[0].items.clone();
    let first = open();
    trial.current(&first, NOW).unwrap();
    let before = editions(&first);
    for behaviour in ["old", "old /tcb?", "old qe/identity", "old pckcrl", "old rootcacrl"] {
        trial.behave(behaviour);
        assert_eq!(code(trial.current(&trial.shared(PATIENCE), NOW)), "ok", "{behaviour} is valid by itself");
        let store = open();
        assert_eq!(code(trial.refresh(&store, NOW)), "collateral.rollback", "{behaviour}");
        assert_eq!(code(trial.current(&store, NOW)), "ok", "{behaviour}");
        assert_eq!(editions(&store), before, "{behaviour}");
    }

    trial.behave("honest");
    let minimum = Minimum { time: 0, evaluation_number: 21 };
    let store = Store::in_memory(Verifier::new(trial.anchor.clone()), minimum);
    let store = Arc::new(store.with_source(client(&trial.service.url(), PATIENCE)));
    assert_eq!(code(trial.current(&store, NOW)), "collateral.rollback");
    let recovery =
        Recovery { at: NOW, standard_at: NOW, microcode: 5, tdx_module: 5, advisory: "SIM-SA-00002".into() };
    Machine::open(trial.bulla.path("host")).unwrap().tcb_recovery(&recovery).unwrap();
    assert_eq!(code(trial.refresh(&store, NOW)), "ok");
}

/// R51: until the documents end nobody notices; then there is a reason; and then there is the service again.
#[test]
fn an_outage_is_survived_for_as_long_as_the_documents_are_good() {
    let bulla = Bulla::with_host();
    set_clock(&bulla, NOW);
    // An address of its own, so that nobody else's port is in the way when it comes back.
    let service = Service::honest(&bulla, "127.83.71.2:0");
    let (url, address) = (service.url(), service.address.clone());
    let (anchor, id) = subject(&bulla);
    let store = Store::in_memory(Verifier::new(anchor), Minimum::NONE).with_source(client(&url, PATIENCE));
    let before = store.current(&id, NOW).unwrap();
    drop(service);

    let end = before.valid_until().unwrap();
    assert_eq!(end, NOW + 29 * DAY);
    for now in [NOW + DAY, NOW + 25 * DAY, end - 1] {
        assert!(store.current(&id, now).unwrap() == before);
    }
    assert_eq!(code(store.current(&id, end)), "collateral.service.unreachable");
    set_clock(&bulla, end);
    let service = Service::honest(&bulla, &address);
    assert_eq!(code(store.current(&id, end + DAY)), "ok");
    drop(service);
}

/// R51: it is asked as often as it must be, whatever it says of when to come again.
#[test]
fn a_service_decides_neither_for_how_long_nor_how_often_it_is_asked() {
    let trial = Trial::new();
    let store = trial.shared(PATIENCE);
    trial.behave("busy");
    assert_eq!(code(trial.current(&store, NOW)), "collateral.service.busy");
    trial.behave("honest");
    assert_eq!(trial.service.asked().len(), 1);
    assert_eq!(code(trial.current(&store, NOW + 60)), "collateral.service.busy", "it is given its time");
    assert_eq!(trial.service.asked().len(), 0);
    assert_eq!(code(trial.current(&store, NOW + 3601)), "ok", "but not all the time that it wants");

    trial.service.asked();
    trial.behave("busy-now");
    assert_eq!(code(trial.current(&trial.shared(PATIENCE), NOW)), "collateral.service.busy");
    trial.behave("honest");
    assert!((2..=5).contains(&trial.service.asked().len()));
}

/// R51: many ask, one fetches.
#[test]
fn r51_of_many_who_ask_one_fetches() {
    let trial = Trial::new();
    let (store, id) = (trial.store(PATIENCE), trial.id);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| store.current(&id, NOW).unwrap());
        }
    });
    let asked = trial.service.asked();
    assert_eq!(asked.len(), 4, "TCB info, QE identity and two CRLs: {asked:#?}");
}

/// R51: no way around TLS.
#[test]
fn r51_tls_is_verified() {
    let trial = Trial::new();
    let service = Service::hostile_tls(&trial.bulla, "localhost");
    let port = service.address.rsplit_once(':').unwrap().1;
    let get = |address: &str, certificate: Option<&[u8]>| {
        let mut settings = PcsSettings::pccs(address)?.with_deadlines(PATIENCE, PATIENCE);
        if let Some(certificate) = certificate {
            settings = settings.with_authorities(certificate)?;
        }
        let id = trial.id;
        in_time(move || PcsClient::new(settings).collateral(&id)).map(drop)
    };
    let own = trial.bulla.read("certificate");
    let other = Service::hostile_tls(&trial.bulla, "localhost");
    let others = trial.bulla.read("certificate");
    assert_ne!(own, others);

    let named = format!("https://localhost:{port}");
    assert_eq!(code(get(&named, Some(&own))), "ok");
    let unreachable = "collateral.service.unreachable";
    assert_eq!(code(get(&named, None)), unreachable, "nobody vouches for it");
    assert_eq!(code(get(&named, Some(&others))), unreachable, "another authority");
    assert_eq!(code(get(&format!("https://127.0.0.1:{port}"), Some(&own))), unreachable, "another name");
    let plain = format!("http://localhost:{port}");
    assert_eq!(code(get(&plain, None)), "collateral.service.malformed", "no TLS, and no HTTP in answer");
    let plain = trial.service.url().replace("http:", "https:");
    assert_eq!(code(get(&plain, Some(&own))), unreachable, "TLS with who has none");
    for address in ["http://192.0.2.1", "http://pccs.example.com:8081", "ftp://localhost", "localhost"] {
        assert_eq!(code(get(address, None)), "usage.collateral", "{address}");
    }
    drop(other);
}
