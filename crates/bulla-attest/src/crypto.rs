//! The cryptography that `dcap-qvl` and our own checks run on: aws-lc-rs and nothing else.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use dcap_qvl::config::{Config, CryptoProvider, EcdsaSigEncoder};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs::ECDSA_P256_SHA256;

/// How many verified signatures are remembered; at 32 bytes each.
const REMEMBERED: usize = 1024;

/// The configuration of `dcap-qvl`.
pub(crate) struct Engine;

impl Config for Engine {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Engine {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &Remembering
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        bulla_crypto::sha256(&[data])
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        bulla_crypto::sha384(&[data])
    }
}

/// Whether `signature` (DER) over `message` is by `key` (an uncompressed point, 65 bytes).
pub(crate) fn is_signed(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    Remembering.verify_signature(key, message, signature).is_ok()
}

/// As [`is_signed`], for a raw signature of r and s, 32 bytes each.
pub(crate) fn is_signed_raw(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some((r, s)) = signature.split_at_checked(32).filter(|(_, s)| s.len() == 32) else {
        return false;
    };
    DerSigEncoder::encode_ecdsa_sig(r, s).is_ok_and(|der| is_signed(key, message, &der))
}

/// ECDSA over P-256 with SHA-256 that remembers what it verified, so that a set of collateral that was seen before costs
/// hashes instead of signatures while `dcap-qvl` still walks the whole path. A signature stays good for ever; dates,
/// revocation and policy are judged outside and every time.
#[derive(Debug)]
struct Remembering;

static VERIFIED: Mutex<BTreeSet<[u8; 32]>> = Mutex::new(BTreeSet::new());

impl SignatureVerificationAlgorithm for Remembering {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.signature_alg_id()
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let lengths = [key.len() as u64, message.len() as u64].map(u64::to_be_bytes);
        let id = bulla_crypto::sha256(&[lengths.as_flattened(), key, message, signature]);
        if verified().contains(&id) {
            return Ok(());
        }
        ECDSA_P256_SHA256.verify_signature(key, message, signature)?;
        let mut verified = verified();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(id);
        Ok(())
    }
}

fn verified() -> std::sync::MutexGuard<'static, BTreeSet<[u8; 32]>> {
    VERIFIED.lock().unwrap_or_else(PoisonError::into_inner)
}
