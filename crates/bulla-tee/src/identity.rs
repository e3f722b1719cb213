//! Who is running: the registers that a machine reports.

use crate::sgx::arch::{Attributes, ReportBody};

/// The bytes 8..16 of a simulated processor's CPUSVN and of a simulated TDX module's TEE_TCB_SVN (R15, R110).
///
/// Real security versions are small numbers there, so simulated evidence cannot pass for a real machine's, nor a real
/// machine's for simulated.
pub const SIMULATED_MARKER: [u8; 8] = *b"SIMULATE";

/// Whether a CPUSVN or TEE_TCB_SVN carries [`SIMULATED_MARKER`].
pub fn is_simulated(svn: &[u8; 16]) -> bool {
    svn.last_chunk() == Some(&SIMULATED_MARKER)
}

/// Who is running, as the machine itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// An SGX enclave.
    Sgx(Box<SgxIdentity>),
    /// A TDX guest.
    Tdx(Box<TdxIdentity>),
}

impl Identity {
    /// The kind of machine.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Sgx(_) => "sgx",
            Self::Tdx(_) => "tdx",
        }
    }

    /// Whether it is that of a simulated machine.
    pub fn is_simulated(&self) -> bool {
        match self {
            Self::Sgx(enclave) => is_simulated(&enclave.cpusvn),
            Self::Tdx(guest) => is_simulated(&guest.tee_tcb_svn),
        }
    }
}

/// An SGX enclave: what its REPORT says (Intel SDM vol. 3D, REPORT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgxIdentity {
    /// The measurement.
    pub mrenclave: [u8; 32],
    /// The signer: SHA-256 of its public key.
    pub mrsigner: [u8; 32],
    /// The signer's number of this product.
    pub isv_prod_id: u16,
    /// The signer's security version of this product.
    pub isv_svn: u16,
    /// The processor's security version; opaque.
    pub cpusvn: [u8; 16],
    /// Flags and XFRM.
    pub attributes: Attributes,
    /// Extra state saved on exits.
    pub misc_select: u32,
    /// Chosen by the loader; zero without KSS.
    pub config_id: [u8; 64],
    /// Chosen by the loader; zero without KSS.
    pub config_svn: u16,
    /// Zero without KSS.
    pub isv_family_id: [u8; 16],
    /// Zero without KSS.
    pub isv_ext_prod_id: [u8; 16],
}

impl From<&ReportBody> for SgxIdentity {
    fn from(body: &ReportBody) -> Self {
        Self {
            mrenclave: body.mrenclave,
            mrsigner: body.mrsigner,
            isv_prod_id: body.isv_prod_id,
            isv_svn: body.isv_svn,
            cpusvn: body.cpusvn,
            attributes: body.attributes,
            misc_select: body.misc_select,
            config_id: body.config_id,
            config_svn: body.config_svn,
            isv_family_id: body.isv_family_id,
            isv_ext_prod_id: body.isv_ext_prod_id,
        }
    }
}

/// A TDX guest: what its TDREPORT or quote says (Intel TDX Module ABI specification).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxIdentity {
    /// The measurement of the initial memory.
    pub mrtd: [u8; 48],
    /// Run-time measurement registers 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// Chosen by the host at creation.
    pub mrconfigid: [u8; 48],
    /// Chosen by the host at creation.
    pub mrowner: [u8; 48],
    /// Chosen by the host at creation.
    pub mrownerconfig: [u8; 48],
    /// Hash of the service TDs; zero where there are none, and in TDX 1.0 evidence.
    pub mrservicetd: [u8; 48],
    /// See [`crate::tdx::attributes`].
    pub attributes: u64,
    /// Extended features the guest runs with.
    pub xfam: u64,
    /// Security versions of the TDX module: minor, major, last patch. Never an input of a key.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module. Never an input of a key.
    pub mrseam: [u8; 48],
}
