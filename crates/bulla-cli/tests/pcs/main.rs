//! Those who ask a provisioning service for collateral, and services that are real processes: `bulla sim pcs`, and one
//! that misbehaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod hostile;
mod kept;
mod misbehave;
mod served;
mod service;
#[path = "../cli/support.rs"]
mod support;
mod week;

/// Counts memory, so that a service cannot make anybody take more than it should.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
