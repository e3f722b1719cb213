//! `/dev/tdx_guest`: the TDX module's reports (Linux, include/uapi/linux/tdx-guest.h).
#![allow(unsafe_code, reason = "one ioctl")]

use std::fs::File;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::arch::TdReport;

/// What the command takes and gives.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: TdReport,
}

/// TDX_CMD_GET_REPORT0.
const GET_REPORT: Opcode = opcode::read_write::<ReportRequest>(b'T', 1);
const _: () = assert!(GET_REPORT == 0xC440_5401);

/// The TDREPORT of this guest over `report_data`.
pub(super) fn report(device: &File, report_data: &[u8; 64]) -> Result<TdReport, Errno> {
    let mut request = ReportRequest { report_data: *report_data, report: TdReport::new_zeroed() };
    // SAFETY: the command reads and writes the 1088 bytes of the request, as its number says, and keeps nothing; any bytes
    // are a ReportRequest.
    unsafe { ioctl(device, Updater::<GET_REPORT, _>::new(&mut request)) }?;
    Ok(request.report)
}
