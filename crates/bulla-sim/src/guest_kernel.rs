//! What the kernel of a simulated TDX guest shows: `/dev/tdx_guest`, reports in configfs, measurement registers in sysfs.
//!
//! As Linux 6.18 does it (drivers/virt/coco/tdx-guest, drivers/virt/coco/guest/{report,tsm-mr}.c), with the failures that
//! its callers must bear on demand.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_crypto::sha384;
use bulla_tee::tdx::TdKeyRequest;
use zerocopy::{FromBytes, IntoBytes};

use crate::TdDescription;
use crate::cpu::Cpu;
use crate::key_get::{self, SealingKeys};
use crate::memory::Memory;
use crate::pseudo::{Errno, Handle, Node, Tree, node_among};
use crate::quoting::Quoting;
use crate::reports::{self, Moment, Output, Provider, Reports, Request};

const DEVICE: &str = "dev/tdx_guest";
/// TDX_CMD_GET_REPORT0: _IOWR('T', 1, 64 bytes of report data and a TDREPORT).
const GET_REPORT: u32 = 0xC440_5401;
/// TDX_CMD_KEY_GET of kernels that have it: _IOWR('T', 5, a TDKEYREQUEST, 32 bytes for the key and a status).
const GET_KEY: u32 = 0xC0A8_5405;
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
    /// The report is larger than any quote: kernels from 7.0 on take up to 16 MiB.
    QuoteHuge,
    /// Somebody else writes to the request's folder behind our write.
    OtherWriter,
    /// Somebody else writes there when the quote is about to be read, which is then over their data.
    OtherReader,
    /// A register stays as it is when it is extended.
    ExtendIgnored,
    /// A sealing key is asked for while a register is being extended.
    KeyBusy,
    /// The module ends with a status that nobody knows.
    KeyFails,
    /// The sealing key is all zero.
    KeyZero,
}

pub(crate) struct GuestKernel {
    cpu: Arc<Cpu>,
    quoting: Arc<Quoting>,
    reports: Reports,
    state: Mutex<State>,
}

struct State {
    td: TdDescription,
    keys: SealingKeys,
    reports: bool,
    faults: Vec<GuestFault>,
}

impl GuestKernel {
    pub(crate) fn new(cpu: Arc<Cpu>, quoting: Arc<Quoting>, td: TdDescription) -> Self {
        Self {
            cpu,
            quoting,
            reports: Reports::default(),
            state: Mutex::new(State { td, keys: SealingKeys::default(), reports: true, faults: Vec::new() }),
        }
    }

    pub(crate) fn fail(&self, fault: GuestFault) {
        self.state().faults.push(fault);
    }

    pub(crate) fn set_sealing_keys(&self, keys: SealingKeys) {
        self.state().keys = keys;
    }

    pub(crate) fn hide_reports(&self) {
        self.state().reports = false;
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
        let mut paths = if self.state().reports { self.reports.paths::<Self>() } else { Vec::new() };
        paths.push((DEVICE.to_owned(), 0o600));
        for name in REGISTER_NAMES {
            let permissions = if is_writable(name) { 0o644 } else { 0o444 };
            paths.push((format!("{REGISTERS}/{name}"), permissions));
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

    /// TDX_CMD_KEY_GET: the key, or the status that the TDCALL ended with; neither where there is no such command.
    fn key(&self, request: &TdKeyRequest) -> Option<Result<[u8; 32], u64>> {
        let (how, td) = {
            let state = self.state();
            (state.keys, state.td.td_info())
        };
        if how == SealingKeys::NoCommand {
            return None;
        }
        if self.fails(GuestFault::KeyBusy) {
            return Some(Err(key_get::BUSY));
        }
        if self.fails(GuestFault::KeyFails) {
            return Some(Err(0x4000_0001_0000_0000));
        }
        let key = self.cpu.key_get(how, &td, request);
        Some(if self.fails(GuestFault::KeyZero) { key.map(|_| [0; 32]) } else { key })
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
        if self.fails(GuestFault::QuoteHuge) {
            quote.resize(16 << 20, 0);
        }
        Ok(quote)
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

impl Provider for GuestKernel {
    const NAME: &'static str = "tdx_guest";
    const FILES: &'static [(&'static str, u16)] =
        &[("generation", 0o444), ("inblob", 0o200), ("outblob", 0o400), ("provider", 0o444)];

    fn reports(&self) -> &Reports {
        &self.reports
    }

    fn make(&self, input: &[u8; 64], _privilege: u32) -> Result<Output, Errno> {
        Ok(Output { report: self.quote(input)?, auxiliary: Vec::new() })
    }

    fn meddle(&self, request: &mut Request, moment: Moment) {
        let fault = match moment {
            Moment::Written => GuestFault::OtherWriter,
            Moment::AboutToBeRead => GuestFault::OtherReader,
        };
        if self.fails(fault) {
            request.write(OTHER.to_vec());
        }
    }
}

impl Tree for Arc<GuestKernel> {
    fn node(&self, path: &Path) -> Option<Node> {
        node_among(self.paths(), path)
    }

    fn make(&self, path: &Path) -> Result<(), Errno> {
        self.reports.make(path)
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        self.reports.remove(path)
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
        reports::open(kernel, path)
    }
}

struct Device(Arc<GuestKernel>);

impl Handle for Device {
    fn ioctl(&mut self, command: u32, argument: &mut [u8], _: &Memory) -> Result<(), Errno> {
        match command {
            GET_REPORT => {
                let (data, report) = argument.split_first_chunk_mut::<64>().ok_or(Errno::EFAULT)?;
                let made = self.0.tdreport(data)?;
                report.iter_mut().zip(made).for_each(|(to, from)| *to = from);
                Ok(())
            }
            GET_KEY => {
                let (request, answer) =
                    argument.split_at_mut_checked(size_of::<TdKeyRequest>()).ok_or(Errno::EFAULT)?;
                let request = TdKeyRequest::read_from_bytes(request).map_err(|_| Errno::EFAULT)?;
                let (key, status) = answer.split_at_mut(32);
                let (made, code) = match self.0.key(&request).ok_or(Errno::ENOTTY)? {
                    Ok(made) => (Some(made), 0),
                    Err(code) => (None, code),
                };
                status.copy_from_slice(&u64::to_le_bytes(code));
                key.copy_from_slice(&made.ok_or(Errno::EIO)?);
                Ok(())
            }
            _ => Err(Errno::ENOTTY),
        }
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
