//! `attest verify` on real evidence, none of which is in this repository: the folder that `BULLA_VECTORS` names, or the
//! samples inside the `dcap-qvl` package.

use serde_json::{Value, json};

use crate::support::{Bulla, Ran};

#[path = "../../../bulla-attest/tests/common/mod.rs"]
mod common;

use common::{Expected, Vectors, announce};

const EVERY_STATUS: &str = "--tcb up-to-date,sw-hardening-needed,configuration-needed,\
    configuration-and-sw-hardening-needed,out-of-date,out-of-date-configuration-needed,td-relaunch-advised,\
    td-relaunch-advised-configuration-needed";

/// R22: status and advisories are those of the table; the default accepts exactly UpToDate without advisories and PERFMON.
#[test]
fn every_case_has_the_status_of_the_table() {
    let vectors = Vectors::load();
    let bulla = Bulla::new();
    let (mut cases, mut accepted) = (0, 0);
    for vector in &vectors.quotes {
        bulla.write("quote", &vector.quote);
        for case in &vector.cases {
            let name = format!("{} with {}", vector.id, case.label);
            bulla.write("collateral", case.collateral.to_string());
            let line = format!("attest verify quote --collateral collateral --json --at {}", case.now);
            let strict = bulla.run(&line);
            let loose = bulla.run(&format!("{line} {EVERY_STATUS}"));
            let (strict_says, loose_says) = (report(&strict), report(&loose));
            match &case.expected {
                Expected::Verifies { status, advisories, perfmon } => {
                    for says in [&strict_says, &loose_says] {
                        assert_eq!(says["tcb_status"], json!(status), "{name}");
                        assert_eq!(says["advisory_ids"], json!(advisories), "{name}");
                    }
                    let clean = status == "UpToDate" && advisories.is_empty() && !perfmon;
                    assert_eq!(strict.code == 0, clean, "{name}: {}", strict.stderr);
                    assert_eq!(loose.code, if *perfmon { 10 } else { 0 }, "{name}: {}", loose.stderr);
                    if *perfmon {
                        assert_eq!(loose_says["code"], "policy.perfmon", "{name}");
                    }
                    accepted += usize::from(clean);
                }
                Expected::Rejected { code, .. } => {
                    for (ran, says) in [(&strict, &strict_says), (&loose, &loose_says)] {
                        assert_eq!(says["code"], json!(code), "{name}");
                        assert!([10, 11, 12].contains(&ran.code), "{name}: {}", ran.stderr);
                    }
                }
            }
            cases += 1;
        }
    }
    announce(format_args!("ran on the {}: {cases} cases, {accepted} accepted by default", vectors.origin));
    assert!(cases > 0 && accepted > 0);
}

/// What it says, which agrees with the exit code.
fn report(ran: &Ran) -> Value {
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report["verified"], json!(ran.code == 0));
    assert_eq!(report.get("code").is_some(), ran.code != 0);
    report
}

/// R27: neither root vouches for the other's evidence.
#[test]
fn a_simulated_root_vouches_for_nothing_real() {
    let vectors = Vectors::load();
    let bulla = Bulla::with_host();
    bulla.run("sim root host -o root").ok();
    let (vector, case) = vectors
        .quotes
        .iter()
        .flat_map(|vector| vector.cases.iter().map(move |case| (vector, case)))
        .find(|(_, case)| matches!(&case.expected, Expected::Verifies { status, .. } if status == "UpToDate"))
        .unwrap();
    bulla.write("quote", &vector.quote);
    bulla.write("collateral", case.collateral.to_string());
    let line = format!("attest verify quote --collateral collateral --at {}", case.now);
    bulla.run(&line).ok();
    bulla.run(&format!("{line} --root root")).fails(10, &["[tcb_info.untrusted_root]"]);
}
