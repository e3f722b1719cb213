//! `provider`, and `request`, which asks one.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

use super::OptionalPin;

#[derive(Debug, Group)]
pub(crate) struct Request {
    /// The provider, for example http://127.0.0.1:8443
    #[arg(long, value_name = "URL")]
    pub(crate) provider: String,

    #[command(flatten)]
    pub(crate) pin: OptionalPin,

    /// Names the key
    #[arg(long)]
    pub(crate) path: String,

    /// What the key is for: lower-case letters, digits and hyphens
    #[arg(long)]
    pub(crate) purpose: String,

    /// Bytes of the key, 16 to 64
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub(crate) length: u16,

    /// Write the key, raw, to this file (mode 0600) instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// Serve until interrupted
    Serve(Serve),
    /// Look at a settings file
    #[command(subcommand)]
    Config(Config),
}

#[derive(Debug, Group)]
pub(crate) struct Serve {
    /// The settings file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
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
