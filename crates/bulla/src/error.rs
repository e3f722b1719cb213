//! Why an envelope was not sealed or not opened.

use std::io;

use bulla_crypto::{Class, EntropyFailure};

/// Why an envelope was not sealed or not opened. Each variant says who is at fault and, where there is something to do, what.
///
/// The reasons are for whoever runs the program. A remote party is told one coarse code, whatever the variant (R65).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not begin like an envelope.
    #[error(
        "not an envelope, or damaged in its first bytes (a transfer in text mode does that): fetch it again"
    )]
    NotAnEnvelope,

    /// A version that this program does not know.
    #[error(
        "the envelope is damaged or of a later version: it names version {0}, and this program reads version 0"
    )]
    Version(u8),

    /// The header uses something that this program does not know, so it cannot judge the rest (B26).
    #[error(
        "the envelope uses the {what} {value}, which this program does not know: open it with a later one"
    )]
    Unsupported {
        /// What is unknown.
        what: &'static str,
        /// Its number.
        value: u64,
    },

    /// The envelope ends too early.
    #[error("the envelope is cut short: fetch it again or restore it")]
    Truncated,

    /// The header is not what was written, by its unkeyed checksum.
    #[error("the header of the envelope is damaged: fetch it again or restore it")]
    Checksum,

    /// The header arrived as somebody wrote it, but no sealing writes such a header.
    #[error("the header of the envelope is malformed: {0}")]
    Malformed(&'static str),

    /// The slot is for this program on this machine, but something in the header was changed since the sealing.
    #[error(
        "the header was changed after sealing: the slot is for this program on this machine, but it does not open"
    )]
    HeaderChanged,

    /// A part of the payload was changed, moved, added or taken away. What was written before it must not be used.
    #[error(
        "the payload was changed or cut after sealing, at chunk {chunk}: use nothing of it, restore the envelope"
    )]
    PayloadChanged {
        /// The first chunk, from 0, that does not authenticate.
        chunk: u64,
    },

    /// The envelope is for another context (R63).
    #[error("sealed for another context: the header claims {claimed:?}, and {wanted:?} was asked for")]
    OtherContext {
        /// The context in the header, which is a claim.
        claimed: String,
        /// The context that the caller asked for.
        wanted: String,
    },

    /// The caller's context cannot be one (R63).
    #[error("a context has between 1 and 1024 bytes, this one has {0}: say what the secret is for")]
    InvalidContext(usize),

    /// There is more to seal than the format can hold (R60).
    #[error("{0} is too large for one envelope: seal it in parts")]
    TooLarge(&'static str),

    /// The destination exists and is not a regular file, so it cannot be replaced.
    #[error("{path} exists and is not a regular file: name another output")]
    NotAFile {
        /// The destination.
        path: String,
    },

    /// The machine did not do it; the reason is the machine's own.
    #[error(transparent)]
    Machine(#[from] bulla_tee::Error),

    /// There is no good randomness (R61). Nothing was written.
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),

    /// The caller's input or output failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAnEnvelope => "envelope.magic",
            Self::Version(_) => "envelope.version",
            Self::Unsupported { .. } => "envelope.unsupported",
            Self::Truncated => "envelope.truncated",
            Self::Checksum => "envelope.checksum",
            Self::Malformed(_) => "envelope.malformed",
            Self::HeaderChanged => "envelope.header_changed",
            Self::PayloadChanged { .. } => "envelope.payload_changed",
            Self::OtherContext { .. } => "envelope.other_context",
            Self::InvalidContext(_) => "context.invalid",
            Self::TooLarge(_) => "envelope.too_large",
            Self::NotAFile { .. } => "file.not_regular",
            Self::Machine(error) => error.code(),
            Self::Entropy(_) => "entropy.failure",
            Self::Io { .. } => "io",
        }
    }

    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Self::NotAnEnvelope
            | Self::Version(_)
            | Self::Unsupported { .. }
            | Self::Truncated
            | Self::Checksum
            | Self::Malformed(_)
            | Self::HeaderChanged
            | Self::PayloadChanged { .. } => Class::Damaged,
            Self::OtherContext { .. } => Class::Refused,
            Self::InvalidContext(_) | Self::TooLarge(_) | Self::NotAFile { .. } => Class::Usage,
            Self::Machine(error) => error.class(),
            Self::Entropy(_) | Self::Io { .. } => Class::Other,
        }
    }

    /// Adds to a system error what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
