//! SHA-2 over parts.

use aws_lc_rs::digest;

/// SHA-256 (FIPS 180-4) of the concatenated parts. Where the parts' lengths can vary, hash an [`Info`](crate::Info) instead.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hash(&digest::SHA256, parts).as_ref());
    out
}

/// SHA-384 (FIPS 180-4) of the concatenated parts.
pub fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    let mut out = [0; 48];
    out.copy_from_slice(hash(&digest::SHA384, parts).as_ref());
    out
}

fn hash(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}
