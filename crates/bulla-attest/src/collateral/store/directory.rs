//! A directory of collateral: files that only this user can have written, and that are there as a whole or not at all.
//!
//! It asks for nothing that a library operating system such as Gramine lacks: no `flock`, no `renameat2`, no `O_TMPFILE`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::status::set_name;
use crate::Error;
use crate::collateral::{CollateralId, Floor, ItemId, Piece};

/// The largest item that is read, in bytes.
const ITEM_LIMIT: usize = 1 << 20;
/// More files than a store has.
const FILES_MAX: usize = 4096;

const FLOOR: &str = "floor.json";
const FETCHED: &str = "fetched.json";
const LOCK: &str = "lock";

/// Where a store keeps its items and its floor: a directory of its own, which other users cannot write to.
///
/// What lies in it is signed by its vendor and verified again whenever it is read, so it needs no secrecy, and whoever
/// controls it can take collateral away but not forge it. They can also put older files back: the floor is remembered in
/// a plain file unless the store is given another [`FloorMemory`].
#[derive(Debug)]
pub struct Directory {
    /// Held open: whatever happens to its path, all operations go to the same one.
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory, and makes it (mode 0700) where there is none.
    ///
    /// # Errors
    /// `store.unsafe` if it belongs to another user or others can write to it; `store.io`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |what: &str, error: io::Error| Error::Store(format!("{what} {}: {error}", path.display()));
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io("making", error)),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| io("opening", errno.into()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| io("opening", errno.into()))?;
        if let Some(why) = not_ours(&stat) {
            return Err(Error::StoreUnsafe { path: path.display().to_string(), why });
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The items that are there, by their files' names.
    pub(super) fn items(&self) -> Result<Vec<ItemId>, Error> {
        let io = |errno: Errno| self.failed("reading", "", errno.into());
        let mut items = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(io)?.take(FILES_MAX) {
            let name = entry.map_err(io)?;
            let stem = name.file_name().to_str().ok().and_then(|name| name.strip_suffix(".json"));
            items.extend(stem.and_then(|stem| stem.parse::<ItemId>().ok()));
        }
        Ok(items)
    }

    pub(super) fn read_item(&self, id: ItemId) -> Result<Option<Piece>, Error> {
        let name = file_name(id);
        let Some(bytes) = self.read(&name, ITEM_LIMIT)? else {
            return Ok(None);
        };
        let damaged = |error| self.failed("reading", &name, io::Error::other(error));
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    pub(super) fn write_item(&self, id: ItemId, piece: &Piece) -> Result<(), Error> {
        let bytes = serde_json::to_vec(piece).expect("text and hex are JSON");
        self.write(&file_name(id), &bytes)
    }

    /// When a set was last fetched by a store of this directory. What cannot be read as such a file says that nobody knows.
    pub(super) fn fetched(&self, id: &CollateralId) -> Result<Option<u64>, Error> {
        Ok(self.all_fetched()?.remove(&set_name(id)))
    }

    /// Keeps when a set was fetched, and forgets what is earlier than `since`. Only with the lock held.
    pub(super) fn note_fetched(&self, id: &CollateralId, now: u64, since: u64) -> Result<(), Error> {
        let mut fetched = self.all_fetched()?;
        fetched.retain(|_, at| (since..=now).contains(at));
        fetched.insert(set_name(id), now);
        self.write(FETCHED, &serde_json::to_vec(&fetched).expect("names and numbers are JSON"))
    }

    fn all_fetched(&self) -> Result<BTreeMap<String, u64>, Error> {
        let bytes = self.read(FETCHED, ITEM_LIMIT)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Does something while no other store, of this process or another, changes the directory.
    pub(super) fn locked<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        /// `fcntl` locks are per process: stores of one process take turns among themselves.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let lock = rustix::fs::openat(&self.fd, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed("opening", LOCK, errno.into()))?;
        while let Err(errno) = rustix::fs::fcntl_lock(&lock, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(self.failed("locking", LOCK, errno.into()));
            }
        }
        work()
    }

    /// A regular file, not a link, with a single name, that belongs to this user and that no other user can write to, of
    /// at most `limit` bytes. All of this is asked of the file that was opened, so swapping it meanwhile does not help.
    fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let io = |errno: Errno| self.failed("opening", name, errno.into());
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.judge(name, &stat, limit)?, // opening a device can do something
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(io(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(io)?);
        self.judge(name, &rustix::fs::fstat(&file).map_err(io)?, limit)?;
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.failed("reading", name, error))?;
        if bytes.len() > limit {
            return Err(self.refuse(name, "grows while it is read"));
        }
        Ok(Some(bytes))
    }

    /// Whoever reads `name` sees the old content or the new, never a part. Only with the lock held.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let draft = format!(".{name}.new");
        let write = || -> io::Result<()> {
            // What a crash left behind.
            match rustix::fs::unlinkat(&self.fd, &draft, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&self.fd, &draft, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(bytes)?;
            file.sync_all()?;
            rustix::fs::renameat(&self.fd, &draft, &self.fd, name)?;
            Ok(rustix::fs::fsync(&self.fd)?)
        };
        write().map_err(|error| self.failed("writing", name, error))
    }

    fn judge(&self, name: &str, stat: &Stat, limit: usize) -> Result<(), Error> {
        let why = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => "is a symbolic link",
            FileType::Directory => "is a directory",
            FileType::RegularFile if stat.st_nlink > 1 => "has another hard link",
            FileType::RegularFile if usize::try_from(stat.st_size).map_or(true, |size| size > limit) => {
                "is larger than such a file can be"
            }
            FileType::RegularFile => match not_ours(stat) {
                Some(why) => why,
                None => return Ok(()),
            },
            _ => "is a device, a pipe or a socket",
        };
        Err(self.refuse(name, why))
    }

    fn refuse(&self, name: &str, why: &'static str) -> Error {
        Error::StoreUnsafe { path: self.path.join(name).display().to_string(), why }
    }

    fn failed(&self, what: &str, name: &str, error: io::Error) -> Error {
        Error::Store(format!("{what} {}: {error}", self.path.join(name).display()))
    }
}

fn not_ours(stat: &Stat) -> Option<&'static str> {
    if stat.st_uid != geteuid().as_raw() {
        return Some("belongs to another user");
    }
    (stat.st_mode & 0o022 != 0).then_some("can be written by other users")
}

fn file_name(id: ItemId) -> String {
    format!("{id}.json")
}

/// Where a floor is remembered between runs. Whoever can put an older one back can undo R29 across a restart, so a
/// program with sealed memory or an anchor of freshness keeps it there.
pub trait FloorMemory: Send + Sync {
    /// What was saved last; `None` if nothing ever was.
    ///
    /// # Errors
    /// Whatever keeps it from being known, in which case nothing is assumed.
    fn load(&self) -> Result<Option<Vec<u8>>, Error>;

    /// Keeps a floor ([`Floor::to_bytes`]) durably.
    ///
    /// # Errors
    /// Whatever keeps it from being durable.
    fn save(&self, floor: &[u8]) -> Result<(), Error>;
}

impl FloorMemory for Directory {
    fn load(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(FLOOR, Floor::LIMIT)
    }

    fn save(&self, floor: &[u8]) -> Result<(), Error> {
        self.write(FLOOR, floor)
    }
}
