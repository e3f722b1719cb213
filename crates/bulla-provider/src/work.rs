//! Where the blocking steps run, and how many of them at once (R48, R49).

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, available_parallelism};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use bulla_protocol::Code;

use crate::refusal::Refusal;

/// The most walks of a lane at once: they compute, so more than processors would only cost memory.
const WALKS_MAX: usize = 4;
/// How many requests of a lane may wait for their walk.
const QUEUE_MAX: usize = 192;
/// Enough for a verification, with room; the default of 2 MiB would be for nothing.
const STACK: usize = 1024 * 1024;

/// The runtime for [`serve`](crate::serve). Threads and stacks are fixed and few, as an enclave's memory is; walks have threads of
/// their own, and those for blocking renew collateral and obey the operator.
///
/// # Errors
/// What the system says when it gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_stack_size(STACK)
        .thread_name("bulla-provider")
        .enable_all()
        .build()
}

/// Runs walks, a few at a time, and those that need a quote in a lane of their own: where the quoting service hangs, all others,
/// which need one only now and then, go on (R53, B43).
pub(crate) struct Work {
    quoting: Lane,
    others: Lane,
}

/// Whether each walk of a kind needs a quote of the provider's own.
#[derive(Clone, Copy)]
pub(crate) enum Quoting {
    /// Legacy answers, and beginnings of sessions.
    Always,
    /// The others.
    Seldom,
}

impl Work {
    /// Starts the threads, which end with this.
    pub(crate) fn new() -> io::Result<Self> {
        let walks = available_parallelism().map_or(1, NonZero::get).min(WALKS_MAX);
        Ok(Self { quoting: Lane::new(walks)?, others: Lane::new(walks)? })
    }

    /// Runs `walk` off the asynchronous threads. If its caller gives up, it still ends, and only then makes room.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        quoting: Quoting,
        walk: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let lane = match quoting {
            Quoting::Always => &self.quoting,
            Quoting::Seldom => &self.others,
        };
        let (sender, outcome) = oneshot::channel();
        // What the walk holds is gone before its outcome is known: whoever waits for it may be the last.
        lane.push(Box::new(move || drop(sender.send(walk()))))?;
        outcome.await.unwrap_or(Err(Refusal::new(Code::Internal, "internal.walk_ended")))
    }
}

/// A queue, and the threads that work it off. A thread that is done takes the next walk at once, without a word to anybody.
struct Lane(Arc<Queue>);

struct Queue {
    walks: Mutex<Walks>,
    wake: Condvar,
}

#[derive(Default)]
struct Walks {
    waiting: VecDeque<Box<dyn FnOnce() + Send>>,
    closed: bool,
}

impl Lane {
    fn new(threads: usize) -> io::Result<Self> {
        let lane = Self(Arc::new(Queue { walks: Mutex::default(), wake: Condvar::new() }));
        for _ in 0..threads {
            let queue = Arc::clone(&lane.0);
            thread::Builder::new()
                .name("bulla-walk".into())
                .stack_size(STACK)
                .spawn(move || queue.work_off())?;
        }
        Ok(lane)
    }

    fn push(&self, walk: Box<dyn FnOnce() + Send>) -> Result<(), Refusal> {
        let mut walks = self.0.walks();
        if walks.waiting.len() >= QUEUE_MAX {
            return Err(Code::Busy.into());
        }
        walks.waiting.push_back(walk);
        drop(walks);
        self.0.wake.notify_one();
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.walks().closed = true;
        self.0.wake.notify_all();
    }
}

impl Queue {
    fn work_off(&self) {
        while let Some(walk) = self.next() {
            // The hook has said where; whoever waits is told by the sender's end.
            let _ = catch_unwind(AssertUnwindSafe(walk));
        }
    }

    /// Waits for one; none when there will be no more.
    fn next(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let idle = |walks: &mut Walks| walks.waiting.is_empty() && !walks.closed;
        let mut walks = self.wake.wait_while(self.walks(), idle).unwrap_or_else(PoisonError::into_inner);
        walks.waiting.pop_front()
    }

    fn walks(&self) -> MutexGuard<'_, Walks> {
        self.walks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// R48, R53: what hangs in one lane fills that lane and no more, and goes on when it no longer hangs.
    #[tokio::test]
    async fn a_lane_that_hangs_is_full_and_the_other_is_not() {
        let work = Arc::new(Work { quoting: Lane::new(1).unwrap(), others: Lane::new(1).unwrap() });
        let (gate, closed) = mpsc::channel::<()>();
        let closed = Arc::new(Mutex::new(closed));
        let (started, mut first) = oneshot::channel();
        let mut started = Some(started);
        let mut hanging = Vec::new();
        for _ in 0..=QUEUE_MAX {
            let (work, closed, started) = (Arc::clone(&work), Arc::clone(&closed), started.take());
            hanging.push(tokio::spawn(async move {
                let walk = move || {
                    started.map(|started| started.send(()));
                    let _ = closed.lock().unwrap().recv();
                    Ok(())
                };
                work.run(Quoting::Always, walk).await
            }));
            tokio::task::yield_now().await;
            if hanging.len() == 1 {
                (&mut first).await.unwrap();
            }
        }
        assert_eq!(work.run(Quoting::Always, || Ok(())).await.unwrap_err().code, Code::Busy);
        assert_eq!(work.run(Quoting::Seldom, || Ok(7)).await, Ok(7));
        drop(gate);
        for walk in hanging {
            assert_eq!(walk.await.unwrap(), Ok(()));
        }
        assert_eq!(work.run(Quoting::Always, || Ok(7)).await, Ok(7));
    }

    /// R53: a defect in a walk costs its request, and not the thread.
    #[tokio::test]
    async fn a_walk_that_panics_is_refused_and_the_lane_goes_on() {
        let work = Work { quoting: Lane::new(1).unwrap(), others: Lane::new(1).unwrap() };
        for _ in 0..3 {
            let refused: Result<(), _> = work.run(Quoting::Seldom, || panic!("a defect")).await;
            assert_eq!(refused.unwrap_err().cause, "internal.walk_ended");
            assert_eq!(work.run(Quoting::Seldom, || Ok(7)).await, Ok(7));
        }
    }

    /// Whoever is waited for has let go of everything: at the end of the service nothing is held by a thread that nobody joins.
    #[tokio::test]
    async fn what_a_walk_holds_is_gone_when_its_outcome_is_known() {
        let work = Work::new().unwrap();
        let held = Arc::new(());
        for _ in 0..100 {
            let holds = Arc::clone(&held);
            let walk = move || {
                let _ = &holds;
                Ok(())
            };
            work.run(Quoting::Seldom, walk).await.unwrap();
            assert_eq!(Arc::strong_count(&held), 1);
        }
    }
}
