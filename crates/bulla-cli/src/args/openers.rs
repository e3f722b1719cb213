//! What several commands share: who opens, and what is demanded of what opens.

use std::path::PathBuf;

use clap::{Args as Group, ValueHint};

use super::Entitled;

/// A key provider, where the machine is a TDX guest.
#[derive(Debug, Group)]
pub(crate) struct Guest {
    /// The key provider of this TDX guest, which has no sealing key of its own: http://HOST:PORT, https://HOST:PORT, unix:PATH or
    /// vsock:CID:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) provider: Option<String>,

    #[command(flatten)]
    pub(crate) pin: OptionalPin,

    #[command(flatten)]
    pub(crate) entitled: Entitled,

    /// Of a TPM: that the authority of a policy approves of the registers as they are, as `bulla tpm approve` wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) approval: Vec<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct OptionalPin {
    /// The provider's measurement (MRENCLAVE), 64 hexadecimal digits, as `bulla provider serve` prints it
    #[arg(long, value_name = "HEX")]
    pub(crate) provider_id: Option<String>,

    /// Instead of one measurement, every release of a product by this signer (MRSIGNER) since a security version
    #[arg(long, value_name = "HEX,product=N,svn=N", conflicts_with = "provider_id")]
    pub(crate) provider_signer: Option<String>,

    /// The root that the provider's new keys have to come from, 32 hexadecimal digits; any of its roots if it is not given
    #[arg(long, value_name = "HEX")]
    pub(crate) provider_root: Option<String>,

    /// The provider authority's id, 64 hexadecimal digits; on a simulated machine the development authority
    /// is expected if it is not given
    #[arg(long, value_name = "HEX")]
    pub(crate) authority: Option<String>,
}

/// For whom something is sealed, besides the machine.
#[derive(Debug, Group)]
pub(crate) struct NewOpeners {
    /// What the machine's key is bound to: `measurement` (exactly this program), `signer:product=N,svn=N,label=TEXT` (later
    /// versions too) `pcr:N+N` (registers of a TPM) or `registers:NAME+NAME` (with MRSIGNER and its terms if it is among them); of a guest with a key provider
    /// `measurement`, `owner:HEX,product=NAME,svn=N` (every image that the owner entitles) or `register-policy:NAME,version=N`
    #[arg(long, visible_alias = "binding", value_name = "POLICY", default_value = "measurement")]
    pub(crate) policy: String,

    /// Open for this recipient too, given as text or as a file with it
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) recovery: Vec<String>,

    /// Open for this many of the holders together
    #[arg(long, value_name = "K", requires = "holder")]
    pub(crate) threshold: Option<u8>,

    /// A holder of a share for --threshold, given as text or as a file with it
    #[arg(long, value_name = "RECIPIENT", requires = "threshold")]
    pub(crate) holder: Vec<String>,
}

/// Who opens, and what is demanded of what opens.
#[derive(Debug, Group)]
pub(crate) struct Openers {
    #[command(flatten)]
    pub(crate) guest: Guest,

    /// Open with the private key in this file, as `bulla recipient new` wrote it; then no machine is needed
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) demands: Demands,
}

/// Who opens besides machines and private keys, and what is demanded of what opens.
#[derive(Debug, Group)]
pub(crate) struct Demands {
    /// Open with the share in this file, as `bulla recipient share` wrote it; then no machine is needed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) share: Vec<PathBuf>,

    /// Refuse epochs below this one, which show an older copy; one without an epoch counts as 0
    #[arg(long, value_name = "EPOCH", default_value_t = 0, hide_default_value = true)]
    pub(crate) at_least: u64,

    /// Refuse epochs below what this anchor knows: `tpm:ENROLMENT[,TCTI]` is a TPM's counter, as `bulla tpm counter enrol` wrote it
    #[arg(long, value_name = "KIND:PARAM")]
    pub(crate) anchor: Option<String>,

    /// Refuse what this machine does not prove that it wrote
    #[arg(long)]
    pub(crate) require_origin: bool,

    /// Refuse what opens for other recipients than these, given as text or as a file with it
    #[arg(long, value_name = "RECIPIENT")]
    pub(crate) expect: Vec<String>,

    /// Refuse what is below the floor in this file, as `bulla floor raise` wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) floor: Option<PathBuf>,

    /// Open what the machine sealed below the floor nevertheless, to seal it anew
    #[arg(long, requires = "floor")]
    pub(crate) below_floor: bool,
}
