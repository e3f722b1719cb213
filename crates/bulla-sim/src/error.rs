//! Why a simulated machine did not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use bulla_crypto::{Class, EntropyFailure};
use bulla_tee::Delegate;

/// Why a simulated machine did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory or a file in it is missing, unreadable or not what a simulated machine writes.
    #[error("the simulated machine is not available: {path}: {reason}", path = path.display())]
    Unavailable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },

    /// A new machine would be written over something else.
    #[error("{path} is not empty: name a new directory for the simulated machine", path = path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },

    /// What the vendor publishes is out of order.
    #[error("the vendor of the simulated machine cannot publish that: {0}")]
    History(&'static str),

    /// The edition is not valid any more.
    #[error("documents with tcbEvaluationDataNumber {0} are retired: ask for a newer edition")]
    RetiredEdition(u32),

    /// There is no such edition yet.
    #[error("there are no documents with tcbEvaluationDataNumber {0}")]
    NoEdition(u32),

    /// There is no microcode below the lowest.
    #[error("the simulated machine already runs its lowest microcode")]
    LowestMicrocode,

    /// A TD description has an unknown key, or a value that is not of its register's size.
    #[error("the TD description is not valid: {0}")]
    Description(String),

    /// Collateral was asked for something that is not a quote.
    #[error("this is not a quote, so there is no collateral for it: {0}")]
    NotAQuote(&'static str),

    /// A point in time that a certificate cannot hold.
    #[error("{0} is not a time that collateral can be issued at")]
    Time(u64),

    /// Something is to go wrong that is not known, or not where it could happen.
    #[error("that cannot be made to go wrong: {0}")]
    Mishap(String),

    /// An enclave without a library OS has no files.
    #[error(
        "an enclave without a library OS shows nothing as files: ask for one in gramine or occlum, or for a guest"
    )]
    NoFiles,

    /// The kernel does not let a program run in surroundings of its own.
    #[error(
        "no program can be run on a simulated machine here: {0}; it takes root or user namespaces, /dev/fuse, and ptrace"
    )]
    Stage(io::Error),

    /// A program did not start.
    #[error("cannot run {program}: {source}", program = program.display())]
    Program {
        /// Its name or path.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// There is nothing to run.
    #[error("name a program to run")]
    NoCommand,

    /// A local report handed to the simulated quoting enclave was not made on this machine, or was changed (B17).
    #[error("the simulated quoting enclave refused the report: {0}")]
    BadReport(&'static str),

    /// The simulated machine could not be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A certificate, a revocation list or a signature could not be made.
    #[error("cannot sign with the keys of the simulated machine: {0}")]
    Signing(String),

    /// There is no good randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyFailure),
}

impl Error {
    pub(crate) fn unavailable(path: &Path, reason: impl ToString) -> Self {
        Self::Unavailable { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn signing(cause: impl ToString) -> Self {
        Self::Signing(cause.to_string())
    }

    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "sim.unavailable",
            Self::NotEmpty { .. } => "sim.not_empty",
            Self::History(_) => "sim.history",
            Self::RetiredEdition(_) => "sim.retired_edition",
            Self::NoEdition(_) => "sim.no_edition",
            Self::LowestMicrocode => "sim.lowest_microcode",
            Self::Description(_) => "sim.description",
            Self::NotAQuote(_) => "sim.not_a_quote",
            Self::Time(_) => "sim.time",
            Self::Mishap(_) => "sim.mishap",
            Self::NoFiles => "sim.no_files",
            Self::Stage(_) => "sim.stage",
            Self::Program { .. } => "sim.program",
            Self::NoCommand => "sim.no_command",
            Self::BadReport(_) => "sim.bad_report",
            Self::Write { .. } => "sim.write",
            Self::Signing(_) => "sim.signing",
            Self::Entropy(_) => "entropy.failure",
        }
    }

    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Unavailable { .. } | Self::Stage(_) => Class::Unavailable,
            Self::NotEmpty { .. }
            | Self::History(_)
            | Self::RetiredEdition(_)
            | Self::NoEdition(_)
            | Self::LowestMicrocode
            | Self::Description(_)
            | Self::Mishap(_)
            | Self::NoFiles
            | Self::NoCommand
            | Self::Time(_) => Class::Usage,
            Self::NotAQuote(_) => Class::Damaged,
            Self::BadReport(_) => Class::Refused,
            Self::Write { .. } | Self::Program { .. } | Self::Signing(_) | Self::Entropy(_) => Class::Other,
        }
    }
}

impl From<Error> for bulla_tee::Error {
    fn from(error: Error) -> Self {
        Self::Delegate(Box::new(Delegate {
            code: error.code(),
            class: error.class(),
            source: Box::new(error),
        }))
    }
}
