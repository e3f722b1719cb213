//! The root: made once, found again, never replaced.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;

use bulla_attest::TrustAnchor;
use bulla_provider::{Error, Provider, Settings};
use bulla_sim::{EnclaveIdentity, Machine, Step, TdDescription};
use bulla_tee::{
    DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, SgxIdentity, Tee,
};

use support::{Site, Source, copy, enclave_identity, honest, legacy_formula, v1_key};

fn code(result: Result<Provider, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "started")
}

/// R1, R5: the recorded selector is honoured, so neither a restart nor a microcode update changes a key.
#[test]
fn keys_survive_a_restart_and_a_microcode_update() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    let keys = |site: &Site| {
        let running = site.start();
        (honest(site, running.legacy), v1_key(&site.machine(), &td, running.http).unwrap())
    };
    let first = keys(&site);
    let record = fs::read(site.state_dir().join("root.request")).unwrap();
    assert_eq!(first.0, legacy_formula(&site, &td));
    assert_eq!(keys(&site), first);
    site.machine().microcode(Step::Up).unwrap();
    assert_eq!(keys(&site), first);
    assert_eq!(fs::read(site.state_dir().join("root.request")).unwrap(), record);
    // What it remembers is of the new microcode, and so is not read under the old one.
    site.machine().microcode(Step::Down).unwrap();
    assert_eq!(code(site.provider()), "machine.tcb_too_old");
    site.machine().microcode(Step::Up).unwrap();
    assert_eq!(keys(&site), first);
}

/// R95, B39: state without its record stops the start, whatever else is left, and nothing is written.
#[test]
fn a_missing_record_beside_state_is_never_replaced() {
    let site = Site::new();
    let running = site.start();
    honest(&site, running.legacy);
    running.stop();
    let record = site.state_dir().join("root.request");
    let kept = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    assert_eq!(code(site.provider()), "state.missing_seal");
    assert!(!record.exists());
    fs::write(&record, kept).unwrap();
    assert_eq!(code(site.provider()), "started");

    for stray in ["audit.log", "root.request~", ".hidden"] {
        let site = Site::new();
        fs::create_dir(site.state_dir()).unwrap();
        fs::write(site.state_dir().join(stray), "").unwrap();
        assert_eq!(code(site.provider()), "state.missing_seal", "{stray}");
    }
}

/// R67: a start that was cut off before the record had its name is no start.
#[test]
fn an_unfinished_first_start_is_begun_again() {
    let site = Site::new();
    fs::create_dir(site.state_dir()).unwrap();
    for (name, content) in [
        ("lock", ""),
        (".memory.sealed.bulla-lock", ""),
        (".memory.sealed.bulla-new", "half"),
        (".root.request.bulla-lock", ""),
        (".root.request.bulla-new", "version = "),
    ] {
        fs::write(site.state_dir().join(name), content).unwrap();
    }
    assert_eq!(code(site.provider()), "started");
}

/// R95: a record that is damaged, or leads to another root, is refused; no edit of it gives an existing key.
#[test]
fn no_edit_of_the_record_starts_a_provider() {
    let site = Site::new();
    assert_eq!(code(site.provider()), "started");
    let path = site.state_dir().join("root.request");
    let good = fs::read_to_string(&path).unwrap();
    for line in 0..good.lines().count() {
        let without: Vec<_> = good.lines().enumerate().filter(|(number, _)| *number != line).collect();
        let text: String = without.iter().flat_map(|(_, line)| [line, "\n"]).collect();
        fs::write(&path, &text).unwrap();
        let removed = good.lines().nth(line).unwrap();
        let wanted = match removed.is_empty() || removed.starts_with('#') {
            true => "started",
            false => "state.damaged_seal",
        };
        assert_eq!(code(site.provider()), wanted, "without line {line}");
    }
    let digits: Vec<_> = good.match_indices(|c: char| c.is_ascii_hexdigit()).map(|(at, _)| at).collect();
    let start = good.find("version").unwrap();
    for at in digits.into_iter().filter(|at| *at > start) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        fs::write(&path, &bytes).unwrap();
        assert_ne!(code(site.provider()), "started", "byte {at}");
    }
    for text in ["", "version = 1", &good.replace("version = 1", "version = 2"), &format!("{good}more = 1\n")]
    {
        fs::write(&path, text).unwrap();
        assert_eq!(code(site.provider()), "state.damaged_seal", "{text}");
    }
    fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
    assert_eq!(code(site.provider()), "state.damaged_seal");
    fs::write(&path, &good).unwrap();
    assert_eq!(code(site.provider()), "started");
}

/// A host that edits each settings key in turn gets a refusal or a different root, never an existing key.
#[test]
fn settings_lead_to_a_refusal_or_to_another_root() {
    let (site, other) = (Site::new(), Site::new());
    let first = site.provider().unwrap().identity();
    let start = |settings: &Settings, machine: &Machine, enclave: &EnclaveIdentity| {
        let tee = Arc::new(machine.enclave(enclave).unwrap());
        let anchor = TrustAnchor::from_der(&machine.root_der()).unwrap();
        Provider::start(tee, Arc::new(Source(machine.dir().into())), anchor, settings)
    };
    let (here, there) = (site.machine(), other.machine());
    let same = start(&site.settings(), &here, &enclave_identity()).unwrap();
    assert_eq!(same.identity(), first);
    drop(same);

    // machine = another machine, then another enclave on this one.
    assert_eq!(code(start(&site.settings(), &there, &enclave_identity())), "machine.other_machine");
    let enclave = EnclaveIdentity::new([0x12; 32], [0x22; 32], 1, 1);
    assert_eq!(code(start(&site.settings(), &here, &enclave)), "machine.other_identity");

    // state_dir = an empty one, then that of a provider on another machine.
    let fresh = Settings { state_dir: site.state_dir().join("fresh"), ..site.settings() };
    assert_ne!(start(&fresh, &here, &enclave_identity()).unwrap().identity().root_id, first.root_id);
    other.provider().unwrap();
    copy(&other.state_dir(), &site.state_dir().join("foreign"));
    let foreign = Settings { state_dir: site.state_dir().join("foreign"), ..site.settings() };
    assert_eq!(code(start(&foreign, &here, &enclave_identity())), "machine.other_machine");

    // listen.legacy and listen.http choose addresses and nothing else: see the settings' own tests for those refused.
    let text = "machine = \"sim:m\"\nauthority = \"00\"\n[listen]\nhttp = \"127.0.0.1:1\"\n";
    assert_eq!(Settings::from_toml(text).unwrap_err().code(), "settings.invalid");
}

/// Says that it is another machine than it is.
struct Posing(Arc<dyn Tee>, Identity);

impl Tee for Posing {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        Ok(self.1.clone())
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        self.0.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        self.0.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        self.0.attest(data, kind)
    }
}

/// On a real machine the development authority gives nothing; in a guest there is no root.
#[test]
fn only_a_simulated_enclave_works_under_the_development_policy() {
    let site = Site::new();
    let Identity::Sgx(enclave) = site.enclave().identity().unwrap() else { panic!("no enclave") };
    let real = Identity::Sgx(Box::new(SgxIdentity { cpusvn: [5; 16], ..*enclave }));
    let posing = Arc::new(Posing(site.enclave(), real));
    assert_eq!(code(site.provider_of(posing)), "provider.signed_policy_needed");
    assert!(!site.state_dir().exists());
    let guest = Arc::new(site.machine().guest(TdDescription::default_guest()).unwrap());
    assert_eq!(code(site.provider_of(guest)), "provider.not_an_enclave");
}
