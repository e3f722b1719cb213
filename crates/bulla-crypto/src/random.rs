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
    use std::cell::Cell;

    use aws_lc_rs::rand;
    use subtle::ConstantTimeEq;
    use zeroize::{Zeroize, Zeroizing};

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
            let engine = |out: &mut [u8]| rand::fill(out).map_err(|_| EntropyFailure);
            LAST.with(|last| checked(bytes, last, engine))
        }
    }

    const PROBE: usize = 16;

    /// The most bytes that come in one draw with their probes.
    const SMALL: usize = 128;

    thread_local! {
        /// The first probe of this thread's last small draw.
        static LAST: Cell<Option<[u8; PROBE]>> = const { Cell::new(None) };
    }

    /// Draws the wanted bytes between two probes, which nobody gets: a source that stands still repeats itself in them.
    ///
    /// A small draw takes all from the source at once, for speed. A source that starts anew with every draw then shows only
    /// against the draw before, so the first probe of that one is kept.
    fn checked(
        bytes: &mut [u8],
        last: &Cell<Option<[u8; PROBE]>>,
        mut draw: impl FnMut(&mut [u8]) -> Result<(), EntropyFailure>,
    ) -> Result<(), EntropyFailure> {
        let (mut earlier, mut before, mut after) = ([0; PROBE], [0; PROBE], [0; PROBE]);
        let moves = if bytes.len() > SMALL {
            draw(&mut before)?;
            draw(bytes)?;
            draw(&mut after)?;
            differ(&before, &after)
        } else {
            match last.take() {
                Some(probe) => earlier = probe,
                None => draw(&mut earlier)?,
            }
            let mut room = Zeroizing::new([0; PROBE + SMALL + PROBE]);
            let (drawn, _) = room.split_at_mut(PROBE + bytes.len() + PROBE);
            draw(drawn)?;
            let (first, rest) = drawn.split_at(PROBE);
            let (wanted, second) = rest.split_at(bytes.len());
            before.copy_from_slice(first);
            bytes.copy_from_slice(wanted);
            after.copy_from_slice(second);
            last.set(Some(before));
            differ(&earlier, &before) && differ(&before, &after)
        };
        if !moves || (bytes.len() >= PROBE && bytes.iter().all(|byte| Some(byte) == bytes.first())) {
            bytes.zeroize();
            return Err(EntropyFailure);
        }
        Ok(())
    }

    fn differ(one: &[u8; PROBE], other: &[u8; PROBE]) -> bool {
        *one != [0; PROBE] && *other != [0; PROBE] && !bool::from(one.ct_eq(other))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// R61, B32: constant, zero and failing sources are errors, and leave nothing usable behind.
        #[test]
        fn a_stuck_source_is_an_error() {
            for (value, length) in [(0, 32), (0xFF, 32), (0, 1), (0, SMALL + 1), (0xFF, SMALL + 1)] {
                let mut bytes = vec![7; length];
                let result = checked(&mut bytes, &Cell::new(None), |out| {
                    out.fill(value);
                    Ok(())
                });
                assert_eq!((result, bytes), (Err(EntropyFailure), vec![0; length]));
            }
            let mut draws = 0;
            let stuck_within_a_draw = |out: &mut [u8]| {
                draws += 1;
                out.fill(draws);
                Ok(())
            };
            assert_eq!(checked(&mut [0; 1], &Cell::new(None), stuck_within_a_draw), Err(EntropyFailure));
            let failing = |_: &mut [u8]| Err(EntropyFailure);
            assert_eq!(checked(&mut [0; 32], &Cell::new(None), failing), Err(EntropyFailure));
        }

        /// R61: so is one that starts anew with every draw, at the first use of a thread and later, for few bytes and many.
        #[test]
        fn a_source_that_repeats_itself_is_an_error() {
            let counting_from = |start: u8| {
                move |out: &mut [u8]| {
                    out.iter_mut().enumerate().for_each(|(i, byte)| *byte = start.wrapping_add(i as u8));
                    Ok(())
                }
            };
            for length in [1, 32, SMALL] {
                let last = Cell::new(None);
                let mut bytes = vec![7; length];
                assert_eq!(checked(&mut bytes, &last, counting_from(1)), Err(EntropyFailure));
                assert_eq!(bytes, vec![0; length]);
                assert_eq!(checked(&mut bytes, &last, counting_from(2)), Ok(()));
                assert_eq!(checked(&mut bytes, &last, counting_from(2)), Err(EntropyFailure));
                assert_eq!(checked(&mut bytes, &last, counting_from(3)), Ok(()));
            }
            let mut many = vec![7; SMALL + 1];
            assert_eq!(checked(&mut many, &Cell::new(None), counting_from(1)), Err(EntropyFailure));
            assert_eq!(many, vec![0; SMALL + 1]);
        }

        /// A small request costs one call into the generator, after a thread's first.
        #[test]
        fn a_small_draw_is_one_draw() {
            let (last, draws) = (Cell::new(None), Cell::new(0));
            let count = |out: &mut [u8]| {
                draws.set(draws.get() + 1);
                SystemRandom.fill(out)
            };
            checked(&mut [0; 32], &last, count).unwrap();
            assert_eq!(draws.get(), 2);
            checked(&mut [0; SMALL], &last, count).unwrap();
            assert_eq!(draws.get(), 3);
        }

        #[test]
        fn the_system_source_does_not_repeat() {
            assert_ne!(SystemRandom.array::<32>().unwrap(), SystemRandom.array::<32>().unwrap());
        }
    }
}
