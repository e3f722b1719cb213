//! Floor 0 of bulla: secrets that stay secret, and the few cryptographic operations that everything above is built from.
//!
//! Everything computes on [aws-lc-rs](https://docs.rs/aws-lc-rs), except HPKE, sealed boxes and secret sharing, which it does not offer.
//! Nothing here knows machines, files or the network.
//!
//! Without the default feature `aws-lc` only the types and traits remain: [`Class`], [`Secret`], [`SecretBytes`],
//! [`RandomSource`] and [`RoleHash`]. That is all that a machine backend takes from here, so a backend never drags a
//! cryptographic library into an enclave that has its own.
//!
//! ```
//! use bulla_crypto::{hkdf, Info, Secret};
//!
//! let ikm = Secret::<32>::new([7; 32]);
//! let info = Info::new("example/v1").part("path", b"wallet").part("purpose", b"sealing");
//! let key: Secret<32> = hkdf(ikm.expose(), b"salt", &info);
//! assert!(!key.ct_eq(&ikm));
//! ```

mod class;
mod random;
mod role;
mod secret;

pub use class::Class;
pub use random::{EntropyFailure, RandomSource};
pub use role::RoleHash;
pub use secret::{Secret, SecretBytes, WrongLength};

#[cfg(feature = "aws-lc")]
mod aead;
#[cfg(feature = "aws-lc")]
mod hash;
#[cfg(feature = "aws-lc")]
mod hpke;
#[cfg(feature = "aws-lc")]
mod kdf;
#[cfg(feature = "aws-lc")]
mod mac;
#[cfg(feature = "aws-lc")]
mod sealed_box;
#[cfg(feature = "aws-lc")]
pub mod sharing;
#[cfg(feature = "aws-lc")]
mod signature;
#[cfg(test)]
#[cfg(feature = "aws-lc")]
mod vectors;

#[cfg(feature = "aws-lc")]
pub use crate::hpke::{HpkeError, HpkePrivateKey, HpkePublicKey, HpkeSealed, Kem};
#[cfg(feature = "aws-lc")]
pub use aead::{AeadKey, DecryptionFailure, NONCE_LEN, TAG_LEN};
#[cfg(feature = "aws-lc")]
pub use hash::{Sha256, sha256, sha384, sha512};
#[cfg(feature = "aws-lc")]
pub use kdf::{Info, TooLong, hkdf, hkdf_bytes, hkdf_expand, hkdf_sha384_bytes};
#[cfg(feature = "aws-lc")]
pub use mac::{hmac, hmac_verify};
#[cfg(feature = "aws-lc")]
pub use random::SystemRandom;
#[cfg(feature = "aws-lc")]
pub use role::Role;
#[cfg(feature = "aws-lc")]
pub use sealed_box::sealed_box;
#[cfg(feature = "aws-lc")]
pub use signature::{BadSignature, SigningKey, VerifyingKey};
