//! Floors: what is too old is not sealed, and not opened (R6, R83).

use crate::support::{Bulla, Ran, flipped, rebuilt};

const OLD: &str = "050502020301000353494d554c415445";
const NEW: &str = "060502020301000353494d554c415445";

fn raise(bulla: &Bulla, options: &str) -> Ran {
    bulla.run(&format!("--machine sim:host floor raise floor {options}"))
}

fn shown(bulla: &Bulla) -> serde_json::Value {
    bulla.run("--machine sim:host floor show --json floor").json()
}

fn unseal(bulla: &Bulla, options: &str) -> Ran {
    bulla.run(&format!("--machine sim:host unseal --context wallet --floor floor {options} sealed"))
}

/// R83.
#[test]
fn a_floor_only_rises() {
    let bulla = Bulla::with_host();
    assert!(raise(&bulla, "--isvsvn 2 --epoch 5").text().contains("isvsvn         2"));
    assert_eq!(shown(&bulla), serde_json::json!({ "isvsvn": 2, "epoch": 5, "cpusvn": [] }));
    let before = bulla.read("floor");
    for lower in ["--isvsvn 1", "--epoch 4", "--isvsvn 9 --epoch 4"] {
        raise(&bulla, lower).fails(10, &["only rises", "[floor.lowered]"]);
        assert_eq!(bulla.read("floor"), before, "{lower}");
    }
    raise(&bulla, "--isvsvn 3").ok();
    assert_eq!(shown(&bulla), serde_json::json!({ "isvsvn": 3, "epoch": 5, "cpusvn": [] }));
}

/// R5, R6, R83: CPUSVNs are listed, and a newer one is admitted by the processor's own word.
#[test]
fn cpusvns_are_admitted_and_left_behind() {
    let bulla = Bulla::with_host();
    raise(&bulla, "--cpusvn current").ok();
    assert_eq!(shown(&bulla)["cpusvn"], serde_json::json!([OLD]));
    bulla.write("sealed", bulla.seal(b"secret"));
    bulla.run("sim microcode host up").ok();
    let seal = "--machine sim:host seal --context wallet --floor floor -o newer";
    bulla.run_with(seal, b"secret").fails(12, &["CPUSVN", "[machine.below_floor]"]);
    raise(&bulla, "--cpusvn current").fails(10, &["[floor.lowered]"]);
    raise(&bulla, "--admit-present").ok();
    assert_eq!(shown(&bulla)["cpusvn"], serde_json::json!([OLD, NEW]));
    bulla.run_with(seal, b"secret").ok();
    assert_eq!(unseal(&bulla, "").ok(), b"secret");

    raise(&bulla, "--cpusvn current").ok();
    assert_eq!(shown(&bulla)["cpusvn"], serde_json::json!([NEW]));
    unseal(&bulla, "").fails(12, &["CPUSVN", OLD, NEW, "[machine.below_floor]"]);
    // A migration opens what is below, and writes at the floor.
    assert_eq!(unseal(&bulla, "--below-floor").ok(), b"secret");
    bulla.run("--machine sim:host rewrap --floor floor --below-floor sealed").ok();
    assert_eq!(unseal(&bulla, "").ok(), b"secret");
    // A processor that went back is below it, and does not even open it.
    bulla.run("sim microcode host down").ok();
    raise(&bulla, "--admit-present").fails(12, &["[machine.tcb_too_old]"]);
}

/// R6: below the floor by the version of the program, or by the epoch.
#[test]
fn isvsvn_and_epoch_are_demanded() {
    let bulla = Bulla::with_host();
    bulla.set("host/enclave.toml", "svn", "3");
    raise(&bulla, "--isvsvn 3 --epoch 2").ok();
    let seal = "--machine sim:host seal --context wallet -o sealed";
    bulla.run_with(&format!("{seal} --floor floor --epoch 1"), b"secret").fails(12, &["epoch"]);
    bulla.run_with(&format!("{seal} --floor floor"), b"secret").fails(12, &["epoch"]);
    bulla.run_with(&format!("{seal} --epoch 1"), b"secret").ok();
    unseal(&bulla, "").fails(12, &["epoch", "[machine.below_floor]"]);
    unseal(&bulla, "--below-floor").fails(12, &["epoch"]);
    bulla
        .run("--machine sim:host rewrap --floor floor --below-floor --context wallet --epoch 2 sealed")
        .fails(12, &["epoch"]);
    bulla.run("--machine sim:host rewrap --context wallet --epoch 2 sealed").ok();
    assert_eq!(unseal(&bulla, "").ok(), b"secret");

    bulla.run_with("--machine sim:host seal --context wallet --policy signer:product=1,svn=2,label=a --epoch 2 -o sealed", b"x")
        .ok();
    unseal(&bulla, "").fails(12, &["ISVSVN", "[machine.below_floor]"]);
}

/// R83: the host cannot write one.
#[test]
fn a_floor_is_its_machines_own() {
    let bulla = Bulla::with_host();
    raise(&bulla, "--isvsvn 1").ok();
    bulla.write("sealed", bulla.seal(b"secret"));
    let floor = bulla.read("floor");
    bulla.write("floor", flipped(&floor, floor.len() - 1, 0));
    unseal(&bulla, "").fails(11, &["floor: ", "[envelope.origin]"]);
    raise(&bulla, "--isvsvn 2").fails(11, &["floor: "]);
    // Something else that this machine sealed is no floor.
    bulla.write("floor", bulla.seal(b"secret"));
    unseal(&bulla, "").fails(10, &["[envelope.other_context]"]);
    // Nor what others sealed to it, or could have.
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    bulla.run_with("seal --no-machine --context bulla/floor --recovery key.pub -o floor", b"x").ok();
    unseal(&bulla, "--key key").fails(10, &["floor: "]);
    bulla.run("unseal --context wallet --floor floor --key key sealed").fails(2, &["needs a machine"]);

    bulla.write("floor", &floor);
    bulla.run("--machine sim:host rewrap --context bulla/floor --add-recovery key.pub floor").ok();
    raise(&bulla, "").ok();
    bulla.run("--machine sim:host rewrap --context bulla/floor --add-recovery key.pub floor").ok();
    assert_eq!(unseal(&bulla, "").ok(), b"secret");
    bulla.run("rewrap --key key --context bulla/floor --add-recovery key.pub floor").ok();
    unseal(&bulla, "").fails(10, &["floor: ", "[envelope.no_origin]"]);

    bulla.write("floor", &floor);
    let rebuilt = rebuilt(&bulla);
    let bulla = bulla.with_program(rebuilt);
    bulla.run("--machine sim:host floor show floor").fails(10, &["MRENCLAVE", "[machine.other_identity]"]);
}

/// R95: one that is lost is not made anew, lower than it was.
#[test]
fn a_lost_floor_is_not_made_anew() {
    let bulla = Bulla::with_host();
    raise(&bulla, "--isvsvn 5").ok();
    bulla.write("sealed", bulla.seal(b"secret"));
    std::fs::remove_file(bulla.path("floor")).unwrap();
    unseal(&bulla, "").fails(10, &["floor", "[seal.missing]"]);
    raise(&bulla, "--isvsvn 1").fails(10, &["floor", "[seal.missing]"]);
    bulla.run("--machine sim:host unseal --context wallet --floor nowhere sealed").fails(1, &["nowhere"]);
}
