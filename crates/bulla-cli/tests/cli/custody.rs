//! A provider with a key ring: made, handed to the next build, drilled, and recovered on another machine.

use bulla_crypto::SigningKey;
use bulla_protocol::{Descriptor, DocumentRole, Signed};

use crate::support::{Bulla, Serving, mode};

const PRESENT: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const NEXT: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// Two machines, three holders, and a signed policy that names all of them. Returns the id of its authority.
fn site() -> (Bulla, String) {
    let bulla = Bulla::with_host();
    bulla.run("sim new spare").ok();
    for machine in ["host", "spare"] {
        build(&bulla, machine, PRESENT);
    }
    let mut recipients = Vec::new();
    for name in ["ann", "bob", "eve"] {
        let public = bulla.run(&format!("recipient new -o {name}.key")).ok();
        recipients.push(format!("{:?}", String::from_utf8(public).unwrap().trim()));
    }
    let document = format!(
        "version = 1\nname = \"acme\"\nsimulated = true\ncustody = \"keyring\"\n\
         [recovery]\nthreshold = 2\nrecipients = [{}]\n\
         [[upgrade]]\nmrenclave = \"{PRESENT}\"\n[[upgrade]]\nmrenclave = \"{NEXT}\"\n\
         [[migration]]\nppid = {}\n",
        recipients.join(", "),
        bulla.value("spare/machine.toml", "ppid").replace('\'', "\""),
    );
    let key = SigningKey::generate().unwrap();
    let authority = Descriptor::new("acme", 1, &[key.verifying_key()]).unwrap();
    let mut signed = Signed::new(&authority, &document);
    signed.sign(DocumentRole::Policy, &key).unwrap();
    bulla.write("policy.json", signed.to_json());
    settings(&bulla, "old", "host");
    settings(&bulla, "new", "host");
    settings(&bulla, "elsewhere", "spare");
    (bulla, hex::encode(authority.id()))
}

fn settings(bulla: &Bulla, name: &str, machine: &str) {
    let text = format!(
        "machine = \"sim:{machine}\"\npolicy = \"policy.json\"\nstate_dir = \"{name}\"\n[listen]\nhttp = \"127.0.0.1:0\"\n"
    );
    bulla.write(&format!("{name}.toml"), text);
}

/// Which build runs on a machine.
fn build(bulla: &Bulla, machine: &str, measurement: &str) {
    bulla.set(&format!("{machine}/enclave.toml"), "measurement", &format!("\"{measurement}\""));
}

fn key(bulla: &Bulla, provider: &Serving, authority: &str) -> Vec<u8> {
    let pinned = format!("{} --authority {authority}", provider.options());
    bulla.run(&format!("--machine sim-td:host request {pinned} --path p --purpose p")).ok()
}

/// R79, R95, P6: the next build serves the same keys, and the one before it is none the worse.
#[test]
fn the_next_build_serves_the_same_keys() {
    let (bulla, authority) = site();
    let ran = bulla.try_serve("old.toml").err().unwrap();
    assert!(ran.code == 2 && ran.stderr.contains("custody.not_initialised"), "{}", ran.stderr);
    let made = bulla.run("provider init --config old.toml --json").json();
    bulla.run("provider init --config old.toml").fails(2, &["custody.exists"]);
    let before = {
        let old = bulla.serve("old.toml");
        assert_eq!(old.said("root: "), made["epochs"][0]["root"]);
        let before = key(&bulla, &old, &authority);
        let grant = "provider handover grant --config old.toml --request request -o grant";
        build(&bulla, "host", NEXT);
        bulla.run("provider handover request --config new.toml -o request --secret secret").ok();
        assert_eq!(mode(&bulla.path("secret")), 0o600);
        build(&bulla, "host", PRESENT);
        // A provider that serves gives them, goes on serving, and makes none that the next one would not have.
        bulla.run(grant).ok();
        assert_eq!(key(&bulla, &old, &authority), before);
        bulla.write("damaged", "{}");
        bulla.run(&grant.replace("--request request", "--request damaged")).fails(10, &[]);
        drop(old);
        bulla.run(&grant.replace("-o grant", "-o again")).ok();
        before
    };
    let adopt =
        "provider handover adopt --config new.toml --request request --secret secret --grant grant --json";
    bulla.run(adopt).fails(10, &["machine.other_identity"]);
    build(&bulla, "host", NEXT);
    assert_eq!(bulla.run(adopt).json(), made);
    bulla.run(adopt).fails(2, &["custody.exists"]);
    let new = bulla.serve("new.toml");
    assert_eq!(new.id(), NEXT);
    assert_eq!(key(&bulla, &new, &authority), before);
    drop(new);
    build(&bulla, "host", PRESENT);
    assert_eq!(key(&bulla, &bulla.serve("old.toml"), &authority), before);
}

/// R45, R87: two of three holders recover it on the machine that the policy names, and on no other; a drill before that shows that
/// they will.
#[test]
fn a_lost_host_is_recovered_from_shares() {
    let (bulla, authority) = site();
    let made = bulla.run("provider init --config old.toml --json").json();
    std::fs::copy(bulla.path("old/roots.ring"), bulla.path("backup")).unwrap();
    let asked = "--backup backup -o request --secret secret";
    for what in ["recover", "drill"] {
        bulla
            .run(&format!("provider {what} request --config old.toml {asked}"))
            .fails(10, &["custody.recovery_denied", "[[migration]]"]);
    }
    let share = |what: &str, name: &str, authority: &str| {
        bulla.run(&format!(
            "provider {what} share --config elsewhere.toml --authority {authority} --request request --backup backup \
             --key {name}.key -o {name}.share"
        ))
    };
    let given = "--config elsewhere.toml --request request --secret secret --backup backup --json";
    bulla.run(&format!("provider drill request --config elsewhere.toml {asked}")).ok();
    share("recover", "ann", &authority).fails(11, &["custody.malformed"]);
    share("drill", "ann", &"00".repeat(32)).fails(10, &["another authority"]);
    share("drill", "ann", &authority).ok();
    bulla.run(&format!("provider drill run {given} --share ann.share")).fails(10, &["slot.shares_missing"]);
    share("drill", "eve", &authority).ok();
    let drilled = bulla.run(&format!("provider drill run {given} --share ann.share --share eve.share"));
    assert_eq!(drilled.json(), made);
    assert!(!bulla.path("elsewhere").exists());

    std::fs::remove_file(bulla.path("secret")).unwrap();
    bulla.run(&format!("provider recover request --config elsewhere.toml {asked}")).ok();
    for name in ["eve", "bob"] {
        share("recover", name, &authority).ok();
    }
    let recovered = bulla.run(&format!("provider recover adopt {given} --share eve.share --share bob.share"));
    assert_eq!(recovered.json(), made);
    assert_eq!(bulla.serve("elsewhere.toml").said("root: "), made["epochs"][0]["root"]);
}

/// R83: a memory that is lost is named, and begun anew only when asked for by name.
#[test]
fn a_lost_memory_is_begun_anew_by_name() {
    let (bulla, _) = site();
    bulla.run("provider init --config old.toml").ok();
    std::fs::remove_file(bulla.path("old/memory.sealed")).unwrap();
    let ran = bulla.try_serve("old.toml").err().unwrap();
    assert!(ran.code == 11 && ran.stderr.contains("custody.missing_memory"), "{}", ran.stderr);
    bulla.run("provider init --config old.toml --lost-memory").ok();
    drop(bulla.serve("old.toml"));
}
