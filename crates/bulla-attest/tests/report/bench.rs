//! A simulated machine, with an enclave that judges the guests on it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bulla_attest::{Claims, Collateral, Error, Policy, TcbStatus, ThisMachine, TrustAnchor, Verifier};
use bulla_crypto::{Role, RoleHash, hmac, sha384};
use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave, TdDescription, TeeType};
use bulla_tee::tdx::TdReport;
use bulla_tee::{EvidenceKind, Tee};
use serde_json::Value;
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

/// 2027-01-15.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 24 * 3600;
pub(crate) const DATA: [u8; 64] = [0xDA; 64];

pub(crate) fn strict() -> Policy {
    Policy::strict().allow_simulated()
}

pub(crate) fn loosest() -> Policy {
    strict().allow_every_status().allow_statuses(&TcbStatus::ALL).allow_perfmon()
}

pub(crate) struct Bench {
    _dir: TempDir,
    pub(crate) machine: Machine,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        Self { _dir: dir, machine }
    }

    /// After something was changed in the directory.
    pub(crate) fn reopen(&mut self) {
        self.machine = Machine::open(self.machine.dir()).unwrap();
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(TrustAnchor::from_der(&self.machine.root_der()).unwrap())
    }

    pub(crate) fn enclave(&self) -> SimulatedEnclave {
        self.machine.enclave(&EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)).unwrap()
    }

    pub(crate) fn own_quote(&self) -> Vec<u8> {
        let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[9; 32])]);
        self.enclave().attest(&data, EvidenceKind::Quote).unwrap().bytes().to_vec()
    }

    pub(crate) fn collateral(&self, tee: TeeType, now: u64) -> Collateral {
        Collateral::from_json(self.machine.collateral_for(tee, now).unwrap().as_bytes()).unwrap()
    }

    /// With collateral of that time for enclaves, and this one for guests.
    pub(crate) fn this_machine(&self, for_guests: &Collateral, now: u64) -> Result<ThisMachine, Error> {
        let own = self.collateral(TeeType::Sgx, now);
        self.verifier().this_machine(&self.own_quote(), &own, for_guests, now, &loosest())
    }

    pub(crate) fn now(&self) -> ThisMachine {
        self.this_machine(&self.collateral(TeeType::Tdx, NOW), NOW).unwrap()
    }

    pub(crate) fn td_report(&self) -> TdReport {
        self.machine.td_report(&TdDescription::default_guest(), &DATA)
    }

    /// The code of the verdict at NOW under the loosest policy.
    pub(crate) fn code(&self, report: &TdReport) -> &'static str {
        code(self.now().verify_report(report.as_bytes(), &self.enclave(), NOW, &loosest()))
    }

    /// Makes a report anew whose content was changed: both hashes and the MAC.
    pub(crate) fn make_anew(&self, mut report: TdReport) -> TdReport {
        report.report_mac.tee_tcb_info_hash = sha384(&[report.tee_tcb_info.as_bytes()]);
        report.report_mac.tee_info_hash = sha384(&[report.td_info.as_bytes()]);
        self.mac_anew(report)
    }

    pub(crate) fn mac_anew(&self, mut report: TdReport) -> TdReport {
        let file = std::fs::read_to_string(self.machine.dir().join("machine.toml")).unwrap();
        let (_, rest) = file.split_once("tdx_report_key = \"").unwrap();
        let key: [u8; 32] = hex::decode(&rest[..64]).unwrap().try_into().unwrap();
        report.report_mac.mac = hmac(&key, &[&report.report_mac.as_bytes()[..224]]);
        report
    }

    /// What a guest's quote and its report lead to, with the same collateral at the same time.
    pub(crate) fn both(
        &self,
        guest: &TdDescription,
        for_guests: &Collateral,
        now: u64,
        policy: &Policy,
    ) -> [Result<Claims, Error>; 2] {
        let quote = self.machine.td_quote(guest, &DATA).unwrap();
        let report = self.machine.td_report(guest, &DATA);
        let by_report = self
            .this_machine(for_guests, now)
            .and_then(|machine| machine.verify_report(report.as_bytes(), &self.enclave(), now, policy));
        [self.verifier().verify(&quote, for_guests, now, policy), by_report]
    }
}

pub(crate) fn code(verdict: Result<Claims, Error>) -> &'static str {
    verdict.map_or_else(|error| error.code(), |_| "ok")
}

/// Asserts that a report has the verdict of the quote, in every word, and returns its code.
pub(crate) fn same([quote, report]: [Result<Claims, Error>; 2], what: &str) -> &'static str {
    match (&quote, &report) {
        (Ok(quote), Ok(report)) => {
            assert!(report.local && !quote.local, "R35: only a report says that it is local: {what}");
            assert_eq!(Claims { local: false, ..report.clone() }, *quote, "{what}");
        }
        (Err(quote), Err(report)) => {
            let words =
                |error: &Error| (error.code(), error.class(), error.to_string(), error.tcb().cloned());
            assert_eq!(words(report), words(quote), "{what}");
        }
        (quote, report) => panic!("{what}: quote {quote:?}, report {report:?}"),
    }
    code(report)
}

/// The same collateral with another TCB info.
pub(crate) fn with_tcb_info(collateral: &Collateral, change: impl FnOnce(&mut Value)) -> Collateral {
    with(collateral, "tcb_info", change)
}

/// The same collateral with another quoting enclave.
pub(crate) fn with_qe_identity(collateral: &Collateral, change: impl FnOnce(&mut Value)) -> Collateral {
    with(collateral, "qe_identity", change)
}

/// Signed by the simulated vendor, whose keys are public.
fn with(collateral: &Collateral, name: &str, change: impl FnOnce(&mut Value)) -> Collateral {
    let mut set: Value = serde_json::from_str(&collateral.to_json()).unwrap();
    let mut document: Value = serde_json::from_str(set[name].as_str().unwrap()).unwrap();
    change(&mut document);
    let text = document.to_string();
    let key = pem::parse(include_str!("../../../bulla-sim/src/vendor/tcb-signing.key")).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.contents()).unwrap();
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    set[format!("{name}_signature")] = hex::encode(signature).into();
    set[name] = text.into();
    Collateral::from_json(set.to_string().as_bytes()).unwrap()
}

pub(crate) fn changed(report: &TdReport, at: usize, bits: u8) -> TdReport {
    let mut bytes = report.as_bytes().to_vec();
    bytes[at] ^= bits;
    TdReport::read_from_bytes(&bytes).unwrap()
}
