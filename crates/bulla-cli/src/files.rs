//! Inputs and outputs: a path, or `-` and nothing for a standard stream.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulla::Header;
use bulla_crypto::SecretBytes;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Opens an input.
pub(crate) fn input(path: Option<&Path>) -> Result<File, Failure> {
    match file(path) {
        None => {
            standard(&io::stdin()).map_err(|error| Failure::file("open", Path::new("standard input"), &error))
        }
        Some(path) => File::open(path).map_err(|error| Failure::file("open", path, &error)),
    }
}

/// A path that is not a standard stream.
pub(crate) fn file(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| *path != Path::new("-"))
}

/// Reads an input, and of a longer one the first `limit` bytes.
pub(crate) fn beginning(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    input(Some(path))?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", path, &error))?;
    Ok(bytes)
}

/// Reads a whole input of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let bytes = beginning(path, limit + 1)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage(format!("{} is larger than {limit} bytes", path.display())));
    }
    Ok(bytes)
}

/// As [`read`], for a secret: no copy of it stays behind in memory.
pub(crate) fn secret(path: &Path, limit: u64) -> Result<SecretBytes, Failure> {
    // Room for all from the beginning, because growing would leave copies behind.
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    input(Some(path))?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", path, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage(format!("{} is larger than {limit} bytes", path.display())));
    }
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

/// The header at the beginning of an input, and the whole input again.
pub(crate) fn with_header(mut input: impl Read + Send) -> Result<(Header, impl Read + Send), bulla::Error> {
    let mut recorder = Recorder { input: &mut input, seen: Vec::new() };
    let header = Header::read(&mut recorder)?;
    let seen = recorder.seen;
    Ok((header, io::Cursor::new(seen).chain(input)))
}

struct Recorder<R> {
    input: R,
    seen: Vec<u8>,
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes)?;
        self.seen.extend(bytes.iter().take(read));
        Ok(read)
    }
}

/// Lets `write` produce an output. A file appears whole, replacing what was there, or not at all.
pub(crate) fn output<E>(
    path: Option<&Path>,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), Failure>
where
    Failure: From<E>,
{
    match file(path) {
        None => {
            let output = standard(&io::stdout());
            let mut output =
                output.map_err(|error| Failure::file("open", Path::new("standard output"), &error))?;
            Ok(write(&mut output)?)
        }
        Some(path) => bulla::file::replace(path, |file| Ok(write(file)?)),
    }
}

/// As [`output`] for a file, which is read back by `verify` before it takes its place.
pub(crate) fn verified_output<E>(
    path: Option<&Path>,
    write: impl FnOnce(&mut File) -> Result<(), E>,
    verify: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), Failure>
where
    Failure: From<E>,
{
    let path =
        file(path).ok_or_else(|| Failure::usage("--verify needs a file: a stream cannot be read back"))?;
    bulla::file::replace_verified(path, |file| Ok(write(file)?), |file| Ok(verify(file)?))
}

/// Makes a file of its owner's alone, whole or not at all, where there is none.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::file("write", path, error);
    let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".bulla-")
        .suffix(".tmp")
        .tempfile_in(directory)
        .map_err(|error| failed(&error))?;
    // A umask may have taken the owner's rights away (R73).
    let mode = Permissions::from_mode(0o600);
    file.as_file().set_permissions(mode).map_err(|error| failed(&error))?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(|error| failed(&error))?;
    file.persist_noclobber(path).map_err(|failure| match failure.error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "{} exists, and may be the only copy of a key: name another",
            path.display()
        )),
        _ => failed(&failure.error),
    })?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| failed(&error))
}

/// A standard stream as a file, without a buffer of its own between.
fn standard(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}
