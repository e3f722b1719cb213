//! Trusted platform modules (TPM 2.0): to what a key is bound, and what is recorded to get it again. What talks to a TPM is the
//! crate `bulla-tpm`, which links the TPM software stack; everything here is always compiled, so that any machine can read
//! for whom a key is.

mod policy;
mod quote;
mod request;

pub use policy::{Authority, PcrPolicy, PcrSet};
pub use quote::TpmQuote;
pub use request::TpmRequest;

/// How many registers a TPM has (TCG PC Client Platform TPM Profile).
pub const PCRS: usize = 24;
/// How many alternatives a policy has at most (TPM 2.0 Library, part 2, TPML_DIGEST): register values and an authority.
pub const BRANCHES_MAX: usize = 8;

/// The names of the registers.
pub const NAMES: [&str; PCRS] = [
    "PCR0", "PCR1", "PCR2", "PCR3", "PCR4", "PCR5", "PCR6", "PCR7", "PCR8", "PCR9", "PCR10", "PCR11",
    "PCR12", "PCR13", "PCR14", "PCR15", "PCR16", "PCR17", "PCR18", "PCR19", "PCR20", "PCR21", "PCR22",
    "PCR23",
];

/// A machine with a TPM: what the TPM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmIdentity {
    /// The SHA-256 Name of the storage key that keys are sealed under. It comes from the owner's seed, so it names the TPM
    /// until that is cleared.
    pub parent: [u8; 32],
    /// The registers of the SHA-256 bank.
    pub pcrs: [[u8; 32]; PCRS],
}
