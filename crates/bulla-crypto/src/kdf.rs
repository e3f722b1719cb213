//! HKDF with an info string that cannot be misread.

use aws_lc_rs::hkdf::{Algorithm, HKDF_SHA256, HKDF_SHA384, KeyType, Prk, Salt};

use crate::{Secret, SecretBytes};

/// Named, length-prefixed parts: the info of a key derivation, or the input of a transcript hash (R10).
///
/// The encoding is injective: a label, then for each part the name and the value, each preceded by its length as
/// a 32-bit big-endian number, all in order. Two different lists of parts never encode to the same bytes.
#[derive(Clone)]
pub struct Info(Vec<u8>);

impl Info {
    /// Starts with a label that names the use and its version, for example `bulla/envelope/payload/v1`.
    pub fn new(label: &str) -> Self {
        Self(Vec::with_capacity(512)).prefixed(label.as_bytes())
    }

    /// Adds one named part.
    #[must_use]
    pub fn part(self, name: &str, value: &[u8]) -> Self {
        self.prefixed(name.as_bytes()).prefixed(value)
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes that published vectors use, in no encoding of ours.
    #[cfg(test)]
    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    fn prefixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&prefix(bytes));
        self.0.extend_from_slice(bytes);
        self
    }
}

/// What stands before each name and value.
pub(crate) fn prefix(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("a part is far below 4 GiB").to_be_bytes()
}

/// HKDF-SHA-256 (RFC 5869), extract then expand, to `N` bytes; `N` is at most 8,160 and checked when compiling.
pub fn hkdf<const N: usize>(ikm: &[u8], salt: &[u8], info: &Info) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-SHA-256 gives at most 255 blocks") };
    Secret::fill_with(|okm| {
        fill(&extract(HKDF_SHA256, salt, ikm), info, okm).expect("the length was checked when compiling")
    })
}

/// As [`hkdf()`], to a length known only at run time, at most 8,160 bytes.
///
/// # Errors
/// [`TooLong`] for more.
pub fn hkdf_bytes(ikm: &[u8], salt: &[u8], info: &Info, length: usize) -> Result<SecretBytes, TooLong> {
    to_length(HKDF_SHA256, ikm, salt, info, length)
}

/// As [`hkdf_bytes()`], with HKDF-SHA-384, which gives at most 12,240 bytes.
///
/// # Errors
/// [`TooLong`] for more.
pub fn hkdf_sha384_bytes(
    ikm: &[u8],
    salt: &[u8],
    info: &Info,
    length: usize,
) -> Result<SecretBytes, TooLong> {
    to_length(HKDF_SHA384, ikm, salt, info, length)
}

/// HKDF-Expand alone, for a key that is random as it is (RFC 5869, section 3.3): to `N` bytes, at most 8,160.
///
/// ```
/// use bulla_crypto::{Info, Secret, SystemRandom, hkdf_expand};
///
/// let key: Secret<32> = SystemRandom.secret()?;
/// let header: Secret<32> = hkdf_expand(&key, &Info::new("example/header/v1"));
/// let payload: Secret<32> = hkdf_expand(&key, &Info::new("example/payload/v1"));
/// assert!(!header.ct_eq(&payload));
/// # Ok::<(), bulla_crypto::EntropyFailure>(())
/// ```
pub fn hkdf_expand<const N: usize>(key: &Secret<32>, info: &Info) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-SHA-256 gives at most 255 blocks") };
    let prk = Prk::new_less_safe(HKDF_SHA256, key.expose());
    Secret::fill_with(|okm| fill(&prk, info, okm).expect("the length was checked when compiling"))
}

fn extract(algorithm: Algorithm, salt: &[u8], ikm: &[u8]) -> Prk {
    Salt::new(algorithm, salt).extract(ikm)
}

fn to_length(
    algorithm: Algorithm,
    ikm: &[u8],
    salt: &[u8],
    info: &Info,
    length: usize,
) -> Result<SecretBytes, TooLong> {
    // Before anything is reserved for it.
    if length > 255 * KeyType::len(&algorithm) {
        return Err(TooLong);
    }
    let mut key = vec![0; length];
    fill(&extract(algorithm, salt, ikm), info, &mut key)?;
    Ok(SecretBytes::new(key))
}

fn fill(prk: &Prk, info: &Info, okm: &mut [u8]) -> Result<(), TooLong> {
    prk.expand(&[info.as_bytes()], Length(okm.len())).and_then(|keys| keys.fill(okm)).map_err(|_| TooLong)
}

/// More output was asked for than HKDF can give: 255 times the length of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a derived key has at most 255 times as many bytes as the hash that it is made with")]
pub struct TooLong;

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5869, test case 1, with the info laid out by hand: the function is HKDF and nothing else.
    #[test]
    fn it_is_rfc_5869() {
        let info = Info::raw(hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap());
        let okm = hkdf::<42>(&[0x0b; 22], &hex::decode("000102030405060708090a0b0c").unwrap(), &info);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(hex::encode(okm.expose()), expected);
        let same =
            hkdf_bytes(&[0x0b; 22], &hex::decode("000102030405060708090a0b0c").unwrap(), &info, 42).unwrap();
        assert_eq!(hex::encode(same.expose()), expected);
        assert_eq!(hkdf_bytes(&[1], &[2], &info, 8161).err(), Some(TooLong));
        assert_eq!(hkdf_bytes(&[1], &[2], &info, usize::MAX).err(), Some(TooLong));
    }

    /// The input of RFC 5869, test case 1; the output was computed apart, with Python's `hmac`.
    #[test]
    fn it_is_hkdf_with_sha_384_too() {
        let info = Info::raw(hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap());
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let okm = hkdf_sha384_bytes(&[0x0b; 22], &salt, &info, 42).unwrap();
        let expected = "9b5097a86038b805309076a44b3a9f38063e25b516dcbf369f394cfab43685f748b6457763e4f0204fc5";
        assert_eq!(hex::encode(okm.expose()), expected);
        assert!(hkdf_sha384_bytes(&[1], &[2], &info, 12_240).is_ok());
        assert_eq!(hkdf_sha384_bytes(&[1], &[2], &info, 12_241).err(), Some(TooLong));
    }

    fn encode(label: &str, parts: &[(String, Vec<u8>)]) -> Vec<u8> {
        let info = parts.iter().fold(Info::new(label), |info, (name, value)| info.part(name, value));
        info.as_bytes().to_vec()
    }

    proptest! {
        /// R10: the encoding is injective.
        #[test]
        fn different_parts_encode_differently(
            a in proptest::collection::vec(("[a-c]{0,2}", proptest::collection::vec(0u8..3, 0..4)), 0..3),
            b in proptest::collection::vec(("[a-c]{0,2}", proptest::collection::vec(0u8..3, 0..4)), 0..3),
        ) {
            prop_assert_eq!(a == b, encode("label", &a) == encode("label", &b));
            prop_assert_ne!(encode("label", &a), encode("labe", &a));
        }
    }
}
