//! The TDX module of a simulated machine.

use bulla_crypto::sha384;

use crate::machine::marked;

/// A TDX module, as TDREPORTs and quotes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TdxModule {
    /// Its major version, by which the vendor lists modules: only 1 is listed.
    pub major: u8,
    /// Its minor version (ISVSVN), which rises with security updates.
    pub minor: u8,
    /// MRSIGNERSEAM: zero for the vendor's.
    pub mrsigner: [u8; 48],
    /// SEAMATTRIBUTES: zero for a module that cannot be debugged.
    pub attributes: [u8; 8],
}

impl TdxModule {
    /// That of a new machine.
    pub(crate) const INITIAL: Self = Self::new(1, 5);

    /// The vendor's module of this version.
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor, mrsigner: [0; 48], attributes: [0; 8] }
    }

    /// TEE_TCB_SVN: minor, major, last patch 2.
    pub(crate) const fn tee_tcb_svn(&self) -> [u8; 16] {
        marked([self.minor, self.major, 2, 0, 0, 0, 0, 0])
    }

    pub(crate) fn mrseam(&self) -> [u8; 48] {
        if *self == Self::INITIAL {
            return sha384(&[b"bulla simulated TDX module"]);
        }
        sha384(&[b"bulla simulated TDX module", &[self.major, self.minor], &self.mrsigner, &self.attributes])
    }
}
