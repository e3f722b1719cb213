//! The `ENCLU` instruction. The only module of this backend with `unsafe` in it.
//!
//! Outside an enclave the instruction raises #UD, which arrives as SIGILL: whoever calls these functions must know to be
//! inside one, or on a simulated machine that answers the signal.
#![allow(unsafe_code, reason = "one instruction")]

use core::arch::asm;
#[cfg(not(target_env = "sgx"))]
use core::arch::x86_64::{__cpuid, __cpuid_count};

use super::arch::{Keyrequest, Report, ReportMac, Targetinfo};

const EREPORT: u32 = 0;
const EGETKEY: u32 = 1;
const EVERIFYREPORT2: u32 = 8;

/// EAX after a leaf that reports a status; never zero (Intel SDM vol. 3D, "Information and Error Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

impl Status {
    pub(crate) const INVALID_LEAF: Self = Self(1);
    pub(crate) const INVALID_REPORTMACSTRUCT: Self = Self(28);
    pub(crate) const INVALID_CPUSVN: Self = Self(32);
    pub(crate) const INVALID_ISVSVN: Self = Self(64);
}

#[repr(C, align(512))]
struct Align512<T>(T);
#[repr(C, align(256))]
struct Align256<T>(T);
#[repr(C, align(128))]
struct Align128<T>(T);
#[repr(C, align(16))]
struct Align16<T>(T);

/// ENCLU[EGETKEY]: writes the key of `request` to `key`.
pub(crate) fn egetkey(request: &Keyrequest, key: &mut [u8; 16]) -> Result<(), Status> {
    let request = Align512(*request);
    let mut out = Align16([0; 16]);
    // SAFETY: EGETKEY reads 512 bytes at RBX and writes 16 at RCX; both are of that size, aligned as it demands, and live
    // until the instruction has ended.
    let status =
        unsafe { enclu(EGETKEY, (&raw const request).addr(), (&raw mut out).expose_provenance(), 0) };
    if status != 0 {
        return Err(Status(status));
    }
    key.copy_from_slice(&out.0);
    // SAFETY: a plain write to memory that we own; volatile, so that the copy of the key is wiped for certain.
    unsafe { (&raw mut out.0).write_volatile([0; 16]) };
    Ok(())
}

/// ENCLU[EREPORT]: this enclave's report for `target`. The leaf has no status; a bad operand is a fault.
pub(crate) fn ereport(target: &Targetinfo, report_data: &[u8; 64]) -> Report {
    let target = Align512(*target);
    let data = Align128(*report_data);
    let mut out = Align512([0_u8; 432]);
    // SAFETY: EREPORT reads 512 bytes at RBX and 64 at RCX and writes 432 at RDX; all are of that size, aligned as it
    // demands, and live until the instruction has ended.
    unsafe {
        enclu(
            EREPORT,
            (&raw const target).addr(),
            (&raw const data).addr(),
            (&raw mut out).expose_provenance(),
        );
    }
    zerocopy::transmute!(out.0)
}

/// Whether the processor has EVERIFYREPORT2 (CPUID, leaf 0x12, subleaf 0, EAX bit 7). One without it ends the process.
///
/// In Gramine the host answers, which can stop the process anyway.
#[cfg(not(target_env = "sgx"))]
pub(crate) fn has_everifyreport2() -> bool {
    const SGX: u32 = 0x12;
    __cpuid(0).eax >= SGX && __cpuid_count(SGX, 0).eax & 1 << 7 != 0
}

/// CPUID ends an enclave that has nobody to answer it.
#[cfg(target_env = "sgx")]
pub(crate) fn has_everifyreport2() -> bool {
    false
}

/// ENCLU[EVERIFYREPORT2]: whether the MAC of `report` was made by this processor.
pub(crate) fn everifyreport2(report: &ReportMac) -> Result<(), Status> {
    let report = Align256(*report);
    // SAFETY: EVERIFYREPORT2 reads 256 bytes at RBX, which are there, aligned as it demands, until it has ended.
    let status = unsafe { enclu(EVERIFYREPORT2, (&raw const report).addr(), 0, 0) };
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

/// Executes `ENCLU` and returns EAX.
///
/// # Safety
/// The operands must be what the leaf expects, aligned, and alive for the whole call.
unsafe fn enclu(leaf: u32, rbx: usize, rcx: usize, rdx: usize) -> u32 {
    let status: u64;
    // SAFETY: the caller vouches for the operands. The compiler keeps RBX for itself, so it is exchanged around the
    // instruction. Memory is clobbered and flags are not preserved, as is assumed without further options.
    unsafe {
        asm!(
            "xchg {rbx}, rbx",
            "enclu",
            "xchg {rbx}, rbx",
            rbx = inout(reg) rbx => _,
            inout("rax") u64::from(leaf) => status,
            inout("rcx") rcx => _,
            inout("rdx") rdx => _,
        );
    }
    // EREPORT leaves EAX as it was; its callers do not look at it. The other leaves set it to their status.
    status as u32
}
