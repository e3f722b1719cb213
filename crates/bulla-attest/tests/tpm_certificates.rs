//! Certificates of endorsement keys, made here: what no vendor makes. Those of a real manufacturer's tool are in the tests of `bulla-tpm`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla_attest::tpm::{EndorsementKey, verify_endorsement_certificate};
use bulla_crypto::Class;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm, date_time_ymd,
};

/// 2026-01-15.
const NOW: u64 = 1_768_435_200;
const EK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 1];

/// A vendor's root, with the key that it signs with.
struct Vendor {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
}

impl Vendor {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = dated(Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    fn certify(&self, key: &KeyPair, params: &CertificateParams) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }
}

fn dated(usages: Vec<ExtendedKeyUsagePurpose>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.extended_key_usages = usages;
    params
}

fn of_an_endorsement_key() -> CertificateParams {
    dated(vec![ExtendedKeyUsagePurpose::Other(EK_CERTIFICATE.into())])
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

#[track_caller]
fn refused(certificate: &[u8], vendor: &Vendor, words: &str) {
    let error =
        verify_endorsement_certificate(certificate, std::slice::from_ref(&vendor.root), NOW).unwrap_err();
    assert_eq!((error.code(), error.class()), ("tpm_endorsement.certificate", Class::Refused));
    assert!(error.to_string().contains(words), "{error}");
}

/// Only what a vendor made for an endorsement key is one: not another certificate of the same vendor's, for a server or for nothing.
#[test]
fn a_certificate_says_that_it_is_of_an_endorsement_key() {
    let (vendor, key) = (Vendor::new(), key(&PKCS_ECDSA_P256_SHA256));
    let good = vendor.certify(&key, &of_an_endorsement_key());
    let found = verify_endorsement_certificate(&good, std::slice::from_ref(&vendor.root), NOW).unwrap();
    let point: [u8; 64] = key.public_key_raw()[1..].try_into().unwrap();
    assert_eq!(found, EndorsementKey::Ecc(point));

    refused(&vendor.certify(&key, &dated(Vec::new())), &vendor, "not one of an endorsement key");
    let server = dated(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    refused(&vendor.certify(&key, &server), &vendor, "RequiredEkuNotFound");
    refused(&good, &Vendor::new(), "does not lead");
    let mut issuing = of_an_endorsement_key();
    issuing.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    refused(&vendor.certify(&key, &issuing), &vendor, "CaUsedAsEndEntity");
    let mut unknown = of_an_endorsement_key();
    let mut critical = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    critical.set_criticality(true);
    unknown.custom_extensions.push(critical);
    refused(&vendor.certify(&key, &unknown), &vendor, "UnsupportedCriticalExtension");
}

/// Keys that no credential can be made for.
#[test]
fn its_key_is_on_p256_or_rsa() {
    let vendor = Vendor::new();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let certificate = vendor.certify(&key(algorithm), &of_an_endorsement_key());
        refused(&certificate, &vendor, "neither on P-256 nor RSA");
    }
}

#[test]
fn roots_are_certificates_and_few() {
    let (vendor, key) = (Vendor::new(), key(&PKCS_ECDSA_P256_SHA256));
    let good = vendor.certify(&key, &of_an_endorsement_key());
    let many = vec![vendor.root.clone(); 64];
    verify_endorsement_certificate(&good, &many, NOW).unwrap();
    for roots in [vec![vendor.root.clone(); 65], vec![vendor.root, vec![1, 2, 3]], vec![]] {
        verify_endorsement_certificate(&good, &roots, NOW).unwrap_err();
    }
}
