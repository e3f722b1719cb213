//! `manifest`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as Group, Subcommand, ValueHint};
use toml::value::Datetime;

use super::Signing;

#[derive(Debug, Subcommand)]
pub(crate) enum Manifest {
    /// Write a manifest for a guest's image, to be signed
    New(ManifestNew),
    /// Sign a manifest as the owner, or add a signature
    Sign(Signing),
    /// Show what a manifest grants to which image
    Show(ManifestShow),
    /// Say what changed between two guests, register by register, what probably caused it and which keys change with it
    Compare(Compare),
}

#[derive(Debug, Group)]
#[command(group = ArgGroup::new("image").required(true).args(["evidence", "registers"]))]
pub(crate) struct ManifestNew {
    /// The owner's descriptor, as `bulla authority new` writes it
    #[arg(long, value_name = "DESCRIPTOR", value_hint = ValueHint::FilePath)]
    pub(crate) owner: PathBuf,

    /// The owner's product
    #[arg(long)]
    pub(crate) product: String,

    /// The highest security version whose keys the image gets
    #[arg(long, value_name = "N")]
    pub(crate) svn: u32,

    /// A quote of a guest that runs the image. It is not verified: do that first, with `bulla attest verify`
    #[arg(long, value_name = "QUOTE", value_hint = ValueHint::FilePath)]
    pub(crate) evidence: Option<PathBuf>,

    /// The image's registers as its build knows them: a TOML file with all nine
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) registers: Option<PathBuf>,

    /// A register that may have any value, for example rtmr3
    #[arg(long, value_name = "REGISTER", value_delimiter = ',')]
    pub(crate) except: Vec<String>,

    /// When the owner means to stop using it; nothing ends by itself
    #[arg(long, value_name = "DATE")]
    pub(crate) not_after: Option<Datetime>,

    /// Write the manifest to this file instead of standard output
    #[arg(short, long, value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct ManifestShow {
    /// The manifest, signed or not yet
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) manifest: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Compare {
    /// A quote, a manifest or a file of registers of the guest as it was
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) before: PathBuf,

    /// The same of the guest as it is
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) after: PathBuf,

    /// The event logs of both, to say which event differs first: the CCEL, or the JSON of a guest agent
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], value_hint = ValueHint::FilePath)]
    pub(crate) logs: Vec<PathBuf>,

    /// The provider's policy, to say which of its register policies are concerned
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
