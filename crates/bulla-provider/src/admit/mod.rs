//! Step `admit`: the accept loop, which never ends by itself (R48, R53).

mod http;
mod legacy;
mod listen;
mod places;
mod tls;
pub(crate) mod unix;
mod vsock;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use bulla_protocol::Code;

use crate::audit::Mode;
use crate::record::Subject;
use crate::refusal::Refusal;
use crate::work::Work;
use crate::{Error, Provider};
use listen::Connection;
use places::{Places, Seat};

pub use listen::Listeners;

/// How long nothing is accepted after the system had no descriptor or no memory for it.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an end waits for requests that are being answered.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often collateral that is due is looked for.
const RENEWAL: Duration = Duration::from_secs(60);

/// Serves until `shutdown` is ready, then ends what is being answered and returns.
///
/// Connections, memory for bodies, time and concurrent work are bounded. When the places run out, the oldest connection
/// that has sent no complete request gives way, so that those who hold connections for nothing lock nobody out.
///
/// # Errors
/// [`Error::Settings`] for no listener at all. Nothing that a peer does makes it return.
pub async fn serve(
    provider: Provider,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    if listeners.is_empty() {
        return Err(Error::setting("listen", "no listener is on"));
    }
    let service = Arc::new(Service { provider, work: Work::new() });
    let places = Arc::new(Places::new());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut renewal = interval(RENEWAL);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut renewing: Option<JoinHandle<()>> = None;
    let mut failures: u64 = 0;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            _ = renewal.tick() => {
                if renewing.as_ref().is_none_or(JoinHandle::is_finished) {
                    let service = Arc::clone(&service);
                    renewing = Some(spawn_blocking(move || service.provider.sources.refresh()));
                }
                continue;
            }
            accepted = listeners.accept() => accepted,
        };
        match accepted {
            Ok(connection) => match places.seat().await {
                Some(seat) => {
                    connections.spawn(attend(Arc::clone(&service), connection, Arc::new(seat)));
                }
                // The loop waits for no disk.
                None => {
                    let subject = connection.mode().into();
                    drop(service.provider.record.refusal(&subject, &Code::Busy.into()));
                }
            },
            Err(error) => {
                failures += 1;
                recover(&error, failures, &places).await;
            }
        }
    }
    places.close();
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// What every connection shares.
struct Service {
    provider: Provider,
    work: Work,
}

impl Service {
    /// Runs one walk off the asynchronous threads.
    async fn walk<T: Send + 'static>(
        self: &Arc<Self>,
        mode: Mode,
        walk: impl FnOnce(&Provider) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let service = Arc::clone(self);
        self.work.run(mode, move || walk(&service.provider)).await
    }

    /// Records a refusal, and waits for its line if it gets one.
    async fn refused(&self, subject: &Subject, refusal: &Refusal) {
        if let Some(ticket) = self.provider.record.refusal(subject, refusal) {
            // A line that cannot be written changes nothing for who gets no key anyway.
            let _ = ticket.durable().await;
        }
    }
}

/// One connection, until it ends, gives way or is out of time.
async fn attend(service: Arc<Service>, connection: Connection, seat: Arc<Seat>) {
    let mode = connection.mode();
    let speaking = async {
        match connection {
            Connection::Legacy(stream) => legacy::speak(&service, stream, &seat).await,
            Connection::Http(stream) => http::speak(&service, stream, &seat).await,
            Connection::Local(stream) => http::speak(&service, stream, &seat).await,
            // Within the time for a first request, as everything before it.
            Connection::Https(handshake) => match handshake.await {
                Ok(stream) => http::speak(&service, stream, &seat).await,
                Err(_) => {
                    service.refused(&mode.into(), &Refusal::new(Code::Malformed, "malformed.tls")).await;
                }
            },
        }
    };
    let refusal = tokio::select! {
        biased;
        refusal = seat.end() => refusal,
        () = speaking => None,
    };
    if let Some(refusal) = refusal {
        service.refused(&mode.into(), &refusal).await;
    }
}

/// A failed accept is no reason to end. A peer that left early costs nothing; without descriptors or memory, somebody who
/// only waits gives way, and the loop takes a breath instead of spinning.
async fn recover(error: &io::Error, failures: u64, places: &Places) {
    if matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    ) {
        return;
    }
    if failures.is_power_of_two() {
        tracing::warn!(error = %error.kind(), failures, "a connection could not be accepted");
    }
    // Whoever comes next may find nobody who had a moment yet; then the breath is all.
    let _ = places.make_way();
    sleep(PAUSE).await;
}
