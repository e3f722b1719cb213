//! `attest` on quotes of simulated machines.

use bulla_crypto::sha384;
use serde_json::{Value, json};

use crate::support::{Bulla, Ran, flipped};

const VERIFY: &str = "attest verify quote --collateral collateral --root root";

/// The files `quote`, `collateral` and `root` of the guest `td`.
fn evidence(bulla: &Bulla, td: &str) {
    bulla.run(&format!("sim quote host --td {td} -o quote")).ok();
    bulla.run("sim collateral host quote -o collateral").ok();
    bulla.run("sim root host -o root").ok();
}

/// What `--json` says of a refusal, which stands beside the exit code and the talk.
#[track_caller]
fn refusal(ran: Ran, exit: i32, code: &str) -> Value {
    let ran = ran.fails(exit, &[&format!("[{code}]")]);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&report["verified"], &report["code"]), (&json!(false), &json!(code)));
    assert!(ran.stderr.contains(report["message"].as_str().unwrap()));
    report
}

#[test]
fn an_up_to_date_guest_is_accepted() {
    let bulla = Bulla::with_host();
    bulla.write("td", format!("rtmr3 = \"{}\"\n", "ab".repeat(48)));
    bulla.run(&format!("sim quote host --td td --report-data {} -o quote", "5c".repeat(64))).ok();
    bulla.run("sim collateral host quote -o collateral").ok();
    bulla.run("sim root host -o root").ok();

    let report = bulla.run(&format!("{VERIFY} --json")).json();
    let ppid = bulla.value("host/machine.toml", "ppid");
    for (name, value) in [
        ("verified", json!(true)),
        ("tcb_status", json!("UpToDate")),
        ("advisory_ids", json!([])),
        ("simulated", json!(true)),
        ("tee", json!("tdx")),
        ("rtmr3", json!("ab".repeat(48))),
        ("mrconfigid", json!("00".repeat(48))),
        ("report_data", json!("5c".repeat(64))),
        ("ppid", json!(ppid.trim_matches('"'))),
    ] {
        assert_eq!(report[name], value, "{name}");
    }
    assert!(report.get("code").is_none());
    assert!(report["judged_at"].as_u64() < report["valid_until"].as_u64(), "{report}");
    let text = bulla.run(VERIFY).text();
    assert!(text.contains("UpToDate") && text.contains(&"ab".repeat(48)), "{text}");
    assert!(text.lines().any(|line| line.starts_with("simulated") && line.ends_with("true")), "{text}");
}

/// R27, R110: what is simulated has no place under Intel's root.
#[test]
fn simulated_evidence_is_refused_without_its_root() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let ran = bulla.run("attest verify quote --collateral collateral --json");
    refusal(ran, 10, "tcb_info.untrusted_root");
    bulla.write("root", "no certificate");
    bulla.run(VERIFY).fails(2, &["[usage.trust_anchor]"]);
}

/// R22: the default accepts exactly UpToDate without advisories.
#[test]
fn an_old_platform_is_refused_and_shown() {
    let bulla = Bulla::with_host();
    bulla.run("sim microcode host down").ok();
    evidence(&bulla, "default");
    let report = refusal(bulla.run(&format!("{VERIFY} --json")), 12, "policy.tcb_status");
    assert_eq!(report["tcb_status"], "OutOfDate");
    assert_eq!(report["advisory_ids"], json!(["SIM-SA-00001"]));
    bulla.run(VERIFY).fails(12, &["OutOfDate", "SIM-SA-00001"]);
    refusal(bulla.run(&format!("{VERIFY} --json --tcb sw-hardening-needed")), 12, "policy.tcb_status");

    for accepting in ["up-to-date,out-of-date", "out-of-date", "OutOfDate"] {
        let report = bulla.run(&format!("{VERIFY} --json --tcb {accepting}")).json();
        assert_eq!(report["tcb_status"], "OutOfDate", "{accepting}");
        assert_eq!(report["advisory_ids"], json!(["SIM-SA-00001"]), "{accepting}");
    }
    bulla.run(&format!("{VERIFY} --tcb old")).fails(2, &["`old` is not a TCB status"]);
}

/// R22: nothing on the command line accepts a revoked platform.
#[test]
fn a_revoked_platform_is_refused_by_every_policy() {
    let bulla = Bulla::with_host();
    for _ in 0..5 {
        bulla.run("sim microcode host down").ok();
    }
    evidence(&bulla, "default");
    let report = refusal(bulla.run(&format!("{VERIFY} --json")), 10, "tcb.revoked");
    assert_eq!(report["tcb_status"], "Revoked");
    let line = format!("{VERIFY} --json --tcb up-to-date,out-of-date,revoked");
    assert_ne!(bulla.run(&line).code, 0);
}

/// R23, B9.
#[test]
fn a_debug_guest_is_refused() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default --debug");
    refusal(bulla.run(&format!("{VERIFY} --json")), 10, "policy.debug");
    refusal(bulla.run(&format!("{VERIFY} --json --tcb out-of-date")), 10, "policy.debug");
    bulla.write("td", "debug = true\n");
    evidence(&bulla, "td");
    refusal(bulla.run(&format!("{VERIFY} --json")), 10, "policy.debug");
    bulla.write("td", "attributes = 0x30000000\n");
    evidence(&bulla, "td");
    refusal(bulla.run(&format!("{VERIFY} --json")), 10, "policy.migratable");
}

/// R28, B14: the time is the caller's.
#[test]
fn collateral_is_good_for_a_time() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let until = bulla.run(&format!("{VERIFY} --json")).json()["valid_until"].as_u64().unwrap();
    bulla.run(&format!("{VERIFY} --at {}", until - 1)).ok();
    for late in [until, 4_000_000_000, u64::MAX] {
        refusal(bulla.run(&format!("{VERIFY} --json --at {late}")), 12, "tcb_info.expired");
    }
    for early in [0, 1_000_000_000] {
        refusal(bulla.run(&format!("{VERIFY} --json --at {early}")), 10, "tcb_info.not_yet_valid");
    }
    for bad in ["-1", "soon", "18446744073709551616"] {
        bulla.run(&format!("{VERIFY} --at={bad}")).fails(2, &["--at"]);
    }
}

/// The offsets of a quote of version 4.
mod at {
    pub(crate) const SIGNED_LENGTH: usize = 632;
    pub(crate) const SIGNATURE: usize = 636;
    pub(crate) const KEY: usize = 700;
    pub(crate) const OUTER_TYPE: usize = 764;
    pub(crate) const OUTER_LENGTH: usize = 766;
    pub(crate) const QE_REPORT: usize = 770;
    pub(crate) const QE_SIGNATURE: usize = 1154;
    pub(crate) const AUTH_LENGTH: usize = 1218;
    pub(crate) const AUTH: usize = 1220;
    pub(crate) const INNER_TYPE: usize = 1252;
    pub(crate) const INNER_LENGTH: usize = 1254;
    pub(crate) const CHAIN: usize = 1258;
}

/// Verifies a quote that was changed.
fn changed(bulla: &Bulla, quote: &[u8]) -> Ran {
    bulla.write("changed", quote);
    bulla.run(&format!("{} --json", VERIFY.replace("quote", "changed")))
}

fn with(quote: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut quote = quote.to_vec();
    quote[at..at + bytes.len()].copy_from_slice(bytes);
    quote
}

/// B5: cut at each boundary, and with something behind the end.
#[test]
fn a_quote_of_another_length_is_damaged() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let quote = bulla.read("quote");
    let boundaries = [
        0,
        1,
        47,
        48,
        at::SIGNED_LENGTH,
        635,
        at::SIGNATURE,
        at::KEY,
        at::OUTER_TYPE,
        at::QE_REPORT,
        at::QE_SIGNATURE,
        at::AUTH_LENGTH,
        at::AUTH,
        at::INNER_TYPE,
        at::CHAIN,
        quote.len() - 1,
    ];
    for length in boundaries {
        let ran = changed(&bulla, &quote[..length]);
        assert_eq!(ran.code, 11, "cut at {length}: {}", ran.stderr);
        refusal(ran, 11, "parse.truncated");
    }
    refusal(changed(&bulla, &[&quote[..], b"\x01"].concat()), 11, "parse.trailing_bytes");
    refusal(changed(&bulla, &[&quote[..], b"extra"].concat()), 11, "parse.trailing_bytes");
    // Larger than any quote, by one and by much.
    let limit = 32 * 1024;
    for length in [limit + 1, limit + 2, 4 * limit] {
        refusal(changed(&bulla, &vec![4; length]), 11, "parse.too_large");
    }
    refusal(bulla.run(&format!("{} --json", VERIFY.replace("quote", "/dev/zero"))), 11, "parse.too_large");
}

/// B6, R32, R33 (the vendor of the quoting enclave), R34.
#[test]
fn a_quote_of_an_unlisted_kind_is_refused() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let quote = bulla.read("quote");
    for version in [0_u16, 1, 2, 6, 65535] {
        refusal(changed(&bulla, &with(&quote, 0, &version.to_le_bytes())), 11, "parse.version");
    }
    for kind in [0_u16, 1, 3, 65535] {
        refusal(changed(&bulla, &with(&quote, 2, &kind.to_le_bytes())), 11, "parse.att_key_type");
    }
    for tee in [1_u32, 0x80, 0x82, u32::MAX] {
        refusal(changed(&bulla, &with(&quote, 4, &tee.to_le_bytes())), 11, "parse.tee_type");
    }
    refusal(changed(&bulla, &flipped(&quote, 12, 0)), 11, "parse.qe_vendor");
}

/// B7: sizes that overflow, overlap or leave something over.
#[test]
fn a_quote_with_lying_sizes_is_damaged() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let quote = bulla.read("quote");
    for at in [at::SIGNED_LENGTH, at::OUTER_LENGTH, at::INNER_LENGTH] {
        let real = u32::from_le_bytes(quote[at..at + 4].try_into().unwrap());
        for size in [0, real - 1, real + 1, 0x7FFF_FFFF, u32::MAX] {
            let ran = changed(&bulla, &with(&quote, at, &size.to_le_bytes()));
            assert_eq!(ran.code, 11, "{size} at {at}: {}", ran.stderr);
        }
    }
    for size in [0_u16, 1, 31, 33, u16::MAX] {
        let ran = changed(&bulla, &with(&quote, at::AUTH_LENGTH, &size.to_le_bytes()));
        assert_eq!(ran.code, 11, "{size}: {}", ran.stderr);
    }
    for (at, code) in [(at::OUTER_TYPE, "parse.cert_type"), (at::INNER_TYPE, "parse.cert_type")] {
        refusal(changed(&bulla, &with(&quote, at, &[0, 0])), 11, code);
    }
    refusal(changed(&bulla, &with(&quote, at::INNER_TYPE, &[1, 0])), 10, "pck.no_chain");
}

/// B8: one bit, in each part.
#[test]
fn a_flipped_bit_in_a_quote_is_found_where_it_is() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let quote = bulla.read("quote");
    let report_data = at::SIGNED_LENGTH - 64;
    for (at, code) in [
        (8, "quote.signature"),
        (28, "quote.signature"),
        (48, "quote.signature"),
        (48 + 136, "quote.signature"),
        (report_data, "quote.signature"),
        (at::SIGNED_LENGTH - 1, "quote.signature"),
        (at::SIGNATURE, "quote.signature"),
        (at::KEY - 1, "quote.signature"),
        (at::KEY, "qe_report.binding"),
        (at::QE_REPORT, "qe_report.signature"),
        (at::QE_SIGNATURE - 1, "qe_report.signature"),
        (at::QE_SIGNATURE, "qe_report.signature"),
        (at::AUTH, "qe_report.binding"),
    ] {
        refusal(changed(&bulla, &flipped(&quote, at, 3)), 11, code);
    }
    // In the first certificate: behind its header line, every 101st digit made another.
    let begin = at::CHAIN + "-----BEGIN CERTIFICATE-----\n".len();
    let end = begin + quote[begin..].iter().position(|byte| *byte == b'-').unwrap();
    for at in (begin..end).step_by(101) {
        let other = if quote[at] == b'A' { b'B' } else { b'A' };
        let ran = changed(&bulla, &with(&quote, at, &[other]));
        let code = serde_json::from_slice::<Value>(&ran.stdout).unwrap()["code"].as_str().unwrap().to_owned();
        assert!(ran.code == 11 && code.starts_with("pck."), "byte {at}: {} {code}", ran.code);
    }
}

/// B11: collateral is judged like evidence.
#[test]
fn edited_collateral_is_refused() {
    let bulla = Bulla::with_host();
    bulla.run("sim microcode host down").ok();
    evidence(&bulla, "default");
    let collateral = bulla.text("collateral");
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut edited: Value = serde_json::from_str(&collateral).unwrap();
        edit(&mut edited);
        bulla.write("collateral", edited.to_string());
        bulla.run(&format!("{VERIFY} --json"))
    };
    let as_text = |value: &Value| value.as_str().unwrap().to_owned();
    refusal(with(&|_| {}), 12, "policy.tcb_status");
    let lie = |set: &mut Value| {
        set["tcb_info"] = as_text(&set["tcb_info"]).replace("OutOfDate", "UpToDate").into();
    };
    refusal(with(&lie), 11, "tcb_info.signature");
    let lie = |set: &mut Value| set["qe_identity"] = (as_text(&set["qe_identity"]) + " ").into();
    refusal(with(&lie), 11, "qe_identity.signature");
    refusal(with(&|set| drop(set.as_object_mut().unwrap().remove("pck_crl"))), 11, "collateral.incomplete");

    bulla.write("collateral", "{}");
    assert_eq!(bulla.run(VERIFY).code, 11);
    bulla.write("collateral", "no JSON");
    refusal(bulla.run(&format!("{VERIFY} --json")), 11, "collateral.parse");
    let line = format!("{} --json", VERIFY.replace("--collateral collateral", "--collateral /dev/zero"));
    refusal(bulla.run(&line), 11, "collateral.too_large");
}

#[test]
fn a_missing_quote_is_named() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    bulla.run(&VERIFY.replace("quote", "missing")).fails(1, &["missing"]);
    bulla.run("attest verify quote").fails(2, &["--collateral"]);
    bulla.run("attest verify --collateral collateral").fails(2, &["QUOTE"]);
}

#[test]
fn quotes_and_collateral_are_asked_for_with_care() {
    let bulla = Bulla::with_host();
    bulla.run("sim quote host --td default --report-data 00 -o quote").fails(2, &["64 bytes"]);
    bulla.run("sim quote host --td missing -o quote").fails(1, &["missing"]);
    bulla.write("td", "rtmr4 = \"00\"\n");
    bulla.run("sim quote host --td td -o quote").fails(2, &["rtmr4"]);
    bulla.write("noise", "noise");
    bulla.run("sim collateral host noise -o collateral").fails(11, &["[sim.not_a_quote]"]);
    bulla.run("sim quote missing --td default -o quote").fails(13, &["missing"]);
    assert_eq!(bulla.names("."), ["host", "noise", "td"]);
}

/// What is shown is claimed: a quote that does not verify is shown like one that does, and says so.
#[test]
fn show_draws_who_signed_what_and_verifies_nothing() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let ran = bulla.run("attest show quote --collateral collateral");
    assert!(ran.stderr.contains("not verified"), "{}", ran.stderr);
    let shown = ran.text();
    let picture: Vec<_> = shown.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    let indented = |name: &str| {
        let line =
            picture.iter().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
        line.chars().take_while(|character| !character.is_alphanumeric()).count() / 3
    };
    assert!(
        !picture[0].starts_with(['├', '└'])
            && picture[1..].iter().all(|line| line.starts_with(['├', '└', '│', ' ']))
    );
    for (name, depth) in [
        ("PCK Certificate", 2),
        ("PCK CRL", 2),
        ("quoting enclave", 3),
        ("attestation key", 4),
        ("TDX quote (version 4)", 5),
        ("TCB info", 2),
        ("QE identity", 2),
        ("root CA CRL", 1),
    ] {
        assert_eq!(indented(name), depth, "{name} in {shown}");
    }

    bulla.write("flipped", flipped(&bulla.read("quote"), 200, 0));
    let report = bulla.run("attest show flipped --json").json();
    assert_eq!((&report["verified"], &report["kind"]), (&json!(false), &json!("TDX quote")));
    assert_eq!(report["signers"].as_array().unwrap().len(), 1);
    bulla.run("attest verify flipped --collateral collateral --root root").fails(11, &["[quote.signature]"]);
    bulla.write("short", &bulla.read("quote")[..700]);
    bulla.run("attest show short").fails(11, &["[parse.truncated]"]);
}

const POLICY: &str = "version = 1\nname = \"ours\"\nrevision = 7\nallow_simulated = true\n";

/// R22: a policy file decides as its sentences say, and what its author may not have meant is said.
#[test]
fn a_policy_is_checked_explained_and_applied() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    bulla.write("policy", format!("{POLICY}min_tcb_evaluation_data_number = 20\n"));
    let checked = bulla.run("attest policy check policy --json").json();
    assert_eq!((&checked["name"], &checked["revision"]), (&json!("ours"), &json!(7)));
    let warnings = checked["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning["code"] == "simulated"), "{checked}");
    let text = bulla.run("attest policy check policy").text();
    assert_eq!(text.lines().filter(|line| line.starts_with("warning: ")).count(), warnings.len());

    let rules = bulla.run("attest policy explain policy --json").json();
    let rules = rules["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule.as_str().unwrap().contains("number 20 or above")), "{rules:?}");
    let text = bulla.run("attest policy explain policy").text();
    assert_eq!(text.lines().filter(|line| line.starts_with("- ")).count(), rules.len());

    bulla.run(&format!("{VERIFY} --policy policy")).ok();
    bulla.write("policy", format!("{POLICY}min_tcb_evaluation_data_number = 21\n"));
    refusal(bulla.run(&format!("{VERIFY} --policy policy --json")), 12, "policy.tcb_evaluation_number");
}

/// B44: what is misspelt is refused, not ignored.
#[test]
fn a_policy_that_cannot_be_read_stops_the_command() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    for (text, found) in [
        (format!("{POLICY}minimum = 20\n"), "minimum"),
        (format!("{POLICY}name = \"twice\"\n"), "name"),
        ("version = 2\nname = \"ours\"\nrevision = 7\n".into(), "version"),
        ("\u{7}".into(), "policy"),
    ] {
        bulla.write("policy", text);
        bulla.run("attest policy check policy").fails(2, &["[usage.policy]", found]);
        bulla.run(&format!("{VERIFY} --policy policy")).fails(2, &["[usage.policy]"]);
    }
    bulla.write("policy", [0xFF]);
    bulla.run("attest policy check policy").fails(2, &["UTF-8"]);
    bulla.run(&format!("{VERIFY} --policy policy --tcb out-of-date")).fails(2, &["--tcb"]);
}

/// A refusal names the rule, what is wanted and found, and what to do; the verdict's exit code stays.
#[test]
fn explain_says_by_which_rule_and_what_to_do() {
    let bulla = Bulla::with_host();
    evidence(&bulla, "default");
    let explain = VERIFY.replace("verify", "explain");
    let text = bulla.run(&explain).text();
    for part in ["policy strict", "- The TCB status must be", "quoting enclave", "accepted", "rtmr3"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    bulla.run("sim microcode host down").ok();
    evidence(&bulla, "default");
    let ran = bulla.run(&explain).fails(12, &["[policy.tcb_status]"]);
    let text = String::from_utf8(ran.stdout).unwrap();
    for part in ["refused [policy.tcb_status]", "rule ", "wanted ", "found ", "what to do ", "update"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let report: Value =
        serde_json::from_slice(&bulla.run(&format!("{explain} --json")).fails(12, &[]).stdout).unwrap();
    assert_eq!(report["verdict"]["remote"], "tcb-too-old");
    assert!(!report["verdict"]["reason"]["remedy"].as_str().unwrap().is_empty());
    assert!(report["policy"]["rules"].is_array() && report["signers"][0]["signs"].is_array());

    // What is no quote at all is explained as far as it goes.
    bulla.write("quote", b"no quote");
    let text = bulla.run(&explain).fails(11, &["[parse.truncated]"]).stdout;
    assert!(String::from_utf8(text).unwrap().contains("refused [parse.truncated]"));
}

/// R26: with an event log, run-time registers are judged as they were at a boundary.
#[test]
fn registers_are_judged_at_a_boundary() {
    let bulla = Bulla::with_host();
    let event = |name: &str| {
        let digest = sha384(&[&0x0800_0001_u32.to_le_bytes(), b":", name.as_bytes(), b":"]);
        let event = json!({ "imr": 3, "event_type": 0x0800_0001, "digest": hex::encode(digest), "event": name,
                            "event_payload": "" });
        (event, digest)
    };
    let (events, digests): (Vec<_>, Vec<_>) = ["app", "system-ready", "later"].map(event).into_iter().unzip();
    let registers = digests.iter().scan([0; 48], |register, digest| {
        *register = sha384(&[register, digest]);
        Some(hex::encode(register))
    });
    let registers: Vec<_> = registers.collect();
    let zero = "00".repeat(48);
    bulla.write(
        "td",
        format!("rtmr0 = \"{zero}\"\nrtmr1 = \"{zero}\"\nrtmr2 = \"{zero}\"\nrtmr3 = \"{}\"\n", registers[2]),
    );
    bulla.write("log", Value::from(events.clone()).to_string());
    evidence(&bulla, "td");
    let at = format!("{VERIFY} --event-log log --boundary 3:system-ready");
    let report = bulla.run(&format!("{at} --json")).json();
    assert_eq!(
        (&report["rtmr3"], &report["rtmr3_at_boundary"]),
        (&json!(registers[2]), &json!(registers[1]))
    );
    assert!(bulla.run(&at).text().contains(&registers[1]));

    bulla.write("policy", format!("{POLICY}[registers.app]\nrtmr3 = [\"{}\"]\n", registers[1]));
    bulla.run(&format!("{at} --policy policy")).ok();
    refusal(bulla.run(&format!("{VERIFY} --policy policy --json")), 10, "policy.registers");
    refusal(
        bulla.run(&format!("{VERIFY} --event-log log --boundary 3:never --json")),
        10,
        "event_log.no_boundary",
    );
    bulla.write("log", Value::from(&events[..2]).to_string());
    refusal(bulla.run(&format!("{at} --json")), 10, "event_log.rtmr_mismatch");
    for boundary in ["system-ready", "4:system-ready", "3:", ":x"] {
        bulla.run(&format!("{VERIFY} --event-log log --boundary {boundary}")).fails(2, &["colon"]);
    }
    bulla.run(&format!("{VERIFY} --event-log log")).fails(2, &["--boundary"]);
}
