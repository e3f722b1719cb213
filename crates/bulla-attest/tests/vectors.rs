//! Real quotes with real collateral: status, advisories and verdicts are those of the table.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_attest::{
    Claims, Collateral, CollateralId, PckCa, Policy, TcbStatus, TeeKind, TrustAnchor, Verifier,
};
use bulla_tee::Identity;
use common::{Expected, Vectors, announce, loose, verify};
use serde_json::{Value, json};

#[test]
fn every_case_has_the_status_and_the_verdict_of_the_table() {
    let vectors = Vectors::load();
    let (mut cases, mut accepted) = (0, 0);
    for vector in &vectors.quotes {
        for case in &vector.cases {
            let name = format!("{} with {}", vector.id, case.label);
            let strict = verify(&vector.quote, &case.collateral, case.now, &Policy::strict());
            let every = Policy::strict().allow_every_status();
            match &case.expected {
                Expected::Verifies { status, advisories, perfmon } => {
                    if *perfmon {
                        let error = verify(&vector.quote, &case.collateral, case.now, &every).unwrap_err();
                        assert_eq!(error.code(), "policy.perfmon", "{name}");
                    }
                    let policy = if *perfmon { every.clone().allow_perfmon() } else { every.clone() };
                    let claims = verify(&vector.quote, &case.collateral, case.now, &policy)
                        .unwrap_or_else(|error| panic!("{name}: {} {error}", error.code()));
                    assert_eq!(claims.tcb.status.as_str(), status, "{name}");
                    assert_eq!(&claims.tcb.advisory_ids, advisories, "{name}");
                    assert!(!claims.simulated, "{name}");
                    compare_with_table(&claims, &vector.report, &vector.pck, &name);

                    // R22: the default accepts exactly UpToDate, without advisories, without PERFMON.
                    let clean = status == "UpToDate" && advisories.is_empty() && !perfmon;
                    match strict {
                        Ok(claims_of_strict) => {
                            assert!(clean, "{name}");
                            assert_eq!(claims_of_strict, claims, "{name}");
                            accepted += 1;
                        }
                        Err(error) => {
                            assert!(!clean, "{name}: {error}");
                            assert_eq!(error.tcb(), Some(&claims.tcb), "{name}");
                        }
                    }
                    // Listing the status by name is enough, and the only name that is.
                    let listed = |status: TcbStatus| {
                        let policy = Policy::strict().allow_statuses(&[status]).allow_perfmon();
                        verify(&vector.quote, &case.collateral, case.now, &policy).is_ok()
                    };
                    let fitting: Vec<_> =
                        TcbStatus::ALL.into_iter().filter(|status| listed(*status)).collect();
                    let wanted = if claims.tcb.status == TcbStatus::UpToDate {
                        TcbStatus::ALL.to_vec()
                    } else {
                        vec![claims.tcb.status]
                    };
                    assert_eq!(fitting, wanted, "{name}");
                }
                Expected::Rejected { code, tcb } => {
                    for policy in [Policy::strict(), loose()] {
                        let error = verify(&vector.quote, &case.collateral, case.now, &policy).unwrap_err();
                        assert_eq!(error.code(), code, "{name}: {error}");
                        let found =
                            error.tcb().map(|tcb| (tcb.status.as_str().to_owned(), tcb.advisory_ids.clone()));
                        if code.starts_with("policy.") {
                            assert_eq!(&found, tcb, "{name}");
                        }
                    }
                }
            }
            cases += 1;
        }
    }
    announce(format_args!(
        "ran on the {}: {cases} cases, {accepted} accepted by the default policy",
        vectors.origin
    ));
    assert!(cases > 0 && accepted > 0);
}

/// Every register and every field of the PCK certificate that the table states.
fn compare_with_table(claims: &Claims, report: &Value, pck: &Value, name: &str) {
    if report.is_null() {
        return;
    }
    let mut found = match &claims.identity {
        Identity::Sgx(enclave) => {
            let attributes = enclave.attributes;
            json!({
                "cpusvn": hex::encode(enclave.cpusvn),
                "miscselect": hex::encode(enclave.misc_select.to_le_bytes()),
                "attributes": hex::encode([attributes.flags.to_le_bytes(), attributes.xfrm.to_le_bytes()].concat()),
                "mrenclave": hex::encode(enclave.mrenclave),
                "mrsigner": hex::encode(enclave.mrsigner),
                "isv_prod_id": enclave.isv_prod_id,
                "isv_svn": enclave.isv_svn,
            })
        }
        Identity::Tdx(guest) => json!({
            "tee_tcb_svn": hex::encode(guest.tee_tcb_svn),
            "mrseam": hex::encode(guest.mrseam),
            "td_attributes": hex::encode(guest.attributes.to_le_bytes()),
            "xfam": hex::encode(guest.xfam.to_le_bytes()),
            "mrtd": hex::encode(guest.mrtd),
            "mrconfigid": hex::encode(guest.mrconfigid),
            "mrowner": hex::encode(guest.mrowner),
            "mrownerconfig": hex::encode(guest.mrownerconfig),
            "rtmr0": hex::encode(guest.rtmr[0]),
            "rtmr1": hex::encode(guest.rtmr[1]),
            "rtmr2": hex::encode(guest.rtmr[2]),
            "rtmr3": hex::encode(guest.rtmr[3]),
        }),
        other => panic!("{other:?}"),
    };
    found["report_data"] = json!(hex::encode(claims.report_data));
    if let (Identity::Tdx(guest), Some(servicetd)) = (&claims.identity, report.get("mrservicetd")) {
        assert_eq!(&json!(hex::encode(guest.mrservicetd)), servicetd, "{name}");
    }
    for (field, value) in found.as_object().unwrap() {
        assert_eq!(value, &report[field], "{name}: {field}");
    }

    let platform = claims.platform.intel().unwrap();
    let ca = match platform.ca {
        PckCa::Processor => "Processor CA",
        PckCa::Platform => "Platform CA",
        other => panic!("{other:?}"),
    };
    let found = json!({
        "ppid": hex::encode(platform.ppid),
        "fmspc": hex::encode(platform.fmspc),
        "pce_id": hex::encode(platform.pceid),
        "cpusvn": hex::encode(platform.cpusvn),
        "pcesvn": platform.pcesvn,
        "issuer": ca,
        "platform_instance_id": platform.instance_id.map(hex::encode),
    });
    for (field, value) in found.as_object().unwrap() {
        assert_eq!(value, &pck[field], "{name}: {field}");
    }
}

#[test]
fn an_id_of_a_quote_selects_the_collateral_that_verifies_it() {
    let vectors = Vectors::load();
    let mut compared = 0;
    for vector in &vectors.quotes {
        for case in &vector.cases {
            let Ok(claims) = verify(&vector.quote, &case.collateral, case.now, &loose()) else { continue };
            let id = CollateralId::of_quote(&vector.quote).unwrap();
            let tee = match claims.identity {
                Identity::Sgx(_) => TeeKind::Sgx,
                _ => TeeKind::Tdx,
            };
            assert_eq!(
                id.intel().map(|id| (id.tee, id.fmspc, id.ca)).unwrap(),
                (tee, claims.platform.intel().unwrap().fmspc, claims.platform.intel().unwrap().ca),
                "{}",
                vector.id
            );
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[test]
fn r28_a_set_is_good_exactly_as_long_as_it_says() {
    let vectors = Vectors::load();
    let mut compared = 0;
    for vector in &vectors.quotes {
        for case in &vector.cases {
            let Ok(claims) = verify(&vector.quote, &case.collateral, case.now, &loose()) else { continue };
            let set = Collateral::from_json(case.collateral.to_string().as_bytes()).unwrap();
            let (from, until) = (set.valid_from().unwrap(), set.valid_until().unwrap());
            assert!((from..until).contains(&case.now), "{}", vector.id);
            assert_eq!(claims.valid_until, until, "{}", vector.id);
            let at = |now| verify(&vector.quote, &case.collateral, now, &loose()).is_ok();
            assert_eq!([from - 1, until - 1, until].map(at), [false, true, false], "{}", vector.id);
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[test]
fn r27_the_pinned_hash_and_the_certificate_are_one_root() {
    let vectors = Vectors::load();
    let vector = &vectors.quotes[1];
    let case = &vector.cases[0];
    let set = Collateral::from_json(case.collateral.to_string().as_bytes()).unwrap();
    let verify = |anchor| Verifier::new(anchor).verify(&vector.quote, &set, case.now, &loose());
    let chain = pem::parse_many(case.collateral["tcb_info_issuer_chain"].as_str().unwrap()).unwrap();
    let (signer, root) = (chain[0].contents(), chain[1].contents());

    let by_hash = verify(TrustAnchor::intel()).unwrap();
    let anchor = TrustAnchor::from_der(root).unwrap();
    assert_eq!(anchor.fingerprint(), TrustAnchor::intel().fingerprint());
    assert_eq!(verify(anchor).unwrap(), by_hash);

    // An altered root, and a genuine certificate of the same authority that is not the root.
    let mut altered = root.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    for other in [&altered[..], signer] {
        let error = verify(TrustAnchor::from_der(other).unwrap()).unwrap_err();
        assert_eq!(error.code(), "tcb_info.untrusted_root");
    }
}
