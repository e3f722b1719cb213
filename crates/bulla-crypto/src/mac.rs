//! HMAC.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

/// HMAC-SHA-256 (RFC 2104) of the concatenated parts.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// Whether `tag` is the HMAC-SHA-256 of the concatenated parts, compared in constant time (R64).
#[must_use]
pub fn hmac_verify(key: &[u8], parts: &[&[u8]], tag: &[u8; 32]) -> bool {
    hmac(key, parts).as_slice().ct_eq(tag).into()
}
