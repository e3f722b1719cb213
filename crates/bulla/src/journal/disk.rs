//! The real file system. It asks for nothing that a library operating system such as Gramine lacks: no `renameat2`, no
//! `O_TMPFILE`, no `flock`.

use std::borrow::{Borrow, BorrowMut};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::{Advice, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::file_system::{FileSystem, Kind, Stat};

/// A directory, held open: whatever happens to its path, all operations go to the same one (R70).
pub(crate) struct Disk {
    directory: OwnedFd,
    identity: (u64, u64),
}

impl Disk {
    /// The directory that a path is in.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let identity = stat_from(&rustix::fs::fstat(&directory)?).identity;
        Ok(Self { directory, identity })
    }

    /// Opens a file as itself: never what a link points to, never as a terminal, and without waiting.
    fn open_as(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let always = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.directory, name, flags | always, mode)?.into())
    }

    fn open_lock(&self, name: &OsStr) -> io::Result<File> {
        loop {
            match self.open_as(name, OFlags::RDWR) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match self.create(name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            }
        }
    }
}

impl FileSystem for Disk {
    type File = File;
    type Lock = Lock;

    fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat_from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn stat_of(&self, file: &File) -> io::Result<Stat> {
        Ok(stat_from(&rustix::fs::fstat(file)?))
    }

    fn open(&self, name: &OsStr) -> io::Result<File> {
        self.open_as(name, OFlags::RDONLY)
    }

    fn reopen(&self, name: &OsStr) -> io::Result<File> {
        let file = self.open(name)?;
        // Clean pages leave the cache, so that reading shows what the device holds. Not every file system does it.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(file)
    }

    fn create(&self, name: &OsStr) -> io::Result<File> {
        let file = self.open_as(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?; // a umask may have taken these away
        Ok(file)
    }

    fn lock(&self, name: &OsStr) -> io::Result<Lock> {
        let turn = Turn::wait(self.identity, name);
        loop {
            let file = self.open_lock(name)?;
            if self.stat_of(&file)?.kind == Kind::Regular {
                while let Err(error) = rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive) {
                    if error != Errno::INTR {
                        return Err(error.into());
                    }
                }
            }
            // Somebody may have removed it while we waited: then others would not wait for us.
            let there = self.stat(name)?.map(|stat| stat.identity);
            if there == Some(self.stat_of(&file)?.identity) {
                return Ok(Lock { file, _turn: turn });
            }
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        Ok(rustix::fs::fsync(file)?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.directory, from, &self.directory, to, AtFlags::empty())?)
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?)
    }
}

/// A lock that is held. The file goes first, and the turn of the next thread comes after.
pub(crate) struct Lock {
    file: File,
    _turn: Turn,
}

impl Borrow<File> for Lock {
    fn borrow(&self) -> &File {
        &self.file
    }
}

impl BorrowMut<File> for Lock {
    fn borrow_mut(&mut self) -> &mut File {
        &mut self.file
    }
}

/// `fcntl` locks are per process: threads have to take turns among themselves. They must do so before they open the file,
/// because closing any descriptor of it gives up the lock of the whole process.
struct Turn {
    place: ((u64, u64), OsString),
}

static TAKEN: Mutex<BTreeSet<((u64, u64), OsString)>> = Mutex::new(BTreeSet::new());
static GIVEN_BACK: Condvar = Condvar::new();

impl Turn {
    fn wait(directory: (u64, u64), name: &OsStr) -> Self {
        let place = (directory, name.to_owned());
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(place.clone()) {
            taken = GIVEN_BACK.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        Self { place }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
        GIVEN_BACK.notify_all();
    }
}

// The widths of these fields differ between processors.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
fn stat_from(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::Regular,
            FileType::Symlink => Kind::Link,
            FileType::Directory => Kind::Directory,
            _ => Kind::Special,
        },
        identity: (stat.st_dev as u64, stat.st_ino as u64),
        links: stat.st_nlink as u64,
        ours: stat.st_uid == geteuid().as_raw(),
        mode: stat.st_mode & 0o7777,
        len: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
    }
}
