//! The cryptography that `dcap-qvl` and our own checks run on: aws-lc-rs and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey,
    UnparsedPublicKey,
};
use dcap_qvl::config::{Config, CryptoProvider, EcdsaSigEncoder};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use webpki::aws_lc_rs::{ECDSA_P256_SHA256, RSA_PSS_2048_8192_SHA384_LEGACY_KEY};

/// How many verified signatures a generation remembers; at 32 bytes each, in two generations.
const REMEMBERED: usize = 1024;

/// How many signatures are kept at hand; a quote and its collateral have nine.
const KEPT: usize = 32;

thread_local! {
    static EXECUTED: Cell<u64> = const { Cell::new(0) };
    /// Key, message and signature of what verified while the thread is [`walking`].
    static AT_HAND: RefCell<Option<Vec<[Vec<u8>; 3]>>> = const { RefCell::new(None) };
}

/// How many signatures on P-256 the calling thread has verified since it began, in all verifiers together: what verifying evidence
/// costs, whatever the processor. A signature that was remembered is not verified again and does not count.
pub fn signatures_verified() -> u64 {
    EXECUTED.get()
}

/// Forgets every signature that was remembered in this process, as if it had just begun: for measuring that.
#[doc(hidden)]
pub fn forget_signatures() {
    *verified() = Verified::new();
}

/// Does what asks for the same signatures again: in it, the calling thread knows them by their bytes, and hashes no message
/// twice.
pub(crate) fn walking<T>(walk: impl FnOnce() -> T) -> T {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            AT_HAND.take();
        }
    }
    let _done = Done;
    AT_HAND.set(Some(Vec::new()));
    walk()
}

fn is_at_hand(signed: [&[u8]; 3]) -> bool {
    AT_HAND.with_borrow(|at_hand| at_hand.iter().flatten().any(|known| *known == signed))
}

fn keep_at_hand(signed: [&[u8]; 3]) {
    AT_HAND.with_borrow_mut(|at_hand| match at_hand {
        Some(at_hand) if at_hand.len() < KEPT => at_hand.push(signed.map(<[u8]>::to_vec)),
        _ => (),
    });
}

fn count() {
    EXECUTED.set(EXECUTED.get().wrapping_add(1));
}

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

/// A key on P-256, ready to verify many signatures. It remembers none of them.
#[derive(Debug)]
pub(crate) struct VerifyingKey(ParsedPublicKey);

impl VerifyingKey {
    /// From x and y, 32 bytes each; none where they are no point of the curve.
    pub(crate) fn new(point: &[u8]) -> Option<Self> {
        let point = [&[4], point].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok().map(Self)
    }

    /// Whether this key made a raw signature of r and s over `message`.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        count();
        self.0.verify_sig(message, signature).is_ok()
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

/// Whether `signature` over `message` is by `key` (a DER `RSAPublicKey` of 2048 to 8192 bits): PSS with SHA-384 and 48
/// bytes of salt.
pub(crate) fn is_signed_rsa_pss(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    RSA_PSS_2048_8192_SHA384_LEGACY_KEY.verify_signature(key, message, signature).is_ok()
}

/// Whether `signature` (r and s, 48 bytes each) over `message` is by `key` (an uncompressed point on P-384, 97 bytes).
pub(crate) fn is_signed_p384(key: &[u8], message: &[u8], signature: &[u8; 96]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, signature).is_ok()
}

/// ECDSA over P-256 with SHA-256 that remembers what it verified, so that a set of collateral that was seen before costs
/// hashes instead of signatures while `dcap-qvl` still walks the whole path. A signature stays good for ever; dates,
/// revocation and policy are judged outside and every time.
#[derive(Debug)]
struct Remembering;

impl SignatureVerificationAlgorithm for Remembering {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.signature_alg_id()
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signed = [key, message, signature];
        if is_at_hand(signed) {
            return Ok(());
        }
        // Hashed once: for what is remembered, and for what is signed.
        let message = digest(&SHA256, message);
        let id = bulla_crypto::sha256(&[&(key.len() as u64).to_be_bytes(), key, message.as_ref(), signature]);
        if !verified().contains(&id) {
            count();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
            key.verify_digest(&message, signature).map_err(|_| InvalidSignature)?;
            verified().insert(id);
        }
        keep_at_hand(signed);
        Ok(())
    }
}

/// Signatures that verified, in two generations: what is asked for again outlives what was asked for once, so that one
/// machine, which can sign without end, cannot drive out the collateral that all of them share.
struct Verified {
    young: BTreeSet<[u8; 32]>,
    old: BTreeSet<[u8; 32]>,
}

impl Verified {
    const fn new() -> Self {
        Self { young: BTreeSet::new(), old: BTreeSet::new() }
    }

    fn contains(&mut self, id: &[u8; 32]) -> bool {
        if self.young.contains(id) {
            return true;
        }
        let known = self.old.contains(id);
        if known {
            self.insert(*id);
        }
        known
    }

    fn insert(&mut self, id: [u8; 32]) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }
}

static VERIFIED: Mutex<Verified> = Mutex::new(Verified::new());

fn verified() -> MutexGuard<'static, Verified> {
    VERIFIED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    #[test]
    fn a_signature_at_hand_is_known_by_all_of_its_bytes_and_only_while_walking() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"message").unwrap();
        let signed = [pair.public_key().as_ref(), b"message", signature.as_ref()];
        let is_good = |[key, message, signature]: [&[u8]; 3]| is_signed(key, message, signature);

        assert!(is_good(signed) && !is_at_hand(signed));
        walking(|| {
            assert!(!is_at_hand(signed) && is_good(signed) && is_at_hand(signed) && is_good(signed));
            for part in 0..signed.len() {
                let mut other = signed.map(<[u8]>::to_vec);
                *other[part].last_mut().unwrap() ^= 1;
                let other = [&other[0][..], &other[1], &other[2]];
                assert!(!is_at_hand(other) && !is_good(other) && !is_at_hand(other), "{part}");
            }
            (0..2 * KEPT).for_each(|_| keep_at_hand(signed));
            assert_eq!(AT_HAND.take().map(|kept| kept.len()), Some(KEPT));
        });
        let interrupted = catch_unwind(AssertUnwindSafe(|| {
            walking(|| {
                keep_at_hand(signed);
                panic!("interrupted");
            });
        }));
        assert!(interrupted.is_err() && !is_at_hand(signed));
    }

    #[test]
    fn what_is_asked_for_again_outlives_what_was_asked_for_once() {
        let id = |number: usize| bulla_crypto::sha256(&[&number.to_be_bytes()]);
        let mut verified = Verified::new();
        verified.insert(id(0));
        for number in 1..20 * REMEMBERED {
            verified.insert(id(number));
            assert!(verified.contains(&id(0)), "after {number}");
            assert!(verified.young.len() + verified.old.len() <= 2 * REMEMBERED);
        }
        assert!(!verified.contains(&id(1)));
    }
}
