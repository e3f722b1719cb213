//! Quotes by the host's quote generation service (Intel DCAP, QuoteGeneration/quote_wrapper/{qgs,qgs_msg_lib,tdx_attest}), for
//! guests whose kernel does not ask it.
//!
//! One request for each connection: a 32-bit length, most significant byte first, and a message in little-endian: a header of
//! major and minor version, type, size and error code, then two sizes, then what has these sizes.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::arch::TdReport;
use super::quote::LIMIT;
use crate::Error;

pub(super) const DEVICE: &str = "the host's quote generation service";
const MACHINE: &str = "quote generation service";
const MAJOR: u16 = 1;
const MINOR: u16 = 1;
const GET_QUOTE_REQUEST: u32 = 0;
const GET_QUOTE_RESPONSE: u32 = 1;
/// How long the service itself works on a request before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTING: Duration = Duration::from_secs(5);

/// Where a quote generation service listens.
///
/// ```
/// use bulla_tee::tdx::QuoteService;
///
/// assert_eq!(QuoteService::HOST.to_string(), "vsock:2:4050");
/// assert_eq!(QuoteService::parse("vsock:2:4050"), Some(QuoteService::HOST));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuoteService {
    /// A port of vsock on a context.
    Vsock {
        /// The context; the host is 2.
        cid: u32,
        /// The port; by default the service listens on 4050.
        port: u32,
    },
    /// A Unix socket, as monitors that have no vsock of their own map it.
    Unix(PathBuf),
}

impl QuoteService {
    /// The host's, on the port of its default settings.
    pub const HOST: Self = Self::on_host(4050);

    /// The host's, on another port.
    pub const fn on_host(port: u32) -> Self {
        Self::Vsock { cid: 2, port }
    }

    /// That of a text as it displays itself; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("vsock", rest) => {
                let (cid, port) = rest.split_once(':')?;
                Some(Self::Vsock { cid: cid.parse().ok()?, port: port.parse().ok()? })
            }
            ("unix", path) if !path.is_empty() => Some(Self::Unix(path.into())),
            _ => None,
        }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Vsock { cid, port } => {
                let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
                socket.connect_timeout(&SockAddr::vsock(*cid, *port), CONNECTING)?;
                // Once connected, it is used as a Unix socket is: reading and writing.
                Ok(OwnedFd::from(socket).into())
            }
            Self::Unix(path) => UnixStream::connect(path),
        }
    }

    /// What the service calls the quote of `report`.
    pub(super) fn quote(&self, report: &TdReport) -> Result<Vec<u8>, Error> {
        let answered = self.connect().and_then(|stream| exchange(stream, report, PATIENCE));
        let message = answered.map_err(|error| self.unavailable(&reason(&error)))?;
        let (header, rest) =
            Header::ref_from_prefix(&message).map_err(|_| fault("an answer that is cut off"))?;
        let is_answer = header.major.get() == MAJOR && header.kind.get() == GET_QUOTE_RESPONSE;
        if !is_answer {
            return Err(fault("something else than an answer"));
        }
        match header.error.get() {
            0 => {}
            code => return Err(self.unavailable(refusal(code))),
        }
        let (id_size, quote_size) = (header.first_size.get() as usize, header.second_size.get() as usize);
        let sizes = id_size.checked_add(quote_size) == Some(rest.len()) && quote_size > 0;
        match rest.split_at_checked(id_size).filter(|_| sizes) {
            Some((_, quote)) if header.size.get() as usize == message.len() => Ok(quote.to_vec()),
            _ => Err(fault("an answer whose sizes do not fit")),
        }
    }

    fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable { machine: MACHINE, reason: format!("{self}: {reason}") }
    }
}

/// For example `vsock:2:4050` and `unix:/run/qgs.socket`.
impl fmt::Display for QuoteService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The header of a message, and the two sizes of a request for a quote (report, list of key ids) and of its answer (key id,
/// quote).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    major: U16,
    minor: U16,
    kind: U32,
    /// Of the whole message.
    size: U32,
    error: U32,
    first_size: U32,
    second_size: U32,
}

/// The message that answers a request for the quote of `report`.
fn exchange(mut stream: UnixStream, report: &TdReport, patience: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + patience;
    let size = size_of::<Header>() + size_of::<TdReport>();
    let header = Header {
        major: MAJOR.into(),
        minor: MINOR.into(),
        kind: GET_QUOTE_REQUEST.into(),
        size: (size as u32).into(),
        error: 0.into(),
        first_size: (size_of::<TdReport>() as u32).into(),
        second_size: 0.into(),
    };
    // In one piece: the service reads once, and takes what comes later for a request of its own.
    let request = [&(size as u32).to_be_bytes()[..], header.as_bytes(), report.as_bytes()].concat();
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&request)?;

    let mut length = [0; 4];
    read(&mut stream, &mut length, until)?;
    let length = u32::from_be_bytes(length) as usize;
    if !(size_of::<Header>()..=size_of::<Header>() + LIMIT).contains(&length) {
        let what = format!("its answer says that it has {length} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    }
    let mut message = vec![0; length];
    read(&mut stream, &mut message, until)?;
    Ok(message)
}

/// Reads all of `bytes`, in however many pieces, until then.
fn read(stream: &mut UnixStream, mut bytes: &mut [u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes = bytes.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            "it has not answered in 30 seconds; see on the host that it runs and reaches its platform".into()
        }
        ErrorKind::UnexpectedEof => {
            "it hung up before its answer was complete; see its log on the host".into()
        }
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::NotFound => {
            format!("nobody listens there ({error}); start it on the host, or say where it listens")
        }
        _ => error.to_string(),
    }
}

/// qgs_msg_error_t.
fn refusal(code: u32) -> &'static str {
    match code {
        0x0001_2001 => "it could not make a quote; see its log on the host",
        0x0001_2002 => "it has no memory left",
        0x0001_2003..=0x0001_2007 => "it did not understand the request; update it on the host",
        _ => "it refused with a code that nobody knows; see its log on the host",
    }
}

fn fault(what: &str) -> Error {
    Error::Device { device: DEVICE, fault: format!("gave {what}") }
}

const _: () = assert!(size_of::<Header>() == 24);

#[cfg(test)]
mod tests;
