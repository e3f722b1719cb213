//! AES-256-GCM, and AES-128-GCM for what other software wrote.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::Secret;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// An AES-GCM key (NIST SP 800-38D) in its expanded form.
///
/// The caller answers for nonces: one nonce, one message, for the life of a key. Everything in bulla derives a key for
/// one purpose and one random salt, and then either uses a single fixed nonce or counts (R57).
///
/// ```
/// use bulla_crypto::{AeadKey, Secret};
///
/// let key = AeadKey::new(&Secret::new([7; 32]));
/// let mut message = b"attack at dawn".to_vec();
/// let tag = key.seal(&[0; 12], b"header", &mut message);
/// key.open(&[0; 12], b"header", &mut message, &tag)?;
/// assert_eq!(message, b"attack at dawn");
/// # Ok::<(), bulla_crypto::DecryptionFailure>(())
/// ```
pub struct AeadKey(LessSafeKey);

impl AeadKey {
    /// Expands a key of AES-128-GCM, under which other software sealed; nothing of bulla is under one.
    pub fn of_128_bits(key: &Secret<16>) -> Self {
        let unbound = UnboundKey::new(&AES_128_GCM, key.expose()).expect("AES-128 takes 16 bytes");
        Self(LessSafeKey::new(unbound))
    }

    /// Expands a key of AES-256-GCM.
    pub fn new(key: &Secret<32>) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).expect("AES-256 takes 32 bytes");
        Self(LessSafeKey::new(unbound))
    }

    /// Encrypts `message` in place and returns its tag.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], message: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), message)
            .expect("a message is below 64 GiB");
        let mut out = [0; TAG_LEN];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Encrypts `message` to `sealed`, where its tag stands behind it.
    ///
    /// # Panics
    /// Unless `sealed` is [`TAG_LEN`] bytes longer than `message`.
    pub fn seal_to(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], message: &[u8], sealed: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_in_place_scatter(nonce, Aad::from(aad), &mut [], message, sealed)
            .expect("a message is below 64 GiB, and there is room for it and its tag");
    }

    /// Decrypts `ciphertext` to `message`, which is as long, if `tag` is its tag.
    ///
    /// # Errors
    /// [`DecryptionFailure`] as for [`open`](Self::open), and for another length; what is in `message` then is not to be used.
    pub fn open_to(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        message: &mut [u8],
    ) -> Result<(), DecryptionFailure> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, message)
            .map_err(|_| DecryptionFailure)
    }

    /// Decrypts `message` in place if `tag` is its tag.
    ///
    /// # Errors
    /// [`DecryptionFailure`] if any bit of key, nonce, associated data, message or tag differs; `message` is zeroed then.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), DecryptionFailure> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, message)
            .map_err(|_| DecryptionFailure)?;
        Ok(())
    }
}

/// A ciphertext does not belong to this key, nonce and associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext does not authenticate")]
pub struct DecryptionFailure;
