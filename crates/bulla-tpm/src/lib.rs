//! TPM 2.0 as a machine of bulla: keys that it seals under its registers, and counters that remember epochs.
//!
//! [`Tpm`] is a [`Tee`](bulla_tee::Tee). It binds a new key by sealing 32 random bytes under the values of some registers, and
//! [`TpmRequest`](bulla_tee::TpmRequest) records the sealed object. [`Counter`] is an [`Anchor`](bulla_tee::Anchor).
//!
//! What goes to the TPM and comes back passes through the hands of the host, over a socket, a bus or a resource manager. So
//! every command that matters runs in a session whose secret is encrypted to a key of the TPM's: what comes back is
//! authenticated against fresh nonces, and secrets are encrypted on the way. When opening, that key is the one that the request
//! names; for a counter it is the pinned endorsement key. When sealing it is whichever the TPM shows, so seal where you
//! trust the way to the TPM, or compare [`Tpm::endorsement_key`] with what you know.
//!
//! Each call opens a connection of its own and flushes what it made in the TPM, on failure too: a TPM without a resource
//! manager holds three objects and three sessions. The exception is an answer that was changed on the way: libtss2 says nothing
//! more over such a connection, and only a resource manager, as the kernel's behind `/dev/tpmrm0`, cleans up behind it.
//!
//! This crate links the TPM software stack (libtss2), so no build for enclaves contains it.

mod approval;
mod approver;
mod connection;
mod counter;
mod digest;
mod error;
mod evidence;
mod machine;

pub use approval::Approval;
pub use approver::Approver;
pub use counter::{Counter, Enrolment};
pub use error::Error;
pub use evidence::Endorsement;
pub use machine::Tpm;
