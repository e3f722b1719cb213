//! What a machine says about itself to others.

use crate::sgx::arch::Targetinfo;

/// Which evidence is wanted.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum EvidenceKind<'a> {
    /// A DCAP quote, or a SEV-SNP report: for a verifier anywhere.
    Quote,
    /// An SGX REPORT, for one enclave on this machine.
    Report(&'a Targetinfo),
    /// A TDREPORT of a TDX guest, for enclaves on this machine.
    TdReport,
}

/// Evidence, as the bytes that a verifier takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// A DCAP quote of an SGX enclave.
    SgxQuote(Vec<u8>),
    /// An SGX REPORT, 432 bytes.
    SgxReport(Vec<u8>),
    /// A DCAP quote of a TDX guest.
    TdxQuote(Vec<u8>),
    /// A report of a SEV-SNP guest, 1184 bytes.
    SnpReport {
        /// The report.
        report: Vec<u8>,
        /// The certificates that the host handed over with it, as AMD's GHCB specification has their table; empty where it has
        /// none. They are the host's word until a verifier has checked them.
        certificates: Vec<u8>,
    },
    /// A TPM's quote, with the key that signed it and the registers that it is about.
    TpmQuote(Vec<u8>),
    /// A TDREPORT, 1024 bytes.
    TdReport(Vec<u8>),
    /// Evidence of a simulated machine (R110).
    Simulated(Box<Self>),
}

impl Evidence {
    /// The bytes, whatever they are evidence of.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::SgxQuote(bytes)
            | Self::SgxReport(bytes)
            | Self::TdxQuote(bytes)
            | Self::TpmQuote(bytes)
            | Self::SnpReport { report: bytes, .. }
            | Self::TdReport(bytes) => bytes,
            Self::Simulated(evidence) => evidence.bytes(),
        }
    }
}
