//! Those who ask a provisioning service for collateral, and services that are real processes: `bulla sim pcs`, and one
//! that misbehaves (`examples/hostile-pcs.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod served;
mod service;
#[path = "../cli/support.rs"]
mod support;
