//! As what a program runs on a simulated machine: what it finds where.

use std::sync::Arc;

use crate::gramine::Attestation;
use crate::guest_kernel::GuestKernel;
use crate::pseudo::Tree;
use crate::{EnclaveIdentity, Error, Machine, Mishap, SealingKeys, SnpDescription, TdDescription, occlum};

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
    /// A TDX guest, and what it gets when it asks its TDX module for sealing keys.
    Tdx(Box<TdDescription>, SealingKeys),
    /// A SEV-SNP guest.
    Snp(Box<SnpDescription>),
}

impl Guise {
    /// What is served, below the root of the file system; these are the places, relative to it.
    pub(crate) const fn places(&self) -> &'static [&'static str] {
        match self {
            Self::Sgx => &[],
            Self::Gramine => &["dev/attestation"],
            Self::Occlum => &["dev/sgx"],
            Self::Tdx(..) => {
                &["dev/tdx_guest", "sys/kernel/config/tsm", "sys/devices/virtual/misc/tdx_guest"]
            }
            Self::Snp(_) => &["dev/sev-guest", "sys/kernel/config/tsm"],
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
            Self::Tdx(..) => mishap.guest.is_some(),
            Self::Snp(_) => mishap.snp.is_some(),
        };
        match mishaps.iter().find(|mishap| !can(mishap)) {
            None => Ok(()),
            Some(mishap) => Err(Error::Mishap(format!("{} cannot happen there", mishap.name()))),
        }
    }

    /// The tree of what is served.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a SEV-SNP guest of a machine that was made before there were any.
    pub(crate) fn tree(
        &self,
        machine: &Machine,
        enclave: &EnclaveIdentity,
        mishaps: &[Mishap],
    ) -> Result<Option<Box<dyn Tree>>, Error> {
        let (cpu, quoting) = machine.parts();
        let quotes = mishaps.iter().filter_map(|mishap| mishap.quote);
        let tree: Box<dyn Tree> = match self {
            Self::Sgx => return Ok(None),
            Self::Gramine => Box::new(Attestation::new(cpu, quoting, enclave.clone(), quotes)),
            Self::Occlum => Box::new(occlum::Device::new(cpu, quoting, enclave.clone(), quotes)),
            Self::Tdx(td, keys) => {
                let kernel = GuestKernel::new(cpu, quoting, (**td).clone());
                kernel.set_sealing_keys(*keys);
                mishaps.iter().filter_map(|mishap| mishap.guest).for_each(|fault| kernel.fail(fault));
                Box::new(Arc::new(kernel))
            }
            Self::Snp(guest) => {
                let kernel = machine.snp_kernel((**guest).clone())?;
                let faults = mishaps.iter().filter_map(|mishap| mishap.snp);
                faults.for_each(|(command, fault)| kernel.fail(command, fault));
                Box::new(Arc::new(kernel))
            }
        };
        Ok(Some(tree))
    }
}
