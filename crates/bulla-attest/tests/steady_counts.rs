//! How many signatures a verification executes. One test, because what a process remembers is shared by all of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};

use bulla_attest::{Collateral, Policy, TrustAnchor, Verifier, signatures_verified};
use bulla_sim::{Machine, QuoteForm, TdDescription};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::policy::QuotePolicy;
use dcap_qvl::verify::QuoteVerifier;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs::ECDSA_P256_SHA256;

const NOW: u64 = 1_800_000_000;

/// `dcap-qvl` on an engine that counts.
struct Plain;

#[derive(Debug)]
struct Counting;

static EXECUTED: AtomicU64 = AtomicU64::new(0);

impl SignatureVerificationAlgorithm for Counting {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.signature_alg_id()
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        EXECUTED.fetch_add(1, Ordering::Relaxed);
        ECDSA_P256_SHA256.verify_signature(key, message, signature)
    }
}

impl Config for Plain {
    type X509 = dcap_qvl::x509::X509CertBackend;
    type SigEncoder = dcap_qvl::signature::DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Plain {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &Counting
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        bulla_crypto::sha256(&[data])
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        bulla_crypto::sha384(&[data])
    }
}

/// Design, section 7: never more than a tenth above the library's at first, at most four for a new platform, one for a known.
#[test]
fn signatures_that_are_executed() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [first, second] = dirs.each_ref().map(|dir| Machine::create(dir.path().join("machine")).unwrap());
    let verifier = Verifier::new(TrustAnchor::from_der(&first.root_der()).unwrap());
    let policy = Policy::strict().allow_simulated();
    let form = QuoteForm::TdxV4;
    let quote = |machine: &Machine, data: u8| {
        machine.td_quote_in(form, &TdDescription::default_guest(), &[data; 64]).unwrap()
    };
    let json = first.collateral(&quote(&first, 0), NOW).unwrap();
    let collateral = Collateral::from_json(json.as_bytes()).unwrap();
    let count = |quote: &[u8]| {
        let before = signatures_verified();
        verifier.verify(quote, &collateral, NOW, &policy).unwrap();
        signatures_verified() - before
    };

    let quotes = [0, 1, 2, 3].map(|data| quote(&first, data));
    let theirs: QuoteCollateralV3 = serde_json::from_str(&json).unwrap();
    QuoteVerifier::<Plain>::new_with_config(first.root_der())
        .verify_with_policy(&quotes[0], theirs, NOW, &QuotePolicy::claims_only(NOW))
        .unwrap();
    let library = EXECUTED.load(Ordering::Relaxed);

    // Root CRL, PCK CRL, TCB signer, TCB info, QE identity, PCK CA, PCK, QE report, quote.
    assert_eq!(library, 9);
    assert_eq!(count(&quotes[0]), library, "the very first");
    // Also of the very quote that was just verified in full.
    assert_eq!(quotes.each_ref().map(|quote| count(quote)), [1; 4], "a known platform");

    // PCK, QE report, quote.
    let quotes = [0, 1].map(|data| quote(&second, data));
    assert_eq!(count(&quotes[0]), 3, "a new platform under known collateral");
    assert_eq!(count(&quotes[1]), 1);

    // QE report, quote.
    let mut renewed = quotes[0].clone();
    second.renew_attestation_key(form, &mut renewed).unwrap();
    assert_eq!(count(&renewed), 2, "a known platform with a new attestation key");
    assert_eq!(count(&renewed), 1);
}
