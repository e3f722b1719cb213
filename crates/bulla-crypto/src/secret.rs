//! Types for bytes that must not leak.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// Exactly `N` secret bytes, on the heap, wiped when dropped (R96).
///
/// It has no `Clone`, `Debug`, `Display` or `Serialize`, and no `PartialEq`:
///
/// ```compile_fail
/// let secret = bulla_crypto::Secret::<16>::new([1; 16]);
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = bulla_crypto::Secret::<16>::new([1; 16]);
/// let copy = secret.clone();
/// ```
/// ```compile_fail
/// let secret = bulla_crypto::Secret::<16>::new([1; 16]);
/// assert!(secret == bulla_crypto::Secret::new([1; 16]));
/// ```
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes. The caller's own copy, if it keeps one, is the caller's to wipe.
    pub fn new(mut bytes: [u8; N]) -> Self {
        let secret = Self(Box::new(bytes));
        bytes.zeroize();
        secret
    }

    /// A secret written in place by `fill`, so that no copy of it is left on the stack.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0);
        secret
    }

    /// The bytes, for the moment of use.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Compares in constant time (R64).
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_ref()).into()
    }

    /// Whether every byte is zero, which a hardware key never is (R13). Constant time.
    pub fn is_zero(&self) -> bool {
        self.0.ct_eq(&[0; N]).into()
    }
}

impl<const N: usize> TryFrom<&[u8]> for Secret<N> {
    type Error = WrongLength;

    fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
        if bytes.len() != N {
            return Err(WrongLength { expected: N, found: bytes.len() });
        }
        Ok(Self::fill_with(|secret| secret.copy_from_slice(bytes)))
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

/// Secret bytes of a length known only at run time, wiped when dropped (R96).
///
/// ```compile_fail
/// let secret = bulla_crypto::SecretBytes::new(vec![1; 16]);
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = bulla_crypto::SecretBytes::new(vec![1; 16]);
/// let copy = secret.clone();
/// ```
/// ```compile_fail
/// let secret = bulla_crypto::SecretBytes::new(vec![1; 16]);
/// assert!(secret == bulla_crypto::SecretBytes::new(vec![1; 16]));
/// ```
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes, without copying them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// `len` secret bytes written in place by `fill`, which are wiped also if it fails.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn fill_with<T, E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<T, E>) -> Result<(Self, T), E> {
        let mut secret = Self(vec![0; len]);
        let filled = fill(&mut secret.0)?;
        Ok((secret, filled))
    }

    /// The bytes, for the moment of use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Compares in constant time for equal lengths (R64); a length is not secret.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Whether every byte is zero, which a hardware key never is (R13). True for no bytes at all.
    pub fn is_zero(&self) -> bool {
        self.0.iter().fold(0, |all, byte| all | byte) == 0
    }
}

impl Drop for SecretBytes {
    /// As `zeroize` does for less: it writes byte by byte, which for a megabyte takes longer than to decrypt it. What the vector
    /// once held behind its present end is wiped too.
    fn drop(&mut self) {
        let capacity = self.0.capacity();
        self.0.clear();
        self.0.resize(capacity, 0);
        optimization_barrier(self.0.as_slice());
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl<const N: usize> From<Secret<N>> for SecretBytes {
    fn from(secret: Secret<N>) -> Self {
        Self(secret.expose().to_vec())
    }
}

/// A secret was not as long as its type says. The bytes themselves are not in the error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrongLength {
    expected: usize,
    found: usize,
}

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a secret of {} bytes where {} are needed", self.found, self.expected)
    }
}

impl fmt::Debug for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for WrongLength {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_by_value_and_zero_is_seen() {
        let one = Secret::<4>::new([1, 2, 3, 4]);
        assert!(one.ct_eq(&Secret::try_from(&[1, 2, 3, 4][..]).unwrap()));
        assert!(!one.ct_eq(&Secret::new([1, 2, 3, 5])));
        assert!(!one.is_zero() && Secret::<4>::new([0; 4]).is_zero());
        assert!(!SecretBytes::new(vec![0, 1]).is_zero() && SecretBytes::new(vec![0, 0]).is_zero());
        assert!(!SecretBytes::new(vec![0]).ct_eq(&SecretBytes::new(vec![0, 0])));
    }

    #[test]
    fn a_wrong_length_is_refused_without_the_bytes() {
        let error = Secret::<4>::try_from(&[0xAB; 5][..]).err().unwrap();
        assert_eq!(error.to_string(), "a secret of 5 bytes where 4 are needed");
    }
}
