//! The command as a user meets it: arguments and files in; exit code, output and files out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod attest;
mod audit;
mod authority;
mod change;
mod config;
mod custody;
mod damage;
mod deploy;
mod doctor;
mod evidence;
mod exec;
mod floor;
mod guest;
mod guide;
mod hygiene;
mod identity;
mod import;
mod inspect;
mod key;
mod machine;
mod manifest;
mod manual;
mod mount;
mod operate;
mod origin;
mod plan;
mod progress;
mod recipient;
mod request;
mod run;
mod sealing;
mod snp;
mod successor;
mod successor_guest;
mod support;
