//! Freshness: something outside that remembers the highest epoch.

use crate::Error;

/// Remembers the highest epoch of each envelope or ring, outside the reach of whoever can put an old file back (R66, R94).
///
/// ```
/// use std::sync::Mutex;
/// use std::collections::HashMap;
/// use bulla_tee::{Anchor, Error, Freshness, Reading};
///
/// /// Forgets everything with the process, so it is good for an example only.
/// #[derive(Default)]
/// struct Memory(Mutex<HashMap<[u8; 16], u64>>);
///
/// impl Anchor for Memory {
///     fn highest(&self, id: &[u8; 16]) -> Result<Reading, Error> {
///         let epochs = self.0.lock().unwrap();
///         Ok(Reading { highest: epochs.get(id).copied().unwrap_or(0), authenticated: false })
///     }
///     fn advance(&self, id: &[u8; 16], to: u64) -> Result<(), Error> {
///         let mut epochs = self.0.lock().unwrap();
///         let highest = epochs.entry(*id).or_insert(0);
///         *highest = to.max(*highest);
///         Ok(())
///     }
/// }
///
/// let anchor: &dyn Anchor = &Memory::default();
/// anchor.advance(&[7; 16], 3)?;
/// anchor.advance(&[7; 16], 2)?;
/// let reading = anchor.highest(&[7; 16])?;
/// assert_eq!((reading.highest, reading.freshness()), (3, Freshness::Unauthenticated));
/// # Ok::<(), Error>(())
/// ```
pub trait Anchor: Send + Sync {
    /// The highest epoch that was ever stored for `id`; 0 if none was.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the anchor does not answer, or an error of its own in [`Error::Delegate`].
    fn highest(&self, id: &[u8; 16]) -> Result<Reading, Error>;

    /// Stores `to` for `id`. It never goes down: storing a lower epoch changes nothing and is no error.
    ///
    /// # Errors
    /// As [`highest`](Self::highest). Then the epoch may or may not have been stored.
    fn advance(&self, id: &[u8; 16], to: u64) -> Result<(), Error>;
}

/// What an anchor answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The highest epoch.
    pub highest: u64,
    /// Whether the answer was authenticated against a fresh nonce, to an identity that was pinned at enrolment. The host
    /// carries the bytes, so without that it proves nothing against the host.
    pub authenticated: bool,
}

impl Reading {
    /// Which freshness an epoch has that is not below this reading.
    pub const fn freshness(&self) -> Freshness {
        if self.authenticated { Freshness::Anchored } else { Freshness::Unauthenticated }
    }
}

/// How sure it is that a file is the latest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freshness {
    /// No anchor was asked: any earlier file opens as well.
    #[default]
    None,
    /// An anchor knows no later epoch, or the host says that it does not.
    Unauthenticated,
    /// An authenticated anchor knows no later epoch.
    Anchored,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R66, R94: what the host alone says is worth less than an authenticated answer, and more than none.
    #[test]
    fn freshness_is_that_of_the_answer() {
        let of = |authenticated| Reading { highest: 3, authenticated }.freshness();
        assert_eq!((of(false), of(true)), (Freshness::Unauthenticated, Freshness::Anchored));
        assert!(Freshness::default() < of(false) && of(false) < of(true));
    }
}
