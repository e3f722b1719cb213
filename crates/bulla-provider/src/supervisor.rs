//! What supervises the process, as systemd does: it is told when the provider is ready, reloads, stops and still lives
//! (`sd_notify(3)`). One datagram each, on a socket that the host names.
//!
//! All of it goes out and nothing comes in, so the host learns here only what it sees anyway, and a socket that is not
//! there or does not take a message changes nothing.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What supervises the process.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whoever `NOTIFY_SOCKET` names; it expects to hear from the process as often as `WATCHDOG_USEC` says, if that is for
    /// this process.
    pub fn of_environment() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else {
            return Self::none();
        };
        let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|microseconds| ours && *microseconds > 0);
        Self::at(&address, watchdog.map(Duration::from_micros))
    }

    /// Whoever listens at this path, or at this abstract name after an `@`.
    pub fn at(address: &OsStr, watchdog: Option<Duration>) -> Self {
        match connected(address) {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                tracing::warn!(error = %error.kind(), "the supervisor cannot be told anything");
                Self::none()
            }
        }
    }

    /// How often it wants to hear that the provider lives: twice as often as it waits for it.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|longest| longest / 2)
    }

    /// The provider serves.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The provider reads its policy anew; [`ready`](Self::ready) follows.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
    }

    /// The provider ends.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// The provider lives.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// What the provider is at, for people.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // Whoever does not listen is not waited for.
            let _ = socket.send(message.as_bytes());
        }
    }
}

fn connected(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_supervisor_hears_everything_in_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str(), Some(Duration::from_secs(30)));
        assert_eq!(supervisor.watchdog(), Some(Duration::from_secs(15)));
        supervisor.ready("serving");
        assert_eq!(heard(&ear), "READY=1\nSTATUS=serving");
        supervisor.reloading();
        let said = heard(&ear);
        let at: u64 = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(at > 0);
        supervisor.status("draining");
        assert_eq!(heard(&ear), "STATUS=draining");
        supervisor.alive();
        assert_eq!(heard(&ear), "WATCHDOG=1");
        supervisor.stopping();
        assert_eq!(heard(&ear), "STOPPING=1");
    }

    #[test]
    fn an_abstract_name_is_one_too() {
        let name = format!("bulla-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let ear = UnixDatagram::bind_addr(&address).unwrap();
        Supervisor::at(format!("@{name}").as_ref(), None).stopping();
        assert_eq!(heard(&ear), "STOPPING=1");
    }

    /// What is not there, or is full, stops nobody.
    #[test]
    fn nobody_waits_for_a_supervisor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let missing = Supervisor::at(path.as_os_str(), Some(Duration::from_secs(1)));
        assert!(missing.watchdog().is_none());
        missing.stopping();
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str(), None);
        (0..10_000).for_each(|_| supervisor.alive());
        assert!(supervisor.watchdog().is_none());
    }
}
