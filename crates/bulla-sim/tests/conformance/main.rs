//! Every backend does what every machine has to do, or says that it cannot: the same suite for all of them, each running
//! its shipped code against a double at the hardware's own boundary. The table is in `docs/machines.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, unreachable_pub)]

use enclaves::Enclaves;
use suite::{Capability, Row};

mod enclaves;
mod gramine;
mod occlum;
mod snp;
mod suite;
mod tdx;

const ROWS: &[Row] = &[
    Row {
        name: "SGX",
        ran: "`ENCLU`, answered by SIGILL",
        cannot: &[],
        bench: || Enclaves::boxed(|machine, identity| Box::new(machine.enclave(identity).unwrap())),
    },
    Row {
        name: "SGX in Gramine",
        ran: "`ENCLU`, answered by SIGILL; `/dev/attestation`, served by FUSE",
        cannot: &[],
        bench: || Enclaves::boxed(gramine::boxed),
    },
    Row {
        name: "SGX by Gramine's key file",
        ran: "`/dev/attestation`, served by FUSE",
        cannot: gramine::key_file::CANNOT,
        bench: || Enclaves::boxed(gramine::key_file::boxed),
    },
    Row {
        name: "SGX in Occlum",
        ran: "ioctls of `/dev/sgx`, served by FUSE",
        cannot: &[(Capability::Guests, "machine.unsupported", "Occlum has no command for EVERIFYREPORT2")],
        bench: || Enclaves::boxed(occlum::boxed),
    },
    Row {
        name: "TDX guest",
        ran: "ioctl of `/dev/tdx_guest`, configfs and sysfs, served by FUSE",
        cannot: tdx::CANNOT,
        bench: tdx::Guests::boxed,
    },
    Row {
        name: "SEV-SNP guest",
        ran: "ioctls of `/dev/sev-guest` and configfs, served by FUSE",
        cannot: snp::CANNOT,
        bench: snp::Guests::boxed,
    },
    Row {
        name: "TDX guest with native keys",
        ran: "two ioctls of `/dev/tdx_guest`, configfs and sysfs, served by FUSE",
        cannot: tdx::native::CANNOT,
        bench: tdx::native::boxed,
    },
];

fn row(name: &str) -> &'static Row {
    ROWS.iter().find(|row| row.name == name).unwrap()
}

#[test]
fn sgx() {
    suite::conforms(row("SGX"));
}

#[test]
fn sgx_in_gramine() {
    suite::conforms(row("SGX in Gramine"));
}

#[test]
fn sgx_by_gramines_key_file() {
    suite::conforms(row("SGX by Gramine's key file"));
}

#[test]
fn sgx_in_occlum() {
    suite::conforms(row("SGX in Occlum"));
}

#[test]
fn tdx_guest() {
    suite::conforms(row("TDX guest"));
}

#[test]
fn snp_guest() {
    suite::conforms(row("SEV-SNP guest"));
}

/// The module as its source has it, which is the row, and as its specification does.
#[test]
fn tdx_guest_with_native_keys() {
    suite::conforms(row("TDX guest with native keys"));
    let bench = || tdx::Guests::with_keys(bulla_sim::SealingKeys::AsSpecified);
    suite::conforms(&Row { bench, ..*row("TDX guest with native keys") });
}

/// A row that says less than its backend can is wrong too.
#[test]
#[should_panic(expected = "its row says no")]
fn a_row_cannot_be_modest() {
    let cannot = &[(Capability::Quote, "machine.unsupported", "")];
    suite::conforms(&Row { cannot, ..*row("SGX") });
}

#[test]
fn the_table_is_that_of_the_documentation() {
    let docs = include_str!("../../../../docs/machines.md");
    let tables = format!("{}\n{}", suite::table(ROWS), suite::legend());
    let found = docs.split("<!-- conformance: bulla-sim -->\n").nth(1);
    assert_eq!(found, Some(tables.as_str()), "put this into docs/machines.md:\n{tables}");
}
