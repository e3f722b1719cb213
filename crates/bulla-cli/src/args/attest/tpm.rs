//! What is expected of a TPM's quote, and whose its attestation key is.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

/// What is expected of a TPM's quote.
#[derive(Debug, Group)]
pub(crate) struct Expected {
    /// Of a TPM's quote: the name of an attestation key that is known, as `bulla attest tpm accept` prints it
    #[arg(long, value_name = "HEX", requires_all = ["state", "made_for"], help_heading = "Quotes of TPMs")]
    pub(crate) attestation_key: Vec<String>,

    /// Of a TPM's quote: values of registers that are accepted; of several, one has to be met
    #[arg(long, value_name = "N:HEX+N:HEX", requires = "attestation_key", help_heading = "Quotes of TPMs")]
    pub(crate) state: Vec<String>,

    /// Of a TPM's quote: the nonce that it was made for by `bulla tpm quote`
    #[arg(
        long,
        value_name = "HEX",
        group = "made_for",
        requires = "attestation_key",
        help_heading = "Quotes of TPMs"
    )]
    pub(crate) nonce: Option<String>,

    /// Of a TPM's quote: the report data that it was made for, 64 bytes
    #[arg(
        long,
        value_name = "HEX",
        group = "made_for",
        requires = "attestation_key",
        help_heading = "Quotes of TPMs"
    )]
    pub(crate) report_data: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttestTpm {
    /// Ask a TPM, whose endorsement key is known, whether an attestation key is its own
    Ask(TpmAsk),
    /// Check the TPM's answer, and print the name of its attestation key, to be pinned
    Accept(TpmAccept),
}

#[derive(Debug, Group)]
pub(crate) struct TpmAsk {
    /// The keys, as `bulla tpm keys` wrote them there
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) keys: PathBuf,

    /// The name of the endorsement key, as `bulla tpm show` said on the machine when it was taken into service
    #[arg(long, value_name = "HEX", required_unless_present = "ek_root", conflicts_with = "ek_root")]
    pub(crate) endorsement_key: Option<String>,

    /// Instead of its name, the roots and issuers of the TPM's vendor (PEM): one of the certificates in the TPM has to lead to one of
    /// them. None is shipped, and revocation is not asked about
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ek_root: Vec<PathBuf>,

    /// Write the question here; `bulla tpm answer` takes it there
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// Write here what the answer has to be (mode 0600), which must not exist; it stays here
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) keep: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct TpmAccept {
    /// The answer, as `bulla tpm answer` wrote it
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) answer: PathBuf,

    /// What `ask` kept
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kept: PathBuf,
}
