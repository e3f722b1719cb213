//! The file key: one random key for each envelope, and what is derived from it.

use bulla_crypto::{
    AeadKey, DecryptionFailure, EntropyFailure, Info, NONCE_LEN, Secret, TAG_LEN, hkdf_expand,
};

use crate::draw::Draw;
use crate::header::{Fixed, Header};

const KEY_LEN: usize = 32;
/// Bytes of a wrapped file key.
pub(crate) const WRAPPED_LEN: usize = KEY_LEN + TAG_LEN;

/// A wrapping key is derived under a fresh salt and wraps one file key, so one nonce is enough (R57).
const WRAP_NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// The random key of one envelope.
pub(crate) struct FileKey(Secret<KEY_LEN>);

impl FileKey {
    pub(crate) fn random(draw: &mut Draw) -> Result<Self, EntropyFailure> {
        draw.secret().map(Self)
    }

    pub(crate) fn wrap(&self, wrapping_key: &Secret<32>) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        if let Some((key, tag)) = wrapped.split_first_chunk_mut::<KEY_LEN>() {
            *key = *self.0.expose();
            tag.copy_from_slice(&AeadKey::new(wrapping_key).seal(&WRAP_NONCE, &[], key));
        }
        wrapped
    }

    pub(crate) fn unwrap(
        wrapped: &[u8; WRAPPED_LEN],
        wrapping_key: &Secret<32>,
    ) -> Result<Self, DecryptionFailure> {
        let (Some(ciphertext), Some(tag)) = (wrapped.first_chunk::<KEY_LEN>(), wrapped.last_chunk()) else {
            return Err(DecryptionFailure);
        };
        let mut result = Ok(());
        let key = Secret::fill_with(|key| {
            *key = *ciphertext;
            result = AeadKey::new(wrapping_key).open(&WRAP_NONCE, &[], key, tag);
        });
        result.map(|()| Self(key))
    }

    /// The header MAC. It commits to the file key: nobody can find two file keys under which one header authenticates (R58).
    pub(crate) fn mac(&self, header: &Header) -> [u8; 32] {
        *self.header_mac(header).expose()
    }

    /// Whether `mac` is [`mac`](Self::mac), compared in constant time (R64).
    pub(crate) fn authenticates(&self, header: &Header, mac: &[u8; 32]) -> bool {
        self.header_mac(header).ct_eq(&Secret::new(*mac))
    }

    /// The key of the payload, bound to the part of the header that never changes while the payload lives.
    pub(crate) fn payload_key(&self, fixed: &Fixed) -> AeadKey {
        let (magic, version) = fixed.format();
        let info = Info::new("bulla/envelope/payload/v1")
            .part("magic", &magic)
            .part("version", &[version])
            .part("suite", &fixed.suite.id().to_be_bytes())
            .part("envelope id", &fixed.envelope_id)
            .part("payload salt", &fixed.salt)
            .part("context", fixed.context.as_bytes());
        AeadKey::new(&hkdf_expand(&self.0, &info))
    }

    /// Expanding is HMAC under the file key.
    fn header_mac(&self, header: &Header) -> Secret<32> {
        let info = Info::new("bulla/envelope/header/v1").part("header digest", header.digest());
        hkdf_expand(&self.0, &info)
    }
}
