//! What an operator is told about genuine evidence: the component that falls short, by its name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_attest::{Policy, Remote, TcbStatus};
use common::{Case, Expected, Vectors, announce, loose, verify};
use serde_json::Value;

/// SVNs of a level: 16 SGX components, PCESVN, 16 TDX components or none.
fn level(level: &Value) -> (Vec<u64>, u64, Vec<u64>) {
    let svns = |name: &str| -> Vec<u64> {
        level["tcb"][name]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item["svn"].as_u64().unwrap())
            .collect()
    };
    (svns("sgxtcbcomponents"), level["tcb"]["pcesvn"].as_u64().unwrap(), svns("tdxtcbcomponents"))
}

fn tcb_info(case: &Case) -> Value {
    serde_json::from_str(case.collateral["tcb_info"].as_str().unwrap()).unwrap()
}

/// Every case of the vectors: what is named as short is short by the table's own numbers, and nothing else is.
#[test]
fn every_shortfall_of_genuine_evidence_is_one_of_its_documents() {
    let vectors = Vectors::load();
    let (mut outdated, mut named) = (0, 0);
    for vector in vectors.quotes.iter().filter(|vector| !vector.pck.is_null()) {
        for case in &vector.cases {
            let shortfalls = match verify(&vector.quote, &case.collateral, case.now, &loose()) {
                Ok(claims) => claims.tcb.shortfalls,
                Err(error) if error.code() == "tcb.no_matching_level" => {
                    let reason = error.reason();
                    assert!(reason.found.contains("needs") && !reason.remedy.is_empty(), "{reason:?}");
                    continue;
                }
                Err(_) => continue,
            };
            let Expected::Verifies { status, .. } = &case.expected else { continue };
            let info = tcb_info(case);
            let cpusvn = hex::decode(vector.pck["cpusvn"].as_str().unwrap()).unwrap();
            let pcesvn = vector.pck["pcesvn"].as_u64().unwrap();
            let tee_svn = vector.report["tee_tcb_svn"].as_str().map(|svn| hex::decode(svn).unwrap());
            // Below every level that is up to date, by the numbers.
            let platform_is_short = info["tcbLevels"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|level| level["tcbStatus"] == "UpToDate")
                .map(level)
                .all(|(sgx, pce, tdx)| {
                    sgx.iter().zip(&cpusvn).any(|(needs, have)| u64::from(*have) < *needs)
                        || pcesvn < pce
                        || tee_svn.as_ref().is_some_and(|svn| {
                            let skip = if svn[1] > 0 { 2 } else { 0 };
                            tdx.iter().zip(svn).skip(skip).any(|(needs, have)| u64::from(*have) < *needs)
                        })
                });
            let of_platform = |component: &str| {
                component.starts_with("SGX TCB") || component.starts_with("TDX TCB") || component == "PCESVN"
            };
            let has_best =
                info["tcbLevels"].as_array().unwrap().iter().any(|level| level["tcbStatus"] == "UpToDate");
            if has_best {
                let named = shortfalls.iter().any(|short| of_platform(&short.component));
                assert_eq!(named, platform_is_short, "{} {}: {shortfalls:?}", vector.id, case.label);
            }
            for short in &shortfalls {
                assert!(short.found < short.wanted && !short.remedy.is_empty(), "{short:?}");
                if let Some(rest) = short.component.strip_prefix("SGX TCB component ") {
                    let number: usize = rest.split(' ').next().unwrap().parse().unwrap();
                    assert_eq!(short.found, u16::from(cpusvn[number - 1]), "{}", vector.id);
                }
            }
            if status == "UpToDate" {
                assert!(shortfalls.is_empty(), "{} {}: {shortfalls:?}", vector.id, case.label);
                continue;
            }
            let error = verify(&vector.quote, &case.collateral, case.now, &Policy::strict()).unwrap_err();
            if error.code() != "policy.tcb_status" {
                continue;
            }
            outdated += 1;
            let reason = error.reason();
            assert_eq!((reason.wanted.as_str(), error.remote()), ("UpToDate", Remote::TcbTooOld));
            for short in &shortfalls {
                assert!(reason.remedy.contains(&short.to_string()), "{}", reason.remedy);
                assert!(reason.remedy.contains(short.remedy), "{}", reason.remedy);
                named += 1;
            }
            if status == "OutOfDate" {
                assert!(!shortfalls.is_empty(), "{} {}", vector.id, case.label);
            }
        }
    }
    announce(format_args!(
        "reasons: {named} shortfalls of {outdated} refused cases on the {}",
        vectors.origin
    ));
    assert!(!vectors.is_full() || outdated > 10 && named > 10);
}

/// The words themselves, on three genuine machines.
#[test]
fn operators_read_the_component_both_versions_and_what_to_do() {
    let vectors = Vectors::load();
    if !vectors.is_full() {
        // Among the samples, one guest is below every level.
        let vector = vectors.quotes.iter().find(|vector| vector.id == "tdx_quote_outdated").unwrap();
        let case = &vector.cases[0];
        let error = verify(&vector.quote, &case.collateral, case.now, &Policy::strict()).unwrap_err();
        assert!(error.reason().found.contains("needs"), "{:?}", error.reason());
        return;
    }
    let refused = |prefix: &str, label: &str| {
        let vector = vectors.get(prefix);
        let case = vector.cases.iter().find(|case| case.label.contains(label)).unwrap();
        verify(&vector.quote, &case.collateral, case.now, &Policy::strict()).unwrap_err()
    };
    let error = refused("tdx-v4-01", "2026-08-13");
    assert_eq!(error.tcb().unwrap().status, TcbStatus::OutOfDate);
    assert_eq!(
        error.to_string(),
        "the platform is OutOfDate [INTEL-SA-01192 INTEL-SA-01245 INTEL-SA-01312 INTEL-SA-01313], and wanted is UpToDate: \
         TDX module SVN is 6, needs 11: update the TDX module; SGX TCB component 1 (Early Microcode Update) is 3, needs 4: \
         update the BIOS, which brings the microcode; SGX TCB component 2 (SGX Late Microcode Update) is 3, needs 4, TDX TCB \
         component 3 (TDX Late Microcode Update) is 3, needs 4: load newer microcode from the host's operating system; then \
         fetch a new PCK certificate for the machine"
    );
    let error = refused("tdx-v4-04", "2025-06-19");
    assert_eq!(error.code(), "tcb.no_matching_level");
    let reason = error.reason();
    assert_eq!(reason.clause, "TCB info, levels");
    assert!(reason.found.contains("is") && reason.found.contains("needs"), "{reason:?}");
}
