//! A TDREPORT on its own machine: what judging it costs, with the instruction and without.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use bulla_attest::{Collateral, Policy, ThisMachine, TrustAnchor, Verifier};
use bulla_crypto::Role;
use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave, Step, TdDescription, TeeType};
use bulla_tee::sgx::arch::ReportMac;
use bulla_tee::tdx::TdReport;
use bulla_tee::{Error, EvidenceKind, LocalVerifier, ReportData, Tee};
use zerocopy::IntoBytes;

use crate::clock::Clock;
use crate::turns::{Effort, Subject, measure};

/// When the simulated collateral is judged, in Unix seconds.
const NOW: u64 = 1_800_000_000;

/// A processor that knows every MAC at once.
struct Instant;

impl LocalVerifier for Instant {
    fn verify_report(&self, _: &ReportMac) -> Result<(), Error> {
        Ok(())
    }
}

/// A machine, and the report of a guest on it.
struct Local {
    machine: Machine,
    own: Vec<u8>,
    for_own: Collateral,
    for_guests: Collateral,
    verifier: Verifier,
    policy: Policy,
}

impl Local {
    fn new(machine: Machine) -> Self {
        let data = ReportData::new(Role::ProviderKey, &[("nonce", &[9; 32])]);
        let own = enclave(&machine).attest(&data, EvidenceKind::Quote).unwrap().bytes().to_vec();
        let collateral = |tee| {
            let json = machine.collateral_for(tee, NOW).unwrap();
            Collateral::from_json(json.as_bytes()).unwrap()
        };
        Self {
            own,
            for_own: collateral(TeeType::Sgx),
            for_guests: collateral(TeeType::Tdx),
            verifier: Verifier::new(TrustAnchor::from_der(&machine.root_der()).unwrap()),
            policy: Policy::strict().allow_simulated().allow_every_status(),
            machine,
        }
    }

    fn prepare(&self) -> ThisMachine {
        let Self { own, for_own, for_guests, verifier, policy, .. } = self;
        verifier.this_machine(own, for_own, for_guests, NOW, policy).unwrap()
    }

    fn report(&self) -> TdReport {
        self.machine.td_report(&TdDescription::default_guest(), &[7; 64])
    }
}

fn enclave(machine: &Machine) -> SimulatedEnclave {
    machine.enclave(&EnclaveIdentity::of_this_process(machine).unwrap()).unwrap()
}

pub(crate) fn run(effort: &Effort) {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::new(Machine::create(directory.path()).unwrap());
    local.machine.microcode(Step::Down).unwrap();
    let old = Local::new(Machine::open(directory.path()).unwrap());
    let enclave = enclave(&local.machine);
    let (prepared, report) = (local.prepare(), local.report());
    let (prepared_old, report_old) = (old.prepare(), old.report());
    let bytes = report.as_bytes();
    let judge = |machine: &ThisMachine, report: &TdReport, processor: &dyn LocalVerifier| {
        drop(machine.verify_report(report.as_bytes(), processor, NOW, &local.policy).unwrap());
    };

    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref()).unwrap();
    let signature = key.sign(&random, bytes).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref());

    let costs = measure(
        Clock::Thread,
        effort,
        [
            Subject::new("one P-256 verification", || public.verify(bytes, signature.as_ref()).unwrap()),
            Subject::new("a TDREPORT, apart from the instruction", || {
                judge(&prepared, &report, &Instant);
            }),
            Subject::new("the same of a machine that is out of date, where that is allowed", || {
                judge(&prepared_old, &report_old, &Instant);
            }),
            Subject::new("a TDREPORT, with the simulated instruction", || {
                judge(&prepared, &report, &enclave);
            }),
            Subject::new("new collateral for guests, known signatures", || drop(local.prepare())),
        ],
    );
    println!("## Local reports: processor time of the thread, median of {} turns\n", effort.rounds);
    println!("| | us | times one P-256 verification |\n|---|---|---|");
    let [bare, ..] = &costs;
    for cost in &costs {
        println!("| {} | {:.2} | {:.2} |", cost.name, cost.median * 1e6, cost.median / bare.median);
    }
    println!();
}
