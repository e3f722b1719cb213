//! `floor`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueEnum, ValueHint};

use super::Guest;

#[derive(Debug, Subcommand)]
pub(crate) enum Floor {
    /// Show a floor
    Show(FloorShow),
    /// Raise a floor, or make one; it is sealed to this program on this machine
    #[command(after_help = "\
A floor that was lowered shows; one that was replaced by an older one does not, since whoever has the file has its older \
copies too.")]
    Raise(FloorRaise),
}

#[derive(Debug, Group)]
pub(crate) struct FloorShow {
    /// The floor
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) guest: Guest,
}

#[derive(Debug, Group)]
pub(crate) struct FloorRaise {
    /// The floor; made if it never was there
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// The lowest ISVSVN of the program that sealed
    #[arg(long, value_name = "N")]
    pub(crate) isvsvn: Option<u16>,

    /// The lowest epoch
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u64>,

    /// Accept no CPUSVN but the present one. After an update of the microcode it has to be admitted first
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) cpusvn: Option<Cpusvn>,

    /// Accept the present CPUSVN too, after an update of the microcode, if it is not below those that are accepted
    #[arg(long)]
    pub(crate) admit_present: bool,

    #[command(flatten)]
    pub(crate) guest: Guest,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Cpusvn {
    /// The one that the machine has now
    Current,
}
