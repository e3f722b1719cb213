//! Key rings as their users see them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod bound;
mod ensure;
mod failures;
mod format;
mod freshness;
mod generations;
mod support;
mod together;
