//! Sealing keys of the TDX module itself (TDG.MR.KEY.GET), where platform, host and kernel let a guest have them.

use std::fs::File;
use std::mem;

use bulla_crypto::Secret;
use rustix::io::Errno;

use super::arch::TdReport;
use super::device::{self, NoKey};
use super::native::{Name, NativeRequest};
use crate::{DerivedKey, Error, Policy, TdxIdentity};

const MACHINE: &str = "sealing key of the TDX module";
const DEVICE: &str = "the TDX module, through /dev/tdx_guest,";
/// How often a key is asked for while a run-time register is being extended.
const TRIES: usize = 3;

/// The upper half of a completion status (Intel TDX module, include/auto_gen/tdx_error_codes_defs.h).
mod status {
    pub(super) const OPERAND_INVALID: u64 = 0xC000_0100;
    pub(super) const OPERAND_BUSY: u64 = 0x8000_0200;
    pub(super) const KEY_GET_NOT_SUPPORTED: u64 = 0xC000_1004;
    pub(super) const SVN_INVALID: u64 = 0xC000_1006;
}
/// The lower half of OPERAND_INVALID: which operand.
const OPERAND_KEYSIZE: u64 = 108;

/// A new key of the guest that `report` is of.
pub(super) fn bind(
    device: &File,
    policy: &Policy,
    report: &TdReport,
    salt: [u8; 32],
) -> Result<(NativeRequest, DerivedKey), Error> {
    let guest = TdxIdentity::from(report);
    let mut request = NativeRequest::new(policy, &guest, report.report_mac.cpusvn, salt)?;
    let (bits, key) = sized(ask(device, &request, Name::Key).map_err(refused)?)?;
    request.bits = bits;
    request.machine_tag = short(&ask(device, &request, Name::MachineTag).map_err(refused)?);
    request.check()?;
    Ok((request, key))
}

/// The key of a recorded request, which fits the guest.
pub(super) fn derive(device: &File, request: &NativeRequest, report: &TdReport) -> Result<DerivedKey, Error> {
    let too_old = |no_key| match no_key {
        NoKey::Module(code) if code >> 32 == status::SVN_INVALID => which(device, request, report),
        no_key => refused(no_key),
    };
    let tag = ask(device, request, Name::MachineTag).map_err(too_old)?;
    if !Secret::new(short(&tag)).ct_eq(&Secret::new(request.machine_tag)) {
        return Err(Error::OtherMachine);
    }
    let (bits, key) = sized(ask(device, request, Name::Key).map_err(too_old)?)?;
    if bits != request.bits {
        let fault = format!("gives keys of {bits} bits, and sealed with one of {}", request.bits);
        return Err(Error::Device { device: DEVICE, fault });
    }
    Ok(key)
}

/// Which of the two recorded versions is above the present one: what is given with the present one in its place tells.
fn which(device: &File, request: &NativeRequest, report: &TdReport) -> Error {
    let (cpusvn, tee_tcb_svn) = (report.report_mac.cpusvn, report.tee_tcb_info.tee_tcb_svn);
    let present = NativeRequest { cpusvn, ..request.clone() };
    let (register, sealed, current) = match ask(device, &present, Name::MachineTag) {
        Ok(_) => ("CPUSVN", request.cpusvn, cpusvn),
        Err(_) => ("TEE_TCB_SVN", request.tee_tcb_svn, tee_tcb_svn),
    };
    Error::TcbTooOld { register, sealed: hex::encode(sealed), current: hex::encode(current) }
}

fn ask(device: &File, request: &NativeRequest, name: Name) -> Result<Secret<32>, NoKey> {
    let operand = request.keyrequest(name);
    let mut result = Ok(());
    for _ in 0..TRIES {
        let key = Secret::fill_with(|key| result = device::key(device, &operand, key));
        match mem::replace(&mut result, Ok(())) {
            Ok(()) => return Ok(key),
            Err(busy @ NoKey::Module(code)) if code >> 32 == status::OPERAND_BUSY => result = Err(busy),
            Err(no_key) => return Err(no_key),
        }
    }
    Err(result.err().unwrap_or(NoKey::Kernel(Errno::IO)))
}

/// How many bits a key has, and those. A key of 128 bits leaves the second half of the kernel's buffer as it was: zero.
fn sized(key: Secret<32>) -> Result<(u16, DerivedKey), Error> {
    let (first, second) = key.expose().split_at(16);
    let first = Secret::<16>::fill_with(|half| half.copy_from_slice(first));
    match (first.is_zero(), Secret::<16>::fill_with(|half| half.copy_from_slice(second)).is_zero()) {
        (true, _) => Err(Error::Zero("sealing key")),
        (false, true) => Ok((128, first.into())),
        (false, false) => Ok((256, key.into())),
    }
}

fn short(tag: &Secret<32>) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(tag.expose()).for_each(|(to, from)| *to = *from);
    short
}

fn refused(no_key: NoKey) -> Error {
    let unavailable = |reason: &str| Error::Unavailable { machine: MACHINE, reason: reason.into() };
    let code = match no_key {
        NoKey::Kernel(Errno::NOTTY | Errno::INVAL) => {
            return unavailable(
                "the kernel has no TDX_CMD_KEY_GET, which no mainline kernel has: ask a key provider",
            );
        }
        NoKey::Kernel(errno) => {
            return Error::Device { device: DEVICE, fault: format!("gave no key: {errno}") };
        }
        NoKey::Module(code) => code,
    };
    match (code >> 32, code & 0xFFFF_FFFF) {
        (status::KEY_GET_NOT_SUPPORTED, _) => unavailable(
            "neither the host (CONFIG_FLAGS) nor the kernel (TD_CTLS) has switched sealing on for this guest: \
             ask a key provider",
        ),
        (status::OPERAND_INVALID, 0) => {
            unavailable("the platform or its TDX module has none: ask a key provider")
        }
        (status::OPERAND_INVALID, OPERAND_KEYSIZE) => {
            unavailable("the platform has none of the size that is asked for: ask a key provider")
        }
        (status::OPERAND_BUSY, _) => {
            unavailable("a run-time register is being extended all the time; try again")
        }
        _ => Error::Device {
            device: DEVICE,
            fault: format!("gave no key: TDG.MR.KEY.GET ended with {code:#x}"),
        },
    }
}
