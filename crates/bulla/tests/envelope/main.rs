//! Behaviour of the sealing library as its users see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::type_complexity, reason = "tables of cases are clearer without names for their rows")]

mod change;
mod damage;
mod described;
mod edited;
mod file;
mod hostile;
mod identity;
mod limits;
mod machine;
mod openers;
mod plan;
mod round_trip;
mod surgery;
mod vectors;
