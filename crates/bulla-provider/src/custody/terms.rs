//! What a policy says about roots.

use std::collections::BTreeSet;

use bulla::Recipient;
use bulla::successor::Upgrade;

/// Where roots are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The processor derives them.
    Hardware,
    /// They are random, and sealed.
    Keyring,
}

/// What a policy says about roots.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) custody: Kind,
    /// Who can open a backup together. Of key rings only, and fixed when one is made (R87).
    pub(crate) recovery: Option<Recovery>,
    /// Between which enclaves roots may go (R79). Each is named here, the present one too.
    pub(crate) upgrades: Vec<Target>,
    /// The machines on which roots may be recovered, by their PPIDs (R45).
    pub(crate) migration: BTreeSet<[u8; 16]>,
    /// Epochs below it are refused.
    pub(crate) minimum_epoch: u32,
}

/// `threshold` of `recipients`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    pub(crate) threshold: u8,
    pub(crate) recipients: Vec<Recipient>,
}

/// An enclave that may have the roots.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) enclave: Upgrade,
    /// Until when it may be given them, in Unix seconds.
    pub(crate) not_after: Option<u64>,
}
