//! An orderly end of giving keys: what was begun is finished, and nothing new is begun.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use bulla_protocol::Code;

use crate::refusal::Refusal;

/// Whether requests are taken, and how many are being answered.
pub(crate) struct Drain {
    on: AtomicBool,
    answering: watch::Sender<usize>,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self { on: AtomicBool::new(false), answering: watch::Sender::new(0) }
    }

    /// Takes a request, unless none are taken any more.
    pub(crate) fn enter(&self) -> Result<Answering<'_>, Refusal> {
        // Counted first: whoever drains and then sees nobody has refused everybody else.
        self.answering.send_modify(|count| *count += 1);
        let answering = Answering(self);
        if self.is_on() {
            return Err(Refusal::new(Code::NotReady, "not_ready.draining"));
        }
        Ok(answering)
    }

    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// How many are being answered.
    pub(crate) fn answering(&self) -> usize {
        *self.answering.borrow()
    }

    /// Ready when nothing is being answered.
    pub(crate) async fn ended(&self) {
        // The sender is here, so it does not close.
        let _ = self.answering.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One request that is being answered.
pub(crate) struct Answering<'a>(&'a Drain);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_finished_and_nothing_new_begins() {
        let drain = Drain::new();
        let begun = drain.enter().unwrap();
        drain.set(true);
        assert_eq!(drain.enter().err().unwrap().cause, "not_ready.draining");
        assert_eq!(drain.answering(), 1);
        let early = tokio::select! { biased; () = drain.ended() => true, () = ready(()) => false };
        assert!(!early, "it waits for what was begun");
        drop(begun);
        drain.ended().await;
        drain.set(false);
        assert!(drain.enter().is_ok());
    }
}
