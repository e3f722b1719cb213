//! Sets of collateral, and what is in them.

use bulla_attest::Collateral;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::pki::{By, content};
use super::{NOW, PKI, refused, split, verify};
use crate::edits::Script;

/// Judges good evidence by a set of collateral. The first byte says what evidence, and a third of it what the rest is: even the
/// set, odd edits to a good one.
pub fn collateral(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let (good, how) = split(which);
    let mut text = rest.to_vec();
    if how % 2 == 1 {
        text = good.evidence.collateral.to_string().into_bytes();
        Script::new(rest).edit(&mut text);
    }
    let set = match Collateral::from_json(&text) {
        Ok(set) => set,
        Err(error) => return refused(&error),
    };
    let again = Collateral::from_json(set.to_json().as_bytes()).unwrap();
    assert_eq!(again.to_json(), set.to_json(), "it is written otherwise than it was read");
    for date in [set.valid_from(), set.valid_until()] {
        date.map_or_else(|error| refused(&error), |_| true);
    }
    match verify(&good.evidence.quote(&PKI), &set) {
        Ok(claims) => {
            assert_eq!(claims, good.claims, "a change that nobody signed");
            assert!(set.valid_from().unwrap() <= NOW && NOW < set.valid_until().unwrap());
            true
        }
        Err(error) => refused(&error),
    }
}

/// Judges good evidence by another TCB info or QE identity. The first byte says what evidence, and a third of it what the rest
/// is: bit 0 is clear for a TCB info and set for a QE identity, bit 1 is clear for the document and set for edits to a good one. It
/// is signed.
pub fn document(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let (good, how) = split(which);
    let name = ["tcb_info", "qe_identity"][usize::from(how % 2)];
    let mut set = good.evidence.collateral.clone();
    let mut text = rest.to_vec();
    if how / 2 % 2 == 1 {
        text = set[name].as_str().unwrap().as_bytes().to_vec();
        Script::new(rest).edit(&mut text);
    }
    let Ok(text) = String::from_utf8(text) else { return false };
    PKI.put_document(&mut set, name, &text);
    let set = match Collateral::from_json(set.to_string().as_bytes()) {
        Ok(set) => set,
        Err(error) => return refused(&error),
    };
    let claims = match verify(&good.evidence.quote(&PKI), &set) {
        Ok(claims) => claims,
        Err(error) => return refused(&error),
    };
    assert_eq!((&claims.identity, &claims.platform), (&good.claims.identity, &good.claims.platform));

    let document: Value = serde_json::from_str(&text).unwrap();
    let guest = which % 3 > 0;
    let id = match (name, guest) {
        ("tcb_info", true) => "TDX",
        ("tcb_info", false) => "SGX",
        (_, true) => "TD_QE",
        (_, false) => "QE",
    };
    assert_eq!(document["id"], id);
    let date = |name: &str| {
        let date = OffsetDateTime::parse(document[name].as_str().unwrap(), &Rfc3339).unwrap();
        u64::try_from(date.unix_timestamp()).unwrap()
    };
    assert!(date("issueDate") <= NOW && NOW < date("nextUpdate"));
    assert!(claims.valid_until <= date("nextUpdate"));
    assert!(
        Some(u64::from(claims.tcb.evaluation_data_number)) <= document["tcbEvaluationDataNumber"].as_u64()
    );
    assert!(text.contains("tcbLevels"), "a level of nothing");
    true
}

/// Judges good evidence by another revocation list. The first byte says what evidence, and a third of it what the rest is: even for
/// the list of the PCK CA, odd for that of the root; half of that 0 for the list, 1 for edits to a good one, 2 for the same, signed.
pub fn crl(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let (good, how) = split(which);
    let (name, by, revoked) =
        if how % 2 == 0 { ("pck_crl", By::Ca, &[4_u8][..]) } else { ("root_ca_crl", By::Root, &[2, 3][..]) };
    let mut set = good.evidence.collateral.clone();
    let genuine = hex::decode(set[name].as_str().unwrap()).unwrap();
    let edited = |mut bytes: Vec<u8>| {
        Script::new(rest).edit(&mut bytes);
        bytes
    };
    let crl = match how / 2 % 3 {
        0 => rest.to_vec(),
        1 => edited(genuine.clone()),
        _ => PKI.signed(&edited(content(&genuine).to_vec()), by),
    };
    set[name] = hex::encode(&crl).into();
    let set = match Collateral::from_json(set.to_string().as_bytes()) {
        Ok(set) => set,
        Err(error) => return refused(&error),
    };
    let claims = match verify(&good.evidence.quote(&PKI), &set) {
        Ok(claims) => claims,
        Err(error) => return refused(&error),
    };
    if how / 2 % 3 < 2 {
        assert!(crl == genuine, "a change that nobody signed");
    }
    let (rest, list) = CertificateRevocationList::from_der(&crl).unwrap();
    assert!(rest.is_empty());
    let until = list.next_update().unwrap().timestamp();
    let (from, until) =
        (u64::try_from(list.last_update().timestamp()).unwrap(), u64::try_from(until).unwrap());
    assert!(from <= NOW && NOW < until && claims.valid_until <= until);
    for serial in list.iter_revoked_certificates().map(|entry| entry.raw_serial()) {
        assert!(!revoked.iter().any(|revoked| serial == [*revoked]), "revoked");
    }
    true
}
