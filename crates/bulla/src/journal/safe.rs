//! Opening a file that holds state: only if nobody else can have put it there or can write to it (R70, R71, B33).

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use super::draft::step;
use super::file_system::{FileSystem, Kind, Stat};
use super::names::Names;
use crate::Error;

/// A writer changes names under a reader's feet, but not many times within one opening.
const TRIES: usize = 8;

/// Opens the sealed file for reading, with what it was when it was opened. Needs no lock.
pub(crate) fn open<F: FileSystem>(fs: &F, names: &Names, largest: u64) -> Result<(F::File, Stat), Error> {
    let failed = |error: io::Error| step("opening", &names.path)(error);
    for _ in 0..TRIES {
        let Some(stat) = fs.stat(&names.file).map_err(failed)? else {
            let missing = presence(fs, names)?;
            if fs.stat(&names.file).map_err(failed)?.is_some() {
                continue;
            }
            return Err(missing.into_error(names));
        };
        judge(&stat, largest, names, &names.file)?; // opening a device can do something
        let file = match fs.open(&names.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if is_unsafe(&error) => {
                return Err(unsafe_file(names, &names.file, "was swapped while it was opened"));
            }
            opened => opened.map_err(failed)?,
        };
        let mut stat = fs.stat_of(&file).map_err(failed)?;
        judge(&stat, largest, names, &names.file)?;
        if stat.links > 1 {
            // A change that is going on links the content that it replaces under the name where it will be kept.
            let kept = fs.stat(&names.kept(1)).map_err(failed)?;
            stat = fs.stat_of(&file).map_err(failed)?;
            if stat.links > 1 && !(stat.links == 2 && kept.is_some_and(|kept| stat.is_one_with(&kept))) {
                continue;
            }
        }
        return Ok((file, stat));
    }
    Err(unsafe_file(names, &names.file, "has another hard link"))
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

/// Looks what there is of a sealed file. Without the lock, in this order: a first change makes the lock, then the temporary
/// file, then the sealed file, so that what it does in between is never taken for a leftover.
pub(crate) fn presence<F: FileSystem>(fs: &F, names: &Names) -> Result<Presence, Error> {
    let stat = |name: &OsStr| fs.stat(name).map_err(step("looking for", &names.path));

    let mut temporary = None;
    for name in [&names.new, &names.copy] {
        if stat(name)?.is_some() {
            temporary = Some(name.clone());
        }
    }
    if let Some(found) = stat(&names.file)? {
        return Ok(Presence::File(found));
    }
    for generation in Names::generations() {
        if let Some(found) = stat(&names.kept(generation))? {
            return Ok(Presence::Kept(generation, found));
        }
    }
    Ok(match (stat(&names.lock)?, temporary) {
        (Some(lock), _) if lock.len > 0 => Presence::Trace(names.lock.clone()),
        (None, Some(name)) => Presence::Trace(name),
        _ => Presence::Nothing,
    })
}
