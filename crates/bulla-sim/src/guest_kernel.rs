//! What the kernel of a simulated TDX guest shows: `/dev/tdx_guest`, reports in configfs, measurement registers in sysfs.
//!
//! As Linux 6.18 does it (drivers/virt/coco/tdx-guest, drivers/virt/coco/guest/{report,tsm-mr}.c), with the failures that
//! its callers must bear on demand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_crypto::sha384;
use zerocopy::IntoBytes;

use crate::TdDescription;
use crate::cpu::Cpu;
use crate::pseudo::{Errno, Handle, Memory, Node, Tree};
use crate::quoting::Quoting;

const DEVICE: &str = "dev/tdx_guest";
/// TDX_CMD_GET_REPORT0: _IOWR('T', 1, 64 bytes of report data and a TDREPORT).
const GET_REPORT: u32 = 0xC440_5401;
const REPORTS: &str = "sys/kernel/config/tsm/report";
const ATTRIBUTES: [(&str, u16); 4] =
    [("generation", 0o444), ("inblob", 0o200), ("outblob", 0o400), ("provider", 0o444)];
const REGISTERS: &str = "sys/devices/virtual/misc/tdx_guest/measurements";
const REGISTER_NAMES: [&str; 8] = [
    "mrconfigid",
    "mrowner",
    "mrownerconfig",
    "mrtd:sha384",
    "rtmr0:sha384",
    "rtmr1:sha384",
    "rtmr2:sha384",
    "rtmr3:sha384",
];
/// Report data that nobody here asked for.
const OTHER: [u8; 64] = [0x0E; 64];

/// What goes wrong once, the next time that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFault {
    /// The TDX module refuses to make a report.
    ReportFails,
    /// The report is over other report data.
    ReportOfOther,
    /// The module gives something that is no TDREPORT.
    ReportTorn,
    /// An earlier quote is still being made (EBUSY).
    QuoteBusy,
    /// The host does not answer (ETIMEDOUT).
    QuoteTimeout,
    /// The host refuses (EIO).
    QuoteFails,
    /// The host refuses, and an old kernel does not look: success, and an empty quote.
    QuoteEmpty,
    /// The same, and an earlier quote is still in the buffer.
    QuoteStale,
    /// The host hands over the quote of another guest, over the same report data.
    QuoteOfOther,
    /// The host refuses, and a part of a quote is still in the buffer.
    QuoteCutOff,
    /// Somebody else writes to the request's folder behind our write.
    OtherWriter,
    /// Somebody else writes there when the quote is about to be read, which is then over their data.
    OtherReader,
    /// A register stays as it is when it is extended.
    ExtendIgnored,
}

pub(crate) struct GuestKernel {
    cpu: Arc<Cpu>,
    quoting: Arc<Quoting>,
    state: Mutex<State>,
}

struct State {
    td: TdDescription,
    requests: BTreeMap<String, Request>,
    faults: Vec<GuestFault>,
}

/// A folder below `report`.
#[derive(Default)]
struct Request {
    generation: u64,
    input: Option<Vec<u8>>,
    /// Made at the first read after a write, and the same until the next.
    output: Option<Vec<u8>>,
}

impl Request {
    fn write(&mut self, input: Vec<u8>) {
        self.generation += 1;
        (self.input, self.output) = (Some(input), None);
    }
}

impl GuestKernel {
    pub(crate) fn new(cpu: Arc<Cpu>, quoting: Arc<Quoting>, td: TdDescription) -> Self {
        let state = State { td, requests: BTreeMap::new(), faults: Vec::new() };
        Self { cpu, quoting, state: Mutex::new(state) }
    }

    pub(crate) fn fail(&self, fault: GuestFault) {
        self.state().faults.push(fault);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is to go wrong now.
    fn fails(&self, fault: GuestFault) -> bool {
        let faults = &mut self.state().faults;
        faults.iter().position(|each| *each == fault).map(|index| faults.remove(index)).is_some()
    }

    /// Every file, and the folder that can be empty with a slash behind it.
    fn paths(&self) -> Vec<(String, u16)> {
        let mut paths = vec![(DEVICE.to_owned(), 0o600), (format!("{REPORTS}/"), 0)];
        for name in REGISTER_NAMES {
            let permissions = if is_writable(name) { 0o644 } else { 0o444 };
            paths.push((format!("{REGISTERS}/{name}"), permissions));
        }
        for folder in self.state().requests.keys() {
            paths.extend(ATTRIBUTES.map(|(name, mode)| (format!("{REPORTS}/{folder}/{name}"), mode)));
        }
        paths
    }

    fn tdreport(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Errno> {
        if self.fails(GuestFault::ReportFails) {
            return Err(Errno::EIO);
        }
        let data = if self.fails(GuestFault::ReportOfOther) { &OTHER } else { report_data };
        let report = self.cpu.tdreport(&self.state().td.td_info(), data);
        let mut bytes = report.as_bytes().to_vec();
        if self.fails(GuestFault::ReportTorn) {
            bytes.rotate_left(8);
        }
        Ok(bytes)
    }

    /// What a read of `outblob` gives.
    fn outblob(&self, folder: &str) -> Result<Vec<u8>, Errno> {
        if self.fails(GuestFault::OtherReader) {
            self.request(folder, |request| request.write(OTHER.to_vec()))?;
        }
        let (input, output) =
            self.request(folder, |request| (request.input.clone(), request.output.clone()))?;
        if let Some(output) = output {
            return Ok(output);
        }
        let input: [u8; 64] = input.ok_or(Errno::EINVAL)?.try_into().map_err(|_| Errno::EINVAL)?;
        let output = self.quote(&input)?;
        self.request(folder, |request| request.output = Some(output.clone()))?;
        Ok(output)
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Errno> {
        for (fault, errno) in [
            (GuestFault::QuoteBusy, Errno::EBUSY),
            (GuestFault::QuoteTimeout, Errno::ETIMEDOUT),
            (GuestFault::QuoteFails, Errno::EIO),
        ] {
            if self.fails(fault) {
                return Err(errno);
            }
        }
        if self.fails(GuestFault::QuoteEmpty) {
            return Ok(Vec::new());
        }
        let data = if self.fails(GuestFault::QuoteStale) { &OTHER } else { report_data };
        let mut td = self.state().td.clone();
        if self.fails(GuestFault::QuoteOfOther) {
            td.mrtd = [0x0E; 48];
        }
        let report = self.cpu.tdreport(&td.td_info(), data);
        let mut quote = self.quoting.td_quote(&report).map_err(|_| Errno::EIO)?;
        if self.fails(GuestFault::QuoteCutOff) {
            quote.truncate(1000);
        }
        Ok(quote)
    }

    fn request<R>(&self, folder: &str, work: impl FnOnce(&mut Request) -> R) -> Result<R, Errno> {
        self.state().requests.get_mut(folder).map(work).ok_or(Errno::ENOENT)
    }

    fn register(&self, name: &str) -> Result<[u8; 48], Errno> {
        let td = &self.state().td;
        let [rtmr0, rtmr1, rtmr2, rtmr3] = td.rtmr;
        let values = [td.mrconfigid, td.mrowner, td.mrownerconfig, td.mrtd, rtmr0, rtmr1, rtmr2, rtmr3];
        let mut named = REGISTER_NAMES.into_iter().zip(values);
        named.find(|(each, _)| *each == name).map(|(_, value)| value).ok_or(Errno::ENOENT)
    }

    /// RTMR.EXTEND.
    fn extend(&self, name: &str, digest: &[u8; 48]) {
        if self.fails(GuestFault::ExtendIgnored) {
            return;
        }
        let rtmrs = REGISTER_NAMES.into_iter().skip(4);
        for (each, register) in rtmrs.zip(&mut self.state().td.rtmr) {
            if each == name {
                *register = sha384(&[register.as_slice(), digest]);
            }
        }
    }
}

fn is_writable(register: &str) -> bool {
    register.starts_with("rtmr")
}

impl Tree for Arc<GuestKernel> {
    fn node(&self, path: &Path) -> Option<Node> {
        let path = path.to_str()?;
        let inside = if path.is_empty() { String::new() } else { format!("{path}/") };
        let (mut names, mut found) = (Vec::new(), path.is_empty());
        for (each, mode) in self.paths() {
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

    fn make(&self, path: &Path) -> Result<(), Errno> {
        let folder = in_reports(path).filter(|folder| !folder.contains('/')).ok_or(Errno::EPERM)?;
        self.state().requests.insert(folder.to_owned(), Request::default());
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        let removed = in_reports(path).and_then(|folder| self.state().requests.remove(folder));
        removed.map(|_| ()).ok_or(Errno::EPERM)
    }

    fn open(&self, path: &Path, _write: bool) -> Result<Box<dyn Handle>, Errno> {
        let kernel = self.clone();
        if path == Path::new(DEVICE) {
            return Ok(Box::new(Device(kernel)));
        }
        if let Ok(name) = path.strip_prefix(REGISTERS) {
            let name = name.to_str().ok_or(Errno::ENOENT)?.to_owned();
            return Ok(Box::new(Register { kernel, name }));
        }
        let (folder, name) = in_reports(path).and_then(|path| path.split_once('/')).ok_or(Errno::ENOENT)?;
        Ok(Box::new(Attribute { kernel, folder: folder.into(), name: name.into(), written: None }))
    }
}

fn in_reports(path: &Path) -> Option<&str> {
    path.strip_prefix(REPORTS).ok()?.to_str()
}

struct Device(Arc<GuestKernel>);

impl Handle for Device {
    fn ioctl(&mut self, command: u32, argument: &mut [u8], _: &Memory) -> Result<(), Errno> {
        if command != GET_REPORT {
            return Err(Errno::ENOTTY);
        }
        let (data, report) = argument.split_first_chunk_mut::<64>().ok_or(Errno::EFAULT)?;
        let made = self.0.tdreport(data)?;
        report.iter_mut().zip(made).for_each(|(to, from)| *to = from);
        Ok(())
    }
}

struct Register {
    kernel: Arc<GuestKernel>,
    name: String,
}

impl Handle for Register {
    fn read(&mut self) -> Result<Vec<u8>, Errno> {
        self.kernel.register(&self.name).map(Vec::from)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        if !is_writable(&self.name) {
            return Err(Errno::EPERM);
        }
        let digest = bytes.try_into().ok().filter(|_| offset == 0).ok_or(Errno::EINVAL)?;
        self.kernel.extend(&self.name, digest);
        Ok(())
    }
}

/// A file of a request.
struct Attribute {
    kernel: Arc<GuestKernel>,
    folder: String,
    name: String,
    /// What was written to a binary attribute, which takes it when it is closed.
    written: Option<Vec<u8>>,
}

impl Handle for Attribute {
    fn read(&mut self) -> Result<Vec<u8>, Errno> {
        match self.name.as_str() {
            "provider" => Ok(b"tdx_guest\n".to_vec()),
            "generation" => {
                self.kernel.request(&self.folder, |request| format!("{}\n", request.generation).into_bytes())
            }
            "outblob" => self.kernel.outblob(&self.folder),
            _ => Err(Errno::EACCES),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.name != "inblob" {
            return Err(Errno::EACCES);
        }
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        if offset.saturating_add(bytes.len()) > 64 {
            return Err(Errno::EFBIG);
        }
        let written = self.written.get_or_insert_default();
        written.resize(offset, 0);
        written.extend_from_slice(bytes);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Errno> {
        let Some(written) = self.written.take() else { return Ok(()) };
        self.kernel.request(&self.folder, |request| request.write(written))?;
        if self.kernel.fails(GuestFault::OtherWriter) {
            self.kernel.request(&self.folder, |request| request.write(OTHER.to_vec()))?;
        }
        Ok(())
    }
}
