//! Inputs and outputs: a path, or `-` and nothing for a standard stream.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::failure::Failure;

/// Opens an input.
pub(crate) fn input(path: Option<&Path>) -> Result<Box<dyn Read>, Failure> {
    match path.filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(io::stdin().lock())),
        Some(path) => match File::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(Failure::file("open", path, &error)),
        },
    }
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

/// Lets `write` produce an output. A file appears whole, replacing what was there, or not at all.
pub(crate) fn output<E>(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), Failure>
where
    Failure: From<E>,
{
    match path.filter(|path| *path != Path::new("-")) {
        None => Ok(write(&mut io::stdout().lock())?),
        Some(path) => bulla::file::replace(path, |file| Ok(write(file)?)),
    }
}
