//! Why a provider does not start or ends.

use std::io;
use std::path::PathBuf;

use bulla_crypto::{Class, EntropyFailure};

use crate::CustodyError;
use crate::policy::PolicyError;

/// Why a provider does not start or ends. No request can cause one of these (R53).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are not settings: an unknown key, a wrong type, a value that is not allowed (R108, B44).
    #[error("the settings are wrong: {}{reason}", named(.key))]
    Settings {
        /// The key, with dots; empty where it is the whole file.
        key: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A file of the provider's own would lie where somebody else can change it (R70).
    #[error("{path} is not safe: {why}", path = .path.display())]
    UnsafePlace {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },

    /// The machine is real, and there is no signed policy.
    #[error(
        "a real machine needs a policy signed by its provider authority: name its file in the settings (policy)"
    )]
    SignedPolicyNeeded,

    /// The policy is not accepted.
    #[error(transparent)]
    Policy(#[from] PolicyError),

    /// The machine is not an SGX enclave.
    #[error("a key provider runs in an SGX enclave, and this machine is a {0}")]
    NotAnEnclave(&'static str),

    /// The machine refused.
    #[error("the machine: {0}")]
    Machine(#[from] bulla_tee::Error),

    /// There is state, and the record of the root is missing. No new root is made beside it (R95, B39).
    #[error(
        "{state_dir} holds {found:?} and no root.request: put the missing file back, because a new root would give every \
         guest another key; for a new provider name an empty state_dir"
    )]
    MissingSeal {
        /// The state directory.
        state_dir: PathBuf,
        /// A file that is there.
        found: String,
    },

    /// The record of the root cannot be read.
    #[error("{path} is damaged ({reason}): put the original back", path = .path.display())]
    DamagedSeal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The recorded request gives another root than the one that was recorded.
    #[error(
        "the root that {path} leads to is not the one that it names: the file or the machine is not the original",
        path = .path.display()
    )]
    OtherRoot {
        /// The file.
        path: PathBuf,
    },

    /// Another instance works on the same state (R46).
    #[error("another provider holds {path}: stop it, or use another state_dir", path = .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },

    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// Roots are not opened, changed or given away.
    #[error(transparent)]
    Custody(#[from] CustodyError),

    /// What was remembered of collateral is of no use.
    #[error("what collateral may not be older than is not known: {0}")]
    Collateral(#[source] bulla_attest::Error),

    /// A sealed file of the state.
    #[error(transparent)]
    Sealed(#[from] bulla::Error),

    /// The local system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },

    /// A command of the authority is not obeyed.
    #[error("the command is not obeyed: {0}")]
    Command(String),

    /// There is no good randomness (R61).
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),
}

impl Error {
    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "settings.invalid",
            Self::UnsafePlace { .. } => "state.unsafe_place",
            Self::SignedPolicyNeeded => "provider.signed_policy_needed",
            Self::Policy(error) => error.code(),
            Self::NotAnEnclave(_) => "provider.not_an_enclave",
            Self::Machine(error) => error.code(),
            Self::MissingSeal { .. } => "state.missing_seal",
            Self::DamagedSeal { .. } => "state.damaged_seal",
            Self::OtherRoot { .. } => "state.other_root",
            Self::Locked { .. } => "state.locked",
            Self::Tls(_) => "provider.tls",
            Self::Custody(error) => error.code(),
            Self::Collateral(error) => error.code(),
            Self::Sealed(error) => error.code(),
            Self::Io { .. } => "io",
            Self::Command(_) => "command.refused",
            Self::Entropy(_) => "entropy.failure",
        }
    }

    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Settings { .. } | Self::NotAnEnclave(_) => Class::Usage,
            Self::Policy(error) => error.class(),
            Self::SignedPolicyNeeded
            | Self::Command(_)
            | Self::OtherRoot { .. }
            | Self::UnsafePlace { .. } => Class::Refused,
            Self::Machine(error) => error.class(),
            Self::MissingSeal { .. } | Self::DamagedSeal { .. } => Class::Damaged,
            Self::Locked { .. } => Class::Unavailable,
            Self::Tls(_) | Self::Io { .. } | Self::Entropy(_) => Class::Other,
            Self::Custody(error) => error.class(),
            Self::Collateral(error) => error.class(),
            Self::Sealed(error) => error.class(),
        }
    }

    pub(crate) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Settings { key: key.into(), reason: reason.into() }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::Io { what: "the local system failed".into(), source }
    }
}

/// A key before what is wrong with it.
fn named(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("`{key}`: ") }
}
