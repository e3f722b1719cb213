//! The command as a key provider, on real sockets: against a client of the earlier providers, and against a computation of
//! its keys that shares no code with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod site;
#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

use site::Site;
use support::Ran;

/// R12, R43: the wire, the box, the formula and everything below it, each from its own description.
#[test]
fn an_existing_client_gets_the_key_of_the_formula() {
    let site = Site::new();
    let provider = site.serve();
    let register = |name: &str| format!("{name} = \"{}\"\n", "5a".repeat(48));
    let mut keys = vec![site.client("default", &provider)];
    assert_eq!(keys[0], site.formula("legacy", "default"));
    for name in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"] {
        site.bulla.write("td", register(name));
        let key = site.client("td", &provider);
        assert_eq!(key, site.formula("legacy", "td"), "{name}");
        assert!(!keys.contains(&key), "{name}");
        keys.push(key);
    }
    site.bulla.write("td", "xfam = \"0x602e7\"\n");
    assert_eq!(site.client("td", &provider), keys[0], "the formula has no XFAM");
}

/// R10, R12, R25, R26.
#[test]
fn a_v1_key_is_that_of_the_derivation() {
    let site = Site::new();
    let provider = site.serve();
    let mut keys = vec![site.client("default", &provider)];
    for (td, selectors) in [
        ("", "app/db disk 32"),
        ("", "app/db disk 16"),
        ("", "app/db disk 64"),
        ("", "app/dc disk 32"),
        ("", "app/db disc 32"),
        ("mrtd = \"R\"\n", "app/db disk 32"),
        ("rtmr3 = \"R\"\n", "app/db disk 32"),
        ("mrconfigid = \"R\"\n", "app/db disk 32"),
        ("mrowner = \"R\"\n", "app/db disk 32"),
        ("mrownerconfig = \"R\"\n", "app/db disk 32"),
    ] {
        site.bulla.write("td", td.replace('R', &"5a".repeat(48)));
        let key = site.request("td", selectors, &provider).ok();
        assert_eq!(hex::encode(&key), site.formula("v1", &format!("td {selectors}")), "{td}{selectors}");
        let start = hex::encode(&key[..16]);
        assert!(!keys.iter().any(|key| key.starts_with(&start)), "{td}{selectors}");
        keys.push(hex::encode(key));
    }
    // What the derivation leaves out.
    site.bulla.write("td", "xfam = \"0x602e7\"\nattributes = \"0x50000000\"\n");
    assert_eq!(hex::encode(site.request("td", "app/db disk 32", &provider).ok()), keys[1]);
}

/// R5, R45, B38.
#[test]
fn keys_survive_restarts_and_microcode_updates() {
    let site = Site::new();
    let provider = site.serve();
    let keys = |provider: &_| {
        (site.client("default", provider), site.request("default", "app/db disk 32", provider).ok())
    };
    let first = keys(&provider);
    let root = provider.said("root: ").to_owned();
    site.bulla.run("sim microcode host up").ok();
    assert!(keys(&provider) == first, "the guest is newer than the provider");
    provider.kill();
    for _ in 0..2 {
        let provider = site.serve();
        assert_eq!(provider.said("root: "), root);
        assert!(keys(&provider) == first);
        provider.kill();
        site.bulla.run("sim microcode host up").ok();
    }
    // One step before that under which it last started: its memory is bound to the newer one.
    for _ in 0..2 {
        site.bulla.run("sim microcode host down").ok();
    }
    site.refused_start(12, &["CPUSVN"]);
    site.bulla.run("sim microcode host up").ok();
    assert!(keys(&site.serve()) == first);
}

/// R22: a provider that runs since before the downgrade gives an old platform nothing.
#[test]
fn a_guest_on_an_old_platform_is_refused() {
    let site = Site::new();
    let mut provider = site.serve();
    site.bulla.run("sim microcode host down").ok();
    site.client_is_refused("default", &provider);
    provider.wait_for("policy.tcb_status");
    site.request("default", "app/db disk 32", &provider).fails(12, &[]);
}

/// R95, B39.
#[test]
fn state_without_its_record_is_not_started_on() {
    let site = Site::new();
    let first = site.client("default", &site.serve());
    let record = site.bulla.read("provider-state/root.request");
    let names = site.bulla.names("provider-state");
    std::fs::remove_file(site.bulla.path("provider-state/root.request")).unwrap();
    site.refused_start(11, &["root.request", "put the missing file back", "[state.missing_seal]"]);
    let left: Vec<_> = names.iter().filter(|name| *name != "root.request").cloned().collect();
    assert_eq!(site.bulla.names("provider-state"), left, "nothing was made");
    site.bulla.write("provider-state/root.request", record);
    assert_eq!(site.client("default", &site.serve()), first);

    std::fs::remove_dir_all(site.bulla.path("provider-state")).unwrap();
    assert_ne!(site.client("default", &site.serve()), first, "an empty state is a new provider");
}

/// R45: what another machine gives and asks for.
#[test]
fn machines_share_nothing() {
    let site = Site::new();
    let provider = site.serve();
    let first = site.client("default", &provider);

    let other = Site::new();
    let others = other.serve();
    assert_ne!(other.client("default", &others), first);
    other.client_is_refused("default", &provider);
    provider.kill();

    // The other machine's provider over this machine's state.
    drop(others);
    for name in ["root.request", "audit.log"] {
        other
            .bulla
            .write(&format!("provider-state/{name}"), site.bulla.read(&format!("provider-state/{name}")));
    }
    other.refused_start(10, &["another machine"]);
    site.bulla.run("sim platform-reset host").ok();
    site.refused_start(10, &["another machine"]);
}

/// R36, B15: the host writes the QE ID, the vendor the PPID.
#[test]
fn a_guest_of_another_machine_with_this_machines_qe_id_is_refused() {
    let site = Site::new();
    let mut provider = site.serve();
    let first = site.client("default", &provider);
    let other = Site::new();
    let qe_id = site.bulla.value("host/machine.toml", "qe_id");
    other.bulla.set("host/machine.toml", "qe_id", &qe_id);
    let ran = other.client_is_refused("default", &provider);
    assert!(ran.stderr.contains("closed the connection"), "{}", ran.stderr);
    provider.wait_for("platform.mismatch");
    other.request("default", "app/db disk 32", &provider).fails(10, &["another machine"]);
    assert_eq!(site.client("default", &provider), first);

    // And the reverse: another QE ID makes no other machine of this one.
    site.bulla.set("host/machine.toml", "qe_id", &format!("\"{}\"", "5c".repeat(16)));
    assert_eq!(site.client("default", &provider), first);
}

/// R23, R25, B9, B24: what the formula does not cover is refused.
#[test]
fn guests_outside_the_policy_are_refused() {
    let site = Site::new();
    let mut provider = site.serve();
    for (td, cause) in [
        ("debug = true", "policy.debug"),
        ("attributes = 0x30000000", "policy.migratable"),
        ("attributes = 0", "policy.sept_ve_disable_not_set"),
        ("mrconfigid = \"R\"", "legacy.mrconfigid"),
        ("mrowner = \"R\"", "legacy.mrowner"),
        ("mrownerconfig = \"R\"", "legacy.mrownerconfig"),
    ] {
        site.bulla.write("td", td.replace('R', &"5a".repeat(48)));
        site.client_is_refused("td", &provider);
        provider.wait_for(cause);
    }
    site.client("default", &provider);
}

/// R97: neither log has a key, a quote or a platform's id.
#[test]
fn logs_hold_no_secrets() {
    let site = Site::new();
    let mut provider = site.serve();
    let key = site.client("default", &provider);
    site.bulla.write("td", "debug = true\n");
    site.client_is_refused("td", &provider);
    provider.wait_for("policy.debug");
    let ppid = site.bulla.value("host/machine.toml", "ppid").replace('"', "");
    let logs = provider.seen.join("\n") + &site.bulla.text("provider-state/audit.log");
    assert!(logs.contains("released") && logs.contains("policy.debug"));
    for secret in [&key, &ppid] {
        assert!(!logs.contains(secret.as_str()));
    }
}

/// The measurement decides who the provider is: its own next build has another root.
#[test]
fn another_build_of_the_provider_has_no_key_of_this_one() {
    let site = Site::new();
    let first = site.client("default", &site.serve());
    let rebuilt = support::rebuilt(&site.bulla);
    let site = Site { bulla: site.bulla.with_program(rebuilt) };
    site.refused_start(10, &["MRENCLAVE"]);
    std::fs::remove_dir_all(site.bulla.path("provider-state")).unwrap();
    let key = site.client("default", &site.serve());
    assert_ne!(key, first);
    assert_eq!(key, site.formula("legacy", "default"));
}

/// A computation that agreed with anything would show nothing.
#[test]
fn the_python_programs_fail_when_they_should() {
    let site = Site::new();
    let provider = site.serve();
    site.client("default", &provider);
    let record = site.bulla.text("provider-state/root.request");
    site.bulla.set("provider-state/root.request", "root_id", &format!("\"{}\"", "00".repeat(16)));
    let ran = Ran::of(&mut site.python("legacy", "default"), b"");
    assert_ne!(ran.code, 0);
    site.bulla.write("provider-state/root.request", record);
    site.formula("legacy", "default");
}
