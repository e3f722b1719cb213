//! Shamir's secret sharing: any `k` of `n` people can do together what fewer cannot.
//!
//! Each of the 32 bytes of a secret is shared for itself over GF(2^8) with the polynomial x^8 + x^4 + x^3 + x + 1 (0x11B,
//! the field of AES): the byte is the constant term of a random polynomial of degree `k - 1` whose other coefficients are
//! uniform, zero included. A share has the index `x`, counted from 1, and the 32 values of those polynomials at `x`. The
//! secret is found by Lagrange interpolation at 0. The arithmetic has no table and no branch on a value.
//!
//! Shares do not authenticate themselves: a wrong one gives a wrong secret and no error, so the caller commits to each.
//!
//! ```
//! use bulla_crypto::{Secret, sharing};
//!
//! let secret = Secret::new([7; 32]);
//! let shares = sharing::split(&secret, 2, 3)?;
//! let found = sharing::combine(&[(1, &shares[0]), (3, &shares[2])])?;
//! assert!(found.ct_eq(&secret));
//! # Ok::<(), bulla_crypto::sharing::SharingError>(())
//! ```

use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::{EntropyFailure, RandomSource, Secret, SystemRandom};

/// Why a secret was not shared, or not found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharingError {
    /// The numbers do not describe a sharing.
    #[error(
        "{threshold} of {shares} shares is no sharing: ask for at least 2, and for no more than there are"
    )]
    Numbers {
        /// How many shares were to be needed.
        threshold: u8,
        /// How many there were to be.
        shares: u8,
    },
    /// One share, or none, finds nothing.
    #[error("at least two shares are needed")]
    TooFew,
    /// A share's index is zero, which is where the secret itself lies.
    #[error("no share has the index 0: count them from 1")]
    ZeroIndex,
    /// Two shares have the same index.
    #[error("share {0} is there twice: give each one once")]
    Duplicate(u8),
    /// There is no good randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),
}

/// Splits `secret` into `shares` shares of which any `threshold` find it again and fewer say nothing about it. The share at
/// position `i` has the index `i + 1`.
///
/// # Errors
/// [`SharingError::Numbers`] unless 2 <= `threshold` <= `shares`, [`SharingError::Entropy`] when there is no good randomness.
pub fn split(secret: &Secret<32>, threshold: u8, shares: u8) -> Result<Vec<Secret<32>>, SharingError> {
    if threshold < 2 || threshold > shares {
        return Err(SharingError::Numbers { threshold, shares });
    }
    let degree = usize::from(threshold) - 1;
    let mut coefficients = Zeroizing::new(vec![0; 32 * degree]);
    SystemRandom.fill(&mut coefficients)?;
    let share = |index| {
        Secret::fill_with(|share| {
            let polynomials = secret.expose().iter().zip(coefficients.chunks_exact(degree));
            share.iter_mut().zip(polynomials).for_each(|(out, (&constant, others))| {
                *out = evaluate(constant, others, Gf256(index));
            });
        })
    };
    Ok((1..=shares).map(share).collect())
}

/// The secret of which these are shares, each with its index. All that are given count, so give exactly as many as are needed
/// or more, never fewer: too few give a secret too, but not this one.
///
/// # Errors
/// [`SharingError::TooFew`], [`SharingError::ZeroIndex`] or [`SharingError::Duplicate`].
pub fn combine(shares: &[(u8, &Secret<32>)]) -> Result<Secret<32>, SharingError> {
    if shares.len() < 2 {
        return Err(SharingError::TooFew);
    }
    let mut seen = [false; 256];
    for &(index, _) in shares {
        let seen = seen.get_mut(usize::from(index)).filter(|_| index != 0).ok_or(SharingError::ZeroIndex)?;
        if std::mem::replace(seen, true) {
            return Err(SharingError::Duplicate(index));
        }
    }
    Ok(Secret::fill_with(|secret| {
        for &(index, share) in shares {
            let weight = weight(index, shares);
            secret.iter_mut().zip(share.expose()).for_each(|(sum, &value)| {
                *sum = (Gf256(*sum) + Gf256(value) * weight).0;
            });
        }
    }))
}

/// Horner's rule: `constant + others[0] x + others[1] x^2 + ...`.
fn evaluate(constant: u8, others: &[u8], x: Gf256) -> u8 {
    let above = others.iter().rev().fold(Gf256(0), |sum, &coefficient| (sum + Gf256(coefficient)) * x);
    (above + Gf256(constant)).0
}

/// Lagrange's coefficient at 0 of the share with this index; indices are not secret.
fn weight(index: u8, shares: &[(u8, &Secret<32>)]) -> Gf256 {
    let others = shares.iter().map(|&(other, _)| other).filter(|&other| other != index);
    others.fold(Gf256(1), |product, other| product * Gf256(other) / (Gf256(other) - Gf256(index)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(shares: &[Secret<32>], indices: &[u8]) -> Secret<32> {
        let given: Vec<_> = indices.iter().map(|&i| (i, &shares[usize::from(i) - 1])).collect();
        combine(&given).unwrap()
    }

    #[test]
    fn every_set_that_is_large_enough_finds_the_secret_and_no_smaller_one_does() {
        let secret = SystemRandom.secret().unwrap();
        let shares = split(&secret, 3, 5).unwrap();
        assert_eq!(shares.len(), 5);
        for set in 0u8..32 {
            let indices: Vec<u8> = (1..=5).filter(|i| set >> (i - 1) & 1 == 1).collect();
            if indices.len() >= 2 {
                assert_eq!(found(&shares, &indices).ct_eq(&secret), indices.len() >= 3, "{indices:?}");
            }
        }
    }

    #[test]
    fn the_largest_sharings_work() {
        let secret = SystemRandom.secret().unwrap();
        let all: Vec<u8> = (1..=255).collect();
        assert!(found(&split(&secret, 255, 255).unwrap(), &all).ct_eq(&secret));
        assert!(found(&split(&secret, 2, 255).unwrap(), &[255, 1]).ct_eq(&secret));
        assert!(found(&split(&secret, 2, 2).unwrap(), &[2, 1]).ct_eq(&secret));
    }

    #[test]
    fn what_is_no_sharing_is_refused() {
        let secret = Secret::new([1; 32]);
        for (threshold, shares) in [(0, 0), (0, 3), (1, 3), (4, 3), (255, 254), (2, 0)] {
            let expected = Some(SharingError::Numbers { threshold, shares });
            assert_eq!(split(&secret, threshold, shares).err(), expected);
        }
        assert_eq!(combine(&[]).err(), Some(SharingError::TooFew));
        assert_eq!(combine(&[(1, &secret)]).err(), Some(SharingError::TooFew));
        assert_eq!(combine(&[(0, &secret), (1, &secret)]).err(), Some(SharingError::ZeroIndex));
        assert_eq!(
            combine(&[(7, &secret), (1, &secret), (7, &secret)]).err(),
            Some(SharingError::Duplicate(7))
        );
    }

    /// R61: the coefficients are fresh each time, so equal secrets have different shares, and so do equal bytes of one.
    #[test]
    fn shares_are_random() {
        let secret = Secret::new([0; 32]);
        let (one, two) = (split(&secret, 2, 2).unwrap(), split(&secret, 2, 2).unwrap());
        assert!(!one[0].ct_eq(&two[0]) && !one[0].ct_eq(&one[1]));
        assert!(one[0].expose().iter().any(|byte| Some(byte) != one[0].expose().first()));
    }

    /// The library's own sharing is the same one: each reads the other's shares.
    #[test]
    fn the_library_finds_the_same_secret() {
        let secret = SystemRandom.secret::<32>().unwrap();
        let shares = split(&secret, 3, 4).unwrap();
        let indexed: Vec<Vec<u8>> =
            (1..).zip(&shares).skip(1).map(|(i, share)| [&[i][..], share.expose()].concat()).collect();
        assert_eq!(Gf256::combine_bytes(indexed).unwrap(), secret.expose());
    }

    /// Frozen: x^8 + x^4 + x^3 + x + 1, indices from 1. Computed by hand from 7 + 0x80 x, where 0x80 * 2 = 0x1B.
    #[test]
    fn a_share_is_a_value_of_the_polynomial() {
        assert_eq!([1, 2, 3].map(|x| evaluate(7, &[0x80], Gf256(x))), [0x87, 0x1C, 0x9C]);
        assert_eq!(evaluate(7, &[0, 0x53], Gf256(1)), 0x54);
        let (one, three) = (Secret::new([0x87; 32]), Secret::new([0x9C; 32]));
        assert_eq!(combine(&[(3, &three), (1, &one)]).unwrap().expose(), &[7; 32]);
    }

    /// Which bytes fewer shares allow: all of them, for one share fits every secret byte.
    #[test]
    fn one_share_of_two_says_nothing() {
        for constant in 0..=255 {
            assert!((0..=255).any(|coefficient| evaluate(constant, &[coefficient], Gf256(9)) == 0x42));
        }
    }

    proptest! {
        #[test]
        fn any_numbers_are_a_sharing_or_an_error(
            bytes: [u8; 32], threshold: u8, shares: u8, first in 0u8..255,
        ) {
            let secret = Secret::new(bytes);
            let Ok(shares) = split(&secret, threshold, shares) else {
                return Ok(());
            };
            let count = shares.len() as u8;
            let indices: Vec<u8> =
                (0..threshold).map(|i| ((u16::from(first) + u16::from(i)) % u16::from(count)) as u8 + 1).collect();
            prop_assert!(found(&shares, &indices).ct_eq(&secret));
        }
    }
}
