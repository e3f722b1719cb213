//! The simulated machine that this process was put on.

use std::path::Path;

use bulla_crypto::SystemRandom;
use bulla_tee::sgx::{Enclave, Gramine, Processor};
use bulla_tee::snp::SnpGuest;
use bulla_tee::tdx::TdxGuest;
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, LocalVerifier, Policy, ReportData, Tee,
};

/// The shipped backend of the simulated machine that this process was put on with
/// [`run_program`](crate::Machine::run_program) or [`Mounted`](crate::Mounted), by what stands below `root`, which is `/` but in tests.
/// Requests and evidence are tagged as simulated (R110), and it refuses real machines as theirs refuses these (R15).
///
/// # Errors
/// [`Error::Unavailable`] where there is none.
pub fn surroundings(root: &Path) -> Result<Box<dyn Tee>, Error> {
    let gramine = Gramine::at(root);
    if gramine.is_here() {
        let quotes = Some(Box::new(gramine) as Box<_>);
        return labelled(Enclave::new(Processor::Simulated, Box::new(SystemRandom), quotes));
    }
    if let Ok(enclave) = Enclave::occlum(Processor::Simulated, Box::new(SystemRandom), root) {
        return labelled(enclave);
    }
    if root.join("dev/tdx_guest").exists() {
        return labelled(TdxGuest::new(Processor::Simulated, root));
    }
    if root.join("dev/sev-guest").exists() {
        return labelled(SnpGuest::new(Processor::Simulated, Box::new(SystemRandom), root));
    }
    let reason =
        "this program does not run on one: start it with `bulla sim run`, or name one with --machine sim:DIR";
    Err(Error::Unavailable { machine: "simulated machine", reason: reason.into() })
}

fn labelled(tee: impl Tee + 'static) -> Result<Box<dyn Tee>, Error> {
    Ok(Box::new(Labelled(tee)))
}

struct Labelled<T>(T);

impl<T: Tee> Tee for Labelled<T> {
    fn identity(&self) -> Result<Identity, Error> {
        self.0.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        let (request, key) = self.0.bind(policy)?;
        Ok((KeyRequest::Simulated(Box::new(request)), key))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        match request {
            KeyRequest::Simulated(request) => self.0.derive(request),
            request => Err(Error::WrongBackend { wanted: request.kind(), found: "sim" }),
        }
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        Ok(Evidence::Simulated(Box::new(self.0.attest(data, kind)?)))
    }

    fn local_verifier(&self) -> Option<&dyn LocalVerifier> {
        self.0.local_verifier()
    }
}
