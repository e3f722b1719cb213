//! The architectural structures of TDX, byte for byte (Intel TDX Module ABI specification; DCAP quote headers).
//!
//! Integers are little-endian. The layouts are asserted at compile time at the end of this file.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::sgx::arch::ReportMac;

/// TD ATTRIBUTES bits.
pub mod attributes {
    /// The group of bits that make a TD untrusted, DEBUG among them (bits 7:0).
    pub const TUD: u64 = 0xFF;
    /// A debugger may look inside.
    pub const DEBUG: u64 = 1 << 0;
    /// The guest cannot be tricked by pages that the host takes away.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// A service TD may move the guest to another machine.
    pub const MIGRATABLE: u64 = 1 << 29;
    /// Performance counters are on.
    pub const PERFMON: u64 = 1 << 63;
}

/// TEE_TCB_INFO, 239 bytes of a TDREPORT.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TeeTcbInfo {
    /// Which fields are valid.
    pub valid: U64,
    /// Security versions of the module that created the TD: minor, major, last patch.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mrseam: [u8; 48],
    /// Signer of the TDX module; zero for Intel's.
    pub mrsignerseam: [u8; 48],
    /// Zero.
    pub attributes: [u8; 8],
    /// Security versions of the module that runs now.
    pub tee_tcb_svn2: [u8; 16],
    /// Zero.
    pub reserved: [u8; 95],
}

/// TDINFO, 512 bytes of a TDREPORT: who the guest is.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TdInfo {
    /// See [`attributes`].
    pub attributes: U64,
    /// Extended features the guest runs with.
    pub xfam: U64,
    /// Measurement of the initial memory.
    pub mrtd: [u8; 48],
    /// Chosen by the host at creation.
    pub mrconfigid: [u8; 48],
    /// Chosen by the host at creation.
    pub mrowner: [u8; 48],
    /// Chosen by the host at creation.
    pub mrownerconfig: [u8; 48],
    /// Run-time measurement registers 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// Hash of the service TDs.
    pub servtd_hash: [u8; 48],
    /// Zero.
    pub reserved: [u8; 64],
}

/// TDREPORT, 1024 bytes.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TdReport {
    /// The part that EVERIFYREPORT2 checks.
    pub report_mac: ReportMac,
    /// The module; covered by `report_mac.tee_tcb_info_hash`.
    pub tee_tcb_info: TeeTcbInfo,
    /// Zero.
    pub reserved: [u8; 17],
    /// The guest; covered by `report_mac.tee_info_hash`.
    pub td_info: TdInfo,
}

/// KEYPOLICY: include MRTD.
pub const KEYPOLICY_MRTD: u64 = 1 << 0;
/// KEYPOLICY: include RTMR0; the bits of the others follow.
pub const KEYPOLICY_RTMR0: u64 = 1 << 32;

/// TDKEYREQUEST, 128 bytes: the operand of TDG.MR.KEY.GET.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TdKeyRequest {
    /// 0: a sealing key.
    pub keyname: U16,
    /// Of the caller's choice.
    pub sw_keyname: u8,
    /// In the module's source a bitmap (bit 0: 128 bits), in revision 0.7 of the specification a number (1: 256 bits).
    pub keysize: u8,
    /// Zero.
    pub reserved1: [u8; 4],
    /// Which registers enter the key.
    pub keypolicy: U64,
    /// Which ATTRIBUTES enter the key.
    pub attributes_mask: U64,
    /// Which bits of XFAM enter the key.
    pub xfam_mask: U64,
    /// At most the current one.
    pub cpusvn: [u8; 16],
    /// At most the current one.
    pub tee_tcb_svn: [u8; 16],
    /// Of signed guests.
    pub isvsvn: U16,
    /// Of signed guests.
    pub mrconfigsvn: U16,
    /// Of signed guests.
    pub mrownerconfigsvn: U16,
    /// Of the caller's choice.
    pub salt: [u8; 32],
    /// Zero.
    pub reserved2: [u8; 26],
}

/// The header of a DCAP quote, 48 bytes.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QuoteHeader {
    /// 3, 4 or 5.
    pub version: [u8; 2],
    /// 2: ECDSA over P-256.
    pub attestation_key_type: [u8; 2],
    /// 0 SGX, 0x81 TDX; version 3 has reserved bytes here.
    pub tee_type: [u8; 4],
    /// Version 3: SVN of the quoting enclave and of the PCE. Later: zero.
    pub svns: [u8; 4],
    /// Intel's quoting enclave.
    pub vendor_id: [u8; 16],
    /// QE ID and four zero bytes. The host chooses it, so it decides nothing (R36).
    pub user_data: [u8; 20],
}

/// The body of a TDX 1.0 quote, 584 bytes.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TdQuoteBody {
    /// Security versions of the module.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mrseam: [u8; 48],
    /// Signer of the TDX module; zero for Intel's.
    pub mrsignerseam: [u8; 48],
    /// Zero.
    pub seam_attributes: [u8; 8],
    /// See [`attributes`].
    pub attributes: U64,
    /// Extended features the guest runs with.
    pub xfam: U64,
    /// Measurement of the initial memory.
    pub mrtd: [u8; 48],
    /// Chosen by the host at creation.
    pub mrconfigid: [u8; 48],
    /// Chosen by the host at creation.
    pub mrowner: [u8; 48],
    /// Chosen by the host at creation.
    pub mrownerconfig: [u8; 48],
    /// Run-time measurement registers 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// 64 bytes of the guest's choice.
    pub report_data: [u8; 64],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<TeeTcbInfo>() == 239);
    assert!(offset_of!(TeeTcbInfo, tee_tcb_svn) == 8 && offset_of!(TeeTcbInfo, mrseam) == 24);
    assert!(offset_of!(TeeTcbInfo, mrsignerseam) == 72 && offset_of!(TeeTcbInfo, attributes) == 120);
    assert!(offset_of!(TeeTcbInfo, tee_tcb_svn2) == 128);

    assert!(size_of::<TdReport>() == 1024 && size_of::<TdInfo>() == 512);
    assert!(offset_of!(TdReport, tee_tcb_info) == 256 && offset_of!(TdReport, td_info) == 512);
    assert!(offset_of!(TdInfo, xfam) == 8 && offset_of!(TdInfo, mrtd) == 16);
    assert!(offset_of!(TdInfo, mrconfigid) == 64 && offset_of!(TdInfo, mrowner) == 112);
    assert!(offset_of!(TdInfo, mrownerconfig) == 160 && offset_of!(TdInfo, rtmr) == 208);
    assert!(offset_of!(TdInfo, servtd_hash) == 400);

    assert!(size_of::<TdKeyRequest>() == 128);
    assert!(offset_of!(TdKeyRequest, sw_keyname) == 2 && offset_of!(TdKeyRequest, keysize) == 3);
    assert!(offset_of!(TdKeyRequest, keypolicy) == 8 && offset_of!(TdKeyRequest, attributes_mask) == 16);
    assert!(offset_of!(TdKeyRequest, xfam_mask) == 24 && offset_of!(TdKeyRequest, cpusvn) == 32);
    assert!(offset_of!(TdKeyRequest, tee_tcb_svn) == 48 && offset_of!(TdKeyRequest, isvsvn) == 64);
    assert!(offset_of!(TdKeyRequest, mrconfigsvn) == 66 && offset_of!(TdKeyRequest, mrownerconfigsvn) == 68);
    assert!(offset_of!(TdKeyRequest, salt) == 70 && offset_of!(TdKeyRequest, reserved2) == 102);

    assert!(size_of::<QuoteHeader>() == 48);
    assert!(offset_of!(QuoteHeader, vendor_id) == 12 && offset_of!(QuoteHeader, user_data) == 28);

    assert!(size_of::<TdQuoteBody>() == 584);
    assert!(offset_of!(TdQuoteBody, mrseam) == 16 && offset_of!(TdQuoteBody, mrsignerseam) == 64);
    assert!(offset_of!(TdQuoteBody, seam_attributes) == 112 && offset_of!(TdQuoteBody, attributes) == 120);
    assert!(offset_of!(TdQuoteBody, xfam) == 128 && offset_of!(TdQuoteBody, mrtd) == 136);
    assert!(offset_of!(TdQuoteBody, mrconfigid) == 184 && offset_of!(TdQuoteBody, mrowner) == 232);
    assert!(offset_of!(TdQuoteBody, mrownerconfig) == 280 && offset_of!(TdQuoteBody, rtmr) == 328);
    assert!(offset_of!(TdQuoteBody, report_data) == 520);
};
