//! The recorded request of a sealing key of the TDX module.
//!
//! The module's source and revision 0.7 of its specification (System Architecture Specification: Sealing Support for Intel
//! TDX, September 2025) disagree on KEYPOLICY but for MRTD and the RTMRs, and the source does not mix KEYPOLICY itself into
//! a key. So a key is bound to these alone, and to none of them that is zero, since whoever leaves such a register out has the
//! same key. DEBUG enters only by the caller's mask.

use minicbor::{Decode, Encode};
use zerocopy::FromZeros;

use super::arch::{KEYPOLICY_MRTD, KEYPOLICY_RTMR0, TdKeyRequest, attributes};
use crate::identity::same_kind_of_processor;
use crate::{Error, Mismatch, Policy, TdxIdentity};

/// The bits of ATTRIBUTES that enter a key: those by which a host could look into the guest or move it. Bits 1 to 3 and 7
/// of their group are reserved, and refused in a mask.
const ATTRIBUTES_MASK: u64 =
    FORCED | attributes::SEPT_VE_DISABLE | attributes::MIGRATABLE | attributes::PERFMON;
/// DEBUG, and the profiling of bits 4 to 6 (R3).
const FORCED: u64 = attributes::DEBUG | 0x70;
/// No extended feature enters a key: a wider register file is no reason to lose data (R4).
const XFAM_MASK: u64 = 0;
const MACHINE: &str = "the TDX module";

/// What tells keys of one request apart (SW_KEYNAME).
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Name {
    Key = 0,
    MachineTag = 1,
}

/// Every selector of a sealing key of the TDX module, and the guest that it was made for (R1).
///
/// Fields 0 to 5 are those of TDKEYREQUEST; what they leave out is zero there, but KEYSIZE, which is 1. The encoding is a CBOR
/// array of these 14 fields:
///
/// | field | CBOR | value |
/// |---|---|---|
/// | 0 | uint | KEYPOLICY: bit 0 (MRTD), and bit 32 + n for each RTMRn that was not zero |
/// | 1 | uint | ATTRIBUTESMASK, with DEBUG and profiling (bits 0 and 4 to 6) |
/// | 2 | uint | XFAMMASK |
/// | 3 | bytes, 16 | CPUSVN when sealing, not zero |
/// | 4 | bytes, 16 | TEE_TCB_SVN when sealing, not zero |
/// | 5 | bytes, 32 | SALT: random, not zero |
/// | 6 | uint | bits of the key that came: 128 or 256 |
/// | 7 | uint | ATTRIBUTES of the sealer, masked by field 1 |
/// | 8 | bytes, 48 | MRTD of the sealer, not zero |
/// | 9 to 12 | bytes, 48 | RTMR0 to RTMR3 of the sealer: zero if KEYPOLICY does not have it, and only then |
/// | 13 | bytes, 16 | machine tag: the first bytes of the same key with SW_KEYNAME 1 |
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct NativeRequest {
    /// KEYPOLICY.
    #[n(0)]
    pub keypolicy: u64,
    /// ATTRIBUTESMASK.
    #[n(1)]
    pub attributes_mask: u64,
    /// XFAMMASK.
    #[n(2)]
    pub xfam_mask: u64,
    /// CPUSVN when sealing; opaque.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub cpusvn: [u8; 16],
    /// TEE_TCB_SVN when sealing: that of the module that created the guest.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub tee_tcb_svn: [u8; 16],
    /// SALT: 32 fresh random bytes (R2).
    #[cbor(n(5), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// How many bits the key has: KEYSIZE 1 is 128 in the module's source, and 256 in its specification.
    #[n(6)]
    pub bits: u16,
    /// ATTRIBUTES of the guest that sealed, masked by `attributes_mask`.
    #[n(7)]
    pub attributes: u64,
    /// The measurement of the guest that sealed.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub mrtd: [u8; 48],
    /// RTMR0 of the guest that sealed, if it is selected; so the next three.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub rtmr0: [u8; 48],
    #[allow(missing_docs)]
    #[cbor(n(10), with = "minicbor::bytes")]
    pub rtmr1: [u8; 48],
    #[allow(missing_docs)]
    #[cbor(n(11), with = "minicbor::bytes")]
    pub rtmr2: [u8; 48],
    #[allow(missing_docs)]
    #[cbor(n(12), with = "minicbor::bytes")]
    pub rtmr3: [u8; 48],
    /// Tells this machine from another. Only the same guest on the same machine can compute it.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub machine_tag: [u8; 16],
}

impl NativeRequest {
    /// The request of a new key for `guest`, current in everything; what only the key shows, its size and the machine tag, is
    /// still empty.
    pub(crate) fn new(
        policy: &Policy,
        guest: &TdxIdentity,
        cpusvn: [u8; 16],
        salt: [u8; 32],
    ) -> Result<Self, Error> {
        policy.check()?;
        let unsupported = |what| Err(Error::Unsupported { machine: MACHINE, what });
        if *policy != Policy::measurement() {
            return unsupported("bind to anything but the measurement: ask a key provider");
        }
        if guest.attributes & attributes::MIGRATABLE != 0 {
            return unsupported(
                "give a guest a key that may be moved to another machine: ask a key provider",
            );
        }
        if chosen_by_the_host(guest).any(|(_, value)| *value != [0; 48]) {
            return unsupported(
                "bind to MRCONFIGID, MROWNER or MROWNERCONFIG, which are set: ask a key provider",
            );
        }
        let [rtmr0, rtmr1, rtmr2, rtmr3] = guest.rtmr;
        Ok(Self {
            keypolicy: KEYPOLICY_MRTD | measured(&guest.rtmr),
            attributes_mask: ATTRIBUTES_MASK,
            xfam_mask: XFAM_MASK,
            cpusvn,
            tee_tcb_svn: guest.tee_tcb_svn,
            salt,
            bits: 0,
            attributes: guest.attributes & ATTRIBUTES_MASK,
            mrtd: guest.mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            machine_tag: [0; 16],
        })
    }

    /// RTMR0 to RTMR3 of the guest that sealed; zero where a register is not selected.
    pub fn rtmr(&self) -> [[u8; 48]; 4] {
        [self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3]
    }

    /// Refuses what no sealing writes: no MRTD (R14), registers that bind to nothing, a mask without DEBUG (R3), a zero SALT (R2).
    pub(crate) fn check(&self) -> Result<(), Error> {
        let faults = [
            (
                self.keypolicy != KEYPOLICY_MRTD | measured(&self.rtmr()),
                "its key policy is not MRTD and the run-time registers that are not zero",
            ),
            (self.attributes_mask & FORCED != FORCED, "the attribute mask leaves out DEBUG or profiling"),
            (self.attributes & !self.attributes_mask != 0, "it claims attributes that its mask leaves out"),
            (self.cpusvn == [0; 16], "CPUSVN is zero"),
            (self.tee_tcb_svn == [0; 16], "TEE_TCB_SVN is zero"),
            (self.salt == [0; 32], "the SALT is zero"),
            (![128, 256].contains(&self.bits), "the key has neither 128 nor 256 bits"),
            (self.mrtd == [0; 48], "MRTD is zero"),
        ];
        match faults.into_iter().find(|(fault, _)| *fault) {
            Some((_, what)) => Err(Error::InvalidRequest(what)),
            None => Ok(()),
        }
    }

    /// Whether every register that the key is bound to is the recorded one. Those that the host chooses were zero, and cannot
    /// be bound to: the same program refuses to run on under others (R25).
    pub(crate) fn fits(&self, guest: &TdxIdentity) -> Result<(), Error> {
        same_kind_of_processor(&self.tee_tcb_svn, &guest.tee_tcb_svn)?;
        let attributes = guest.attributes & self.attributes_mask;
        Mismatch::check("ATTRIBUTES", &self.attributes.to_be_bytes(), &attributes.to_be_bytes())?;
        Mismatch::check("MRTD", &self.mrtd, &guest.mrtd)?;
        let names = ["RTMR0", "RTMR1", "RTMR2", "RTMR3"];
        for ((name, claimed), found) in names.into_iter().zip(self.rtmr()).zip(&guest.rtmr) {
            if claimed != [0; 48] {
                Mismatch::check(name, &claimed, found)?;
            }
        }
        chosen_by_the_host(guest).try_for_each(|(name, found)| Mismatch::check(name, &[0; 48], found))
    }

    /// Whether the module has a component of its version below the recorded one, so that only the processor can say which of
    /// the two is newer.
    pub(crate) fn is_of_another_module(&self, guest: &TdxIdentity) -> bool {
        self.tee_tcb_svn.iter().zip(&guest.tee_tcb_svn).any(|(recorded, present)| recorded > present)
    }

    /// The operand of TDG.MR.KEY.GET.
    pub(super) fn keyrequest(&self, name: Name) -> TdKeyRequest {
        TdKeyRequest {
            sw_keyname: name as u8,
            keysize: 1,
            keypolicy: self.keypolicy.into(),
            attributes_mask: self.attributes_mask.into(),
            xfam_mask: self.xfam_mask.into(),
            cpusvn: self.cpusvn,
            tee_tcb_svn: self.tee_tcb_svn,
            salt: self.salt,
            ..TdKeyRequest::new_zeroed()
        }
    }
}

/// The KEYPOLICY bits of the run-time registers that something was measured into.
fn measured(rtmr: &[[u8; 48]; 4]) -> u64 {
    let bits = (0..).map(|register| KEYPOLICY_RTMR0 << register);
    rtmr.iter().zip(bits).filter(|(value, _)| **value != [0; 48]).map(|(_, bit)| bit).sum()
}

fn chosen_by_the_host(guest: &TdxIdentity) -> impl Iterator<Item = (&'static str, &[u8; 48])> {
    let values = [&guest.mrconfigid, &guest.mrowner, &guest.mrownerconfig];
    ["MRCONFIGID", "MROWNER", "MROWNERCONFIG"].into_iter().zip(values)
}

#[cfg(test)]
mod tests;
