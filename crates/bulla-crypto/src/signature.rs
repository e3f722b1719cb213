//! Ed25519 signatures.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{EntropyFailure, Info, SystemRandom};

/// An Ed25519 (RFC 8032) key that signs; it lives in memory only.
///
/// Signatures cover an [`Info`], whose label says what is signed, so that one key never signs two things that read alike.
///
/// ```
/// use bulla_crypto::{Info, SigningKey};
///
/// let key = SigningKey::generate()?;
/// let message = Info::new("example/answer/v1").part("body", b"yes");
/// key.verifying_key().verify(&message, &key.sign(&message)).expect("our own signature");
/// # Ok::<(), bulla_crypto::EntropyFailure>(())
/// ```
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`EntropyFailure`] when there is no good randomness.
    pub fn generate() -> Result<Self, EntropyFailure> {
        let seed = SystemRandom.secret::<32>()?;
        Ok(Self(Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("a seed is 32 bytes")))
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(bytes)
    }

    /// Signs the encoding of `message`.
    pub fn sign(&self, message: &Info) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message.as_bytes()).as_ref());
        bytes
    }
}

/// The public half of a [`SigningKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// A key from its 32 bytes. A string that is no key verifies nothing.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks a signature over the encoding of `message`.
    ///
    /// # Errors
    /// [`BadSignature`] if it is not by this key or not over this message.
    pub fn verify(&self, message: &Info, signature: &[u8; 64]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message.as_bytes(), signature)
            .map_err(|_| BadSignature)
    }
}

/// A signature is not by the stated key over the stated message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_key_and_one_message() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let message = Info::new("test").part("a", b"b");
        let signature = key.sign(&message);
        assert_eq!(key.verifying_key().verify(&message, &signature), Ok(()));
        assert_eq!(other.verifying_key().verify(&message, &signature), Err(BadSignature));
        let moved = Info::new("test").part("ab", b"");
        assert_eq!(key.verifying_key().verify(&moved, &signature), Err(BadSignature));
        for bit in 0..512 {
            let mut forged = signature;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verifying_key().verify(&message, &forged), Err(BadSignature));
        }
    }
}
