//! The commands of Occlum's `/dev/sgx` (Occlum, `src/libos/src/fs/dev_fs/dev_sgx`). The only module of the Occlum backend
//! with `unsafe` in it.
//!
//! Arguments are passed as the LibOS reads them, which is in the same address space: it checks the pointers for null and
//! the program for having them right.
#![allow(unsafe_code, reason = "commands whose arguments point to more")]

use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zerocopy::FromZeros;

use crate::sgx::arch::{Keyrequest, Report, Targetinfo};

const MAGIC: u8 = b's';
const SELF_TARGET: Opcode = opcode::read::<Targetinfo>(MAGIC, 3);
const CREATE_REPORT: Opcode = opcode::read_write::<CreateReport>(MAGIC, 4);
const GET_DCAP_QUOTE_SIZE: Opcode = opcode::read::<u32>(MAGIC, 7);
const GEN_DCAP_QUOTE: Opcode = opcode::read_write::<GenDcapQuote>(MAGIC, 8);
const KEY: Opcode = opcode::read_write::<GetKey>(MAGIC, 11);

const _: () = {
    assert!(SELF_TARGET == 0x8200_7303 && CREATE_REPORT == 0xC018_7304);
    assert!(GET_DCAP_QUOTE_SIZE == 0x8004_7307 && GEN_DCAP_QUOTE == 0xC018_7308);
    assert!(KEY == 0xC010_730B);
};

#[repr(C)]
struct CreateReport {
    target: *const Targetinfo,
    report_data: *const [u8; 64],
    report: *mut Report,
}

#[repr(C)]
struct GenDcapQuote {
    report_data: *const [u8; 64],
    size: *mut u32,
    quote: *mut u8,
}

#[repr(C)]
struct GetKey {
    request: *const Keyrequest,
    key: *mut [u8; 16],
}

/// Occlum's device. Whatever it refuses is EINVAL.
pub(crate) struct Device(File);

impl Device {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        File::open(root.join("dev/sgx")).map(Self)
    }

    /// This enclave as the target of a report.
    pub(crate) fn self_target(&self) -> io::Result<Targetinfo> {
        let mut target = Targetinfo::new_zeroed();
        // SAFETY: SELF_TARGET writes a TARGETINFO.
        unsafe { ioctl(&self.0, Updater::<SELF_TARGET, _>::new(&mut target)) }?;
        Ok(target)
    }

    pub(crate) fn create_report(&self, target: &Targetinfo, report_data: &[u8; 64]) -> io::Result<Report> {
        let mut report = Report::new_zeroed();
        let mut argument = CreateReport { target, report_data, report: &raw mut report };
        // SAFETY: CREATE_REPORT takes three pointers, reads 512 and 64 bytes and writes 432; all live until it has ended.
        unsafe { ioctl(&self.0, Updater::<CREATE_REPORT, _>::new(&mut argument)) }?;
        Ok(report)
    }

    pub(crate) fn quote_size(&self) -> io::Result<u32> {
        let mut size = 0;
        // SAFETY: GET_DCAP_QUOTE_SIZE writes 32 bits.
        unsafe { ioctl(&self.0, Updater::<GET_DCAP_QUOTE_SIZE, _>::new(&mut size)) }?;
        Ok(size)
    }

    /// A quote into `quote`, and how long it is.
    pub(crate) fn quote(&self, report_data: &[u8; 64], quote: &mut [u8]) -> io::Result<usize> {
        let mut size = u32::try_from(quote.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut argument = GenDcapQuote { report_data, size: &raw mut size, quote: quote.as_mut_ptr() };
        // SAFETY: GEN_DCAP_QUOTE takes three pointers, reads 64 bytes and a size, and writes at most as many bytes as that
        // says, and the size; all live until it has ended.
        unsafe { ioctl(&self.0, Updater::<GEN_DCAP_QUOTE, _>::new(&mut argument)) }?;
        // SAFETY: a plain read of our own variable, which the command has written through its pointer.
        Ok(unsafe { ptr::read_volatile(&raw const size) } as usize)
    }

    pub(crate) fn key(&self, request: &Keyrequest, key: &mut [u8; 16]) -> io::Result<()> {
        let mut argument = GetKey { request, key };
        // SAFETY: KEY takes two pointers, reads 512 bytes and writes 16; both live until it has ended.
        unsafe { ioctl(&self.0, Updater::<KEY, _>::new(&mut argument)) }?;
        Ok(())
    }
}
