//! Why an envelope was not sealed or not opened.

use std::io;

use bulla_crypto::{Class, EntropyFailure};

use crate::import::Sdk;
use crate::{Header, Slot};

/// Why an envelope was not sealed or not opened. Each variant says who is at fault and, where there is something to do, what.
///
/// The reasons are for whoever runs the program. A program that opens envelopes for others tells them what [`remote`](Self::remote)
/// says, and neither code, nor class, nor message (R65).
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
        "the envelope is damaged or of another version: it names version {0}, and this program reads version 1"
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

    /// None of the openers at hand is one that the envelope names.
    #[error("no opener at hand is one of the envelope's: it is for {wanted}")]
    NoOpener {
        /// The kinds of its slots, which are a claim.
        wanted: String,
    },

    /// A threshold slot needs more shares or private keys than are at hand.
    #[error("{have} of the {need} shares that it takes are at hand: ask other holders")]
    SharesMissing {
        /// Shares at hand, of holders' keys or as such.
        have: u8,
        /// The threshold.
        need: u8,
    },

    /// A share is not the one that was made when sealing.
    #[error("share {index} is not the one that was made when sealing: ask its holder again, or another one")]
    ShareWrong {
        /// Its index, from 1.
        index: u8,
    },

    /// The envelope has a slot that the caller did not expect.
    #[error("the envelope also opens for {slot}, which was not expected: find out who added it")]
    UnexpectedSlot {
        /// What the slot says of itself.
        slot: String,
    },

    /// The envelope is older than what the caller or its anchor knows of (R66, B28).
    #[error(
        "a rollback: the envelope is of epoch {found}, and {wanted} has been reached; restore the newest one"
    )]
    Rollback {
        /// Its epoch; 0 for none.
        found: u64,
        /// The least that is accepted.
        wanted: u64,
    },

    /// The caller wants to know that the machine wrote it, and nothing says so.
    #[error("nothing shows that the machine wrote this envelope: {0}")]
    NoOrigin(&'static str),

    /// The trailer is not what the machine would have written.
    #[error("the machine did not write this envelope, or it was changed since: use nothing of it")]
    Origin,

    /// The last opener would go, and the data with it.
    #[error("this would leave an envelope that nobody can open: add another opener first, or force it")]
    LastOpener,

    /// A slot that was named is not there.
    #[error("the envelope has no slot {0}: look at it with `bulla inspect`")]
    NoSuchSlot(String),

    /// A slot cannot be made anew under a new file key by who is here.
    #[error(
        "slot {index} ({kind}) cannot be carried over from here: drop it, or do this where it can be made anew"
    )]
    NotCarried {
        /// Its place.
        index: usize,
        /// Its kind.
        kind: &'static str,
    },

    /// Something that the caller gave cannot go into an envelope.
    #[error("{0}")]
    Invalid(&'static str),

    /// What was written does not read back.
    #[error("what was written does not read back the same: the old file is untouched, check the disk")]
    NotAsWritten,

    /// A recipient's key or its text is no key.
    #[error("not a {what}: {why}")]
    BadKey {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The header of a LUKS2 volume is not one that may decide how data is encrypted (R92).
    #[error(
        "the header of the volume is not to be trusted: {field}: {reason}; restore it from a copy that its disk could not \
         change, and ask who wrote it"
    )]
    UntrustedVolumeHeader {
        /// The first field that is not as it must be, as a path into the metadata.
        field: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A file that holds state may have been put there or written to by somebody else (R70).
    #[error("{path} {why}: nothing was read or changed; find out who did that before you put it right")]
    UnsafeFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// Somebody changed a file while we did, without the lock (R72). Ours was given up.
    #[error("{path} was replaced by another program meanwhile: look at it and try again")]
    Conflict {
        /// The file.
        path: String,
    },

    /// A sealed file is gone, and something shows that it was there. Nothing new is made in its place (R95).
    #[error(
        "{path} is missing, but {trace} shows that there was a sealed file: restore it from a backup, or, if you are sure \
         that nothing needs it, remove {trace} and start anew"
    )]
    MissingSeal {
        /// The sealed file.
        path: String,
        /// What shows that it was there.
        trace: String,
    },

    /// A sealed file was to be made where there is one.
    #[error("{path} exists already: change it, or name another file")]
    Exists {
        /// The file.
        path: String,
    },

    /// A successor's request is not one.
    #[error("not a successor's request: {0}; ask the successor for a new one")]
    BadRequest(&'static str),

    /// The evidence in a successor's request was made for another public key than the one in it (R79).
    #[error(
        "the evidence in the successor's request is not for the key in it: somebody put them together; admit nobody by it"
    )]
    RequestForOtherKey,

    /// Who asks to be admitted is not whom the upgrade is for (R79).
    #[error("not the successor that the upgrade is for: its {register} is {found}, and {wanted} is wanted")]
    OtherSuccessor {
        /// What differs.
        register: &'static str,
        /// What it shows.
        found: String,
        /// What the upgrade allows.
        wanted: String,
    },

    /// Who asks to be admitted is of a lower version than the upgrade allows (R79).
    #[error("the successor is too old: its ISVSVN is {found}, and at least {wanted} is wanted")]
    SuccessorTooOld {
        /// What it shows.
        found: u16,
        /// The lowest that the upgrade allows.
        wanted: u16,
    },

    /// The envelope opened, and its content is no key ring.
    #[error("not a key ring, though it was sealed as one: {0}")]
    MalformedRing(&'static str),

    /// A key that was asked for is not in the ring (R86).
    #[error(
        "the ring has no key {0}: look at it with `bulla key show`, or find the ring that the data is under"
    )]
    NoSuchKey(String),

    /// A key that was asked for is no longer in the ring.
    #[error(
        "generation {0} of the ring is retired: what is under it opens only with an older copy of the ring"
    )]
    RetiredKey(u32),

    /// What is to be imported is of no known format.
    #[error("neither Intel's SDK nor EGo sealed this, or it is damaged in its first bytes: fetch it again")]
    NotForeign,

    /// What another SDK sealed is not as it writes it.
    #[error("damaged, or not by {sdk}, as it seems to be: {what}; fetch it again")]
    ForeignMalformed {
        /// Who seems to have sealed it.
        sdk: Sdk,
        /// What is wrong with it.
        what: &'static str,
    },

    /// What another SDK sealed does not open. Its format does not let anybody tell why.
    #[error(
        "the key of this enclave on this machine does not open it. It claims to be for {wanted}, on the machine that sealed it: \
         this is another enclave, another machine or one with new keys, the additional data is another, or it was changed"
    )]
    ForeignKey {
        /// For whom it claims to be.
        wanted: &'static str,
    },

    /// The additional data of what another SDK sealed is not at hand as it should be.
    #[error("the additional data: {0}")]
    AdditionalData(&'static str),
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
            Self::NoOpener { .. } => "envelope.no_opener",
            Self::SharesMissing { .. } => "slot.shares_missing",
            Self::ShareWrong { .. } => "slot.share_wrong",
            Self::UnexpectedSlot { .. } => "slot.unexpected",
            Self::Rollback { .. } => "envelope.rollback",
            Self::NoOrigin(_) => "envelope.no_origin",
            Self::Origin => "envelope.origin",
            Self::LastOpener => "slot.last",
            Self::NoSuchSlot(_) => "slot.unknown",
            Self::NotCarried { .. } => "slot.not_carried",
            Self::Invalid(_) => "usage.invalid",
            Self::BadKey { .. } => "key.bad",
            Self::NotAsWritten => "file.not_as_written",
            Self::UntrustedVolumeHeader { .. } => "volume.untrusted",
            Self::UnsafeFile { .. } => "file.unsafe",
            Self::Conflict { .. } => "file.conflict",
            Self::MissingSeal { .. } => "seal.missing",
            Self::Exists { .. } => "file.exists",
            Self::MalformedRing(_) => "ring.malformed",
            Self::NoSuchKey(_) => "ring.unknown_key",
            Self::RetiredKey(_) => "ring.retired_key",
            Self::NotForeign => "import.unknown",
            Self::ForeignMalformed { .. } => "import.malformed",
            Self::ForeignKey { .. } => "import.other_key",
            Self::AdditionalData(_) => "import.additional_data",
            Self::BadRequest(_) => "successor.malformed",
            Self::RequestForOtherKey => "successor.other_key",
            Self::OtherSuccessor { .. } => "successor.other_identity",
            Self::SuccessorTooOld { .. } => "successor.too_old",
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
            | Self::PayloadChanged { .. }
            | Self::ShareWrong { .. }
            | Self::Origin
            | Self::BadKey { .. } => Class::Damaged,
            Self::OtherContext { .. }
            | Self::UntrustedVolumeHeader { .. }
            | Self::NoOpener { .. }
            | Self::SharesMissing { .. }
            | Self::UnexpectedSlot { .. }
            | Self::NoOrigin(_)
            | Self::LastOpener
            | Self::NotCarried { .. } => Class::Refused,
            Self::Rollback { .. } => Class::TooOld,
            Self::InvalidContext(_)
            | Self::TooLarge(_)
            | Self::NotAFile { .. }
            | Self::NoSuchSlot(_)
            | Self::Invalid(_) => Class::Usage,
            Self::Machine(error) => error.class(),
            Self::Entropy(_) | Self::Io { .. } | Self::NotAsWritten => Class::Other,
            Self::UnsafeFile { .. } | Self::MissingSeal { .. } => Class::Refused,
            Self::Conflict { .. } => Class::Other,
            Self::Exists { .. } => Class::Usage,
            Self::MalformedRing(_) => Class::Damaged,
            Self::NoSuchKey(_) => Class::Usage,
            Self::RetiredKey(_) => Class::Refused,
            Self::BadRequest(_) | Self::RequestForOtherKey => Class::Damaged,
            Self::OtherSuccessor { .. } => Class::Refused,
            Self::SuccessorTooOld { .. } => Class::TooOld,
            Self::NotForeign | Self::ForeignMalformed { .. } => Class::Damaged,
            Self::ForeignKey { .. } | Self::AdditionalData(_) => Class::Refused,
        }
    }

    /// What a remote party may be told: that its bytes are no header, which it can see for itself, or one and the same for all that
    /// can go wrong after that (R65). How long the opening took may still tell the two apart, and more.
    ///
    /// ```
    /// let error = bulla::Header::read(&mut &b"PK"[..]).unwrap_err();
    /// assert_eq!((error.code(), error.remote()), ("envelope.magic", "envelope.malformed"));
    /// ```
    pub fn remote(&self) -> &'static str {
        match self {
            Self::NotAnEnvelope | Self::Version(_) | Self::Checksum | Self::Malformed(_) => {
                "envelope.malformed"
            }
            _ => "unseal.failed",
        }
    }

    /// No opener at hand is one of `header`.
    pub(crate) fn no_opener(header: &Header) -> Self {
        let mut kinds: Vec<_> = header.slots().iter().map(Slot::kind).collect();
        kinds.dedup();
        let wanted =
            if kinds.is_empty() { "nobody, its last slot was dropped".into() } else { kinds.join(", ") };
        Self::NoOpener { wanted }
    }

    /// Adds to a system error what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
