//! Why a policy is not accepted.

use bulla_crypto::Class;
use bulla_protocol::SignedError;

/// Why a policy is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It does not say what a policy says (R108, B44).
    #[error("the policy is wrong: {0}")]
    Invalid(String),

    /// It is not signed as it has to be.
    #[error("the policy: {0}")]
    Signed(#[from] SignedError),

    /// It is for simulated machines.
    #[error("the policy is for simulated machines (simulated = true), and this machine is real")]
    ForSimulated,

    /// It is for real machines.
    #[error("the policy is for real machines, and this one is simulated: write simulated = true for trials")]
    ForReal,

    /// Something in it is lower than it was (R83).
    #[error("{what} would fall from {floor} to {found}: sign a policy in which it does not")]
    Lowered {
        /// What.
        what: &'static str,
        /// What it is in the policy.
        found: u32,
        /// What it was.
        floor: u32,
    },

    /// Two documents have one version.
    #[error("this is another policy of version {0}, which is in force: give every change a higher version")]
    SameVersion(u32),

    /// Something has changed that a running provider cannot change.
    #[error("{0} cannot change while a provider runs")]
    Fixed(&'static str),
}

impl PolicyError {
    /// A stable name for this kind of failure.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "policy.invalid",
            Self::Signed(error) => error.code(),
            Self::ForSimulated => "policy.for_simulated",
            Self::ForReal => "policy.for_real",
            Self::Lowered { .. } => "policy.lowered",
            Self::SameVersion(_) => "policy.same_version",
            Self::Fixed(_) => "policy.fixed",
        }
    }

    /// The class of this failure.
    pub const fn class(&self) -> Class {
        match self {
            Self::Invalid(_) => Class::Usage,
            Self::Signed(error) => error.class(),
            Self::Lowered { .. } => Class::TooOld,
            Self::ForSimulated | Self::ForReal | Self::SameVersion(_) | Self::Fixed(_) => Class::Refused,
        }
    }
}
