//! A Unix socket: for forwarders and guests' helpers on the host, with the file's mode saying who may connect.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::listen::BACKLOG;

/// Only this user, if the settings say nothing.
const MODE: u32 = 0o600;

/// A listener with its file, which goes with it.
pub(crate) struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: the file that was made here, and no later one of the same name.
    file: (u64, u64),
}

impl UnixDoor {
    /// Listens at `path`. A socket that an ended process left there is replaced; one that answers, and whatever is no
    /// socket, stays, and this fails.
    pub(super) fn open(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        clear(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, Permissions::from_mode(mode.unwrap_or(MODE)))?;
        let file = file(path)?;
        Ok(Self { listener: socket.listen(BACKLOG)?, path: path.into(), file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        if file(&self.path).is_ok_and(|there| there == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn clear(path: &Path) -> io::Result<()> {
    if is_left_over(path)? { fs::remove_file(path) } else { Ok(()) }
}

/// Whether a socket is there that an ended process has left. Fails where nothing can be put: something answers, or it is no
/// socket.
pub(crate) fn is_left_over(path: &Path) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "something else than a socket has this name"));
    }
    match Probe::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
    }
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener as Other;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// R52, R73: this user alone unless the settings say otherwise, whatever the umask.
    #[tokio::test]
    async fn the_mode_is_that_of_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for (wanted, found) in [(None, 0o600), (Some(0o660), 0o660), (Some(0o666), 0o666)] {
            let door = UnixDoor::open(&path, wanted).unwrap();
            assert_eq!(mode(&path), found);
            drop(door);
            assert!(!path.exists(), "the file goes with the listener");
        }
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let kind = |result: io::Result<UnixDoor>| result.map(drop).unwrap_err().kind();

        // An ended process left it: its listener is closed, and its file is there.
        drop(Other::bind(&path).unwrap());
        let door = UnixDoor::open(&path, None).unwrap();
        assert_eq!(kind(UnixDoor::open(&path, None)), ErrorKind::AddrInUse, "a provider that runs");
        let (theirs, ours) = tokio::join!(UnixStream::connect(&path), door.accept());
        assert!(theirs.is_ok() && ours.is_ok(), "and it still listens");

        // A later file of the same name is not taken away.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(door);
        assert_eq!(kind(UnixDoor::open(&path, None)), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(kind(UnixDoor::open(&link, None)), ErrorKind::AlreadyExists);
        assert_eq!(kind(UnixDoor::open(&folder.path().join("no/folder"), None)), ErrorKind::NotFound);
    }
}
