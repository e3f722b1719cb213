//! `rewrap` and `rotate`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args as Group, ValueHint};

use super::Openers;

#[derive(Debug, Group)]
#[command(after_help = "\
Without any of the options that change something it does --refresh. A changed file is read back before it takes the place \
of the old one, which is kept beside it as .NAME.bulla-1. \
Dropping a slot is not revocation: whoever opened the envelope by it still opens every older copy, this one included. \
`bulla rotate --drop` revokes.")]
pub(crate) struct Rewrap {
    #[command(flatten)]
    pub(crate) files: Files,

    /// Open for this recipient too, given as text or as a file with it
    #[arg(long, value_name = "RECIPIENT", requires = "context")]
    pub(crate) add_recovery: Vec<String>,

    /// Open for this many of the holders together too
    #[arg(long, value_name = "K", requires_all = ["holder", "context"])]
    pub(crate) add_threshold: Option<u8>,

    /// A holder of a share for --add-threshold, given as text or as a file with it
    #[arg(long, value_name = "RECIPIENT", requires = "add_threshold")]
    pub(crate) holder: Vec<String>,

    /// Open on this machine too, under a policy as for `bulla seal`
    #[arg(
        long,
        value_name = "POLICY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "measurement",
        requires = "context"
    )]
    pub(crate) add_machine: Option<String>,

    /// Drop the slot with this number, as `bulla inspect` shows it
    #[arg(long, value_name = "INDEX")]
    pub(crate) drop: Vec<usize>,

    /// Drop every temporary slot of a successor
    #[arg(long)]
    pub(crate) drop_successors: bool,

    /// Make the slot of this machine that opens anew, at the versions of today
    #[arg(long)]
    pub(crate) refresh: bool,

    /// Set the epoch, which must not fall
    #[arg(long, value_name = "N", requires = "context")]
    pub(crate) epoch: Option<u64>,

    /// Drop even the last slot: then nobody can open it any more
    #[arg(long)]
    pub(crate) force: bool,

    /// Say that this machine wrote it from now on, though it cannot check what it found
    #[arg(long, requires = "context")]
    pub(crate) vouch: bool,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

#[derive(Debug, Group)]
#[command(after_help = "\
A changed file is opened whole before it takes the place of the old one, which is kept beside it as .NAME.bulla-1 and still \
opens for those that were dropped. What they have read they know: where that matters, change the secret too. Recipients stay \
only if this machine wrote the envelope that names them, or with --expect, their --key, or --vouch: who is about to be dropped may \
have added some.")]
pub(crate) struct Rotate {
    #[command(flatten)]
    pub(crate) files: Files,

    /// Leave out the slot with this number, as `bulla inspect` shows it: its opener is revoked
    #[arg(long, value_name = "INDEX")]
    pub(crate) drop: Vec<usize>,

    /// Set the epoch; if it has one and none is given, it becomes the next
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u64>,

    /// Say that this machine wrote it, recipients included, though it cannot check what it found
    #[arg(long, requires = "context")]
    pub(crate) vouch: bool,

    #[command(flatten)]
    pub(crate) openers: Openers,
}

/// What to change, and where to write it.
#[derive(Debug, Group)]
pub(crate) struct Files {
    /// The envelopes, changed in place; none or `-` is a filter from standard input to standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// What the data is for. It is taken from each envelope if it is not given, and has to be given to add an opener, so that
    /// nobody gets another secret that was put in the place of this one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Write the changed envelope here and leave the one that is read as it is
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Remove the earlier copies that are kept beside a changed file. It erases nothing: snapshots and backups may have them
    #[arg(long, conflicts_with = "output")]
    pub(crate) prune: bool,

    /// How many threads work; as many as there are processors if not given
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}
