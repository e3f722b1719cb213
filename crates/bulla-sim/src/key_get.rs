//! Sealing keys of a simulated TDX module: TDG.MR.KEY.GET (Intel TDX module, src/td_dispatcher/vm_exits/tdg_mr_key_get.c;
//! System Architecture Specification: Sealing Support for Intel TDX, revision 0.7).

use bulla_crypto::{hmac, sha384};
use bulla_tee::tdx::{KEYPOLICY_MRTD, KEYPOLICY_RTMR0, TdInfo, TdKeyRequest, attributes};
use zerocopy::IntoBytes;

use crate::cpu::{Cpu, reaches};

/// What a TDX module, and the kernel before it, do when a guest asks for a sealing key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealingKeys {
    /// The kernel has no command for it, as no mainline kernel has.
    #[default]
    NoCommand,
    /// The platform cannot.
    NoPlatform,
    /// Neither host nor kernel have switched them on for this guest.
    NotEnabled,
    /// The platform has none of the smallest size.
    NoSize,
    /// As in the module's published source: 128 bits.
    AsInSource,
    /// As in revision 0.7 of the specification: 256 bits.
    AsSpecified,
}

/// Completion statuses.
mod status {
    pub(super) const OPERAND_INVALID: u64 = 0xC000_0100_0000_0000;
    pub(super) const NOT_SUPPORTED: u64 = 0xC000_1004_0000_0000;
    pub(super) const SVN_INVALID: u64 = 0xC000_1006_0000_0000;
    pub(super) const BUSY_RTMR: u64 = 0x8000_0200_0000_00A8;
}

const OPERAND_RCX: u64 = 1;
const OPERAND_KEYNAME: u64 = 100;
const OPERAND_KEYSIZE: u64 = 108;

/// RTMR bits of KEYPOLICY.
const RTMRS: u64 = KEYPOLICY_RTMR0 * 0xF;
/// Bits of the source's KEYPOLICY: MRTD, MROWNER, MRCONFIGID, MROWNERCONFIG, MRSIGROOT, MRSIGNER, MRPRODID, RTMR.
const SOURCE_POLICY: u64 = 0x70F | 0xFFFF << 32;
const SOURCE_MROWNER: u64 = 1 << 1;
/// Bits of the specification's: MRTD, MROWNER, MRCONFIGID, MROWNERCONFIG, RTMR.
const SPECIFIED_POLICY: u64 = 0x1D | RTMRS;
/// Reserved bits of ATTRIBUTES: 3:1, 15:7, 26:18, 61:32.
const RESERVED_ATTRIBUTES: u64 = 0xE | 0x1FF << 7 | 0x1FF << 18 | 0x3FFF_FFFF << 32;

/// RTMR_LOCK is held elsewhere.
pub(crate) const BUSY: u64 = status::BUSY_RTMR;

impl Cpu {
    /// TDG.MR.KEY.GET of a guest, for its kernel (requestor 0), or the completion status.
    pub(crate) fn key_get(
        &self,
        how: SealingKeys,
        guest: &TdInfo,
        request: &TdKeyRequest,
    ) -> Result<[u8; 32], u64> {
        let specified = match how {
            SealingKeys::NoCommand | SealingKeys::NoPlatform => return Err(status::OPERAND_INVALID),
            SealingKeys::NotEnabled => return Err(status::NOT_SUPPORTED),
            SealingKeys::NoSize => return Err(status::OPERAND_INVALID | OPERAND_KEYSIZE),
            SealingKeys::AsInSource => false,
            SealingKeys::AsSpecified => true,
        };
        if request.keyname.get() != 0 {
            return Err(status::OPERAND_INVALID | OPERAND_KEYNAME);
        }
        let (policy, mask) = (request.keypolicy.get(), request.attributes_mask.get());
        let known = if specified { SPECIFIED_POLICY } else { SOURCE_POLICY };
        let [minor, major, patch, svn_reserved @ ..] = request.tee_tcb_svn;
        // Where real modules have zeros, simulated ones have their marker.
        let (zeros, _marker) = svn_reserved.split_at(5);
        let reserved = request.reserved1 != [0; 4]
            || request.reserved2 != [0; 26]
            || policy & !known != 0
            || mask & RESERVED_ATTRIBUTES != 0
            || zeros != [0; 5]
            || specified && [minor, major, patch] == [0; 3];
        if reserved {
            return Err(status::OPERAND_INVALID | OPERAND_RCX);
        }
        // A bitmap of sizes in the source, of which there is one; a number in the specification.
        let bits = match (specified, request.keysize) {
            (false, bitmap) if bitmap & 1 != 0 => 128,
            (true, 1) => 256,
            _ => return Err(status::OPERAND_INVALID | OPERAND_KEYSIZE),
        };
        let at_most_present =
            reaches(&self.cpusvn, &request.cpusvn) && reaches(&self.tee_tcb_svn, &request.tee_tcb_svn);
        if !at_most_present {
            return Err(status::SVN_INVALID);
        }
        let info = sha384(&[&derivation_string(specified, guest, request)]);
        let label = b"bulla simulated SEAM key";
        let secret = self.seal_fuses.expose();
        let mut key = hmac(secret, &[label, &info, &request.cpusvn, &request.tee_tcb_svn, &[bits as u8]]);
        if bits == 128 {
            // What is behind it stays as it was in the kernel's buffer.
            let (_, rest) = key.split_at_mut(16);
            rest.fill(0);
        }
        Ok(key)
    }
}

/// The 704 bytes that name a key. As in the source, KEYPOLICY and the registers that only it could select are left out but
/// for MRTD, MROWNER and the RTMRs.
fn derivation_string(specified: bool, guest: &TdInfo, request: &TdKeyRequest) -> Vec<u8> {
    let policy = request.keypolicy.get();
    let kept = |bit: u64, register: &[u8; 48]| if policy & bit != 0 { *register } else { [0; 48] };
    let mask = request.attributes_mask.get();
    let attributes = guest.attributes.get() & mask;
    let xfam_mask = request.xfam_mask.get();
    let xfam = guest.xfam.get() & xfam_mask;
    let migratable = attributes::MIGRATABLE & guest.attributes.get() != 0;
    let servtd = if migratable { guest.servtd_hash } else { [0; 48] };
    let (bound_policy, mrowner_bit) = if specified { (policy, 1 << 2) } else { (0, SOURCE_MROWNER) };
    let (mrconfig_bit, mrownerconfig_bit) = if specified { (1 << 3, 1 << 4) } else { (0, 0) };

    let mut string = Vec::with_capacity(704);
    string.extend_from_slice(&[0, 0, request.sw_keyname, 0, 0, 0, 0, 0]);
    for number in [bound_policy, attributes, mask, xfam, xfam_mask] {
        string.extend_from_slice(&number.to_le_bytes());
    }
    string.extend_from_slice(&kept(KEYPOLICY_MRTD, &guest.mrtd));
    string.extend_from_slice(&kept(mrconfig_bit, &guest.mrconfigid));
    string.extend_from_slice(&kept(mrowner_bit, &guest.mrowner));
    string.extend_from_slice(&kept(mrownerconfig_bit, &guest.mrownerconfig));
    for (register, value) in (0..).zip(&guest.rtmr) {
        string.extend_from_slice(&kept(KEYPOLICY_RTMR0 << register, value));
    }
    // MRSIGROOT, MRSIGNER, ISVPRODID, SVNs: of signed guests, which there are none of.
    string.resize(560, 0);
    string.extend_from_slice(&servtd);
    string.extend_from_slice(request.salt.as_bytes());
    string.resize(704, 0);
    string
}

#[cfg(test)]
mod tests;
