//! Trees of pseudo-files: what the kernel of a guest or a library OS shows as files and devices.
//!
//! A [`Tree`] is served by FUSE, so programs reach it by their own system calls: files whose content is made when they are
//! opened or read, folders that fill themselves when they are made, devices that answer `ioctl`. The kernel carries an
//! ioctl's argument by the size in the command's number, as the real one's drivers do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, IoctlFlags, LockOwner,
    OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::memory::Memory;

pub(crate) use fuser::Errno;

/// What is at a path.
pub(crate) enum Node {
    /// A folder, and the names in it.
    Folder(Vec<String>),
    /// A file or device, and its permissions.
    File(u16),
}

/// What is at `path` in a tree that has these files; of a folder that can be empty it has the path with a slash behind it.
pub(crate) fn node_among(files: impl IntoIterator<Item = (String, u16)>, path: &Path) -> Option<Node> {
    let path = path.to_str()?;
    let inside = if path.is_empty() { String::new() } else { format!("{path}/") };
    let (mut names, mut found) = (Vec::new(), path.is_empty());
    for (each, mode) in files {
        if each == path {
            return Some(Node::File(mode));
        }
        let Some(rest) = each.strip_prefix(&inside) else { continue };
        found = true;
        let name = rest.split('/').next().unwrap_or_default().to_owned();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    found.then_some(Node::Folder(names))
}

/// Pseudo-files. Paths are relative to the root, which is the empty path.
pub(crate) trait Tree: Send + Sync + 'static {
    /// What is at `path`, if anything.
    fn node(&self, path: &Path) -> Option<Node>;

    /// Makes a folder.
    fn make(&self, _path: &Path) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Removes a folder.
    fn remove(&self, _path: &Path) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    /// Opens a file.
    fn open(&self, path: &Path, write: bool) -> Result<Box<dyn Handle>, Errno>;
}

impl Tree for Box<dyn Tree> {
    fn node(&self, path: &Path) -> Option<Node> {
        (**self).node(path)
    }

    fn make(&self, path: &Path) -> Result<(), Errno> {
        (**self).make(path)
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        (**self).remove(path)
    }

    fn open(&self, path: &Path, write: bool) -> Result<Box<dyn Handle>, Errno> {
        (**self).open(path, write)
    }
}

/// An open pseudo-file.
pub(crate) trait Handle: Send {
    /// The whole content, asked for once: at the first read.
    fn read(&mut self) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    /// One call of `write`.
    fn write(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// Each `close` of a descriptor. What it returns is what `close` returns, to which nobody listens.
    fn close(&mut self) -> Result<(), Errno> {
        Ok(())
    }

    /// A command with its argument, which is as long as the command's number says; it is copied back afterwards.
    fn ioctl(&mut self, _command: u32, _argument: &mut [u8], _memory: &Memory) -> Result<(), Errno> {
        Err(Errno::ENOTTY)
    }
}

/// Nothing may be cached: all that is in these trees changes by itself.
const NEVER: Duration = Duration::ZERO;

/// A tree as FUSE asks for it.
pub(crate) struct Files<T> {
    tree: T,
    state: Mutex<State>,
    _alive: Sender<Infallible>,
}

/// Inodes are paths that were looked up, by number from 1, the root.
struct State {
    paths: Vec<PathBuf>,
    open: BTreeMap<u64, Open>,
    opened: u64,
}

struct Open {
    handle: Box<dyn Handle>,
    content: Option<Vec<u8>>,
}

impl<T: Tree> Files<T> {
    /// `alive` is kept for as long as the tree is served.
    pub(crate) fn new(tree: T, alive: Sender<Infallible>) -> Self {
        let state = State { paths: vec![PathBuf::new()], open: BTreeMap::new(), opened: 0 };
        Self { tree, state: Mutex::new(state), _alive: alive }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, inode: INodeNo) -> Result<PathBuf, Errno> {
        let index = usize::try_from(inode.0).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| self.state().paths.get(index).cloned()).ok_or(Errno::ENOENT)
    }

    fn attributes(&self, path: &Path) -> Result<FileAttr, Errno> {
        let (kind, perm) = match self.tree.node(path).ok_or(Errno::ENOENT)? {
            Node::Folder(_) => (FileType::Directory, 0o755),
            Node::File(perm) => (FileType::RegularFile, perm),
        };
        let mut state = self.state();
        let index = state.paths.iter().position(|known| known == path).unwrap_or_else(|| {
            state.paths.push(path.to_owned());
            state.paths.len() - 1
        });
        Ok(FileAttr {
            ino: INodeNo(index as u64 + 1),
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn of<R>(
        &self,
        handle: FileHandle,
        work: impl FnOnce(&mut Open) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        work(self.state().open.get_mut(&handle.0).ok_or(Errno::EBADF)?)
    }
}

impl<T: Tree> Filesystem for Files<T> {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.path(parent).and_then(|parent| self.attributes(&parent.join(name))) {
            Ok(attributes) => reply.entry(&NEVER, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(inode).and_then(|path| self.attributes(&path)) {
            Ok(attributes) => reply.attr(&NEVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    /// Truncation, which a pseudo-file takes and ignores.
    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        handle: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, inode, handle, reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.path(parent).and_then(|parent| {
            let path = parent.join(name);
            self.tree.make(&path)?;
            self.attributes(&path)
        });
        match made {
            Ok(attributes) => reply.entry(&NEVER, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.path(parent).and_then(|parent| self.tree.remove(&parent.join(name))) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let path = match self.path(inode) {
            Ok(path) => path,
            Err(error) => return reply.error(error),
        };
        let Some(Node::Folder(names)) = self.tree.node(&path) else { return reply.error(Errno::ENOTDIR) };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, name) in names.iter().enumerate().skip(skip) {
            let Ok(entry) = self.attributes(&path.join(name)) else { continue };
            if reply.add(entry.ino, index as u64 + 1, entry.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let write = flags.acc_mode() != OpenAccMode::O_RDONLY;
        match self.path(inode).and_then(|path| self.tree.open(&path, write)) {
            Ok(handle) => {
                let mut state = self.state();
                state.opened += 1;
                let number = state.opened;
                state.open.insert(number, Open { handle, content: None });
                reply.opened(FileHandle(number), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.of(handle, |open| {
            let content = match open.content.take() {
                Some(content) => content,
                None => open.handle.read()?,
            };
            let rest = usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or(&[]);
            let bytes = rest.get(..size as usize).unwrap_or(rest).to_vec();
            open.content = Some(content);
            Ok(bytes)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.of(handle, |open| open.handle.write(offset, bytes)) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        match self.of(handle, |open| open.handle.close()) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.state().open.remove(&handle.0);
        reply.ok();
    }

    fn ioctl(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: IoctlFlags,
        command: u32,
        argument: &[u8],
        size: u32,
        reply: ReplyIoctl,
    ) {
        let mut answer = argument.to_vec();
        answer.resize(answer.len().max(size as usize), 0);
        let memory = Memory::of(request.pid() as i32);
        match self.of(handle, |open| open.handle.ioctl(command, &mut answer, &memory)) {
            Ok(()) => reply.ioctl(0, answer.get(..size as usize).unwrap_or(&answer)),
            // Drivers copy their argument back also when they fail.
            Err(error) => reply.ioctl(-error.code(), answer.get(..size as usize).unwrap_or(&answer)),
        }
    }
}
