//! `recipient`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueEnum, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum Recipient {
    /// Make a key: a private one in a file to keep offline, and the public one on standard output
    New(RecipientNew),
    /// Print the public key of a private one
    Show(RecipientShow),
    /// Take a holder's share out of an envelope, for whoever recovers it
    Share(RecipientShare),
}

#[derive(Debug, Group)]
pub(crate) struct RecipientNew {
    /// How secrets are encrypted to it
    #[arg(long, value_enum, default_value = "hybrid")]
    pub(crate) kind: Kind,

    /// Write the private key to this file (mode 0600), which must not exist
    #[arg(short, long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// ML-KEM-768 and X25519 together (X-Wing), for secrets that have to last
    Hybrid,
    /// X25519 alone: a shorter public key
    X25519,
}

#[derive(Debug, Group)]
pub(crate) struct RecipientShow {
    /// The private key, or `-` for standard input
    #[arg(value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct RecipientShare {
    /// The envelope, or `-` for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) envelope: PathBuf,

    /// What the data is for, as its owner told the holder; another envelope is refused
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The holder's private key
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,

    /// Seal the share to this recipient, who recovers, given as text or as a file with it
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) to: Option<String>,

    /// Write the share to this file (mode 0600) instead of standard output
    #[arg(short, long, value_name = "SHARE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}
