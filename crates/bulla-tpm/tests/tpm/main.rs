//! Everything here runs against software TPMs, real processes of their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod conformance;
mod counting;
mod evidence;
mod middle;
mod sealing;
#[path = "../../../bulla-sim/tests/conformance/suite.rs"]
mod suite;
mod support;
