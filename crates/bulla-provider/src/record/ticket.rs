//! What somebody holds whose line is not on the disk yet.

use tokio::sync::oneshot;

use bulla_protocol::Code;

use super::UNWRITABLE;
use crate::refusal::Refusal;

/// A line that was appended, and may not be on the disk yet.
#[must_use = "the line may not be on the disk yet"]
pub(crate) struct Ticket {
    head: [u8; 32],
    written: oneshot::Receiver<()>,
}

/// Wakes the holder of a ticket when it is dropped with [`Waiter::written`], and refuses it when it is dropped without.
pub(super) struct Waiter(oneshot::Sender<()>);

impl Ticket {
    pub(super) fn new(head: [u8; 32]) -> (Self, Waiter) {
        let (sender, written) = oneshot::channel();
        (Self { head, written }, Waiter(sender))
    }

    /// The head of the chain with this line in it, which the answer signs.
    pub(crate) const fn head(&self) -> &[u8; 32] {
        &self.head
    }

    /// Keeps an answer until the line is on the disk. There is no other way to it (R100).
    pub(crate) const fn hold<T>(self, answer: T) -> Held<T> {
        Held { answer, ticket: self }
    }

    /// Ready when the line is on the disk, signed.
    ///
    /// # Errors
    /// `audit.unwritable` if it never will be: then no key may leave.
    pub(crate) async fn durable(self) -> Result<(), Refusal> {
        self.written.await.map_err(|_| Refusal::new(Code::Internal, UNWRITABLE))
    }

    /// The same, for a thread that may block.
    ///
    /// # Errors
    /// As [`durable`](Self::durable).
    pub(crate) fn wait(self) -> Result<(), Refusal> {
        self.written.blocking_recv().map_err(|_| Refusal::new(Code::Internal, UNWRITABLE))
    }
}

/// An answer with keys, which is kept until its release is on the disk.
#[must_use = "nobody has this answer yet"]
pub(crate) struct Held<T> {
    answer: T,
    ticket: Ticket,
}

impl<T> Held<T> {
    /// The answer, when its release is on the disk.
    ///
    /// # Errors
    /// As [`Ticket::durable`].
    pub(crate) async fn released(self) -> Result<T, Refusal> {
        self.ticket.durable().await?;
        Ok(self.answer)
    }
}

impl Waiter {
    pub(super) fn written(self) {
        // Whoever gave up waiting needs no answer.
        let _ = self.0.send(());
    }
}
