//! Protocol v1: JSON over HTTP (specified in `docs/spec/protocol.md`).
//!
//! ```text
//! GET  /v1/provider     -> Statement               who the provider is, proved by its quote
//! GET  /v1/challenge    -> Challenge               for one order, on this connection
//! POST /v1/keys         Order -> Answer            keys for the guest that the evidence shows
//! POST /v1/public-key   FutureKey -> PublicKey     to seal to a guest that need not run yet
//!
//! over TLS:
//! POST /v1/session        SessionOrder -> SessionAnswer    evidence of both sides for this connection
//! POST /v1/session/keys   SessionRequest -> SessionKeys    as often as wanted, without further evidence
//! ```
//!
//! A guest's report data covers every field of its [`Request`] ([`Request::report_data`]); the provider's signature covers
//! the request, the evidence and the ciphertext ([`Answer::signed`]). So whoever edits one selector on the way gets
//! nothing accepted (R38, R39).

mod future;
mod order;
mod request;
mod selector;
mod session;
mod statement;

pub use future::{FutureKey, PublicKey, Register};
pub use order::{Answer, EvidenceKind, Order, Transcript};
pub use request::{CHALLENGE_MAX, Challenge, Request, SUITE_X25519, SUITE_XWING, VERSION};
pub use selector::{Algorithm, Binding, KEY_LENGTHS, KEYS_MAX, PATH_MAX, PURPOSE_MAX, Selector, check};
pub use session::{SessionAnswer, SessionKeys, SessionOrder, SessionRequest};
pub use statement::{Custody, Recipient, Recovery, RootName, Statement};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::Code;

/// One JSON value of exactly one shape.
///
/// # Errors
/// [`Code::Unsupported`] where only a name is one that this version does not know, [`Code::Malformed`] for anything else.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Code> {
    serde_json::from_slice(body).map_err(|error| match error.to_string().starts_with("unknown variant") {
        true => Code::Unsupported,
        false => Code::Malformed,
    })
}

/// A field that may be left out: nothing else, as `null`, stands for that.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
