//! The one thread that writes.

use std::io;
use std::mem;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bulla_crypto::SigningKey;

use super::folder::Folder;
use super::log::{Calls, Log};
use super::ticket::Waiter;
use super::{Queue, Shared, counted};
use crate::audit::{Continued, Entry, Event, Position, checkpoint, compose};
use crate::clock::host_time;

/// How soon a log that could not be written is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// The longest that a batch waits for more.
const PATIENCE: Duration = Duration::from_millis(2);
/// What a sync takes on a disk that is worth no waiting.
const QUICK: Duration = Duration::from_micros(500);

/// Lines that wait for the disk, and who waits for them.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: usize,
    waiters: Vec<Waiter>,
}

impl Batch {
    pub(super) fn push(&mut self, line: &[u8], waiter: Waiter) {
        self.bytes.extend_from_slice(line);
        self.entries += 1;
        self.waiters.push(waiter);
    }
}

/// What the thread has.
pub(super) struct Writer {
    shared: Arc<Shared>,
    folder: Folder,
    key: Arc<SigningKey>,
    calls: Box<dyn Calls>,
    log: Option<Log>,
    /// Whether this process has said that it started.
    started: bool,
    /// Entries that could not be written.
    lost: u64,
    /// Whether space is kept for releases.
    reserve: bool,
    /// How long the file may become.
    full: u64,
    /// How long the last sync took.
    sync: Duration,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        folder: Folder,
        key: Arc<SigningKey>,
        calls: Box<dyn Calls>,
    ) -> Self {
        let full = shared.limits.file;
        let sync = Duration::ZERO;
        Self { shared, folder, key, calls, log: None, started: false, lost: 0, reserve: true, full, sync }
    }

    /// Opens the log, if that is possible now.
    pub(super) fn start(&mut self) {
        if let Err(error) = self.open() {
            tracing::error!(error = %error, "the audit log cannot be written, and no key is given until it can");
        }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut queue = shared.queue();
            if self.log.is_none() {
                let wait = shared.wake.wait_timeout_while(queue, RETRY, |queue| !queue.closing);
                let (queue, _) = wait.unwrap_or_else(PoisonError::into_inner);
                if queue.closing {
                    return;
                }
                drop(queue);
                if self.open().is_ok() {
                    tracing::info!("the audit log can be written again");
                }
                continue;
            }
            let idle = |queue: &mut Queue| queue.batch.entries == 0 && !queue.closing;
            queue = shared.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let closing = queue.closing;
            if self.sync > QUICK && !closing {
                // Those who were just woken ask again at once. Without them, the next batch has only those who came during
                // this one, and on a slow disk everybody waits for two.
                drop(queue);
                thread::sleep(PATIENCE.min(self.sync / 8));
                queue = shared.queue();
            }
            if closing {
                queue.close();
            }
            queue.writing = Some((shared.clock)());
            self.commit(queue);
            shared.queue().writing = None;
            if closing {
                return;
            }
        }
    }

    /// Writes what waits, and wakes who waits for it.
    fn commit(&mut self, mut queue: MutexGuard<'_, Queue>) {
        let (Some(log), Some(end)) = (&mut self.log, queue.end) else { return };
        let mut batch = mem::take(&mut queue.batch);
        queue.end = Some(sign(&self.key, end, &mut batch.bytes));
        queue.reserve = self.reserve;
        let full = !queue.closing && log.len + batch.bytes.len() as u64 > self.full;
        if full {
            // The first line of the next file; whatever is appended meanwhile stands behind it.
            queue.refusals.bytes = 0;
            if let Ok(file) = self.folder.full() {
                let stated = queue.stated.clone();
                drop(queue.append(&Entry::Continued(Continued { file: file + 1, stated })));
            }
        }
        drop(queue);
        let start = Instant::now();
        if let Err(error) = log.commit(self.calls.as_mut(), &batch.bytes) {
            return self.fail(&error, batch);
        }
        self.sync = start.elapsed();
        batch.waiters.into_iter().for_each(Waiter::written);
        if full {
            self.full = self.shared.limits.file;
            if let Err(error) = log.rotate(&self.folder, self.calls.as_mut()) {
                tracing::warn!(error = %error, "the audit log is full, and no further file can be begun");
                self.full = log.len + self.shared.limits.file / 16;
            }
        }
        let reserve = log.reserve(self.calls.as_mut(), self.shared.limits.reserve);
        if self.reserve && !reserve {
            tracing::warn!("no space can be kept for the audit log: refusals are not recorded until it can");
        }
        self.reserve = reserve;
    }

    /// Refuses all that waits. What was appended is forgotten: nobody has seen it.
    fn fail(&mut self, error: &io::Error, batch: Batch) {
        tracing::error!(error = %error, "the audit log cannot be written, and no key is given until it can");
        {
            let mut queue = self.shared.queue();
            queue.end = None;
            let waiting = mem::take(&mut queue.batch);
            self.lost += (batch.entries + waiting.entries) as u64;
        }
        if let Some(log) = self.log.take() {
            log.abandon(self.calls.as_mut());
        }
    }

    /// Finds the log's end, and says there what there is to say.
    fn open(&mut self) -> io::Result<()> {
        let (mut log, found) = Log::open(&self.folder, self.calls.as_mut())?;
        let stated = self.shared.queue().stated.clone();
        let continued =
            found.continues.map(|file| Entry::Continued(Continued { file, stated: stated.clone() }));
        let start = (!self.started).then_some(Entry::Start(stated));
        let entries = [continued, found.recovered(self.lost), found.broken, start];
        let (mut end, mut bytes) = (found.end, Vec::new());
        for entry in entries.iter().flatten() {
            end = push(end, entry, &mut bytes);
        }
        if !bytes.is_empty() {
            end = sign(&self.key, end, &mut bytes);
        }
        if let Err(error) = log.commit(self.calls.as_mut(), &bytes) {
            log.abandon(self.calls.as_mut());
            return Err(error);
        }
        self.reserve = log.reserve(self.calls.as_mut(), self.shared.limits.reserve);
        self.full = self.shared.limits.file;
        (self.log, self.started, self.lost) = (Some(log), true, 0);
        let mut queue = self.shared.queue();
        queue.end = Some(end);
        queue.reserve = self.reserve;
        Ok(())
    }
}

impl Queue {
    /// What is said at the end.
    fn close(&mut self) {
        for (subject, outcome, count) in self.refusals.rest() {
            let entry = counted(&self.stated, &subject, outcome, count);
            drop(self.append(&entry));
        }
        drop(self.append(&Entry::Event(Event { event: "stop".into(), detail: Default::default() })));
    }
}

/// Appends a line to bytes that are to be written.
fn push(end: Position, entry: &Entry, bytes: &mut Vec<u8>) -> Position {
    let line = compose(end, host_time(), entry);
    bytes.extend_from_slice(&line);
    bytes.push(b'\n');
    end.after(&line)
}

/// Appends a checkpoint.
fn sign(key: &SigningKey, end: Position, bytes: &mut Vec<u8>) -> Position {
    let signature = hex::encode(key.sign(&checkpoint(end)));
    push(end, &Entry::Checkpoint { signature }, bytes)
}
