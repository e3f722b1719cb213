//! The write step: new content under a name of its own, synced, read again, and only then moved to where it belongs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::file_system::{FileSystem, Stat};
use crate::Error;

/// New content under a temporary name. Unless it is committed, it is removed when dropped; if that fails or the process
/// ends first, it is a leftover that the next change removes.
pub(crate) struct Draft<'a, F: FileSystem> {
    fs: &'a F,
    name: OsString,
    /// What messages call it.
    path: &'a Path,
    written: Option<Stat>,
    committed: bool,
}

impl<'a, F: FileSystem> Draft<'a, F> {
    /// Lets `write` fill a new file called `name`, and syncs it.
    pub(crate) fn write<T, E: From<Error>>(
        fs: &'a F,
        name: &OsStr,
        path: &'a Path,
        write: impl FnOnce(&mut F::File) -> Result<T, E>,
    ) -> Result<(Self, T), E> {
        let mut file = fs.create(name).map_err(step("creating a temporary file beside", path))?;
        let mut draft = Self { fs, name: name.to_owned(), path, written: None, committed: false };
        let value = write(&mut file)?;
        fs.sync(&file).map_err(step("syncing the new content of", path))?;
        draft.written = Some(fs.stat_of(&file).map_err(step("looking at the new content of", path))?);
        Ok((draft, value))
    }

    /// Opens what was written anew and lets `verify` read it (R69).
    pub(crate) fn verify<E: From<Error>>(
        &self,
        verify: impl FnOnce(&mut F::File) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut file = self.fs.reopen(&self.name).map_err(step("reopening the new content of", self.path))?;
        let found = self.fs.stat_of(&file).map_err(step("looking at the new content of", self.path))?;
        // Not the time of the last change: some file systems set it when the writer closes.
        let is_it = |written: &Stat| (found.identity, found.len) == (written.identity, written.len);
        if !self.written.as_ref().is_some_and(is_it) {
            return Err(Error::Conflict { path: self.path.display().to_string() }.into());
        }
        verify(&mut file)
    }

    /// Moves it to its name, over whatever is there.
    pub(crate) fn commit(mut self, name: &OsStr) -> Result<(), Error> {
        self.fs.rename(&self.name, name).map_err(step("replacing", self.path))?;
        self.committed = true;
        Ok(())
    }
}

impl<F: FileSystem> Drop for Draft<'_, F> {
    fn drop(&mut self) {
        if !self.committed {
            let _ = self.fs.remove(&self.name);
        }
    }
}

/// Says which step failed, and on what.
pub(crate) fn step(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()))
}
