//! As what a program runs on a simulated machine: what it finds where.

use std::sync::Arc;

use crate::gramine::Attestation;
use crate::guest_kernel::GuestKernel;
use crate::pseudo::Tree;
use crate::{EnclaveIdentity, Error, Machine, Mishap, TdDescription, occlum};

/// As what a program runs on a simulated machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guise {
    /// An SGX enclave with nothing but its instructions.
    Sgx,
    /// An SGX enclave in Gramine.
    Gramine,
    /// An SGX enclave in Occlum.
    Occlum,
    /// A TDX guest.
    Tdx(Box<TdDescription>),
}

impl Guise {
    /// What is served, below the root of the file system; these are the places, relative to it.
    pub(crate) const fn places(&self) -> &'static [&'static str] {
        match self {
            Self::Sgx => &[],
            Self::Gramine => &["dev/attestation"],
            Self::Occlum => &["dev/sgx"],
            Self::Tdx(_) => &["dev/tdx_guest", "sys/kernel/config/tsm", "sys/devices/virtual/misc/tdx_guest"],
        }
    }

    /// Whether it has `ENCLU`.
    pub(crate) const fn is_enclave(&self) -> bool {
        matches!(self, Self::Sgx | Self::Gramine | Self::Occlum)
    }

    /// Whether that can go wrong there.
    ///
    /// # Errors
    /// [`Error::Mishap`] if not.
    pub(crate) fn check(&self, mishaps: &[Mishap]) -> Result<(), Error> {
        let can = |mishap: &&Mishap| match self {
            Self::Sgx => mishap.enclu.is_some(),
            Self::Gramine | Self::Occlum => mishap.enclu.is_some() || mishap.quote.is_some(),
            Self::Tdx(_) => mishap.guest.is_some(),
        };
        match mishaps.iter().find(|mishap| !can(mishap)) {
            None => Ok(()),
            Some(mishap) => Err(Error::Mishap(format!("{} cannot happen there", mishap.name()))),
        }
    }

    /// The tree of what is served.
    pub(crate) fn tree(
        &self,
        machine: &Machine,
        enclave: &EnclaveIdentity,
        mishaps: &[Mishap],
    ) -> Option<Box<dyn Tree>> {
        let (cpu, quoting) = machine.parts();
        let quotes = mishaps.iter().filter_map(|mishap| mishap.quote);
        match self {
            Self::Sgx => None,
            Self::Gramine => Some(Box::new(Attestation::new(cpu, quoting, enclave.clone(), quotes))),
            Self::Occlum => Some(Box::new(occlum::Device::new(cpu, quoting, enclave.clone(), quotes))),
            Self::Tdx(td) => {
                let kernel = GuestKernel::new(cpu, quoting, (**td).clone());
                mishaps.iter().filter_map(|mishap| mishap.guest).for_each(|fault| kernel.fail(fault));
                Some(Box::new(Arc::new(kernel)))
            }
        }
    }
}
