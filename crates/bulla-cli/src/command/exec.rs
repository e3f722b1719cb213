//! `bulla exec`: runs a command with keys, and no argument, environment variable or file on a disk ever holds one (R89).
//!
//! ```text
//! bulla exec [--key RING[:ID][=FORM]]... [--request KEY[=FORM]]... [--luks DEVICE]... -- COMMAND [ARGUMENT]...
//! ```
//!
//! `--key` takes a key out of a ring, the one whose generation or id is ID, or else the newest, and writes it down in a [`Form`].
//! `--request` asks a TDX guest's key provider for a key, which then is one more `--key`. `--luks` reads
//! and judges the header of a LUKS2 volume ([`bulla::luks`]). Placeholders in the arguments, alone or as a part of one, say
//! where the command is to find them:
//!
//! | placeholder | what the command reads in its place |
//! |---|---|
//! | `{key}` | the path of a file in memory, `/proc/self/fd/N` |
//! | `{fd}` | the number of a descriptor, at the beginning of such a file |
//! | `{keyring}` | the description of a key of type `user` in a new session keyring of the kernel |
//! | `{luks}` | the path of a file in memory with the judged header |
//!
//! Where there are several, a number follows, from 1 in the order of the options: `{key:2}`. Every key must have a place and
//! every placeholder its key, or nothing runs. Other words in braces stay as they are.
//!
//! Each placeholder has a file of its own. This user can read it and nobody can change it. It lasts until the last process that
//! inherited it has closed it. The command takes the place of this process and inherits what this process inherited, and these
//! files, and nothing else. It runs unprotected, as any other: whoever may look into the command may look into its files.

mod form;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use keyutils::{Keyring, keytypes};
use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use bulla::luks::Volume;
use bulla_crypto::{Class, SecretBytes};

use crate::failure::Failure;

pub(crate) use form::{KeyOption, RequestOption};

/// What an option gives to the command.
pub(crate) struct Handover {
    option: Kind,
    content: SecretBytes,
}

impl Handover {
    /// A key in its form, from the next `--key` or `--request`.
    pub(crate) fn key(content: SecretBytes) -> Self {
        Self { option: Kind::Key, content }
    }

    /// A judged header, from the next `--luks`.
    pub(crate) fn volume(volume: &Volume) -> Self {
        Self { option: Kind::Luks, content: SecretBytes::new(volume.header().to_vec()) }
    }
}

/// Replaces this process by the command, and returns only if that fails.
///
/// # Errors
/// `usage` if options and placeholders do not match, `handover.unavailable` if the kernel does not hand over in this way, or
/// `file` if the command does not start.
pub(crate) fn run(handovers: Vec<Handover>, command: &[OsString]) -> Result<Infallible, Failure> {
    let mut prepared = Prepared::new(&handovers, command)?;
    drop(handovers);
    let error = prepared.command.exec();
    Err(Failure::file("run", Path::new(prepared.command.get_program()), &error))
}

/// A command that has only to be started.
struct Prepared {
    command: Command,
    _files: Vec<OwnedFd>,
}

impl Prepared {
    fn new(handovers: &[Handover], command: &[OsString]) -> Result<Self, Failure> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Failure::usage("name a command to run, after --"))?;
        let mut places =
            Places { handovers, used: vec![false; handovers.len()], files: Vec::new(), session: None };
        let mut command = Command::new(program);
        for argument in arguments {
            command.arg(places.fill(argument)?);
        }
        places.all_used()?;
        Ok(Self { command, _files: places.files })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Key,
    Luks,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Luks => "luks",
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Path,
    Descriptor,
    Keyring,
}

const PLACEHOLDERS: [(&[u8], Kind, Way); 4] = [
    (b"key", Kind::Key, Way::Path),
    (b"fd", Kind::Key, Way::Descriptor),
    (b"keyring", Kind::Key, Way::Keyring),
    (b"luks", Kind::Luks, Way::Path),
];

/// A placeholder as it stands in an argument.
struct Placeholder<'a> {
    kind: Kind,
    way: Way,
    number: Option<&'a [u8]>,
}

impl<'a> Placeholder<'a> {
    /// Reads what is between two braces; `None` if it is not for us.
    fn read(text: &'a [u8]) -> Option<Self> {
        let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let (word, number) = text.split_at_checked(colon)?;
        let (_, kind, way) = PLACEHOLDERS.into_iter().find(|(name, ..)| *name == word)?;
        Some(Self { kind, way, number: number.strip_prefix(b":") })
    }
}

/// What has found its place so far.
struct Places<'a> {
    handovers: &'a [Handover],
    used: Vec<bool>,
    files: Vec<OwnedFd>,
    session: Option<Keyring>,
}

impl Places<'_> {
    /// Puts something in the place of each placeholder of an argument.
    fn fill(&mut self, argument: &OsStr) -> Result<OsString, Failure> {
        let mut filled = Vec::new();
        let mut rest = argument.as_bytes();
        while let Some((before, from)) = split_at_byte(rest, b'{') {
            filled.extend_from_slice(before);
            let inside = split_at_byte(from, b'}');
            match inside.and_then(|(text, after)| Some((Placeholder::read(text)?, after))) {
                Some((placeholder, after)) => {
                    filled.extend_from_slice(self.place(&placeholder)?.as_bytes());
                    rest = after;
                }
                None => {
                    filled.push(b'{');
                    rest = from;
                }
            }
        }
        filled.extend_from_slice(rest);
        Ok(OsString::from_vec(filled))
    }

    fn place(&mut self, placeholder: &Placeholder<'_>) -> Result<String, Failure> {
        let (index, number) = self.find(placeholder)?;
        let (Some(used), Some(handover)) = (self.used.get_mut(index), self.handovers.get(index)) else {
            return Err(Failure::usage("no such key"));
        };
        *used = true;
        match placeholder.way {
            Way::Path => self.file(&handover.content).map(|number| format!("/proc/self/fd/{number}")),
            Way::Descriptor => self.file(&handover.content).map(|number| number.to_string()),
            Way::Keyring => self.keyring(&handover.content, number),
        }
    }

    /// The index of what the placeholder stands for, and its number among its kind.
    fn find(&self, placeholder: &Placeholder<'_>) -> Result<(usize, usize), Failure> {
        let word = placeholder.kind.word();
        let mut those = (0..).zip(self.handovers).filter(|(_, handover)| handover.option == placeholder.kind);
        let count = those.clone().count();
        let number: usize = match placeholder.number {
            None if count == 1 => 1,
            None if count > 1 => {
                let message =
                    format!("there are {count} --{word}: say which, with {{...:1}} to {{...:{count}}}");
                return Err(Failure::usage(message));
            }
            None => 0,
            Some(digits) => {
                std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
            }
        };
        match number.checked_sub(1).and_then(|before| those.nth(before)) {
            Some((index, _)) => Ok((index, number)),
            None => Err(Failure::usage(format!(
                "a placeholder of the command has no --{word}: there are {count}"
            ))),
        }
    }

    /// A sealed file in memory, at its beginning, which a new program inherits; its descriptor's number.
    fn file(&mut self, content: &SecretBytes) -> Result<i32, Failure> {
        let unavailable = |error| unavailable(format!("no file in memory for a key: {error}"));
        let flags = MemfdFlags::ALLOW_SEALING;
        let file = match memfd_create("bulla", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => memfd_create("bulla", flags), // before Linux 6.3
            other => other,
        };
        let mut file = File::from(file.map_err(|error| unavailable(error.into()))?);
        file.write_all(content.expose()).and_then(|()| file.rewind()).map_err(unavailable)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fchmod(&file, Mode::RUSR)
            .and_then(|()| fcntl_add_seals(&file, seals))
            .map_err(|error| unavailable(error.into()))?;
        let number = file.as_raw_fd();
        self.files.push(file.into());
        Ok(number)
    }

    /// A key in a session keyring that nobody shared so far; its description.
    fn keyring(&mut self, content: &SecretBytes, number: usize) -> Result<String, Failure> {
        let unavailable = |error| {
            let hint = "a container may have to be allowed to use keyctl and add_key";
            unavailable(format!("the kernel's keyring does not take the key: {error}; {hint}"))
        };
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Keyring::join_anonymous_session().map_err(unavailable)?),
        };
        let description = format!("bulla:{number}");
        session
            .add_key::<keytypes::User, _, _>(description.as_str(), content.expose())
            .map_err(unavailable)?;
        Ok(description)
    }

    fn all_used(&self) -> Result<(), Failure> {
        match self.handovers.iter().zip(&self.used).find(|(_, used)| !**used) {
            None => Ok(()),
            Some((handover, _)) => {
                let word = handover.option.word();
                let message = format!(
                    "a --{word} has no place in the command: put {{{word}}} where it expects the path of a file"
                );
                Err(Failure::usage(message))
            }
        }
    }
}

/// The kernel does not hand something over in the way that was asked for.
fn unavailable(message: String) -> Failure {
    let mut failure = Failure::other(message);
    (failure.class, failure.code) = (Class::Unavailable, "handover.unavailable");
    failure
}

/// What is before the first such byte, and what is after it.
fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let (before, from) = bytes.split_at_checked(bytes.iter().position(|other| *other == byte)?)?;
    Some((before, from.get(1..)?))
}

#[cfg(test)]
mod tests;
