//! What legacy clients get.

use std::collections::BTreeSet;

use bulla_tee::TdxIdentity;

/// The values of the registers that a host chooses and the legacy formula leaves out. Zero is always among them: guests that
/// differ in a listed value share a key (R25).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legacy {
    pub(super) mrconfigid: BTreeSet<[u8; 48]>,
    pub(super) mrowner: BTreeSet<[u8; 48]>,
    pub(super) mrownerconfig: BTreeSet<[u8; 48]>,
}

impl Legacy {
    /// Whether the formula may stand for a guest.
    ///
    /// # Errors
    /// The cause to record: the first register whose value is not listed.
    pub(crate) fn check(&self, guest: &TdxIdentity) -> Result<(), &'static str> {
        let registers = [
            (&guest.mrconfigid, &self.mrconfigid, "legacy.mrconfigid"),
            (&guest.mrowner, &self.mrowner, "legacy.mrowner"),
            (&guest.mrownerconfig, &self.mrownerconfig, "legacy.mrownerconfig"),
        ];
        let other =
            registers.into_iter().find(|(found, listed, _)| **found != [0; 48] && !listed.contains(*found));
        other.map_or(Ok(()), |(_, _, cause)| Err(cause))
    }

    /// Each register's name and the values beside zero.
    pub(super) fn listed(&self) -> [(&'static str, &BTreeSet<[u8; 48]>); 3] {
        [("MRCONFIGID", &self.mrconfigid), ("MROWNER", &self.mrowner), ("MROWNERCONFIG", &self.mrownerconfig)]
    }
}
