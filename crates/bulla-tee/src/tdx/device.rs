//! `/dev/tdx_guest`: the TDX module's reports (Linux, include/uapi/linux/tdx-guest.h), and its sealing keys, by a command that
//! no mainline kernel has (the same file in Microsoft's OHCL-Linux-Kernel).
#![allow(unsafe_code, reason = "two ioctls")]

use std::fs::File;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::arch::{TdKeyRequest, TdReport};

/// What the command takes and gives.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: TdReport,
}

/// What the command takes and gives; the status is that of the TDCALL.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct KeyRequest {
    request: TdKeyRequest,
    key: [u8; 32],
    status: u64,
}

/// TDX_CMD_GET_REPORT0.
const GET_REPORT: Opcode = opcode::read_write::<ReportRequest>(b'T', 1);
/// TDX_CMD_KEY_GET.
const GET_KEY: Opcode = opcode::read_write::<KeyRequest>(b'T', 5);
const _: () = assert!(GET_REPORT == 0xC440_5401 && GET_KEY == 0xC0A8_5405);

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The kernel did not ask.
    Kernel(Errno),
    /// The module refused, with this completion status.
    Module(u64),
}

/// The TDREPORT of this guest over `report_data`.
pub(super) fn report(device: &File, report_data: &[u8; 64]) -> Result<TdReport, Errno> {
    let mut request = ReportRequest { report_data: *report_data, report: TdReport::new_zeroed() };
    // SAFETY: the command reads and writes the 1088 bytes of the request, as its number says, and keeps nothing; any bytes
    // are a ReportRequest.
    unsafe { ioctl(device, Updater::<GET_REPORT, _>::new(&mut request)) }?;
    Ok(request.report)
}

/// Writes the key of `request` to `key`.
pub(super) fn key(device: &File, request: &TdKeyRequest, key: &mut [u8; 32]) -> Result<(), NoKey> {
    let mut argument = KeyRequest { request: *request, key: [0; 32], status: 0 };
    // SAFETY: the command reads and writes the 168 bytes of the argument, as its number says, and keeps nothing; any bytes
    // are a KeyRequest.
    let answer = unsafe { ioctl(device, Updater::<GET_KEY, _>::new(&mut argument)) };
    let refused = match (answer, argument.status) {
        (Ok(()), 0) => {
            *key = argument.key;
            Ok(())
        }
        (Ok(()) | Err(Errno::IO), status) if status != 0 => Err(NoKey::Module(status)),
        (Ok(()), _) => Err(NoKey::Kernel(Errno::IO)),
        (Err(errno), _) => Err(NoKey::Kernel(errno)),
    };
    // SAFETY: a plain write to memory that we own; volatile, so that the copy of the key is wiped for certain.
    unsafe { (&raw mut argument.key).write_volatile([0; 32]) };
    refused
}
