//! A ring's file: how it is made, read and written, and whether there may have been one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::content::{Content, of_context};
use crate::file::open_sealed;
use crate::journal::{Disk, FileSystem, Journal, step};
use crate::sealer::check_epoch;
use crate::{Error, Opened, Sealer, Unsealer};

/// Bytes of the file at most: the largest header and 4096 generations take less.
const LARGEST: u64 = 512 * 1024;

const NOT_A_CONTEXT: Error =
    Error::Invalid("this is not the context of a key ring: ask Ring::context for one");

/// A ring as it was read from its file.
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) opened: Opened,
}

impl Stored {
    pub(super) fn read(file: &mut File, unsealer: &Unsealer<'_>) -> Result<Self, Error> {
        let mut sealed = Vec::new();
        file.take(LARGEST).read_to_end(&mut sealed).map_err(Error::io("reading the key ring"))?;
        let (payload, opened) = unsealer.unseal(&sealed)?;
        let content = Content::decode(&payload)?;
        if of_context(opened.header.context()) != Some((&content.name, &content.role)) {
            return Err(Error::MalformedRing("its name and role are not those of its context"));
        }
        if opened.header.epoch().unwrap_or(0) < u64::from(content.newest()) {
            return Err(Error::MalformedRing("it has more generations than its epoch says"));
        }
        Ok(Self { content, opened })
    }
}

/// The first content of a ring's file.
pub(super) fn make(path: &Path, sealer: Sealer<'_>, unsealer: &Unsealer<'_>) -> Result<Stored, Error> {
    let (name, role) = of_context(&sealer.context).ok_or(NOT_A_CONTEXT)?;
    let content = Content::new(name, role, sealer.notes.created)?;
    let sealer = if unsealer.demands.origin { sealer.prove_origin() } else { sealer };
    let sealer = sealer.epoch(1);
    let mut made = None;
    journal(path)?.create(
        |new| {
            if let Some((anchor, id)) = unsealer.demands.anchor {
                check_epoch(None, anchor.highest(&id)?.highest)?; // it knows of a ring, and there is none
            }
            write(new, &sealer, &content)
        },
        |written, ()| {
            made = Some(read_back(written, unsealer, &content)?);
            Ok::<(), Error>(())
        },
    )?;
    Ok(made.expect("it was read back before the journal put it in place"))
}

/// The file of a ring.
pub(super) fn find(path: &Path) -> Result<File, Error> {
    open_sealed(path, LARGEST)
}

pub(super) fn journal(path: &Path) -> Result<Journal, Error> {
    Ok(Journal::at(path)?.largest(LARGEST))
}

/// Brings to the device which file has the ring's name.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    let directory = Disk::beside(path).map_err(step("opening the directory of", path))?;
    directory.sync_directory().map_err(step("syncing the directory of", path))
}

pub(super) fn write(file: &mut File, sealer: &Sealer<'_>, content: &Content) -> Result<(), Error> {
    let sealed = sealer.seal(content.encode().expose())?;
    file.write_all(&sealed).map_err(Error::io("writing the key ring"))
}

/// Reads what was just written, which must be `content` (R69).
pub(super) fn read_back(
    file: &mut File,
    unsealer: &Unsealer<'_>,
    content: &Content,
) -> Result<Stored, Error> {
    let read = Stored::read(file, unsealer)?;
    if !read.content.encode().ct_eq(&content.encode()) {
        return Err(Error::NotAsWritten);
    }
    Ok(read)
}

/// The first of `data` that is not empty or absent.
pub(super) fn first_with_data(data: &[impl AsRef<Path>]) -> Result<Option<&Path>, Error> {
    for path in data {
        let path = path.as_ref();
        if has_data(path).map_err(Error::io(format!("looking for data at {}", path.display())))? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// What is neither an empty file nor an empty directory counts: a device, and a link to what is not there at the moment.
fn has_data(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(fs::read_dir(path)?.next().is_some()),
        Ok(found) => Ok(!found.is_file() || found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(fs::symlink_metadata(path).is_ok()),
        Err(error) => Err(error),
    }
}
