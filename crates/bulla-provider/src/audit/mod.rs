//! The audit log as everybody can read it: its format, its one verifier, and what its causes mean
//! (specified in `docs/spec/audit.md`).
//!
//! ```
//! use bulla_provider::audit::Verifier;
//!
//! let mut verifier = Verifier::new();
//! verifier.read("audit.log", &b""[..], &mut |_| ())?;
//! assert!(verifier.end().findings.is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```

mod causes;
mod entry;
mod line;
#[cfg(test)]
mod tests;
mod verifier;

pub use causes::{Advice, advice};
pub use entry::{Broken, Continued, Entry, Event, Mode, PublicKeys, Recovered, Refused, Released, Stated};
pub use line::{LINE_MAX, Line, Position};
pub use verifier::{Finding, Place, Tail, Trouble, Verdict, Verifier};

pub(crate) use line::{checkpoint, compose};
