//! Who opens what: everything that is not the same program on the same machine for the same context is told so.

use crate::support::{Bulla, rebuilt};

const OPEN: &str = "--machine sim:host unseal --context wallet";

/// R5, B38.
#[test]
fn a_microcode_update_is_survived() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    for _ in 0..3 {
        bulla.run("sim microcode host up").ok();
        assert_eq!(bulla.unseal(&sealed).ok(), b"secret");
    }
}

/// R5, B38: the register is named, and both values.
#[test]
fn a_microcode_downgrade_is_refused_and_named() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    bulla.run("sim microcode host down").ok();
    let values = ["050502020301000353494d554c415445", "040502020301000353494d554c415445"];
    let ran = bulla.unseal(&sealed).fails(12, &["CPUSVN", values[0], values[1], "[machine.tcb_too_old]"]);
    assert!(ran.stdout.is_empty());
    // What is sealed now is sealed at what the machine has now.
    let lower = bulla.seal(b"lower");
    bulla.run("sim microcode host up").ok();
    assert_eq!(bulla.unseal(&sealed).ok(), b"secret");
    assert_eq!(bulla.unseal(&lower).ok(), b"lower");
}

/// R45, B28.
#[test]
fn another_machine_is_refused() {
    let bulla = Bulla::with_host();
    bulla.run("sim new other").ok();
    let sealed = bulla.seal(b"secret");
    let ran = bulla.run_with("--machine sim:other unseal --context wallet", &sealed);
    assert!(ran.fails(10, &["another machine", "[machine.other_machine]"]).stdout.is_empty());
}

/// B38: a firmware update can give the machine new keys.
#[test]
fn the_same_machine_after_a_platform_reset_is_another() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    bulla.run("sim platform-reset host").ok();
    bulla.unseal(&sealed).fails(10, &["another machine", "new keys", "[machine.other_machine]"]);
    assert_eq!(bulla.unseal(&bulla.seal(b"new")).ok(), b"new");
}

/// R63: both are named.
#[test]
fn another_context_is_refused() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    for other in ["diary", "Wallet", "wallet2", "walle"] {
        let ran = bulla.run_with(&format!("--machine sim:host unseal --context {other}"), &sealed);
        ran.fails(10, &["\"wallet\"", &format!("{other:?}"), "[envelope.other_context]"]);
    }
}

/// R1: one byte more in the executable is another program.
#[test]
fn another_measurement_is_refused() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    let copy = rebuilt(&bulla);
    let bulla = bulla.with_program(copy);
    bulla.unseal(&sealed).fails(10, &["MRENCLAVE", "[machine.other_identity]"]);
    assert_eq!(bulla.unseal(&bulla.seal(b"its own")).ok(), b"its own");
}

/// Under the measurement policy, one field of the identity after another.
#[test]
fn each_field_of_the_identity_decides_as_it_should() {
    let bulla = Bulla::with_host();
    bulla.set("host/enclave.toml", "svn", "3");
    let original = bulla.text("host/enclave.toml");
    let sealed = bulla.seal(b"secret");
    let with = |key: &str, value: &str| {
        bulla.write("host/enclave.toml", &original);
        bulla.set("host/enclave.toml", key, value);
        bulla.unseal(&sealed)
    };
    with("product", "2").fails(10, &["ISVPRODID", "[machine.other_identity]"]);
    with("svn", "2").fails(12, &["ISVSVN", "sealed at 3, now 2", "[machine.tcb_too_old]"]);
    with("debug", "true").fails(10, &["ATTRIBUTES", "[machine.other_identity]"]);
    let measurement = format!("\"{}\"", "ab".repeat(32));
    with("measurement", &measurement).fails(10, &["MRENCLAVE", &"ab".repeat(32), "[machine.other_identity]"]);
    assert_eq!(with("svn", "4").ok(), b"secret");
    assert_eq!(with("signer", &measurement).ok(), b"secret", "the measurement decides, not the signer");
}

/// R3: what a debugger could see is not what a production enclave opens, in either direction.
#[test]
fn a_debug_enclave_shares_nothing_with_its_production_twin() {
    let bulla = Bulla::with_host();
    bulla.set("host/enclave.toml", "debug", "true");
    let sealed = bulla.seal(b"from the debugger");
    bulla.set("host/enclave.toml", "debug", "false");
    bulla.unseal(&sealed).fails(10, &["ATTRIBUTES"]);
}

/// Too old and elsewhere: what cannot be repaired here is told first.
#[test]
fn another_machine_is_told_before_an_old_one() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    bulla.run("sim new other").ok();
    bulla.run("sim microcode other down").ok();
    bulla.run_with(&OPEN.replace("host", "other"), &sealed).fails(10, &["[machine.other_machine]"]);
}
