//! Some chunks that are read, worked on and written together.

use std::io::{self, Read, Write};
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bulla_crypto::TAG_LEN;

use super::room::Room;
use super::{Place, SEALED_LEN, Work};
use crate::Error;

/// Bytes of room where little may come: a secret of 4 KiB, its tag, and space to see that no more comes.
pub(super) const SMALL_ROOM: usize = 4096 + 2 * TAG_LEN + 1;

/// What is read, given out in batches.
pub(super) struct Source<R> {
    input: R,
    /// What to say where it fails.
    reading: &'static str,
    /// A byte that was read to see whether there is one.
    ahead: Option<u8>,
    /// The index of the next chunk.
    next: u64,
    ended: bool,
}

impl<R: Read> Source<R> {
    /// `first` is the index of the first chunk: 0, but for tests.
    pub(super) const fn new(work: Work<'_>, input: R, first: u64) -> Self {
        Self { input, reading: work.reading(), ahead: None, next: first, ended: false }
    }

    pub(super) const fn input(&self) -> &R {
        &self.input
    }

    /// Fills `batch`. False if there is nothing more to do, since the input ended before or since `stopped` was set.
    pub(super) fn fill(&mut self, batch: &mut Batch, stopped: &AtomicBool) -> bool {
        if self.ended {
            return false;
        }
        batch.begin(self.next, self.ahead.take());
        while !stopped.load(Ordering::Relaxed) {
            match self.input.read(batch.space()) {
                Ok(0) => {
                    self.ended = true;
                    batch.end = End::Last;
                    return true;
                }
                Ok(read) => {
                    self.ahead = batch.add(read);
                    if self.ahead.is_some() {
                        self.next += batch.chunks as u64;
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    batch.end = End::Failed(Error::io(self.reading)(error));
                    return true;
                }
            }
        }
        false
    }
}

/// What comes after the chunks of a batch.
pub(super) enum End {
    /// Another batch.
    More,
    /// Nothing: the last of them is the last of all.
    Last,
    /// Nothing that is any good.
    Failed(Error),
}

/// Consecutive chunks, each in a slot of its own with room for a tag behind it, so that all is done in place.
pub(super) struct Batch {
    /// Bytes of input that make a full chunk.
    takes: usize,
    /// Bytes of output that a full chunk makes.
    gives: usize,
    /// How many chunks it takes.
    chunks: usize,
    room: Room,
    /// The index of the first chunk.
    first: u64,
    /// Bytes read, without the gaps between the slots.
    filled: usize,
    /// Chunks that are ready to be written.
    done: usize,
    /// Bytes of the last of these.
    done_len: usize,
    /// The SHA-256 of each of these, as it stands in the envelope, if anybody wants to know.
    hashes: Option<Vec<[u8; 32]>>,
    end: End,
}

impl Batch {
    /// A batch whose room grows with what comes, up to `chunks` chunks.
    pub(super) fn small(work: Work<'_>, chunks: usize, digest: bool) -> Self {
        Self::new(work, chunks, digest, SMALL_ROOM)
    }

    /// A batch with room for `chunks` chunks.
    pub(super) fn full(work: Work<'_>, chunks: usize, digest: bool) -> Self {
        Self::new(work, chunks, digest, room_for(chunks))
    }

    fn new(work: Work<'_>, chunks: usize, digest: bool, room: usize) -> Self {
        let (room, hashes) = (Room::new(room), digest.then(Vec::new));
        let (takes, gives) = (work.takes(), work.gives());
        Self { takes, gives, chunks, room, first: 0, filled: 0, done: 0, done_len: 0, hashes, end: End::More }
    }

    fn begin(&mut self, first: u64, ahead: Option<u8>) {
        (self.first, self.filled, self.done, self.done_len, self.end) = (first, 0, 0, 0, End::More);
        if let Some(ahead) = ahead {
            self.space().split_at_mut(1).0.fill(ahead);
            self.add(1);
        }
    }

    /// Where to read to: the rest of a slot, and in the last slot one byte more.
    fn space(&mut self) -> &mut [u8] {
        if self.gap().is_empty() {
            let chunks = if self.room.len() < SEALED_LEN { 1 } else { self.chunks };
            self.room.enlarge(room_for(chunks));
        }
        let gap = self.gap();
        self.room.bytes_mut().get_mut(gap).unwrap_or_default()
    }

    /// That many bytes were put into the space. Returns the byte beyond the last slot if that is there now.
    fn add(&mut self, read: usize) -> Option<u8> {
        let gap = self.gap();
        let read = read.min(gap.len());
        self.room.used(gap.start + read);
        self.filled += read;
        if self.filled <= self.chunks * self.takes {
            return None;
        }
        self.room.bytes().get(gap.end - 1).copied()
    }

    fn gap(&self) -> Range<usize> {
        let slot = (self.filled / self.takes).min(self.chunks - 1);
        let begin = slot * SEALED_LEN;
        let end = begin + self.takes + usize::from(slot + 1 == self.chunks);
        begin + self.filled - slot * self.takes..end.min(self.room.len() - TAG_LEN)
    }

    /// Whether another batch comes after this one.
    pub(super) const fn more(&self) -> bool {
        matches!(self.end, End::More)
    }

    /// Does `work`, as in [`new`](Self::new), to every chunk, up to the first failure.
    pub(super) fn apply(&mut self, work: Work<'_>) {
        let begun = self.filled.div_ceil(self.takes);
        let count = match self.end {
            End::More => self.chunks,
            End::Last => begun.max(1),
            // Whether the chunk where it broke is the last is not known.
            End::Failed(_) => begun.saturating_sub(1),
        };
        if let Some(hashes) = &mut self.hashes {
            hashes.clear();
        }
        let mut left = self.filled;
        let slots = self.room.bytes_mut().chunks_mut(SEALED_LEN);
        for ((slot, index), nth) in slots.zip(self.first..).zip(1..=count) {
            let last = nth == count && matches!(self.end, End::Last);
            let len = left.min(self.takes);
            left -= len;
            match work.apply(Place { index, last }, slot, len, self.hashes.as_mut()) {
                Ok(given) => (self.done, self.done_len) = (nth, given),
                Err(error) => {
                    self.end = End::Failed(error);
                    return;
                }
            }
        }
    }

    /// Writes the chunks that are done, in as few pieces as they are in.
    pub(super) fn write(&self, mut output: impl Write) -> io::Result<()> {
        let done = self.room.bytes().split_at(self.done_end()).0;
        if self.gives == SEALED_LEN {
            return output.write_all(done);
        }
        done.chunks(SEALED_LEN)
            .try_for_each(|slot| output.write_all(slot.split_at(self.gives.min(slot.len())).0))
    }

    /// The bytes that are done, of a batch of one chunk.
    pub(super) fn chunk(&self) -> &[u8] {
        self.room.bytes().split_at(self.done_end()).0
    }

    /// The hashes of the chunks that are done.
    pub(super) fn hashes(&self) -> &[[u8; 32]] {
        self.hashes.as_deref().unwrap_or_default()
    }

    /// What comes after the chunks that are done.
    pub(super) fn take_end(&mut self) -> End {
        mem::replace(&mut self.end, End::More)
    }

    fn done_end(&self) -> usize {
        self.done.saturating_sub(1) * SEALED_LEN + self.done_len
    }
}

/// Bytes of room for chunks, for a tag behind the last one and for one byte beyond them.
const fn room_for(chunks: usize) -> usize {
    chunks * SEALED_LEN + TAG_LEN + 1
}
