//! vsock: guests of this host reach the provider without a network or a forwarder. Gramine has no vsock, so inside an
//! enclave this fails when it is bound, and the settings have to name another listener.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use super::listen::BACKLOG;

/// From every context of this host (`VMADDR_CID_ANY`, vsock(7)).
const ANY: u32 = u32::MAX;

/// A listener on a port of vsock.
pub(super) struct VsockDoor {
    socket: AsyncFd<Socket>,
    port: u32,
}

impl VsockDoor {
    pub(super) fn open(port: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
        socket.bind(&SockAddr::vsock(ANY, port))?;
        Self::listen(socket, port)
    }

    fn listen(socket: Socket, port: u32) -> io::Result<Self> {
        socket.listen(BACKLOG.try_into().unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        #[expect(
            deprecated,
            reason = "the other way in is unsafe, for types whose descriptor changes: a socket's does not"
        )]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, port })
    }

    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| socket.get_ref().accept()) {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(accepted) => return accepted.and_then(|(stream, _)| carrier(stream.into())),
                Err(_would_block) => {}
            }
        }
    }
}

/// A connected stream socket for this runtime. The type is that of Unix sockets, and what is used of it, reading, writing
/// and shutting down, is the same for every family.
fn carrier(socket: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdStream::from(socket);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What vsock is used for, over a family that every machine has: accepting without blocking, and a stream both ways.
    #[tokio::test]
    async fn a_connection_carries_bytes_both_ways_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let address = SockAddr::unix(folder.path().join("s")).unwrap();
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&address).unwrap();
        let door = VsockDoor::listen(socket, 1).unwrap();
        let guest = std::thread::spawn(move || {
            let mut guest = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            guest.connect(&address).unwrap();
            guest.write_all(b"asked").unwrap();
            guest.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            guest.read_to_end(&mut heard).unwrap();
            heard
        });
        let mut stream = door.accept().await.unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"asked");
        stream.write_all(b"answered").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(guest.join().unwrap(), b"answered");
    }

    /// Whatever the machine has, the refusal is an error and no panic, and a port that is taken is refused.
    #[tokio::test]
    async fn a_port_is_bound_once() {
        let Ok(door) = VsockDoor::open(0x7000_0001) else {
            return assert!(Socket::new(Domain::VSOCK, Type::STREAM, None).is_err());
        };
        assert_eq!(door.port(), 0x7000_0001);
        assert_eq!(VsockDoor::open(0x7000_0001).map(drop).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
