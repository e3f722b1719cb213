//! `provider init`, `handover`, `recover` and `drill`: what becomes of a provider's roots.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

#[derive(Debug, Group)]
pub(crate) struct Init {
    /// The settings file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,

    /// Begin a new memory for the roots that are there, where memory.sealed is lost for good: the policy's floors are all that is
    /// known from then on
    #[arg(long)]
    pub(crate) lost_memory: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Handover {
    /// As the next build, without roots yet: ask for them
    Request(Ask),
    /// As the present build, which may go on serving: give the roots to whom the signed policy lets have them
    Grant(Grant),
    /// As the next build: take what was granted, into a state directory of its own
    Adopt(Adopt),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recover {
    /// As a provider without roots, on a machine that the policy names: ask the holders for their shares of a backup
    Request(AskForBackup),
    /// As a holder: judge the request, and give this share of the backup to whoever made it
    Share(Share),
    /// As the provider that asked: put the shares together, into a state directory of its own
    Adopt(Recovered),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Drill {
    /// As `recover request`, for a drill
    Request(AskForBackup),
    /// As `recover share`: good for this drill, and for no recovery
    Share(Share),
    /// Show that the shares open the backup; nothing of it is kept or printed but the names of its roots
    Run(Recovered),
}

#[derive(Debug, Group)]
pub(crate) struct Ask {
    /// The settings file of the provider without roots
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,

    /// Write the request to this file; nothing in it is secret
    #[arg(short, long, value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// Keep the private key for later in this file, sealed to this enclave
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct AskForBackup {
    #[command(flatten)]
    pub(crate) ask: Ask,

    /// The backup
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct Grant {
    /// The settings file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,

    /// The request
    #[arg(long, value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) request: PathBuf,

    /// Write the grant to this file; it opens for the successor alone
    #[arg(short, long, value_name = "GRANT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct Asked {
    /// The settings file of the provider that asked
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,

    /// Its request
    #[arg(long, value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) request: PathBuf,

    /// What it kept
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) secret: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Adopt {
    #[command(flatten)]
    pub(crate) asked: Asked,

    /// What was granted
    #[arg(long, value_name = "GRANT", value_hint = ValueHint::FilePath)]
    pub(crate) grant: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct Recovered {
    #[command(flatten)]
    pub(crate) asked: Asked,

    /// The backup
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup: PathBuf,

    /// A share; once for each
    #[arg(long, required = true, value_name = "SHARE", value_hint = ValueHint::FilePath)]
    pub(crate) share: Vec<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct Share {
    /// A settings file, for its policy and its collateral; the machine that it names is that of whoever asks
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,

    /// The id of the provider authority, as the holder knows it: 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) authority: String,

    /// The request
    #[arg(long, value_name = "REQUEST", value_hint = ValueHint::FilePath)]
    pub(crate) request: PathBuf,

    /// The backup
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup: PathBuf,

    /// The holder's private key
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,

    /// Write the share to this file; it opens for whoever asked alone
    #[arg(short, long, value_name = "SHARE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}
