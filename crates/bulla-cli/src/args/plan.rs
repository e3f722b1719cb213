//! `bulla plan`.

use std::path::PathBuf;

use clap::{Args as Group, ValueHint};

use super::Guest;

/// Say which envelopes will open after a change, before it is made
#[derive(Debug, Group)]
pub(crate) struct Plan {
    /// The change: `microcode-up`, `microcode-down`, `firmware-update`, `host=NAME` (another machine), `rebuild=FILE` (another
    /// build of the program: its SIGSTRUCT, `.sig`; on a simulated machine also the executable, or the TOML file of a guest),
    /// `signer=HEX` (another MRSIGNER), or `policy=TERMS` (a floor, as in `policy=isvsvn=3,epoch=5`)
    #[arg(long, value_name = "CHANGE")]
    pub(crate) after: String,

    #[command(flatten)]
    pub(crate) guest: Guest,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The envelopes; they are only read
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}
