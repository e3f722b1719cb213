//! The log as files: found at a start, appended to in batches, followed by a further file when it is full.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use bulla_crypto::sha256;

use super::folder::Folder;
use crate::audit::{Broken, Entry, LINE_MAX, Position, Recovered, Trouble, Verdict, Verifier};

/// How much of a file is read to find its end. A start has no time for more; `bulla audit verify` reads all.
const WINDOW: u64 = 1 << 20;

/// What is asked of the system, so that tests can have it fail.
pub(super) trait Calls: Send {
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize>;
    fn sync(&mut self, file: &File) -> io::Result<()>;
    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()>;
    /// Keeps space behind the file's end.
    fn reserve(&mut self, file: &File, from: u64, len: u64) -> io::Result<()>;
}

/// The system.
pub(super) struct System;

impl Calls for System {
    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn reserve(&mut self, file: &File, from: u64, len: u64) -> io::Result<()> {
        Ok(fallocate(file, FallocateFlags::KEEP_SIZE, from, len)?)
    }
}

/// The file that is written.
pub(super) struct Log {
    file: File,
    /// Bytes of it that are on the disk.
    pub(super) len: u64,
    /// Where the space ends that is kept.
    reserved: u64,
}

/// What was found when the log was opened.
pub(super) struct Found {
    /// Behind which line to go on.
    pub(super) end: Position,
    /// The file before, if this one is new.
    pub(super) continues: Option<u32>,
    /// Bytes behind that line, and their hash.
    pub(super) torn: Option<(u64, [u8; 32])>,
    /// What to say about it.
    pub(super) broken: Option<Entry>,
}

impl Log {
    /// Finds the end of the log. What is there stays there: half a line is closed, a file that was changed is left and a
    /// further one begun.
    pub(super) fn open(folder: &Folder, calls: &mut dyn Calls) -> io::Result<(Self, Found)> {
        let mut file = folder.current()?;
        let mut found = tail(&mut file, super::FILE)?;
        let before = folder.full()?;
        if found.end == Position::GENESIS && before > 0 {
            let earlier = tail(&mut folder.numbered(before)?, &format!("audit.{before:06}.log"))?;
            found = Found { end: earlier.end, broken: found.broken.or(earlier.broken), ..found };
            found.continues = found.torn.is_none().then_some(before);
        }
        if found.broken.is_some() && found.continues.is_none() {
            let (number, fresh) = folder.rotate()?;
            file = fresh;
            found = Found { continues: Some(number), torn: None, ..found };
        }
        let mut len = file.metadata()?.len();
        if let Some((bytes, hash)) = &mut found.torn {
            // The next line begins on a line of its own.
            let mut last = [0; 1];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                write_all(calls, &file, b"\n")?;
                len += 1;
                *bytes += 1;
                *hash = hash_of_end(&mut file, *bytes)?;
            }
        }
        Ok((Self { file, len, reserved: 0 }, found))
    }

    /// Puts a batch on the disk.
    pub(super) fn commit(&mut self, calls: &mut dyn Calls, batch: &[u8]) -> io::Result<()> {
        write_all(calls, &self.file, batch)?;
        calls.sync(&self.file)?;
        self.len += batch.len() as u64;
        Ok(())
    }

    /// Takes back what a failed batch left, as far as the system lets it: none of it was promised to anyone.
    pub(super) fn abandon(self, calls: &mut dyn Calls) {
        let _ = calls.truncate(&self.file, self.len).and_then(|()| calls.sync(&self.file));
    }

    /// Keeps at least `wanted` bytes for later; whether that is so.
    pub(super) fn reserve(&mut self, calls: &mut dyn Calls, wanted: u64) -> bool {
        if self.reserved >= self.len + wanted {
            return true;
        }
        // Twice as much, so that it is not asked for at every batch.
        let reserved = calls.reserve(&self.file, self.len, 2 * wanted).or_else(|error| {
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                // A file system that cannot keep space is not one that is full.
                Some(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                _ => Err(error),
            }
        });
        if reserved.is_ok() {
            self.reserved = self.len + 2 * wanted;
        }
        reserved.is_ok()
    }

    /// Goes on in a further file.
    pub(super) fn rotate(&mut self, folder: &Folder, calls: &mut dyn Calls) -> io::Result<()> {
        let (_, file) = folder.rotate()?;
        // Gives back what was kept behind the full one.
        let _ = calls.truncate(&self.file, self.len);
        *self = Self { file, len: 0, reserved: 0 };
        Ok(())
    }
}

fn write_all(calls: &mut dyn Calls, file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match calls.write(file, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a file ends with.
fn tail(file: &mut File, name: &str) -> io::Result<Found> {
    let len = file.metadata()?.len();
    let mut verdict = judge(file, name, len.saturating_sub(WINDOW))?;
    if verdict.end.is_none() && len > WINDOW {
        verdict = judge(file, name, 0)?;
    }
    let before_tail = verdict.tail.as_ref().map_or(verdict.findings.len(), |tail| tail.findings);
    let mut troubles = verdict.findings.iter().take(before_tail).map(|finding| &finding.trouble);
    let trouble = troubles.find(|trouble| !matches!(trouble, Trouble::Broken(_)));
    let broken = trouble.map(|trouble| Broken { file: name.into(), found: trouble.to_string() });
    Ok(Found {
        end: verdict.end.unwrap_or(Position::GENESIS),
        continues: None,
        torn: verdict.tail.map(|tail| (tail.bytes, tail.sha256)),
        broken: broken.map(Entry::Broken),
    })
}

fn judge(file: &mut File, name: &str, start: u64) -> io::Result<Verdict> {
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    if start > 0 {
        // The rest of a line whose beginning was not read.
        Read::take(&mut reader, LINE_MAX as u64).read_until(b'\n', &mut Vec::new())?;
    }
    let mut verifier = Verifier::new().without_signatures();
    verifier.read(name, reader, &mut |_| ())?;
    Ok(verifier.end())
}

/// The hash of a file's last bytes.
fn hash_of_end(file: &mut File, bytes: u64) -> io::Result<[u8; 32]> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(bytes)))?;
    let mut hasher = bulla_crypto::Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

impl Found {
    /// The line that closes what is torn, and says how many entries of this process were lost.
    pub(super) fn recovered(&self, lost: u64) -> Option<Entry> {
        let (bytes, hash) = self.torn.unwrap_or((0, sha256(&[])));
        (bytes > 0 || lost > 0)
            .then(|| Entry::Recovered(Recovered { bytes, sha256: hex::encode(hash), lost }))
    }
}
