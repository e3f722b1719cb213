//! `successor`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as Group, Subcommand, ValueHint};

use super::{Guest, Openers};

#[derive(Debug, Subcommand)]
pub(crate) enum Successor {
    /// The next identity asks to be let in, and proves who it is
    Request(SuccessorRequest),
    /// Show whom a request is from, once its quote has verified
    ///
    /// Prints an enclave's identity, or the registers of a TDX guest as `bulla successor admit --guest` reads them. Compare them
    /// with what the build of the next image says: an upgrade that is made from the request itself lets in whoever asks.
    Show(SuccessorShow),
    /// The present identity lets it in, by a temporary slot
    Admit(Box<SuccessorAdmit>),
    /// The next identity makes a slot of its own and drops the temporary one
    Adopt(SuccessorAdopt),
}

#[derive(Debug, Group)]
pub(crate) struct SuccessorRequest {
    /// Write the request here, for the present identity
    #[arg(short, long, value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// Keep the private key here, sealed to the next identity; the file must not exist
    #[arg(long, value_name = "SECRETFILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret: PathBuf,

    #[command(flatten)]
    pub(crate) guest: Guest,
}

#[derive(Debug, Group)]
pub(crate) struct SuccessorShow {
    /// What the next identity wrote
    #[arg(value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) request: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) judging: Judging,
}

/// What the quote of a request is judged with.
#[derive(Debug, Group)]
pub(crate) struct Judging {
    /// The collateral to judge its quote with; a simulated machine's own if not given
    #[arg(long, value_name = "JSON", value_hint = ValueHint::FilePath)]
    pub(crate) collateral: Option<PathBuf>,

    /// The TCB statuses of its machine to accept, with their advisories; up-to-date without advisories if not given
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(crate) tcb: Vec<String>,
}

#[derive(Debug, Group)]
#[command(group = ArgGroup::new("whom").required(true).args(["measurement", "signer", "guest"]))]
pub(crate) struct SuccessorAdmit {
    /// The envelopes, changed in place
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// What the data is for; another envelope is refused
    #[arg(long, value_name = "NAME")]
    pub(crate) context: String,

    /// What the next identity wrote
    #[arg(long, value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) request: PathBuf,

    /// Let in exactly the enclave with this measurement (MRENCLAVE), 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) measurement: Option<String>,

    /// Let in an enclave of this signer (MRSIGNER), 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires_all = ["product", "min_svn"])]
    pub(crate) signer: Option<String>,

    /// Which product of the signer (ISVPRODID)
    #[arg(long, value_name = "N", requires = "signer")]
    pub(crate) product: Option<u16>,

    /// The lowest version of it (ISVSVN)
    #[arg(long, value_name = "N", requires = "signer")]
    pub(crate) min_svn: Option<u16>,

    /// Let in exactly the TDX guest with the registers in this file: `NAME = "HEX"`, 96 digits, for each of mrtd, rtmr0 to
    /// rtmr3, mrconfigid, mrowner, mrownerconfig and mrservicetd
    #[arg(long, value_name = "TDFILE", value_hint = ValueHint::FilePath)]
    pub(crate) guest: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) judging: Judging,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct SuccessorAdopt {
    /// The envelopes, changed in place
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// What the data is for; another envelope is refused
    #[arg(long, value_name = "NAME")]
    pub(crate) context: String,

    /// The private key that `bulla successor request` kept
    #[arg(long, value_name = "SECRETFILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret: PathBuf,

    /// What the new slot is bound to, as for `bulla seal`
    #[arg(long, value_name = "POLICY", default_value = "measurement")]
    pub(crate) policy: String,

    /// Say that this machine wrote it from now on, though it cannot check what it found
    #[arg(long)]
    pub(crate) vouch: bool,

    /// Refuse to seal below the floor in this file, as `bulla floor raise` wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) floor: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) guest: Guest,
}
