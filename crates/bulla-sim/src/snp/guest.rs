//! The shipped SEV-SNP backend in a guest of a simulated machine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_crypto::SystemRandom;
use bulla_tee::sgx::Processor;
use bulla_tee::snp::SnpGuest;
use bulla_tee::{DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee};

use super::{SnpCommand, SnpFault, SnpKernel};
use crate::mount::Mount;

/// The shipped SEV-SNP backend in a guest of a simulated machine: its device and its reports in configfs are pseudo-files of
/// a simulated kernel. Keys and evidence are tagged as simulated (R110).
///
/// ```
/// use bulla_sim::{Machine, SnpDescription};
/// use bulla_tee::{Policy, Tee};
///
/// # let parent = tempfile::tempdir()?;
/// let machine = Machine::create(parent.path().join("machine"))?;
/// let guest = machine.snp_guest(SnpDescription::default_guest())?;
/// let (request, key) = guest.bind(&Policy::measurement())?;
/// assert!(guest.derive(&request)?.ct_eq(&key));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimulatedSnpGuest {
    guest: SnpGuest,
    kernel: Arc<SnpKernel>,
    root: PathBuf,
    _mount: Mount,
}

impl SimulatedSnpGuest {
    pub(crate) fn new(kernel: SnpKernel) -> io::Result<Self> {
        let kernel = Arc::new(kernel);
        let mount = Mount::new(kernel.clone())?;
        let root = mount.root();
        let guest = SnpGuest::new(Processor::Simulated, Box::new(SystemRandom), &root);
        Ok(Self { guest, kernel, root, _mount: mount })
    }

    /// Where its device and pseudo-files are, for this process.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lets something go wrong once, the next time that the command is given.
    pub fn fail(&self, command: SnpCommand, fault: SnpFault) {
        self.kernel.fail(command, fault);
    }

    /// From now on it has no device, as in a container that was not given it.
    pub fn take_device_away(&self) {
        self.kernel.take_device_away();
    }
}

impl Tee for SimulatedSnpGuest {
    fn identity(&self) -> Result<Identity, Error> {
        self.guest.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        let (request, key) = self.guest.bind(policy)?;
        Ok((KeyRequest::Simulated(Box::new(request)), key))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        match request {
            KeyRequest::Simulated(request) => self.guest.derive(request),
            request => Err(Error::WrongBackend { wanted: request.kind(), found: "sim" }),
        }
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        Ok(Evidence::Simulated(Box::new(self.guest.attest(data, kind)?)))
    }
}
