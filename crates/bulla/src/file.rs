//! Files on disk: fresh ones, made whole, and sealed ones, opened with care.

use std::fs::{self, File};
use std::path::Path;

use bulla_crypto::SystemRandom;

use crate::Error;
use crate::journal::{self, Disk, Draft, FileSystem, Names, step};

/// Writes a file as a whole or not at all: whoever reads `path` sees the old content or the new, never a part (R67, R68).
///
/// `write` fills a new file beside `path` (mode 0600 whatever the umask, made exclusively, so no link is followed); it is
/// synced to disk, renamed over `path`, and the directory is synced. On any failure before the rename the new file is gone and
/// the old one intact. For the *next* content of something sealed, use a [`Journal`](crate::journal::Journal).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use std::io::Write;
///
/// let path = dir.path().join("note");
/// bulla::file::replace(&path, |file| Ok::<(), Box<dyn std::error::Error>>(file.write_all(b"whole")?))?;
/// assert_eq!(std::fs::read(&path)?, b"whole");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Whatever `write` returns; [`Error::NotAFile`] where `path` is a directory, a link or a device; [`Error::Entropy`];
/// [`Error::Io`] naming the step that failed. If that is the last step, syncing the directory, the new content is in place
/// but may not survive a power failure.
pub fn replace<E: From<Error>>(path: &Path, write: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    let place = Place::of(path)?;
    let draft = place.draft(write)?;
    Ok(place.put(draft)?)
}

/// As [`replace`], and before the rename the new file is reopened and `verify` reads it to its end: a second pass, which
/// catches a disk that wrote something else than it was told (R69).
///
/// # Errors
/// As [`replace`], and whatever `verify` returns; then the old file is intact.
pub fn replace_verified<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
    verify: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let place = Place::of(path)?;
    let draft = place.draft(write)?;
    draft.verify(verify)?;
    Ok(place.put(draft)?)
}

/// Opens a file that holds state, for reading: a regular file, not a link, with a single name, that belongs to this user, that
/// no other user can write to, of at most `largest` bytes (R70). All of this is asked of the file that was opened, so swapping it
/// meanwhile does not help.
///
/// While a [`Journal`](crate::journal::Journal) changes the file this sees the whole old or the whole new content, and does not
/// wait, except in the instant of a commit and for a first content that is being made. The size is what the system says
/// before reading: bound the reading too (R71), and parse one copy in memory.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("ring");
/// # bulla::file::replace(&path, |_| Ok::<(), bulla::Error>(()))?;
/// use std::io::Read;
///
/// let mut bytes = Vec::new();
/// bulla::file::open_sealed(&path, 1 << 20)?.take(1 << 20).read_to_end(&mut bytes)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::UnsafeFile`] saying why; [`Error::MissingSeal`] where it is not there but was once (R95); [`Error::Io`], of kind
/// `NotFound` where it never was.
pub fn open_sealed(path: &Path, largest: u64) -> Result<File, Error> {
    let names = Names::of(path)?;
    let fs = Disk::beside(path).map_err(step("opening the directory of", path))?;
    journal::open(&fs, &names, largest)
}

/// Where a fresh file goes, and what it is called until it is whole.
struct Place<'a> {
    path: &'a Path,
    names: Names,
    disk: Disk,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> Result<Self, Error> {
        let names = Names::of(path)?;
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::NotAFile { path: path.display().to_string() });
        }
        let disk = Disk::beside(path).map_err(step("opening the directory of", path))?;
        Ok(Self { path, names, disk })
    }

    /// Under a random name, since several may be made at once.
    fn draft<E: From<Error>>(
        &self,
        write: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Draft<'_, Disk>, E> {
        let random = u64::from_ne_bytes(SystemRandom.array().map_err(Error::from)?);
        let name = format!(".bulla-{random:016x}.tmp");
        Draft::write(&self.disk, name.as_ref(), self.path, write).map(|(draft, ())| draft)
    }

    fn put(&self, draft: Draft<'_, Disk>) -> Result<(), Error> {
        draft.commit(&self.names.file)?;
        self.disk.sync_directory().map_err(step("syncing the directory of", self.path))
    }
}
