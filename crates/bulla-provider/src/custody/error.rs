//! Why roots are not opened, changed or given away.

use std::path::PathBuf;

use bulla_crypto::Class;

/// Why roots are not opened, changed or given away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// The policy says key ring, and none was made yet. A start never makes one (R95).
    #[error("{state_dir} holds no roots: make them with `bulla provider init`, once, or name the right state_dir", state_dir = .state_dir.display())]
    NotInitialised {
        /// The state directory.
        state_dir: PathBuf,
    },

    /// There are roots already.
    #[error("{state_dir} holds the roots of a provider: init makes a new provider, in an empty state_dir", state_dir = .state_dir.display())]
    Exists {
        /// The state directory.
        state_dir: PathBuf,
    },

    /// The state is of the other custody than the policy's.
    #[error("{found} is of another custody than the policy names: name that custody, or another state_dir", found = .found.display())]
    OtherCustody {
        /// What shows it.
        found: PathBuf,
    },

    /// There are roots, and the memory of what may not fall is gone (R83).
    #[error(
        "{path} is gone, so the lowest acceptable epoch, policy and collateral are not known any more: put it back, or begin a \
         new memory with `bulla provider init --lost-memory`, which accepts whatever the policy accepts",
        path = .path.display()
    )]
    MissingMemory {
        /// The file.
        path: PathBuf,
    },

    /// The memory is not what a provider of this authority wrote.
    #[error("{path} is damaged ({reason}): put the original back", path = .path.display())]
    DamagedMemory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Something is older than what was seen before (R83).
    #[error("{what} {found} is older than {wanted}, which was seen before: put the newest one back")]
    Rollback {
        /// What.
        what: &'static str,
        /// What is here.
        found: u32,
        /// What was seen.
        wanted: u32,
    },

    /// The recovery recipients of the key ring are not those of the policy (R87).
    #[error(
        "the recovery recipients of the key ring are not those of the policy: they are fixed when a ring is made, so put them \
         back into the policy"
    )]
    OtherRecipients,

    /// No root of this epoch, or none that is still in use.
    #[error("there is no epoch {0}")]
    NoSuchEpoch(u32),

    /// Every root is retired or below the floor.
    #[error("every epoch is retired or below the floor of {0}")]
    NoneLeft(u32),

    /// An epoch further on than the next.
    #[error("epochs follow one another: rotate to {next}")]
    NotNext {
        /// The one after the newest.
        next: u32,
    },

    /// The newest root is in use.
    #[error("epoch {0} is the newest, of which new keys are made: rotate first")]
    CurrentEpoch(u32),

    /// A floor that is to fall (R83).
    #[error("the floor is {present} and does not fall to {wanted}")]
    LoweredFloor {
        /// What it is.
        present: u32,
        /// What was asked for.
        wanted: u32,
    },

    /// This process gave the roots to a successor.
    #[error(
        "the roots were handed over: make changes at the successor, or start this provider again if that came to nothing"
    )]
    HandedOver,

    /// A request, a grant, a share or a backup is not one.
    #[error("the {what} is of no use: {why}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },

    /// Who asks for roots, or offers them, does not get through (R79, B37).
    #[error("no handover: {0}")]
    UpgradeDenied(String),

    /// Nothing is recovered here (R45).
    #[error("no recovery: {0}")]
    RecoveryDenied(String),

    /// Nobody can open a backup.
    #[error("the policy names no recovery recipients, so a backup would open for nobody")]
    NoRecipients,

    /// Roots of the hardware do not leave it.
    #[error("the roots are the hardware's own and cannot leave it: only those of a key ring can")]
    BoundToHardware,
}

impl CustodyError {
    /// A stable name for this kind of failure.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotInitialised { .. } => "custody.not_initialised",
            Self::Exists { .. } => "custody.exists",
            Self::OtherCustody { .. } => "custody.other",
            Self::MissingMemory { .. } => "custody.missing_memory",
            Self::DamagedMemory { .. } => "custody.damaged_memory",
            Self::Rollback { .. } => "custody.rollback",
            Self::OtherRecipients => "custody.other_recipients",
            Self::NoSuchEpoch(_) => "custody.unknown_epoch",
            Self::NoneLeft(_) => "custody.none_left",
            Self::NotNext { .. } => "custody.not_next",
            Self::CurrentEpoch(_) => "custody.current_epoch",
            Self::LoweredFloor { .. } => "custody.lowered_floor",
            Self::HandedOver => "custody.handed_over",
            Self::Malformed { .. } => "custody.malformed",
            Self::UpgradeDenied(_) => "custody.upgrade_denied",
            Self::RecoveryDenied(_) => "custody.recovery_denied",
            Self::NoRecipients => "custody.no_recipients",
            Self::BoundToHardware => "custody.bound_to_hardware",
        }
    }

    /// The class of this failure.
    pub const fn class(&self) -> Class {
        match self {
            Self::NotInitialised { .. }
            | Self::Exists { .. }
            | Self::OtherCustody { .. }
            | Self::NoSuchEpoch(_)
            | Self::NotNext { .. }
            | Self::CurrentEpoch(_)
            | Self::HandedOver
            | Self::NoRecipients
            | Self::BoundToHardware => Class::Usage,
            Self::Malformed { .. } | Self::MissingMemory { .. } | Self::DamagedMemory { .. } => {
                Class::Damaged
            }
            Self::Rollback { .. } | Self::LoweredFloor { .. } | Self::NoneLeft(_) => Class::TooOld,
            Self::OtherRecipients | Self::UpgradeDenied(_) | Self::RecoveryDenied(_) => Class::Refused,
        }
    }
}
