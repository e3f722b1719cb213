//! Opening what is read.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;

use bulla_crypto::{AeadKey, Sha256};

use super::batch::{Batch, End, Source};
use super::{Work, into_io};

/// Decrypts what is read from it, a chunk at a time.
///
/// A byte is given out only after its chunk and all before it have authenticated, and the end only after the last one has. A
/// failure is an [`io::Error`] with an [`Error`](crate::Error) inside, and is final.
pub(crate) struct OpenReader<R> {
    key: AeadKey,
    source: Source<R>,
    batch: Batch,
    /// Bytes of the chunk that were given out.
    given: usize,
    digest: Option<Sha256>,
    state: State,
}

enum State {
    Reading,
    Ended,
    Failed,
}

impl<R: Read> OpenReader<R> {
    /// Reads the payload from `input`, and computes its digest if that is wanted.
    pub(crate) fn new(key: AeadKey, input: R, digest: bool) -> Self {
        let work = Work::Open(&key);
        let (source, batch) = (Source::new(work, input, 0), Batch::small(work, 1, digest));
        Self { key, source, batch, given: 0, digest: digest.then(Sha256::new), state: State::Reading }
    }

    /// What is read from.
    pub(crate) const fn input(&self) -> &R {
        self.source.input()
    }

    /// The digest, if it is wanted, once the last chunk has authenticated.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        match self.state {
            State::Ended => self.digest.clone().map(Sha256::finish),
            State::Reading | State::Failed => None,
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        self.given = 0;
        self.source.fill(&mut self.batch, &AtomicBool::new(false));
        self.batch.apply(Work::Open(&self.key));
        if let Some(digest) = &mut self.digest {
            digest.update(self.batch.hashes().as_flattened());
        }
        match self.batch.take_end() {
            End::More => {}
            End::Last => self.state = State::Ended,
            End::Failed(error) => {
                self.state = State::Failed;
                return Err(into_io(error));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let State::Failed = self.state {
            return Err(io::Error::other("the envelope failed to open, so there is no more to read"));
        }
        if self.given == self.batch.chunk().len() && matches!(self.state, State::Reading) && !buf.is_empty() {
            self.next_chunk()?;
        }
        let (_, mut left) = self.batch.chunk().split_at(self.given);
        let read = left.read(buf)?;
        self.given += read;
        Ok(read)
    }
}
