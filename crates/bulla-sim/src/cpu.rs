//! The processor: what `ENCLU` and the TDX module compute, as pure functions over the processor's state (Intel SDM
//! vol. 3D, EGETKEY, EREPORT, EVERIFYREPORT2; Intel TDX Module ABI specification, TDREPORT_STRUCT).

use aws_lc_rs::cmac;
use bulla_crypto::{Secret, hmac, hmac_verify, sha384};
use bulla_tee::sgx::arch::{
    Attributes, KEYNAME_SEAL, KEYPOLICY_CONFIGID, KEYPOLICY_ISVEXTPRODID, KEYPOLICY_ISVFAMILYID,
    KEYPOLICY_KSS, KEYPOLICY_MRENCLAVE, KEYPOLICY_MRSIGNER, KEYPOLICY_NOISVPRODID, Keyrequest, Report,
    ReportBody, ReportMac, Targetinfo, flags,
};
use bulla_tee::tdx::{TdInfo, TdReport, TeeTcbInfo};
use zerocopy::{FromZeros, IntoBytes};

use crate::EnclaveIdentity;

pub(crate) const KEYNAME_REPORT: u16 = 3;
const KEYNAMES_OF_ATTRIBUTES: core::ops::RangeInclusive<u16> = 0..=2;

const KEYPOLICY_KNOWN: u16 = KEYPOLICY_MRENCLAVE | KEYPOLICY_MRSIGNER | KEYPOLICY_KSS;

/// REPORTTYPE of a TDX guest: 0x81, subtype 0, and the version, then 0.
const REPORT_TYPE_TDX: u8 = 0x81;
/// TEE_TCB_INFO.VALID with every field up to TEE_TCB_SVN2.
const TEE_TCB_INFO_VALID: u64 = 0x3_01FF;

/// What a leaf did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The leaf ends with ZF set and this in EAX; its output is as it was.
    Status(u32),
    /// The leaf does not end.
    Fault(Fault),
}

/// An exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// #GP(0): reserved bits, alignment, an unknown leaf.
    GeneralProtection,
    /// #PF: an operand that is not there.
    PageFault,
}

/// EAX after a refusal (Intel SDM vol. 3D, "Information and Error Codes").
pub(crate) mod status {
    pub(crate) const INVALID_ATTRIBUTE: u32 = 2;
    pub(crate) const INVALID_REPORTMACSTRUCT: u32 = 28;
    pub(crate) const INVALID_CPUSVN: u32 = 32;
    pub(crate) const INVALID_ISVSVN: u32 = 64;
    pub(crate) const INVALID_KEYNAME: u32 = 256;
}

const GENERAL_PROTECTION: Refusal = Refusal::Fault(Fault::GeneralProtection);

/// A simulated processor with its TDX module.
pub(crate) struct Cpu {
    pub(crate) seal_fuses: Secret<32>,
    pub(crate) report_key_seed: Secret<32>,
    pub(crate) tdx_report_key: Secret<32>,
    pub(crate) owner_epoch: [u8; 16],
    /// Bytes 0..8 are live components; 8..16 the marker of a simulated processor.
    pub(crate) cpusvn: [u8; 16],
    pub(crate) tee_tcb_svn: [u8; 16],
    pub(crate) mrseam: [u8; 48],
    pub(crate) mrsignerseam: [u8; 48],
    pub(crate) seam_attributes: [u8; 8],
}

impl Cpu {
    /// ENCLU[EGETKEY] in `enclave`.
    pub(crate) fn egetkey(
        &self,
        enclave: &EnclaveIdentity,
        request: &Keyrequest,
    ) -> Result<Secret<16>, Refusal> {
        let reserved = request.reserved1 != 0 || request.reserved2 != [0; 434];
        if reserved || request.keypolicy & !KEYPOLICY_KNOWN != 0 {
            return Err(GENERAL_PROTECTION);
        }
        let uses_kss = request.keypolicy & KEYPOLICY_KSS != 0 || request.configsvn != 0;
        if uses_kss && enclave.attributes.flags & flags::KSS == 0 {
            return Err(GENERAL_PROTECTION);
        }
        match request.keyname {
            KEYNAME_SEAL => self.seal_key(enclave, request),
            KEYNAME_REPORT => Ok(self.report_key(&enclave.targetinfo(), &request.keyid)),
            // No simulated enclave gets the attributes that these take.
            name if KEYNAMES_OF_ATTRIBUTES.contains(&name) => Err(Refusal::Status(status::INVALID_ATTRIBUTE)),
            _ => Err(Refusal::Status(status::INVALID_KEYNAME)),
        }
    }

    fn seal_key(&self, enclave: &EnclaveIdentity, request: &Keyrequest) -> Result<Secret<16>, Refusal> {
        if !reaches(&self.cpusvn, &request.cpusvn) {
            return Err(Refusal::Status(status::INVALID_CPUSVN));
        }
        if request.isvsvn > enclave.isv_svn || request.configsvn > enclave.config_svn {
            return Err(Refusal::Status(status::INVALID_ISVSVN));
        }
        let selected = |bit| request.keypolicy & bit != 0;
        let mask = request.attribute_mask;
        let forced = flags::INIT | flags::DEBUG;
        let dependencies = Dependencies {
            keyname: KEYNAME_SEAL,
            keypolicy: request.keypolicy,
            attributes: Attributes {
                flags: enclave.attributes.flags & (mask.flags | forced),
                xfrm: enclave.attributes.xfrm & mask.xfrm,
            },
            attribute_mask: mask,
            misc_select: enclave.misc_select & request.misc_mask,
            misc_mask: !request.misc_mask,
            cpusvn: request.cpusvn,
            isvsvn: request.isvsvn,
            isv_prod_id: if selected(KEYPOLICY_NOISVPRODID) { 0 } else { enclave.isv_prod_id },
            config_svn: if selected(KEYPOLICY_CONFIGID) { request.configsvn } else { 0 },
            config_id: kept(selected(KEYPOLICY_CONFIGID), &enclave.config_id),
            isv_family_id: kept(selected(KEYPOLICY_ISVFAMILYID), &enclave.isv_family_id),
            isv_ext_prod_id: kept(selected(KEYPOLICY_ISVEXTPRODID), &enclave.isv_ext_prod_id),
            mrenclave: kept(selected(KEYPOLICY_MRENCLAVE), &enclave.mrenclave),
            mrsigner: kept(selected(KEYPOLICY_MRSIGNER), &enclave.mrsigner),
            keyid: request.keyid,
            cet_mask: request.cet_attributes_mask,
        };
        Ok(dependencies.key(&self.seal_fuses, &self.owner_epoch))
    }

    /// The key of reports for `target`: of the current CPUSVN, without masks, policy or security versions.
    fn report_key(&self, target: &Targetinfo, keyid: &[u8; 32]) -> Secret<16> {
        let dependencies = Dependencies {
            keyname: KEYNAME_REPORT,
            keypolicy: 0,
            attributes: target.attributes,
            attribute_mask: Attributes { flags: 0, xfrm: 0 },
            misc_select: target.misc_select,
            misc_mask: 0,
            cpusvn: self.cpusvn,
            isvsvn: 0,
            isv_prod_id: 0,
            config_svn: target.config_svn,
            config_id: target.config_id,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
            mrenclave: target.mrenclave,
            mrsigner: [0; 32],
            keyid: *keyid,
            cet_mask: 0,
        };
        dependencies.key(&self.report_key_seed, &self.owner_epoch)
    }

    /// ENCLU[EREPORT] in `enclave`.
    pub(crate) fn ereport(
        &self,
        enclave: &EnclaveIdentity,
        target: &Targetinfo,
        report_data: &[u8; 64],
    ) -> Result<Report, Fault> {
        let reserved = target.reserved1 != 0 || target.reserved2 != [0; 8] || target.reserved3 != [0; 384];
        if reserved {
            return Err(Fault::GeneralProtection);
        }
        let body = enclave.report_body(&self.cpusvn, report_data);
        let keyid = hmac(self.report_key_seed.expose(), &[b"bulla-sim report keyid"]);
        let mac = cmac(&self.report_key(target, &keyid), body.as_bytes());
        Ok(Report { body, keyid, mac })
    }

    /// What an enclave does with a report for itself: EGETKEY of its report key, and the MAC over the body.
    pub(crate) fn is_report_for(&self, target: &EnclaveIdentity, report: &Report) -> bool {
        let request = Keyrequest { keyname: KEYNAME_REPORT, keyid: report.keyid, ..Keyrequest::new_zeroed() };
        let Ok(key) = self.egetkey(target, &request) else { return false };
        cmac::verify(&cmac_key(&key), report.body.as_bytes(), &report.mac).is_ok()
    }

    /// ENCLU[EVERIFYREPORT2].
    pub(crate) fn everifyreport2(&self, report: &ReportMac) -> Result<(), Refusal> {
        let known = matches!(report.report_type, [REPORT_TYPE_TDX, 0, 0 | 1, 0]);
        let reserved = report.reserved1 != [0; 12] || report.reserved2 != [0; 32];
        if !known || reserved {
            return Err(Refusal::Status(status::INVALID_REPORTMACSTRUCT));
        }
        if !reaches(&self.cpusvn, &report.cpusvn) {
            return Err(Refusal::Status(status::INVALID_CPUSVN));
        }
        if !hmac_verify(self.tdx_report_key.expose(), &[mac_covered(report)], &report.mac) {
            return Err(Refusal::Status(status::INVALID_REPORTMACSTRUCT));
        }
        Ok(())
    }

    /// TDG.MR.REPORT: the report of a guest, of version 0 as it has no service TD.
    pub(crate) fn tdreport(&self, td_info: &TdInfo, report_data: &[u8; 64]) -> TdReport {
        let tee_tcb_info = TeeTcbInfo {
            valid: TEE_TCB_INFO_VALID.into(),
            tee_tcb_svn: self.tee_tcb_svn,
            mrseam: self.mrseam,
            mrsignerseam: self.mrsignerseam,
            attributes: self.seam_attributes,
            tee_tcb_svn2: self.tee_tcb_svn,
            ..TeeTcbInfo::new_zeroed()
        };
        let mut report_mac = ReportMac {
            report_type: [REPORT_TYPE_TDX, 0, 0, 0],
            cpusvn: self.cpusvn,
            tee_tcb_info_hash: sha384(&[tee_tcb_info.as_bytes()]),
            tee_info_hash: sha384(&[td_info.as_bytes()]),
            report_data: *report_data,
            ..ReportMac::new_zeroed()
        };
        report_mac.mac = hmac(self.tdx_report_key.expose(), &[mac_covered(&report_mac)]);
        TdReport { report_mac, tee_tcb_info, td_info: *td_info, ..TdReport::new_zeroed() }
    }
}

/// Whether a processor at `current` gives keys of `requested`: every live component at most the current one, and the
/// rest equal. All zeroes is the lowest CPUSVN of any processor.
pub(crate) fn reaches(current: &[u8; 16], requested: &[u8; 16]) -> bool {
    let ((live, marker), (wanted, wanted_marker)) = (current.split_at(8), requested.split_at(8));
    *requested == [0; 16]
        || (marker == wanted_marker && wanted.iter().zip(live).all(|(want, have)| want <= have))
}

fn kept<const N: usize>(selected: bool, value: &[u8; N]) -> [u8; N] {
    if selected { *value } else { [0; N] }
}

/// The bytes of a REPORTMACSTRUCT before its MAC.
fn mac_covered(report: &ReportMac) -> &[u8] {
    let (covered, _) = report.as_bytes().split_at(core::mem::offset_of!(ReportMac, mac));
    covered
}

fn cmac(key: &Secret<16>, message: &[u8]) -> [u8; 16] {
    let tag = cmac::sign(&cmac_key(key), message).expect("CMAC takes a message of any length");
    let mut mac = [0; 16];
    mac.copy_from_slice(tag.as_ref());
    mac
}

fn cmac_key(key: &Secret<16>) -> cmac::Key {
    cmac::Key::new(cmac::AES_128, key.expose()).expect("AES-128 takes 16 bytes")
}

/// Everything that a key is a function of, besides the secret of the processor. `docs/spec/simulator.md` lists it byte
/// by byte.
struct Dependencies {
    keyname: u16,
    keypolicy: u16,
    attributes: Attributes,
    attribute_mask: Attributes,
    misc_select: u32,
    misc_mask: u32,
    cpusvn: [u8; 16],
    isvsvn: u16,
    isv_prod_id: u16,
    config_svn: u16,
    config_id: [u8; 64],
    isv_family_id: [u8; 16],
    isv_ext_prod_id: [u8; 16],
    mrenclave: [u8; 32],
    mrsigner: [u8; 32],
    keyid: [u8; 32],
    cet_mask: u8,
}

impl Dependencies {
    fn key(&self, fuses: &Secret<32>, owner_epoch: &[u8; 16]) -> Secret<16> {
        // CET attributes: simulated enclaves have none, so whatever the mask selects of them is zero.
        let cet_attributes = 0;
        let packed = hmac(
            fuses.expose(),
            &[
                &self.keyname.to_le_bytes(),
                &self.keypolicy.to_le_bytes(),
                &self.attributes.flags.to_le_bytes(),
                &self.attributes.xfrm.to_le_bytes(),
                &self.attribute_mask.flags.to_le_bytes(),
                &self.attribute_mask.xfrm.to_le_bytes(),
                &self.misc_select.to_le_bytes(),
                &self.misc_mask.to_le_bytes(),
                owner_epoch,
                &self.cpusvn,
                &self.isvsvn.to_le_bytes(),
                &self.isv_prod_id.to_le_bytes(),
                &self.config_svn.to_le_bytes(),
                &self.config_id,
                &self.isv_family_id,
                &self.isv_ext_prod_id,
                &self.mrenclave,
                &self.mrsigner,
                &self.keyid,
                &[cet_attributes, self.cet_mask],
            ],
        );
        let (key, _) = packed.split_at(16);
        Secret::fill_with(|out| out.copy_from_slice(key))
    }
}

/// Whether an operand is where its leaf wants it.
pub(crate) fn operand_fault(address: u64, alignment: u64) -> Option<Fault> {
    // Linux never maps the lowest pages (vm.mmap_min_addr).
    const FIRST_PAGE_END: u64 = 4096;
    let canonical = address < 1 << 47;
    if !canonical || !address.is_multiple_of(alignment) {
        return Some(Fault::GeneralProtection);
    }
    (address < FIRST_PAGE_END).then_some(Fault::PageFault)
}

impl EnclaveIdentity {
    /// This enclave as the target of a report.
    pub(crate) fn targetinfo(&self) -> Targetinfo {
        Targetinfo {
            mrenclave: self.mrenclave,
            attributes: self.attributes,
            config_svn: self.config_svn,
            misc_select: self.misc_select,
            config_id: self.config_id,
            ..Targetinfo::new_zeroed()
        }
    }

    pub(crate) fn report_body(&self, cpusvn: &[u8; 16], report_data: &[u8; 64]) -> ReportBody {
        ReportBody {
            cpusvn: *cpusvn,
            misc_select: self.misc_select,
            isv_ext_prod_id: self.isv_ext_prod_id,
            attributes: self.attributes,
            mrenclave: self.mrenclave,
            mrsigner: self.mrsigner,
            config_id: self.config_id,
            isv_prod_id: self.isv_prod_id,
            isv_svn: self.isv_svn,
            config_svn: self.config_svn,
            isv_family_id: self.isv_family_id,
            report_data: *report_data,
            ..ReportBody::new_zeroed()
        }
    }
}

#[cfg(test)]
mod tests;
