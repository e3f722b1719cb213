//! What the journal needs of a file system, and nothing more. Names are single components within one directory.

use std::borrow::BorrowMut;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, Write};

/// One directory. [`Disk`](super::disk::Disk) is the real one; the tests have one that loses power.
///
/// Nothing is tried again after a failure (R68), except what a signal interrupted before it had begun: reading, writing,
/// waiting for the lock. There is no operation that closes a file: all that was written is synced while the file is open,
/// and then closing it loses nothing.
pub(crate) trait FileSystem {
    type File: Read + Write + Seek;
    /// Lets go when dropped, and when the process ends in whatever way.
    type Lock: BorrowMut<Self::File>;

    /// What is there under a name, links not followed.
    fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>>;
    /// What was opened, whatever is there by now.
    fn stat_of(&self, file: &Self::File) -> io::Result<Stat>;
    /// Opens for reading, links not followed, without waiting for whoever is at the other end of a pipe.
    fn open(&self, name: &OsStr) -> io::Result<Self::File>;
    /// Opens what was just written and synced so that, where possible, it is read from the device.
    fn reopen(&self, name: &OsStr) -> io::Result<Self::File>;
    /// Makes a file, mode 0600 whatever the umask (R73), for reading and writing. There must be nothing under the name.
    fn create(&self, name: &OsStr) -> io::Result<Self::File>;
    /// Waits for the lock that a file stands for, against all threads and processes. Makes the file if there is none.
    fn lock(&self, name: &OsStr) -> io::Result<Self::Lock>;
    /// Brings the content of a file to the device.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Brings the names in the directory to the device.
    fn sync_directory(&self) -> io::Result<()>;
    /// Gives a file a second name. There must be nothing under it.
    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// Moves a name, in one step, over whatever is there.
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()>;
    fn remove(&self, name: &OsStr) -> io::Result<()>;
}

/// What the journal wants to know about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    /// Device and inode number.
    pub(crate) identity: (u64, u64),
    pub(crate) links: u64,
    /// Whether it belongs to the user that this process acts for.
    pub(crate) ours: bool,
    /// The permission bits.
    pub(crate) mode: u32,
    /// Bytes.
    pub(crate) len: u64,
    /// Last change of the content: seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Link,
    Directory,
    /// A device, a pipe, a socket.
    Special,
}

impl Stat {
    /// Whether nobody wrote to the file or put another in its place since `earlier`. Its number of links may differ.
    pub(crate) fn is_still(&self, earlier: &Self) -> bool {
        (self.kind, self.identity, self.len, self.modified)
            == (earlier.kind, earlier.identity, earlier.len, earlier.modified)
    }

    /// Whether two names stand for one file. Where inode numbers mean nothing, as in some library operating systems, the
    /// number of links tells that they do not.
    pub(crate) fn is_one_with(&self, other: &Self) -> bool {
        self.links > 1 && self.identity == other.identity
    }
}
