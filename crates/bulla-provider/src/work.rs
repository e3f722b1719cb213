//! Where the blocking steps run, and how many of them at once (R48, R49).

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use bulla_protocol::Code;

use crate::audit::Mode;
use crate::refusal::Refusal;

/// The most walks of a lane at once: they compute, so more than processors would only cost memory.
const WALKS_MAX: usize = 4;
/// How many requests of a lane may wait for their walk.
const QUEUE_MAX: usize = 192;
/// Enough for a verification, with room; the default of 2 MiB would be for nothing.
const STACK: usize = 1024 * 1024;

/// The runtime for [`serve`](crate::serve): two blocking threads more than both lanes of walks have, to renew collateral and for
/// the operator. Threads and stacks are fixed and few, as an enclave's memory is.
///
/// # Errors
/// What the system says when it gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2 * WALKS_MAX + 2)
        .thread_stack_size(STACK)
        .thread_name("bulla-provider")
        .enable_all()
        .build()
}

/// Runs walks, a few at a time, and those of each protocol in a lane of its own: every legacy answer needs a quote, so where the
/// quoting service hangs, v1, which needs one only now and then, goes on (R53, B43).
pub(crate) struct Work {
    legacy: Lane,
    v1: Lane,
}

struct Lane {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Work {
    pub(crate) fn new() -> Self {
        Self { legacy: Lane::new(), v1: Lane::new() }
    }

    /// Runs `walk` off the asynchronous threads. If its caller gives up, it still ends, and only then makes room.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        mode: Mode,
        walk: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let lane = match mode {
            Mode::Legacy => &self.legacy,
            Mode::V1 => &self.v1,
        };
        let places = lane.places().await?;
        let walked = tokio::task::spawn_blocking(move || {
            let _places = places;
            walk()
        });
        walked.await.unwrap_or(Err(Refusal::new(Code::Internal, "internal.walk_ended")))
    }
}

impl Lane {
    fn new() -> Self {
        let walks = available_parallelism().map_or(1, NonZero::get).min(WALKS_MAX);
        Self {
            running: Arc::new(Semaphore::new(walks)),
            waiting: Arc::new(Semaphore::new(walks + QUEUE_MAX)),
        }
    }

    async fn places(&self) -> Result<[OwnedSemaphorePermit; 2], Refusal> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Refusal::from(Code::Busy))?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        Ok([waiting, running.map_err(|_| Refusal::from(Code::Busy))?])
    }
}
