//! The command line.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueHint};

/// Seals secrets and files to a confidential-computing identity and opens them again.
#[derive(Debug, Parser)]
#[command(name = "bulla", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[cfg_attr(
        not(feature = "sim"),
        doc = "The machine to work on: `sgx` (the enclave that this process runs in)"
    )]
    #[cfg_attr(
        feature = "sim",
        doc = "The machine to work on: `sgx` (the enclave that this process runs in), `sim:DIR` (an enclave of a simulated \
               machine) or `sim-td:DIR[,TDFILE]` (a TDX guest of it)"
    )]
    #[cfg_attr(feature = "sim", arg(env = "BULLA_MACHINE"))]
    #[arg(long, global = true, value_name = "KIND[:PARAM]")]
    pub(crate) machine: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   2  usage
  10  refused by identity or policy
  11  damaged or tampered
  12  too old (TCB or rollback)
  13  machine not available
  14  peer or network
   1  anything else";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Seal a file or standard input, so that only this program on this machine can open it
    Seal(Seal),
    /// Open what was sealed
    Unseal(Seal),
    /// Show to whom and to what an envelope claims to be bound; needs no key
    Inspect(Inspect),
    /// Ask a key provider for a key, as a TDX guest
    Request(Request),
    /// Judge evidence
    #[command(subcommand)]
    Attest(Attest),
    /// Serve keys to TDX guests on this machine
    #[command(subcommand)]
    Provider(Provider),
    /// Make and change simulated machines, for tests and trials
    #[cfg(feature = "sim")]
    #[command(subcommand)]
    Sim(Sim),
    /// Walk the whole way once on a simulated machine
    #[cfg(feature = "sim")]
    Demo(Demo),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// Where to; it must exist
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

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

    /// The key provider of this TDX guest, which has no sealing key of its own
    #[arg(long, value_name = "URL", requires = "provider_id")]
    pub(crate) provider: Option<String>,

    #[command(flatten)]
    pub(crate) pin: OptionalPin,
}

#[derive(Debug, Group)]
pub(crate) struct OptionalPin {
    /// The provider's measurement (MRENCLAVE), 64 hexadecimal digits, as `bulla provider serve` prints it
    #[arg(long, value_name = "HEX")]
    pub(crate) provider_id: Option<String>,

    /// The hash of the provider authority's key, 64 hexadecimal digits; on a simulated machine the development authority
    /// is expected if it is not given
    #[arg(long, value_name = "HEX")]
    pub(crate) authority: Option<String>,
}

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

#[derive(Debug, Group)]
pub(crate) struct Inspect {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The envelope, or `-` for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Attest {
    /// Verify a quote: stateless, with the collateral and the time that are given
    Verify(Verify),
}

#[derive(Debug, Group)]
pub(crate) struct Verify {
    /// The quote, raw
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) quote: PathBuf,

    /// The collateral to judge it with
    #[arg(long, value_name = "JSON", value_hint = ValueHint::FilePath)]
    pub(crate) collateral: PathBuf,

    /// The time to judge it at, in seconds since 1970; now if not given
    #[arg(long, value_name = "UNIX")]
    pub(crate) at: Option<u64>,

    /// The root certificate to trust (DER) instead of Intel's; simulated evidence is judged, and labelled, under such a
    /// root only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) root: Option<PathBuf>,

    /// The TCB statuses to accept, with their advisories; up-to-date without advisories if not given
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub(crate) tcb: Vec<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Provider {
    /// Serve until interrupted
    Serve(Serve),
}

#[derive(Debug, Group)]
pub(crate) struct Serve {
    /// The settings file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

#[cfg(feature = "sim")]
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

#[cfg(feature = "sim")]
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Step {
    /// To the next version
    Up,
    /// To the version before
    Down,
}

#[cfg(feature = "sim")]
#[derive(Debug, Group)]
pub(crate) struct Demo {
    /// A file of your own, to be sealed and opened too; it is only read
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}
