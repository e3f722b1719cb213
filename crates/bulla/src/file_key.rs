//! The file key: one random key for each envelope, and what is derived from it.

use bulla_crypto::{AeadKey, DecryptionFailure, EntropyFailure, Info, Secret, hkdf_expand};

use crate::draw::Draw;
use crate::header::{Fixed, Header};
use crate::wrapped::{self, WRAPPED_LEN};

const KEY_LEN: usize = 32;

/// The random key of one envelope.
pub(crate) struct FileKey(Secret<KEY_LEN>);

impl FileKey {
    pub(crate) fn random(draw: &mut Draw) -> Result<Self, EntropyFailure> {
        draw.secret().map(Self)
    }

    pub(crate) fn wrap(&self, wrapping_key: &Secret<32>) -> [u8; WRAPPED_LEN] {
        wrapped::wrap(&self.0, wrapping_key)
    }

    pub(crate) fn unwrap(
        wrapped: &[u8; WRAPPED_LEN],
        wrapping_key: &Secret<32>,
    ) -> Result<Self, DecryptionFailure> {
        wrapped::unwrap(wrapped, wrapping_key).map(Self)
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
