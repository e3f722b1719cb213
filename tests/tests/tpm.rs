//! The command on a machine with a TPM: a software one, which is a process of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod cli;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../../crates/bulla-tpm/tests/tpm/support.rs"]
mod support;

use cli::Bulla;
use support::SoftwareTpm;

/// Seal, inspect, open; refused after another event, with the register's name; open again after a restart.
#[test]
fn a_secret_is_sealed_to_the_registers_of_a_tpm() {
    let mut software = SoftwareTpm::new();
    let bulla = Bulla::new();
    let on = |software: &SoftwareTpm| format!("--machine tpm:{}", software.address());
    // Larger than anything that a TPM seals: that is nobody's concern.
    let secret = vec![7; 1 << 20];
    let sealed =
        bulla.run_with(&format!("{} seal --context wallet --policy pcr:4+7", on(&software)), &secret).ok();
    let shown = String::from_utf8(bulla.run_with("inspect -", &sealed).ok()).unwrap();
    for said in ["a TPM", "pcr:4+7", "measurement"] {
        assert!(shown.contains(said), "{shown}");
    }
    let open = |software: &SoftwareTpm| {
        bulla.run_with(&format!("{} unseal --context wallet", on(software)), &sealed)
    };
    assert_eq!(open(&software).ok(), secret);
    software.extend(7, "another boot loader's key");
    let refused = open(&software).fails(10, &["PCR7", "[machine.other_identity]"]);
    assert!(!refused.stderr.contains("esys"), "{}", refused.stderr);
    software.restart();
    assert_eq!(open(&software).ok(), secret);
    assert_eq!(software.occupied(), 0);
    drop(software);
    let other = SoftwareTpm::new();
    open(&other).fails(10, &["[machine.other_machine]"]);
}

/// Where no TPM answers, that is said, and how to name another.
#[test]
fn a_tpm_that_is_not_there() {
    let bulla = Bulla::new();
    let free = support::free_pair();
    let line = format!("--machine tpm:swtpm:host=127.0.0.1,port={free} seal --context wallet");
    bulla.run_with(&line, b"x").fails(13, &["no TPM here", "tpm:ADDRESS", "[machine.unavailable]"]);
    bulla.run_with("--machine tpm:nonsense seal --context wallet", b"x").fails(2, &["[tpm.address]"]);
}
