//! Floor 3 of bulla: asking a key provider for a key, and judging its answer.
//!
//! A TDX guest has no sealing key of its own; an SGX enclave on the same machine, the key provider, derives one for it. The
//! guest must not believe whoever answers. [`Client::request`] returns a key only after all of this, in this order:
//!
//! 1. The provider's [`Statement`](bulla_protocol::v1::Statement) came with a quote that verifies under the caller's
//!    [`Judge`]: signatures, revocation, TCB policy, no debug.
//! 2. The quote is of the enclave in the caller's [`Pin`], covers the statement, and the statement names the pinned
//!    authority and, if one is pinned, the root (R40). There is no client without a pin.
//! 3. A fresh one-time key, the provider's challenge and every selector are in the report data of this guest's own quote.
//!    It verifies the same way and is about this guest, because the provider derives from what that quote says: a host
//!    that exchanged it for another guest's would hand this guest a key which the other one can have as well.
//! 4. Both quotes are from one machine, by what two verified PCK certificates say (R36). Only then is the order sent. Where there is
//!    no quote but a local report ([`GuestEvidence`]), its data and registers are compared, and the provider's answer shows the rest:
//!    the pinned enclave answers only to a report that its own processor recognises (R35).
//! 5. The answer is signed by the key in the statement over the request, the evidence and the ciphertext (R39), opens under
//!    the one-time key and the request (R41), and has the length that was asked for.
//!
//! If one of them fails there is an [`Error`] and nothing else: no key, no part of one, no file (B21). The network, the
//! host and everyone between are only carriers, which is why plain HTTP is enough.
//!
//! A [`Session`] is for many keys: steps 1 to 4 once for a TLS connection, to which both sides bind evidence, and then keys
//! inside it. They are taken from that connection and from no other (R42).
//!
//! [`ProviderTee`] makes a guest that asks a provider one more [`Tee`](bulla_tee::Tee), so that the sealing library works on
//! it as on any machine.
//!
//! What is decided is in pure code over bytes. Two faces carry it out: [`Client`] blocks, and `AsyncClient` (feature `async`)
//! runs on tokio. Neither judges by a clock of its own: the caller's [`Judge`] brings the time. No key and no verdict is kept. What
//! is kept is the connection of a session, and that of an order for as long as the challenge is good that came with its answer:
//! the next order goes there in one exchange, after the statement was judged again (steps 1 and 2).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use bulla_attest::{CollateralSource, Policy, TrustAnchor};
//! use bulla_client::{Client, Judge, Pin, ProviderTee};
//! use bulla_tee::Tee;
//!
//! fn keys(
//!     guest: Arc<dyn Tee>,
//!     collateral: Arc<dyn CollateralSource>,
//!     pin: Pin,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let unix_seconds = || std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
//!     let judge = Judge::new(TrustAnchor::intel(), collateral, Policy::strict(), unix_seconds);
//!     let client = Client::new(guest, "http://127.0.0.1:8443", pin, judge)?;
//!
//!     // One key, 32 bytes, by its name and purpose: the same for every guest with the same measurements.
//!     let disk_key = client.request("app/db", "disk", 32)?;
//!     assert_eq!(disk_key.expose().len(), 32);
//!
//!     // Or a machine to seal with.
//!     let machine = ProviderTee::new(client);
//!     let (request, key) = machine.bind(&bulla_tee::Policy::measurement())?;
//!     assert!(machine.derive(&request)?.ct_eq(&key));
//!     Ok(())
//! }
//! ```

mod address;
#[cfg(feature = "async")]
mod asynchronous;
mod client;
mod connection;
mod error;
mod exchange;
mod http;
mod judge;
mod order;
mod session;
mod tee;
mod tls;
mod walk;
mod wanted;

#[cfg(feature = "async")]
pub use asynchronous::{AsyncClient, AsyncSession};
pub use client::{Client, GuestEvidence};
pub use error::{Clause, Error};
pub use judge::{Judge, Pin, PinnedEnclave};
pub use session::Session;
pub use tee::ProviderTee;
pub use wanted::{Keys, Wanted};
