//! Step `admit`: the accept loop, which never ends by itself (R48, R53).

mod http;
mod legacy;
mod places;

use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use bulla_protocol::Code;

use crate::record::Mode;
use crate::refusal::Refusal;
use crate::work::Work;
use crate::{Error, Listen, Provider};
use places::{Places, Seat};

/// How many connections the system holds until they are accepted. A crowd that fills it costs everyone behind it a second.
const BACKLOG: u32 = 1024;
/// How long nothing is accepted after the system had no descriptor or no memory for it.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an end waits for requests that are being answered.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often collateral that is due is looked for.
const RENEWAL: Duration = Duration::from_secs(60);

/// The sockets to serve on. Each that is there is served.
pub struct Listeners {
    /// The frames of the earlier providers.
    pub legacy: Option<TcpListener>,
    /// Protocol v1.
    pub http: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the settings name. Asynchronous only because a socket belongs to the runtime that it is made on.
    ///
    /// # Errors
    /// [`Error::Io`] if an address cannot be bound.
    pub async fn bind(listen: &Listen) -> Result<Self, Error> {
        Ok(Self { legacy: bind(listen.legacy)?, http: bind(listen.http)? })
    }
}

fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    let Some(address) = address else {
        return Ok(None);
    };
    listen(address).map(Some).map_err(Error::io(format!("listening on {address}")))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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
    let Listeners { legacy, http } = listeners;
    if legacy.is_none() && http.is_none() {
        return Err(Error::Settings("no listener is on".into()));
    }
    let service = Arc::new(Service { provider, work: Work::new() });
    let places = Arc::new(Places::new());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut renewal = interval(RENEWAL);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut renewing: Option<JoinHandle<()>> = None;
    loop {
        let (accepted, mode) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            _ = renewal.tick() => {
                if renewing.as_ref().is_none_or(JoinHandle::is_finished) {
                    let service = Arc::clone(&service);
                    renewing = Some(spawn_blocking(move || service.provider.sources.refresh()));
                }
                continue;
            }
            accepted = accept(legacy.as_ref()) => (accepted, Mode::Legacy),
            accepted = accept(http.as_ref()) => (accepted, Mode::V1),
        };
        match accepted {
            Ok(stream) => match places.seat().await {
                Some(seat) => {
                    connections.spawn(attend(Arc::clone(&service), stream, mode, Arc::new(seat)));
                }
                None => service.refused(mode, &Code::Busy.into()),
            },
            Err(error) => recover(&error, &places).await,
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
        walk: impl FnOnce(&Provider) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let service = Arc::clone(self);
        self.work.run(move || walk(&service.provider)).await
    }

    fn refused(&self, mode: Mode, refusal: &Refusal) {
        self.provider.record.refusal(mode, refusal);
    }
}

/// One connection, until it ends, gives way or is out of time.
async fn attend(service: Arc<Service>, stream: TcpStream, mode: Mode, seat: Arc<Seat>) {
    let _ = stream.set_nodelay(true);
    let speaking = async {
        match mode {
            Mode::Legacy => legacy::speak(&service, stream, &seat).await,
            Mode::V1 => http::speak(&service, stream, &seat).await,
        }
    };
    let refusal = tokio::select! {
        biased;
        refusal = seat.end() => refusal,
        () = speaking => None,
    };
    if let Some(refusal) = refusal {
        service.refused(mode, &refusal);
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => pending().await,
    }
}

/// A failed accept is no reason to end. A peer that left early costs nothing; without descriptors or memory, somebody who
/// only waits gives way, and the loop takes a breath instead of spinning.
async fn recover(error: &io::Error, places: &Places) {
    if matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    ) {
        return;
    }
    tracing::warn!(error = %error.kind(), "a connection could not be accepted");
    // Whoever comes next may find nobody who had a moment yet; then the breath is all.
    let _ = places.make_way();
    sleep(PAUSE).await;
}
