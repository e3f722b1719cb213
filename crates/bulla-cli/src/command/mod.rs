//! One module for each command.

pub(crate) mod attest;
#[cfg(feature = "sim")]
pub(crate) mod demo;
pub(crate) mod inspect;
pub(crate) mod manual;
pub(crate) mod provider;
pub(crate) mod request;
pub(crate) mod seal;
#[cfg(feature = "sim")]
pub(crate) mod sim;
