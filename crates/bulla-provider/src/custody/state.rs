//! The state directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::{hardware, keyring, memory};
use crate::Error;

/// Held by the one instance that works on the state.
const LOCK: &str = "lock";

/// A state directory that this process alone works on.
pub(crate) struct State {
    folder: PathBuf,
    /// The lock goes when this is closed.
    _lock: File,
}

impl State {
    /// Makes the directory if there is none, and takes its lock (R46).
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let making = Error::io(format!("making {}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(making)?;
        let path = folder.join(LOCK);
        let opening = Error::io(format!("opening {}", path.display()));
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(opening)?;
        fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::Locked { path: path.clone() })?;
        Ok(Self { folder: folder.into(), _lock: lock })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of the state.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether there is anything of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        is_there(&self.path(name))
    }

    /// Refuses what a start would refuse for what is in the directory, and makes nothing. What no start has made yet is fine.
    pub(crate) fn check(folder: &Path) -> Result<(), Error> {
        let looking = || format!("looking at {}", folder.display());
        match fs::metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(looking())(error)),
            Ok(found) if !found.is_dir() => {
                return Err(Error::io(looking())(ErrorKind::NotADirectory.into()));
            }
            Ok(_) => {}
        }
        let path = folder.join(LOCK);
        if let Ok(lock) = OpenOptions::new().write(true).open(&path) {
            fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_| Error::Locked { path })?;
        }
        let roots = [hardware::FILE, keyring::FILE].map(|name| (name, is_there(&folder.join(name))));
        match roots {
            [(_, true), _] | [_, (_, true)] => Ok(()),
            [(hardware, _), _] => require_unused(folder, hardware),
        }
    }

    /// Refuses a directory in which something shows that there was a root, in `file` (R95).
    pub(super) fn require_unused(&self, file: &str) -> Result<(), Error> {
        require_unused(&self.folder, file)
    }

    /// There is `found`, and no roots.
    pub(super) fn missing(&self, found: &str) -> Error {
        missing(&self.folder, found)
    }
}

/// Nothing may be there but the lock, what making the memory and `file` has left unfinished, and the memory, which comes first.
fn require_unused(folder: &Path, file: &str) -> Result<(), Error> {
    let listing = || format!("listing {}", folder.display());
    for entry in fs::read_dir(folder).map_err(Error::io(listing()))? {
        let entry = entry.map_err(Error::io(listing()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_of = |of: &str| name.starts_with(&format!(".{of}.bulla-"));
        // The lock of a change has content once there was something to change.
        let was_there = is_of(file) && name.ends_with("-lock") && entry.metadata()?.len() > 0;
        if was_there || !(name == LOCK || name == memory::FILE || is_of(file) || is_of(memory::FILE)) {
            return Err(missing(folder, &name));
        }
    }
    Ok(())
}

fn missing(folder: &Path, found: &str) -> Error {
    Error::MissingSeal { state_dir: folder.into(), found: found.into() }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
