//! HPKE (RFC 9180), base mode, and the check that an X25519 public key is one.

use std::convert::Infallible;

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::rand::SystemRandom as EngineRandom;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::{TryCryptoRng, TryRng};

use crate::{EntropyFailure, Info, RandomSource, Secret, SecretBytes, SystemRandom};

/// Why an HPKE operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HpkeError {
    /// The public key is of low order, not canonical, or not a key at all (R41, B20).
    #[error("the X25519 public key is of low order or not canonical: its owner has to make a new one")]
    BadPublicKey,
    /// The ciphertext is not for this key, info and associated data.
    #[error("the ciphertext was not made for this key and this transcript, or was changed on the way")]
    Decryption,
    /// There is no good randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),
}

/// An X25519 public key that was checked: canonical and not of low order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HpkePublicKey([u8; 32]);

impl HpkePublicKey {
    /// Takes 32 bytes (RFC 7748) if they are the canonical encoding of a point that contributes to an agreement.
    ///
    /// # Errors
    /// [`HpkeError::BadPublicKey`] for 0, 1, every low-order point, and encodings at or above 2^255 - 19, which other
    /// libraries would reduce silently (R41, B20).
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, HpkeError> {
        if !is_canonical(&bytes) || is_low_order(&bytes)? {
            return Err(HpkeError::BadPublicKey);
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts `plaintext` to this key: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    ///
    /// `info` is the whole transcript that sender and receiver must agree on.
    ///
    /// # Errors
    /// [`HpkeError::Entropy`] when there is no good randomness.
    pub fn seal(&self, info: &Info, aad: &[u8], plaintext: &[u8]) -> Result<HpkeSealed, HpkeError> {
        let key =
            <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| HpkeError::BadPublicKey)?;
        let mut random = Draws { failed: false };
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<
            AesGcm256,
            HkdfSha256,
            X25519HkdfSha256,
        >(
            &OpModeS::Base, &key, info.as_bytes(), plaintext, aad, &mut random
        )
        .map_err(|_| HpkeError::BadPublicKey)?;
        if random.failed {
            return Err(EntropyFailure.into());
        }
        let mut encapsulated_key = [0; 32];
        encapsulated_key.copy_from_slice(&encapsulated.to_bytes());
        Ok(HpkeSealed { encapsulated_key, ciphertext })
    }
}

/// An X25519 private key for one or more HPKE openings.
///
/// ```
/// use bulla_crypto::{HpkePrivateKey, Info};
///
/// let key = HpkePrivateKey::generate()?;
/// let info = Info::new("example/v1");
/// let sealed = key.public_key().seal(&info, b"", b"secret")?;
/// assert_eq!(key.open(&info, b"", &sealed)?.expose(), b"secret");
/// # Ok::<(), bulla_crypto::HpkeError>(())
/// ```
pub struct HpkePrivateKey {
    private: Secret<32>,
    public: HpkePublicKey,
}

impl HpkePrivateKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`HpkeError::Entropy`] when there is no good randomness.
    pub fn generate() -> Result<Self, HpkeError> {
        let ikm = SystemRandom.secret::<32>()?;
        let (private, public) = X25519HkdfSha256::derive_keypair(ikm.expose());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&public.to_bytes());
        Ok(Self {
            private: Secret::fill_with(|key| key.copy_from_slice(&private.to_bytes())),
            public: HpkePublicKey(bytes),
        })
    }

    /// The public half.
    pub const fn public_key(&self) -> &HpkePublicKey {
        &self.public
    }

    /// Decrypts what was sealed to the public half under the same `info` and `aad`.
    ///
    /// # Errors
    /// [`HpkeError::Decryption`] if anything differs by one bit.
    pub fn open(&self, info: &Info, aad: &[u8], sealed: &HpkeSealed) -> Result<SecretBytes, HpkeError> {
        let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(self.private.expose())
            .expect("every 32 bytes are an X25519 private key");
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&sealed.encapsulated_key)
            .map_err(|_| HpkeError::Decryption)?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &key,
            &encapsulated,
            info.as_bytes(),
            &sealed.ciphertext,
            aad,
        )
        .map(SecretBytes::new)
        .map_err(|_| HpkeError::Decryption)
    }
}

/// An HPKE ciphertext with its encapsulated key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpkeSealed {
    /// The sender's one-time public key.
    pub encapsulated_key: [u8; 32],
    /// The ciphertext with its 16-byte tag.
    pub ciphertext: Vec<u8>,
}

/// Below 2^255 - 19, top bit clear.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let mut prime = [0xFF; 32];
    (prime[0], prime[31]) = (0xED, 0x7F);
    bytes.iter().rev().lt(prime.iter().rev())
}

/// A point of low order gives an all-zero secret with every private key (RFC 7748, section 6.1), which AWS-LC refuses.
fn is_low_order(bytes: &[u8; 32]) -> Result<bool, EntropyFailure> {
    let probe = EphemeralPrivateKey::generate(&X25519, &EngineRandom::new()).map_err(|_| EntropyFailure)?;
    let peer = UnparsedPublicKey::new(&X25519, bytes);
    Ok(agreement::agree_ephemeral(probe, peer, (), |_| Ok(())).is_err())
}

/// Feeds [`SystemRandom`] to a library that cannot be told of failure; whoever used it looks at `failed` afterwards.
struct Draws {
    failed: bool,
}

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.failed |= SystemRandom.fill(bytes).is_err();
        Ok(())
    }
}

impl TryCryptoRng for Draws {}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(hex: &str) -> [u8; 32] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// R41, B20: zero, one, the two points of order 8, p-1, and every non-canonical encoding.
    #[test]
    fn low_order_and_non_canonical_keys_are_refused() {
        let mut bad = vec![
            point("0000000000000000000000000000000000000000000000000000000000000000"),
            point("0100000000000000000000000000000000000000000000000000000000000000"),
            point("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            point("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
            point("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            point("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            point("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            [0xFF; 32],
        ];
        let mut high_bit = *HpkePrivateKey::generate().unwrap().public_key().as_bytes();
        high_bit[31] |= 0x80;
        bad.push(high_bit);
        for bytes in bad {
            assert_eq!(
                HpkePublicKey::from_bytes(bytes),
                Err(HpkeError::BadPublicKey),
                "{}",
                hex::encode(bytes)
            );
        }
        assert!(
            HpkePublicKey::from_bytes(point(
                "0900000000000000000000000000000000000000000000000000000000000000"
            ))
            .is_ok()
        );
    }

    #[test]
    fn opening_needs_the_same_key_transcript_and_bytes() {
        let (key, other) = (HpkePrivateKey::generate().unwrap(), HpkePrivateKey::generate().unwrap());
        let info = Info::new("test").part("a", b"b");
        let sealed = key.public_key().seal(&info, b"aad", b"secret").unwrap();
        assert_eq!(key.open(&info, b"aad", &sealed).unwrap().expose(), b"secret");
        assert!(other.open(&info, b"aad", &sealed).is_err());
        assert!(key.open(&Info::new("test").part("a", b"c"), b"aad", &sealed).is_err());
        assert!(key.open(&info, b"AAD", &sealed).is_err());
        for byte in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[byte] ^= 1;
            assert!(key.open(&info, b"aad", &changed).is_err());
        }
        let changed = HpkeSealed { encapsulated_key: [0; 32], ..sealed };
        assert!(key.open(&info, b"aad", &changed).is_err());
    }
}
