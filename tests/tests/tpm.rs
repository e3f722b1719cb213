//! The command on a machine with a TPM: a software one, which is a process of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod cli;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../../crates/bulla-tpm/tests/tpm/support.rs"]
mod support;

use cli::Bulla;
use support::SoftwareTpm;

/// Seal, inspect, open; refused after another event, with the register's name; open again after a restart.
#[test]
fn a_secret_is_sealed_to_the_registers_of_a_tpm() {
    let mut software = SoftwareTpm::new();
    let bulla = Bulla::new();
    let on = |software: &SoftwareTpm| format!("--machine tpm:{}", software.address());
    // Larger than anything that a TPM seals: that is nobody's concern.
    let secret = vec![7; 1 << 20];
    let sealed =
        bulla.run_with(&format!("{} seal --context wallet --policy pcr:4+7", on(&software)), &secret).ok();
    let shown = String::from_utf8(bulla.run_with("inspect -", &sealed).ok()).unwrap();
    for said in ["a TPM", "pcr:4+7", "measurement"] {
        assert!(shown.contains(said), "{shown}");
    }
    let open = |software: &SoftwareTpm| {
        bulla.run_with(&format!("{} unseal --context wallet", on(software)), &sealed)
    };
    assert_eq!(open(&software).ok(), secret);
    software.extend(7, "another boot loader's key");
    let refused = open(&software).fails(10, &["PCR7", "[machine.other_identity]"]);
    assert!(!refused.stderr.contains("esys"), "{}", refused.stderr);
    software.restart();
    assert_eq!(open(&software).ok(), secret);
    assert_eq!(software.occupied(), 0);
    drop(software);
    let other = SoftwareTpm::new();
    open(&other).fails(10, &["[machine.other_machine]"]);
}

/// Where no TPM answers, that is said, and how to name another.
#[test]
fn a_tpm_that_is_not_there() {
    let bulla = Bulla::new();
    let free = support::free_pair();
    let line = format!("--machine tpm:swtpm:host=127.0.0.1,port={free} seal --context wallet");
    bulla.run_with(&line, b"x").fails(13, &["no TPM here", "tpm:ADDRESS", "[machine.unavailable]"]);
    bulla.run_with("--machine tpm:nonsense seal --context wallet", b"x").fails(2, &["[tpm.address]"]);
}

/// An update that nobody planned: an approval opens what was sealed before it, and nothing else does.
#[test]
fn an_approval_opens_in_another_state() {
    let software = SoftwareTpm::new();
    let bulla = Bulla::new();
    let tpm = format!("--machine tpm:{}", software.address());
    let public = bulla.run("tpm approver --new key").text();
    assert_eq!(bulla.run("tpm approver key").text(), public);
    let policy = format!("pcr:4+7,authority={},label=wallet", public.trim());
    bulla.run_with(&format!("{tpm} seal --context wallet --policy {policy} -o sealed"), b"secret").ok();

    // The state that will be, from the value of the register and the event that is known beforehand.
    let shown = bulla.run(&format!("{tpm} tpm show --json")).json();
    let value = |register: &str| hex::decode(shown[register].as_str().unwrap()).unwrap();
    let event = bulla_crypto::sha256(&[b"the next kernel"]);
    let next = hex::encode(bulla_crypto::sha256(&[&value("PCR4"), &event]));
    let state = format!("4:{next}+7:{}", shown["PCR7"].as_str().unwrap());
    let approve = |how: &str, key: &str, file: &str| {
        bulla.run(&format!("{tpm} tpm approve --label wallet {how} --key {key} -o {file}"))
    };
    let said = approve(&format!("--state {state}"), "key", "planned");
    assert!(said.stderr.contains(public.trim()) && said.stderr.contains(&next), "{said:?}");
    said.ok();

    software.extend(4, "the next kernel");
    let open = |options: &str| bulla.run(&format!("{tpm} unseal --context wallet {options} sealed"));
    open("").fails(10, &["PCR4", "[machine.other_identity]"]);
    assert_eq!(open("--approval planned").ok(), b"secret");

    // Afterwards, on a machine that was updated; and those that do not fit.
    approve("--registers 4+7", "key", "present").ok();
    assert_eq!(bulla.read("present").len(), bulla.read("planned").len());
    assert_eq!(open("--approval present").ok(), b"secret");
    bulla.run("tpm approver --new stranger").ok();
    approve("--registers 4+7", "stranger", "strange").ok();
    open("--approval strange").fails(11, &["not the authority's", "[tpm.damaged]"]);
    assert_eq!(open("--approval strange --approval present").ok(), b"secret", "whose it is decides");
    approve("--registers 4", "key", "fewer").ok();
    open("--approval fewer").fails(10, &["[machine.other_identity]"]);
    software.extend(7, "secure boot is off");
    open("--approval present").fails(10, &["[machine.other_identity]"]);

    approve("--registers 4+16", "key", "no").fails(2, &["PCR 16", "[policy.under_bound]"]);
    approve("--state 4:00", "key", "no").fails(2, &["[policy.invalid]"]);
    approve("", "key", "no").fails(2, &[]);
    bulla.write("public", public);
    approve("--registers 4", "public", "no").fails(11, &["P-256", "[tpm.damaged]"]);
    bulla.run("tpm approver --new key").fails(2, &["exists"]);
    open("--approval key").fails(11, &["key: ", "[tpm.damaged]"]);
    bulla.run("--machine occlum unseal --context wallet --approval planned sealed").fails(2, &["TPM"]);
    assert_eq!(software.occupied(), 0);
}

/// R66, R94: what was sealed before is refused, whoever brings it back, and the answer is the TPM's.
#[test]
fn a_counter_refuses_what_is_not_the_latest() {
    let (mut software, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let bulla = Bulla::new();
    let tpm = |software: &SoftwareTpm| format!("--machine tpm:{}", software.address());
    let enrol = |software: &SoftwareTpm, options: &str| {
        bulla.run(&format!("{} tpm counter enrol --context wallet {options} -o enrolment", tpm(software)))
    };
    let said = enrol(&software, "");
    assert!(said.stderr.contains("pinned the TPM"), "{said:?}");
    said.ok();
    enrol(&software, "--index 0x01500017").fails(2, &["exists"]);

    let anchor = |software: &SoftwareTpm| format!("--anchor tpm:enrolment,{}", software.address());
    let seal = |software: &SoftwareTpm, options: &str, secret: &[u8]| {
        let line = format!("{} seal --context wallet --policy pcr:4 {options}", tpm(software));
        bulla.run_with(&format!("{line} {}", anchor(software)), secret)
    };
    let open = |software: &SoftwareTpm, file: &str, anchor: &str| {
        bulla.run(&format!("{} unseal --context wallet {anchor} {file}", tpm(software)))
    };
    let said = seal(&software, "-o first", b"one");
    assert!(said.stderr.contains("epoch 1: the anchor refuses all before it"), "{said:?}");
    said.ok();
    let opened = open(&software, "first", &anchor(&software));
    assert!(opened.stderr.contains("the anchor knows of no later epoch"), "{opened:?}");
    assert_eq!(opened.ok(), b"one");
    seal(&software, "-o second --epoch 4", b"two").ok();
    seal(&software, "-o third --epoch 4", b"two").fails(2, &["knows epoch 4"]);
    seal(&software, "", b"two").fails(2, &["--output"]);

    software.restart();
    open(&software, "first", &anchor(&software)).fails(12, &["rollback", "[envelope.rollback]"]);
    assert_eq!(open(&software, "second", &anchor(&software)).ok(), b"two");
    assert_eq!(open(&software, "first", "").ok(), b"one", "without an anchor nothing tells");
    let status =
        |software: &SoftwareTpm| bulla.run(&format!("{} tpm counter status --json enrolment", tpm(software)));
    let json = status(&software).json();
    assert_eq!((&json["epoch"], &json["authenticated"]), (&4.into(), &true.into()));

    // A change in place counts too, and the copy that it keeps is refused.
    let changed = format!("{} rotate {} second", tpm(&software), anchor(&software));
    bulla.run(&changed).ok();
    assert_eq!(status(&software).json()["epoch"], 5);
    assert_eq!(open(&software, "second", &anchor(&software)).ok(), b"two");
    open(&software, ".second.bulla-1", &anchor(&software)).fails(12, &["[envelope.rollback]"]);
    bulla.run(&format!("{} tpm counter advance --to 6 enrolment", tpm(&software))).ok();
    open(&software, "second", &anchor(&software)).fails(12, &["[envelope.rollback]"]);

    // Of another context, or another TPM.
    let line = format!("{} unseal --context other {} second", tpm(&software), anchor(&software));
    bulla.run(&line).fails(10, &["[envelope.other_context]"]);
    let line =
        format!("{} seal --context other --policy pcr:4 -o other {}", tpm(&software), anchor(&software));
    bulla.run_with(&line, b"x").fails(10, &["another secret", "[tpm.counter]"]);
    status(&other).fails(10, &["another TPM", "[tpm.other]"]);
    assert_eq!((software.occupied(), other.occupied()), (0, 0));

    for (anchor, words) in
        [("etcd:x", "unknown anchor"), ("tpm:", "unknown anchor"), ("tpm:first", "damaged")]
    {
        let ran = bulla.run(&format!("{} unseal --context wallet --anchor {anchor} second", tpm(&software)));
        assert!(ran.stderr.contains(words), "{ran:?}");
        assert_ne!(ran.code, 0);
    }
}

/// A ring tells its anchor by itself.
#[test]
fn a_ring_is_counted_by_a_tpm() {
    let software = SoftwareTpm::new();
    let bulla = Bulla::new();
    let tpm = format!("--machine tpm:{}", software.address());
    bulla.run(&format!("{tpm} tpm counter enrol --ring db -o enrolment")).ok();
    let anchor = format!("--anchor tpm:enrolment,{}", software.address());
    bulla.run(&format!("{tpm} key new {anchor} --policy pcr:4 db")).ok();
    std::fs::copy(bulla.path("db"), bulla.path("old")).unwrap();
    bulla.run(&format!("{tpm} key rotate {anchor} db")).ok();
    assert_eq!(bulla.run(&format!("{tpm} key show --json {anchor} db")).json()["freshness"], "anchored");
    std::fs::copy(bulla.path("old"), bulla.path("db")).unwrap();
    bulla.run(&format!("{tpm} key show {anchor} db")).fails(12, &["[envelope.rollback]"]);
}

/// A quote, from the machine to a verdict elsewhere: whose the key is, is shown once; from then on its name, the registers' values
/// and the nonce decide.
#[test]
fn a_quote_is_judged_by_its_key_its_registers_and_its_nonce() {
    let (software, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let bulla = Bulla::new();
    let on = |software: &SoftwareTpm| format!("--machine tpm:{} tpm", software.address());
    let shown = bulla.run(&format!("{} show --json", on(&software))).json();
    let of = |name: &str| shown[name].as_str().unwrap().to_owned();

    bulla.run(&format!("{} keys -o keys", on(&software))).ok();
    let ask = |name: &str, keep: &str| {
        bulla.run(&format!("attest tpm ask keys --endorsement-key {name} -o question --keep {keep}"))
    };
    ask(&"ab".repeat(32), "kept").fails(10, &["another TPM"]);
    ask(&of("endorsement_key"), "kept").ok();
    ask(&of("endorsement_key"), "kept").fails(2, &["exists"]);
    bulla.run(&format!("{} answer question -o answer", on(&software))).ok();
    bulla.run(&format!("{} answer question", on(&other))).fails(13, &["[tpm.command]"]);
    let key = bulla.run("attest tpm accept answer --kept kept").text();
    ask(&of("endorsement_key"), "again").ok();
    bulla.run("attest tpm accept answer --kept again").fails(10, &["pin nothing"]);
    bulla.run("attest tpm accept kept --kept answer").fails(2, &[]);

    let (nonce, key) = ("5a".repeat(32), key.trim());
    bulla.run(&format!("{} quote --nonce {nonce} -o quote", on(&software))).ok();
    bulla.run(&format!("{} quote --nonce 5a", on(&software))).fails(2, &["16 to 64"]);
    let state = format!("4:{}+7:{}", of("PCR4"), of("PCR7"));
    let verify = |what: &str, evidence: &str| bulla.run(&format!("attest {what} {evidence}"));
    let good = format!("--attestation-key {key} --state {state} --nonce {nonce}");
    let json = verify("verify --json", &format!("{good} quote")).json();
    assert_eq!((&json["verified"], &json["tee"]), (&true.into(), &"tpm".into()));
    assert_eq!((&json["attestation_key"], &json["pcr4"]), (&key.into(), &shown["PCR4"]));
    assert!(verify("verify", &format!("{good} quote")).text().contains("resets"));
    let explained = verify("explain", &format!("{good} quote")).text();
    assert!(explained.contains("accepted") && explained.contains(&of("PCR7")), "{explained}");

    // Each of the three decides, and the refusal says which, with what to do.
    let zeros = "00".repeat(32);
    for (wrong, code, class) in [
        (good.replace(key, &zeros), "tpm_quote.attestation_key", 10),
        (good.replace(&of("PCR7"), &zeros), "tpm_quote.state", 10),
        (good.replace(&nonce, &"5b".repeat(32)), "binding.report_data", 10),
        (
            good.replace(&format!("--nonce {nonce}"), &format!("--report-data {}", "5a".repeat(64))),
            "binding.report_data",
            10,
        ),
    ] {
        verify("verify", &format!("{wrong} quote")).fails(class, &[&format!("[{code}]")]);
        let ran = verify("explain --json", &format!("{wrong} quote"));
        let said: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!((ran.code, &said["verdict"]["code"]), (class, &code.into()));
        assert!(said["policy"]["rules"].as_array().unwrap().len() == 3);
        let text = verify("explain", &format!("{wrong} quote"));
        assert!(String::from_utf8_lossy(&text.stdout).contains("what to do"), "{text:?}");
    }
    // One of two states is enough.
    let both = format!("{good} --state 7:{zeros}");
    verify("verify", &format!("{both} quote")).ok();
    software.extend(7, "secure boot is off");
    bulla.run(&format!("{} quote --nonce {nonce} -o later", on(&software))).ok();
    verify("verify", &format!("{good} later")).fails(10, &["PCR7", "[tpm_quote.state]"]);

    let mut changed = bulla.read("quote");
    changed[100] ^= 1;
    bulla.write("changed", changed);
    verify("verify", &format!("{good} changed")).fails(11, &["[tpm_quote."]);
    verify("verify", "quote --collateral x").fails(2, &["--attestation-key"]);
    verify("verify", &format!("{good} --tcb OutOfDate quote")).fails(2, &["alone"]);
    bulla.write("text", "no quote");
    verify("verify", &format!("{good} text")).fails(2, &["this is none"]);
    verify("verify", "quote").fails(2, &["--collateral"]);
    let claims = verify("show --json", "quote").json();
    assert_eq!((&claims["kind"], &claims["verified"]), (&"tpm".into(), &false.into()));
    assert_eq!((&claims["attestation_key"], &claims["pcr4"]), (&key.into(), &shown["PCR4"]));
    assert_eq!((software.occupied(), other.occupied()), (0, 0));
}

/// By the vendor's certificate in the TPM, under a root that the operator gives.
#[test]
fn a_vendors_certificate_shows_whose_a_quote_is() {
    let (software, authority) = SoftwareTpm::manufactured();
    let (_, stranger) = SoftwareTpm::manufactured();
    let bulla = Bulla::new();
    bulla.write("roots.pem", &authority);
    bulla.write("others.pem", &stranger);
    let tpm = format!("--machine tpm:{} tpm", software.address());
    bulla.run(&format!("{tpm} keys -o keys")).ok();
    let ask = |roots: &str, keys: &str, keep: &str| {
        bulla.run(&format!("attest tpm ask {keys} {roots} -o question --keep {keep}"))
    };
    ask("--ek-root others.pem", "keys", "no").fails(10, &["[tpm_endorsement.certificate]"]);
    ask("", "keys", "no").fails(2, &["--endorsement-key"]);
    ask("--ek-root keys", "keys", "no").fails(10, &["[tpm_endorsement.certificate]"]);
    let shown = bulla.run(&format!("{tpm} show --json")).json();
    let asked = ask("--ek-root others.pem --ek-root roots.pem", "keys", "kept");
    assert!(asked.stderr.contains(shown["endorsement_key"].as_str().unwrap()), "{asked:?}");
    asked.ok();
    bulla.run(&format!("{tpm} answer question -o answer")).ok();
    let name = bulla.run("attest tpm accept answer --kept kept").text();

    // The one on RSA alone, as some vendors have it, gives the same name.
    let mut keys: serde_json::Value = serde_json::from_slice(&bulla.read("keys")).unwrap();
    keys["certificates"].as_array_mut().unwrap().remove(0);
    bulla.write("rsa", keys.to_string());
    ask("--ek-root roots.pem", "rsa", "of-rsa").ok();
    assert!(bulla.text("question").contains("\"by\":\"rsa\""));
    bulla.run(&format!("{tpm} answer question -o answer")).ok();
    assert_eq!(bulla.run("attest tpm accept answer --kept of-rsa").text(), name);
    keys["certificates"] = serde_json::json!([]);
    bulla.write("none", keys.to_string());
    ask("--ek-root roots.pem", "none", "no").fails(10, &["no certificate"]);
    assert!(!bulla.path("no").exists());
    assert_eq!(software.occupied(), 0);
}
