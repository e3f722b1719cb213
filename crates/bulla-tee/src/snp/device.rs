//! `/dev/sev-guest`: the security processor, as its driver lets a guest ask it (Linux, include/uapi/linux/sev-guest.h).
//!
//! A command can succeed and its answer hold a status that says otherwise; whatever fails before that is in the number of
//! the system's error and in two codes that the driver hands back.
#![allow(unsafe_code, reason = "commands whose arguments point to more")]

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use bulla_crypto::Secret;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::arch::{KeyReq, Report};

const PATH: &str = "dev/sev-guest";
/// The version of the messages between guest and firmware.
const MESSAGE_VERSION: u8 = 1;
/// The largest table of certificates that drivers pass on (SEV_FW_BLOB_MAX_SIZE), and a multiple of the size of a page.
const CERTIFICATES_MAX: usize = 0x4000;

const GET_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 0);
const GET_DERIVED_KEY: Opcode = opcode::read_write::<GuestRequest>(b'S', 1);
const GET_EXT_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 2);

/// What the commands take.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    reserved: [u8; 7],
    request: u64,
    response: u64,
    /// What the firmware's interface said; see [`NOT_ASKED`].
    firmware_error: u32,
    /// What the host said.
    vmm_error: u32,
}

/// `firmware_error` of drivers that did not get as far as the firmware.
const NOT_ASKED: [u32; 3] = [0, 0xFF, u32::MAX];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReportReq {
    report_data: [u8; 64],
    vmpl: U32,
    reserved: [u8; 28],
}

#[repr(C)]
struct ExtReportReq {
    report: ReportReq,
    certificates: u64,
    certificates_len: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReportResp {
    status: U32,
    size: U32,
    reserved: [u8; 24],
    report: Report,
    rest: [u8; 2784],
}

const KEY_RESP: usize = 64;
const KEY_AT: usize = 32;

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(GET_REPORT == 0xC020_5300 && GET_DERIVED_KEY == 0xC020_5301 && GET_EXT_REPORT == 0xC020_5302);
    assert!(size_of::<GuestRequest>() == 32 && offset_of!(GuestRequest, request) == 8);
    assert!(offset_of!(GuestRequest, response) == 16 && offset_of!(GuestRequest, firmware_error) == 24);
    assert!(size_of::<ReportReq>() == 96 && size_of::<ReportResp>() == 4000);
    assert!(size_of::<ExtReportReq>() == 112 && offset_of!(ExtReportReq, certificates) == 96);
};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The kernel refused before it asked anybody.
    Kernel(Errno),
    /// The host refused to pass the request on.
    Host(u32),
    /// The host has more certificates than drivers pass on, so many bytes.
    Certificates(u32),
    /// The interface of the firmware refused the message.
    Interface(u32),
    /// The firmware answered with this status.
    Status(u32),
    /// The answer is not of the size that its version has.
    Size(u32),
}

/// VMM error: the space for certificates is too small.
const INVALID_LENGTH: u32 = 1;

pub(super) struct Device(File);

impl Device {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(root.join(PATH)).map(Self)
    }

    pub(super) fn report(&self, report_data: &[u8; 64], vmpl: u32) -> Result<Report, Refusal> {
        let mut request = ReportReq::new(report_data, vmpl);
        let mut response = ReportResp::new_zeroed();
        // SAFETY: GET_REPORT reads a ReportReq and writes a ReportResp.
        unsafe { self.ask::<GET_REPORT, _, _>(&mut request, &mut response) }?;
        response.report()
    }

    /// A report, and the host's table of certificates for it: empty where the host has none.
    pub(super) fn extended_report(
        &self,
        report_data: &[u8; 64],
        vmpl: u32,
    ) -> Result<(Report, Vec<u8>), Refusal> {
        let mut certificates = vec![0_u8; CERTIFICATES_MAX];
        let mut request = ExtReportReq {
            report: ReportReq::new(report_data, vmpl),
            certificates: certificates.as_mut_ptr().expose_provenance() as u64,
            certificates_len: CERTIFICATES_MAX as u32,
        };
        let mut response = ReportResp::new_zeroed();
        // SAFETY: GET_EXT_REPORT reads an ExtReportReq, writes one and a ReportResp, and as many bytes of certificates as the
        // request says, which is as many as there are.
        let asked = unsafe { self.ask::<GET_EXT_REPORT, _, _>(&mut request, &mut response) };
        if asked == Err(Refusal::Host(INVALID_LENGTH)) {
            return Err(Refusal::Certificates(request.certificates_len));
        }
        asked?;
        if certificates.iter().all(|byte| *byte == 0) {
            certificates.clear();
        }
        Ok((response.report()?, certificates))
    }

    pub(super) fn derived_key(&self, request: &KeyReq) -> Result<Secret<32>, Refusal> {
        let (mut request, mut asked) = (*request, Ok(()));
        let response = Secret::<KEY_RESP>::fill_with(|response| {
            // SAFETY: GET_DERIVED_KEY reads a KeyReq and writes 64 bytes.
            asked = unsafe { self.ask::<GET_DERIVED_KEY, _, _>(&mut request, response) };
        });
        asked?;
        let (head, key) = response.expose().split_at(KEY_AT);
        let status = head.first_chunk().map_or(u32::MAX, |status| u32::from_le_bytes(*status));
        if status != 0 {
            return Err(Refusal::Status(status));
        }
        Ok(Secret::try_from(key).expect("the response is as long as both parts"))
    }

    /// # Safety
    /// The command reads and writes no more than what `request` and `response` are, and what they point to.
    unsafe fn ask<const COMMAND: Opcode, Q, R>(
        &self,
        request: &mut Q,
        response: &mut R,
    ) -> Result<(), Refusal> {
        let mut argument = GuestRequest {
            message_version: MESSAGE_VERSION,
            reserved: [0; 7],
            request: (&raw mut *request).expose_provenance() as u64,
            response: (&raw mut *response).expose_provenance() as u64,
            firmware_error: 0,
            vmm_error: 0,
        };
        // SAFETY: the command reads and writes the 32 bytes of the argument, as its number says, and what that points to,
        // which lives until it has ended; the rest is the caller's promise.
        let asked = unsafe { ioctl(&self.0, Updater::<COMMAND, _>::new(&mut argument)) };
        asked.map_err(|errno| match (argument.vmm_error, argument.firmware_error) {
            (u32::MAX, _) => Refusal::Kernel(errno),
            (0, code) if NOT_ASKED.contains(&code) => Refusal::Kernel(errno),
            (0, code) => Refusal::Interface(code),
            (code, _) => Refusal::Host(code),
        })
    }
}

impl ReportReq {
    fn new(report_data: &[u8; 64], vmpl: u32) -> Self {
        Self { report_data: *report_data, vmpl: vmpl.into(), reserved: [0; 28] }
    }
}

impl ReportResp {
    fn report(self) -> Result<Report, Refusal> {
        match (self.status.get(), self.size.get()) {
            (0, size) if size as usize == size_of::<Report>() => Ok(self.report),
            (0, size) => Err(Refusal::Size(size)),
            (status, _) => Err(Refusal::Status(status)),
        }
    }
}
