//! Intel SGX: the processor's own instructions, executed here.

pub mod arch;
mod enclave;
mod enclu;
mod request;

pub use enclave::{Enclave, Processor, QuoteSource};
pub use request::SgxRequest;
