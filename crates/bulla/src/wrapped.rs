//! 32 secret bytes, encrypted under a key that encrypts nothing else.

use bulla_crypto::{AeadKey, DecryptionFailure, NONCE_LEN, Secret, TAG_LEN};

const SECRET_LEN: usize = 32;
/// Bytes of a wrapped secret.
pub(crate) const WRAPPED_LEN: usize = SECRET_LEN + TAG_LEN;

/// Each key is derived under a fresh salt or a fresh encapsulation and used once, so one nonce is enough (R57).
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

pub(crate) fn wrap(secret: &Secret<SECRET_LEN>, key: &Secret<32>) -> [u8; WRAPPED_LEN] {
    let mut wrapped = [0; WRAPPED_LEN];
    if let Some((text, tag)) = wrapped.split_first_chunk_mut::<SECRET_LEN>() {
        *text = *secret.expose();
        tag.copy_from_slice(&AeadKey::new(key).seal(&NONCE, &[], text));
    }
    wrapped
}

pub(crate) fn unwrap(
    wrapped: &[u8; WRAPPED_LEN],
    key: &Secret<32>,
) -> Result<Secret<SECRET_LEN>, DecryptionFailure> {
    let (Some(ciphertext), Some(tag)) = (wrapped.first_chunk(), wrapped.last_chunk()) else {
        return Err(DecryptionFailure);
    };
    let mut result = Ok(());
    let secret = Secret::fill_with(|text| {
        *text = *ciphertext;
        result = AeadKey::new(key).open(&NONCE, &[], text, tag);
    });
    result.map(|()| secret)
}
