//! The origin: a trailer by which a machine says that it wrote the envelope, where others could have too.

use bulla_crypto::{Info, Secret, hmac, hmac_verify};

use crate::header::Header;

pub(crate) const TRAILER_LEN: usize = 32;

/// The key of a trailer, which only the machine of one slot can compute.
pub(crate) struct OriginKey(Secret<32>);

impl OriginKey {
    pub(crate) fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// The trailer of an envelope, over its whole header and the digest of its payload.
    pub(crate) fn trailer(&self, header: &Header, mac: &[u8; 32], digest: &[u8; 32]) -> [u8; TRAILER_LEN] {
        hmac(self.0.expose(), &[covered(header, mac, digest).as_bytes()])
    }

    /// Whether `trailer` is [`trailer`](Self::trailer), compared in constant time.
    pub(crate) fn verifies(
        &self,
        header: &Header,
        mac: &[u8; 32],
        digest: &[u8; 32],
        trailer: &[u8; 32],
    ) -> bool {
        hmac_verify(self.0.expose(), &[covered(header, mac, digest).as_bytes()], trailer)
    }
}

fn covered(header: &Header, mac: &[u8; 32], digest: &[u8; 32]) -> Info {
    let header = [header.bytes(), mac].concat();
    Info::new("bulla/envelope/origin/v1").part("header", &header).part("payload", digest)
}
