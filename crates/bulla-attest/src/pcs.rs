//! Clients of the services that have collateral: Intel's provisioning certification service (PCS, version 4 of its API),
//! caching services in front of it (PCCS), and AMD's key distribution service (KDS).
//!
//! What a service answers is verified by whoever uses it, so the services need not be trusted, and these clients only
//! make sure that asking costs no more than it should: connections, answers and waiting are bounded, redirects are not
//! followed, TLS is always verified (`http://` goes to this machine only), and proxies in the environment are ignored.
//!
//! A fetch blocks. Put a [`Store`](crate::collateral::Store) before it.
//!
//! # What real services do
//! - Issuers are in headers, as percent-encoded PEM, under other names in version 3 of the API; some encoders write `+` for
//!   a space.
//! - A CRL comes as DER, as hexadecimal digits of DER (PCCS with API 3.0), or as PEM (PCS, if DER is not asked for).
//! - What is signed is the exact text of the inner JSON object: it is cut out of the answer, never written anew (R19).
//! - 404: unknown platform. 410: a TCB evaluation number that was retired. 429 and 503: come again, perhaps `Retry-After`.

mod decode;
mod fetch;
mod intel;
mod kds;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

pub use intel::PcsClient;
pub use kds::KdsClient;
pub use settings::{Channel, PcsSettings};
