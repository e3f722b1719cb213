//! Changing a sealed file so that nothing is lost, wherever the change stops.
//!
//! Beside a sealed file `ring` there are, in the same directory:
//! - `.ring.bulla-lock`, which changes wait for. It is never removed, and from the first commit on it also says that a sealed
//!   file is or was here, so that a lost one is never taken for one that was not made yet (R95).
//! - `.ring.bulla-1` (and `-2`, ...), the generations before the present one, for as long as they are kept.
//! - `.ring.bulla-new` and `.ring.bulla-copy` while a change goes on. After a crash they are leftovers without value.
//!
//! # The order of a change
//! 1. *Prepare*: take the lock, put right what an earlier change left behind, open the present content.
//! 2. *Write* the new content under a temporary name, and sync it.
//! 3. *Reopen and verify* it (R69). Up to here the present content has not been touched.
//! 4. *Keep*: give the present content a second name (a hard link, or a copy where there are none), and sync the directory.
//! 5. *Commit*: if the sealed file is still the one that was opened (R72), rename the new content over it. Who reads without
//!    the lock sees the whole old content before this instant and the whole new content after it (R67).
//! 6. Sync the directory, then *retire* the generations beyond the number that is kept.
//!
//! This takes a file system whose renames are atomic, also in a power failure, and whose `fsync` means what it says.
//!
//! # Whom it protects from whom
//! From crashes, full disks, failing syncs, and other programs that change the file through a journal. A program that
//! replaces the file without the lock is noticed up to the instant before the commit, not in it. Whoever controls the
//! directory can put any older file in place: see the crate's words on freshness (R66).
//!
//! Old content that is no longer kept is unlinked. That is **not erasure**: copies may remain on the device, in snapshots and
//! in backups, and whoever can open the old content can still open those (R84).

mod disk;
mod draft;
mod file_system;
mod names;
mod protocol;
mod safe;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use crate::Error;

pub(crate) use disk::Disk;
pub(crate) use draft::{Draft, step};
pub(crate) use file_system::FileSystem;
use names::MOST_KEPT;
pub(crate) use names::Names;
use protocol::Protocol;
pub(crate) use safe::open;

/// Makes and changes one sealed file.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use std::io::{Read, Write};
/// use bulla::{Error, journal::Journal};
///
/// let path = dir.path().join("counter");
/// let journal = Journal::at(&path)?;
/// let is_number = |file: &mut std::fs::File| match std::io::read_to_string(file).map(|text| text.parse::<u64>()) {
///     Ok(Ok(_)) => Ok(()),
///     _ => Err(Error::Malformed("not a number")),
/// };
/// # fn failed(source: std::io::Error) -> Error { Error::Io { what: "counting".into(), source } }
/// journal.create(|new| new.write_all(b"1").map_err(failed), |written, ()| is_number(written))?;
/// journal.change(
///     |old, new| {
///         let mut text = String::new();
///         old.take(20).read_to_string(&mut text).map_err(failed)?;
///         let next = text.parse::<u64>().map_err(|_| Error::Malformed("not a number"))? + 1;
///         write!(new, "{next}").map_err(failed)
///     },
///     |written, ()| is_number(written),
/// )?;
/// assert_eq!(std::fs::read(&path)?, b"2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Journal {
    protocol: Protocol<Disk>,
}

/// What a change returned, and what it found before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed<T> {
    /// What the writing closure returned.
    pub value: T,
    /// What an earlier change had left behind.
    pub recovered: Recovered,
}

/// What an earlier change had left behind, and was put right (R74).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// An earlier change stopped before its commit and was undone: its new content, verified or not, is gone.
    pub undone: bool,
    /// The sealed file was gone, and the newest kept generation took its place. What was changed since then is lost.
    pub restored: bool,
}

impl<T> Changed<T> {
    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Changed<U> {
        Changed { value: change(self.value), recovered: self.recovered }
    }
}

impl Journal {
    /// The journal of the sealed file at `path`, which need not be there yet. Its directory is held open.
    ///
    /// # Errors
    /// [`Error::NotAFile`] for a path that cannot be a file's; [`Error::Io`] where the directory does not open.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let names = Names::of(path)?;
        let fs = Disk::beside(path).map_err(step("opening the directory of", path))?;
        Ok(Self { protocol: Protocol { fs, names, keep: 1, largest: u64::MAX } })
    }

    /// How many earlier generations to keep, from 1 to 8 (numbers outside count as the nearest); 1 if not said.
    ///
    /// A change removes those beyond it after its commit, [`Journal::retire`] all of them. Until then whoever can open the old
    /// content can go back to it: this is the grace period of R84.
    #[must_use]
    pub fn keep(mut self, generations: u8) -> Self {
        self.protocol.keep = usize::from(generations).clamp(1, MOST_KEPT);
        self
    }

    /// How many bytes the sealed file can have; a larger one is refused unread. The size is what the system says before reading,
    /// so a reader that allocates should bound itself too (R71).
    #[must_use]
    pub fn largest(mut self, bytes: u64) -> Self {
        self.protocol.largest = bytes;
        self
    }

    /// Makes the file. Refused where there is one, and where any trace shows that there was one (R95).
    ///
    /// `write` fills the new file; `verify` gets it reopened, and what `write` returned, and must read it to its end. If either
    /// fails, nothing was made and it can be tried again.
    ///
    /// # Errors
    /// Whatever the closures return; [`Error::Exists`]; [`Error::MissingSeal`] naming the trace; [`Error::UnsafeFile`];
    /// [`Error::Conflict`] if a file appeared meanwhile; [`Error::Io`] naming the step. A failure in the last two steps,
    /// renaming and syncing the directory, leaves a mark in the lock file, so if the sealed file is not there afterwards,
    /// trying again needs that mark removed by somebody who knows that nothing was sealed with it.
    pub fn create<T, E: From<Error>>(
        &self,
        write: impl FnOnce(&mut File) -> Result<T, E>,
        verify: impl FnOnce(&mut File, &T) -> Result<(), E>,
    ) -> Result<T, E> {
        self.protocol.create(write, verify)
    }

    /// Changes the file: waits for the lock, recovers, and goes through the steps described [above](self).
    ///
    /// `write` gets the present file, opened safely (R70), and the new one to fill; `verify` gets the new one reopened, and what
    /// `write` returned, and must read it to its end. Within them, and within those of [`Journal::create`], neither a journal
    /// of this file nor [`open_sealed`](crate::file::open_sealed) must be used: they could wait for this change for ever.
    ///
    /// # Errors
    /// Whatever the closures return; [`Error::MissingSeal`] where the file is gone and nothing is kept; [`Error::UnsafeFile`];
    /// [`Error::Conflict`] if somebody without the lock replaced the file meanwhile; [`Error::Io`] naming the step. In all
    /// of these the file is what it was, but for one: if the step is "syncing the directory" the new content may be in
    /// place already, though not for certain to last, and the old one is kept. So after such a failure [`Journal::recover`],
    /// and read the file before relying on either.
    pub fn change<T, E: From<Error>>(
        &self,
        write: impl FnOnce(&mut File, &mut File) -> Result<T, E>,
        verify: impl FnOnce(&mut File, &T) -> Result<(), E>,
    ) -> Result<Changed<T>, E> {
        self.protocol.change(write, verify)
    }

    /// Puts right what a crash left behind, which every change does first: an unverified new file is removed, never used; a
    /// missing sealed file is restored from the newest kept generation (R74). What is there when this returns lasts. Doing it
    /// again changes nothing more.
    ///
    /// # Errors
    /// [`Error::MissingSeal`] where the file is gone and nothing is kept; [`Error::UnsafeFile`]; [`Error::Io`], of kind
    /// `NotFound` where there never was a sealed file.
    pub fn recover(&self) -> Result<Recovered, Error> {
        self.protocol.recover()
    }

    /// Ends the grace period: unlinks every kept generation. This erases nothing (R84).
    ///
    /// # Errors
    /// As [`Journal::recover`].
    pub fn retire(&self) -> Result<Recovered, Error> {
        self.protocol.retire()
    }
}
