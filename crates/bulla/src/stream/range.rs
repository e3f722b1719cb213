//! Opening a part.

use std::io::{self, Read, Seek, SeekFrom};

use bulla_crypto::AeadKey;

use super::room::Room;
use super::{CHUNK_LEN, MAX_CHUNKS, Place, SEALED_LEN, Work, into_io};
use crate::Error;

/// Decrypts the ranges that it is asked for and reads only the chunks that they touch, and the last one.
///
/// The last chunk has authenticated as the last before there is one of these, so the length of the secret is not a claim. A chunk
/// that is not asked for is not checked. One decrypted chunk is kept.
pub(crate) struct RangeReader<R> {
    key: AeadKey,
    pub(super) input: R,
    /// Where the payload begins in the input.
    start: u64,
    /// Bytes of the payload.
    sealed_len: u64,
    /// Bytes of the secret.
    len: u64,
    /// The index of the last chunk.
    last: u64,
    /// The chunk that is kept.
    room: Room,
    kept: Option<Kept>,
    position: u64,
}

#[derive(Clone, Copy)]
struct Kept {
    index: u64,
    len: usize,
}

impl<R: Read + Seek> RangeReader<R> {
    /// The payload is from `start` to before `end` of the input.
    ///
    /// # Errors
    /// [`Error::PayloadChanged`] with the last chunk if it is not the last of this payload; [`Error::Truncated`] for less than a
    /// tag; [`Error::Io`].
    pub(crate) fn new(key: AeadKey, input: R, start: u64, end: u64) -> Result<Self, Error> {
        let sealed_len = end.saturating_sub(start);
        let last = sealed_len.saturating_sub(1) / SEALED_LEN as u64;
        if last >= MAX_CHUNKS {
            return Err(Error::PayloadChanged { chunk: MAX_CHUNKS });
        }
        let room = Room::new(sealed_len.min(SEALED_LEN as u64) as usize);
        let mut reader = Self { key, input, start, sealed_len, len: 0, last, room, kept: None, position: 0 };
        let kept = reader.keep(last)?;
        reader.len = last * CHUNK_LEN as u64 + kept.len as u64;
        Ok(reader)
    }

    /// Bytes of the secret.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Reads from `offset` up to the end of a chunk; nothing beyond the end.
    fn read_some(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        if offset >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let (index, skip) = (offset / CHUNK_LEN as u64, (offset % CHUNK_LEN as u64) as usize);
        let kept = match self.kept {
            Some(kept) if kept.index == index => kept,
            _ => self.keep(index)?,
        };
        let chunk = self.room.bytes().get(skip..kept.len).unwrap_or_default();
        let read = chunk.len().min(buf.len());
        buf.split_at_mut(read).0.copy_from_slice(chunk.split_at(read).0);
        Ok(read)
    }

    /// Reads and opens a chunk, and keeps it instead of the one before.
    fn keep(&mut self, index: u64) -> Result<Kept, Error> {
        let work = Work::Open(&self.key);
        let begin = index * SEALED_LEN as u64;
        let len = (self.sealed_len - begin).min(SEALED_LEN as u64) as usize;
        self.kept = None;
        self.room.used(len);
        let (chunk, _) = self.room.bytes_mut().split_at_mut(len);
        self.input.seek(SeekFrom::Start(self.start + begin)).map_err(Error::io(work.reading()))?;
        self.input.read_exact(chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated,
            _ => Error::io(work.reading())(error),
        })?;
        let len = work.apply(Place { index, last: index == self.last }, chunk, len, None)?;
        Ok(*self.kept.insert(Kept { index, len }))
    }
}

impl<R: Read + Seek> Read for RangeReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.read_some(self.position, buf).map_err(into_io)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<R> Seek for RangeReader<R> {
    /// Reads nothing. A position beyond the end is allowed, and nothing is there.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position before the beginning"))?;
        Ok(self.position)
    }
}
