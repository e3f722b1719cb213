//! Step `wrap`: the key leaves only encrypted to the guest's one-time public key.

use bulla_crypto::{HpkeError, HpkePublicKey, HpkeSealed, Secret, SecretBytes};
use bulla_protocol::Code;
use bulla_protocol::v1::Transcript;

use crate::refusal::Refusal;

/// Encrypts the keys of a v1 request, one after the other: HPKE with the whole request as its info (R41).
pub(crate) fn hpke(
    keys: &SecretBytes,
    to: &HpkePublicKey,
    order: &Transcript,
) -> Result<HpkeSealed, Refusal> {
    to.seal(&order.transport_info(), b"", keys.expose()).map_err(refusal)
}

/// Encrypts a legacy key: libsodium's sealed box, 80 bytes for a key of 32.
pub(crate) fn sealed_box(key: &Secret<32>, to: &HpkePublicKey) -> Result<Vec<u8>, Refusal> {
    bulla_crypto::sealed_box(to, key.expose()).map_err(refusal)
}

fn refusal(error: HpkeError) -> Refusal {
    match error {
        HpkeError::BadPublicKey => Refusal::new(Code::BadPublicKey, "public_key.bad"),
        _ => Refusal::new(Code::Internal, "entropy.failure"),
    }
}
