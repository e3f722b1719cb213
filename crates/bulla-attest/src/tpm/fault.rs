//! What is wrong with a TPM's quote.

use bulla_crypto::Class;

/// What is wrong with a TPM's quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TpmFault {
    /// Not in its format.
    Parse,
    /// Not signed by its attestation key.
    Signature,
    /// The registers' values are not those that were signed.
    Registers,
    /// By a key that is not pinned.
    AttestationKey,
    /// In no accepted state.
    State,
    /// The policy would accept any state.
    Policy,
    /// Nobody who is trusted vouches for its endorsement key.
    Endorsement,
}

impl TpmFault {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Parse => "tpm_quote.parse",
            Self::Signature => "tpm_quote.signature",
            Self::Registers => "tpm_quote.registers",
            Self::AttestationKey => "tpm_quote.attestation_key",
            Self::State => "tpm_quote.state",
            Self::Policy => "tpm_quote.policy",
            Self::Endorsement => "tpm_endorsement.certificate",
        }
    }

    pub(crate) const fn class(self) -> Class {
        match self {
            Self::Parse | Self::Signature | Self::Registers => Class::Damaged,
            Self::AttestationKey | Self::State | Self::Endorsement => Class::Refused,
            Self::Policy => Class::Usage,
        }
    }
}
