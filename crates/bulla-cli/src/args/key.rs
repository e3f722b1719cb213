//! `bulla key`.

use std::path::PathBuf;

use clap::{Args as Group, Subcommand, ValueHint};

use super::{NewOpeners, Openers};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
A ring holds the data keys of one database or program, in generations: the newest encrypts, the older ones decrypt until they \
are retired. `bulla exec` hands them over. Keep the ring outside of the folder of the data, and as long as any backup of it.")]
pub(crate) enum Key {
    /// Make a ring with one key; refused where there is, or ever was, one
    New(KeyNew),
    /// Show the generations of a ring; never the keys
    Show(KeyShow),
    /// Add a generation
    Rotate(KeyRotate),
    /// Take a generation's key out of the ring: data that is still under it is lost
    Retire(KeyRetire),
    /// Make a ring if that is certainly the first time: never where there are data, or traces of a ring
    Ensure(KeyEnsure),
}

/// A ring, and what it is for.
#[derive(Debug, Group)]
pub(crate) struct NamedRing {
    /// The file of the ring
    #[arg(value_name = "RING", value_hint = ValueHint::FilePath)]
    pub(crate) ring: PathBuf,

    /// What the keys belong to, such as a database; the file's name without its ending if not given
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// What the keys are for
    #[arg(long, default_value = "data")]
    pub(crate) role: String,
}

#[derive(Debug, Group)]
pub(crate) struct KeyNew {
    #[command(flatten)]
    pub(crate) ring: NamedRing,

    #[command(flatten)]
    pub(crate) new: NewOpeners,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct KeyEnsure {
    #[command(flatten)]
    pub(crate) ring: NamedRing,

    /// Where the data is, once there is any; name all that the program may leave behind
    #[arg(long, value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) data: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) new: NewOpeners,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct KeyShow {
    #[command(flatten)]
    pub(crate) ring: NamedRing,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct KeyRotate {
    #[command(flatten)]
    pub(crate) ring: NamedRing,

    /// The generation to add; if it is there already, nothing changes, so that it can be said again. The next if not given
    #[arg(long, value_name = "GENERATION")]
    pub(crate) to: Option<u32>,

    #[command(flatten)]
    pub(crate) prune: Prune,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct KeyRetire {
    #[command(flatten)]
    pub(crate) ring: NamedRing,

    /// Which one
    pub(crate) generation: u32,

    #[command(flatten)]
    pub(crate) prune: Prune,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
pub(crate) struct Prune {
    /// Remove the earlier copies that are kept beside the ring. It erases nothing: snapshots and backups may have them
    #[arg(long)]
    pub(crate) prune: bool,
}
