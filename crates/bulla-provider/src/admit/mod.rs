//! Step `admit`: the accept loop, which never ends by itself (R48, R53).

mod http;
mod legacy;
mod listen;
mod places;
mod session;
mod tls;
pub(crate) mod unix;
mod vsock;

use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use bulla_protocol::Code;

use crate::record::Subject;
use crate::refusal::Refusal;
use crate::work::{Quoting, Work};
use crate::{Error, Provider, admin};
use listen::Connection;
use places::{Places, Seat};
use session::Attested;

pub use listen::Listeners;

/// How long nothing is accepted after the system had no descriptor or no memory for it.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an end waits for requests that are being answered.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often collateral that is due is looked for.
const RENEWAL: Duration = Duration::from_secs(60);

/// Serves until `shutdown` is ready, then ends what is being answered and returns. The operator and the supervisor are served
/// meanwhile.
///
/// Connections, memory for bodies, time and concurrent work are bounded. When the places run out, the oldest connection
/// that has sent no complete request gives way, so that those who hold connections for nothing lock nobody out.
///
/// # Errors
/// [`Error::Settings`] for no listener at all. Nothing that a peer does makes it return.
pub async fn serve(
    provider: impl Into<Arc<Provider>>,
    mut listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    if listeners.is_empty() {
        return Err(Error::setting("listen", "no listener is on"));
    }
    let places = Arc::new(Places::new());
    let provider = provider.into();
    let service = Arc::new(Service {
        provider,
        work: Work::new().map_err(Error::io("starting threads"))?,
        places: Arc::clone(&places),
    });
    let supervisor = &service.provider.operation.supervisor;
    let mut operator = JoinSet::new();
    operator.spawn(admin::serve(Arc::clone(&service), listeners.admin.take(), listeners.metrics.take()));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut renewal = interval(RENEWAL);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut renewing: Option<JoinHandle<()>> = None;
    let mut failures: u64 = 0;
    let mut watchdog = supervisor.watchdog().map(interval);
    supervisor.ready("serving");
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            _ = renewal.tick() => {
                if renewing.as_ref().is_none_or(JoinHandle::is_finished) {
                    let service = Arc::clone(&service);
                    renewing = Some(spawn_blocking(move || service.provider.renew()));
                }
                continue;
            }
            () = tick(watchdog.as_mut()) => {
                supervisor.alive();
                continue;
            }
            accepted = listeners.accept() => accepted,
        };
        match accepted {
            Ok((connection, peer)) => match places.seat().await {
                Some(mut seat) => {
                    seat.peer = peer;
                    connections.spawn(attend(Arc::clone(&service), connection, Arc::new(seat)));
                }
                // The loop waits for no disk.
                None => {
                    let subject: Subject = connection.mode().into();
                    service.provider.operation.metrics.refused(subject.mode, &Code::Busy.into());
                    drop(service.provider.record.refusal(&subject, &Code::Busy.into()));
                }
            },
            Err(error) => {
                failures += 1;
                recover(&error, failures, &places).await;
            }
        }
    }
    supervisor.stopping();
    places.close();
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// The next time to say that this loop goes round, if anybody wants to hear it.
async fn tick(watchdog: Option<&mut Interval>) {
    match watchdog {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}

/// What every connection shares.
pub(crate) struct Service {
    pub(crate) provider: Arc<Provider>,
    work: Work,
    pub(crate) places: Arc<Places>,
}

impl Service {
    /// Runs one walk off the asynchronous threads.
    pub(crate) async fn walk<T: Send + 'static>(
        self: &Arc<Self>,
        quoting: Quoting,
        walk: impl FnOnce(&Provider) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let service = Arc::clone(self);
        self.work.run(quoting, move || walk(&service.provider)).await
    }

    /// Counts and records a refusal, and waits for its line if it gets one.
    async fn refused(&self, subject: &Subject, refusal: &Refusal) {
        self.provider.operation.metrics.refused(subject.mode, refusal);
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
            Connection::Http(stream) => http::speak(&service, stream, &seat, Attested::none()).await,
            Connection::Local(stream) => http::speak(&service, stream, &seat, Attested::none()).await,
            // Within the time for a first request, as everything before it.
            Connection::Https(handshake) => match handshake.await {
                Ok(stream) => {
                    let attested = Attested::over(stream.get_ref().1);
                    http::speak(&service, stream, &seat, attested).await;
                }
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
