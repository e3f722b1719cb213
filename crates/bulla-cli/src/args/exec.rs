//! `bulla exec`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as Group, ValueHint};

use super::{Demands, Guest, KeyTerms};
use crate::command::exec::{KeyOption, RequestOption};

#[derive(Debug, Group)]
#[command(after_help = "\
In the arguments of COMMAND, `{key}` becomes the path of a file in memory with the key, `{fd}` the number of a descriptor of such a \
file, `{keyring}` the description of a key in a new session keyring, and `{luks}` the path of a file in memory with a judged header. \
With several keys their number follows, as in `{key:2}`.
FORM is raw (if not given), hex, base64, passphrase, sqlcipher, sqlcipher-rekey or mariadb.")]
pub(crate) struct Exec {
    /// A key: the ring's newest, or the one of the generation or the id ID, written down in FORM. The ring is for the name that its
    /// file has, and for the role `data`, unless --name and --role say otherwise
    #[arg(long, value_name = "RING[:ID][=FORM]")]
    pub(crate) key: Vec<KeyOption>,

    /// A key from the provider, written down in FORM; all are asked for at once. Their numbers follow those of --key
    #[arg(long, value_name = "PATH:PURPOSE[,ALGORITHM[,LENGTH]][=FORM]", requires = "provider")]
    pub(crate) request: Vec<RequestOption>,

    #[command(flatten)]
    pub(crate) asked: KeyTerms,

    /// What the keys of all rings belong to; each file's name without its ending if not given
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// What the keys are for
    #[arg(long, default_value = "data")]
    pub(crate) role: String,

    /// A LUKS2 volume, or `-` for its header on standard input: its header is read once, judged, and handed over
    #[arg(long, value_name = "DEVICE", value_hint = ValueHint::FilePath)]
    pub(crate) luks: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) guest: Guest,

    /// Open the rings with the private key in this file, as `bulla recipient new` wrote it; then no machine is needed
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    pub(crate) private_key: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) demands: Demands,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}
