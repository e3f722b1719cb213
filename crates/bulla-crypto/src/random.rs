//! Randomness, distrusted once before use.

/// Where random bytes come from. A machine backend takes one, so that it needs no cryptographic library of its own.
pub trait RandomSource: Send + Sync {
    /// Fills `bytes` with fresh random bytes, or fails; it never returns bytes that look stuck (R61).
    ///
    /// # Errors
    /// [`EntropyFailure`] when the source fails or repeats itself. Nothing may be sealed then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailure>;
}

/// The random number generator failed or returned stuck output (R61, B32). Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the random number generator of this machine failed or is stuck: nothing was sealed, restart the process"
)]
pub struct EntropyFailure;

#[cfg(feature = "aws-lc")]
pub use system::SystemRandom;

#[cfg(feature = "aws-lc")]
mod system {
    use aws_lc_rs::rand;
    use subtle::ConstantTimeEq;
    use zeroize::Zeroize;

    use super::{EntropyFailure, RandomSource};
    use crate::Secret;

    /// AWS-LC's generator: seeded by the operating system, with the processor's `RDRAND` mixed in (R62).
    ///
    /// ```
    /// use bulla_crypto::{RandomSource, SystemRandom};
    ///
    /// let salt: [u8; 32] = SystemRandom.array()?;
    /// # Ok::<(), bulla_crypto::EntropyFailure>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default)]
    pub struct SystemRandom;

    impl SystemRandom {
        /// `N` fresh random bytes.
        ///
        /// # Errors
        /// As [`RandomSource::fill`].
        pub fn array<const N: usize>(&self) -> Result<[u8; N], EntropyFailure> {
            let mut bytes = [0; N];
            self.fill(&mut bytes)?;
            Ok(bytes)
        }

        /// A fresh random secret, drawn in place.
        ///
        /// # Errors
        /// As [`RandomSource::fill`].
        pub fn secret<const N: usize>(&self) -> Result<Secret<N>, EntropyFailure> {
            let mut result = Ok(());
            let secret = Secret::fill_with(|bytes| result = self.fill(bytes));
            result.map(|()| secret)
        }
    }

    impl RandomSource for SystemRandom {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailure> {
            checked(bytes, |out| rand::fill(out).map_err(|_| EntropyFailure))
        }
    }

    /// Draws two 16-byte probes around the wanted bytes: a source that stands still repeats itself in them.
    fn checked(
        bytes: &mut [u8],
        mut draw: impl FnMut(&mut [u8]) -> Result<(), EntropyFailure>,
    ) -> Result<(), EntropyFailure> {
        let (mut before, mut after) = ([0; 16], [0; 16]);
        draw(&mut before)?;
        draw(bytes)?;
        draw(&mut after)?;
        let stuck = bool::from(before.ct_eq(&after)) || before == [0; 16] || after == [0; 16];
        if stuck || (bytes.len() >= 16 && bytes.iter().all(|byte| Some(byte) == bytes.first())) {
            bytes.zeroize();
            return Err(EntropyFailure);
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// R61, B32: constant, zero and failing sources are errors, and leave nothing usable behind.
        #[test]
        fn a_stuck_source_is_an_error() {
            for value in [0, 0xFF] {
                let mut bytes = [7; 32];
                let result = checked(&mut bytes, |out| {
                    out.fill(value);
                    Ok(())
                });
                assert_eq!((result, bytes), (Err(EntropyFailure), [0; 32]));
            }
            let mut draws = 0;
            let repeating = |out: &mut [u8]| {
                draws += 1;
                out.iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
                Ok(())
            };
            assert_eq!(checked(&mut [0; 32], repeating), Err(EntropyFailure));
            assert_eq!(draws, 3);
            assert_eq!(checked(&mut [0; 32], |_| Err(EntropyFailure)), Err(EntropyFailure));
        }

        #[test]
        fn the_system_source_does_not_repeat() {
            assert_ne!(SystemRandom.array::<32>().unwrap(), SystemRandom.array::<32>().unwrap());
        }
    }
}
