//! The asynchronous face. It carries out the same decisions as the blocking one; evidence is made and judged on threads where
//! that may block.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use bulla_crypto::SecretBytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::address::Socket;
use crate::client::{Core, Grant, Kept};
use crate::connection::{Failed, PIECE, is_end};
use crate::http::{Ask, Incoming, Reply};
use crate::order::OrderWalk;
use crate::session::{Established, SessionWalk};
use crate::tls::{self, Channel};
use crate::walk::{Event, Patient, Step, Walk};
use crate::{Client, Error, Keys, Wanted};

/// A [`Client`] for asynchronous programs, on a runtime of tokio. Same decisions, same errors.
///
/// ```no_run
/// use bulla_client::{AsyncClient, Client, Wanted};
///
/// async fn key(client: Client) -> Result<(), bulla_client::Error> {
///     let client = AsyncClient::new(client);
///     let keys = client.keys(&Wanted::key("app/db", "disk", 32)?).await?;
///     # drop(keys);
///     Ok(())
/// }
/// ```
pub struct AsyncClient {
    core: Arc<Core>,
    kept: Kept<AsyncRoad>,
}

impl AsyncClient {
    /// The same client. Where it has to wait, it sleeps on the runtime, however the other would have waited.
    pub fn new(client: Client) -> Self {
        Self { core: Arc::clone(client.core()), kept: Kept::none() }
    }

    /// As [`Client::request`].
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn request(&self, path: &str, purpose: &str, length: u16) -> Result<SecretBytes, Error> {
        Ok(self.keys(&Wanted::key(path, purpose, length)?).await?.into_first())
    }

    /// As [`Client::keys`].
    ///
    /// # Errors
    /// As [`Client::keys`].
    pub async fn keys(&self, wanted: &Wanted) -> Result<Keys, Error> {
        let wanted = wanted.ready()?;
        let (mut road, left) = self.kept.take();
        let walk = Patient::new(OrderWalk::new(&self.core, wanted, left));
        let (_, granted) = road.go(&self.core, walk).await;
        let Grant { keys, left, .. } = granted?;
        self.kept.keep(road, left);
        Ok(keys)
    }

    /// As [`Client::session`].
    ///
    /// # Errors
    /// As [`Client::session`].
    pub fn session(&self) -> Result<AsyncSession, Error> {
        if !self.core.address.is_tls() {
            return Err(Error::SessionNeedsTls);
        }
        Ok(AsyncSession { core: Arc::clone(&self.core), road: AsyncRoad::default(), established: None })
    }
}

/// As [`Session`](crate::Session).
pub struct AsyncSession {
    core: Arc<Core>,
    road: AsyncRoad,
    established: Option<Established>,
}

impl AsyncSession {
    /// As [`Session::keys`](crate::Session::keys). If it is dropped before it is ready, the session begins anew.
    ///
    /// # Errors
    /// As [`Client::keys`].
    pub async fn keys(&mut self, wanted: &Wanted) -> Result<Keys, Error> {
        let walk = Patient::new(SessionWalk::new(&self.core, wanted.ready()?, self.established.take()));
        let (walk, keys) = self.road.go(&self.core, walk).await;
        self.established = walk.into_inner().established;
        keys
    }
}

/// Where walks are carried out; the connection is kept from one to the next.
#[derive(Default)]
struct AsyncRoad {
    connection: Option<Connection>,
}

impl AsyncRoad {
    async fn go<W: Walk>(
        &mut self,
        core: &Arc<Core>,
        mut walk: Patient<W>,
    ) -> (Patient<W>, Result<W::Done, Error>) {
        let mut event = Event::Begin;
        loop {
            let step;
            (walk, step) = match event {
                Event::Here => {
                    blocking(move || {
                        let step = walk.next(Event::Here);
                        (walk, step)
                    })
                    .await
                }
                event => {
                    let step = walk.next(event);
                    (walk, step)
                }
            };
            let next = match step {
                Err(error) => return (walk, Err(error)),
                Ok(Step::Done(done)) => return (walk, Ok(done)),
                Ok(Step::Block) => Ok(Event::Here),
                Ok(Step::Wait(time)) => {
                    sleep(time).await;
                    Ok(Event::Begin)
                }
                Ok(Step::Ask(ask)) => self.ask(core, &ask).await,
            };
            event = match next {
                Ok(event) => event,
                Err(error) => return (walk, Err(error)),
            };
        }
    }

    async fn ask(&mut self, core: &Arc<Core>, ask: &Ask) -> Result<Event, Error> {
        if let Some(mut connection) = self.connection.take() {
            match connection.exchange(ask, core).await {
                Ok(reply) => return Ok(self.replied(connection, reply)),
                Err(Failed { error, answered: false }) if is_end(&error) => {}
                Err(Failed { error, .. }) => return Err(core.fault(&error)),
            }
        }
        if ask.same_connection {
            return Ok(Event::Closed);
        }
        let mut connection = Connection::open(core).await.map_err(|error| core.fault(&error))?;
        let reply = connection.exchange(ask, core).await.map_err(|failed| core.fault(&failed.error))?;
        Ok(self.replied(connection, reply))
    }

    fn replied(&mut self, connection: Connection, reply: Reply) -> Event {
        let channel = connection.channel;
        self.connection = Some(connection).filter(|_| !reply.last);
        Event::Reply(reply, channel)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Connection {
    stream: Box<dyn Stream>,
    channel: Option<Channel>,
}

impl Connection {
    async fn open(core: &Arc<Core>) -> io::Result<Self> {
        let connecting = {
            let core = Arc::clone(core);
            blocking(move || core.address.connect(core.timeout)).await
        };
        let stream: Box<dyn Stream> = match connecting? {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Box::new(TcpStream::from_std(stream)?)
            }
            Socket::Local(stream) => Box::new(unix(stream)?),
        };
        if !core.address.is_tls() {
            return Ok(Self { stream, channel: None });
        }
        let handshake = TlsConnector::from(Arc::clone(&core.tls)).connect(tls::name(), stream);
        let stream = within(core.timeout, handshake).await?;
        let channel = Channel::of(stream.get_ref().1).map_err(io::Error::other)?;
        Ok(Self { stream: Box::new(stream), channel: Some(channel) })
    }

    async fn exchange(&mut self, ask: &Ask, core: &Core) -> Result<Reply, Failed> {
        let mut answered = false;
        let answer = within(core.timeout, self.answer(ask, core, &mut answered)).await;
        answer.map_err(|error| Failed { error, answered })
    }

    async fn answer(&mut self, ask: &Ask, core: &Core, answered: &mut bool) -> io::Result<Reply> {
        self.stream.write_all(&ask.to_bytes(core.address.host())).await?;
        self.stream.flush().await?;
        let mut incoming = Incoming::default();
        let mut piece = Zeroizing::new(vec![0; PIECE]);
        loop {
            let read = self.stream.read(&mut piece).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *answered = true;
            let bytes = piece.get(..read).unwrap_or_default();
            if let Some(reply) = incoming.take(bytes).map_err(io::Error::other)? {
                return Ok(reply);
            }
        }
    }
}

fn unix(stream: StdUnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// On a thread that may block. A panic there is one here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
