//! Who is running: the registers that a machine reports.

use std::fmt;

use crate::Error;
use crate::sgx::arch::{Attributes, ReportBody};
use crate::tpm::TpmIdentity;

/// The bytes 8..16 of a simulated processor's CPUSVN and of a simulated TDX module's TEE_TCB_SVN, and the last ones of a
/// simulated SEV-SNP machine's CHIP_ID (R15, R110).
///
/// Real security versions are small numbers there, and real chips are named by chance, so simulated evidence cannot pass for a real machine's, nor a real
/// machine's for simulated.
pub const SIMULATED_MARKER: [u8; 8] = *b"SIMULATE";

/// Whether the CHIP_ID of a SEV-SNP report ends with [`SIMULATED_MARKER`]. Real ones are random there, or zero on families
/// with shorter ones.
pub fn is_simulated_chip(chip_id: &[u8; 64]) -> bool {
    chip_id.last_chunk() == Some(&SIMULATED_MARKER)
}

/// Whether a CPUSVN or TEE_TCB_SVN carries [`SIMULATED_MARKER`].
pub fn is_simulated(svn: &[u8; 16]) -> bool {
    svn.last_chunk() == Some(&SIMULATED_MARKER)
}

/// R15: what was sealed on a simulated processor is for one, and nothing else is.
pub(crate) fn same_kind_of_processor(recorded: &[u8; 16], present: &[u8; 16]) -> Result<(), Error> {
    let name = |svn| if is_simulated(svn) { "simulated" } else { "real" };
    match (name(recorded), name(present)) {
        (wanted, found) if wanted == found => Ok(()),
        (wanted, found) => Err(Error::WrongBackend { wanted, found }),
    }
}

/// Who is running, as the machine itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// An SGX enclave.
    Sgx(Box<SgxIdentity>),
    /// A TDX guest.
    Tdx(Box<TdxIdentity>),
    /// A SEV-SNP guest.
    Snp(Box<SnpIdentity>),
    /// A machine with a TPM.
    Tpm(Box<TpmIdentity>),
}

impl Identity {
    /// The kind of machine.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Sgx(_) => "sgx",
            Self::Tdx(_) => "tdx",
            Self::Snp(_) => "snp",
            Self::Tpm(_) => "tpm",
        }
    }

    /// Whether it is that of a simulated machine.
    pub fn is_simulated(&self) -> bool {
        match self {
            Self::Sgx(enclave) => is_simulated(&enclave.cpusvn),
            Self::Tdx(guest) => is_simulated(&guest.tee_tcb_svn),
            Self::Snp(guest) => is_simulated_chip(&guest.chip_id),
            // No simulated machine has a TPM: a software TPM is whoever runs it.
            Self::Tpm(_) => false,
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

/// A SEV-SNP guest: what its attestation report says (AMD SEV-SNP Firmware ABI specification, ATTESTATION_REPORT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpIdentity {
    /// The measurement of the initial memory (LAUNCH_DIGEST).
    pub measurement: [u8; 48],
    /// Chosen by the host at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the ID block; zero where there was none.
    pub id_key_digest: [u8; 48],
    /// SHA-384 of the key that certified the ID key; zero where there was none.
    pub author_key_digest: [u8; 48],
    /// From the ID block, or chosen by the host where there was none.
    pub family_id: [u8; 16],
    /// From the ID block, or chosen by the host where there was none.
    pub image_id: [u8; 16],
    /// From the ID block, or chosen by the host where there was none.
    pub guest_svn: u32,
    /// What the guest's owner lets the host do; see [`crate::snp::policy`].
    pub policy: u64,
    /// The privilege level that the report was asked for: 0 is the highest, 3 the lowest.
    pub vmpl: u32,
    /// What the machine has switched on; see [`crate::snp::platform`].
    pub platform_info: u64,
    /// The TCB that the report's key is for: what the host says that it runs, at most the current one. Never an input of
    /// a key.
    pub reported_tcb: SnpTcb,
    /// The TCB that runs.
    pub current_tcb: SnpTcb,
    /// The TCB that the machine cannot go below any more.
    pub committed_tcb: SnpTcb,
    /// The current TCB when the guest was launched or moved here.
    pub launch_tcb: SnpTcb,
    /// Names this guest from its launch on; it stays the same when the guest moves.
    pub report_id: [u8; 32],
    /// Names the migration agent; all ones where there is none.
    pub report_id_ma: [u8; 32],
    /// Names the processor; zero where the machine hides it or signs with a key of its provider (VLEK).
    pub chip_id: [u8; 64],
    /// Family, model and stepping of the processor; zero in reports before version 3.
    pub cpuid: [u8; 3],
    /// Which vulnerabilities the firmware had dealt with when the guest was launched; zero in reports before version 5.
    pub launch_mitigations: u64,
    /// Which it has dealt with now; zero in reports before version 5.
    pub current_mitigations: u64,
}

/// The security versions of a SEV-SNP machine (TCB_VERSION). Each rises on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnpTcb {
    /// The firmware of the memory encryption's controller; on Turin and later, zero before.
    pub fmc: u8,
    /// The boot loader of the security processor.
    pub bootloader: u8,
    /// The operating system of the security processor.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The lowest microcode patch level of all cores.
    pub microcode: u8,
}

/// For example `fmc=1 bootloader=4 tee=0 snp=24 microcode=219`.
impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        write!(f, "fmc={fmc} bootloader={bootloader} tee={tee} snp={snp} microcode={microcode}")
    }
}
