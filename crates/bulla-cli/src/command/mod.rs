//! One module for each command.

pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod change;
#[cfg(feature = "sim")]
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod floor;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod manifest;
pub(crate) mod manual;
pub(crate) mod plan;
pub(crate) mod provider;
pub(crate) mod recipient;
pub(crate) mod request;
pub(crate) mod seal;
pub(crate) mod signing;
#[cfg(feature = "sim")]
pub(crate) mod sim;
pub(crate) mod successor;
#[cfg(feature = "tpm")]
pub(crate) mod tpm;
