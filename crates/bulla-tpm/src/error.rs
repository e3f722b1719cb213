//! Why a TPM did not do what was asked.

use bulla_crypto::Class;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind};

/// What libtss2 says of an answer whose authentication is wrong (TCG TSS 2.0 Overview: layer ESYS, TSS2_BASE_RC_RSP_AUTH_FAILED).
const RESPONSE_NOT_AUTHENTIC: u32 = 0x7_001B;

/// Why a TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is wrong is not special to TPMs.
    #[error(transparent)]
    Machine(#[from] bulla_tee::Error),

    /// The address of the TPM is none.
    #[error("`{0}` is no address of a TPM: it is device:PATH or swtpm:host=ADDRESS,port=N, for example")]
    Address(String),

    /// The TPM refused or failed.
    #[error("the TPM did not {step}: {source}")]
    Command {
        /// What it was asked for.
        step: &'static str,
        /// What it or the TPM software stack said.
        source: tss_esapi::Error,
    },

    /// What came back was not made by the TPM, or not for this question (R66).
    #[error(
        "the answer to `{0}` is not the TPM's: somebody between this program and the TPM changed or replayed it"
    )]
    Unauthenticated(&'static str),

    /// Another TPM than the pinned one answers.
    #[error("this is another TPM: its endorsement key is {found}, and the pinned one is {pinned}")]
    OtherTpm {
        /// The digest of the pinned key's Name.
        pinned: String,
        /// That of the key found.
        found: String,
    },

    /// The counter is not what was enrolled.
    #[error("the counter at 0x{index:08x} {what}")]
    NotTheCounter {
        /// Its address.
        index: u32,
        /// What is wrong.
        what: &'static str,
    },

    /// An enrolment or an approval is not as it was written.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which.
        what: &'static str,
        /// In which way.
        why: &'static str,
    },
}

impl Error {
    /// For [`Result::map_err`]: what the TPM was asked for.
    pub(crate) fn step(step: &'static str) -> impl FnOnce(tss_esapi::Error) -> Self {
        move |source| {
            if source == tss_esapi::Error::Tss2Error(Tss2ResponseCode::from(RESPONSE_NOT_AUTHENTIC)) {
                return Self::Unauthenticated(step);
            }
            Self::Command { step, source }
        }
    }

    /// Whether the TPM said this.
    pub(crate) fn is(&self, kind: Tss2ResponseCodeKind) -> bool {
        match self {
            Self::Command { source: tss_esapi::Error::Tss2Error(code), .. } => code.kind() == Some(kind),
            _ => false,
        }
    }

    /// A stable name for this kind of failure.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Machine(error) => error.code(),
            Self::Address(_) => "tpm.address",
            Self::Command { .. } => "tpm.command",
            Self::Unauthenticated(_) => "tpm.unauthenticated",
            Self::OtherTpm { .. } => "tpm.other",
            Self::NotTheCounter { .. } => "tpm.counter",
            Self::Damaged { .. } => "tpm.damaged",
        }
    }

    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Machine(error) => error.class(),
            Self::Address(_) => Class::Usage,
            Self::Command { .. } => Class::Unavailable,
            Self::Unauthenticated(_) | Self::OtherTpm { .. } | Self::NotTheCounter { .. } => Class::Refused,
            Self::Damaged { .. } => Class::Damaged,
        }
    }
}

impl From<Error> for bulla_tee::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Machine(error) => error,
            error => {
                let (code, class) = (error.code(), error.class());
                Self::Delegate(Box::new(bulla_tee::Delegate { code, class, source: Box::new(error) }))
            }
        }
    }
}
