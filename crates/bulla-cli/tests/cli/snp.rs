//! A SEV-SNP guest that seals and opens, without anybody's help.

use crate::support::{Bulla, Ran, flipped};

const SEAL: &str = "seal --context diary";

fn open(bulla: &Bulla, guest: &str, sealed: &[u8]) -> Ran {
    bulla.run_with(&format!("--machine sim-snp:{guest} unseal --context diary"), sealed)
}

/// Descriptions of guests that differ from the default one in one respect.
fn site() -> Bulla {
    let bulla = Bulla::with_host();
    for (file, content) in [
        ("other.toml", format!("measurement = \"{}\"\n", "5a".repeat(48))),
        ("debug.toml", "debug = true\n".into()),
        ("moved.toml", format!("host_data = \"{}\"\n", "5b".repeat(32))),
        ("signed.toml", format!("id_key_digest = \"{}\"\n", "5c".repeat(48))),
        ("nobody.toml", format!("id_key_digest = \"{}\"\n", "00".repeat(48))),
        ("next.toml", format!("measurement = \"{}\"\nsvn = 2\n", "5a".repeat(48))),
        ("product.toml", "product = 2\nsvn = 2\n".into()),
        ("inner.toml", "vmpl = 2\n".into()),
    ] {
        bulla.write(file, content);
    }
    bulla
}

#[test]
fn a_guest_seals_by_itself() {
    let bulla = site();
    let sealed = bulla.run_with(&format!("--machine sim-snp:host {SEAL}"), b"dear diary").ok();
    assert_eq!(open(&bulla, "host", &sealed).ok(), b"dear diary");
    for (guest, register) in [
        ("other", "MEASUREMENT"),
        ("debug", "POLICY"),
        ("moved", "HOST_DATA"),
        ("signed", "ID_KEY_DIGEST"),
        ("inner", "VMPL"),
    ] {
        let ran = open(&bulla, &format!("host,{guest}.toml"), &sealed);
        assert!(ran.fails(10, &[register, "[machine.other_identity]"]).stdout.is_empty(), "{guest}");
    }
    bulla.run("sim new elsewhere").ok();
    open(&bulla, "elsewhere", &sealed).fails(10, &["[machine.other_machine]"]);
    for at in (0..sealed.len()).step_by(23) {
        let ran = open(&bulla, "host", &flipped(&sealed, at, at as u32 % 8));
        assert!(ran.fails(11, &[]).stdout.is_empty(), "byte {at}");
    }
}

#[test]
fn what_it_is_bound_to_is_shown() {
    let bulla = site();
    let sealed = bulla.run_with(&format!("--machine sim-snp:host {SEAL}"), b"dear diary").ok();
    let slot = bulla.run_with("inspect --json -", &sealed).json()["slots"][0].clone();
    assert_eq!((slot["kind"].as_str(), slot["simulated"].as_bool()), (Some("sim"), Some(true)));
    let claims = &slot["claims"];
    assert_eq!(
        (claims["TCB"].as_str(), claims["POLICY"].as_str()),
        (Some("0900000000001748"), Some("0x2001f"))
    );
    assert_eq!((&claims["GUEST_FIELD_SELECT"], &claims["VMPL"]), (&"0x29".into(), &0.into()));
    let shown = String::from_utf8(bulla.run_with("inspect -", &sealed).ok()).unwrap();
    assert!(shown.contains("SEV-SNP guest") && shown.contains("MEASUREMENT"), "{shown}");
}

/// R5, R88: it survives what is to be expected, and a plan says what it does not survive.
#[test]
fn updates_change_nothing() {
    let bulla = site();
    bulla.write("diary", "dear diary");
    bulla.run(&format!("--machine sim-snp:host {SEAL} -o sealed diary")).ok();
    let sealed = bulla.read("sealed");
    let plan = |change: &str| bulla.run(&format!("--machine sim-snp:host plan --after {change} sealed"));
    plan("microcode-up").ok();
    plan("microcode-down").fails(12, &[]);
    plan("host=next").fails(10, &[]);
    for (next, register) in [("other", "MEASUREMENT"), ("moved", "HOST_DATA")] {
        let said = plan(&format!("rebuild={next}.toml")).fails(10, &[]).stdout;
        assert!(String::from_utf8(said).unwrap().contains(register), "{next}");
    }
    bulla.run("sim microcode host up").ok();
    assert_eq!(open(&bulla, "host", &sealed).ok(), b"dear diary");
    plan("microcode-down").fails(12, &[]);
    bulla.run("sim microcode host down").ok();
    bulla.run("sim microcode host down").ok();
    let ran = open(&bulla, "host", &sealed);
    ran.fails(12, &["TCB", "microcode=72", "microcode=71", "[machine.tcb_too_old]"]);
    plan("microcode-up").fails(10, &[]);
    bulla.run("sim microcode host up").ok();
    assert_eq!(open(&bulla, "host", &sealed).ok(), b"dear diary");
}

/// R7: the next release of the signer opens, and nothing else of its making.
#[test]
fn releases_of_a_signer() {
    let bulla = site();
    let seal = |guest: &str, terms: &str| {
        bulla.run_with(&format!("--machine sim-snp:{guest} {SEAL} --policy signer:{terms}"), b"dear diary")
    };
    let sealed = seal("host", "product=1,svn=1,label=acme").ok();
    assert_eq!(open(&bulla, "host", &sealed).ok(), b"dear diary");
    assert_eq!(open(&bulla, "host,next.toml", &sealed).ok(), b"dear diary");
    open(&bulla, "host,signed.toml", &sealed).fails(10, &["ID_KEY_DIGEST"]);
    open(&bulla, "host,product.toml", &sealed).fails(10, &["FAMILY_ID"]);
    let sealed = seal("host,next.toml", "product=1,svn=2,label=acme").ok();
    open(&bulla, "host", &sealed).fails(12, &["GUEST_SVN"]);
    seal("host", "product=1,svn=2,label=acme").fails(10, &["GUEST_SVN", "[policy.outside]"]);
    seal("host,nobody.toml", "product=1,svn=1,label=acme").fails(2, &["ID block"]);
}

/// R15, B28: a blob of another backend, in both directions.
#[test]
fn an_enclave_and_a_guest_do_not_open_each_others_envelopes() {
    let bulla = site();
    let guests = bulla.run_with("--machine sim-snp:host seal --context wallet", b"guest").ok();
    bulla.unseal(&guests).fails(10, &["[machine.wrong_backend]"]);
    let enclaves = bulla.seal(b"enclave");
    let unseal = "--machine sim-snp:host unseal --context wallet";
    bulla.run_with(unseal, &enclaves).fails(10, &["[machine.wrong_backend]"]);
}

#[test]
fn a_guest_that_is_none_is_refused() {
    let bulla = site();
    let ran = bulla.run(&format!("--machine snp {SEAL}"));
    ran.fails(13, &["no SEV-SNP guest here", "CONFIG_SEV_GUEST"]);
    bulla.run(&format!("--machine snp:1 {SEAL}")).fails(2, &["unknown machine"]);
    bulla.write("bad.toml", "vmpl = 4\n");
    bulla.run(&format!("--machine sim-snp:host,bad.toml {SEAL}")).fails(2, &["vmpl"]);
    bulla.run(&format!("--machine sim-snp:host,missing {SEAL}")).fails(1, &["missing"]);
    std::fs::remove_file(bulla.path("host/snp.toml")).unwrap();
    bulla.run(&format!("--machine sim-snp:host {SEAL}")).fails(13, &["make a new machine"]);
    bulla.run("sim microcode host up").ok();
}

/// R15, R110: a chip without the marker of the simulator is not simulated.
#[test]
fn the_marker_is_needed() {
    let bulla = site();
    bulla.set("host/snp.toml", "chip_id", &format!("\"{}\"", "05".repeat(64)));
    bulla.run(&format!("--machine sim-snp:host {SEAL}")).fails(13, &["marker"]);
}

const POLICY: &str = "version = 1\nname = \"genoa\"\nrevision = 1\n[snp]\n\
    min_tcb = { Genoa = { bootloader = 9, tee = 0, snp = 23, microcode = 72 } }\n";

/// R15: evidence of such a guest is good under the simulator's own authority, labelled, and refused by everybody else.
#[test]
fn its_report_is_judged_where_that_is_asked_for() {
    let bulla = site();
    bulla.write("policy.toml", POLICY);
    let data = "ab".repeat(64);
    bulla.run(&format!("sim quote host --snp next.toml --report-data {data} -o report")).ok();
    bulla.run("sim collateral host report -o set.json").ok();
    bulla.run("sim root host --snp -o root.der").ok();
    let verify = "attest verify report --collateral set.json --json --policy policy.toml";
    let claims = bulla.run(&format!("{verify} --root root.der")).json();
    assert_eq!((&claims["verified"], &claims["simulated"]), (&true.into(), &true.into()));
    assert_eq!(claims["measurement"], "5a".repeat(48));
    assert_eq!(claims["report_data"], data);
    assert_eq!(claims["chip_id"].as_str().unwrap()[112..], hex::encode("SIMULATE"));
    bulla.run(verify).fails(10, &["[snp_chain.untrusted_root]"]);
    // The root of its quotes is another one, and so is that of other vendors.
    bulla.run("sim root host -o quotes.der").ok();
    bulla.run(&format!("{verify} --root quotes.der")).fails(10, &["[snp_chain.untrusted_root]"]);
    let strict = verify.replace(" --policy policy.toml", " --root root.der");
    bulla.run(&strict).fails(12, &["[policy.snp_floor]"]);
    bulla.run("sim quote host --snp debug.toml -o debug").ok();
    let debug = format!("{verify} --root root.der").replace(" report ", " debug ");
    bulla.run(&debug).fails(10, &["[policy.debug]"]);
    let shown = bulla.run("attest show report").text();
    assert!(shown.contains("SEV-SNP report") && shown.contains(&"5a".repeat(48)), "{shown}");
    bulla.run("sim quote host -o report").fails(2, &["--td"]);
    bulla.run("sim quote host --td default --snp default -o report").fails(2, &["--snp"]);
}

/// With new microcode come another key and its certificate; the old report goes on being good until the floor is raised.
#[test]
fn a_machine_below_the_floor_is_too_old() {
    let bulla = site();
    bulla.write("policy.toml", POLICY.replace("microcode = 72", "microcode = 73"));
    bulla.run("sim root host --snp -o root.der").ok();
    let judge = || {
        bulla.run("sim quote host --snp default -o report").ok();
        bulla.run("sim collateral host report -o set.json").ok();
        bulla.run("attest verify report --collateral set.json --policy policy.toml --root root.der")
    };
    judge().fails(12, &["microcode 72", "[policy.snp_floor]"]);
    bulla.run("sim microcode host up").ok();
    judge().ok();
    bulla.run("sim new other").ok();
    bulla.run("sim collateral other report -o set.json").fails(14, &["no such key"]);
}
