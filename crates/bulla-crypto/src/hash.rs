//! SHA-2 over parts.

use aws_lc_rs::digest;

/// SHA-256 (FIPS 180-4) of the concatenated parts. Where the parts' lengths can vary, hash an [`Info`](crate::Info) instead.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash(&digest::SHA256, parts).as_ref());
    out
}

/// SHA-256 of bytes that come piece by piece.
///
/// ```
/// use bulla_crypto::{Sha256, sha256};
///
/// let mut hasher = Sha256::new();
/// hasher.update(b"piece ");
/// hasher.update(b"by piece");
/// assert_eq!(hasher.finish(), sha256(&[b"piece by piece"]));
/// ```
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// A hasher that has seen nothing yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces, put together.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// SHA-384 (FIPS 180-4) of the concatenated parts.
pub fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    let mut out = [0; 48];
    out.copy_from_slice(hash(&digest::SHA384, parts).as_ref());
    out
}

/// SHA-512 (FIPS 180-4) of the concatenated parts.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(hash(&digest::SHA512, parts).as_ref());
    out
}

fn hash(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}
