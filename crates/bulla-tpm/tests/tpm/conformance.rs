//! What every machine has to do, of a machine with a TPM. The suite is that of the other backends.

use std::collections::BTreeMap;

use bulla_attest::tpm::{TpmPolicy, attestation_key_name, verify_tpm_quote};
use bulla_tee::Tee;
use bulla_tee::tpm::TpmQuote;

use crate::suite::{self, Bench, Capability, Change, Row};
use crate::support::SoftwareTpm;

const MEASURED: &str =
    "firmware is measured, so another one has no keys until its registers are planned or approved of";
const NO_SIGNER: &str = "it knows registers, and neither signers nor configurations";
const NO_REPORT: &str = "it makes quotes, and knows no local reports";

const ROW: Row = Row {
    name: "TPM 2.0",
    ran: "commands to swtpm, a process of its own, over a socket",
    cannot: &[
        (Capability::Update, "machine.other_identity", MEASURED),
        (Capability::Downgrade, "machine.other_identity", MEASURED),
        (Capability::Signer, "machine.unsupported", NO_SIGNER),
        (Capability::Configuration, "machine.unsupported", NO_SIGNER),
        (Capability::Report, "machine.unsupported", NO_REPORT),
        (Capability::Guests, "machine.unsupported", NO_REPORT),
    ],
    bench: || Box::new(Machine(SoftwareTpm::new())),
};

struct Machine(SoftwareTpm);

impl Bench for Machine {
    fn start(&self) -> Box<dyn Tee> {
        Box::new(self.0.machine())
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Update => self.0.restart_with(&[(0, "newer firmware")]),
            Change::Downgrade => self.0.restart(),
            Change::OtherProgram | Change::NextVersion => self.0.restart_with(&[(4, "another kernel")]),
            Change::Debug => self.0.restart_with(&[(7, "secure boot is off")]),
            Change::OtherConfiguration => self.0.restart_with(&[(2, "another option ROM")]),
            Change::Features => self.0.restart_with(&[(10, "what the kernel measures of its own accord")]),
            Change::OtherMachine => self.0 = SoftwareTpm::new(),
        }
    }

    fn is_simulated(&self) -> bool {
        false
    }

    fn report_data_at(&self) -> usize {
        unreachable!("its digest is in what is signed")
    }

    fn carries(&self, evidence: &[u8], data: &[u8; 64]) -> bool {
        let quote = TpmQuote::decode(evidence).unwrap();
        let state = BTreeMap::from([(0, *quote.values.first_chunk().unwrap())]);
        let policy =
            TpmPolicy { attestation_keys: vec![attestation_key_name(&quote.key)], states: vec![state] };
        verify_tpm_quote(evidence, data, &policy).is_ok()
            && verify_tpm_quote(evidence, &[0; 64], &policy).is_err()
    }
}

#[test]
fn a_tpm_does_what_every_machine_has_to() {
    suite::conforms(&ROW);
}

#[test]
fn the_table_is_that_of_the_documentation() {
    let docs = include_str!("../../../../docs/machines.md");
    let table = suite::table(&[ROW]);
    let found = docs.split("<!-- conformance: bulla-tpm -->\n").nth(1);
    assert_eq!(found, Some(table.as_str()), "put this into docs/machines.md:\n{table}");
}
