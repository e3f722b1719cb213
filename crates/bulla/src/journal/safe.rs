//! Opening a file that holds state: only if nobody else can have put it there or can write to it (R70, R71, B33).

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use super::draft::step;
use super::file_system::{FileSystem, Kind, Stat};
use super::names::Names;
use crate::Error;

pub(crate) const ANOTHER_LINK: &str = "has another hard link";

/// Opens the sealed file for reading. If its names are not as they should be, perhaps because somebody is at work on them at this
/// moment, it waits for the lock and looks again.
pub(crate) fn open<F: FileSystem>(fs: &F, names: &Names, largest: u64) -> Result<F::File, Error> {
    let opened = match open_once(fs, names, largest) {
        Err(error) if may_pass(&error) && has_lock(fs, names)? => {
            let _lock = fs.lock(&names.lock).map_err(step("locking", &names.path))?;
            open_once(fs, names, largest)
        }
        opened => opened,
    };
    opened.map(|(file, _)| file)
}

/// Opens the sealed file for reading, and says what it was when it was opened. An error is final only with the lock held.
pub(crate) fn open_once<F: FileSystem>(
    fs: &F,
    names: &Names,
    largest: u64,
) -> Result<(F::File, Stat), Error> {
    let failed = |error: io::Error| step("opening", &names.path)(error);
    match presence(fs, names)? {
        Presence::File(found) => judge(&found, largest, names, &names.file)?, // opening a device can do something
        missing => return Err(missing.into_error(names)),
    }
    let file = match fs.open(&names.file) {
        Err(error) if is_unsafe(&error) => return Err(unsafe_file(names, &names.file, "is being swapped")),
        opened => opened.map_err(failed)?,
    };
    let opened = fs.stat_of(&file).map_err(failed)?;
    judge(&opened, largest, names, &names.file)?;
    if opened.links > 1 {
        // A change links the content that it replaces under the name where it will be kept. At the instant when one of the names
        // comes or goes the system may show the number of links before the names, or after.
        let kept = fs.stat(&names.kept(1)).map_err(failed)?;
        if opened.links > 2 || !kept.is_some_and(|kept| kept.is_one_with(&opened)) {
            return Err(unsafe_file(names, &names.file, ANOTHER_LINK));
        }
    }
    Ok((file, opened))
}

/// Whether an error may be gone when a change that goes on is done: one about the names, not one of the system.
pub(crate) fn may_pass(error: &Error) -> bool {
    !matches!(error, Error::Io { source, .. } if source.kind() != io::ErrorKind::NotFound)
}

/// Whether there is a lock file, which must be safe too.
pub(crate) fn has_lock<F: FileSystem>(fs: &F, names: &Names) -> Result<bool, Error> {
    let lock = fs.stat(&names.lock).map_err(step("looking for the lock of", &names.path))?;
    if let Some(stat) = &lock {
        judge(stat, u64::MAX, names, &names.lock)?; // opening a device can do something
    }
    Ok(lock.is_some())
}

/// All of R70 but the number of links, which a change that is going on alters.
pub(crate) fn judge(stat: &Stat, largest: u64, names: &Names, name: &OsStr) -> Result<(), Error> {
    let why = match stat.kind {
        Kind::Link => "is a symbolic link",
        Kind::Directory => "is a directory",
        Kind::Special => "is a device, a pipe or a socket",
        Kind::Regular if !stat.ours => "belongs to another user",
        Kind::Regular if stat.mode & 0o022 != 0 => "can be written by other users",
        Kind::Regular if stat.len > largest => "is larger than such a file can be",
        Kind::Regular => return Ok(()),
    };
    Err(unsafe_file(names, name, why))
}

pub(crate) fn unsafe_file(names: &Names, name: &OsStr, why: &'static str) -> Error {
    Error::UnsafeFile { path: names.path.with_file_name(name).display().to_string(), why }
}

/// What opening says where a link or a socket was put after we looked.
fn is_unsafe(error: &io::Error) -> bool {
    [Errno::LOOP, Errno::NXIO].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What there is of a sealed file.
pub(crate) enum Presence {
    File(Stat),
    /// The file is gone, but an earlier generation is kept under this number.
    Kept(usize, Stat),
    /// Only this name shows that there was, or may have been, a sealed file.
    Trace(OsString),
    Nothing,
}

impl Presence {
    /// What to answer a caller who needs the file and has not got it.
    pub(crate) fn into_error(self, names: &Names) -> Error {
        let trace = match self {
            Self::Kept(generation, _) => names.kept(generation),
            Self::Trace(name) => name,
            Self::File(_) | Self::Nothing => {
                return step("opening", &names.path)(Errno::NOENT.into());
            }
        };
        Error::MissingSeal {
            path: names.path.display().to_string(),
            trace: names.path.with_file_name(trace).display().to_string(),
        }
    }
}

/// Looks what there is of a sealed file. What is missing may be about to be made, unless the lock is held or there is none.
pub(crate) fn presence<F: FileSystem>(fs: &F, names: &Names) -> Result<Presence, Error> {
    let stat = |name: &OsStr| fs.stat(name).map_err(step("looking for", &names.path));
    if let Some(found) = stat(&names.file)? {
        return Ok(Presence::File(found));
    }
    for generation in Names::generations() {
        if let Some(found) = stat(&names.kept(generation))? {
            return Ok(Presence::Kept(generation, found));
        }
    }
    if let Some(lock) = stat(&names.lock)? {
        return Ok(if lock.len > 0 { Presence::Trace(names.lock.clone()) } else { Presence::Nothing });
    }
    for name in [&names.new, &names.copy] {
        if stat(name)?.is_some() {
            return Ok(Presence::Trace(name.clone()));
        }
    }
    Ok(Presence::Nothing)
}
