//! Policy files: what is read, what is refused, and what is said about them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_attest::{Error, Policy, TcbStatus};
use common::{Expected, Vectors, code, verify};

/// 2026-11-22T00:00:00Z.
const NOW: u64 = 1_795_305_600;
const HEAD: &str = "version = 1\nname = \"test\"\nrevision = 1\n";
const MILAN: &str = "[snp.min_tcb.Milan]\nbootloader = 1\ntee = 2\nsnp = 3\nmicrocode = 4\n";
const SPEC: &str = include_str!("../../../docs/spec/appraisal.md");

fn read(body: &str) -> Result<Policy, Error> {
    Policy::from_toml(&format!("{HEAD}{body}"))
}

/// What a refused file is told.
fn refused(text: &str) -> String {
    let error = Policy::from_toml(text).expect_err(text);
    assert_eq!(error.code(), "usage.policy", "{text}");
    let reason = error.reason();
    assert_eq!((reason.clause.as_str(), reason.remedy.as_str()), ("policy file", "correct the file"));
    error.to_string()
}

fn example() -> &'static str {
    let (_, after) = SPEC.split_once("```toml\n").unwrap();
    after.split_once("```").unwrap().0
}

fn warnings(policy: &Policy) -> Vec<&'static str> {
    policy.check(NOW).into_iter().map(|warning| warning.code).collect()
}

#[test]
fn a_file_that_changes_nothing_is_the_strict_policy() {
    let policy = Policy::from_toml("version = 1\nname = \"strict\"\nrevision = 0\n").unwrap();
    assert_eq!(policy, Policy::strict());
    assert_eq!((policy.name(), policy.revision()), ("strict", 0));
}

#[test]
fn unknown_duplicate_missing_and_wrong_things_are_refused() {
    let digits = "ab".repeat(48);
    let rows: [(&str, &str); 59] = [
        ("debug = true", "unknown field `debug`"),
        ("allow_debug = true", "unknown field `allow_debug`"),
        ("allow_simulated = 1", "expected a boolean"),
        ("allow_simulated = \"yes\"", "expected a boolean"),
        ("min_tcb_evaluation_data_number = -1", "invalid value"),
        ("min_tcb_evaluation_data_number = 4294967296", "invalid value"),
        ("min_tcb_evaluation_data_number = 1.5", "invalid type"),
        ("name = \"again\"", "duplicate key"),
        ("[tdx]\n[tdx]", "duplicate key"),
        ("[tdx]\nallow_host_to_take_pages = true", "unknown field `allow_host_to_take_pages`"),
        ("[tdx]\nallow_migration = true", "unknown field"),
        ("[tdx]\nallow_performance_counters = true\nallow_performance_counters = true", "duplicate key"),
        ("[tdx]\nallow_service_tds = true", "invalid type"),
        ("[tdx]\nallow_service_tds = [\"00\"]", "is not 48 bytes in hexadecimal"),
        (
            "[tdx]\nallow_service_tds = [\"DIGITS\", \"DIGITS\"]",
            "tdx.allow_service_tds: a value is there twice",
        ),
        ("[tdx]\nmrowner = \"any\"", "tdx.mrowner: \"any\" is not"),
        ("[tdx]\nmrowner = 0", "\"bound\", \"zero\" or a list of values in hexadecimal"),
        ("[tdx]\nmrowner = [\"0x00\"]", "tdx.mrowner: \"0x00\"… is not 48 bytes in hexadecimal"),
        ("[tdx.min_module_svn]\nTDX_1 = 1", "is no module identity"),
        ("[tdx.min_module_svn]\nTDX_0a = 1", "is no module identity"),
        ("[tdx.min_module_svn]\nTDX_+1 = 1", "expected"),
        ("[tdx.min_module_svn]\n\"TDX_+1\" = 1", "is no module identity"),
        ("[tdx.min_module_svn]\nTDX_01 = 256", "invalid value"),
        ("[platforms]\nppid = [\"00\"]", "platforms.ppid: \"00\"… is not 16 bytes in hexadecimal"),
        ("[platforms]\nfmspc = []", "unknown field `fmspc`"),
        ("[platforms]\nppid = [\"00000000000000000000000000000000\"]", "a zero names no machine"),
        ("[registers.\"os image\"]\nmrtd = []", "the name of a set of registers must be"),
        ("[registers.os]", "registers.os: it must have registers, all of one kind of machine"),
        ("[registers.os]\nmrtd = []\nmrenclave = []", "all of one kind of machine"),
        ("[registers.os]\nmrtd = []\nisv_prod_id = 1", "all of one kind of machine"),
        ("[registers.os]\nrtmr4 = []", "registers.os: \"rtmr4\" is no register; known are mrenclave"),
        ("[registers.os]\nmrtd = 7", "registers.os: mrtd is a list of values in hexadecimal"),
        ("[registers.os]\nmrtd = \"DIGITS\"", "a number or a list of values in hexadecimal"),
        (
            "[registers.os]\nmrtd = [\"DIGITSab\"]",
            "mrtd: \"abababababababab\"… is not 48 bytes in hexadecimal",
        ),
        ("[registers.os]\nmrtd = [\"DIGITS\", \"DIGITS\"]", "a value is there twice"),
        ("[registers.e]\nmrsigner = []", "registers.e: mrsigner needs isv_prod_id"),
        ("[registers.e]\nmrsigner = []\nisv_prod_id = 65536", "isv_prod_id is a number up to 65535"),
        ("[registers.e]\nmrsigner = []\nisv_prod_id = [\"01\"]", "isv_prod_id is a number up to 65535"),
        ("[registers.g]\nid_key_digest = []", "registers.g: id_key_digest needs min_guest_svn"),
        ("[[exceptions]]", "missing field"),
        ("[[exceptions]]\nstatus = \"OutOfDate\"\nreason = \"r\"", "missing field `until`"),
        ("[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-01-01", "missing field `reason`"),
        (
            "[[exceptions]]\nstatus = \"Unknown\"\nuntil = 2027-01-01\nreason = \"r\"",
            "exception 1: \"Unknown\" is no TCB status",
        ),
        ("[[exceptions]]\nstatus = \"Unlisted\"\nuntil = 2027-01-01\nreason = \"r\"", "is no TCB status"),
        (
            "[[exceptions]]\nstatus = \"Revoked\"\nuntil = 2027-01-01\nreason = \"r\"",
            "no policy accepts this status",
        ),
        ("[[exceptions]]\nstatus = \"UpToDate\"\nuntil = 2027-01-01\nreason = \"r\"", "needs no exception"),
        ("[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = \"2027-01-01\"\nreason = \"r\"", "expected"),
        ("[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-02-29\nreason = \"r\"", "until"),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-01-01T00:00:00\nreason = \"r\"",
            "until must be a date, or",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 12:00:00\nreason = \"r\"",
            "until must be a date, or",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 1969-12-31\nreason = \"r\"",
            "until is before 1970",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-01-01\nreason = \" \"",
            "the reason must be 1 to 256",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-01-01\nreason = \"a\\nb\"",
            "the reason must be 1 to 256",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nadvisories = [\"intel\"]\nuntil = 2027-01-01\nreason = \"r\"",
            "\"intel\" is no advisory",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nadvisories = [\"A\"]\nany_advisory = true\nuntil = 2027-01-01\nreason = \"r\"",
            "any_advisory and advisories exclude each other",
        ),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 9999-12-31T23:59:59-01:00\nreason = \"r\"",
            "until is after the year 9999",
        ),
        ("[snp]", "missing field `min_tcb`"),
        ("[snp]\nmax_vmpl = 4\nmin_tcb = {}", "snp.max_vmpl is 0 to 3"),
        ("[snp.min_tcb.Rome]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 0", "\"Rome\" is no product"),
    ];
    for (body, wanted) in rows {
        let found = refused(&format!("{HEAD}{}", body.replace("DIGITS", &digits)));
        assert!(found.contains(wanted), "{body}\n{found}");
    }
    let milan = refused(&format!("{HEAD}{MILAN}fmc = 1"));
    assert!(milan.contains("snp.min_tcb.Milan: it has no fmc"), "{milan}");
    let long = format!(
        "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-01-01\nreason = \"{}\"",
        "é".repeat(257)
    );
    assert!(refused(&format!("{HEAD}{long}")).contains("the reason must be"));
    assert!(read(&long.replacen('é', "", 1)).is_ok());
    let twice = "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2027-01-01\nreason = \"r\"\n".repeat(2);
    assert!(refused(&format!("{HEAD}{twice}")).contains("exception 2: it is there twice"));
}

#[test]
fn the_head_is_required_and_other_versions_are_refused_as_such() {
    for missing in ["version", "name", "revision"] {
        let rest: String =
            HEAD.lines().filter(|line| !line.starts_with(missing)).map(|line| format!("{line}\n")).collect();
        assert!(refused(&rest).contains(&format!("missing field `{missing}`")), "{missing}");
    }
    let later = "version = 2\nname = \"x\"\nrevision = 1\n[something_new]\n";
    assert!(refused(later).contains("it has version 2, and only version 1 is known"));
    for name in ["", "a b", "é", "a/b", &"x".repeat(65)] {
        let text = format!("version = 1\nname = {name:?}\nrevision = 1\n");
        assert!(refused(&text).contains("name must be 1 to 64 letters"), "{name}");
    }
    for text in ["", "version", "version = \"1\"", "\u{0}", "[[[[", "version = 1 name = 2"] {
        refused(text);
    }
}

#[test]
fn r31_a_large_file_is_refused_before_it_is_read() {
    let padded = |length: usize| format!("{HEAD}{}", "#".repeat(length - HEAD.len()));
    assert!(Policy::from_toml(&padded(Policy::LIMIT)).is_ok());
    let found = refused(&padded(Policy::LIMIT + 1));
    assert!(found.contains("it is 65537 bytes long, and the limit is 65536"), "{found}");
    // Deep nesting within the limit.
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let depth = 10_000;
        refused(&format!("{HEAD}x = {}1{}", open.repeat(depth), close.repeat(depth)));
    }
}

#[test]
fn what_is_written_is_read_again_and_has_one_digest() {
    let digits = "AB".repeat(48);
    let bodies = [
        String::new(),
        "allow_simulated = true\nmin_tcb_evaluation_data_number = 4294967295".into(),
        "[platforms]".into(),
        format!("[platforms]\nppid = [\"{}\"]\nchip_id = [\"{}\"]", "0A".repeat(16), "0b".repeat(64)),
        format!("[tdx]\nmrowner = \"zero\"\nmrconfigid = [\"{digits}\", \"{}\"]\nmrownerconfig = []", "00".repeat(48)),
        format!("[tdx]\nallow_performance_counters = true\nallow_service_tds = [\"{digits}\"]"),
        "[tdx.min_module_svn]".into(),
        "[tdx.min_module_svn]\nTDX_01 = 11\nTDX_FF = 0".into(),
        format!("[registers.a]\nmrtd = [\"{digits}\"]\nrtmr0 = []\n[registers.b]\nisv_prod_id = 0\nmin_isv_svn = 65535"),
        "[[exceptions]]\nstatus = \"out-of-date\"\nany_advisory = true\nuntil = 2027-01-01T01:00:00.5+01:00\nreason = \"é \\\" '\"".into(),
        "[snp]\nmin_tcb = {}".into(),
        format!("{MILAN}[snp]\nmax_vmpl = 3\nallow_smt = true\nallow_cxl = true\nallow_provider_keys = true\nallow_unknown_revocation = true"),
        format!("{MILAN}[snp]\nrequire_single_socket = true\nrequire_aes_256_xts = true\nrequire_rapl_disabled = true\nrequire_ciphertext_hiding = true\nrequire_page_swap_disabled = true\nrequire_alias_check = true"),
    ];
    let mut digests = std::collections::BTreeSet::new();
    let mut policies: Vec<_> =
        bodies.iter().map(|body| read(body).unwrap_or_else(|error| panic!("{body}\n{error}"))).collect();
    policies.push(Policy::from_toml(example()).unwrap());
    policies.push(Policy::strict());
    policies.push(Policy::strict().allow_perfmon());
    policies.push(Policy::strict().allow_every_status().allow_simulated().min_tcb_evaluation_data_number(3));
    policies.extend(TcbStatus::ALL.map(|status| Policy::strict().allow_statuses(&[status])));
    for policy in &policies {
        let text = policy.to_toml();
        let again = Policy::from_toml(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!((&again, again.to_toml(), again.digest()), (policy, text, policy.digest()));
        digests.insert(policy.digest());
    }
    // UpToDate and Revoked cannot be allowed: both lists are the strict policy.
    assert_eq!(digests.len(), policies.len() - 2);
}

#[test]
fn a_digest_does_not_depend_on_order_spelling_or_comments() {
    let (one, two) = ("ab".repeat(48), "cd".repeat(48));
    let first = read(&format!(
        "[registers.b]\nmrtd = [\"{one}\", \"{two}\"]\n[registers.a]\nrtmr3 = [\"{one}\"]\n\
         [[exceptions]]\nstatus = \"OutOfDate\"\nadvisories = [\"A\", \"B\"]\nuntil = 2027-01-01\nreason = \"r\"\n"
    ));
    let second = read(&format!(
        "# The same.\n[[exceptions]]\nreason = 'r'\nuntil = 2027-01-01T02:00:00+02:00\nadvisories = [\"B\", \"A\"]\n\
         any_advisory = false\nstatus = \"out-of-date\"\n[registers]\na = {{ rtmr3 = [\"{one}\"] }}\n\
         b.mrtd = [\"{}\", \"{one}\"]\n[tdx]\nmrowner = \"bound\"\n",
        two.to_uppercase()
    ));
    assert_eq!(first.unwrap().digest(), second.unwrap().digest());
}

#[test]
fn the_example_of_the_specification_is_a_policy_that_is_explained() {
    let policy = Policy::from_toml(example()).unwrap();
    assert_eq!((policy.name(), policy.revision()), ("acme-production", 7));
    let lines = policy.explain();
    let wanted = [
        "Debug and profiling, reserved attribute bits, guests that can move to another machine or that run without \
         SEPT_VE_DISABLE, and the status Revoked are refused; no policy can allow them.",
        "Evidence of simulated machines is refused.",
        "Collateral must have TCB evaluation data number 20 or above.",
        "The TCB status must be UpToDate without open advisories.",
        "Until 2027-06-30T12:00:00Z, SWHardeningNeeded is accepted with INTEL-SA-00615: its known holes are open until then. \
         Reason: mitigated in our build, see its release notes.",
        "Until 2026-12-31T00:00:00Z, OutOfDate is accepted with INTEL-SA-01192 or INTEL-SA-01245: its known holes are open \
         until then. Reason: ticket 4711: BIOS of rack 12 is rolled out until Christmas.",
        "Only listed machines are accepted: 2 by PPID and 0 by CHIP_ID.",
        "TDX guests with performance counters (PERFMON) are refused.",
        "TDX guests that are bound to a service TD are refused.",
        "The TDX module must be TDX_01 with SVN 11 or above or TDX_03 with SVN 5 or above.",
        "MRCONFIGID must be zero.",
        "MROWNER must be zero.",
        "MROWNERCONFIG must be zero.",
    ];
    assert_eq!(lines[..wanted.len()], wanted);
    assert!(lines.iter().any(|line| line.starts_with("For a TDX guest to be app, rtmr3 must be 6c30b8f6")));
    let provider = "For an SGX enclave to be provider, mrsigner must be \
                    89a7f8fbf8ccedfff3d2d50e2210a02606a3117efa867310d96d60e48065425f, and isv_prod_id must be 1, and isv_svn \
                    must be 4 or above.";
    assert!(lines.iter().any(|line| line == provider), "{lines:#?}");
    assert!(
        lines.contains(
            &"SEV-SNP guests on Genoa are accepted from TCB fmc=0 bootloader=10 tee=0 snp=23 microcode=84 on.".to_owned()
        ),
        "{lines:#?}"
    );
    assert_eq!(warnings(&policy), ["platforms.no_chip_id"]);
}

#[test]
fn every_loosening_is_explained_with_its_risk() {
    let strict = Policy::strict().explain();
    let digits = "ab".repeat(48);
    let rows = [
        ("allow_simulated = true".to_owned(), "They protect nothing"),
        ("[tdx]\nallow_performance_counters = true".into(), "perhaps what it computes"),
        (format!("[tdx]\nallow_service_tds = [\"{digits}\"]"), "it must be as good as the guest"),
        (
            "[[exceptions]]\nstatus = \"OutOfDate\"\nany_advisory = true\nuntil = 2027-01-01\nreason = \"r\""
                .into(),
            "also one that nobody has heard of yet",
        ),
        (format!("{MILAN}[snp]\nallow_provider_keys = true"), "they name no machine"),
        (format!("{MILAN}[snp]\nallow_unknown_revocation = true"), "what AMD has revoked is accepted too"),
        (format!("{MILAN}[snp]\nallow_smt = true"), "whose side channels reach them"),
        (format!("{MILAN}[snp]\nallow_cxl = true"), "CXL"),
        (format!("{MILAN}[snp]\nmax_vmpl = 3"), "from privilege level 3"),
    ];
    for (body, wanted) in rows {
        assert!(!strict.iter().any(|line| line.contains(wanted)), "{wanted}");
        let lines = read(&body).unwrap().explain();
        assert!(lines.iter().any(|line| line.contains(wanted)), "{body}\n{lines:#?}");
    }
    for line in &strict {
        assert!(line.ends_with('.') && !line.contains("  "), "{line}");
    }
}

#[test]
fn every_warning_of_the_specification_has_a_policy() {
    let digits = "ab".repeat(48);
    let good = format!(
        "min_tcb_evaluation_data_number = 18\n[registers.os]\nmrtd = [\"{digits}\"]\n[registers.app]\nrtmr3 = [\"{digits}\"]\n"
    );
    assert_eq!(warnings(&read(&good).unwrap()), [""; 0]);
    let exception =
        |rest: &str| format!("{good}[[exceptions]]\nstatus = \"OutOfDate\"\nreason = \"r\"\n{rest}\n");
    let rows = [
        (exception("until = 2026-11-22"), vec!["exception.expired"]),
        (exception("until = 2026-11-22T00:00:01Z"), vec![]),
        (exception("until = 2027-11-23"), vec![]),
        (exception("until = 2027-11-24"), vec!["exception.far"]),
        (exception("until = 2026-12-22\nany_advisory = true"), vec!["exception.any_advisory"]),
        (good.replace("18", "0"), vec!["evaluation_number.none"]),
        (good.replace("[registers.os]", "allow_simulated = true\n[registers.os]"), vec!["simulated"]),
        (format!("{good}[platforms]"), vec!["platforms.empty"]),
        (format!("{good}{MILAN}[platforms]\nppid = [\"{}\"]", "ab".repeat(16)), vec!["platforms.no_chip_id"]),
        (format!("{good}rtmr0 = []"), vec!["registers.empty"]),
        (format!("{good}[tdx]\nmrowner = []"), vec!["tdx.pin.empty"]),
        (format!("{good}[tdx.min_module_svn]"), vec!["tdx.min_module_svn.empty"]),
        (format!("{good}[tdx]\nallow_performance_counters = true"), vec!["tdx.performance_counters"]),
        (format!("{good}[snp]\nmin_tcb = {{}}"), vec!["snp.min_tcb.empty"]),
        (format!("{good}{MILAN}[snp]\nallow_provider_keys = true"), vec!["snp.provider_keys"]),
        (format!("{good}{MILAN}[snp]\nallow_unknown_revocation = true"), vec!["snp.unknown_revocation"]),
        ("min_tcb_evaluation_data_number = 18".into(), vec!["registers.none"]),
        (good.replace("mrtd", "rtmr0"), vec!["registers.no_mrtd"]),
        (good.replace("rtmr3", "rtmr2"), vec!["registers.no_app"]),
        (format!("{}[tdx]\nmrconfigid = [\"{digits}\"]", good.replace("rtmr3", "rtmr2")), vec![]),
        (format!("{good}[registers.e]\nisv_prod_id = 1"), vec!["registers.no_enclave"]),
        (
            format!("{good}[registers.e]\nmrsigner = [\"{}\"]\nisv_prod_id = 1", "ab".repeat(32)),
            vec!["registers.no_min_isv_svn"],
        ),
        (
            format!("{good}[registers.g]\nhost_data = [\"{}\"]", "ab".repeat(32)),
            vec!["registers.no_measurement"],
        ),
    ];
    let mut seen = std::collections::BTreeSet::from(["exception.everything"]);
    for (body, wanted) in rows {
        let policy = read(&body).unwrap_or_else(|error| panic!("{body}\n{error}"));
        assert_eq!(warnings(&policy), wanted, "{body}");
        seen.extend(wanted);
    }
    let every = warnings(&Policy::strict().allow_every_status());
    assert!(every.contains(&"exception.everything"));
    assert!(!warnings(&Policy::strict().allow_statuses(&TcbStatus::ALL)).contains(&"exception.everything"));

    // The specification names exactly these.
    let (_, section) = SPEC.split_once("## Warnings").unwrap();
    let (section, _) = section.split_once("## ").unwrap();
    let cells =
        section.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split_once(" |"));
    let named: std::collections::BTreeSet<_> = cells
        .flat_map(|(cell, _)| cell.split("`, `").map(|code| code.trim_matches('`').to_owned()))
        .collect();
    assert_eq!(named, seen.into_iter().map(str::to_owned).collect());
}

/// N51: the one genuine guest with a service TD, under a policy that lists exactly that one.
#[test]
fn r24_n51_a_genuine_guest_with_a_listed_service_td() {
    let vectors = Vectors::load();
    if !vectors.is_full() {
        assert_eq!(vectors.quotes.len(), 5, "the samples have no service TD");
        return;
    }
    let vector = vectors.get("tdx-v5-04");
    let hash = vector.report["mrservicetd"].as_str().unwrap();
    let listing = |hash: &str| format!("[tdx]\nallow_service_tds = [\"{hash}\"]\n");
    for case in &vector.cases {
        let Expected::Rejected { tcb: Some((status, advisories)), .. } = &case.expected else { panic!() };
        let accept = if status == "UpToDate" && advisories.is_empty() {
            String::new()
        } else {
            format!(
                "[[exceptions]]\nstatus = \"{status}\"\nadvisories = {advisories:?}\nuntil = 9999-12-31\nreason = \"r\"\n"
            )
        };
        let under = |body: String| code(&vector.quote, &case.collateral, case.now, &read(&body).unwrap());
        assert_eq!(under(accept.clone()), "policy.service_td");
        assert_eq!(under(format!("{}{accept}", listing(&"ab".repeat(48)))), "policy.service_td");
        assert_eq!(under(format!("{}{accept}", listing(hash))), "ok");
    }
}

/// R22 on real evidence: each advisory must be listed, and an exception ends.
#[test]
fn r22_genuine_evidence_under_exceptions() {
    let vectors = Vectors::load();
    let mut compared = 0;
    for vector in &vectors.quotes {
        for case in &vector.cases {
            let Expected::Verifies { status, advisories, perfmon: false } = &case.expected else { continue };
            if advisories.is_empty() {
                continue;
            }
            let policy = |advisories: &[String], until: u64| {
                let until = time::OffsetDateTime::from_unix_timestamp(until.try_into().unwrap()).unwrap();
                let until = until.format(&time::format_description::well_known::Rfc3339).unwrap();
                read(&format!(
                    "[[exceptions]]\nstatus = \"{status}\"\nadvisories = {advisories:?}\nuntil = {until}\nreason = \"r\"\n"
                ))
                .unwrap()
            };
            let under = |policy: &Policy| code(&vector.quote, &case.collateral, case.now, policy);
            assert_eq!(under(&policy(advisories, case.now + 1)), "ok", "{}", case.label);
            assert_ne!(under(&policy(advisories, case.now)), "ok", "{}", case.label);
            for missing in advisories {
                let rest: Vec<_> = advisories.iter().filter(|id| *id != missing).cloned().collect();
                let policy = policy(&rest, case.now + 1);
                let error = verify(&vector.quote, &case.collateral, case.now, &policy).unwrap_err();
                assert_eq!(error.code(), "policy.advisories", "{} {missing}", case.label);
                assert!(error.reason().found.ends_with(&format!("[{missing}]")), "{}", error.reason().found);
                compared += 1;
            }
        }
    }
    assert!(compared > 0);
}
