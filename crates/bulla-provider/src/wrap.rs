//! Step `wrap`: the key leaves only encrypted to the guest's one-time public key.

use crypto_box::aead::rand_core::{CryptoRng, Error as RandError, RngCore};

use bulla_crypto::{HpkeError, HpkePublicKey, HpkeSealed, RandomSource, Secret, SecretBytes, SystemRandom};
use bulla_protocol::Code;
use bulla_protocol::v1::Request;

use crate::refusal::Refusal;

/// Encrypts a key of v1: HPKE with the whole request as its info (R41).
pub(crate) fn hpke(key: &SecretBytes, to: &HpkePublicKey, request: &Request) -> Result<HpkeSealed, Refusal> {
    to.seal(&request.transport_info(), b"", key.expose()).map_err(|error| match error {
        HpkeError::BadPublicKey => Refusal::new(Code::BadPublicKey, "public_key.bad"),
        _ => Refusal::new(Code::Internal, "entropy.failure"),
    })
}

/// Encrypts a legacy key: libsodium's sealed box, 80 bytes for a key of 32.
pub(crate) fn sealed_box(key: &Secret<32>, to: &HpkePublicKey) -> Result<Vec<u8>, Refusal> {
    let bytes: [u8; 32] = to.as_bytes().try_into().expect("an X25519 key is 32 bytes");
    let mut random = Draws { failed: false };
    let sealed = crypto_box::PublicKey::from(bytes).seal(&mut random, key.expose());
    match sealed {
        Ok(sealed) if !random.failed => Ok(sealed),
        _ => Err(Refusal::new(Code::Internal, "entropy.failure")),
    }
}

/// Feeds [`SystemRandom`] to a library that cannot be told of failure; whoever used it looks at `failed` afterwards.
struct Draws {
    failed: bool,
}

impl RngCore for Draws {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.failed |= SystemRandom.fill(bytes).is_err();
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandError> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Draws {}
