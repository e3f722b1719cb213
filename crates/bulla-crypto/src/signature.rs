//! Ed25519 signatures.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{EntropyFailure, Info, Secret, SystemRandom};

/// An Ed25519 (RFC 8032) key that signs.
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
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Secret<32>,
}

impl SigningKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`EntropyFailure`] when there is no good randomness.
    pub fn generate() -> Result<Self, EntropyFailure> {
        Ok(Self::from_seed(SystemRandom.secret()?))
    }

    /// The key with this [seed](Self::seed). Every 32 bytes are one.
    pub fn from_seed(seed: Secret<32>) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("a seed is 32 bytes");
        Self { pair, seed }
    }

    /// The whole private key, to be kept (RFC 8032, section 5.1.5).
    pub const fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        VerifyingKey(bytes)
    }

    /// Signs the encoding of `message`.
    pub fn sign(&self, message: &Info) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message.as_bytes()).as_ref());
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

    /// Whether the key is a point of small order: signatures that verify under it can be made without any private key (RFC
    /// 8032 leaves such keys to whoever takes them). Nothing that anybody generated is one.
    pub fn is_weak(&self) -> bool {
        let mut y = self.0;
        if let Some(last) = y.last_mut() {
            *last &= 0x7F;
        }
        SMALL_ORDER.contains(&y)
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

/// The y-coordinates of the eight points of small order: 0, 1, the two of order 8, and -1. Coordinates that are not reduced
/// are no keys to the library.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    near([1, 0]),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    near([0xEC, 0xFF]),
];

/// A first byte, thirty of the other, and as the last one as much of that as a coordinate has room for.
const fn near([first, rest]: [u8; 2]) -> [u8; 32] {
    let mut bytes = [rest; 32];
    let [low, .., high] = &mut bytes;
    *low = first;
    *high = rest & 0x7F;
    bytes
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

    #[test]
    fn a_key_is_kept_as_its_seed() {
        let key = SigningKey::generate().unwrap();
        let copy = SigningKey::from_seed(Secret::new(*key.seed().expose()));
        assert_eq!(copy.verifying_key(), key.verifying_key());
        // RFC 8032, section 7.1, test 1.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = SigningKey::from_seed(Secret::try_from(seed.as_slice()).unwrap());
        assert_eq!(
            hex::encode(key.verifying_key().as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    /// R13: under such a key a signature of nobody verifies, so nobody may name one as a signer's.
    #[test]
    fn keys_of_small_order_are_weak() {
        let mut nobodys = [0; 64];
        nobodys[0] = 1;
        for y in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut bytes = y;
                bytes[31] |= sign;
                assert!(VerifyingKey::from_bytes(bytes).is_weak());
            }
            let key = VerifyingKey::from_bytes(y);
            // In one of eight messages for a point of order 8.
            let forged = (0..99u8).any(|n| key.verify(&Info::new("test").part("n", &[n]), &nobodys).is_ok());
            assert!(forged, "{}", hex::encode(y));
        }
        for _ in 0..100 {
            assert!(!SigningKey::generate().unwrap().verifying_key().is_weak());
        }
    }
}
