//! Sealing what is written.

use std::io::{self, Write};

use bulla_crypto::{AeadKey, Sha256, TAG_LEN};

use super::batch::SMALL_ROOM;
use super::room::Room;
use super::{CHUNK_LEN, Place, SEALED_LEN, Work, into_io};
use crate::Error;

/// Encrypts what is written to it, a chunk at a time.
///
/// [`finish`](Self::finish) writes the last chunk. What was dropped without it does not open.
pub(crate) struct SealWriter<W> {
    key: AeadKey,
    pub(super) output: W,
    room: Room,
    /// Bytes of the chunk that is begun.
    filled: usize,
    /// Its index.
    index: u64,
    digest: Option<Sha256>,
    /// A chunk that failed to be written must not be sealed once more, with other content under the same nonce (R57).
    broken: bool,
}

impl<W: Write> SealWriter<W> {
    /// Writes the payload to `output`, and computes its digest if that is wanted.
    pub(crate) fn new(key: AeadKey, output: W, digest: bool) -> Self {
        Self::new_from(0, key, output, digest)
    }

    /// As [`new`](Self::new), where the first chunk is not the first of the envelope.
    pub(super) fn new_from(index: u64, key: AeadKey, output: W, digest: bool) -> Self {
        let (room, digest) = (Room::new(SMALL_ROOM), digest.then(Sha256::new));
        Self { key, output, room, filled: 0, index, digest, broken: false }
    }

    /// Writes the last chunk, and gives back the output, which is not flushed, and the digest if it is wanted.
    ///
    /// # Errors
    /// As for writing; also after a write that failed.
    pub(crate) fn finish(mut self) -> Result<(W, Option<[u8; 32]>), Error> {
        self.put(true)?;
        Ok((self.output, self.digest.map(Sha256::finish)))
    }

    fn put(&mut self, last: bool) -> Result<(), Error> {
        let work = Work::Seal(&self.key);
        if self.broken {
            let error = io::Error::other("an earlier write failed, so this envelope cannot be finished");
            return Err(Error::io(work.writing())(error));
        }
        self.broken = true;
        let mut hashes = self.digest.is_some().then(Vec::new);
        let place = Place { index: self.index, last };
        let len = work.apply(place, self.room.bytes_mut(), self.filled, hashes.as_mut())?;
        let chunk = self.room.bytes().split_at(len).0;
        self.output.write_all(chunk).map_err(Error::io(work.writing()))?;
        if let (Some(digest), Some(hashes)) = (&mut self.digest, hashes) {
            digest.update(hashes.as_flattened());
        }
        (self.filled, self.index, self.broken) = (0, self.index + 1, false);
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    /// Takes bytes up to the end of a chunk. A full chunk is written when more comes, since only then it is not the last.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.filled == CHUNK_LEN || self.broken {
            self.put(false).map_err(into_io)?;
        }
        let len = buf.len().min(CHUNK_LEN - self.filled);
        let end = self.filled + len;
        if end + TAG_LEN > self.room.len() {
            self.room.enlarge(SEALED_LEN);
        }
        let (_, space) = self.room.bytes_mut().split_at_mut(self.filled);
        space.split_at_mut(len).0.copy_from_slice(buf.split_at(len).0);
        self.room.used(end);
        self.filled = end;
        Ok(len)
    }

    /// Flushes the output. A chunk that is not full stays here until [`finish`](SealWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
