//! The sockets that the provider listens on.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio_rustls::Accept;

use super::tls::TlsDoor;
use super::unix::UnixDoor;
use super::vsock::VsockDoor;
use crate::admin::own_folder;
use crate::audit::Mode;
use crate::{Error, Settings};

/// How many connections the system holds until they are accepted. A crowd that fills it costs everyone behind it a second.
pub(super) const BACKLOG: u32 = 1024;

/// The sockets to serve on. Each that is there is served.
pub struct Listeners {
    /// The frames of the earlier providers.
    pub legacy: Option<TcpListener>,
    /// Protocol v1.
    pub http: Option<TcpListener>,
    pub(super) https: Option<TlsDoor>,
    pub(super) unix: Option<UnixDoor>,
    pub(super) vsock: Option<VsockDoor>,
    /// What the operator sees and does.
    pub(crate) admin: Option<UnixDoor>,
    /// Health and metrics.
    pub metrics: Option<TcpListener>,
}

/// A connection that was accepted, by what is spoken on it.
pub(super) enum Connection {
    Legacy(TcpStream),
    Http(TcpStream),
    /// A handshake that is still to be made.
    Https(Box<Accept<TcpStream>>),
    /// From a Unix socket or vsock: once connected, they are used alike.
    Local(UnixStream),
}

impl Connection {
    pub(super) const fn mode(&self) -> Mode {
        match self {
            Self::Legacy(_) => Mode::Legacy,
            Self::Http(_) | Self::Https(_) | Self::Local(_) => Mode::V1,
        }
    }
}

impl Listeners {
    /// Binds what the settings name. Asynchronous only because a socket belongs to the runtime that it is made on.
    ///
    /// # Errors
    /// [`Error::Tls`]; [`Error::Io`] if an address cannot be bound; for a Unix socket, if another process listens on it or something else
    /// has its name.
    pub async fn bind(settings: &Settings) -> Result<Self, Error> {
        let Settings { listen, .. } = settings;
        let admin = settings.admin_socket();
        own_folder(&admin)?;
        let unix = listen.unix.as_deref();
        let unix = unix.map(|path| UnixDoor::open(path, listen.unix_mode).map_err(listening(path.display())));
        let vsock = listen.vsock;
        let vsock =
            vsock.map(|port| VsockDoor::open(port).map_err(listening(format_args!("vsock port {port}"))));
        Ok(Self {
            legacy: bind(listen.legacy)?,
            http: bind(listen.http)?,
            https: bind(listen.https)?.map(TlsDoor::new).transpose()?,
            unix: unix.transpose()?,
            vsock: vsock.transpose()?,
            admin: Some(
                UnixDoor::open(&admin, None)
                    .map_err(Error::io(format!("making the admin socket {}", admin.display())))?,
            ),
            metrics: bind(listen.metrics)?,
        })
    }

    /// Where protocol v1 is spoken, as clients write it: `http://…`, `https://…`, `unix:PATH`, `vsock:CID:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        let http = self.http.as_ref().and_then(|listener| listener.local_addr().ok());
        let http = http.map(|address| format!("http://{address}"));
        let https = self.https.as_ref().and_then(|door| door.local_addr().ok());
        let https = https.map(|address| format!("https://{address}"));
        let unix = self.unix.as_ref().map(|door| format!("unix:{}", door.path().display()));
        // A guest finds its host under this number.
        let vsock = self.vsock.as_ref().map(|door| format!("vsock:2:{}", door.port()));
        [http, https, unix, vsock].into_iter().flatten().collect()
    }

    pub(super) const fn is_empty(&self) -> bool {
        let Self { legacy, http, https, unix, vsock, .. } = self;
        legacy.is_none() && http.is_none() && https.is_none() && unix.is_none() && vsock.is_none()
    }

    /// The next connection at any door, and the address that it comes from, where there is one.
    pub(super) async fn accept(&self) -> io::Result<(Connection, Option<IpAddr>)> {
        tokio::select! {
            accepted = accept(self.legacy.as_ref()) => accepted.map(|(stream, peer)| (Connection::Legacy(stream), peer)),
            accepted = accept(self.http.as_ref()) => accepted.map(|(stream, peer)| (Connection::Http(stream), peer)),
            accepted = async {
                match &self.https {
                    Some(door) => door.accept().await,
                    None => pending().await,
                }
            } => accepted.map(|handshake| {
                let peer = handshake.get_ref().and_then(|stream| stream.peer_addr().ok()).map(|peer| peer.ip());
                (Connection::Https(Box::new(handshake)), peer)
            }),
            accepted = async {
                match &self.unix {
                    Some(door) => door.accept().await,
                    None => pending().await,
                }
            } => accepted.map(|stream| (Connection::Local(stream), None)),
            accepted = async {
                match &self.vsock {
                    Some(door) => door.accept().await,
                    None => pending().await,
                }
            } => accepted.map(|stream| (Connection::Local(stream), None)),
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, Option<IpAddr>)> {
    let Some(listener) = listener else {
        return pending().await;
    };
    let (stream, peer) = listener.accept().await?;
    let _ = stream.set_nodelay(true);
    Ok((stream, Some(peer.ip())))
}

fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    address.map(|address| tcp(address).map_err(listening(address))).transpose()
}

fn listening(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Error {
    Error::io(format!("listening on {what}"))
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
