//! `audit`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that nobody changed the audit log of a provider
    #[command(after_help = "\
Edits, deletions, insertions and reordering are found and located. A log that was cut off at its end is as good as a shorter \
one: only --head shows that, with a head that an answer carried or an earlier check printed. Whose signatures they are shows \
with --provider-id and --authority; that the kept quote is genuine, bulla attest verify judges.")]
    Verify(AuditVerify),
    /// Show who got keys, who was refused, why, and what to do
    Show(AuditShow),
}

#[derive(Debug, Group)]
pub(crate) struct AuditVerify {
    /// The files, oldest first, or the provider's state_dir
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,

    /// A head that was witnessed elsewhere: the log must hold its line
    #[arg(long, value_name = "HEX")]
    pub(crate) head: Option<String>,

    /// Every key that signed must be that of a provider with this measurement
    #[arg(long, value_name = "HEX")]
    pub(crate) provider_id: Option<String>,

    /// And under this authority
    #[arg(long, value_name = "HEX", requires = "provider_id")]
    pub(crate) authority: Option<String>,

    /// The folder of the statements that were kept, where it is not beside the first file
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) statements: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct AuditShow {
    /// The files, oldest first, or the provider's state_dir
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,

    /// Refusals only
    #[arg(long)]
    pub(crate) refused: bool,

    /// Releases only
    #[arg(long, conflicts_with = "refused")]
    pub(crate) released: bool,

    /// What concerns this path
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,

    /// From this time on: a date, 2026-01-31T12:00:00Z, or 90s, 30m, 12h, 7d ago
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// Refusals for this cause, or causes that begin with it
    #[arg(long, value_name = "CAUSE")]
    pub(crate) cause: Option<String>,

    /// Print the lines as they are
    #[arg(long)]
    pub(crate) json: bool,
}
