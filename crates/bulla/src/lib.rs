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
//! - Files and anything large: [`seal_stream`] and [`unseal_stream`], with [`file::replace`] for the output.
//! - To whom and to what an envelope is bound, without any key: [`Header::read`].
//! - Why it did not open: [`Error`]. No failure loosens anything, and a remote party should be told none of it (R65).
//!
//! # What an envelope promises
//! It keeps its content secret from everyone but its openers, and shows any change to it. It proves that *some opener* wrote
//! it, no more. It says nothing about freshness: an older envelope of the same context opens as well as the newest one, so
//! whoever controls the disk can bring it back (R66). It lives as long as the machine's keys do: a firmware update can end
//! those of a processor, so keep another way to a secret that must not be lost.
//!
//! # Compatibility
//! The format is specified apart from this code, in `docs/spec/envelope.md`. It carries version 0 and is **not frozen yet**: a
//! later release may change it, and then refuses version 0 by name rather than misread it. Once the format is frozen, every
//! later release will open what an earlier one sealed, and committed test vectors hold it to that.

mod error;
pub mod file;
mod file_key;
mod header;
mod seal;
mod slot;
mod stream;

pub use error::Error;
pub use header::{Header, Suite};
pub use seal::{seal, seal_stream, unseal, unseal_stream};
pub use slot::Slot;
