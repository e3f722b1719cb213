//! Trees of pseudo-files where programs find them.
//!
//! A mount is attached to nothing where that is allowed (it needs CAP_SYS_ADMIN): it is reached by its descriptor, is seen
//! by no other process and ends with this one. Elsewhere `fusermount3` mounts it on a temporary folder. One for
//! [everybody](Mount::on) is on a folder that they name.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use tempfile::TempDir;

use crate::pseudo::{Files, Tree};

/// A served tree. It ends when this is dropped.
pub(crate) struct Mount {
    place: Place,
    ended: Arc<Mutex<Receiver<Infallible>>>,
    _session: BackgroundSession,
}

enum Place {
    /// A mount that is attached to nothing.
    Detached(OwnedFd),
    Temporary(TempDir),
    /// A folder of somebody else's, and whether we mounted it there without help.
    Named {
        folder: PathBuf,
        ours: bool,
    },
}

impl Mount {
    /// Serves a tree to this process.
    pub(crate) fn new(tree: impl Tree) -> io::Result<Self> {
        Self::with(tree, |mount| Ok(Place::Detached(mount)), || Ok(Place::Temporary(tempfile::tempdir()?)))
    }

    /// Serves a tree on a folder: to everybody if this process may mount, else to its user alone.
    pub(crate) fn on(tree: impl Tree, folder: &Path) -> io::Result<Self> {
        let named = |ours| Place::Named { folder: folder.to_owned(), ours };
        let attach = |mount: OwnedFd| {
            move_mount(&mount, "", CWD, folder, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            Ok(named(true))
        };
        Self::with(tree, attach, || Ok(named(false)))
    }

    fn with(
        tree: impl Tree,
        own: impl FnOnce(OwnedFd) -> io::Result<Place>,
        helped: impl FnOnce() -> io::Result<Place>,
    ) -> io::Result<Self> {
        let (alive, ended) = channel();
        let files = Files::new(tree, alive);
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let (place, session) = match detached(&device) {
            Ok(mount) => {
                let place = own(mount)?;
                (place, Session::from_fd(files, device.into(), SessionACL::All, Config::default())?)
            }
            Err(Errno::PERM) => {
                let place = helped()?;
                let session = Session::new(files, place.root(), &Config::default())?;
                (place, session)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { place, ended: Arc::new(Mutex::new(ended)), _session: session.spawn()? })
    }

    /// The root of the tree, for this process.
    pub(crate) fn root(&self) -> PathBuf {
        self.place.root()
    }

    /// What waits until it is not served any more.
    pub(crate) fn end(&self) -> impl FnOnce() + Send + use<> {
        let ended = Arc::clone(&self.ended);
        // Nothing is ever sent: the sender ends with what serves the files.
        move || {
            let _ = ended.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
    }
}

impl Place {
    fn root(&self) -> PathBuf {
        match self {
            Self::Detached(mount) => PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
            Self::Temporary(folder) => folder.path().to_owned(),
            Self::Named { folder, .. } => folder.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Named { folder, ours: true } = self {
            // Whoever is in it keeps a dead tree, and nobody else finds it. If it is gone already, so much the better.
            let _ = unmount(&*folder, UnmountFlags::DETACH);
        }
    }
}

/// A mount for whoever reaches it, with the permissions that its files show.
fn detached(device: &File) -> rustix::io::Result<OwnedFd> {
    let filesystem = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    for (key, value) in [
        ("source", "bulla-sim".to_owned()),
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", "40000".to_owned()),
        ("user_id", user.as_raw().to_string()),
        ("group_id", group.as_raw().to_string()),
    ] {
        fsconfig_set_string(&filesystem, key, value)?;
    }
    for flag in ["allow_other", "default_permissions"] {
        fsconfig_set_flag(&filesystem, flag)?;
    }
    fsconfig_create(&filesystem)?;
    fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}
