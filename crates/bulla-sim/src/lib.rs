//! Floor 2 of bulla: a simulated machine kept in a directory.
//!
//! It has a processor with fuses and versions, enclaves, a TDX module with guests, quoting enclaves and a provisioning
//! service of its own. What runs on it is the shipped code: the SGX backend of [`bulla_tee`] executes its own `ENCLU`
//! instruction, which a signal handler answers, and its TDX backend opens a device and files that a simulated kernel serves
//! through FUSE. Programs that are not ours run on it as they are, too ([`Machine::run_program`], [`Mounted`]).
//!
//! | part | does | as described in |
//! |---|---|---|
//! | processor | EGETKEY, EREPORT, EVERIFYREPORT2, TDREPORT | Intel SDM vol. 3D; TDX Module ABI specification |
//! | quoting enclaves | quotes of versions 3 to 5 | Intel's DCAP quote libraries |
//! | provisioning | certificates, CRLs, TCB info, QE identity, and the service ([`pcs`]) that gives them out | Intel PCS API version 4 |
//!
//! It cannot pass for hardware (R15, R110): its CPUSVN and TEE_TCB_SVN carry a marker that real backends refuse, its keys
//! and evidence are tagged as simulated, its certificates say so and are under a root whose key is public. The layout of its
//! directory and its key derivation are specified in `docs/spec/simulator.md`.

mod collateral;
mod cpu;
mod enclave;
mod enclu;
mod error;
mod faults;
mod gramine;
mod guest;
mod guest_kernel;
mod guise;
mod hexadecimal;
mod history;
mod key_get;
mod machine;
mod memory;
mod mishap;
mod mount;
mod mounted;
mod occlum;
pub mod pcs;
mod pki;
mod program;
mod pseudo;
mod ptrace;
mod qgs;
mod quoting;
mod reports;
mod snp;
mod stage;
mod surroundings;
mod tdx_module;
mod tracer;
mod trap;

pub use collateral::TeeType;
pub use enclave::{EnclaveIdentity, SimulatedEnclave};
pub use error::Error;
pub use faults::QuoteFault;
pub use gramine::GramineFiles;
pub use guest::{SimulatedGuest, TdDescription};
pub use guest_kernel::GuestFault;
pub use guise::Guise;
pub use history::{Edition, Recovery};
pub use key_get::SealingKeys;
pub use machine::{Machine, Step};
pub use mishap::Mishap;
pub use mounted::Mounted;
pub use occlum::OcclumDevice;
pub use qgs::{ServiceFault, SimulatedQuoteService};
pub use quoting::{QuoteForm, in_guest_buffer};
pub use snp::{SimulatedSnpGuest, SnpCommand, SnpDescription, SnpFault};
pub use surroundings::surroundings;
pub use tdx_module::TdxModule;
