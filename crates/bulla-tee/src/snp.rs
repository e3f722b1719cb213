//! The bits of SEV-SNP's registers (AMD SEV-SNP Firmware ABI specification, 56860).

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
