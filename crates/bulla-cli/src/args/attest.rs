//! `attest`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum Attest {
    /// Show what a quote claims and who is said to have signed what; nothing is verified
    Show(Show),
    /// Verify a quote: stateless, with the collateral and the time that are given
    Verify(Verify),
    /// Verify a quote, and say by which rules, whose signatures and what remedy
    Explain(Verify),
    /// Appraisal policies
    #[command(subcommand)]
    Policy(Policy),
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
    /// The quote, raw
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) quote: PathBuf,

    /// The collateral to judge it with
    #[arg(long, value_name = "JSON", value_hint = ValueHint::FilePath)]
    pub(crate) collateral: PathBuf,

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

fn boundary(text: &str) -> Result<(usize, String), String> {
    let parsed = text.split_once(':').and_then(|(register, event)| Some((register.parse().ok()?, event)));
    match parsed {
        Some((register @ 0..=3, event)) if !event.is_empty() => Ok((register, event.to_owned())),
        _ => Err("a register (0 to 3), a colon and the name of an event".to_owned()),
    }
}
