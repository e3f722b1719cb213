//! The architectural structures of SGX, byte for byte (Intel SDM vol. 3D, chapter "Enclave Control Structures").
//!
//! All integers are little-endian. The layouts are asserted at compile time at the end of this file.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// KEYNAME of a sealing key.
pub const KEYNAME_SEAL: u16 = 4;

/// KEYPOLICY bit 0: the key is bound to MRENCLAVE.
pub const KEYPOLICY_MRENCLAVE: u16 = 1 << 0;
/// KEYPOLICY bit 1: the key is bound to MRSIGNER.
pub const KEYPOLICY_MRSIGNER: u16 = 1 << 1;
/// KEYPOLICY bit 2: the key is not bound to ISVPRODID.
pub const KEYPOLICY_NOISVPRODID: u16 = 1 << 2;
/// KEYPOLICY bit 3: the key is bound to CONFIGID, and to the CONFIGSVN of the request.
pub const KEYPOLICY_CONFIGID: u16 = 1 << 3;
/// KEYPOLICY bit 4: the key is bound to ISVFAMILYID.
pub const KEYPOLICY_ISVFAMILYID: u16 = 1 << 4;
/// KEYPOLICY bit 5: the key is bound to ISVEXTPRODID.
pub const KEYPOLICY_ISVEXTPRODID: u16 = 1 << 5;
/// KEYPOLICY bits that need ATTRIBUTES.KSS; without it they fault.
pub const KEYPOLICY_KSS: u16 =
    KEYPOLICY_NOISVPRODID | KEYPOLICY_CONFIGID | KEYPOLICY_ISVFAMILYID | KEYPOLICY_ISVEXTPRODID;

/// ATTRIBUTES flags.
pub mod flags {
    /// Set by EINIT.
    pub const INIT: u64 = 1 << 0;
    /// A debugger may look inside.
    pub const DEBUG: u64 = 1 << 1;
    /// Runs in 64-bit mode.
    pub const MODE64BIT: u64 = 1 << 2;
    /// May derive provisioning keys.
    pub const PROVISION_KEY: u64 = 1 << 4;
    /// Key separation and sharing: the enclave has CONFIGID, family and extended product ids.
    pub const KSS: u64 = 1 << 7;
}

/// ATTRIBUTES: enclave flags and the extended features (XFRM) it runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Attributes {
    /// See [`flags`].
    pub flags: u64,
    /// XFRM, as in XCR0.
    pub xfrm: u64,
}

/// KEYREQUEST, 512 bytes, the operand of EGETKEY.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Keyrequest {
    /// Which key; [`KEYNAME_SEAL`] is the only one used here.
    pub keyname: u16,
    /// What the key is bound to: `KEYPOLICY_*`.
    pub keypolicy: u16,
    /// At most the enclave's current ISVSVN.
    pub isvsvn: u16,
    /// Which CET attributes enter the key.
    pub cet_attributes_mask: u8,
    /// Must be zero.
    pub reserved1: u8,
    /// At most the processor's current CPUSVN; opaque.
    pub cpusvn: [u8; 16],
    /// Which attributes enter the key; the mask itself does too.
    pub attribute_mask: Attributes,
    /// Chosen by the caller, 32 fresh random bytes for each sealing (R2).
    pub keyid: [u8; 32],
    /// Which MISCSELECT bits enter the key; the mask itself does too.
    pub misc_mask: u32,
    /// At most the enclave's current CONFIGSVN; above zero needs KSS.
    pub configsvn: u16,
    /// Must be zero.
    pub reserved2: [u8; 434],
}

/// The body of a REPORT and of an SGX quote, 384 bytes.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReportBody {
    /// The processor's security version; opaque.
    pub cpusvn: [u8; 16],
    /// Extra state saved on exits.
    pub misc_select: u32,
    /// Control-flow enforcement attributes.
    pub cet_attributes: u8,
    /// Zero.
    pub reserved1: [u8; 11],
    /// Extended product id, of KSS enclaves.
    pub isv_ext_prod_id: [u8; 16],
    /// Flags and XFRM.
    pub attributes: Attributes,
    /// The measurement: SHA-256 of the enclave's construction.
    pub mrenclave: [u8; 32],
    /// Zero.
    pub reserved2: [u8; 32],
    /// SHA-256 of the signer's public key.
    pub mrsigner: [u8; 32],
    /// Zero.
    pub reserved3: [u8; 32],
    /// Chosen by the loader, of KSS enclaves.
    pub config_id: [u8; 64],
    /// The signer's number of this product.
    pub isv_prod_id: u16,
    /// The signer's security version of this product.
    pub isv_svn: u16,
    /// Chosen by the loader, of KSS enclaves.
    pub config_svn: u16,
    /// Zero.
    pub reserved4: [u8; 42],
    /// Family id, of KSS enclaves.
    pub isv_family_id: [u8; 16],
    /// 64 bytes of the reporting enclave's choice.
    pub report_data: [u8; 64],
}

/// REPORT, 432 bytes, the result of EREPORT.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// What the MAC covers.
    pub body: ReportBody,
    /// The KEYID of the target's report key.
    pub keyid: [u8; 32],
    /// AES-128-CMAC over the body under the target's report key.
    pub mac: [u8; 16],
}

/// TARGETINFO, 512 bytes: for whom a REPORT is made.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Targetinfo {
    /// MRENCLAVE of the target.
    pub mrenclave: [u8; 32],
    /// ATTRIBUTES of the target.
    pub attributes: Attributes,
    /// CET attributes of the target.
    pub cet_attributes: u8,
    /// Must be zero.
    pub reserved1: u8,
    /// CONFIGSVN of the target.
    pub config_svn: u16,
    /// MISCSELECT of the target.
    pub misc_select: u32,
    /// Must be zero.
    pub reserved2: [u8; 8],
    /// CONFIGID of the target.
    pub config_id: [u8; 64],
    /// Must be zero.
    pub reserved3: [u8; 384],
}

/// REPORTMACSTRUCT, 256 bytes: the part of a TDREPORT that carries the MAC, and the operand of EVERIFYREPORT2.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReportMac {
    /// Type 0x81 (TDX), subtype 0, version, 0.
    pub report_type: [u8; 4],
    /// Zero.
    pub reserved1: [u8; 12],
    /// The processor's CPUSVN.
    pub cpusvn: [u8; 16],
    /// SHA-384 of TEE_TCB_INFO; the verifier recomputes it (R35).
    pub tee_tcb_info_hash: [u8; 48],
    /// SHA-384 of TDINFO; the verifier recomputes it (R35).
    pub tee_info_hash: [u8; 48],
    /// 64 bytes of the guest's choice.
    pub report_data: [u8; 64],
    /// Zero.
    pub reserved2: [u8; 32],
    /// MAC of the bytes before it, under a key that only this processor has.
    pub mac: [u8; 32],
}

/// SIGSTRUCT, 1808 bytes: what the signer of an enclave signed, as the `.sig` file of a build holds it.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sigstruct {
    /// [`SIGSTRUCT_HEADER`].
    pub header: [u8; 16],
    /// Vendor, date, a second constant header, SWDEFINED and zeros.
    pub reserved1: [u8; 112],
    /// The signer's RSA-3072 modulus; its SHA-256 is MRSIGNER.
    pub modulus: [u8; 384],
    /// Public exponent and signature.
    pub signature: [u8; 388],
    /// MISCSELECT with its mask, CET attributes with theirs, and zeros.
    pub reserved2: [u8; 12],
    /// ISVFAMILYID, of KSS enclaves.
    pub isv_family_id: [u8; 16],
    /// What the attributes have to be.
    pub attributes: Attributes,
    /// Which of them.
    pub attribute_mask: Attributes,
    /// MRENCLAVE.
    pub enclave_hash: [u8; 32],
    /// Zero.
    pub reserved3: [u8; 16],
    /// ISVEXTPRODID, of KSS enclaves.
    pub isv_ext_prod_id: [u8; 16],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// Zeros, and two numbers that help to check the signature.
    pub reserved4: [u8; 780],
}

/// The first bytes of a [`Sigstruct`].
pub const SIGSTRUCT_HEADER: [u8; 16] = [6, 0, 0, 0, 0xE1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Keyrequest>() == 512);
    assert!(offset_of!(Keyrequest, keypolicy) == 2 && offset_of!(Keyrequest, isvsvn) == 4);
    assert!(offset_of!(Keyrequest, cet_attributes_mask) == 6 && offset_of!(Keyrequest, cpusvn) == 8);
    assert!(offset_of!(Keyrequest, attribute_mask) == 24 && offset_of!(Keyrequest, keyid) == 40);
    assert!(offset_of!(Keyrequest, misc_mask) == 72 && offset_of!(Keyrequest, configsvn) == 76);
    assert!(offset_of!(Keyrequest, reserved2) == 78);

    assert!(size_of::<ReportBody>() == 384);
    assert!(offset_of!(ReportBody, misc_select) == 16 && offset_of!(ReportBody, cet_attributes) == 20);
    assert!(offset_of!(ReportBody, isv_ext_prod_id) == 32 && offset_of!(ReportBody, attributes) == 48);
    assert!(offset_of!(ReportBody, mrenclave) == 64 && offset_of!(ReportBody, mrsigner) == 128);
    assert!(offset_of!(ReportBody, config_id) == 192 && offset_of!(ReportBody, isv_prod_id) == 256);
    assert!(offset_of!(ReportBody, isv_svn) == 258 && offset_of!(ReportBody, config_svn) == 260);
    assert!(offset_of!(ReportBody, isv_family_id) == 304 && offset_of!(ReportBody, report_data) == 320);

    assert!(size_of::<Sigstruct>() == 1808);
    assert!(offset_of!(Sigstruct, modulus) == 128 && offset_of!(Sigstruct, isv_family_id) == 912);
    assert!(offset_of!(Sigstruct, attributes) == 928 && offset_of!(Sigstruct, enclave_hash) == 960);
    assert!(offset_of!(Sigstruct, isv_ext_prod_id) == 1008 && offset_of!(Sigstruct, isv_prod_id) == 1024);
    assert!(offset_of!(Sigstruct, isv_svn) == 1026);

    assert!(size_of::<Report>() == 432);
    assert!(offset_of!(Report, keyid) == 384 && offset_of!(Report, mac) == 416);

    assert!(size_of::<Targetinfo>() == 512);
    assert!(offset_of!(Targetinfo, attributes) == 32 && offset_of!(Targetinfo, cet_attributes) == 48);
    assert!(offset_of!(Targetinfo, config_svn) == 50 && offset_of!(Targetinfo, misc_select) == 52);
    assert!(offset_of!(Targetinfo, config_id) == 64 && offset_of!(Targetinfo, reserved3) == 128);

    assert!(size_of::<ReportMac>() == 256);
    assert!(offset_of!(ReportMac, cpusvn) == 16 && offset_of!(ReportMac, tee_tcb_info_hash) == 32);
    assert!(offset_of!(ReportMac, tee_info_hash) == 80 && offset_of!(ReportMac, report_data) == 128);
    assert!(offset_of!(ReportMac, mac) == 224);
};
