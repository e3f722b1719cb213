//! Floor 3 of bulla, and the crate to use: seals secrets and files to a confidential-computing identity and opens them again.
//!
//! Two lines seal and open, on every machine that is a [`Tee`](bulla_tee::Tee):
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let machine = bulla_sim::Machine::create(dir.path())?;
//! # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
//! let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
//! let secret = bulla::unseal(&machine, "wallet", &sealed)?;
//! # assert_eq!(secret.expose(), b"correct horse");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - Several openers, policies, recovery, labels, epochs: [`Sealer`] and [`Unsealer`]. Files and anything large: their streams,
//!   [`SealWriter`], [`UnsealReader`], and [`RangeReader`] for a part of a large secret.
//! - To whom and to what an envelope is bound, without any key: [`Header::read`].
//! - Who may open it, changed: [`Rewrap`]. Its key, changed: [`Rotate`]. Whether it will open after a change: [`plan`].
//! - Data keys for a database, in generations: [`Ring`].
//! - Why it did not open: [`Error`]. No failure loosens anything, and a remote party is told only [`Error::remote`] (R65).
//!
//! # Coming from another SDK
//!
//! | there | here |
//! |---|---|
//! | EGo `SealWithUniqueKey`, Open Enclave `OE_SEAL_POLICY_UNIQUE`, Intel `SGX_KEYPOLICY_MRENCLAVE` | [`seal`], or [`Policy::measurement`] |
//! | EGo `SealWithProductKey`, Open Enclave `OE_SEAL_POLICY_PRODUCT`, Intel `SGX_KEYPOLICY_MRSIGNER` | [`Sealer::machine`] with [`Policy::signer`], which wants product, lowest version and label said |
//! | `Unseal`, `oe_unseal`, `sgx_unseal_data` | [`unseal`]; the envelope says how it was sealed |
//! | additional data, AAD | the context, which is required, and [`Sealer::label`] |
//! | what they have sealed already | [`import`], in the enclave that could open it there |
//! | systemd-creds `--name=`, age `-r`, Clevis `sss` | the context, [`Sealer::recovery`], [`Sealer::threshold`] |
//!
//! # What an envelope promises
//! It keeps its content secret from everyone but its openers, and shows any change to it. Opened by a machine, it proves that
//! somebody wrote it who could open it once, no more, unless [`Origin`] says more; opened by a private key, not even that, since
//! everybody who knows the public key can seal to it. It says nothing about freshness by itself: an older envelope of the same context
//! opens as well as the newest one, so whoever controls the disk can bring it back (R66); [`Unsealer::at_least`] and
//! [`Unsealer::anchor`] are for whoever knows better. What only machines can open lives as long as their keys do: a firmware update
//! can end those of a processor, so keep another way to a secret that must not be lost, a [`Recipient`].
//!
//! # Compatibility
//! The format is specified apart from this code, in `docs/spec/envelope.md`, and **version 1 is frozen**: every later release will
//! open what an earlier one sealed, and committed test vectors, which a second implementation reads too, hold it to that. A change
//! of the format is a new version beside the old one. What wrote version 0 was never released; it is refused by its number.

mod adapters;
mod draw;
mod error;
pub mod file;
mod file_key;
mod header;
pub mod import;
pub mod journal;
pub mod luks;
mod origin;
pub mod plan;
mod recipient;
mod rewrap;
mod ring;
mod rotate;
mod seal;
mod sealer;
mod slot;
mod stream;
pub mod successor;
mod threshold;
mod unsealer;
mod wrapped;

pub use adapters::{RangeReader, SealWriter, UnsealReader};
pub use bulla_crypto::Kem;
pub use bulla_tee::{Anchor, Floor, Freshness, Policy, Register, SignerPolicy};
pub use error::Error;
pub use header::{Header, Suite};
pub use recipient::{Recipient, RecipientKey, RecipientOpener, Role};
pub use rewrap::Rewrap;
pub use ring::{Ring, RingKey};
pub use rotate::Rotate;
pub use seal::{seal, seal_stream, unseal, unseal_stream};
pub use sealer::Sealer;
pub use slot::{Opener, Slot, Strength};
pub use threshold::{Share, ThresholdOpener};
pub use unsealer::{Opened, Origin, Unsealer};
