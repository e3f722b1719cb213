//! The provisioning service of a simulated machine: what it gives out verifies, and what it cannot give it refuses as
//! Intel's does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_sim::pcs::{Response, respond};
use bulla_sim::{Machine, Recovery, SnpDescription, TdDescription};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use common::{Engine, new};

const NOW: u64 = 1_800_000_000;
const FMSPC: &str = "B011A51A0000";

fn get(machine: &Machine, path: &str) -> Response {
    let response = respond(machine, NOW, "GET", path);
    assert_eq!(response.header("request-id").unwrap().len(), 32, "{path}");
    response
}

#[track_caller]
fn ok(machine: &Machine, path: &str) -> Response {
    let response = get(machine, path);
    assert_eq!(response.status, 200, "{path}: {}", String::from_utf8_lossy(&response.body));
    response
}

fn chain(response: &Response, name: &str) -> String {
    let value = response.header(name).unwrap_or_else(|| panic!("{name} is not in {:?}", response.headers));
    assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{value}");
    percent_decode_str(value).decode_utf8().unwrap().into_owned()
}

/// The exact text of the document in a body, and its signature.
fn document(response: &Response, name: &str) -> (String, Vec<u8>) {
    let body = std::str::from_utf8(&response.body).unwrap();
    let whole: Value = serde_json::from_str(body).unwrap();
    assert_eq!(whole.as_object().unwrap().len(), 2, "{body}");
    let inner = body.strip_prefix(&format!("{{\"{name}\":")).unwrap();
    let (inner, _) = inner.rsplit_once(",\"signature\":").unwrap();
    assert_eq!(serde_json::from_str::<Value>(inner).unwrap(), whole[name]);
    (inner.to_owned(), hex::decode(whole["signature"].as_str().unwrap()).unwrap())
}

/// The whole set for guests, one request at a time.
fn assemble(machine: &Machine) -> QuoteCollateralV3 {
    let tcb = ok(machine, &format!("/tdx/certification/v4/tcb?fmspc={FMSPC}"));
    let qe = ok(machine, "/tdx/certification/v4/qe/identity?update=standard");
    let crl = ok(machine, "/sgx/certification/v4/pckcrl?ca=platform&encoding=der");
    let root = ok(machine, "/sgx/certification/v4/rootcacrl");
    let (tcb_info, tcb_info_signature) = document(&tcb, "tcbInfo");
    let (qe_identity, qe_identity_signature) = document(&qe, "enclaveIdentity");
    QuoteCollateralV3 {
        pck_crl_issuer_chain: chain(&crl, "SGX-PCK-CRL-Issuer-Chain"),
        root_ca_crl: hex::decode(&root.body).unwrap(),
        pck_crl: crl.body,
        tcb_info_issuer_chain: chain(&tcb, "TCB-Info-Issuer-Chain"),
        tcb_info,
        tcb_info_signature,
        qe_identity_issuer_chain: chain(&qe, "SGX-Enclave-Identity-Issuer-Chain"),
        qe_identity,
        qe_identity_signature,
        pck_certificate_chain: None,
    }
}

#[test]
fn what_is_served_piece_by_piece_verifies_a_quote() {
    let (_dir, machine) = new();
    let quote = machine.td_quote(&TdDescription::default_guest(), &[1; 64]).unwrap();
    let set = assemble(&machine);
    let verifier = QuoteVerifier::<Engine>::new_with_config(machine.root_der());
    assert_eq!(verifier.verify(&quote, &set, NOW).unwrap().status, "UpToDate");

    let mut edited = assemble(&machine);
    edited.tcb_info = edited.tcb_info.replace("OutOfDate", "UpToDate");
    verifier.verify(&quote, &edited, NOW).unwrap_err();
}

#[test]
fn each_tee_has_its_own_documents() {
    let (_dir, machine) = new();
    for (tee, id, qe) in [("sgx", "SGX", "QE"), ("tdx", "TDX", "TD_QE")] {
        let (tcb, _) =
            document(&ok(&machine, &format!("/{tee}/certification/v4/tcb?fmspc=b011a51a0000")), "tcbInfo");
        assert!(tcb.starts_with('{') && tcb.contains(&format!("\"id\":\"{id}\"")), "{tcb}");
        let (identity, _) =
            document(&ok(&machine, &format!("/{tee}/certification/v4/qe/identity")), "enclaveIdentity");
        assert!(identity.contains(&format!("\"id\":\"{qe}\"")), "{identity}");
        let numbers = ok(&machine, &format!("/{tee}/certification/v4/tcbevaluationdatanumbers"));
        assert!(chain(&numbers, "TCB-Evaluation-Data-Numbers-Issuer-Chain").contains("BEGIN CERTIFICATE"));
        let (numbers, signature) = document(&numbers, "tcbEvaluationDataNumbers");
        let numbers: Value = serde_json::from_str(&numbers).unwrap();
        assert_eq!((&numbers["id"], signature.len()), (&id.into(), 64));
        let number = &numbers["tcbEvalNumbers"][0]["tcbEvaluationDataNumber"];
        assert!(tcb.contains(&format!("\"tcbEvaluationDataNumber\":{number}")), "{tcb}");
    }
}

#[test]
fn crls_come_in_each_encoding() {
    let (_dir, machine) = new();
    let kind = |response: &Response| response.header("content-type").unwrap().to_owned();
    let pem = ok(&machine, "/sgx/certification/v4/pckcrl?ca=platform");
    let der = ok(&machine, "/sgx/certification/v4/pckcrl?encoding=der&ca=platform");
    assert_eq!((kind(&pem), kind(&der)), ("application/x-pem-file".into(), "application/pkix-crl".into()));
    assert!(pem.body.starts_with(b"-----BEGIN X509 CRL-----"));
    assert_eq!(der.body[0], 0x30);

    let hex = ok(&machine, "/sgx/certification/v4/rootcacrl").body;
    assert!(hex.iter().all(u8::is_ascii_hexdigit));
    let uri = "https%3A%2F%2Fcertificates.trustedservices.intel.com%2FIntelSGXRootCA.der";
    for path in ["/IntelSGXRootCA.der", &format!("/sgx/certification/v4/crl?uri={uri}")] {
        assert_eq!(ok(&machine, path).body[0], 0x30, "{path}");
    }
}

/// Intel PCS API version 4: 400 with its two headers, 404, 410; and a caching service passes them on.
#[test]
fn what_cannot_be_had_is_refused_by_its_status() {
    let (_dir, machine) = new();
    let tcb = "/tdx/certification/v4/tcb";
    let qe = "/sgx/certification/v4/qe/identity";
    let crl = "/sgx/certification/v4/pckcrl";
    for (status, path) in [
        (400, tcb.to_owned()),
        (400, format!("{tcb}?fmspc=")),
        (400, format!("{tcb}?fmspc=B011A51A00")),
        (400, format!("{tcb}?fmspc=B011A51A000000")),
        (400, format!("{tcb}?fmspc=B011A51A000g")),
        (400, format!("{tcb}?fmspc={FMSPC}&fmspc={FMSPC}")),
        (400, format!("{tcb}?fmspc={FMSPC}&update=late")),
        (400, format!("{tcb}?fmspc={FMSPC}&update=early&tcbEvaluationDataNumber=20")),
        (400, format!("{tcb}?fmspc={FMSPC}&tcbEvaluationDataNumber=-1")),
        (400, format!("{tcb}?fmspc=%FF")),
        (404, format!("{tcb}?fmspc=000000000000")),
        (404, format!("{tcb}?fmspc={FMSPC}&tcbEvaluationDataNumber=4000000000")),
        (410, format!("{tcb}?fmspc={FMSPC}&tcbEvaluationDataNumber=1")),
        (400, format!("{qe}?update=")),
        (404, format!("{qe}?tcbEvaluationDataNumber=4000000000")),
        (410, format!("{qe}?tcbEvaluationDataNumber=1")),
        (400, crl.to_owned()),
        (400, format!("{crl}?ca=root")),
        (400, format!("{crl}?ca=platform&encoding=hex")),
        (404, format!("{crl}?ca=processor")),
        (404, "/tdx/certification/v4/pckcrl?ca=platform".to_owned()),
        (404, "/sgx/certification/v3/tcb?fmspc=B011A51A0000".to_owned()),
        (404, "/sgx/certification/v4/".to_owned()),
        (404, "/sgx/certification/v4/tcb/".to_owned()),
        (400, "/sgx/certification/v4/crl".to_owned()),
        (404, "/sgx/certification/v4/crl?uri=https%3A%2F%2Fexample.org%2Fother.crl".to_owned()),
        (404, "/".to_owned()),
        (404, String::new()),
    ] {
        let response = get(&machine, &path);
        assert_eq!(response.status, status, "{path}");
        let reason = response.header("Error-Code").zip(response.header("Error-Message"));
        assert_eq!(reason.is_some(), status == 400, "{path}");
        assert!(response.body.is_empty(), "{path}");
    }
    for method in ["POST", "HEAD", "get", ""] {
        let response = respond(&machine, NOW, method, qe);
        assert_eq!((response.status, response.header("allow")), (405, Some("GET")), "{method}");
    }
    // Beyond the years of certificates.
    assert_eq!(respond(&machine, u64::MAX, "GET", qe).status, 500);
}

#[test]
fn the_number_that_is_served_can_be_asked_for() {
    let (_dir, machine) = new();
    let numbers = ok(&machine, "/tdx/certification/v4/tcbevaluationdatanumbers").body;
    let numbers: Value = serde_json::from_slice(&numbers).unwrap();
    for listed in numbers["tcbEvaluationDataNumbers"]["tcbEvalNumbers"].as_array().unwrap() {
        let number = &listed["tcbEvaluationDataNumber"];
        let path = format!("/tdx/certification/v4/tcb?fmspc={FMSPC}&tcbEvaluationDataNumber={number}");
        let (tcb, _) = document(&ok(&machine, &path), "tcbInfo");
        assert_eq!(serde_json::from_str::<Value>(&tcb).unwrap()["tcbEvaluationDataNumber"], *number);
    }
}

/// R29: between the two channels there are two editions, and both can be had by number; then the older is gone.
#[test]
fn a_recovery_shows_in_the_channels_at_its_times() {
    let (_dir, machine) = new();
    let (at, standard_at) = (NOW + 100, NOW + 200);
    let advisory = "SIM-SA-00002".to_owned();
    machine.tcb_recovery(&Recovery { at, standard_at, microcode: 6, tdx_module: 6, advisory }).unwrap();
    let tcb = format!("/tdx/certification/v4/tcb?fmspc={FMSPC}");
    let number = |now: u64, query: &str| {
        let response = respond(&machine, now, "GET", &format!("{tcb}{query}"));
        if response.status != 200 {
            return Err(response.status);
        }
        let (tcb, _) = document(&response, "tcbInfo");
        let numbered = format!("/tdx/certification/v4/qe/identity?{}", query.trim_start_matches('&'));
        let (qe, _) = document(&respond(&machine, now, "GET", &numbered), "enclaveIdentity");
        let [tcb, qe] = [tcb, qe].map(|text| serde_json::from_str::<Value>(&text).unwrap());
        assert_eq!(tcb["tcbEvaluationDataNumber"], qe["tcbEvaluationDataNumber"]);
        Ok(tcb["tcbEvaluationDataNumber"].as_u64().unwrap())
    };
    let listed = |now: u64| {
        let response = respond(&machine, now, "GET", "/tdx/certification/v4/tcbevaluationdatanumbers");
        let (numbers, _) = document(&response, "tcbEvaluationDataNumbers");
        let numbers: Value = serde_json::from_str(&numbers).unwrap();
        let list = numbers["tcbEvalNumbers"].as_array().unwrap().clone();
        list.iter().map(|listed| listed["tcbEvaluationDataNumber"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    for (now, standard, early, numbers, n20, n21) in [
        (at - 1, 20, 20, &[20][..], Ok(20), Err(404)),
        (at, 20, 21, &[21, 20], Ok(20), Ok(21)),
        (standard_at - 1, 20, 21, &[21, 20], Ok(20), Ok(21)),
        (standard_at, 21, 21, &[21], Err(410), Ok(21)),
    ] {
        assert_eq!(number(now, ""), Ok(standard), "{now}");
        assert_eq!(number(now, "&update=standard"), Ok(standard), "{now}");
        assert_eq!(number(now, "&update=early"), Ok(early), "{now}");
        assert_eq!(listed(now), numbers, "{now}");
        assert_eq!(number(now, "&tcbEvaluationDataNumber=20"), n20, "{now}");
        assert_eq!(number(now, "&tcbEvaluationDataNumber=21"), n21, "{now}");
    }
}

/// R28: a revocation shows in the CRL from its time on, and not in that of the root.
#[test]
fn a_revocation_shows_from_its_time_on() {
    let (_dir, machine) = new();
    machine.revoke_pck(NOW + 100).unwrap();
    let length = |now, path: &str| respond(&machine, now, "GET", path).body.len();
    let pck = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
    let (before, after) = (length(NOW + 99, pck), length(NOW + 100, pck));
    assert!(after > before + 16, "{before} {after}");
    let root = [NOW + 99, NOW + 100].map(|now| length(now, "/IntelSGXRootCA.der"));
    assert!(root[0].abs_diff(root[1]) < 8, "{root:?}");
}

/// AMD's service, for chips: what there is, and what cannot be asked.
#[test]
fn the_key_of_a_chip_is_certified_for_what_it_has_reached() {
    let (_parent, machine) = new();
    let report = machine.snp_report(&SnpDescription::default_guest(), &[0; 64]).unwrap();
    let chip = hex::encode(&report[0x1A0..0x1E0]);
    let at = |chip: &str, microcode: &str| {
        format!("/vcek/v1/Genoa/{chip}?blSPL=09&teeSPL=00&snpSPL=23&ucodeSPL={microcode}")
    };
    let leaf = ok(&machine, &at(&chip, "72"));
    assert_eq!(leaf.header("content-type"), Some("application/pkix-cert"));
    assert_eq!(leaf.body, ok(&machine, &at(&chip, "72")).body, "one key for each TCB");
    assert_ne!(leaf.body, ok(&machine, &at(&chip, "71")).body);
    assert_eq!(
        leaf.body,
        machine
            .vcek_certificate(
                report[0x1A0..0x1E0].try_into().unwrap(),
                report[0x180..0x188].try_into().unwrap(),
            )
            .unwrap()
    );
    let pem = pem::parse_many(ok(&machine, "/vcek/v1/Genoa/cert_chain").body).unwrap();
    assert_eq!((pem.len(), pem[1].contents()), (2, &machine.snp_root_der()[..]));
    assert_eq!(ok(&machine, "/vcek/v1/Genoa/crl").header("content-type"), Some("application/pkix-crl"));
    for (path, status) in [
        (at(&chip, "73"), 404),
        (at(&"00".repeat(64), "72"), 404),
        (at("00", "72"), 400),
        (at(&chip, "256"), 400),
        (format!("/vcek/v1/Genoa/{chip}?blSPL=09"), 400),
        ("/vcek/v1/Milan/cert_chain".into(), 404),
        ("/vcek/v2/Genoa/cert_chain".into(), 404),
        ("/vcek/v1/Genoa".into(), 404),
        ("/vlek/v1/Genoa/cert_chain".into(), 404),
    ] {
        assert_eq!(get(&machine, &path).status, status, "{path}");
    }
}
