//! The steps of a change, in the order that makes it safe to stop after any of them.

use std::borrow::{Borrow, BorrowMut};
use std::io::{self, Read, Seek, Write};

use super::draft::{Draft, step};
use super::file_system::{FileSystem, Stat};
use super::names::Names;
use super::safe::{self, ANOTHER_LINK, Presence};
use super::{Changed, Recovered};
use crate::Error;

/// What the lock file says to whoever finds it. What counts is that it is not empty.
const MARK: &[u8] = b"A sealed file is or was beside this one. Do not remove this unless you gave it up.\n";

/// Pieces in which contents are compared.
const PIECE_LEN: u64 = 64 * 1024;

/// One sealed file on a file system.
pub(crate) struct Protocol<F> {
    pub(crate) fs: F,
    pub(crate) names: Names,
    /// Generations kept.
    pub(crate) keep: usize,
    /// Bytes that the file can have at most.
    pub(crate) largest: u64,
}

impl<F: FileSystem> Protocol<F> {
    /// The first content.
    pub(crate) fn create<T, E: From<Error>>(
        &self,
        write: impl FnOnce(&mut F::File) -> Result<T, E>,
        verify: impl FnOnce(&mut F::File, &T) -> Result<(), E>,
    ) -> Result<T, E> {
        self.unless_locked(self.require_nothing())?; // its file would be a trace of its own
        let mut lock = self.lock()?;
        self.require_nothing()?;
        self.remove_temporaries()?; // of a creation that came to nothing

        let (draft, value) = Draft::write(&self.fs, &self.names.new, &self.names.path, write)?;
        draft.verify(|new| verify(new, &value))?;
        self.mark(&mut lock)?; // before the commit: a sealed file without a mark could be made a second time
        if self.stat()?.is_some() {
            return Err(self.conflict().into());
        }
        draft.commit(&self.names.file)?;
        self.sync_directory()?;
        Ok(value)
    }

    /// The next content.
    pub(crate) fn change<T, E: From<Error>>(
        &self,
        write: impl FnOnce(&mut F::File, &mut F::File) -> Result<T, E>,
        verify: impl FnOnce(&mut F::File, &T) -> Result<(), E>,
    ) -> Result<Changed<T>, E> {
        let (_lock, recovered) = self.enter()?;
        let (mut old, opened) = safe::open_once(&self.fs, &self.names, self.largest)?;
        let (draft, value) =
            Draft::write(&self.fs, &self.names.new, &self.names.path, |new| write(&mut old, new))?;
        draft.verify(|new| verify(new, &value))?;
        if let Err(error) = self.keep_old(&mut old, &opened).and_then(|()| {
            self.require_still(&opened)?;
            draft.commit(&self.names.file)
        }) {
            let _ = self.tidy(); // what is left is for the next to tidy
            return Err(error.into());
        }
        // Not even the new content is certain to last before this, so the old one stays if it fails (R68).
        self.sync_directory()?;
        let _ = self.tidy(); // done is done: one generation too many is for the next to tidy
        Ok(Changed { value, recovered })
    }

    /// Removes the kept generations.
    pub(crate) fn retire(&self) -> Result<Recovered, Error> {
        let (_lock, recovered) = self.enter()?;
        self.sync_directory()?;
        for generation in Names::generations().rev() {
            self.remove(&self.names.kept(generation))?;
        }
        self.sync_directory()?;
        Ok(recovered)
    }

    /// Puts right what an earlier change left behind, and makes sure that what is there now lasts.
    pub(crate) fn recover(&self) -> Result<Recovered, Error> {
        let (_lock, recovered) = self.enter()?;
        self.sync_directory()?;
        Ok(recovered)
    }

    /// Takes the lock and puts right what an earlier change left behind.
    fn enter(&self) -> Result<(F::Lock, Recovered), Error> {
        self.unless_locked(self.require_something())?; // nothing is written where nothing is sealed
        let mut lock = self.lock()?;
        let restored = match self.require_something()? {
            None => false,
            Some(generation) => {
                self.fs
                    .rename(&self.names.kept(generation), &self.names.file)
                    .map_err(step("restoring", &self.names.path))?;
                true
            }
        };
        self.mark(&mut lock)?;
        let undone = self.tidy()?;
        if self.stat()?.is_some_and(|stat| stat.links > 1) {
            return Err(safe::unsafe_file(&self.names, &self.names.file, ANOTHER_LINK));
        }
        Ok((lock, Recovered { undone, restored }))
    }

    /// Leaves the sealed file, its lock and the kept generations, without gaps; says whether it was otherwise.
    ///
    /// Stopped anywhere, it can be done again; therefore it does not matter when what it does comes to last.
    fn tidy(&self) -> Result<bool, Error> {
        let mut undone = self.remove_temporaries()?;
        if self.is_first_kept()? {
            self.remove(&self.names.kept(1))?; // it was to be replaced, and was not
            undone = true;
        }
        let kept = self.kept()?;
        for (place, generation) in (1..).zip(kept.iter().take(self.keep)) {
            if place != *generation {
                self.rename_kept(*generation, place)?;
                undone = true;
            }
        }
        let surplus = kept.get(self.keep..).unwrap_or_default();
        if !surplus.is_empty() {
            self.sync_directory()?; // what they are surplus to has to last
        }
        for generation in surplus.iter().rev() {
            self.remove(&self.names.kept(*generation))?;
        }
        Ok(undone)
    }

    /// Gives the present content a second name, and makes sure of it, before anything takes its first one away.
    fn keep_old(&self, old: &mut F::File, opened: &Stat) -> Result<(), Error> {
        self.require_still(opened)?;
        for generation in self.kept()?.iter().rev() {
            self.rename_kept(*generation, generation + 1)?;
        }
        match self.fs.link(&self.names.file, &self.names.kept(1)) {
            Err(error) if has_no_links(&error) => self.copy_old(old)?,
            linked => linked.map_err(step("keeping the old content of", &self.names.path))?,
        }
        self.sync_directory()
    }

    fn copy_old(&self, old: &mut F::File) -> Result<(), Error> {
        let failed = |error| step("copying the old content of", &self.names.path)(error);
        let (draft, ()) = Draft::write(&self.fs, &self.names.copy, &self.names.path, |copy| {
            old.rewind().and_then(|()| io::copy(old, copy)).map(drop).map_err(failed)
        })?;
        draft.verify(|copy| {
            if old.rewind().and_then(|()| same_content(old, copy)).map_err(failed)? {
                return Ok(());
            }
            Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the copy reads differently")))
        })?;
        draft.commit(&self.names.kept(1))
    }

    /// Whether the newest kept generation is the sealed file itself: nothing replaced it after it was kept.
    fn is_first_kept(&self) -> Result<bool, Error> {
        let failed = |error| step("comparing the kept generation of", &self.names.path)(error);
        let kept = self.names.kept(1);
        let (Some(file), Some(first)) = (self.stat()?, self.fs.stat(&kept).map_err(failed)?) else {
            return Ok(false);
        };
        if (file.kind, file.len) != (first.kind, first.len) {
            return Ok(false);
        }
        let mut file = self.fs.open(&self.names.file).map_err(failed)?;
        let mut first = self.fs.open(&kept).map_err(failed)?;
        same_content(&mut file, &mut first).map_err(failed)
    }

    /// What was found before the lock is final only if there is nobody to wait for.
    fn unless_locked<T>(&self, found: Result<T, Error>) -> Result<(), Error> {
        match found {
            Err(error) if safe::may_pass(&error) && safe::has_lock(&self.fs, &self.names)? => Ok(()),
            found => found.map(drop),
        }
    }

    fn lock(&self) -> Result<F::Lock, Error> {
        let failed = |error| step("locking", &self.names.path)(error);
        safe::has_lock(&self.fs, &self.names)?;
        let lock = self.fs.lock(&self.names.lock).map_err(failed)?;
        let stat = self.fs.stat_of(lock.borrow()).map_err(failed)?;
        safe::judge(&stat, u64::MAX, &self.names, &self.names.lock)?;
        if stat.links > 1 {
            return Err(safe::unsafe_file(&self.names, &self.names.lock, ANOTHER_LINK));
        }
        if stat.len == 0 {
            self.sync_directory()?; // the lock's name lasts before any other is made
        }
        Ok(lock)
    }

    /// Writes down that a sealed file is here, for the day when it is not (R95).
    fn mark(&self, lock: &mut F::Lock) -> Result<(), Error> {
        let failed = |error| step("marking the lock of", &self.names.path)(error);
        if self.fs.stat_of((*lock).borrow()).map_err(failed)?.len > 0 {
            return Ok(());
        }
        lock.borrow_mut().write_all(MARK).map_err(failed)?;
        self.fs.sync((*lock).borrow()).map_err(failed)
    }

    fn require_nothing(&self) -> Result<(), Error> {
        match safe::presence(&self.fs, &self.names)? {
            Presence::Nothing => Ok(()),
            Presence::File(_) => Err(Error::Exists { path: self.names.path.display().to_string() }),
            traces => Err(traces.into_error(&self.names)),
        }
    }

    /// Finds a safe file, or the safe kept generation to restore it from.
    fn require_something(&self) -> Result<Option<usize>, Error> {
        match safe::presence(&self.fs, &self.names)? {
            Presence::File(stat) => {
                safe::judge(&stat, self.largest, &self.names, &self.names.file)?;
                Ok(None)
            }
            Presence::Kept(generation, stat) => {
                let name = self.names.kept(generation);
                safe::judge(&stat, self.largest, &self.names, &name)?;
                if stat.links > 1 {
                    return Err(safe::unsafe_file(&self.names, &name, ANOTHER_LINK));
                }
                Ok(Some(generation))
            }
            missing => Err(missing.into_error(&self.names)),
        }
    }

    /// The sealed file is the one that was opened (R72).
    fn require_still(&self, opened: &Stat) -> Result<(), Error> {
        if self.stat()?.is_some_and(|stat| stat.is_still(opened)) {
            return Ok(());
        }
        Err(self.conflict())
    }

    fn conflict(&self) -> Error {
        Error::Conflict { path: self.names.path.display().to_string() }
    }

    fn stat(&self) -> Result<Option<Stat>, Error> {
        self.fs.stat(&self.names.file).map_err(step("looking for", &self.names.path))
    }

    /// The numbers of the kept generations, the newest first.
    fn kept(&self) -> Result<Vec<usize>, Error> {
        let mut kept = Vec::new();
        for generation in Names::generations() {
            let stat = self.fs.stat(&self.names.kept(generation));
            if stat.map_err(step("looking for generations of", &self.names.path))?.is_some() {
                kept.push(generation);
            }
        }
        Ok(kept)
    }

    fn rename_kept(&self, from: usize, to: usize) -> Result<(), Error> {
        let (from, to) = (self.names.kept(from), self.names.kept(to));
        self.fs.rename(&from, &to).map_err(step("renaming a kept generation of", &self.names.path))
    }

    fn remove_temporaries(&self) -> Result<bool, Error> {
        Ok(self.remove(&self.names.new)? | self.remove(&self.names.copy)?)
    }

    /// Whether there was something to remove.
    fn remove(&self, name: &std::ffi::OsStr) -> Result<bool, Error> {
        match self.fs.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => {
                removed.map(|()| true).map_err(step("removing", &self.names.path.with_file_name(name)))
            }
        }
    }

    fn sync_directory(&self) -> Result<(), Error> {
        self.fs.sync_directory().map_err(step("syncing the directory of", &self.names.path))
    }
}

/// Whether the file system has no hard links, or does not give us one.
fn has_no_links(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), PermissionDenied | TooManyLinks | Unsupported)
}

fn same_content(one: &mut impl Read, other: &mut impl Read) -> io::Result<bool> {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    loop {
        ones.clear();
        others.clear();
        one.take(PIECE_LEN).read_to_end(&mut ones)?;
        other.take(PIECE_LEN).read_to_end(&mut others)?;
        if ones != others {
            return Ok(false);
        }
        if ones.is_empty() {
            return Ok(true);
        }
    }
}
