//! The payload: a stream of chunks, each authenticated with its place and with whether it is the last (R59).

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use bulla_crypto::{AeadKey, NONCE_LEN, TAG_LEN};

use crate::Error;

/// Bytes of plaintext in every chunk but the last.
const CHUNK_LEN: usize = 64 * 1024;
/// Chunks of one envelope: 256 TiB, far within what AES-256-GCM allows under one key (R60).
const MAX_CHUNKS: u64 = 1 << 32;

/// Encrypts `input` to its end.
pub(crate) fn seal(key: &AeadKey, input: impl Read, mut output: impl Write) -> Result<(), Error> {
    let mut nonces = Nonces::default();
    let mut chunks = Chunks::new(input, CHUNK_LEN).map_err(Error::io("reading the secret"))?;
    loop {
        let (chunk, last) = chunks.advance().map_err(Error::io("reading the secret"))?;
        let nonce = nonces.next(last).ok_or(Error::TooLarge("the secret"))?;
        let tag = key.seal(&nonce, &[], chunk);
        chunk.extend_from_slice(&tag);
        output.write_all(chunk).map_err(Error::io("writing the envelope"))?;
        if last {
            return Ok(());
        }
    }
}

/// Decrypts `input`, which ends where the payload ends. Each chunk is written only after it has authenticated; the whole is
/// good only if this returns `Ok`.
pub(crate) fn open(key: &AeadKey, input: impl Read, mut output: impl Write) -> Result<(), Error> {
    let mut nonces = Nonces::default();
    let mut chunks = Chunks::new(input, CHUNK_LEN + TAG_LEN).map_err(Error::io("reading the envelope"))?;
    loop {
        let index = nonces.used;
        let changed = || Error::PayloadChanged { chunk: index };
        let (chunk, last) = chunks.advance().map_err(Error::io("reading the envelope"))?;
        let nonce = nonces.next(last).ok_or_else(changed)?;
        let (message, tag) = chunk.split_last_chunk_mut::<TAG_LEN>().ok_or(Error::Truncated)?;
        key.open(&nonce, &[], message, tag).map_err(|_| changed())?;
        if message.is_empty() && index > 0 {
            return Err(changed());
        }
        output.write_all(message).map_err(Error::io("writing the secret"))?;
        if last {
            return Ok(());
        }
    }
}

/// 11 bytes of counter, big-endian, and one byte that is 1 for the last chunk.
#[derive(Default)]
struct Nonces {
    used: u64,
}

impl Nonces {
    fn next(&mut self, last: bool) -> Option<[u8; NONCE_LEN]> {
        if self.used == MAX_CHUNKS {
            return None;
        }
        let counter = u128::from(self.used) << 8 | u128::from(last);
        self.used += 1;
        counter.to_be_bytes().last_chunk().copied()
    }
}

/// Cuts a reader into chunks and tells which one is the last, for which it reads ahead of a full one.
///
/// Both buffers hold plaintext at times. They get their room at once, since growing would leave a copy behind, and are wiped
/// when dropped.
struct Chunks<R> {
    input: R,
    len: usize,
    chunk: Zeroizing<Vec<u8>>,
    ahead: Zeroizing<Vec<u8>>,
}

impl<R: Read> Chunks<R> {
    fn new(input: R, len: usize) -> io::Result<Self> {
        let mut chunks = Self { input, len, chunk: Zeroizing::default(), ahead: Zeroizing::default() };
        chunks.read_ahead()?;
        Ok(chunks)
    }

    /// The next chunk, and whether it is the last; only the last may be short, and it is empty only if it is the first.
    fn advance(&mut self) -> io::Result<(&mut Vec<u8>, bool)> {
        std::mem::swap(&mut self.chunk, &mut self.ahead);
        if self.chunk.len() == self.len {
            self.read_ahead()?;
        } else {
            self.ahead.clear();
        }
        Ok((&mut self.chunk, self.ahead.is_empty()))
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        if self.ahead.capacity() == 0 {
            self.ahead.reserve_exact(self.len + TAG_LEN);
        }
        self.ahead.resize(self.len, 0);
        let mut filled = 0;
        while let Some(space @ [_, ..]) = self.ahead.get_mut(filled..) {
            match self.input.read(space) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.ahead.truncate(filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R60: the counter stops before it repeats, and the flag never runs into it.
    #[test]
    fn nonces_do_not_repeat_and_end() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.next(false).unwrap(), [0; 12]);
        assert_eq!(nonces.next(true).unwrap(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);

        let mut nonces = Nonces { used: MAX_CHUNKS - 1 };
        assert_eq!(nonces.next(true).unwrap(), [0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1]);
        assert_eq!(nonces.next(true), None);
    }
}
