//! `sim` and `demo`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum Sim {
    /// Make a simulated machine
    New {
        /// Where to keep it; made if it is not there, and must be empty
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Update its microcode, or go back
    Microcode {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Which way
        step: Step,
    },
    /// Give it new sealing keys, PPID and instance id, as a firmware update can do
    PlatformReset {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Make the quote of a TDX guest of it
    Quote {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The guest: `default`, or a TOML file that describes it
        #[arg(long, value_name = "FILE|default")]
        td: String,
        /// 64 bytes in hexadecimal; zeros if not given
        #[arg(long, value_name = "HEX")]
        report_data: Option<String>,
        /// Make it a debug guest
        #[arg(long)]
        debug: bool,
        /// Where to write the quote
        #[arg(short, long, value_name = "QUOTE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
    /// Write the collateral that judges a quote of it now
    Collateral {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The quote
        #[arg(value_hint = ValueHint::FilePath)]
        quote: PathBuf,
        /// Where to write the collateral
        #[arg(short, long, value_name = "JSON", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
    /// Write the root certificate (DER) that its evidence verifies under
    Root {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Where to write the certificate
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Step {
    /// To the next version
    Up,
    /// To the version before
    Down,
}

#[derive(Debug, Group)]
pub(crate) struct Demo {
    /// A file of your own, to be sealed and opened too; it is only read
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}
