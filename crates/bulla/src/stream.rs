//! The payload: a stream of chunks, each authenticated with its place and with whether it is the last (R59).
//!
//! - [`seal`], [`open`] and [`copy`] take a whole stream through all cores in constant memory ([`line`]).
//! - [`memory`] does the same from slice to slice.
//! - [`SealWriter`] and [`OpenReader`] are for who wants to hold the other end, a chunk at a time.
//! - [`RangeReader`] opens the chunks that it is asked for and no other.
//! - [`HoldBack`] keeps what stands behind the payload away from all of these.

mod batch;
mod hold_back;
mod line;
pub(crate) mod memory;
mod range;
mod reader;
mod room;
#[cfg(test)]
mod tests;
mod writer;

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use bulla_crypto::{AeadKey, NONCE_LEN, TAG_LEN, sha256};

use crate::Error;

pub(crate) use hold_back::HoldBack;
pub(crate) use range::RangeReader;
pub(crate) use reader::OpenReader;
pub(crate) use writer::SealWriter;

/// Bytes of plaintext in every chunk but the last.
pub(crate) const CHUNK_LEN: usize = 64 * 1024;
/// Bytes of every chunk but the last as it stands in the envelope.
const SEALED_LEN: usize = CHUNK_LEN + TAG_LEN;
/// Chunks of one envelope: 256 TiB, far within what AES-256-GCM allows under one key (R60).
const MAX_CHUNKS: u64 = 1 << 32;

/// How a whole stream is run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Run {
    /// The most threads at work, the caller's among them; with 1 no other is ever started. `None` is one for each core.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Whether to compute the digest of the payload: SHA-256 of the concatenation of the SHA-256 of each chunk with its tag, so
    /// that every thread can do its part.
    pub(crate) digest: bool,
}

/// Encrypts `input` to its end and returns the digest of the payload if it was asked for.
pub(crate) fn seal(
    key: &AeadKey,
    input: impl Read + Send,
    output: impl Write + Send,
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    line::run(Work::Seal(key), input, output, run)
}

/// Decrypts `input`, which ends where the payload ends, and returns the digest of the payload if it was asked for. Each chunk
/// is written only after it and all before it have authenticated; the whole is good only if this returns `Ok`.
pub(crate) fn open(
    key: &AeadKey,
    input: impl Read + Send,
    output: impl Write + Send,
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    line::run(Work::Open(key), input, output, run)
}

/// Copies a payload as it is, for which it takes no key and checks nothing, and returns its digest if it was asked for. Into
/// [`io::sink`] that is all it does.
pub(crate) fn copy(
    input: impl Read + Send,
    output: impl Write + Send,
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    line::run(Work::Copy, input, output, run)
}

/// What is done to each chunk.
#[derive(Clone, Copy)]
enum Work<'k> {
    Seal(&'k AeadKey),
    Open(&'k AeadKey),
    Copy,
}

impl Work<'_> {
    /// Bytes of input that make a full chunk.
    const fn takes(self) -> usize {
        match self {
            Self::Seal(_) => CHUNK_LEN,
            Self::Open(_) | Self::Copy => SEALED_LEN,
        }
    }

    /// Bytes of output that a full chunk gives.
    const fn gives(self) -> usize {
        match self {
            Self::Seal(_) | Self::Copy => SEALED_LEN,
            Self::Open(_) => CHUNK_LEN,
        }
    }

    /// Does it, in place, to the chunk that is the first `len` bytes of `slot`; there is room for a tag behind them. Returns how
    /// many bytes the chunk has now. `hashes` gets the SHA-256 of the chunk as it stands in the envelope.
    fn apply(
        self,
        place: Place,
        slot: &mut [u8],
        len: usize,
        hashes: Option<&mut Vec<[u8; 32]>>,
    ) -> Result<usize, Error> {
        let (chunk, behind) = slot.split_at_mut(len);
        match self {
            Self::Seal(key) => {
                let nonce = place.nonce().ok_or(Error::TooLarge("the secret"))?;
                let tag = key.seal(&nonce, &[], chunk);
                *behind.first_chunk_mut().expect("a slot has room for a tag") = tag;
                hashes.into_iter().for_each(|hashes| hashes.push(sha256(&[chunk, &tag])));
                Ok(len + TAG_LEN)
            }
            Self::Open(key) => {
                hashes.into_iter().for_each(|hashes| hashes.push(sha256(&[chunk])));
                let changed = || Error::PayloadChanged { chunk: place.index };
                let nonce = place.nonce().ok_or_else(changed)?;
                let (message, tag) = chunk.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Truncated)?;
                key.open(&nonce, &[], message, tag).map_err(|_| changed())?;
                if message.is_empty() && place.index > 0 {
                    return Err(changed());
                }
                Ok(message.len())
            }
            Self::Copy => {
                hashes.into_iter().for_each(|hashes| hashes.push(sha256(&[chunk])));
                Ok(len)
            }
        }
    }

    const fn reading(self) -> &'static str {
        match self {
            Self::Seal(_) => "reading the secret",
            Self::Open(_) | Self::Copy => "reading the envelope",
        }
    }

    const fn writing(self) -> &'static str {
        match self {
            Self::Seal(_) | Self::Copy => "writing the envelope",
            Self::Open(_) => "writing the secret",
        }
    }
}

/// Where a chunk stands.
#[derive(Clone, Copy)]
struct Place {
    index: u64,
    last: bool,
}

impl Place {
    /// 11 bytes of counter, big-endian, and one byte that is 1 for the last chunk; none beyond the chunks that there may be.
    fn nonce(self) -> Option<[u8; NONCE_LEN]> {
        if self.index >= MAX_CHUNKS {
            return None;
        }
        let number = u128::from(self.index) << 8 | u128::from(self.last);
        number.to_be_bytes().last_chunk().copied()
    }
}

/// For the traits of [`std::io`]: the error itself is inside, and the kind is that of the system where it was the system's.
fn into_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
