//! A blocking connection to a provider.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use zeroize::Zeroizing;

use crate::Error;
use crate::address::{Address, Socket};
use crate::client::Core;
use crate::http::{Ask, Incoming, Reply};
use crate::tls::{self, Channel};
use crate::walk::{Event, Patient, Step, Walk};

/// How much is read at once, in bytes.
pub(crate) const PIECE: usize = 16 * 1024;

/// Where walks are carried out, one after the other; the connection is kept from one to the next.
#[derive(Default)]
pub(crate) struct Road {
    connection: Option<Connection>,
}

impl Road {
    /// Goes the whole way.
    pub(crate) fn go<W: Walk>(
        &mut self,
        core: &Core,
        walk: &mut Patient<W>,
        wait: &dyn Fn(Duration),
    ) -> Result<W::Done, Error> {
        let mut event = Event::Begin;
        loop {
            event = match walk.next(event)? {
                Step::Done(done) => return Ok(done),
                Step::Block => Event::Here,
                Step::Wait(time) => {
                    wait(time);
                    Event::Begin
                }
                Step::Ask(ask) => self.ask(core, &ask)?,
            };
        }
    }

    fn ask(&mut self, core: &Core, ask: &Ask) -> Result<Event, Error> {
        let fault = |error: &io::Error| core.fault(error);
        if let Some(mut connection) = self.connection.take() {
            match connection.exchange(ask, core) {
                Ok(reply) => return Ok(self.replied(connection, reply)),
                // It ended before the message, as connections do that nobody used for a while.
                Err(Failed { error, answered: false }) if is_end(&error) => {}
                Err(Failed { error, .. }) => return Err(fault(&error)),
            }
        }
        if ask.same_connection {
            return Ok(Event::Closed);
        }
        let mut connection = Connection::open(&core.address, core).map_err(|error| fault(&error))?;
        let reply = connection.exchange(ask, core).map_err(|failed| fault(&failed.error))?;
        Ok(self.replied(connection, reply))
    }

    fn replied(&mut self, connection: Connection, reply: Reply) -> Event {
        let channel = connection.channel;
        self.connection = Some(connection).filter(|_| !reply.last);
        Event::Reply(reply, channel)
    }
}

/// Whether the other side has gone.
pub(crate) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
    )
}

/// What ended an exchange, and whether the answer had begun.
pub(crate) struct Failed {
    pub(crate) error: io::Error,
    pub(crate) answered: bool,
}

/// One connection.
struct Connection {
    stream: Stream,
    channel: Option<Channel>,
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Connection {
    fn open(address: &Address, core: &Core) -> io::Result<Self> {
        let mut socket =
            Timed { until: Instant::now() + core.timeout, socket: address.connect(core.timeout)? };
        if !address.is_tls() {
            return Ok(Self { stream: Stream::Plain(socket), channel: None });
        }
        let connection = ClientConnection::new(Arc::clone(&core.tls), tls::name());
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let channel = Channel::of(&connection).map_err(io::Error::other)?;
        Ok(Self {
            stream: Stream::Tls(Box::new(StreamOwned::new(connection, socket))),
            channel: Some(channel),
        })
    }

    fn exchange(&mut self, ask: &Ask, core: &Core) -> Result<Reply, Failed> {
        let mut answered = false;
        self.answer(ask, core, &mut answered).map_err(|error| Failed { error, answered })
    }

    fn answer(&mut self, ask: &Ask, core: &Core, answered: &mut bool) -> io::Result<Reply> {
        let until = Instant::now() + core.timeout;
        let stream: &mut dyn ReadWrite = match &mut self.stream {
            Stream::Plain(socket) => {
                socket.until = until;
                socket
            }
            Stream::Tls(stream) => {
                stream.sock.until = until;
                stream.as_mut()
            }
        };
        stream.write_all(&ask.to_bytes(core.address.host()))?;
        stream.flush()?;
        let mut incoming = Incoming::default();
        let mut piece = Zeroizing::new(vec![0; PIECE]);
        loop {
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            *answered = true;
            let bytes = piece.get(..read).unwrap_or_default();
            if let Some(reply) = incoming.take(bytes).map_err(io::Error::other)? {
                return Ok(reply);
            }
        }
    }
}

trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

/// A socket that has until a moment for everything.
struct Timed {
    socket: Socket,
    until: Instant,
}

impl Timed {
    fn prepare(&self) -> io::Result<()> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) => self.socket.set_timeout(left),
            None => Err(ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.prepare()?;
        self.socket.read(bytes)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.prepare()?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
