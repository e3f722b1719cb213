//! RFC 9180 in base mode once more, from the shared secret on, so that vectors for the parts say what the whole must be.

use crate::hmac;

/// The suite after the KEM: HKDF-SHA256 and some AEAD.
#[derive(Clone, Copy)]
pub(super) struct Suite {
    pub(super) kem: u16,
    pub(super) aead: u16,
}

/// What both sides of an HPKE context hold.
pub(super) struct Context {
    suite_id: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) base_nonce: Vec<u8>,
    pub(super) exporter_secret: Vec<u8>,
}

impl Context {
    /// `KeySchedule`, section 5.1.
    pub(super) fn new(suite: Suite, shared_secret: &[u8], info: &[u8]) -> Self {
        let [kem, aead] = [suite.kem, suite.aead].map(u16::to_be_bytes);
        let suite_id = [b"HPKE", &kem[..], &[0, 1], &aead].concat();
        let psk_id_hash = extract(b"", &suite_id, b"psk_id_hash", b"");
        let info_hash = extract(b"", &suite_id, b"info_hash", info);
        let context = [&[0][..], &psk_id_hash, &info_hash].concat();
        let secret = extract(shared_secret, &suite_id, b"secret", b"");
        let key_len = if suite.aead == 1 { 16 } else { 32 };
        let [key, base_nonce, exporter_secret] = [(&b"key"[..], key_len), (b"base_nonce", 12), (b"exp", 32)]
            .map(|(label, length)| expand(&secret, &suite_id, label, &context, length));
        Self { suite_id, key, base_nonce, exporter_secret }
    }

    /// `Context.Export`, section 5.3, to 32 bytes.
    pub(super) fn export(&self, exporter_context: &[u8]) -> Vec<u8> {
        expand(&self.exporter_secret, &self.suite_id, b"sec", exporter_context, 32)
    }
}

/// `ExtractAndExpand` of DHKEM(X25519, HKDF-SHA256), section 4.1.
pub(super) fn dhkem(dh: &[u8], encapsulated_key: &[u8], public_key: &[u8]) -> Vec<u8> {
    let suite_id = b"KEM\x00\x20";
    let prk = extract(b"", suite_id, b"eae_prk", dh);
    expand(&prk, suite_id, b"shared_secret", &[encapsulated_key, public_key].concat(), 32)
}

fn extract(salt: &[u8], suite_id: &[u8], label: &[u8], ikm: &[u8]) -> [u8; 32] {
    hmac(salt, &[b"HPKE-v1", suite_id, label, ikm])
}

/// One block is enough for all that HPKE asks for.
fn expand(prk: &[u8], suite_id: &[u8], label: &[u8], info: &[u8], length: u8) -> Vec<u8> {
    hmac(prk, &[&[0, length], b"HPKE-v1", suite_id, label, info, &[1]])[..usize::from(length)].to_vec()
}
