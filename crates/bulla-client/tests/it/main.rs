//! A client against providers over real sockets: an honest one, and ones that misbehave one step at a time.
//!
//! Quotes and collateral are those of simulated machines; the verifier that judges them is the real one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod network;
mod next;
mod provider;
mod request;
mod server;
mod session;
mod shown;
mod tee;
mod trust;
mod world;
