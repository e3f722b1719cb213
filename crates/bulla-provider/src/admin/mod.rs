//! The admin socket: what the operator sees and does. And `listen.metrics`, which shows a part of it and does nothing.
//!
//! Whoever can open the socket (mode 0600, in a folder that is its owner's alone) can see states and stop the service. What
//! makes, retires or lowers roots needs the signature of the provider authority besides ([`command`]).

mod command;
mod folder;
mod routes;
mod status;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::admit::Service;
use crate::admit::unix::UnixDoor;

pub(crate) use command::Nonces;
pub use command::{Command, CommandDocument};
pub(crate) use folder::own_folder;
pub(crate) use routes::{live, ready};

/// Connections at once, on each of the two sockets. They are few, and have places of their own, so that no crowd of guests
/// locks the operator out.
const CONNECTIONS_MAX: usize = 8;
/// How long a connection may take, with everything on it.
const TIME: Duration = Duration::from_secs(60);
/// How long nothing is accepted after the system could not.
const PAUSE: Duration = Duration::from_millis(50);
/// The most that a request's head may have, in bytes.
const BUFFER: usize = 16 * 1024;

/// Serves the operator until it is dropped.
pub(crate) async fn serve(service: Arc<Service>, admin: Option<UnixDoor>, metrics: Option<TcpListener>) {
    let mut doors = JoinSet::new();
    if let Some(door) = admin {
        doors.spawn(attend(door, routes::operator(Arc::clone(&service))));
    }
    if let Some(listener) = metrics {
        doors.spawn(attend(listener, routes::public(service)));
    }
    while doors.join_next().await.is_some() {}
}

/// Where connections come in.
trait Door: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for UnixDoor {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

async fn attend<D: Door>(door: D, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match door.next().await {
            Ok(stream) => {
                let router = router.clone();
                connections.spawn(async move {
                    let _place = place;
                    let _ = timeout(TIME, speak(router, stream)).await;
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn speak(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        let answering = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answering.await.unwrap_or_else(|never| match never {})) }
    });
    // Whoever speaks no HTTP is not listened to.
    let _ = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}
