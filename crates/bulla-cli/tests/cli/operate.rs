//! An operator and a running provider.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Bulla;

const SETTINGS: &str = "machine = \"sim:host\"\n[listen]\nlegacy = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
const ASK: &str = "--machine sim-td:host request --path app/db --purpose disk";

#[test]
fn an_operator_sees_how_it_is_and_drains_it() {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", SETTINGS);
    bulla.run("provider status --config provider.toml").fails(14, &["is it running"]);
    let provider = bulla.serve("provider.toml");
    let status = bulla.run("provider status --config provider.toml").text();
    for words in
        [provider.id(), "ready          true", "epoch 1, ", "policy version 1", "collateral     sgx "]
    {
        assert!(status.contains(words), "{words:?} is not in {status}");
    }
    let json = bulla.run("provider status --json --admin provider-state/admin.sock").json();
    assert_eq!((&json["ready"], &json["simulated"]), (&true.into(), &true.into()));
    let metrics = bulla.run("provider status --metrics --config provider.toml").text();
    assert!(metrics.contains("bulla_provider_ready 1") && metrics.ends_with("# EOF\n"));

    bulla.run("provider drain --config provider.toml").ok();
    let drained = bulla.run("provider status --config provider.toml").fails(14, &["gives no keys"]);
    assert!(String::from_utf8(drained.stdout).unwrap().contains("not ready      1 draining: "));
    bulla.run(&format!("{ASK} {}", provider.options())).fails(14, &[]);
    bulla.run("provider resume --config provider.toml").ok();
    bulla.run(&format!("{ASK} {}", provider.options())).ok();
    bulla.run("provider status").fails(2, &[]);
    bulla.run("provider status --config provider.toml --admin x").fails(2, &[]);
}

/// On a simulated machine under the development authority, which has no key, commands need no signature.
#[test]
fn roots_are_rotated_and_older_ones_refused() {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", SETTINGS);
    let provider = bulla.serve("provider.toml");
    let key = || bulla.run(&format!("{ASK} {}", provider.options())).ok();
    let before = key();
    let told = bulla.run("provider rotate --to 2 --config provider.toml").text();
    assert!(told.contains("changed        true") && told.contains("root           epoch 2, "), "{told}");
    assert_ne!(key(), before);
    let again = bulla.run("provider rotate --to 2 --json --config provider.toml").json();
    assert_eq!((&again["changed"], again["roots"].as_array().unwrap().len()), (&false.into(), 2));
    bulla.run("provider rotate --to 7 --config provider.toml").fails(10, &["epoch"]);
    bulla.run("provider floor --epoch 2 --config provider.toml").ok();
    bulla.run("provider floor --epoch 1 --config provider.toml").fails(10, &[]);

    bulla.run("provider retire --epoch 2 --config provider.toml --prepare retire.toml").ok();
    assert!(bulla.text("retire.toml").contains("[command.retire]\nepoch = 2\n"));
    bulla.write("not-signed", "{}");
    bulla.run("provider submit not-signed --config provider.toml").fails(10, &[]);
}

/// R98, B45: the environment of the host changes nothing of what is said.
#[test]
fn r98_the_host_cannot_raise_the_level_of_the_log() {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", format!("{SETTINGS}[log]\nformat = \"json\"\n"));
    let mut command = bulla.command("provider serve --config provider.toml");
    for (name, value) in [
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("BULLA_LOG", "trace"),
        ("RUST_LIB_BACKTRACE", "1"),
    ] {
        command.env(name, value);
    }
    let mut provider = bulla.try_serve_as(command).unwrap();
    bulla.run(&format!("{ASK} {}", provider.options())).ok();
    bulla.run("provider reload --config provider.toml").ok();
    provider.wait_for("read the policy anew");
    let lines: Vec<serde_json::Value> =
        provider.seen.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.iter().any(|line| line["message"] == "read the policy anew"));
    assert!(lines.iter().all(|line| ["INFO", "WARN", "ERROR"].contains(&line["level"].as_str().unwrap())));
}

/// SIGHUP reads the policy anew, and what cannot be read leaves what is in force.
#[test]
fn a_hangup_reloads_and_a_termination_ends_it() {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", SETTINGS);
    let mut provider = bulla.serve("provider.toml");
    let process = Pid::from_raw(provider.process().try_into().unwrap()).unwrap();
    kill_process(process, Signal::HUP).unwrap();
    provider.wait_for("read the policy anew");
    let told = bulla.run("provider reload --config provider.toml").text();
    assert!(told.contains("changed        false"), "{told}");
    kill_process(process, Signal::TERM).unwrap();
    assert_eq!(provider.end(), Some(0));
    assert!(!bulla.path("provider-state/admin.sock").exists());
}
