//! `authority`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueEnum, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum Authority {
    /// Make a signer's key: the private one in a file to keep offline, the public one on standard output
    Key(SignerKey),
    /// Name the keys that sign together, and how many of them have to: an authority, or the owner of an image
    ///
    /// Prints its id, the hash of all that the file says. Clients pin the id of their provider's authority; a guest's image
    /// names that of its owner.
    New(AuthorityNew),
    /// Sign a provider's policy, or a command to a provider; or add a signature
    Sign(Sign),
    /// Show who signs, or what was signed by whom
    Show(AuthorityShow),
    /// Policies of providers
    #[command(subcommand)]
    Policy(AuthorityPolicy),
}

#[derive(Debug, Group)]
pub(crate) struct SignerKey {
    /// Write the private key to this file (mode 0600), which must not exist
    #[arg(short, long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct AuthorityNew {
    /// What people call it: letters, digits, dots, hyphens
    #[arg(long)]
    pub(crate) name: String,

    /// How many of the keys have to sign
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) threshold: u8,

    /// A public key, as `bulla authority key` prints it, or a file with it
    #[arg(long, value_name = "PUBLIC", required = true)]
    pub(crate) key: Vec<String>,

    /// Write the descriptor here
    #[arg(short, long, value_name = "DESCRIPTOR", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Group)]
pub(crate) struct Sign {
    #[command(flatten)]
    pub(crate) signing: Signing,

    /// What the document is
    #[arg(long = "as", value_enum, default_value = "policy")]
    pub(crate) role: SignAs,
}

/// A document, and whose signature to add.
#[derive(Debug, Group)]
pub(crate) struct Signing {
    /// The document, or what others have signed already
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) document: PathBuf,

    /// The signer's private key
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,

    /// Who signs together; not for what others have signed already, which names them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) descriptor: Option<PathBuf>,

    /// Write the signed document to this file instead of standard output
    #[arg(short, long, value_name = "SIGNED", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SignAs {
    /// A policy, which is read first: what is no policy is not signed
    Policy,
    /// A command to a running provider
    Command,
}

#[derive(Debug, Group)]
pub(crate) struct AuthorityShow {
    /// A descriptor, or a signed document
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityPolicy {
    /// Say what its author may not have meant, and whether a provider would take it in the place of another
    Check(AuthorityPolicyCheck),
    /// Say in sentences what is released to whom, and what becomes of the roots
    Explain(AuthorityPolicyFile),
}

#[derive(Debug, Group)]
pub(crate) struct AuthorityPolicyFile {
    /// The policy, signed or not yet
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) policy: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
pub(crate) struct AuthorityPolicyCheck {
    #[command(flatten)]
    pub(crate) file: AuthorityPolicyFile,

    /// The signed policy that is in force; the new one must be signed too
    #[arg(long, value_name = "SIGNED", value_hint = ValueHint::FilePath)]
    pub(crate) after: Option<PathBuf>,
}
