//! `rewrap` and `rotate`: slots and keys, changed in place.

use crate::support::{Bulla, Ran, mode, rebuilt};

const ON: &str = "--machine sim:host";

/// A folder with the machine `host`, the key `key`, and the envelope `sealed` for both.
fn prepared() -> Bulla {
    let bulla = Bulla::with_host();
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    bulla.run_with(&format!("{ON} seal --context wallet --recovery key.pub -o sealed"), b"secret").ok();
    bulla
}

fn unseal(bulla: &Bulla, options: &str) -> Ran {
    bulla.run(&format!("unseal --context wallet {options}"))
}

fn kinds(bulla: &Bulla, file: &str) -> Vec<String> {
    let found = bulla.run(&format!("inspect --json {file}")).json();
    found["slots"].as_array().unwrap().iter().map(|slot| slot["kind"].as_str().unwrap().to_owned()).collect()
}

/// R75: the payload is not touched, so a rewrapped envelope holds the same ciphertext.
#[test]
fn openers_are_added_and_dropped_without_touching_the_payload() {
    let bulla = Bulla::with_host();
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    let sealed = bulla.seal(&[7; 1000]);
    bulla.write("sealed", &sealed);
    bulla.run(&format!("{ON} rewrap --context wallet --add-recovery key.pub sealed")).ok();
    assert_eq!(kinds(&bulla, "sealed"), ["sim", "recipient"]);
    assert_eq!(unseal(&bulla, "--key key sealed").ok(), [7; 1000]);
    let payload = &sealed[sealed.len() - 1016..];
    assert!(bulla.read("sealed").ends_with(payload));
    assert_eq!(mode(&bulla.path("sealed")), 0o600);

    let ran = bulla.run("rewrap --key key --drop 0 sealed");
    assert!(ran.stderr.contains("dropping is not revocation"), "{}", ran.stderr);
    ran.ok();
    unseal(&bulla, &format!("{ON} sealed")).fails(10, &["[envelope.no_opener]"]);
    assert_eq!(unseal(&bulla, "--key key sealed").ok(), [7; 1000]);
    bulla.run("rewrap --key key --drop 0 sealed").fails(10, &["sealed", "[slot.last]"]);
    bulla.run("rewrap --key key --drop 3 sealed").fails(2, &["no slot 3", "[slot.unknown]"]);
    bulla.run("rewrap --key key --drop 0 --force sealed").ok();
    unseal(&bulla, "--key key sealed").fails(10, &["nobody"]);
}

#[test]
fn a_machine_and_a_threshold_are_added() {
    let bulla = prepared();
    for name in ["a", "b"] {
        let public = bulla.run(&format!("recipient new --kind x25519 -o {name}")).ok();
        bulla.write(&format!("{name}.pub"), public);
    }
    let policy = "signer:product=1,svn=1,label=acme";
    let add = format!("--add-machine={policy} --add-threshold 2 --holder a.pub --holder b.pub");
    bulla.run(&format!("{ON} rewrap --context wallet {add} sealed")).ok();
    assert_eq!(kinds(&bulla, "sealed"), ["sim", "recipient", "sim", "threshold"]);
    let found = bulla.run("inspect --json sealed").json();
    assert_eq!(found["slots"][2]["binding"], policy);
    assert_eq!(unseal(&bulla, "--key a --key b sealed").ok(), b"secret");
    // R7: another program of the signer opens by it.
    let rebuilt = rebuilt(&bulla);
    let bulla = bulla.with_program(rebuilt);
    let ran = unseal(&bulla, &format!("{ON} sealed"));
    assert!(ran.stderr.contains("slot 2 (sim)"), "{}", ran.stderr);
    assert_eq!(ran.ok(), b"secret");
}

/// R63: nobody is let in to whatever lies there, only to what was named.
#[test]
fn an_opener_is_added_for_a_context_that_was_said() {
    let bulla = prepared();
    let before = bulla.read("sealed");
    bulla.run(&format!("{ON} rewrap --add-recovery key.pub sealed")).fails(2, &["--context"]);
    bulla.run(&format!("{ON} rewrap --add-machine sealed")).fails(2, &["--context"]);
    bulla
        .run(&format!("{ON} rewrap --context diary --add-recovery key.pub sealed"))
        .fails(10, &["[envelope.other_context]"]);
    assert_eq!(bulla.read("sealed"), before);
}

/// R5: without an option the machine's slot is bound to the versions of today.
#[test]
fn rewrapping_alone_is_refreshing() {
    let bulla = prepared();
    let cpusvn = || bulla.run("inspect --json sealed").json()["slots"][0]["claims"]["CPUSVN"].clone();
    bulla.run("sim microcode host up").ok();
    bulla.run(&format!("{ON} rewrap sealed")).ok();
    assert_eq!(kinds(&bulla, "sealed"), ["sim", "recipient"]);
    assert_eq!(cpusvn(), "060502020301000353494d554c415445");
    bulla.run("sim microcode host down").ok();
    unseal(&bulla, &format!("{ON} sealed")).fails(12, &["CPUSVN", "[machine.tcb_too_old]"]);
    bulla.run("rewrap --key key sealed").fails(2, &["needs a machine"]);
}

/// R82: who was dropped does not open what was rotated, and the payload is another one.
#[test]
fn rotating_revokes() {
    let bulla = prepared();
    let before = bulla.read("sealed");
    let ran = bulla.run(&format!("{ON} rotate --drop 1 sealed"));
    assert!(ran.stderr.contains("still opens for who was dropped"), "{}", ran.stderr);
    ran.ok();
    unseal(&bulla, "--key key sealed").fails(10, &["[envelope.no_opener]"]);
    assert_eq!(unseal(&bulla, &format!("{ON} sealed")).ok(), b"secret");
    assert_ne!(bulla.read("sealed")[..], before[..]);
    // The copy from before is there, until it is pruned.
    assert_eq!(unseal(&bulla, "--key key .sealed.bulla-1").ok(), b"secret");
    bulla.run(&format!("{ON} rotate --prune sealed")).ok();
    assert!(!bulla.names(".").iter().any(|name| name.starts_with(".sealed.bulla-1")));
    assert_eq!(unseal(&bulla, &format!("{ON} sealed")).ok(), b"secret");
}

/// R66: epochs only rise, and a copy of an older one is refused by who knows of a newer one.
#[test]
fn epochs_rise() {
    let bulla = prepared();
    bulla.run_with(&format!("{ON} seal --context wallet --epoch 3 -o sealed"), b"secret").ok();
    let old = bulla.read("sealed");
    let epoch = || bulla.run("inspect --json sealed").json()["epoch"].as_u64();
    bulla.run(&format!("{ON} rotate sealed")).ok();
    assert_eq!(epoch(), Some(4));
    bulla.run(&format!("{ON} rewrap --context wallet --epoch 7 sealed")).ok();
    assert_eq!(epoch(), Some(7));
    for line in ["rewrap --context wallet --epoch 6 sealed", "rotate --epoch 6 sealed"] {
        bulla.run(&format!("{ON} {line}")).fails(2, &["does not fall"]);
        assert_eq!(epoch(), Some(7));
    }
    assert_eq!(unseal(&bulla, &format!("{ON} --at-least 7 sealed")).ok(), b"secret");
    bulla.write("old", old);
    unseal(&bulla, &format!("{ON} --at-least 7 old")).fails(12, &["epoch 3", "7", "[envelope.rollback]"]);
    bulla.write("none", bulla.seal(b"x"));
    unseal(&bulla, &format!("{ON} --at-least 1 none")).fails(12, &["[envelope.rollback]"]);
    bulla.run_with(&format!("{ON} seal --context wallet --epoch 0"), b"x").fails(2, &["begin with 1"]);
}

/// As filters, and from one file to another.
#[test]
fn they_are_filters_too() {
    let bulla = prepared();
    let sealed = bulla.read("sealed");
    for line in ["rewrap", "rewrap -", "rotate -", "rewrap -o - -", "rewrap sealed -o -"] {
        let changed = bulla.run_with(&format!("{ON} {line}"), &sealed).ok();
        assert_ne!(changed, sealed, "{line}");
        assert_eq!(bulla.unseal(&changed).ok(), b"secret", "{line}");
        assert_eq!(bulla.read("sealed"), sealed, "{line}");
    }
    bulla.run(&format!("{ON} rotate sealed -o other")).ok();
    assert_eq!(unseal(&bulla, "--key key other").ok(), b"secret");
    assert_eq!(bulla.read("sealed"), sealed);
    bulla.run(&format!("{ON} rewrap sealed other -o third")).fails(2, &["one envelope"]);
    bulla.run(&format!("{ON} rewrap sealed -")).fails(2, &["stands alone"]);
    bulla.run_with(&format!("{ON} rewrap"), b"noise").fails(11, &["[envelope.magic]"]);
}

/// One that cannot be changed does not keep the others from it, and is named.
#[test]
fn several_files_are_changed_one_by_one() {
    let bulla = prepared();
    bulla.run_with(&format!("{ON} seal --context diary -o diary"), b"dear").ok();
    bulla.write("noise", "noise");
    bulla.run("sim microcode host up").ok();
    let ran = bulla.run(&format!("{ON} rewrap noise sealed missing diary"));
    ran.fails(11, &["noise: ", "missing: ", "sealed: now opens for sim, recipient"]);
    let found = bulla.run("inspect --json diary").json();
    assert_eq!(found["slots"][0]["claims"]["CPUSVN"], "060502020301000353494d554c415445");
    assert_eq!(bulla.text("noise"), "noise");
}

/// R69, R70: nothing is changed by who cannot open it, nor through a link.
#[test]
fn what_does_not_open_stays_as_it_is() {
    let bulla = prepared();
    let sealed = bulla.read("sealed");
    let names = |bulla: &Bulla| {
        bulla.names(".").into_iter().filter(|name| !name.ends_with("-lock")).collect::<Vec<_>>()
    };
    let before = names(&bulla);
    bulla.run("sim new other").ok();
    for line in ["rewrap sealed", "rotate sealed", "rewrap --context wallet --add-recovery key.pub sealed"] {
        bulla.run(&format!("--machine sim:other {line}")).fails(10, &["[machine.other_machine]"]);
    }
    bulla.run(&format!("{ON} rewrap --at-least 1 sealed")).fails(12, &["[envelope.rollback]"]);
    assert_eq!(bulla.read("sealed"), sealed);
    std::fs::remove_dir_all(bulla.path("other")).unwrap();
    assert_eq!(names(&bulla), before);
    std::os::unix::fs::symlink("sealed", bulla.path("link")).unwrap();
    bulla.run(&format!("{ON} rewrap link")).fails(10, &["link", "[file.unsafe]"]);
    assert_eq!(bulla.read("sealed"), sealed);
}

/// The origin survives what the machine does, and not what another opener does, unless the machine vouches.
#[test]
fn only_the_machine_keeps_the_origin() {
    let bulla = prepared();
    let demanded = format!("{ON} --require-origin sealed");
    bulla.run(&format!("{ON} rewrap sealed")).ok();
    assert_eq!(unseal(&bulla, &demanded).ok(), b"secret");
    bulla.run("rewrap --key key --context wallet --add-recovery key.pub sealed").ok();
    unseal(&bulla, &demanded).fails(10, &["[envelope.no_origin]"]);
    bulla.run(&format!("{ON} rewrap sealed")).ok();
    unseal(&bulla, &demanded).fails(10, &["[envelope.no_origin]"]);
    bulla.run(&format!("{ON} rewrap --context wallet --vouch sealed")).ok();
    assert_eq!(unseal(&bulla, &demanded).ok(), b"secret");
}
