//! SEV-SNP: a simulated chip, a kernel that lets its guests ask it, and who they are.

mod chip;
mod description;
mod faults;
mod guest;
mod kernel;
pub(crate) mod vendor;

pub(crate) use chip::{Chip, ChipState};
pub use description::SnpDescription;
pub use faults::{SnpCommand, SnpFault};
pub use guest::SimulatedSnpGuest;
pub(crate) use kernel::SnpKernel;
