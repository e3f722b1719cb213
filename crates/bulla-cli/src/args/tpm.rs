//! `tpm`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum TpmCommand {
    /// Say who the TPM is and what was measured into it
    Show(TpmShow),
    /// Write the public keys that show whose quotes are: a verifier's `bulla attest tpm ask` takes them
    Keys(TpmOutput),
    /// Answer a verifier's question, which only this TPM can
    Answer(TpmAnswer),
    /// Quote all registers for a verifier's nonce
    Quote(TpmQuoteFor),
    /// Print the public key of who approves, as a policy names it: `pcr:4+7,authority=HEX,label=NAME`
    Approver(TpmApprover),
    /// Approve of a state of the registers, so that what was sealed under this authority and label opens in it, for ever
    Approve(TpmApprove),
    /// Counters as anchors: each remembers the highest epoch of one context
    #[command(subcommand)]
    Counter(TpmCounter),
}

#[derive(Debug, Group)]
pub(crate) struct TpmShow {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct TpmOutput {
    /// Write here instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct TpmAnswer {
    /// The question, as `bulla attest tpm ask` wrote it
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) question: PathBuf,

    #[command(flatten)]
    pub(crate) output: TpmOutput,
}

#[derive(Debug, Group)]
pub(crate) struct TpmQuoteFor {
    /// The verifier's nonce: 16 to 64 fresh random bytes
    #[arg(long, value_name = "HEX")]
    pub(crate) nonce: String,

    #[command(flatten)]
    pub(crate) output: TpmOutput,
}

#[derive(Debug, Group)]
pub(crate) struct TpmApprover {
    /// The private key on P-256, in PEM; `openssl genpkey` makes such keys too
    #[arg(value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,

    /// Make the key first, in this file (mode 0600), which must not exist
    #[arg(long)]
    pub(crate) new: bool,
}

#[derive(Debug, Group)]
pub(crate) struct TpmApprove {
    /// For which application or tenant: the label of the policy that secrets are sealed under
    #[arg(long, value_name = "NAME")]
    pub(crate) label: String,

    /// The values of all registers of that policy, as they will be
    #[arg(
        long,
        value_name = "N:HEX+N:HEX",
        conflicts_with = "registers",
        required_unless_present = "registers"
    )]
    pub(crate) state: Option<String>,

    /// The present values of these registers of the TPM, all those of that policy: approve on a machine that was updated already
    #[arg(long, value_name = "N+N")]
    pub(crate) registers: Option<String>,

    /// The approver's private key
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,

    /// Write the approval here, for `--approval`. It is no secret
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TpmCounter {
    /// Make a counter for a context and pin this TPM. Do it where you trust the way to the TPM
    Enrol(TpmEnrol),
    /// Ask a counter for the highest epoch, authenticated to the pinned TPM
    Status(TpmCounterStatus),
    /// Tell a counter of an epoch, where a command that sealed could not. It never goes down
    Advance(TpmCounterAdvance),
}

#[derive(Debug, Group)]
pub(crate) struct TpmEnrol {
    /// The context of the envelopes whose epochs it counts
    #[arg(long, value_name = "NAME", required_unless_present = "ring", conflicts_with = "ring")]
    pub(crate) context: Option<String>,

    /// The name of the ring whose epochs it counts, and its role, which is `data` if not given
    #[arg(long, value_name = "NAME[/ROLE]")]
    pub(crate) ring: Option<String>,

    /// Its address in the TPM, 0x01000000 to 0x01ffffff; it must be free
    #[arg(long, value_name = "0xHEX", default_value = "0x01500016", value_parser = index)]
    pub(crate) index: u32,

    /// Write the enrolment here, which must not exist. Whoever can exchange it can exchange the anchor
    #[arg(short, long, value_name = "ENROLMENT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct TpmCounterStatus {
    /// The enrolment
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) enrolment: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct TpmCounterAdvance {
    /// The enrolment
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) enrolment: PathBuf,

    /// The epoch, at most 1024 above the present one
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: u64,
}

fn index(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let in_range = number.filter(|number| (0x0100_0000..0x0200_0000).contains(number));
    in_range.ok_or_else(|| "it is 0x01000000 to 0x01ffffff".into())
}
