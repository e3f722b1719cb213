//! `bulla import`.

use std::path::PathBuf;

use clap::{Args as Group, ValueHint};

use super::NewOpeners;

/// Take over what Intel's SGX SDK or EGo sealed in this enclave
#[derive(Debug, Group)]
pub(crate) struct ImportBlob {
    /// What the data is for; opening under another context is refused
    #[arg(long, value_name = "NAME")]
    pub(crate) context: String,

    /// Write the envelope here, once it was read back and opened; another file than the input
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// What `sgx_seal_data` wrote (`sgx_sealed_data_t`), or one of EGo's `SealWith…Key…`; it is only read. `-` for standard input
    #[arg(value_name = "BLOB", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,

    /// The additional data that was sealed with it: EGo needs it, and with Intel's SDK it is compared
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) additional_data: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) new: NewOpeners,

    /// Which generation of this secret it is, from 1
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u64>,

    /// Refuse what was sealed below the floor in this file, as `bulla floor raise` wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) floor: Option<PathBuf>,
}
