//! Floor 2 of bulla: what a key provider and its clients say to each other. Pure: bytes in, bytes out, no input or output.
//!
//! * [`v1`]: the protocol of bulla, JSON over HTTP. A client reads the provider's [`v1::Statement`], takes a
//!   [`v1::Challenge`], posts a [`v1::Order`] and judges the [`v1::Answer`].
//! * [`Descriptor`], [`Signed`], [`Manifest`]: who signs documents, what they sign, and the grants of images' owners
//!   (`docs/spec/documents.md`).
//! * [`legacy`]: the frames that clients of the earlier key providers speak.
//! * [`Code`] and [`Problem`]: what a peer is told when it is refused, which is less than what the operator is told (R55).
//!
//! Everything that is hashed, signed or put into report data is an injective, named encoding
//! ([`bulla_crypto::Info`]), never the JSON.

mod b64;
mod code;
mod descriptor;
pub mod legacy;
mod manifest;
mod signed;
mod signing_key;
pub mod text;
pub mod v1;

pub use code::{Code, Problem};
pub use descriptor::{BadDescriptor, Descriptor};
pub use manifest::{Manifest, ManifestError, NotEntitled};
pub use signed::{DocumentRole, Signature, Signed, SignedError, Verified};
pub use signing_key::{BadSigningKey, signing_key_from_text, signing_key_to_text};

/// The largest body of a request, in bytes, on every listener (R31). A quote of [`QUOTE_MAX`] bytes fits into it both as
/// base64 and as a JSON array of numbers.
pub const BODY_MAX: usize = 256 * 1024;

/// The largest quote, in bytes (R31).
pub const QUOTE_MAX: usize = 32 * 1024;
