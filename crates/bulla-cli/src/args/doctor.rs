//! `doctor`.

use std::path::PathBuf;

use clap::{Args as Group, ValueHint};

#[derive(Debug, Group)]
pub(crate) struct Doctor {
    /// Look at this folder as if it were the root: a copy of another machine's /proc, /sys, /dev and /etc
    #[arg(long, value_name = "DIR", default_value = "/", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
