//! A file system in memory that keeps apart what programs see and what a power failure leaves.
//!
//! - The content of a file lasts when the file is synced. Before that, a power failure leaves what lasted, what was written, any
//!   part of it from the start, the rest cut off or zeros, or garbage of the right length.
//! - A name lasts when the directory is synced. Before that, a power failure leaves any selection of the operations since,
//!   but an operation only together with all earlier ones on the same names; each operation happens whole or not at all.
//! - A sync of a file that fails loses the content, and the next one says nothing of it, as on Linux.

use std::borrow::{Borrow, BorrowMut};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::super::file_system::{FileSystem, Kind, Stat};

/// Names and contents, as a power failure leaves them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Image {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
}

impl Image {
    /// Puts a file there.
    pub(super) fn with(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let inode = self.contents.keys().last().map_or(1, |last| last + 1);
        self.contents.insert(inode, content.as_ref().to_vec());
        self.names.insert(name.into(), inode);
        self
    }

    /// Gives a file a second name.
    pub(super) fn with_link(mut self, from: &str, to: &str) -> Self {
        self.names.insert(to.into(), self.names[from]);
        self
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        let inode = self.names.get(name)?;
        Some(String::from_utf8_lossy(&self.contents[inode]).into_owned())
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    pub(super) fn links(&self, name: &str) -> usize {
        self.names.values().filter(|inode| **inode == self.names[name]).count()
    }
}

/// What goes wrong at a call, counted from 0.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The power fails before this call: it and all later ones do nothing.
    Crash(usize),
    /// This call fails.
    Once(usize, Errno),
    /// This call and all later ones fail.
    From(usize, Errno),
    /// This call, if it reads or writes, does one byte only.
    Short(usize),
    /// The file synced at this call, or the next one synced, has this bit flipped.
    Flip(usize, usize),
}

/// Called before each operation, outside of it.
pub(super) type Watcher = Box<dyn FnMut(usize, &FaultyDisk) + Send>;

#[derive(Clone)]
pub(super) struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    lasting: BTreeMap<String, u64>,
    /// Directory operations since the last sync: which names get which files.
    pending: Vec<Vec<(String, Option<u64>)>>,
    calls: Vec<String>,
    fault: Option<Fault>,
    watcher: Option<Watcher>,
    has_links: bool,
    locked: bool,
    next_inode: u64,
    clock: i64,
}

#[derive(Clone)]
struct Inode {
    content: Vec<u8>,
    lasting: Vec<u8>,
    /// Whether a sync would bring the content to the device.
    dirty: bool,
    modified: i64,
}

impl FaultyDisk {
    /// A disk as a power failure left it.
    pub(super) fn from(image: &Image) -> Self {
        let inode = |content: &Vec<u8>| Inode {
            content: content.clone(),
            lasting: content.clone(),
            dirty: false,
            modified: 0,
        };
        let state = State {
            inodes: image.contents.iter().map(|(number, content)| (*number, inode(content))).collect(),
            names: image.names.clone(),
            lasting: image.names.clone(),
            pending: Vec::new(),
            calls: Vec::new(),
            fault: None,
            watcher: None,
            has_links: true,
            locked: false,
            next_inode: image.contents.keys().last().copied().unwrap_or_default(),
            clock: 1,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The same disk in the same state, to try something on.
    pub(super) fn fork(&self) -> Self {
        let state = self.state();
        let state = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            lasting: state.lasting.clone(),
            pending: state.pending.clone(),
            calls: Vec::new(),
            fault: None,
            watcher: None,
            has_links: state.has_links,
            locked: false,
            next_inode: state.next_inode,
            clock: state.clock,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn without_links(self) -> Self {
        self.state().has_links = false;
        self
    }

    pub(super) fn with_fault(self, fault: Fault) -> Self {
        self.state().fault = Some(fault);
        self
    }

    pub(super) fn with_watcher(self, watcher: Watcher) -> Self {
        self.state().watcher = Some(watcher);
        self
    }

    /// From now on all goes well, and nobody watches.
    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.fault = None;
        state.watcher = None;
        state.calls.clear();
    }

    /// The calls so far, in words.
    pub(super) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// What programs see.
    pub(super) fn seen(&self) -> Image {
        let state = self.state();
        let contents = state.names.values().map(|inode| (*inode, state.inodes[inode].content.clone()));
        Image { names: state.names.clone(), contents: contents.collect() }
    }

    /// Everything that a power failure can leave at this moment.
    pub(super) fn images(&self) -> BTreeSet<Image> {
        let state = self.state();
        let mut images = BTreeSet::new();
        for selection in 0_u32..1 << state.pending.len() {
            let Some(names) = state.selected(selection) else { continue };
            let mut contents = vec![BTreeMap::new()];
            for inode in names.values().collect::<BTreeSet<_>>() {
                let variants = state.inodes[inode].variants();
                contents = contents
                    .iter()
                    .flat_map(|others| {
                        variants.iter().map(|variant| {
                            let mut all: BTreeMap<u64, Vec<u8>> = others.clone();
                            all.insert(*inode, variant.clone());
                            all
                        })
                    })
                    .collect();
            }
            images.extend(contents.into_iter().map(|contents| Image { names: names.clone(), contents }));
        }
        images
    }

    /// Somebody else, who knows of no journal, puts a file there by renaming.
    pub(super) fn put(&self, name: &str, content: &str) {
        let mut state = self.state();
        let inode = state.new_inode();
        let content = content.as_bytes().to_vec();
        let modified = state.clock;
        state.inodes.insert(inode, Inode { lasting: content.clone(), content, dirty: false, modified });
        state.edit(vec![(name.into(), Some(inode))]);
    }

    /// Somebody else removes a file.
    pub(super) fn take_away(&self, name: &str) {
        self.state().edit(vec![(name.into(), None)]);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, lets the watcher act, and fails if it is to.
    fn call(&self, what: &str) -> io::Result<(MutexGuard<'_, State>, usize)> {
        let index = self.state().calls.len();
        self.state().calls.push(what.into());
        let watcher = self.state().watcher.take();
        if let Some(mut watcher) = watcher {
            let calls = self.state().calls.clone();
            watcher(index, self);
            let mut state = self.state();
            state.calls = calls;
            state.watcher = Some(watcher);
        }
        let state = self.state();
        match state.fault {
            Some(Fault::Crash(from)) if index >= from => Err(Errno::IO.into()),
            Some(Fault::From(from, errno)) if index >= from => Err(errno.into()),
            Some(Fault::Once(at, errno)) if index == at => Err(errno.into()),
            _ => Ok((state, index)),
        }
    }
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.clock += 1;
        self.next_inode
    }

    fn edit(&mut self, edits: Vec<(String, Option<u64>)>) {
        apply(&mut self.names, &edits);
        self.pending.push(edits);
    }

    /// The names that last if of the pending operations these do; nothing if that selection is impossible.
    fn selected(&self, selection: u32) -> Option<BTreeMap<String, u64>> {
        let mut names = self.lasting.clone();
        let mut lost = BTreeSet::new();
        for (index, edits) in self.pending.iter().enumerate() {
            if selection & 1 << index == 0 {
                lost.extend(edits.iter().map(|(name, _)| name));
            } else if edits.iter().any(|(name, _)| lost.contains(name)) {
                return None;
            } else {
                apply(&mut names, edits);
            }
        }
        Some(names)
    }

    fn stat(&self, number: u64) -> Stat {
        let inode = &self.inodes[&number];
        Stat {
            kind: Kind::Regular,
            identity: (1, number),
            links: self.names.values().filter(|other| **other == number).count() as u64,
            ours: true,
            mode: 0o600,
            len: inode.content.len() as u64,
            modified: (inode.modified, 0),
        }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, edits: &[(String, Option<u64>)]) {
    for (name, inode) in edits {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

impl Inode {
    fn variants(&self) -> BTreeSet<Vec<u8>> {
        let mut variants = BTreeSet::from([self.lasting.clone()]);
        if !self.dirty {
            return variants;
        }
        for len in 0..=self.content.len() {
            let mut part = self.content[..len].to_vec();
            variants.insert(part.clone());
            part.resize(self.content.len(), 0);
            variants.insert(part);
        }
        variants.insert(vec![0xa5; self.content.len()]);
        variants
    }
}

pub(super) struct Handle {
    disk: FaultyDisk,
    inode: u64,
    position: usize,
}

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (state, index) = self.disk.call("read")?;
        let content = &state.inodes[&self.inode].content;
        let mut len = buffer.len().min(content.len().saturating_sub(self.position));
        if matches!(state.fault, Some(Fault::Short(at)) if at == index) {
            len = len.min(1);
        }
        buffer[..len].copy_from_slice(&content[self.position..self.position + len]);
        self.position += len;
        Ok(len)
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, index) = self.disk.call("write")?;
        let short = matches!(state.fault, Some(Fault::Short(at)) if at == index);
        let bytes = if short { &bytes[..bytes.len().min(1)] } else { bytes };
        state.clock += 1;
        let now = state.clock;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        inode.content.truncate(self.position);
        inode.content.extend_from_slice(bytes);
        inode.dirty = true;
        inode.modified = now;
        self.position += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (_state, _) = self.disk.call("seek")?;
        let SeekFrom::Start(position) = to else { panic!("the journal only goes to the start") };
        self.position = usize::try_from(position).unwrap();
        Ok(position)
    }
}

pub(super) struct Lock(Handle);

impl Borrow<Handle> for Lock {
    fn borrow(&self) -> &Handle {
        &self.0
    }
}

impl BorrowMut<Handle> for Lock {
    fn borrow_mut(&mut self) -> &mut Handle {
        &mut self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.disk.state().locked = false;
    }
}

fn text(name: &OsStr) -> String {
    name.to_str().unwrap().into()
}

impl FileSystem for FaultyDisk {
    type File = Handle;
    type Lock = Lock;

    fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        let (state, _) = self.call(&format!("stat {}", text(name)))?;
        Ok(state.names.get(&text(name)).map(|inode| state.stat(*inode)))
    }

    fn stat_of(&self, file: &Handle) -> io::Result<Stat> {
        let (state, _) = self.call("stat of file")?;
        Ok(state.stat(file.inode))
    }

    fn open(&self, name: &OsStr) -> io::Result<Handle> {
        let (state, _) = self.call(&format!("open {}", text(name)))?;
        let inode = *state.names.get(&text(name)).ok_or(Errno::NOENT)?;
        Ok(Handle { disk: self.clone(), inode, position: 0 })
    }

    fn reopen(&self, name: &OsStr) -> io::Result<Handle> {
        self.open(name)
    }

    fn create(&self, name: &OsStr) -> io::Result<Handle> {
        let (mut state, _) = self.call(&format!("create {}", text(name)))?;
        if state.names.contains_key(&text(name)) {
            return Err(Errno::EXIST.into());
        }
        let inode = state.new_inode();
        let modified = state.clock;
        let empty = Inode { content: Vec::new(), lasting: Vec::new(), dirty: true, modified };
        state.inodes.insert(inode, empty);
        state.edit(vec![(text(name), Some(inode))]);
        Ok(Handle { disk: self.clone(), inode, position: 0 })
    }

    fn lock(&self, name: &OsStr) -> io::Result<Lock> {
        let (state, _) = self.call(&format!("lock {}", text(name)))?;
        let there = state.names.get(&text(name)).copied();
        drop(state);
        let handle = match there {
            Some(inode) => Handle { disk: self.clone(), inode, position: 0 },
            None => self.create(name)?,
        };
        assert!(!std::mem::replace(&mut self.state().locked, true), "locked twice");
        Ok(Lock(handle))
    }

    fn sync(&self, file: &Handle) -> io::Result<()> {
        let (mut state, index) = match self.call("sync") {
            Ok(called) => called,
            Err(error) => {
                // Unless the power is gone: the system gave up writing the content, and forgets that it did.
                let mut state = self.state();
                if !matches!(state.fault, Some(Fault::Crash(_))) {
                    state.inodes.get_mut(&file.inode).unwrap().dirty = false;
                }
                return Err(error);
            }
        };
        let flip = match state.fault {
            Some(Fault::Flip(at, bit)) if index >= at => {
                state.fault = None;
                Some(bit)
            }
            _ => None,
        };
        let inode = state.inodes.get_mut(&file.inode).unwrap();
        if let Some(bit) = flip {
            let len = inode.content.len() * 8;
            inode.content[bit % len / 8] ^= 1 << (bit % 8);
        }
        if inode.dirty {
            inode.lasting = inode.content.clone();
            inode.dirty = false;
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let (mut state, _) = self.call("sync directory")?;
        state.lasting = state.names.clone();
        state.pending.clear();
        Ok(())
    }

    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (mut state, _) = self.call(&format!("link {} {}", text(from), text(to)))?;
        if !state.has_links {
            return Err(Errno::NOSYS.into());
        }
        let inode = *state.names.get(&text(from)).ok_or(Errno::NOENT)?;
        if state.names.contains_key(&text(to)) {
            return Err(Errno::EXIST.into());
        }
        // The operation needs the first name as it is, but does not change it.
        state.edit(vec![(text(from), Some(inode)), (text(to), Some(inode))]);
        Ok(())
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (mut state, _) = self.call(&format!("rename {} {}", text(from), text(to)))?;
        let inode = *state.names.get(&text(from)).ok_or(Errno::NOENT)?;
        // Of two names of one file, POSIX leaves both.
        if state.names.get(&text(to)) != Some(&inode) {
            state.edit(vec![(text(from), None), (text(to), Some(inode))]);
        }
        Ok(())
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        let (mut state, _) = self.call(&format!("remove {}", text(name)))?;
        if !state.names.contains_key(&text(name)) {
            return Err(Errno::NOENT.into());
        }
        state.edit(vec![(text(name), None)]);
        Ok(())
    }
}
