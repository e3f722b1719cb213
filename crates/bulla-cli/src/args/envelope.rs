//! `seal`, `unseal` and `inspect`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as Group, ValueHint};

use super::{Guest, NewOpeners, Openers};

#[derive(Debug, Group)]
pub(crate) struct Seal {
    /// What the data is for; opening under another context is refused
    #[arg(long, value_name = "NAME")]
    pub(crate) context: String,

    /// Write here instead of standard output; an existing file is replaced whole or not at all
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Read from here instead of standard input
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) new: NewOpeners,

    /// Seal to recipients only; no machine is needed, and any machine may seal
    #[arg(long, conflicts_with_all = ["policy", "provider", "floor", "verify"])]
    pub(crate) no_machine: bool,

    /// A name and a value to write beside it, readable to anyone
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,

    /// Have the machine prove that it wrote this also where nobody else opens it; where others do, it does so anyway
    #[arg(long, conflicts_with = "no_machine")]
    pub(crate) prove_origin: bool,

    /// Which generation of this secret it is, from 1
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u64>,

    /// Count this in an anchor, `tpm:ENROLMENT[,TCTI]`, so that whatever was sealed before is refused there; the epoch is the next
    /// one if none is given
    #[arg(long, value_name = "KIND:PARAM", requires = "output")]
    pub(crate) anchor: Option<String>,

    /// Refuse to seal below the floor in this file, as `bulla floor raise` wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) floor: Option<PathBuf>,

    /// How many threads encrypt; as many as there are processors if not given
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Read the new file back and open it before it takes its place
    #[arg(long, requires = "output")]
    pub(crate) verify: bool,

    #[command(flatten)]
    pub(crate) guest: Guest,
}

#[derive(Debug, Group)]
pub(crate) struct Unseal {
    /// What the data is for; opening under another context is refused
    #[arg(long, value_name = "NAME")]
    pub(crate) context: String,

    /// Write here instead of standard output; an existing file is replaced whole or not at all
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Read from here instead of standard input
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,

    /// Open only these bytes of the secret, out of a file
    #[arg(long, value_name = "OFFSET:LENGTH", requires = "input")]
    pub(crate) range: Option<Range>,

    /// How many threads decrypt; as many as there are processors if not given
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct Inspect {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The envelope, or `-` for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Some bytes of a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once(':').map(|(offset, length)| (offset.parse(), length.parse()));
        match numbers {
            Some((Ok(offset), Ok(length))) => Ok(Self { offset, length }),
            _ => Err("it is two numbers, OFFSET:LENGTH".into()),
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
