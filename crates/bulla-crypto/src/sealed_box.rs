//! libsodium's sealed box (`crypto_box_seal`), which clients of the earlier key providers open. HPKE is for everything else.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use blake2::digest::consts::U24;
use blake2::{Blake2b, Digest};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{Kdf, Key, KeyInit, XSalsa20Poly1305};
use zeroize::Zeroizing;

use crate::{HpkeError, HpkePublicKey, Kem, SystemRandom};

/// Encrypts `plaintext` to an X25519 key, 48 bytes longer: a one-time public key, and then XSalsa20-Poly1305 under
/// HSalsa20 of the shared secret, with the BLAKE2b of both public keys as nonce.
///
/// Agreement is of AWS-LC, which takes a third of the time of `crypto_box`, whose sealed boxes these are otherwise.
///
/// ```
/// use bulla_crypto::{HpkePrivateKey, Kem, sealed_box};
///
/// let guest = HpkePrivateKey::generate(Kem::X25519)?;
/// assert_eq!(sealed_box(guest.public_key(), &[7; 32])?.len(), 80);
/// # Ok::<(), bulla_crypto::HpkeError>(())
/// ```
///
/// # Errors
/// [`HpkeError::BadPublicKey`] for a key of another mechanism; [`HpkeError::Entropy`] when there is no good randomness.
pub fn sealed_box(to: &HpkePublicKey, plaintext: &[u8]) -> Result<Vec<u8>, HpkeError> {
    if to.kem() != Kem::X25519 {
        return Err(HpkeError::BadPublicKey);
    }
    let once = PrivateKey::from_private_key(&X25519, SystemRandom.secret::<32>()?.expose())
        .expect("every 32 bytes are a private key");
    let public = once.compute_public_key().expect("every private key has a public one");
    let to = UnparsedPublicKey::new(&X25519, to.as_bytes());
    let cipher = agree(&once, to, HpkeError::BadPublicKey, |shared| {
        let key = Zeroizing::new(XSalsa20Poly1305::kdf(Key::from_slice(shared), &[0; 16].into()));
        Ok(XSalsa20Poly1305::new(&key))
    })?;
    let nonce = Blake2b::<U24>::new().chain_update(&public).chain_update(to.bytes()).finalize();
    let sealed = cipher.encrypt(&nonce, plaintext).expect("memory takes what it is given");
    Ok([public.as_ref(), &sealed].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HpkePrivateKey;

    proptest! {
        /// R41: who has the key opens it, with a library that is not ours.
        #[test]
        fn sealed_boxes_open(seed in any::<[u8; 32]>(), plaintext in proptest::collection::vec(any::<u8>(), 0..100)) {
            let owner = crypto_box::SecretKey::from(seed);
            let to = HpkePublicKey::from_bytes(Kem::X25519, owner.public_key().as_bytes()).unwrap();
            let [first, second] = [(); 2].map(|()| sealed_box(&to, &plaintext).unwrap());
            prop_assert_ne!(&first, &second, "each has a key of its own");
            prop_assert_eq!(first.len(), 48 + plaintext.len());
            prop_assert_eq!(owner.unseal(&first).unwrap(), plaintext);
        }
    }

    #[test]
    fn a_box_is_for_x25519_alone() {
        let hybrid = HpkePrivateKey::generate(Kem::XWing).unwrap();
        assert_eq!(sealed_box(hybrid.public_key(), b""), Err(HpkeError::BadPublicKey));
    }
}
