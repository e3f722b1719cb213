//! Everything here runs against software TPMs, real processes of their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod counting;
mod evidence;
mod middle;
mod sealing;
mod support;
