//! `attest`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

mod tpm;

pub(crate) use tpm::{AttestTpm, Expected, TpmAccept, TpmAsk};

#[derive(Debug, Subcommand)]
pub(crate) enum Attest {
    /// Show what a quote claims and who is said to have signed what; nothing is verified
    Show(Show),
    /// Verify evidence: with `--collateral` and `--at` nothing else has a say
    Verify(Verify),
    /// Verify a quote, and say by which rules, whose signatures and what remedy
    Explain(Verify),
    /// Show whose the attestation key of a TPM is, once, so that its quotes can be judged
    #[command(subcommand)]
    Tpm(AttestTpm),
    /// Appraisal policies
    #[command(subcommand)]
    Policy(Policy),
    /// Keep collateral in a folder: verified, never exchanged for older
    #[command(subcommand)]
    Collateral(Box<Collateral>),
}

#[derive(Debug, Group)]
pub(crate) struct Show {
    /// The quote, raw
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) quote: PathBuf,

    /// The collateral that belongs to it, to show that too
    #[arg(long, value_name = "JSON", value_hint = ValueHint::FilePath)]
    pub(crate) collateral: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Verify {
    /// The evidence, raw: a quote or a SEV-SNP report, judged with collateral, or a TPM's quote, judged by what is expected of it
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) quote: PathBuf,

    /// The collateral to judge it with
    #[arg(long, value_name = "JSON", required_unless_present_any = ["store", "attestation_key"], conflicts_with = "store", value_hint = ValueHint::FilePath)]
    pub(crate) collateral: Option<PathBuf>,

    /// A folder of `collateral fetch`, whose collateral and floor to judge it with; nothing is fetched
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,

    /// The time to judge it at, in seconds since 1970; now if not given
    #[arg(long, value_name = "UNIX")]
    pub(crate) at: Option<u64>,

    /// The root certificate to trust (DER) instead of Intel's; simulated evidence is judged, and labelled, under such a
    /// root only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) root: Option<PathBuf>,

    /// The appraisal policy; the strict one if not given
    #[arg(long, value_name = "TOML", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,

    /// The guest's event log, which must replay to its registers: JSON as guest agents publish it
    #[arg(long, value_name = "JSON", requires = "boundary", value_hint = ValueHint::FilePath)]
    pub(crate) event_log: Option<PathBuf>,

    /// Judge the run-time registers as they were right after this event, for example `3:system-ready`
    #[arg(long, value_name = "RTMR:EVENT", requires = "event_log", value_parser = boundary)]
    pub(crate) boundary: Option<(usize, String)>,

    /// The TCB statuses that the strict policy accepts too, with all their advisories and without end
    #[arg(long, value_name = "STATUS", value_delimiter = ',', conflicts_with = "policy")]
    pub(crate) tcb: Vec<String>,

    #[command(flatten)]
    pub(crate) tpm: Expected,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Say whether a policy can be read, and what its author may not have meant
    Check(PolicyFile),
    /// Say in plain sentences what a policy accepts, and what each loosening risks
    Explain(PolicyFile),
}

#[derive(Debug, Group)]
pub(crate) struct PolicyFile {
    /// The policy
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) policy: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Collateral {
    /// Fetch what judging evidence needs, or all that is due
    Fetch(Fetch),
    /// Take in a file of `export`, for where no service can be reached
    Import(Import),
    /// Write all that is good into one file
    Export(Export),
    /// Say what is there, until when it is good, and what went wrong last
    Status(Status),
}

#[derive(Debug, Group)]
pub(crate) struct Store {
    /// The folder; made if it is not there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,

    /// The root certificate to trust (DER) instead of Intel's and AMD's, for a simulated machine
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) root: Option<PathBuf>,

    /// The time, in seconds since 1970; now if not given
    #[arg(long, value_name = "UNIX")]
    pub(crate) at: Option<u64>,
}

#[derive(Debug, Group)]
pub(crate) struct Fetch {
    /// The evidence: quotes and SEV-SNP reports; what is there and due if not given
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) evidence: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) store: Store,

    /// A caching service (PCCS) to ask instead of Intel's own
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) pccs: Option<String>,

    /// A service with the interface of AMD's key distribution service to ask instead of that
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) kds: Option<String>,

    /// The authorities (PEM) that may vouch for the caching service instead of those of the web
    #[arg(long, value_name = "FILE", requires = "pccs", value_hint = ValueHint::FilePath)]
    pub(crate) authorities: Option<PathBuf>,

    /// TpmAsk for what machines will have to meet, before they have to
    #[arg(long, conflicts_with = "evaluation_number")]
    pub(crate) early: bool,

    /// TpmAsk for one TCB evaluation data number, as long as there is such collateral
    #[arg(long, value_name = "NUMBER")]
    pub(crate) evaluation_number: Option<u32>,
}

#[derive(Debug, Group)]
pub(crate) struct Import {
    /// The file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) bundle: PathBuf,

    #[command(flatten)]
    pub(crate) store: Store,
}

#[derive(Debug, Group)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) store: Store,

    /// The file to write
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) store: Store,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn boundary(text: &str) -> Result<(usize, String), String> {
    let parsed = text.split_once(':').and_then(|(register, event)| Some((register.parse().ok()?, event)));
    match parsed {
        Some((register @ 0..=3, event)) if !event.is_empty() => Ok((register, event.to_owned())),
        _ => Err("a register (0 to 3), a colon and the name of an event".to_owned()),
    }
}
