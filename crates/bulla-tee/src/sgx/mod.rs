//! Intel SGX: the processor's own instructions, executed here.

pub mod arch;
mod enclave;
mod enclu;
mod foreign;
#[cfg(target_os = "linux")]
mod gramine;
mod key_file;
mod leaves;
#[cfg(target_os = "linux")]
mod occlum;
mod own;
mod request;

pub use enclave::{Enclave, Processor, QuoteSource};
pub use foreign::ForeignKeys;
#[cfg(target_os = "linux")]
pub use gramine::Gramine;
pub use key_file::KeyFileRequest;
pub use request::SgxRequest;
