//! Floor 1 of bulla: one trait for the machines that derive keys bound to what runs on them.
//!
//! | machine | key | evidence |
//! |---|---|---|
//! | SGX enclave | [`sgx::Enclave`] executes `ENCLU[EGETKEY]` itself, or by Occlum's device, or has Gramine's key file | `EREPORT`, quotes by a [`sgx::QuoteSource`] |
//! | SEV-SNP guest | its security processor derives it from a secret of the chip (`snp::SnpGuest`) | reports, and the host's certificates for them |
//! | TDX guest | a key provider gives it one, or its TDX module (TDG.MR.KEY.GET) where that is asked for | TDREPORTs by `/dev/tdx_guest`, quotes by configfs (`tdx::TdxGuest`) |
//! | TPM 2.0 | a random one that the TPM seals under its registers ([`tpm`]) | quotes |
//!
//! A machine answers three questions: who am I ([`Tee::identity`]), derive a key bound to me ([`Tee::bind`],
//! [`Tee::derive`]), prove it ([`Tee::attest`]). Everything above this floor is written against them.
//!
//! A [`Policy`] says what a key is bound to, a [`KeyRequest`] records how to get it again, and
//! [`KeyRequest::opens_under`] says who will. A [`Floor`] says what is too old, and an [`Anchor`] what is not the latest.
//!
//! Nothing here knows the network, the files of bulla or a cryptographic library; it is blocking and reads no clock.

#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        reason = "requests of machines that only Linux has are read everywhere, and made there"
    )
)]

mod anchor;
mod binding;
mod error;
mod evidence;
mod floor;
mod identity;
mod outlook;
mod policy;
mod provider;
mod request;
#[cfg(test)]
mod samples;
pub mod sgx;
pub mod snp;
pub mod tdx;
pub mod tpm;
#[cfg(target_os = "linux")]
mod tsm;

pub use anchor::{Anchor, Freshness, Reading};
pub use binding::GuestBinding;
/// The 64 bytes that a piece of evidence carries: always a role-tagged hash, never bytes that a caller chose.
pub use bulla_crypto::RoleHash as ReportData;
/// The key that a machine derived: 16 bytes from SGX, 64 from SEV-SNP, 32 from the others. Only ever input to a key derivation (R10).
pub use bulla_crypto::SecretBytes as DerivedKey;
pub use error::{Delegate, Error};
pub use evidence::{Evidence, EvidenceKind};
pub use floor::Floor;
pub use identity::{
    Identity, SIMULATED_MARKER, SgxIdentity, SnpIdentity, SnpTcb, TdxIdentity, is_simulated,
    is_simulated_chip,
};
pub use outlook::{Doubt, Outlook, PlatformState};
pub use policy::{Policy, Register, SignerPolicy};
pub use provider::{GuestRegisters, ProviderRequest};
pub use request::{KeyRequest, Mismatch};
pub use snp::SnpRequest;
pub use tpm::{PcrPolicy, TpmIdentity, TpmRequest};

/// A machine that derives keys bound to what runs on it.
pub trait Tee: Send + Sync {
    /// Who am I.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the machine is not there, [`Error::WrongBackend`] where it is simulated and must not
    /// be, or the reverse.
    fn identity(&self) -> Result<Identity, Error>;

    /// A new key bound to me under `policy`, and the request that gets it again: all that is "current" is filled in now
    /// and recorded, with fresh randomness, so that the key survives an update of the machine (R1, R2, R5).
    ///
    /// # Errors
    /// As [`Tee::identity`]; [`Error::Entropy`]; [`Error::UnderBoundPolicy`] for a policy that binds to too little (R14),
    /// [`Error::OutsidePolicy`] for one that is not met here, [`Error::Unsupported`] for one that the machine cannot bind to.
    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error>;

    /// The key of a recorded request, exactly as it was recorded.
    ///
    /// # Errors
    /// [`Error::OtherIdentity`], [`Error::OtherMachine`], [`Error::TcbTooOld`] or [`Error::WrongBackend`] say why this
    /// machine cannot have it.
    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error>;

    /// Evidence about me that carries `data`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind that the machine does not have, [`Error::Unavailable`] where its quoting service
    /// is not there, [`Error::SelfEvidence`] where that returned something else than asked for (R37, R54).
    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error>;

    /// The keys of what other software sealed in me; `None` for a machine that is no enclave.
    fn foreign_keys(&self) -> Option<&dyn sgx::ForeignKeys> {
        None
    }

    /// Whether I can tell that a local report was made here; `None` for a machine that cannot.
    fn local_verifier(&self) -> Option<&dyn LocalVerifier> {
        None
    }
}

/// A machine that can tell whether a local report was made on itself.
pub trait LocalVerifier {
    /// Checks the MAC of a TDREPORT (`ENCLU[EVERIFYREPORT2]`). It covers the two hashes in the structure, which the
    /// caller recomputes (R35); it says nothing about TCB, debug or freshness.
    ///
    /// # Errors
    /// [`Error::BadReport`] if it was made elsewhere or changed.
    fn verify_report(&self, report: &sgx::arch::ReportMac) -> Result<(), Error>;
}
