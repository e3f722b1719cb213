//! What is wrong with evidence in TLS.

use bulla_crypto::Class;

/// What is wrong with evidence in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaTlsFault {
    /// A certificate above 64 KiB.
    TooLarge,
    /// Not one certificate.
    Certificate,
    /// A certificate without evidence.
    NoEvidence,
    /// Evidence of one kind twice.
    Duplicate,
    /// Evidence in a format that is not read.
    Unsupported,
    /// The extension is not in its format.
    Parse,
    /// Made for other claims.
    OtherClaims,
    /// Made for another key.
    OtherKey,
    /// Made in answer to another nonce, or to none.
    OtherNonce,
    /// Made for another connection, or for its other side.
    OtherConnection,
}

impl RaTlsFault {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "ra_tls.too_large",
            Self::Certificate => "ra_tls.certificate",
            Self::NoEvidence => "ra_tls.no_evidence",
            Self::Duplicate => "ra_tls.duplicate",
            Self::Unsupported => "ra_tls.unsupported",
            Self::Parse => "ra_tls.parse",
            Self::OtherClaims => "binding.ra_tls_claims",
            Self::OtherKey => "binding.ra_tls_key",
            Self::OtherNonce => "binding.ra_tls_nonce",
            Self::OtherConnection => "binding.tls_exporter",
        }
    }

    pub(crate) const fn class(self) -> Class {
        match self {
            Self::TooLarge | Self::Certificate | Self::Duplicate | Self::Parse => Class::Damaged,
            Self::NoEvidence
            | Self::Unsupported
            | Self::OtherClaims
            | Self::OtherKey
            | Self::OtherNonce
            | Self::OtherConnection => Class::Refused,
        }
    }
}
