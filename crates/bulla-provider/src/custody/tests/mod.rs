//! Custody as a whole, on simulated machines, under policies that no file has to say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod epochs;
mod handover;
mod killed;
mod memory;
mod recovery;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bulla::successor::Upgrade;
use bulla::{Kem, RecipientKey};
use tempfile::TempDir;

use bulla_attest::{Collateral, CollateralId, CollateralSource, TeeKind, TrustAnchor};
use bulla_sim::{EnclaveIdentity, Machine, TdDescription};
use bulla_tee::Tee;

use super::{Candidate, Custody, Holder, Kind, Recovery, Roots, Target, Terms};
use crate::policy::Policy;
use crate::{Error, Provider, Settings};

/// The builds of the provider, by their measurement.
const PRESENT: u8 = 0x11;
const NEXT: u8 = 0x12;
const UNKNOWN: u8 = 0x13;

/// A simulated machine, and folders for the state of providers on it.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        Machine::create(site.path("machine")).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn machine(&self) -> Machine {
        Machine::open(self.path("machine")).unwrap()
    }

    fn build(&self, measurement: u8) -> Arc<dyn Tee> {
        self.enclave(&EnclaveIdentity::new([measurement; 32], [0x22; 32], 1, u16::from(measurement)))
    }

    fn enclave(&self, identity: &EnclaveIdentity) -> Arc<dyn Tee> {
        Arc::new(self.machine().enclave(identity).unwrap())
    }

    fn settings(&self, state: &str) -> Settings {
        let text = "machine = \"sim:machine\"\n[listen]\nhttp = \"127.0.0.1:0\"\n";
        Settings { state_dir: self.path(state), ..Settings::from_toml(text).unwrap() }
    }

    fn source(&self) -> (Arc<dyn CollateralSource>, TrustAnchor) {
        let anchor = TrustAnchor::from_der(&self.machine().root_der()).unwrap();
        (Arc::new(Source(self.path("machine"))), anchor)
    }

    fn start(&self, policy: &Policy, measurement: u8, state: &str) -> Result<Provider, Error> {
        let (source, anchor) = self.source();
        let tee = self.build(measurement);
        Provider::start_under(policy.clone(), tee, source, anchor, &self.settings(state))
    }

    fn init(&self, policy: &Policy, state: &str) -> Result<Vec<(u32, [u8; 16])>, Error> {
        Provider::init_under(policy, self.build(PRESENT), &self.settings(state))
    }

    fn candidate(&self, policy: &Policy, tee: Arc<dyn Tee>, state: &str) -> Result<Candidate, Error> {
        let (source, anchor) = self.source();
        Candidate::under(policy.clone(), tee, source, anchor, &self.settings(state))
    }

    /// A holder far away, who judges this machine's evidence.
    fn holder(&self, policy: &Policy) -> Holder {
        let (source, anchor) = self.source();
        Holder::under(policy.clone(), source, anchor, &self.settings("none")).unwrap()
    }

    fn ppid(&self) -> [u8; 16] {
        let text = std::fs::read_to_string(self.path("machine/machine.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        hex::decode(table["ppid"].as_str().unwrap()).unwrap().try_into().unwrap()
    }
}

/// The collateral of the machine in a folder.
struct Source(PathBuf);

impl CollateralSource for Source {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, bulla_attest::Error> {
        let machine = Machine::open(&self.0).unwrap();
        let mut quote = machine.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
        if id.intel().unwrap().tee == TeeKind::Sgx {
            quote[0] = 3;
        }
        Collateral::from_json(machine.collateral(&quote, now()).unwrap().as_bytes())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn hardware() -> Policy {
    Policy::development()
}

/// Roots in a ring, which may go between the present and the next build.
fn keyring() -> Policy {
    let build = |measurement| Target { enclave: Upgrade::Measurement([measurement; 32]), not_after: None };
    let terms = Terms {
        custody: Kind::Keyring,
        upgrades: vec![build(PRESENT), build(NEXT)],
        ..Policy::development().terms
    };
    Policy { authority: [0xA1; 32], terms, ..Policy::development() }
}

/// Two of three people, and a policy with them.
struct People {
    keys: Vec<RecipientKey>,
    policy: Policy,
}

impl People {
    fn new(machines: &[&Site]) -> Self {
        let keys: Vec<_> = (0..3).map(|_| RecipientKey::generate(Kem::X25519).unwrap()).collect();
        let recipients = keys.iter().map(|key| key.recipient().clone()).collect();
        let mut policy = keyring();
        policy.terms.recovery = Some(Recovery { threshold: 2, recipients });
        policy.terms.migration = machines.iter().map(|site| site.ppid()).collect();
        Self { keys, policy }
    }
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "done")
}

/// What a refusal says.
fn reason<T>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| format!("{}: {error}", error.code()), |_| "done".into())
}

/// Every root, with its secret, to be compared.
fn secrets(roots: &Roots) -> Vec<(u32, [u8; 16], [u8; 32])> {
    roots.iter().map(|root| (root.epoch(), *root.id(), *root.key().expose())).collect()
}

fn opened(site: &Site, policy: &Policy, measurement: u8, state: &str) -> Result<Roots, Error> {
    Custody::open(&site.build(measurement), &site.path(state), policy).map(|(_, roots)| roots)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
