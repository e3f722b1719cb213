//! What is wrong with an event log.

use bulla_crypto::Class;

/// What is wrong with an event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventLogFault {
    /// Above 1 MiB.
    TooLarge,
    /// Not in its format.
    Parse,
    /// The digest of a run-time event is not that of its name and content.
    Digest,
    /// The evidence that it is for is of another kind than a TDX guest's.
    NotTdx,
    /// It does not replay to a register of the evidence.
    RtmrMismatch,
    /// The boundary is not in it.
    NoBoundary,
    /// The boundary is in it more than once.
    BoundaryTwice,
    /// The boundary is in another register.
    BoundaryRegister,
    /// The boundary's register has events whose names nothing proves.
    UnnamedEvent,
    /// The boundary's register was extended after it.
    Extended,
}

impl EventLogFault {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "event_log.too_large",
            Self::Parse => "event_log.parse",
            Self::Digest => "event_log.digest",
            Self::NotTdx => "event_log.not_tdx",
            Self::RtmrMismatch => "event_log.rtmr_mismatch",
            Self::NoBoundary => "event_log.no_boundary",
            Self::BoundaryTwice => "event_log.boundary_twice",
            Self::BoundaryRegister => "event_log.boundary_register",
            Self::UnnamedEvent => "event_log.unnamed_event",
            Self::Extended => "event_log.extended",
        }
    }

    pub(crate) const fn class(self) -> Class {
        match self {
            Self::TooLarge | Self::Parse | Self::Digest => Class::Damaged,
            Self::NotTdx
            | Self::RtmrMismatch
            | Self::NoBoundary
            | Self::BoundaryTwice
            | Self::BoundaryRegister
            | Self::UnnamedEvent
            | Self::Extended => Class::Refused,
        }
    }
}
