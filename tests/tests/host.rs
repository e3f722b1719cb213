//! A host that edits whatever it can reach: settings, the record of the root, and what passes between guest and provider.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod site;
#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

use std::fs;

use site::{SETTINGS, Site};
use support::{Serving, flipped};

const SELECTORS: &str = "app/db disk 32";

/// The keys of the default guest: legacy and v1.
fn keys(site: &Site, provider: &Serving) -> [String; 2] {
    [site.client("default", provider), hex::encode(site.request("default", SELECTORS, provider).ok())]
}

fn copy_folder(site: &Site, from: &str, to: &str) {
    fs::create_dir_all(site.bulla.path(to)).unwrap();
    for name in site.bulla.names(from) {
        let (source, target) = (format!("{from}/{name}"), format!("{to}/{name}"));
        match site.bulla.path(&source).is_dir() {
            true => copy_folder(site, &source, &target),
            false => drop(fs::copy(site.bulla.path(&source), site.bulla.path(&target)).unwrap()),
        }
    }
}

/// R46, R52, R95, R108: each key of the settings, one at a time.
#[test]
fn an_edited_setting_never_leads_to_an_existing_key() {
    let site = Site::new();
    let provider = site.serve();
    let (existing, root) = (keys(&site, &provider), provider.said("root: ").to_owned());
    provider.kill();
    site.bulla.run("sim new other").ok();
    fs::create_dir(site.bulla.path("in-use")).unwrap();
    site.bulla.write("in-use/a-file", "of somebody else");

    for (from, to, code) in [
        ("sim:host", "sim:other", 10),
        ("sim:host", "sim:missing", 13),
        ("sim:host", "sim-td:host", 2),
        ("sim:host", "sgx", 13),
        ("sim:host", "", 2),
        ("machine =", "state_dir = \"in-use\"\nmachine =", 11),
        ("machine =", "state_dir = \"provider.toml\"\nmachine =", 1),
        ("machine =", "state_dir = 1\nmachine =", 2),
        ("legacy = \"127.0.0.1:0\"", "legacy = \"0.0.0.0:0\"", 2),
        ("legacy = \"127.0.0.1:0\"", "legacy = \"192.0.2.1:1\"", 2),
        ("legacy = \"127.0.0.1:0\"", "legacy = 3443", 2),
        ("http = \"127.0.0.1:0\"", "http = \"[::]:0\"", 2),
        ("http = \"127.0.0.1:0\"", "http = \"localhost:0\"", 2),
        ("[listen]", "[policy]\ntcb = \"any\"\n[listen]", 2),
        ("machine =", "authority = \"00\"\nmachine =", 2),
        ("machine =", "root = \"00\"\nmachine =", 2),
        ("machine =", "policy = \"missing.json\"\nmachine =", 1),
        ("machine =", "admin = \"provider.toml\"\nmachine =", 1),
        ("machine =", "admin = \"missing/admin.sock\"\nmachine =", 1),
        ("[listen]", "[collateral]\nbundle = \"provider.toml\"\n[listen]", 2),
        ("[listen]", "[collateral]\npccs = \"http://example.com\"\n[listen]", 2),
        ("[listen]", "[collateral]\nmax_age_hours = 100000\n[listen]", 2),
        ("[listen]", "[limits]\nidentity = { per_minute = 0, burst = 0 }\n[listen]", 2),
        ("[listen]", "[log]\nlevel = \"trace\"\n[listen]", 2),
        ("[listen]", "[listen]\nmetrics = \"0.0.0.0:9090\"", 2),
    ] {
        assert!(SETTINGS.contains(from));
        site.bulla.write("provider.toml", SETTINGS.replace(from, to));
        match site.bulla.try_serve("provider.toml") {
            Ok(provider) => panic!("{to}: it started, {:?}", provider.seen),
            Err(ran) => assert_eq!(ran.code, code, "{to}: {}", ran.stderr),
        }
    }

    // Another state is another root, with other keys.
    site.bulla.write("provider.toml", format!("state_dir = \"fresh\"\n{SETTINGS}"));
    let provider = site.serve();
    assert_ne!(provider.said("root: "), root);
    let fresh = keys(&site, &provider);
    assert!(fresh.iter().all(|key| !existing.contains(key)));
    provider.kill();

    // Another machine with a state of its own.
    let edited = SETTINGS.replace("sim:host", "sim:other");
    site.bulla.write("provider.toml", format!("state_dir = \"others\"\n{edited}"));
    let provider = site.serve();
    assert_ne!(provider.said("root: "), root);
    site.client_is_refused("default", &provider);
    site.request("default", SELECTORS, &provider).fails(10, &["another machine"]);
    provider.kill();

    // Addresses say where, never what: each guest gets what it always got, and no other.
    site.bulla.write("provider.toml", SETTINGS.replace("legacy = \"127.0.0.1:0\"\n", ""));
    let provider = site.serve();
    assert!(!provider.seen.iter().any(|line| line.contains("legacy")));
    assert_eq!(hex::encode(site.request("default", SELECTORS, &provider).ok()), existing[1]);
    site.bulla.write("td", format!("mrtd = \"{}\"\n", "5a".repeat(48)));
    let other = hex::encode(site.request("td", SELECTORS, &provider).ok());
    provider.kill();
    site.bulla.write("provider.toml", SETTINGS.replace("127.0.0.1", "[::1]"));
    let provider = site.serve();
    assert_eq!(keys(&site, &provider), existing);
    assert_eq!(hex::encode(site.request("td", SELECTORS, &provider).ok()), other);
    assert!(![&existing[..], &fresh].concat().contains(&other));
}

/// R1, R3, R95: each field of the record, and each byte of the recorded request.
#[test]
fn an_edited_record_is_refused() {
    let site = Site::new();
    let existing = keys(&site, &site.serve());
    let record = "provider-state/root.request";
    let original = site.bulla.text(record);
    let request = hex::decode(site.bulla.value(record, "request").trim_matches('"')).unwrap();
    let refused = |what: &str| {
        match site.bulla.try_serve("provider.toml") {
            Ok(provider) => panic!("{what}: it started, {:?}", provider.seen),
            Err(ran) => assert!([10, 11, 12].contains(&ran.code), "{what}: {}", ran.stderr),
        }
        site.bulla.write(record, &original);
    };
    for (field, values) in [
        ("version", &["0", "2", "\"1\"", "256"][..]),
        ("kind", &["\"sgx\"", "\"tdx-provider\"", "\"tpm\"", "\"\"", "1"]),
        ("request", &["\"\"", "\"00\"", "\"zz\"", "1"]),
        ("root_id", &["\"\"", "\"00000000000000000000000000000000\"", "1"]),
        ("extra", &["1"]),
    ] {
        for value in values {
            site.bulla.set(record, field, value);
            refused(&format!("{field} = {value}"));
        }
    }
    for field in ["version", "kind", "request", "root_id"] {
        let others: Vec<_> = original.lines().filter(|line| !line.starts_with(field)).collect();
        site.bulla.write(record, others.join("\n"));
        refused(&format!("no {field}"));
    }
    for content in ["", "\0", &original.repeat(2), &"#".repeat(1 << 20)] {
        site.bulla.write(record, content);
        refused(&format!("{} bytes", content.len()));
    }
    for at in 0..request.len() {
        let edited = flipped(&request, at, at as u32 % 8);
        site.bulla.set(record, "request", &format!("\"{}\"", hex::encode(edited)));
        refused(&format!("byte {at} of the request"));
    }
    fs::remove_file(site.bulla.path(record)).unwrap();
    fs::create_dir(site.bulla.path(record)).unwrap();
    assert!(site.bulla.try_serve("provider.toml").is_err(), "a folder");
    fs::remove_dir(site.bulla.path(record)).unwrap();
    site.bulla.write(record, &original);
    assert_eq!(keys(&site, &site.serve()), existing, "the original is as good as ever");
}

/// R1, R11: a record that somebody wrote who knows the machine's secrets, and so its root id, leads to another root.
#[test]
fn a_record_made_to_fit_is_another_root() {
    let site = Site::new();
    let existing = keys(&site, &site.serve());
    let record = "provider-state/root.request";
    let original = site.bulla.text(record);
    let request = hex::decode(site.bulla.value(record, "request").trim_matches('"')).unwrap();
    let cpusvn = support::places(&request, b"SIMULATE")[0] - 8;
    let keyid = support::places(&request, &[0x58, 0x20])[0] + 2;
    // After the KEYID come MRENCLAVE and MRSIGNER.
    let (mrenclave, mrsigner) = (keyid + 34, keyid + 2 * 34);
    for (what, at, bit, starts) in [
        ("a lower CPUSVN", cpusvn, 0, true),
        ("another KEYID", keyid + 31, 3, true),
        ("another signer, which is only described", mrsigner, 3, true),
        ("another measurement", mrenclave, 3, false),
        ("a policy that selects the signer too", cpusvn - 3, 1, false),
    ] {
        site.bulla.set(record, "request", &format!("\"{}\"", hex::encode(flipped(&request, at, bit))));
        let fitted = site.formula("fit", "");
        let (fitted, root) = fitted.split_once(' ').unwrap();
        site.bulla.set(record, "request", &format!("\"{fitted}\""));
        site.bulla.set(record, "root_id", &format!("\"{root}\""));
        match site.bulla.try_serve("provider.toml") {
            Ok(provider) => {
                assert!(starts, "{what}");
                assert_eq!(provider.said("root: "), root, "{what}");
                assert!(keys(&site, &provider).iter().all(|key| !existing.contains(key)), "{what}");
            }
            Err(ran) => assert!(!starts, "{what}: {}", ran.stderr),
        }
        site.bulla.write(record, &original);
    }
    assert_eq!(keys(&site, &site.serve()), existing);
}

/// What the machine's own files say is the hardware's part: a copy of them is no second provider with the same keys.
#[test]
fn a_machine_with_another_secret_is_another_machine() {
    let site = Site::new();
    let existing = keys(&site, &site.serve());
    for (file, key, value) in [
        ("machine.toml", "seal_fuses", "\"R\""),
        ("machine.toml", "owner_epoch", "\"S\""),
        ("enclave.toml", "measurement", "\"R\""),
        ("enclave.toml", "product", "2"),
        ("enclave.toml", "debug", "true"),
        ("enclave.toml", "svn", "0"),
    ] {
        let value = value.replace('R', &"5a".repeat(32)).replace('S', &"5a".repeat(16));
        copy_folder(&site, "host", "copy");
        site.bulla.set(&format!("copy/{file}"), key, &value);
        site.bulla.write("provider.toml", SETTINGS.replace("sim:host", "sim:copy"));
        match site.bulla.try_serve("provider.toml") {
            Ok(provider) => panic!("{key}: it started, {:?}", provider.seen),
            Err(ran) => assert!([10, 12].contains(&ran.code), "{key}: {}", ran.stderr),
        }
        fs::remove_dir_all(site.bulla.path("copy")).unwrap();
    }
    site.bulla.write("provider.toml", SETTINGS);
    assert_eq!(keys(&site, &site.serve()), existing);
}
