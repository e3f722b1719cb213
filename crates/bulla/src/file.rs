//! Files on disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Error;

/// Writes a file as a whole or not at all: whoever reads `path` sees the old content or the new, never a part (R67, R68).
///
/// `write` fills a new file beside `path` (mode 0600, made exclusively, so no link is followed); it is synced to disk, renamed
/// over `path`, and the directory is synced. On any failure before the rename the new file is gone and the old one intact.
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
/// Whatever `write` returns; [`Error::NotAFile`] where `path` is a directory, a link or a device; [`Error::Io`] naming the
/// step that failed. If that is the last step, syncing the directory, the new content is in place but may not survive
/// a power failure.
pub fn replace<E: From<Error>>(path: &Path, write: impl FnOnce(&mut File) -> Result<(), E>) -> Result<(), E> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::NotAFile { path: path.display().to_string() }.into());
    }
    let directory = directory_of(path);
    let step = |what: &str| Error::io(format!("{what} {}", path.display()));

    let mut temporary = tempfile::Builder::new()
        .prefix(".bulla-")
        .suffix(".tmp")
        .tempfile_in(&directory)
        .map_err(step("creating a temporary file beside"))?;
    write(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(step("syncing the new content of"))?;
    temporary.persist(path).map_err(|failure| step("replacing")(failure.error))?;
    File::open(&directory)
        .and_then(|directory| directory.sync_all())
        .map_err(step("syncing the directory of"))?;
    Ok(())
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
