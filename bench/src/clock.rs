//! What a batch costs.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How time is told.
#[derive(Clone, Copy)]
pub(crate) enum Clock {
    /// Processor time of this thread, which neighbours on the machine move least.
    Thread,
    /// Time that passes, for what several threads do.
    Wall,
}

impl Clock {
    /// How long `batch` takes.
    pub(crate) fn time(self, batch: &mut dyn FnMut()) -> Duration {
        match self {
            Self::Thread => {
                let before = thread_time();
                batch();
                thread_time() - before
            }
            Self::Wall => {
                let before = Instant::now();
                batch();
                before.elapsed()
            }
        }
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}
