//! `provider`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

use super::{Drill, Handover, Init, Recover};

#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// Make the roots of a new provider, once
    Init(Init),
    /// Serve until interrupted
    Serve(Serve),
    /// Hand the roots over to the next build on this machine, which proves itself first
    #[command(subcommand)]
    Handover(Handover),
    /// Recover the roots of a lost machine from a backup, together with the holders of its shares
    #[command(subcommand)]
    Recover(Recover),
    /// Show that a backup opens, without recovering anything
    #[command(subcommand)]
    Drill(Drill),
    /// Look at a settings file
    #[command(subcommand)]
    Config(Config),
    /// Say how a running provider is; exit code 14 if it gives no keys
    Status(ProviderStatus),
    /// Have it read its policy, and its bundle of collateral, anew
    Reload(Running),
    /// Have it finish what it has begun and take no more requests
    Drain(Running),
    /// Have it take requests again
    Resume(Running),
    /// Make the root of the next epoch, from which new keys are derived; older keys stay
    Rotate(Rotation),
    /// Give no more keys of an epoch: who still needs them loses what they seal
    Retire(OfEpoch),
    /// Never again accept an epoch below this one
    Floor(OfEpoch),
    /// Have it obey a command that the authority has signed
    Submit(Submit),
}

#[derive(Debug, Group)]
pub(crate) struct Serve {
    /// The settings file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

/// Which provider.
#[derive(Debug, Group)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// Its settings file, which says where its admin socket is
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Its admin socket
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub(crate) admin: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct Running {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct ProviderStatus {
    #[command(flatten)]
    pub(crate) running: Running,

    /// Write its metrics instead, as Prometheus reads them
    #[arg(long, conflicts_with = "json")]
    pub(crate) metrics: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Rotation {
    /// The epoch, one above the current one: asking again for one that is there changes nothing
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: u32,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Group)]
pub(crate) struct OfEpoch {
    /// The epoch
    #[arg(long)]
    pub(crate) epoch: u32,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// How a command reaches the provider.
#[derive(Debug, Group)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) running: Running,

    /// Write the command here for the authority to sign, instead of giving it; it is good for this process of the provider, and
    /// once
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) prepare: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct Submit {
    /// The signed command
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) signed: PathBuf,

    #[command(flatten)]
    pub(crate) running: Running,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Say what a start would refuse, without starting
    Check(SettingsFile),
    /// Say of each setting what is in effect, what it means, and the most that a hostile value does
    Explain(SettingsFile),
}

#[derive(Debug, Group)]
pub(crate) struct SettingsFile {
    /// The settings file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) settings: PathBuf,

    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}
