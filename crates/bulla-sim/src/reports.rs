//! The folder in configfs by which a guest's kernel makes reports (Linux 6.18, drivers/virt/coco/guest/report.c): a folder
//! for each request, made by whoever asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pseudo::{Errno, Handle};

const REPORTS: &str = "sys/kernel/config/tsm/report";
/// The most bytes that may be asked over.
const INPUT_MAX: usize = 64;

/// Which driver makes the reports, and the files that it has in each folder.
pub(crate) trait Provider: Send + Sync + 'static {
    const NAME: &'static str;
    /// Names and permissions.
    const FILES: &'static [(&'static str, u16)];

    fn reports(&self) -> &Reports;

    /// Makes what a read gives, after a write of `inblob`.
    fn make(&self, input: &[u8; 64], privilege: u32) -> Result<Output, Errno>;

    /// What goes wrong once a request's file is closed, or when its report is about to be read.
    fn meddle(&self, _request: &mut Request, _moment: Moment) {}

    /// The highest privilege level that may be asked for.
    fn privilege_floor(&self) -> u32 {
        0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Written,
    AboutToBeRead,
}

/// What a driver makes for one request.
#[derive(Clone, Default)]
pub(crate) struct Output {
    pub(crate) report: Vec<u8>,
    pub(crate) auxiliary: Vec<u8>,
}

/// The requests of a kernel, by their folders.
#[derive(Default)]
pub(crate) struct Reports(Mutex<BTreeMap<String, Request>>);

/// A folder below `report`.
#[derive(Default)]
pub(crate) struct Request {
    generation: u64,
    input: Option<Vec<u8>>,
    privilege: u32,
    /// Made at the first read after a write, and the same until the next.
    output: Option<Output>,
}

impl Request {
    pub(crate) fn write(&mut self, input: Vec<u8>) {
        self.generation += 1;
        (self.input, self.output) = (Some(input), None);
    }

    fn write_privilege(&mut self, privilege: u32) {
        self.generation += 1;
        (self.privilege, self.output) = (privilege, None);
    }
}

impl Reports {
    fn requests(&self) -> MutexGuard<'_, BTreeMap<String, Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, folder: &str, work: impl FnOnce(&mut Request) -> R) -> Result<R, Errno> {
        self.requests().get_mut(folder).map(work).ok_or(Errno::ENOENT)
    }

    /// Every file, and the folder that can be empty with a slash behind it.
    pub(crate) fn paths<P: Provider>(&self) -> Vec<(String, u16)> {
        let mut paths = vec![(format!("{REPORTS}/"), 0)];
        for folder in self.requests().keys() {
            paths.extend(P::FILES.iter().map(|(name, mode)| (format!("{REPORTS}/{folder}/{name}"), *mode)));
        }
        paths
    }

    pub(crate) fn make(&self, path: &Path) -> Result<(), Errno> {
        let folder = inside(path).filter(|folder| !folder.contains('/')).ok_or(Errno::EPERM)?;
        self.requests().insert(folder.to_owned(), Request::default());
        Ok(())
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), Errno> {
        let removed = inside(path).and_then(|folder| self.requests().remove(folder));
        removed.map(|_| ()).ok_or(Errno::EPERM)
    }
}

/// Opens a file of a request of `provider`.
pub(crate) fn open<P: Provider>(provider: std::sync::Arc<P>, path: &Path) -> Result<Box<dyn Handle>, Errno> {
    let (folder, name) = inside(path).and_then(|path| path.split_once('/')).ok_or(Errno::ENOENT)?;
    Ok(Box::new(Attribute { provider, folder: folder.into(), name: name.into(), written: None }))
}

fn inside(path: &Path) -> Option<&str> {
    path.strip_prefix(REPORTS).ok()?.to_str()
}

/// A file of a request.
struct Attribute<P> {
    provider: std::sync::Arc<P>,
    folder: String,
    name: String,
    /// What was written to a binary attribute, which takes it when it is closed.
    written: Option<Vec<u8>>,
}

impl<P: Provider> Attribute<P> {
    fn with<R>(&self, work: impl FnOnce(&mut Request) -> R) -> Result<R, Errno> {
        self.provider.reports().with(&self.folder, work)
    }

    fn output(&self) -> Result<Output, Errno> {
        let (input, privilege, output) = self.with(|request| {
            self.provider.meddle(request, Moment::AboutToBeRead);
            (request.input.clone(), request.privilege, request.output.clone())
        })?;
        if let Some(output) = output {
            return Ok(output);
        }
        let input: [u8; 64] = input.ok_or(Errno::EINVAL)?.try_into().map_err(|_| Errno::EINVAL)?;
        let output = self.provider.make(&input, privilege)?;
        self.with(|request| request.output = Some(output.clone()))?;
        Ok(output)
    }
}

impl<P: Provider> Handle for Attribute<P> {
    fn read(&mut self) -> Result<Vec<u8>, Errno> {
        let line = |text: String| Ok(format!("{text}\n").into_bytes());
        match self.name.as_str() {
            "provider" => line(P::NAME.to_owned()),
            "generation" => line(self.with(|request| request.generation)?.to_string()),
            "privlevel_floor" => line(self.provider.privilege_floor().to_string()),
            "outblob" => Ok(self.output()?.report),
            "auxblob" => Ok(self.output()?.auxiliary),
            _ => Err(Errno::EACCES),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        match self.name.as_str() {
            "inblob" => {}
            "privlevel" => {
                let level = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
                let level = level.filter(|level| (self.provider.privilege_floor()..=3).contains(level));
                return self
                    .with(|request| level.map(|level| request.write_privilege(level)))?
                    .ok_or(Errno::EINVAL);
            }
            _ => return Err(Errno::EACCES),
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        if offset.saturating_add(bytes.len()) > INPUT_MAX {
            return Err(Errno::EFBIG);
        }
        let written = self.written.get_or_insert_default();
        written.resize(offset, 0);
        written.extend_from_slice(bytes);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Errno> {
        let Some(written) = self.written.take() else { return Ok(()) };
        self.with(|request| {
            request.write(written);
            self.provider.meddle(request, Moment::Written);
        })
    }
}
