//! `dcap-qvl`, as what simulated evidence is judged by.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use bulla_crypto::sha256;
use bulla_sim::Machine;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::verify::QuoteVerifier;
use rustls_pki_types::SignatureVerificationAlgorithm;
use tempfile::TempDir;

/// Runs `dcap-qvl` on aws-lc-rs.
pub struct Engine;

impl Config for Engine {
    type X509 = dcap_qvl::x509::X509CertBackend;
    type SigEncoder = dcap_qvl::signature::DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Engine {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        sha256(&[data])
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        bulla_crypto::sha384(&[data])
    }
}

/// The status, or why not.
pub fn verify(root: &[u8], quote: &[u8], set: &QuoteCollateralV3, now: u64) -> Result<String, String> {
    QuoteVerifier::<Engine>::new_with_config(root.to_vec())
        .verify(quote, set, now)
        .map(|verified| verified.status)
        .map_err(|error| format!("{error:#}"))
}

/// A new machine, for as long as its folder is held.
pub fn new() -> (TempDir, Machine) {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::create(dir.path().join("machine")).unwrap();
    (dir, machine)
}
