//! `sim` and `demo`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use bulla_sim::Mishap;
use clap::{Args as Group, Subcommand, ValueEnum, ValueHint};

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
    /// Install a TDX module of the vendor
    TdxModule {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Its major and minor version; a new machine has 1.5
        #[arg(value_name = "MAJOR.MINOR")]
        version: Version,
    },
    /// Let its vendor announce a TCB recovery: what was up to date is too old from then on
    Recovery {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// When, in Unix seconds; now if not given
        #[arg(long, value_name = "UNIX")]
        at: Option<u64>,
        /// When everybody gets it who does not ask for early news; at the same time if not given
        #[arg(long, value_name = "UNIX")]
        standard_at: Option<u64>,
        /// The lowest microcode that is up to date from then on: component 0 of CPUSVN, 5 in a new machine
        #[arg(long, value_name = "VERSION")]
        microcode: u8,
        /// The lowest minor version of the TDX module that is up to date from then on, 5 in a new machine
        #[arg(long, value_name = "MINOR")]
        tdx_module: u8,
        /// The advisory about what is below
        #[arg(long, value_name = "ID")]
        advisory: String,
    },
    /// Let its vendor revoke the certificate that it has now
    Revoke {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// When, in Unix seconds; now if not given
        #[arg(long, value_name = "UNIX")]
        at: Option<u64>,
    },
    /// Give it new sealing keys, PPID and instance id, as a firmware update can do
    PlatformReset {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Make the quote of a TDX guest of it, or the report of a SEV-SNP guest
    Quote {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The TDX guest: `default`, or a TOML file that describes it
        #[arg(long, value_name = "FILE|default", required_unless_present = "snp")]
        td: Option<String>,
        /// The SEV-SNP guest: `default`, or a TOML file that describes it
        #[arg(long, value_name = "FILE|default", conflicts_with = "td")]
        snp: Option<String>,
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
    /// Serve its collateral on this machine, with the interfaces of Intel's provisioning service (PCS), of its caches (PCCS) and of
    /// AMD's key distribution service (KDS)
    Pcs {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// Where to listen: a loopback address; the system chooses a port in place of 0
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
        /// The time to answer for, in Unix seconds; the clock's if not given
        #[arg(long, value_name = "UNIX", conflicts_with = "clock")]
        at: Option<u64>,
        /// A file with the time to answer for, in Unix seconds, which is read for each request
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        clock: Option<PathBuf>,
    },
    /// Serve the devices and pseudo-files of an enclave or guest of it in a folder, until SIGINT or SIGTERM
    Mount(SimMount),
    /// Run a program as an enclave or guest of it: the program's devices, pseudo-files and ENCLU are the machine's
    Run(SimRun),
    /// Write the root certificate (DER) that its evidence verifies under
    Root {
        /// The machine
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// That of SEV-SNP reports, and not that of quotes
        #[arg(long)]
        snp: bool,
        /// Where to write the certificate
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
    },
}

#[derive(Debug, Group)]
#[command(after_help = mishaps())]
pub(crate) struct SimMount {
    /// The machine
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    /// An empty folder, in which `dev` appears, and `sys` for a guest; root shows it to everybody, others to themselves
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) mountpoint: PathBuf,

    /// The program that the enclave is: its SHA-256 is the measurement; this one if not given
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) program: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) guise: GuiseOptions,
}

#[derive(Debug, Group)]
#[command(after_help = mishaps())]
pub(crate) struct SimRun {
    /// The machine
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,

    #[command(flatten)]
    pub(crate) guise: GuiseOptions,

    /// The program and its arguments; its SHA-256 is the measurement of the enclave
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// As what.
#[derive(Debug, Group)]
pub(crate) struct GuiseOptions {
    /// As what it runs
    #[arg(long = "as", value_name = "KIND", default_value = "gramine")]
    pub(crate) kind: GuiseKind,

    /// The guest: `default`, or a TOML file that describes it
    #[arg(long, value_name = "FILE|default", default_value = "default")]
    pub(crate) guest: String,

    /// What goes wrong once, the next time that it can; may be given several times, for one after another
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) fault: Vec<Mishap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuiseKind {
    /// An SGX enclave with its instructions alone
    Sgx,
    /// An SGX enclave in Gramine
    Gramine,
    /// An SGX enclave in Occlum
    Occlum,
    /// A TDX guest
    Tdx,
    /// A TDX guest whose module gives sealing keys
    TdxNative,
    /// A SEV-SNP guest
    Snp,
}

/// What can go wrong, for the end of the help.
fn mishaps() -> String {
    let lines = Mishap::all().map(|(usage, does)| format!("  {usage:<24} {does}"));
    format!("What --fault makes go wrong:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// A version of a TDX module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    pub(crate) major: u8,
    pub(crate) minor: u8,
}

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('.').map(|(major, minor)| (major.parse(), minor.parse()));
        match numbers {
            Some((Ok(major), Ok(minor))) => Ok(Self { major, minor }),
            _ => Err("a version is two numbers below 256 with a dot between them"),
        }
    }
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
