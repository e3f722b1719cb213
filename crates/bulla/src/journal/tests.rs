//! The proof of the journal: on a disk that loses power, fails and lies, and on the real one under `kill -9`.

mod crash;
mod faults;
mod faulty;
mod kill;
mod leftovers;
mod meanwhile;
mod real;

use std::io::{Read, Write};

use super::file_system::FileSystem;
use super::names::Names;
use super::protocol::Protocol;
use super::{Changed, Recovered};
use crate::Error;

/// What the sealed file is called in all tests.
const FILE: &str = "ring";
const LOCK: &str = ".ring.bulla-lock";
const NEW: &str = ".ring.bulla-new";
const COPY: &str = ".ring.bulla-copy";

fn kept(generation: usize) -> String {
    format!(".ring.bulla-{generation}")
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "within a test".into(), source }
}

fn protocol<F: FileSystem>(fs: F, keep: usize) -> Protocol<F> {
    Protocol { fs, names: Names::of(FILE.as_ref()).unwrap(), keep, largest: u64::MAX }
}

/// Writes in two goes, so that there is a state between them.
fn write(file: &mut impl Write, content: &str) -> Result<(), Error> {
    let (first, second) = content.split_at(content.len() / 2);
    file.write_all(first.as_bytes()).and_then(|()| file.write_all(second.as_bytes())).map_err(failed)
}

fn read(file: &mut impl Read) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn verify(file: &mut impl Read, content: &str) -> Result<(), Error> {
    if read(file)? == content {
        return Ok(());
    }
    Err(Error::Malformed("not what was written"))
}

/// Changes whatever is there to `content`.
fn change_to<F: FileSystem>(journal: &Protocol<F>, content: &str) -> Result<Recovered, Error> {
    journal
        .change(
            |old, new| {
                read(old)?;
                write(new, content)
            },
            |written, ()| verify(written, content),
        )
        .map(|Changed { recovered, .. }| recovered)
}

/// Adds a letter to whatever is there: if two do so and none is lost, there are two more.
fn append<F: FileSystem>(journal: &Protocol<F>, letter: char) -> Result<(), Error> {
    journal
        .change(
            |old, new| {
                let mut content = read(old)?;
                content.push(letter);
                write(new, &content).map(|()| content)
            },
            |written, content| verify(written, content),
        )
        .map(drop)
}

fn create<F: FileSystem>(journal: &Protocol<F>, content: &str) -> Result<(), Error> {
    journal.create(|new| write(new, content), |written, ()| verify(written, content))
}
