//! What the kernel of a simulated SEV-SNP guest shows: `/dev/sev-guest`, and reports in configfs.
//!
//! As Linux 6.18 does it (drivers/virt/coco/sev-guest, include/uapi/linux/sev-guest.h), with the failures that its callers
//! must bear on demand: an error of host or firmware shuts the channel to the firmware (VMPCK), and the guest has to be
//! restarted.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_crypto::Secret;
use bulla_tee::snp::{KeyReq, Report, status};
use zerocopy::{FromBytes, IntoBytes};

use super::{Chip, SnpCommand, SnpDescription, SnpFault};
use crate::memory::Memory;
use crate::pseudo::{Errno, Handle, Node, Tree, node_among};
use crate::reports::{self, Moment, Output, Provider, Reports, Request};

const DEVICE: &str = "dev/sev-guest";
/// _IOWR('S', n, 32 bytes).
const GET_REPORT: u32 = 0xC020_5300;
const GET_DERIVED_KEY: u32 = 0xC020_5301;
const GET_EXT_REPORT: u32 = 0xC020_5302;
/// The largest table of certificates (SEV_FW_BLOB_MAX_SIZE).
const CERTIFICATES_MAX: u32 = 0x4000;
const PAGE: u32 = 0x1000;
/// The newest version of the messages that the firmware knows.
const MESSAGE_VERSION: u8 = 1;
/// VMM errors.
const INVALID_LENGTH: u32 = 1;
const BUSY: u32 = 2;
/// Before the firmware is asked.
const NOT_ASKED: u32 = 0xFF;
/// Report data that nobody here asked for.
const OTHER: [u8; 64] = [0x0E; 64];

pub(crate) struct SnpKernel {
    chip: Chip,
    guest: SnpDescription,
    certificates: Vec<u8>,
    reports: Reports,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: Vec<(SnpCommand, SnpFault)>,
    is_shut: bool,
    has_no_device: bool,
}

/// Why a command fails.
struct Failure {
    errno: Errno,
    vmm_error: u32,
    firmware_error: u32,
    shuts: bool,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, vmm_error: 0, firmware_error: NOT_ASKED, shuts: false }
    }
}

impl SnpKernel {
    pub(crate) fn new(chip: Chip, guest: SnpDescription) -> Self {
        let certificates = chip.certificates();
        Self { chip, guest, certificates, reports: Reports::default(), state: Mutex::default() }
    }

    pub(crate) fn fail(&self, command: SnpCommand, fault: SnpFault) {
        self.state().faults.push((command, fault));
    }

    /// From now on there is no device, as in a container that was not given it.
    pub(crate) fn take_device_away(&self) {
        self.state().has_no_device = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to go wrong now.
    fn fault(&self, command: SnpCommand, is_one: impl Fn(SnpFault) -> bool) -> Option<SnpFault> {
        let faults = &mut self.state().faults;
        let index = faults.iter().position(|(each, fault)| *each == command && is_one(*fault))?;
        Some(faults.remove(index).1)
    }

    /// What stands between the driver's caller and the firmware.
    fn channel(&self, command: SnpCommand) -> Result<(), Failure> {
        let passed = self.try_channel(command);
        self.state().is_shut |= passed.as_ref().is_err_and(|failure| failure.shuts);
        passed
    }

    fn try_channel(&self, command: SnpCommand) -> Result<(), Failure> {
        let failure = |errno, vmm_error, firmware_error, shuts| {
            Err(Failure { errno, vmm_error, firmware_error, shuts })
        };
        let on_the_way = |fault| {
            use SnpFault::{Busy, ChannelShut, Fails, FirmwareRefuses, HostRefuses, Throttled, Undecodable};
            matches!(
                fault,
                Fails(_) | Busy | Throttled | HostRefuses(_) | FirmwareRefuses(_) | Undecodable | ChannelShut
            )
        };
        let fault = self.fault(command, on_the_way);
        if self.state().is_shut || fault == Some(SnpFault::ChannelShut) {
            return failure(Errno::ENOTTY, 0, NOT_ASKED, true);
        }
        match fault {
            Some(SnpFault::Fails(errno)) => failure(Errno::from_i32(errno), 0, NOT_ASKED, false),
            Some(SnpFault::Busy) => failure(Errno::ETIMEDOUT, BUSY, 0, true),
            Some(SnpFault::Throttled) => failure(Errno::EIO, BUSY, 0, false),
            Some(SnpFault::HostRefuses(code)) => failure(Errno::EIO, code, 0, true),
            Some(SnpFault::FirmwareRefuses(code)) => failure(Errno::EIO, 0, code, true),
            Some(SnpFault::Undecodable) => failure(Errno::EBADMSG, 0, 0, true),
            _ => Ok(()),
        }
    }

    /// The firmware's answer to a request for a report: status, size and report, 1216 bytes.
    fn report(&self, command: SnpCommand, data: &[u8; 64], vmpl: u32) -> Vec<u8> {
        let data = self.fault(command, |fault| fault == SnpFault::OtherData).map_or(data, |_| &OTHER);
        let mut size = size_of::<Report>() as u32;
        let (mut code, mut report) = match self.chip.report(&self.guest, data, vmpl) {
            Ok(report) => (0, report.as_bytes().to_vec()),
            Err(status) => (status, vec![0; size as usize]),
        };
        let of_reports = |fault| {
            use SnpFault::{NoMeasurement, Size, Status, Torn, Unsigned};
            matches!(fault, Status(_) | Size(_) | Torn | NoMeasurement | Unsigned)
        };
        match self.fault(command, of_reports) {
            Some(SnpFault::Status(other)) => (code, report) = (other, vec![0; size as usize]),
            Some(SnpFault::Size(other)) => size = other,
            Some(SnpFault::Torn) => report.rotate_left(8),
            Some(SnpFault::NoMeasurement) => report.splice(0x90..0xC0, [0; 48]).for_each(drop),
            Some(SnpFault::Unsigned) => report.splice(0x48..0x4C, [0b1_1110, 0, 0, 0]).for_each(drop),
            _ => {}
        }
        [&code.to_le_bytes()[..], &size.to_le_bytes(), &[0; 24], &report].concat()
    }

    fn derived_key(&self, request: &KeyReq) -> [u8; 64] {
        let of_keys = |fault| matches!(fault, SnpFault::Status(_) | SnpFault::ZeroKey);
        let key = match self.fault(SnpCommand::Key, of_keys) {
            Some(SnpFault::Status(status)) => Err(status),
            Some(SnpFault::ZeroKey) => Ok(Secret::new([0; 32])),
            _ => self.chip.derived_key(&self.guest, request),
        };
        let mut answer = [0; 64];
        let (head, derived) = answer.split_at_mut(32);
        match key {
            Ok(key) => derived.copy_from_slice(key.expose()),
            Err(status) => head.split_at_mut(4).0.copy_from_slice(&status.to_le_bytes()),
        }
        answer
    }

    /// The table of certificates, in a buffer of that size.
    fn certificates(&self, space: u32) -> Result<Vec<u8>, u32> {
        let of_certificates = |fault| matches!(fault, SnpFault::NoCertificates | SnpFault::ManyCertificates);
        let mut table = match self.fault(SnpCommand::ExtendedReport, of_certificates) {
            Some(SnpFault::NoCertificates) => Vec::new(),
            Some(_) => vec![1; 2 * CERTIFICATES_MAX as usize],
            None => self.certificates.clone(),
        };
        let needed = (table.len() as u32).next_multiple_of(PAGE);
        if needed > space {
            return Err(needed);
        }
        table.resize(space as usize, 0);
        Ok(table)
    }

    /// A command, with its argument of 32 bytes: the version of the message, two addresses and two codes.
    fn command(&self, command: u32, argument: &[u8], memory: &Memory) -> Result<(), Failure> {
        let (version, addresses) = argument.split_first().ok_or(Errno::EFAULT)?;
        if *version == 0 {
            return Err(Errno::EINVAL.into());
        }
        let address = |at: usize| {
            let bytes = addresses.get(at - 1..).and_then(<[u8]>::first_chunk).ok_or(Errno::EFAULT)?;
            Some(u64::from_le_bytes(*bytes)).filter(|address| *address != 0).ok_or(Errno::EINVAL)
        };
        let (request, response) = match command {
            GET_REPORT | GET_DERIVED_KEY | GET_EXT_REPORT => (address(8)?, address(16)?),
            _ => return Err(Errno::ENOTTY.into()),
        };
        // The firmware refuses what it does not speak, and the driver takes that for the end.
        if *version > MESSAGE_VERSION {
            self.state().is_shut = true;
            let firmware_error = status::INVALID_PARAM;
            return Err(Failure { errno: Errno::EIO, vmm_error: 0, firmware_error, shuts: true });
        }
        match command {
            GET_DERIVED_KEY => {
                let asked = memory.read::<32>(request)?;
                self.channel(SnpCommand::Key)?;
                let asked = KeyReq::read_from_bytes(&asked).map_err(|_| Errno::EFAULT)?;
                memory.write(response, &self.derived_key(&asked))?;
            }
            GET_REPORT => {
                let (data, vmpl) = report_request(&memory.read::<96>(request)?)?;
                self.channel(SnpCommand::Report)?;
                memory.write(response, &padded(self.report(SnpCommand::Report, &data, vmpl)))?;
            }
            _ => {
                let asked = memory.read::<112>(request)?;
                let (data, vmpl) = report_request(&asked)?;
                let tail = asked.last_chunk::<16>().ok_or(Errno::EFAULT)?;
                let [to @ .., a, b, c, d, _, _, _, _] = *tail;
                let (to, mut space) = (u64::from_le_bytes(to), u32::from_le_bytes([a, b, c, d]));
                if to == 0 || space == 0 {
                    space = 0;
                } else if space > CERTIFICATES_MAX || !space.is_multiple_of(PAGE) {
                    return Err(Errno::EINVAL.into());
                }
                self.channel(SnpCommand::ExtendedReport)?;
                let certificates = match self.certificates(space) {
                    Ok(certificates) => certificates,
                    Err(needed) => {
                        memory.write(request + 104, &needed.to_le_bytes())?;
                        let vmm_error = INVALID_LENGTH;
                        let failure =
                            Failure { errno: Errno::EIO, vmm_error, firmware_error: 0, shuts: false };
                        return Err(failure);
                    }
                };
                if space > 0 {
                    memory.write(to, &certificates)?;
                }
                memory.write(response, &padded(self.report(SnpCommand::ExtendedReport, &data, vmpl)))?;
            }
        }
        Ok(())
    }
}

/// Report data and privilege level. What is reserved is zero, or no level that there is.
fn report_request(bytes: &[u8]) -> Result<([u8; 64], u32), Errno> {
    let (data, rest) = bytes.split_first_chunk().ok_or(Errno::EFAULT)?;
    let (vmpl, rest) = rest.split_first_chunk().ok_or(Errno::EFAULT)?;
    let reserved = rest.first_chunk::<28>().ok_or(Errno::EFAULT)?;
    Ok((*data, if *reserved == [0; 28] { u32::from_le_bytes(*vmpl) } else { u32::MAX }))
}

/// The drivers' answer has 4000 bytes.
fn padded(mut report: Vec<u8>) -> Vec<u8> {
    report.resize(4000, 0);
    report
}

impl Provider for SnpKernel {
    const NAME: &'static str = "sev_guest";
    const FILES: &'static [(&'static str, u16)] = &[
        ("generation", 0o444),
        ("provider", 0o444),
        ("privlevel", 0o200),
        ("privlevel_floor", 0o444),
        ("inblob", 0o200),
        ("outblob", 0o400),
        ("auxblob", 0o400),
    ];

    fn reports(&self) -> &Reports {
        &self.reports
    }

    fn make(&self, input: &[u8; 64], privilege: u32) -> Result<Output, Errno> {
        self.channel(SnpCommand::ExtendedReport).map_err(|failure| failure.errno)?;
        let auxiliary = self.certificates(CERTIFICATES_MAX).map_err(|_| Errno::EIO)?;
        let answer = self.report(SnpCommand::ExtendedReport, input, privilege);
        let (status, rest) = answer.split_first_chunk().ok_or(Errno::EIO)?;
        match u32::from_le_bytes(*status) {
            0 => {}
            status::INVALID_PARAM | status::INVALID_KEY => {
                return Err(Errno::EINVAL);
            }
            _ => return Err(Errno::ENXIO),
        }
        let report = rest.get(28..).unwrap_or_default().to_vec();
        let has_some = auxiliary.iter().any(|byte| *byte != 0);
        Ok(Output { report, auxiliary: if has_some { auxiliary } else { Vec::new() } })
    }

    fn meddle(&self, request: &mut Request, moment: Moment) {
        let wanted = match moment {
            Moment::Written => SnpFault::OtherWriter,
            Moment::AboutToBeRead => SnpFault::OtherReader,
        };
        if self.fault(SnpCommand::ExtendedReport, |fault| fault == wanted).is_some() {
            request.write(OTHER.to_vec());
        }
    }

    fn privilege_floor(&self) -> u32 {
        self.guest.vmpl
    }
}

impl Tree for Arc<SnpKernel> {
    fn node(&self, path: &Path) -> Option<Node> {
        let mut paths = self.reports.paths::<SnpKernel>();
        if !self.state().has_no_device {
            paths.push((DEVICE.to_owned(), 0o600));
        }
        node_among(paths, path)
    }

    fn make(&self, path: &Path) -> Result<(), Errno> {
        self.reports.make(path)
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        self.reports.remove(path)
    }

    fn open(&self, path: &Path, _write: bool) -> Result<Box<dyn Handle>, Errno> {
        if path == Path::new(DEVICE) {
            return Ok(Box::new(Device(self.clone())));
        }
        reports::open(self.clone(), path)
    }
}

struct Device(Arc<SnpKernel>);

impl Handle for Device {
    fn ioctl(&mut self, command: u32, argument: &mut [u8], memory: &Memory) -> Result<(), Errno> {
        let Err(failure) = self.0.command(command, argument, memory) else { return Ok(()) };
        let Failure { errno, vmm_error, firmware_error, .. } = failure;
        // exitinfo2, which the driver hands back whatever happened.
        let codes = [firmware_error.to_le_bytes(), vmm_error.to_le_bytes()].concat();
        argument.iter_mut().skip(24).zip(codes).for_each(|(to, from)| *to = from);
        Err(errno)
    }
}
