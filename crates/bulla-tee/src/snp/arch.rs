//! The architectural structures of SEV-SNP, byte for byte (AMD SEV-SNP Firmware ABI specification, 56860).
//!
//! The layout is asserted at compile time at the end of this file.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The versions of reports that are known here.
pub const VERSIONS: [u32; 3] = [2, 3, 5];

/// GUEST_POLICY bits: what a guest's owner lets the host do, fixed at launch.
pub mod policy {
    /// The lowest firmware interface that the guest may run under: minor version in bits 7:0, major in 15:8.
    pub const ABI: u64 = 0xFFFF;
    /// Simultaneous multithreading may be on.
    pub const SMT: u64 = 1 << 16;
    /// Always one.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// A migration agent may move the guest to another machine.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may look inside.
    pub const DEBUG: u64 = 1 << 19;
    /// The guest runs on one processor package only.
    pub const SINGLE_SOCKET: u64 = 1 << 20;
    /// Memory devices on CXL may be used.
    pub const CXL_ALLOW: u64 = 1 << 21;
    /// Memory is encrypted with AES-256-XTS.
    pub const MEM_AES_256_XTS: u64 = 1 << 22;
    /// The host cannot measure the energy that the guest uses.
    pub const RAPL_DISABLED: u64 = 1 << 23;
    /// The host cannot read the guest's ciphertext.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 24;
    /// The host cannot swap the guest's pages out.
    pub const PAGE_SWAP_DISABLED: u64 = 1 << 25;
    /// Every bit that has a meaning; all others must be zero.
    pub const KNOWN: u64 = (1 << 26) - 1;
}

/// PLATFORM_INFO bits: what the machine has switched on when it makes a report.
pub mod platform {
    /// Simultaneous multithreading.
    pub const SMT: u64 = 1 << 0;
    /// Transparent memory encryption.
    pub const TSME: u64 = 1 << 1;
    /// Memory corrects errors.
    pub const ECC: u64 = 1 << 2;
    /// The energy that guests use cannot be measured.
    pub const RAPL_DISABLED: u64 = 1 << 3;
    /// Ciphertext is hidden from the host.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 4;
    /// The machine checked after boot that no two addresses name the same memory (AMD-SB-3015).
    pub const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;
    /// Devices can be assigned to guests in private (SEV-TIO).
    pub const TIO: u64 = 1 << 7;
    /// Every bit that has a meaning.
    pub const KNOWN: u64 = 0b1011_1111;
}

/// KEY_INFO bits of an attestation report.
pub mod key_info {
    /// The ID key was certified by an author key.
    pub const AUTHOR_KEY: u32 = 1 << 0;
    /// The machine's administrator has the chip's keys hidden: the report is not signed.
    pub const MASK_CHIP_KEY: u32 = 1 << 1;
    /// Which key signed, in bits 4:2: 0 the chip's (VCEK), 1 the provider's (VLEK), 7 none.
    pub const SIGNING_KEY: u32 = 0b111 << 2;
    /// Every bit that has a meaning; all others are zero.
    pub const KNOWN: u32 = 0b1_1111;
}

/// An attestation report, 1184 bytes (ATTESTATION_REPORT). Integers are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// One of [`VERSIONS`].
    pub version: U32,
    /// From the ID block, or chosen by the host.
    pub guest_svn: U32,
    /// See [`policy`].
    pub policy: U64,
    /// From the ID block, or chosen by the host.
    pub family_id: [u8; 16],
    /// From the ID block, or chosen by the host.
    pub image_id: [u8; 16],
    /// The privilege level that asked; all ones where the host asked.
    pub vmpl: U32,
    /// 1: ECDSA over P-384 with SHA-384.
    pub signature_algo: U32,
    /// The TCB that runs; its layout depends on the processor.
    pub current_tcb: [u8; 8],
    /// See [`platform`].
    pub platform_info: U64,
    /// See [`key_info`].
    pub key_info: U32,
    /// Zero.
    pub reserved0: [u8; 4],
    /// 64 bytes of the guest's choice.
    pub report_data: [u8; 64],
    /// The measurement of the initial memory.
    pub measurement: [u8; 48],
    /// Chosen by the host at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the ID block.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the ID key.
    pub author_key_digest: [u8; 48],
    /// Names this guest.
    pub report_id: [u8; 32],
    /// Names its migration agent.
    pub report_id_ma: [u8; 32],
    /// The TCB that the signing key is for.
    pub reported_tcb: [u8; 8],
    /// Family, model and stepping; zero before version 3.
    pub cpuid: [u8; 3],
    /// Zero.
    pub reserved1: [u8; 21],
    /// Names the processor.
    pub chip_id: [u8; 64],
    /// The TCB that the machine cannot go below.
    pub committed_tcb: [u8; 8],
    /// Build, minor and major version of the firmware that runs.
    pub current_version: [u8; 3],
    /// Zero.
    pub reserved2: u8,
    /// Build, minor and major version of the firmware that is committed.
    pub committed_version: [u8; 3],
    /// Zero.
    pub reserved3: u8,
    /// The current TCB when the guest was launched or moved here.
    pub launch_tcb: [u8; 8],
    /// Mitigations when the guest was launched; zero before version 5.
    pub launch_mitigations: U64,
    /// Mitigations now; zero before version 5.
    pub current_mitigations: U64,
    /// Zero.
    pub reserved4: [u8; 152],
    /// Of the signature over everything before it; the last 24 bytes are zero.
    pub signature_r: [u8; 72],
    /// As `signature_r`.
    pub signature_s: [u8; 72],
    /// Zero.
    pub reserved5: [u8; 368],
}

/// The request of a key (MSG_KEY_REQ), 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KeyReq {
    /// Bit 0: the guest's migration root instead of the machine's; bits 2:1: 0 the VLEK if there is one, else the VCEK,
    /// 1 the VCEK, 2 the VLEK.
    pub root_key_select: U32,
    /// Zero.
    pub reserved: [u8; 4],
    /// See [`field`].
    pub guest_field_select: U64,
    /// The privilege level that enters the key; none above that of who asks.
    pub vmpl: U32,
    /// The SVN that enters the key; at most the guest's.
    pub guest_svn: U32,
    /// The TCB that enters the key, and that the VCEK is of; no part of it above the committed one.
    pub tcb_version: [u8; 8],
}

/// GUEST_FIELD_SELECT bits of a key's request: what of the guest enters the key. HOST_DATA, and the digest of the author key
/// or else of the ID key, always do.
pub mod field {
    /// The guest's policy.
    pub const POLICY: u64 = 1 << 0;
    /// The ID block's IMAGE_ID.
    pub const IMAGE_ID: u64 = 1 << 1;
    /// The ID block's FAMILY_ID.
    pub const FAMILY_ID: u64 = 1 << 2;
    /// The first 32 bytes of the measurement.
    pub const MEASUREMENT: u64 = 1 << 3;
    /// The SVN that the request names.
    pub const GUEST_SVN: u64 = 1 << 4;
    /// The TCB that the request names. Without it, keys change with the TCB that the host reports.
    pub const TCB_VERSION: u64 = 1 << 5;
}

/// STATUS in the firmware's answers.
pub mod status {
    /// The request is not valid, or names what is above the guest's privilege level, its SVN or the committed TCB.
    pub const INVALID_PARAM: u32 = 0x16;
    /// The key that the request selects is not there, or is hidden.
    pub const INVALID_KEY: u32 = 0x27;
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Report>() == 1184);
    assert!(offset_of!(Report, vmpl) == 0x30 && offset_of!(Report, signature_algo) == 0x34);
    assert!(offset_of!(Report, current_tcb) == 0x38 && offset_of!(Report, platform_info) == 0x40);
    assert!(offset_of!(Report, key_info) == 0x48 && offset_of!(Report, report_data) == 0x50);
    assert!(offset_of!(Report, measurement) == 0x90 && offset_of!(Report, host_data) == 0xC0);
    assert!(offset_of!(Report, id_key_digest) == 0xE0 && offset_of!(Report, author_key_digest) == 0x110);
    assert!(offset_of!(Report, report_id) == 0x140 && offset_of!(Report, report_id_ma) == 0x160);
    assert!(offset_of!(Report, reported_tcb) == 0x180 && offset_of!(Report, cpuid) == 0x188);
    assert!(offset_of!(Report, chip_id) == 0x1A0 && offset_of!(Report, committed_tcb) == 0x1E0);
    assert!(offset_of!(Report, current_version) == 0x1E8 && offset_of!(Report, committed_version) == 0x1EC);
    assert!(offset_of!(Report, launch_tcb) == 0x1F0 && offset_of!(Report, launch_mitigations) == 0x1F8);
    assert!(offset_of!(Report, current_mitigations) == 0x200 && offset_of!(Report, signature_r) == 0x2A0);
    assert!(offset_of!(Report, signature_s) == 0x2E8);

    assert!(size_of::<KeyReq>() == 32 && offset_of!(KeyReq, guest_field_select) == 8);
    assert!(offset_of!(KeyReq, vmpl) == 16 && offset_of!(KeyReq, guest_svn) == 20);
    assert!(offset_of!(KeyReq, tcb_version) == 24);
};
