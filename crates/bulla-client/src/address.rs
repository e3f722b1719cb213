//! Where a provider is, and how to get there. Who is there is not decided here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use socket2::{Domain, SockAddr, Socket as AnySocket, Type};

use crate::Error;

const FORMS: &str = "write http://host:port, https://host:port, unix:PATH or vsock:CID:PORT";

/// Where a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
    Vsock { cid: u32, port: u32 },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Error::Address(format!("names no socket: {FORMS}")));
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix("vsock:") {
            let numbers =
                rest.split_once(':').and_then(|(cid, port)| Some((cid.parse().ok()?, port.parse().ok()?)));
            let (cid, port) = numbers
                .ok_or_else(|| Error::Address(format!("has no context and port of vsock: {FORMS}")))?;
            return Ok(Self::Vsock { cid, port });
        }
        let uri: Uri = text.parse().map_err(|_| Error::Address(format!("is not a URL: {FORMS}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Error::Address(format!("is of no known kind: {FORMS}"))),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (Some(authority), "" | "/", None) = (authority, uri.path(), uri.query()) else {
            return Err(Error::Address(format!("has more or less than a host and a port: {FORMS}")));
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self::Tcp { host: authority.host().into(), port, tls })
    }

    /// For the field of HTTP.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) | Self::Vsock { .. } => "provider",
        }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// A connection. Blocks, for each of the host's addresses at most `timeout`.
    pub(crate) fn connect(&self, timeout: Duration) -> io::Result<Socket> {
        match self {
            Self::Tcp { host, port, .. } => {
                // An address of version 6 stands in brackets.
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let mut failed = io::Error::new(ErrorKind::NotFound, "the host has no address");
                for address in (host, *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Socket::Tcp(stream));
                        }
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
            Self::Unix(path) => UnixStream::connect(path).map(Socket::Local),
            Self::Vsock { cid, port } => {
                let socket = AnySocket::new(Domain::VSOCK, Type::STREAM, None)?;
                socket.connect_timeout(&SockAddr::vsock(*cid, *port), timeout)?;
                // Once connected, it is used as a Unix socket is: reading, writing, shutting down.
                Ok(Socket::Local(OwnedFd::from(socket).into()))
            }
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                write!(f, "{}://{host}:{port}", if *tls { "https" } else { "http" })
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

/// A connected socket, blocking.
pub(crate) enum Socket {
    Tcp(TcpStream),
    /// A Unix socket or vsock.
    Local(UnixStream),
}

impl Socket {
    /// For the next read and the next write.
    pub(crate) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        // Zero would mean for ever.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout))
            }
            Self::Local(stream) => {
                stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout))
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Local(stream) => stream.read(bytes),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Local(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_four_kinds() {
        for (text, shown) in [
            ("http://127.0.0.1:8443", "http://127.0.0.1:8443"),
            ("http://provider/", "http://provider:80"),
            ("https://provider", "https://provider:443"),
            ("https://[::1]:1", "https://[::1]:1"),
            ("unix:/run/provider", "unix:/run/provider"),
            ("unix:///run/provider", "unix:/run/provider"),
            ("unix:sock", "unix:sock"),
            ("vsock:2:8443", "vsock:2:8443"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "/",
            "http://",
            "127.0.0.1:8443",
            "ftp://provider",
            "http://user:pw@provider",
            "http://provider/v1",
            "http://provider/?x",
            "http://pro vider",
            "unix:",
            "vsock:2",
            "vsock:2:x",
            "vsock:4294967296:1",
            "vsock:2:1:3",
        ] {
            let error = Address::parse(bad).err().unwrap();
            assert_eq!(error.code(), "usage.address", "{bad}");
            assert!(error.to_string().contains("vsock:CID:PORT"), "{error}");
        }
    }
}
