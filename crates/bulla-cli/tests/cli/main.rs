//! The command as a user meets it: arguments and files in; exit code, output and files out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod attest;
mod change;
mod damage;
mod evidence;
mod floor;
mod guest;
mod identity;
mod inspect;
mod machine;
mod manual;
mod progress;
mod recipient;
mod sealing;
mod successor;
mod support;
