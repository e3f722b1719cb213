//! Why there is no key.

use std::fmt;

use bulla_crypto::{Class, EntropyFailure};
use bulla_protocol::Code;

/// Why there is no key. Each variant says who is at fault and what to do next.
///
/// No message holds a key, evidence or the id of a machine (R97).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The provider's address cannot be used.
    #[error("the provider's address {0}")]
    Address(String),

    /// What was asked for is outside the bounds of the protocol.
    #[error(
        "no such key can be asked for: a path is 1 to 256 printable ASCII characters without blanks, a purpose 1 to 64 \
         lower-case letters, digits and hyphens, a length 16 to 64 bytes"
    )]
    Selectors,

    /// The path belongs to bulla itself.
    #[error("paths that begin with `bulla/` are kept for bulla's own keys: choose another path")]
    Reserved,

    /// An owner's keys are asked for, and nothing entitles this guest to them.
    #[error(
        "keys that are bound to an owner need the owner's id and the manifest that entitles this guest: name both, the id \
         from the guest's own image and never from the host"
    )]
    ManifestNeeded,

    /// Sessions are for connections over TLS.
    #[error(
        "a session needs TLS: ask the provider at its https:// address, or ask for each key with evidence of its own"
    )]
    SessionNeedsTls,

    /// The provider cannot be reached, is too slow, or does not speak HTTP.
    #[error("cannot talk to the provider at {address}: {reason}")]
    Transport {
        /// Where it was looked for.
        address: String,
        /// What happened.
        reason: String,
    },

    /// The provider answered with something that is not in the protocol.
    #[error(
        "the provider sent something that is not {0}: check that the address is that of a bulla provider"
    )]
    Malformed(&'static str),

    /// The provider, or whoever is on the way, ends connections too early.
    #[error("the provider ends every connection before it has answered: look for what stands in between")]
    Closed,

    /// The provider answered neither with success nor with a refusal.
    #[error("the provider answers with status {0}: check that the address is that of a bulla provider")]
    Status(u16),

    /// The provider refused. A refusal is not signed: whoever is on the way can forge one.
    #[error("the provider refused: {0}")]
    Refused(Code),

    /// The provider's evidence does not verify, or the policy does not accept it.
    #[error("the provider is not to be trusted: {0}")]
    ProviderEvidence(#[source] bulla_attest::Error),

    /// The provider is genuine, and not the pinned one (R40).
    #[error(
        "not the pinned provider: its {clause} is {found}, and {wanted} is pinned; ask its operator which is right, and \
         pin only what you checked"
    )]
    UntrustedProvider {
        /// What differs.
        clause: Clause,
        /// The pinned value.
        wanted: String,
        /// The provider's.
        found: String,
    },

    /// Whoever answers runs in no enclave.
    #[error("not the pinned provider: what it shows is evidence of no SGX enclave")]
    NoEnclave,

    /// The provider's quote is not about its statement.
    #[error(
        "the provider's quote does not cover its statement: one of them was changed or exchanged on the way, nothing was \
         asked"
    )]
    UncoveredStatement,

    /// The provider runs on another machine than this guest (R36).
    #[error("the provider is on another machine than this guest, so use the one on this machine: {0}")]
    OtherMachine(#[source] bulla_attest::Error),

    /// The answer is not by the provider, not to this request, or not what was asked for (R39, B21).
    #[error("the answer is not to be trusted: {0}; it was thrown away")]
    BadAnswer(&'static str),

    /// The provider's evidence is for another TLS connection than this one (R42).
    #[error("the provider's evidence is for another connection than this one: somebody stands in between")]
    OtherConnection,

    /// This guest's own evidence does not verify, or the policy does not accept it.
    #[error("this guest's own evidence is not acceptable: {0}")]
    OwnEvidence(#[source] bulla_attest::Error),

    /// The host returned a quote of another guest.
    #[error(
        "the quote that the host returned for this guest has other registers than this guest: ask again if an RTMR was \
         being extended, else the host exchanged it"
    )]
    ForeignEvidence,

    /// This guest's machine failed.
    #[error(transparent)]
    Machine(#[from] bulla_tee::Error),

    /// There is no good randomness (R61).
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),
}

/// A value that a [`Pin`](crate::Pin) fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clause {
    /// MRENCLAVE.
    Measurement,
    /// MRSIGNER.
    Signer,
    /// ISVPRODID.
    Product,
    /// ISVSVN, of which a pin has the lowest.
    Svn,
    /// The id of the provider authority.
    Authority,
    /// The root that new keys come from.
    Root,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measurement => "measurement",
            Self::Signer => "signer",
            Self::Product => "product",
            Self::Svn => "security version",
            Self::Authority => "authority",
            Self::Root => "root id",
        })
    }
}

impl Error {
    /// A stable name for this kind of failure. A refusal by the provider has the code of the wire, and evidence has that
    /// of [`bulla_attest::Error::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "usage.address",
            Self::Selectors => "usage.selectors",
            Self::Reserved => "usage.reserved_path",
            Self::ManifestNeeded => "usage.manifest",
            Self::SessionNeedsTls => "usage.session",
            Self::Transport { .. } => "peer.transport",
            Self::Closed => "peer.closed",
            Self::Status(_) => "peer.status",
            Self::Malformed(_) => "peer.malformed",
            Self::Refused(code) => code.as_str(),
            Self::UntrustedProvider { clause: Clause::Measurement, .. } => "untrusted_provider.measurement",
            Self::NoEnclave => "untrusted_provider.no_enclave",
            Self::UntrustedProvider { clause: Clause::Signer, .. } => "untrusted_provider.signer",
            Self::UntrustedProvider { clause: Clause::Product, .. } => "untrusted_provider.product",
            Self::UntrustedProvider { clause: Clause::Svn, .. } => "untrusted_provider.svn",
            Self::UntrustedProvider { clause: Clause::Authority, .. } => "untrusted_provider.authority",
            Self::UntrustedProvider { clause: Clause::Root, .. } => "untrusted_provider.root",
            Self::UncoveredStatement => "untrusted_provider.statement",
            Self::OtherMachine(_) => "untrusted_provider.machine",
            Self::BadAnswer(_) => "untrusted_provider.answer",
            Self::OtherConnection => "untrusted_provider.connection",
            Self::ForeignEvidence => "own_evidence.identity",
            Self::ProviderEvidence(error) | Self::OwnEvidence(error) => error.code(),
            Self::Machine(error) => error.code(),
            Self::Entropy(_) => "entropy.failure",
        }
    }

    /// The class of this failure. Damaged evidence is refused: nothing of the caller's is damaged.
    pub fn class(&self) -> Class {
        match self {
            Self::Address(_) | Self::Selectors | Self::Reserved => Class::Usage,
            Self::ManifestNeeded | Self::SessionNeedsTls => Class::Usage,
            Self::Transport { .. } | Self::Malformed(_) => Class::Peer,
            Self::Closed | Self::Status(_) => Class::Peer,
            Self::Refused(code) => code.class(),
            Self::UntrustedProvider { .. }
            | Self::NoEnclave
            | Self::UncoveredStatement
            | Self::OtherMachine(_)
            | Self::BadAnswer(_)
            | Self::OtherConnection
            | Self::ForeignEvidence => Class::Refused,
            Self::ProviderEvidence(error) | Self::OwnEvidence(error) => match error.class() {
                Class::Damaged => Class::Refused,
                class => class,
            },
            Self::Machine(error) => error.class(),
            Self::Entropy(_) => Class::Other,
        }
    }
}

/// As a machine's error, with the same code and class.
impl From<Error> for bulla_tee::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Machine(error) => error,
            Error::Entropy(error) => Self::Entropy(error),
            error => {
                let (code, class) = (error.code(), error.class());
                Self::Delegate(Box::new(bulla_tee::Delegate { code, class, source: Box::new(error) }))
            }
        }
    }
}
