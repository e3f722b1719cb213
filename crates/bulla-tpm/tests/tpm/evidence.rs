//! Quotes and activated credentials of real TPMs, judged by the pure verifier.

use std::collections::BTreeMap;

use bulla_attest::tpm::{
    Activation, EndorsementKey, TpmPolicy, attestation_key_name, endorsement_key_name,
    verify_endorsement_certificate, verify_tpm_quote,
};
use bulla_crypto::{Class, Role, RoleHash};
use bulla_tee::tpm::TpmQuote;
use bulla_tee::{Evidence, EvidenceKind, Identity, Tee};
use bulla_tpm::Endorsement;

use crate::support::SoftwareTpm;

fn data(nonce: &[u8]) -> RoleHash {
    RoleHash::new(Role::Successor, &[("nonce", nonce)])
}

fn quote(software: &SoftwareTpm, nonce: &[u8]) -> Vec<u8> {
    match software.machine().attest(&data(nonce), EvidenceKind::Quote).unwrap() {
        Evidence::TpmQuote(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn registers(software: &SoftwareTpm, of: &[usize]) -> BTreeMap<usize, [u8; 32]> {
    match software.machine().identity().unwrap() {
        Identity::Tpm(identity) => of.iter().map(|register| (*register, identity.pcrs[*register])).collect(),
        other => panic!("{other:?}"),
    }
}

fn policy(software: &SoftwareTpm, of: &[usize]) -> TpmPolicy {
    let (_, attestation) = software.machine().points().unwrap();
    TpmPolicy {
        attestation_keys: vec![attestation_key_name(&attestation)],
        states: vec![registers(software, of)],
    }
}

/// The names that the verifier computes from points alone are those that the TPM gives its keys.
#[test]
fn names_are_those_of_the_tpm() {
    let software = SoftwareTpm::new();
    let (endorsement, _) = software.machine().points().unwrap();
    assert_eq!(endorsement_key_name(&endorsement), software.machine().endorsement_key().unwrap());
}

/// A quote is accepted by its registers' values; other events, another nonce and another TPM are told apart.
#[test]
fn a_quote_is_judged_by_its_registers() {
    let (software, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let accepted = policy(&software, &[4, 7]);
    let judge = |bytes: &[u8], nonce: &[u8], policy: &TpmPolicy| {
        verify_tpm_quote(bytes, data(nonce).as_bytes(), policy)
    };
    let first = quote(&software, b"one");
    let claims = judge(&first, b"one", &accepted).unwrap();
    assert_eq!(claims.pcrs.len(), 24);
    assert_eq!(claims.attestation_key, accepted.attestation_keys[0]);
    // Replayed for another question.
    let error = judge(&first, b"two", &accepted).unwrap_err();
    assert_eq!((error.code(), error.class()), ("binding.report_data", Class::Refused));
    // Another TPM in the same state.
    let error = judge(&quote(&other, b"one"), b"one", &accepted).unwrap_err();
    assert_eq!((error.code(), error.class()), ("tpm_quote.attestation_key", Class::Refused));
    // Registers that do not count, and one that does.
    software.extend(10, "a file");
    judge(&quote(&software, b"one"), b"one", &accepted).unwrap();
    software.extend(7, "another key of secure boot");
    let error = judge(&quote(&software, b"one"), b"one", &accepted).unwrap_err();
    assert_eq!((error.code(), error.class()), ("tpm_quote.state", Class::Refused));
    assert!(error.to_string().contains("PCR7"), "{error}");
    // Two accepted states.
    let mut both = accepted.clone();
    both.states.push(registers(&software, &[4, 7]));
    judge(&quote(&software, b"one"), b"one", &both).unwrap();
    // A policy that accepts anything is none (R14).
    for states in [vec![], vec![BTreeMap::new()]] {
        let anything = TpmPolicy { states, ..accepted.clone() };
        assert_eq!(judge(&first, b"one", &anything).unwrap_err().code(), "tpm_quote.policy");
    }
    assert_eq!((software.occupied(), other.occupied()), (0, 0));
}

/// R32: every bit of the evidence counts.
#[test]
fn a_changed_quote_is_refused() {
    let software = SoftwareTpm::new();
    let accepted = policy(&software, &[4]);
    let bytes = quote(&software, b"one");
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        verify_tpm_quote(&changed, data(b"one").as_bytes(), &accepted).unwrap_err();
    }
    for bad in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[0; TpmQuote::LIMIT + 1]] {
        let error = verify_tpm_quote(bad, data(b"one").as_bytes(), &accepted).unwrap_err();
        assert_eq!((error.code(), error.class()), ("tpm_quote.parse", Class::Damaged));
    }
    // Values that hide a register, or claim another.
    let mut fewer = TpmQuote::decode(&bytes).unwrap();
    (fewer.pcrs, fewer.values) = (1 << 4, fewer.values[4 * 32..5 * 32].to_vec());
    let mut longer = TpmQuote::decode(&bytes).unwrap();
    longer.values.push(0);
    for lie in [fewer, longer] {
        let error = verify_tpm_quote(&lie.encode(), data(b"one").as_bytes(), &accepted).unwrap_err();
        assert_eq!(error.code(), "tpm_quote.registers");
    }
    let mut other = TpmQuote::decode(&bytes).unwrap();
    other.signature[0] ^= 1;
    let error = verify_tpm_quote(&other.encode(), data(b"one").as_bytes(), &accepted).unwrap_err();
    assert_eq!(error.code(), "tpm_quote.signature");
}

/// Only the TPM with that endorsement key answers, and only for an attestation key of its own.
#[test]
fn a_credential_shows_whose_an_attestation_key_is() {
    let (software, other) = (SoftwareTpm::new(), SoftwareTpm::new());
    let (endorsement, attestation) = software.machine().points().unwrap();
    let (_, foreign) = other.machine().points().unwrap();
    let asked = Activation::new(&endorsement, &attestation).unwrap();
    let credential = asked.credential();
    let answer = software.machine().activate(Endorsement::Ecc, &credential.blob, &credential.seed).unwrap();
    assert_eq!(asked.accept(&answer), Some(attestation_key_name(&attestation)));
    let again = Activation::new(&endorsement, &attestation).unwrap();
    assert_eq!(again.accept(&answer), None, "an answer to another question");
    assert!(
        other.machine().activate(Endorsement::Ecc, &credential.blob, &credential.seed).is_err(),
        "another TPM"
    );
    let asked = Activation::new(&endorsement, &foreign).unwrap();
    let credential = asked.credential();
    assert!(
        software.machine().activate(Endorsement::Ecc, &credential.blob, &credential.seed).is_err(),
        "another's key"
    );
    assert_eq!((software.occupied(), other.occupied()), (0, 0));
}

fn roots(text: &[u8]) -> Vec<Vec<u8>> {
    pem::parse_many(text).unwrap().into_iter().map(pem::Pem::into_contents).collect()
}

/// What a manufacturer vouches for is found in the TPM, leads to its root, and names the keys that the TPM has: a credential to either
/// is answered. Under another manufacturer's root, later, or changed anywhere, it is refused.
#[test]
fn a_certified_endorsement_key_is_the_tpms() {
    let (software, authority) = SoftwareTpm::manufactured();
    let (other, stranger) = SoftwareTpm::manufactured();
    let (authority, stranger) = (roots(&authority), roots(&stranger));
    let certificates = software.machine().certificates().unwrap();
    let (endorsement, attestation) = software.machine().points().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let keys: Vec<_> = certificates
        .iter()
        .map(|certificate| verify_endorsement_certificate(certificate, &authority, now).unwrap())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], EndorsementKey::Ecc(endorsement));
    for (key, by) in keys.iter().zip([Endorsement::Ecc, Endorsement::Rsa]) {
        let asked = Activation::by(key, &attestation).unwrap();
        let credential = asked.credential();
        let answer = software.machine().activate(by, &credential.blob, &credential.seed).unwrap();
        assert_eq!(asked.accept(&answer), Some(attestation_key_name(&attestation)), "{by:?}");
        assert!(other.machine().activate(by, &credential.blob, &credential.seed).is_err(), "{by:?}");
    }

    let refused = |certificate: &[u8], roots: &[Vec<u8>], now| {
        let error = verify_endorsement_certificate(certificate, roots, now).unwrap_err();
        assert_eq!((error.code(), error.class()), ("tpm_endorsement.certificate", Class::Refused));
        error.to_string()
    };
    for certificate in &certificates {
        // The issuer alone is enough, where that is whom one trusts; the root alone is not, without the issuer.
        verify_endorsement_certificate(certificate, &authority[..1], now).unwrap();
        assert!(refused(certificate, &authority[1..], now).contains("UnknownIssuer"));
        refused(certificate, &[], now);
        refused(certificate, &stranger, now);
        assert!(refused(certificate, &authority, now - 400 * 86400).contains("NotValidYet"));
        // One of them ends with the year 9999.
        refused(certificate, &authority, now + 8100 * 365 * 86400);
        for place in (0..certificate.len()).step_by(7) {
            let mut changed = certificate.clone();
            changed[place] ^= 1;
            refused(&changed, &authority, now);
        }
        refused(&certificate[..certificate.len() - 1], &authority, now);
        refused(&[&certificate[..], &[0]].concat(), &authority, now);
    }
    // An issuer's certificate is none of an endorsement key, though the root vouches for it.
    refused(&authority[0], &authority[1..], now);
    refused(&vec![0x30; 8193], &authority, now);
    assert!(SoftwareTpm::new().machine().certificates().unwrap().is_empty());
    assert_eq!((software.occupied(), other.occupied()), (0, 0));
}
