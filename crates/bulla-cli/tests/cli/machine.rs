//! Which machine: the option, the variable, and what is not there.

use crate::support::{Bulla, Ran};

#[test]
fn the_option_stands_before_or_after_the_command() {
    let bulla = Bulla::with_host();
    let sealed = bulla.run_with("seal --machine sim:host --context wallet", b"secret").ok();
    assert_eq!(bulla.run_with("unseal --context wallet --machine sim:host -", &sealed).ok(), b"secret");
    assert_eq!(bulla.unseal(&sealed).ok(), b"secret");
}

#[test]
fn the_variable_stands_for_the_option_which_wins() {
    let bulla = Bulla::with_host();
    bulla.run("sim new other").ok();
    let sealed = bulla.seal(b"secret");
    let with =
        |machine: &str, line: &str| Ran::of(bulla.command(line).env("BULLA_MACHINE", machine), &sealed);
    assert_eq!(with("sim:host", "unseal --context wallet").ok(), b"secret");
    with("sim:other", "unseal --context wallet").fails(10, &["[machine.other_machine]"]);
    assert_eq!(with("sim:other", "--machine sim:host unseal --context wallet").ok(), b"secret");
    assert_eq!(with("nonsense", "unseal --machine sim:host --context wallet").ok(), b"secret");
    with("nonsense", "unseal --context wallet").fails(2, &["unknown machine `nonsense`"]);
}

#[test]
fn without_a_machine_there_is_usage() {
    let bulla = Bulla::with_host();
    for line in ["seal --context wallet", "unseal --context wallet"] {
        bulla.run(line).fails(2, &["no machine given", "--machine", "sgx"]);
    }
    for machine in [
        "host",
        "sgx:1",
        "sgx:key-files",
        "tdx:natives",
        "tdx:native,",
        "tdx:,",
        "tdx:cid=2",
        "SGX",
        "sim-tdx:host",
        "tpmx",
        ":",
    ] {
        let ran = bulla.run(&format!("--machine {machine} seal --context wallet"));
        ran.fails(2, &["unknown machine", machine]);
    }
}

#[test]
fn a_machine_that_is_not_there_is_told_so() {
    let bulla = Bulla::with_host();
    for machine in ["sgx", "sgx:key-file"] {
        let ran = bulla.run(&format!("--machine {machine} seal --context wallet"));
        ran.fails(13, &["no SGX enclave here"]);
    }
    for machine in ["sim:missing", "sim-td:missing", "sim:"] {
        let ran = bulla.run(&format!("--machine {machine} seal --context wallet"));
        assert!(ran.fails(13, &["machine.toml", "bulla sim new"]).stdout.is_empty());
    }
    bulla.set("host/machine.toml", "extra", "1");
    bulla.run("--machine sim:host seal --context wallet").fails(13, &["extra", "[sim.unavailable]"]);
}

/// R15, R110: a machine without the marker of the simulator is not simulated.
#[test]
fn the_marker_is_needed() {
    let bulla = Bulla::with_host();
    for register in ["cpusvn", "tee_tcb_svn"] {
        let bulla = Bulla::with_host();
        bulla.set("host/machine.toml", register, &format!("\"{}\"", "05".repeat(16)));
        bulla.run("--machine sim:host seal --context wallet").fails(13, &["marker"]);
    }
    bulla.seal(b"the others are as they were");
}

#[test]
fn a_new_machine_takes_no_folder_that_is_in_use() {
    let bulla = Bulla::with_host();
    let before = bulla.text("host/machine.toml");
    bulla.run("sim new host").fails(2, &["host"]);
    assert_eq!(bulla.text("host/machine.toml"), before);
    let note = bulla.run("sim new other");
    assert!(note.stderr.contains("prove nothing"), "{}", note.stderr);
}

#[test]
fn microcode_has_a_bottom() {
    let bulla = Bulla::with_host();
    for _ in 0..5 {
        bulla.run("sim microcode host down").ok();
    }
    bulla.run("sim microcode host down").fails(2, &["lowest"]);
    bulla.run("sim microcode host sideways").fails(2, &["sideways"]);
    bulla.run("sim microcode missing up").fails(13, &["missing"]);
}

/// An enclave derives its own keys, and a guest has none.
#[test]
fn each_command_wants_its_kind_of_machine() {
    let bulla = Bulla::with_host();
    let ran = bulla.run_with("--machine sim-td:host seal --context wallet", b"x");
    assert!(ran.fails(2, &["key provider"]).stdout.is_empty());
    let request = "request --provider http://127.0.0.1:1 --path p --purpose p";
    let id = "0".repeat(64);
    bulla.run(&format!("--machine sim-td:host {request}")).fails(2, &["--provider-id"]);
    bulla.run(&format!("--machine sim-td:host {request} --provider-id 00")).fails(2, &["64 hexadecimal"]);
    bulla.run(&format!("--machine sim-td:host {request} --provider-id {id}")).fails(14, &["127.0.0.1:1"]);
    bulla.run(&format!("--machine sim-td:host,missing {request} --provider-id {id}")).fails(1, &["missing"]);
    bulla.write("td.toml", "mrtd = \"00\"\n");
    bulla
        .run(&format!("--machine sim-td:host,td.toml {request} --provider-id {id}"))
        .fails(2, &["TD description"]);
}

/// Nothing is a guest that has no device of one: it is said what is missing, with the code for that.
#[test]
fn a_guest_that_is_none_is_refused() {
    let bulla = Bulla::new();
    let ran = bulla.run("--machine tdx seal --context wallet");
    ran.fails(13, &["no TDX guest here", "CONFIG_TDX_GUEST_DRIVER"]);
    for parameter in ["native", "qgs=vsock:2:4050", "native,qgs=unix:qgs.socket"] {
        let ran = bulla.run(&format!("--machine tdx:{parameter} seal --context wallet"));
        ran.fails(13, &["no TDX guest here"]);
    }
    bulla.run("--machine tdx:qgs=2:4050 seal --context wallet").fails(2, &["vsock:CID:PORT"]);
}
