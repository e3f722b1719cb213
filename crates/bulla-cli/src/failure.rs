//! A failure as the command reports it, and its exit code.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use bulla_crypto::Class;

/// What went wrong, from whichever crate.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) code: &'static str,
    message: String,
}

impl Failure {
    /// The user asked for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { class: Class::Usage, code: "usage", message: message.into() }
    }

    /// A file could not be read or written.
    pub(crate) fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot {doing} {}: {error}", path.display());
        Self { class: Class::Other, code: "file", message }
    }

    /// A provider does not answer, or says that it cannot.
    pub(crate) fn peer(message: impl Into<String>) -> Self {
        Self { class: Class::Peer, code: "provider", message: message.into() }
    }

    /// A provider refuses what it was told to do.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { class: Class::Refused, code: "provider.refused", message: message.into() }
    }

    /// Something of the local system failed.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self { class: Class::Other, code: "other", message: message.into() }
    }

    /// A plan found something that will not open.
    pub(crate) fn plan(class: Class) -> Self {
        let message = "not everything will open after this change: see what to do above".into();
        Self { class, code: "plan.will_not_open", message }
    }

    /// An audit log is not what was written.
    pub(crate) fn audit(message: &str) -> Self {
        Self { class: Class::Damaged, code: "audit.changed", message: message.into() }
    }

    /// The same failure in other words.
    pub(crate) fn explained(&self, message: String) -> Self {
        Self { class: self.class, code: self.code, message }
    }

    /// The same, about one of several files.
    pub(crate) fn about(self, path: &Path) -> Self {
        Self { message: format!("{}: {}", path.display(), self.message), ..self }
    }

    /// The exit code of the failure's class.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.class {
            Class::Other => 1,
            Class::Usage => 2,
            Class::Refused => 10,
            Class::Damaged => 11,
            Class::TooOld => 12,
            Class::Unavailable => 13,
            Class::Peer => 14,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::other(format!("cannot write the output: {error}"))
    }
}

macro_rules! from_error {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self { class: error.class(), code: error.code(), message: error.to_string() }
            }
        }
    )*};
}

from_error!(bulla_protocol::SignedError, bulla_protocol::ManifestError, bulla_provider::PolicyError);
from_error!(bulla::Error, bulla_attest::Error, bulla_client::Error, bulla_provider::Error, bulla_tee::Error);
#[cfg(feature = "sim")]
from_error!(bulla_sim::Error);
#[cfg(feature = "tpm")]
from_error!(bulla_tpm::Error);
