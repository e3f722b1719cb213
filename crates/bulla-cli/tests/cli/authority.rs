//! Authorities: keys, descriptors, signatures, and the policies that a provider starts under.

use crate::support::{Bulla, Ran, mode};

const POLICY: &str = "version = 1\nname = \"trial\"\nsimulated = true\ncustody = \"hardware\"\n";
const PROVIDER: &str =
    "machine = \"sim:host\"\npolicy = \"policy.signed\"\n[listen]\nhttp = \"127.0.0.1:0\"\n";

/// A folder with `host`, the keys a, b and c, and the descriptor `acme` of which `threshold` sign.
pub(crate) fn with_authority(threshold: u8) -> Bulla {
    let bulla = Bulla::with_host();
    for name in ["a", "b", "c"] {
        let public = bulla.run(&format!("authority key -o {name}")).ok();
        bulla.write(&format!("{name}.pub"), public);
    }
    let keys = "--key a.pub --key b.pub --key c.pub";
    bulla.run(&format!("authority new --name acme --threshold {threshold} {keys} -o acme")).ok();
    bulla
}

/// Signs `policy` with the keys into `policy.signed`.
fn signed(bulla: &Bulla, policy: &str, keys: &[&str]) {
    bulla.write("policy", policy);
    let (first, others) = keys.split_first().unwrap();
    bulla.run(&format!("authority sign --descriptor acme --key {first} policy -o policy.signed")).ok();
    for key in others {
        bulla.run(&format!("authority sign --key {key} policy.signed -o policy.signed")).ok();
    }
}

fn refused(bulla: &Bulla, code: i32, words: &str) {
    match bulla.try_serve("provider.toml") {
        Ok(_) => panic!("it started: {words}"),
        Err(ran) => drop::<Ran>(ran.fails(code, &[words])),
    }
}

/// R73, R103: a signer's key is its owner's alone, and never overwritten.
#[test]
fn a_new_key_is_private_and_overwrites_nothing() {
    let bulla = with_authority(1);
    assert_eq!(mode(&bulla.path("a")), 0o600);
    let key = bulla.text("a");
    assert!(key.contains(&format!("# public: {}", bulla.text("a.pub"))));
    bulla.run("authority key -o a").fails(2, &["exists"]);
    assert_eq!(bulla.text("a"), key);
    let ran = bulla.run("authority sign --descriptor acme --key acme acme").fails(2, &[]);
    assert!(ran.stdout.is_empty());
}

#[test]
fn a_descriptor_names_its_keys() {
    let bulla = with_authority(2);
    let shown = bulla.run("authority show acme --json").json();
    assert_eq!((shown["name"].as_str(), shown["threshold"].as_u64()), (Some("acme"), Some(2)));
    assert_eq!(shown["keys"].as_array().unwrap().len(), 3);
    let id = shown["id"].as_str().unwrap();
    assert_eq!(
        bulla
            .run("authority new --name acme --threshold 2 --key c.pub --key b.pub --key a.pub -o same")
            .text()
            .trim(),
        id
    );
    for (options, words) in [
        ("--key a.pub --threshold 2", "threshold"),
        ("--key a.pub --key a.pub", "twice"),
        ("--key a", "public key"),
        (&format!("--key {}", "00".repeat(32)), "small order"),
    ] {
        bulla.run(&format!("authority new --name x {options} -o x")).fails(2, &[words]);
    }
}

/// R108: a provider starts under what enough of its authority's keys have signed, as a policy, and under nothing else.
#[test]
fn a_provider_starts_under_a_signed_policy() {
    let bulla = with_authority(2);
    bulla.write("provider.toml", PROVIDER);
    signed(&bulla, POLICY, &["a"]);
    refused(&bulla, 10, "[signed.too_few]");
    signed(&bulla, POLICY, &["a", "c"]);
    let complete = bulla.text("policy.signed");
    let serving = bulla.serve("provider.toml");
    let id = bulla.run("authority show acme --json").json()["id"].as_str().unwrap().to_owned();
    assert!(serving.said("authority: ").contains(&id));
    drop(serving);

    bulla.write("policy.signed", complete.replace("trial", "tried"));
    refused(&bulla, 11, "[signed.bad_signature]");
    bulla.write("policy.signed", POLICY);
    refused(&bulla, 11, "[signed.malformed]");
    bulla.run("authority sign --as command --descriptor acme --key a policy -o policy.signed").ok();
    bulla.run("authority sign --as command --key b policy.signed -o policy.signed").ok();
    refused(&bulla, 11, "[signed.bad_signature]");
    signed(&bulla, &POLICY.replace("simulated = true", "simulated = false"), &["a", "b"]);
    refused(&bulla, 10, "[policy.for_real]");
}

/// R41: the classical suite carries the same key, where the policy allows it.
#[test]
fn a_policy_allows_the_classical_suite() {
    let bulla = with_authority(1);
    bulla.write("provider.toml", PROVIDER);
    signed(&bulla, &format!("{POLICY}[transport]\nclassical = true\n"), &["a"]);
    let provider = bulla.serve("provider.toml");
    let authority = bulla.run("authority show acme --json").json()["id"].as_str().unwrap().to_owned();
    let request = format!(
        "--machine sim-td:host request {} --authority {authority} --path p --purpose p",
        provider.options()
    );
    let key = bulla.run(&request).ok();
    assert_eq!(bulla.run(&format!("{request} --suite x25519")).ok(), key);
}

/// What is no policy is not signed as one.
#[test]
fn nothing_else_is_signed_as_a_policy() {
    let bulla = with_authority(1);
    bulla.write("policy", format!("surprise = 1\n{POLICY}"));
    bulla
        .run("authority sign --descriptor acme --key a policy -o s")
        .fails(2, &["surprise", "[policy.invalid]"]);
    bulla.write("policy", POLICY);
    bulla.run("authority sign --key a policy -o s").fails(2, &["--descriptor is missing"]);
    bulla.run("authority key -o d").ok();
    bulla.run("authority sign --descriptor acme --key d policy -o s").fails(10, &["[signed.unknown_key]"]);
    bulla.run("authority sign --descriptor acme --key a policy -o s").ok();
    bulla.run("authority sign --key a s -o s").fails(10, &["[signed.twice]"]);
    bulla.run("authority sign --descriptor acme --key b s").fails(2, &["too much"]);
}

#[test]
fn a_signed_document_shows_who_has_signed() {
    let bulla = with_authority(2);
    signed(&bulla, POLICY, &["a"]);
    let shown = bulla.run("authority show policy.signed --json").json();
    assert_eq!((shown["signed_as"].as_str(), shown["complete"].as_bool()), (Some("policy"), Some(false)));
    assert_eq!(shown["signed_by"][0].as_str(), Some(bulla.text("a.pub").trim()));
    bulla.run("authority policy check policy.signed").fails(10, &["[signed.too_few]"]);
    bulla.run("authority sign --key b policy.signed -o policy.signed").ok();
    let shown = bulla.run("authority show policy.signed --json").json();
    assert_eq!(shown["complete"].as_bool(), Some(true));
    let checked = bulla.run("authority policy check policy.signed --json").json();
    assert_eq!((&checked["authority"], &checked["digest"]), (&shown["id"], &shown["digest"]));
    bulla.write("edited", bulla.text("policy.signed").replace("trial", "tried"));
    bulla.run("authority show edited").fails(11, &["[signed.bad_signature]"]);
}

/// R83: what a reload would refuse is refused before it is tried.
#[test]
fn a_policy_is_compared_with_the_one_in_force() {
    let bulla = with_authority(1);
    signed(&bulla, &POLICY.replace("version = 1", "version = 2"), &["a"]);
    bulla.write("present", bulla.text("policy.signed"));
    bulla.run("authority policy check policy.signed --after present").ok();
    signed(&bulla, POLICY, &["a"]);
    bulla.run("authority policy check policy.signed --after present").fails(12, &["[policy.lowered]"]);
    signed(&bulla, &POLICY.replace("version = 1", "version = 3"), &["b"]);
    bulla.run("authority policy check policy.signed --after present").ok();
    bulla.run("authority policy check policy --after present").fails(11, &["[signed.malformed]"]);
}

#[test]
fn a_policy_is_explained_before_it_is_signed() {
    let bulla = with_authority(1);
    bulla.write("policy", format!("{POLICY}[[usage]]\npath = \"wallet/*\"\n[legacy]\n"));
    let said = bulla.run("authority policy explain policy").text();
    for part in
        ["policy trial, version 1", "not signed", "under the path wallet/*", "Legacy clients get keys"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let checked = bulla.run("authority policy check policy --json").json();
    let codes: Vec<_> =
        checked["warnings"].as_array().unwrap().iter().map(|found| found["code"].as_str()).collect();
    assert!(codes.contains(&Some("legacy")), "{codes:?}");
}
