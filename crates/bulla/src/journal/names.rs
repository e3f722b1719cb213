//! What a sealed file and the files beside it are called.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::Error;

/// Kept generations at most.
pub(crate) const MOST_KEPT: usize = 8;

/// The names for one sealed file `P`.
pub(crate) struct Names {
    /// The whole path, for messages.
    pub(crate) path: PathBuf,
    /// `P` itself.
    pub(crate) file: OsString,
    /// `.P.bulla-new`: the next content, until it is verified.
    pub(crate) new: OsString,
    /// `.P.bulla-copy`: a kept generation in the making, where there are no hard links.
    pub(crate) copy: OsString,
    /// `.P.bulla-lock`: what changes wait for. It is never removed; once it has content, a sealed file was here.
    pub(crate) lock: OsString,
}

impl Names {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let file =
            path.file_name().ok_or_else(|| Error::NotAFile { path: path.display().to_string() })?.to_owned();
        Ok(Self {
            path: path.to_owned(),
            new: beside(&file, "new"),
            copy: beside(&file, "copy"),
            lock: beside(&file, "lock"),
            file,
        })
    }

    /// `.P.bulla-1` and so on: earlier generations, the newest first.
    pub(crate) fn kept(&self, generation: usize) -> OsString {
        beside(&self.file, &generation.to_string())
    }

    /// The numbers that a kept generation can have: one more than are kept, while a change goes on.
    pub(crate) fn generations() -> std::ops::RangeInclusive<usize> {
        1..=MOST_KEPT + 1
    }
}

fn beside(file: &OsStr, what: &str) -> OsString {
    let mut name = OsString::from(".");
    name.push(file);
    name.push(".bulla-");
    name.push(what);
    name
}
