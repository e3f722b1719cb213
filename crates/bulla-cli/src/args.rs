//! The command line: one file for each group of commands, and what several of them share in `openers`.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};

mod attest;
mod audit;
mod authority;
mod change;
mod custody;
mod doctor;
mod envelope;
mod exec;
mod floor;
mod import;
mod key;
mod manifest;
mod openers;
mod plan;
mod provider;
mod recipient;
mod request;
#[cfg(feature = "sim")]
mod sim;
mod successor;
#[cfg(feature = "tpm")]
mod tpm;

pub(crate) use attest::{
    Attest, AttestTpm, Collateral, Expected, Export, Fetch, Import, Policy, PolicyFile, Show, Status, Store,
    TpmAccept, TpmAsk, Verify,
};
pub(crate) use audit::{Audit, AuditShow, AuditVerify};
pub(crate) use authority::{
    Authority, AuthorityNew, AuthorityPolicy, AuthorityPolicyCheck, AuthorityPolicyFile, AuthorityShow, Sign,
    SignAs, SignerKey, Signing,
};
pub(crate) use change::{Files, Rewrap, Rotate};
pub(crate) use custody::{
    Adopt, Ask, AskForBackup, Asked, Drill, Grant, Handover, Init, Recover, Recovered, Share,
};
pub(crate) use doctor::Doctor;
pub(crate) use envelope::{Inspect, Range, Seal, Unseal};
pub(crate) use exec::Exec;
pub(crate) use floor::{Floor, FloorRaise, FloorShow};
pub(crate) use import::ImportBlob;
pub(crate) use key::{Key, KeyEnsure, KeyNew, KeyRetire, KeyRotate, KeyShow, NamedRing, Prune};
pub(crate) use manifest::{Compare, Manifest, ManifestNew, ManifestShow};
pub(crate) use openers::{Demands, Guest, NewOpeners, Openers, OptionalPin};
pub(crate) use plan::Plan;
pub(crate) use provider::{
    Asking, Config, Place, Provider, ProviderStatus, Running, Serve, SettingsFile, Submit,
};
pub(crate) use recipient::{Kind, Recipient, RecipientNew, RecipientShare, RecipientShow};
pub(crate) use request::{Entitled, EvidenceChoice, KeyName, KeyTerms, Request, SuiteChoice};
#[cfg(feature = "sim")]
pub(crate) use sim::{Demo, GuiseKind, GuiseOptions, Sim, SimMount, SimRun, Step};
pub(crate) use successor::{
    Judging, Successor, SuccessorAdmit, SuccessorAdopt, SuccessorRequest, SuccessorShow,
};
#[cfg(feature = "tpm")]
pub(crate) use tpm::{
    TpmAnswer, TpmApprove, TpmApprover, TpmCommand, TpmCounter, TpmCounterStatus, TpmEnrol, TpmOutput,
    TpmQuoteFor, TpmShow,
};

/// Seals secrets and files to a confidential-computing identity and opens them again.
#[derive(Debug, Parser)]
#[command(name = "bulla", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[cfg_attr(
        not(feature = "sim"),
        doc = "The machine to work on: `auto` (whichever this process is in), `sgx` (an enclave in Gramine; `sgx:key-file` where it may not execute ENCLU), `occlum` (one in \
               Occlum), `tdx` (a guest; `tdx:native` for sealing keys of its TDX module, where it has any; `tdx:qgs=vsock:CID:PORT` to ask that service for quotes as well), `snp` (a SEV-SNP guest) or `tpm[:TCTI]` (the TPM at that address, such as device:/dev/tpmrm0, where the program was built with it)"
    )]
    #[cfg_attr(
        feature = "sim",
        doc = "The machine to work on: `auto` (whichever this process is in), `sgx` (an enclave in Gramine; `sgx:key-file` where it may not execute ENCLU), `occlum` (one in \
               Occlum), `tdx` (a guest; `tdx:native` for sealing keys of its TDX module, where it has any; `tdx:qgs=vsock:CID:PORT` to ask that service for quotes as well), `snp` (a SEV-SNP guest), `tpm[:TCTI]` (the TPM at that address, such as device:/dev/tpmrm0, where the program was built with it), \
               `sim:DIR` (an enclave of a simulated \
               machine; the one that this process was put on by `bulla sim run`, without `:DIR`), `sim-td:DIR[,TDFILE]` (a TDX guest of it; `sim-td-native:` with sealing keys of its TDX module) or `sim-snp:DIR[,SNPFILE]` (a SEV-SNP guest of it)"
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
    /// Seal a file or standard input: to this program on this machine, to recipients, or to both
    Seal(Box<Seal>),
    /// Open what was sealed
    Unseal(Box<Unseal>),
    /// Show to whom and to what an envelope claims to be bound; needs no key
    Inspect(Inspect),
    #[command(after_help = "\
The source is only read, never changed or removed: keep it until the programs that need the secret have opened the new envelope.")]
    Import(Box<ImportBlob>),
    /// Change who may open envelopes, in place; what they hold stays as it is
    Rewrap(Box<Rewrap>),
    /// Give envelopes a new key and encrypt them anew, in place
    Rotate(Box<Rotate>),
    /// Rings of data keys, for databases and other programs
    #[command(subcommand)]
    Key(Box<Key>),
    /// Run a command with keys that no argument, environment variable or file on a disk holds
    Exec(Box<Exec>),
    /// Say which envelopes will open after a change, before it is made
    Plan(Plan),
    /// Keys that open envelopes where no machine can
    #[command(subcommand)]
    Recipient(Recipient),
    /// The lowest versions that are accepted; they only rise
    #[command(subcommand)]
    Floor(Floor),
    /// Hand envelopes over to the next version of a program or a guest's image, which proves itself first
    #[command(subcommand)]
    Successor(Successor),
    /// Ask a key provider for a key, as a TDX guest
    Request(Request),
    /// Judge evidence
    #[command(subcommand)]
    Attest(Attest),
    /// Read what a provider has recorded: who got keys, who was refused and why
    #[command(subcommand)]
    Audit(Audit),
    /// Say what this machine is and can do, and what to do about what it cannot
    #[command(after_help = "\
Nothing is changed, asked of the network or in need of privileges. It exits with 0 whatever it finds.")]
    Doctor(Doctor),
    /// A TPM: who it is, approvals of its states, counters as anchors
    #[cfg(feature = "tpm")]
    #[command(subcommand)]
    Tpm(Box<TpmCommand>),
    /// Serve keys to TDX guests on this machine
    #[command(subcommand)]
    Provider(Provider),
    /// Keys that sign together, and the policies that they sign
    #[command(subcommand)]
    Authority(Authority),
    /// What the owner of an image grants it, and what changed between two images
    #[command(subcommand)]
    Manifest(Box<Manifest>),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// Of two with one name, only the first would ever be heard.
    #[test]
    fn no_option_is_there_twice() {
        let mut command = Args::command();
        command.build();
        let mut commands = vec![command];
        let mut count = 0;
        while let Some(command) = commands.pop() {
            let mut ids = BTreeSet::new();
            let mut names = BTreeSet::new();
            for option in command.get_arguments() {
                assert!(ids.insert(option.get_id()), "{}: {}", command.get_name(), option.get_id());
                let (long, short) = (option.get_long(), option.get_short());
                for name in long.map(str::to_owned).into_iter().chain(short.map(String::from)) {
                    assert!(names.insert(name.clone()), "{}: {name}", command.get_name());
                }
            }
            count += 1;
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(count > 20);
    }
}
