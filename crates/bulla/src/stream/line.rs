//! A whole stream, with reading, cryptography and writing at the same time.
//!
//! Every worker does all three with one batch and then takes the next: it reads when no other does, and it writes when
//! its batch is the next. So a batch stays in the cache of one core, and memory is one batch for each worker. The first worker is the
//! caller's thread, and the only one where the input is small; each starts the next one when it sees that there is more to do.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

use bulla_crypto::Sha256;

use super::batch::{Batch, End, Source};
use super::{Run, Work};
use crate::Error;

/// Chunks that a worker takes at once: 256 KiB, which stay in the cache of a core from reading to writing.
pub(super) const BATCH: usize = 4;
/// Batches, of one chunk, that the caller's thread does alone, 1 MiB: for less, starting another takes longer than it saves.
pub(super) const ALONE: u64 = 16;
/// More workers than any reader or writer keeps up with. It bounds the memory, of which each takes one batch.
pub(super) const MAX_WORKERS: usize = 16;

/// Does `work` to every chunk of `input`.
pub(super) fn run(
    work: Work<'_>,
    input: impl Read + Send,
    output: impl Write + Send,
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    run_from(0, work, input, output, run)
}

/// As [`run`], where the first chunk is not the first of the envelope.
pub(super) fn run_from(
    first: u64,
    work: Work<'_>,
    input: impl Read + Send,
    output: impl Write + Send,
    run: Run,
) -> Result<Option<[u8; 32]>, Error> {
    let line = Line {
        work,
        run,
        source: Mutex::new((Source::new(work, input, first), 0)),
        sink: Mutex::new(Sink {
            output,
            turn: 0,
            waiting: 0,
            digest: run.digest.then(Sha256::new),
            result: None,
        }),
        turned: [const { Condvar::new() }; MAX_WORKERS],
        stopped: AtomicBool::new(false),
    };
    thread::scope(|scope| line.run_worker(scope, 1, Batch::small(work, 1, run.digest)));

    let sink = line.sink.into_inner().unwrap_or_else(PoisonError::into_inner);
    sink.result.expect("the worker with the last batch leaves a result")?;
    Ok(sink.digest.map(Sha256::finish))
}

struct Line<'k, R, W> {
    work: Work<'k>,
    run: Run,
    /// The source and how many batches it gave.
    source: Mutex<(Source<R>, u64)>,
    sink: Mutex<Sink<W>>,
    /// Who waits for a turn waits for the one in its place: the turns that are out at any time follow each other, and are no more
    /// than the workers.
    turned: [Condvar; MAX_WORKERS],
    /// Whether there is a result or never will be one.
    stopped: AtomicBool,
}

impl<R, W> Line<'_, R, W> {
    fn sink(&self) -> MutexGuard<'_, Sink<W>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turned(&self, turn: u64) -> &Condvar {
        self.turned.get(turn as usize % MAX_WORKERS).expect("a place for each worker")
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Sends everybody home. The sink is held meanwhile, or who is about to wait would miss it.
    fn stop(&self, sink: &Sink<W>) {
        self.stopped.store(true, Ordering::Relaxed);
        if sink.waiting > 0 {
            self.turned.iter().for_each(Condvar::notify_all);
        }
    }
}

struct Sink<W> {
    output: W,
    /// The batch that is to be written next.
    turn: u64,
    /// Workers that wait for a later one.
    waiting: usize,
    digest: Option<Sha256>,
    result: Option<Result<(), Error>>,
}

impl<'k, R: Read + Send, W: Write + Send> Line<'k, R, W> {
    fn run_worker<'s>(&'s self, scope: &'s Scope<'s, '_>, number: usize, mut batch: Batch)
    where
        'k: 's,
    {
        let _stop = StopOnPanic(self);
        let mut started = number == MAX_WORKERS;
        while let Some(turn) = self.read(&mut batch) {
            if batch.more() && turn + 1 >= ALONE && !started {
                self.start_worker(scope, number + 1);
                started = true;
            }
            batch.apply(self.work);
            if !self.write(turn, &mut batch) {
                return;
            }
            if turn + 1 == ALONE {
                batch = self.full_batch();
            }
        }
    }

    /// Starts a worker if the caller allows one more. Where the system does not, the work goes on without.
    fn start_worker<'s>(&'s self, scope: &'s Scope<'s, '_>, number: usize)
    where
        'k: 's,
    {
        let allowed = self.run.threads.or_else(|| thread::available_parallelism().ok());
        if allowed.is_some_and(|allowed| number <= allowed.get()) {
            let worker = move || self.run_worker(scope, number, self.full_batch());
            let _ = thread::Builder::new().name("bulla".to_owned()).spawn_scoped(scope, worker);
        }
    }

    fn full_batch(&self) -> Batch {
        Batch::full(self.work, BATCH, self.run.digest)
    }

    /// Reads the next batch and tells its turn, if there is one and nothing went wrong elsewhere.
    fn read(&self, batch: &mut Batch) -> Option<u64> {
        let mut guard = self.source.lock().ok()?;
        let (source, batches) = &mut *guard;
        if !source.fill(batch, &self.stopped) {
            return None;
        }
        let turn = *batches;
        *batches += 1;
        Some(turn)
    }

    /// Writes a batch when its turn has come. Whether there is more to do.
    fn write(&self, turn: u64, batch: &mut Batch) -> bool {
        let mut sink = self.sink();
        while sink.turn != turn && !self.stopped() {
            sink.waiting += 1;
            sink = self.turned(turn).wait(sink).unwrap_or_else(PoisonError::into_inner);
            sink.waiting -= 1;
        }
        if self.stopped() {
            return false;
        }
        sink.turn += 1;
        sink.result = sink.write(self.work, batch);
        if sink.result.is_some() {
            self.stop(&sink);
        } else if sink.waiting > 0 {
            self.turned(sink.turn).notify_one();
        }
        !self.stopped()
    }
}

impl<W: Write> Sink<W> {
    /// The result of everything, if this batch decides it.
    fn write(&mut self, work: Work<'_>, batch: &mut Batch) -> Option<Result<(), Error>> {
        if let Err(error) = batch.write(&mut self.output) {
            return Some(Err(Error::io(work.writing())(error)));
        }
        if let Some(digest) = &mut self.digest {
            digest.update(batch.hashes().as_flattened());
        }
        match batch.take_end() {
            End::More => None,
            End::Last => Some(Ok(())),
            End::Failed(error) => Some(Err(error)),
        }
    }
}

/// A panic of the caller's reader or writer must not leave others waiting for a turn that never comes.
struct StopOnPanic<'s, 'k, R, W>(&'s Line<'k, R, W>);

impl<R, W> Drop for StopOnPanic<'_, '_, R, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop(&self.0.sink());
        }
    }
}
