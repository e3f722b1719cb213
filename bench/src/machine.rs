//! A machine that costs nothing: what is measured with it is all but the machine.

use bulla_tee::{DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee};

/// Gives the one key that a simulated machine gave once.
pub(crate) struct Recorded {
    identity: Identity,
    request: KeyRequest,
    key: DerivedKey,
}

impl Recorded {
    pub(crate) fn from(machine: &dyn Tee) -> Self {
        let (request, key) = machine.bind(&Policy::default()).unwrap();
        Self { identity: machine.identity().unwrap(), request, key }
    }

    fn key(&self) -> DerivedKey {
        DerivedKey::new(self.key.expose().to_vec())
    }
}

impl Tee for Recorded {
    fn identity(&self) -> Result<Identity, Error> {
        Ok(self.identity.clone())
    }

    fn bind(&self, _: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        Ok((self.request.clone(), self.key()))
    }

    fn derive(&self, _: &KeyRequest) -> Result<DerivedKey, Error> {
        Ok(self.key())
    }

    fn attest(&self, _: &ReportData, _: EvidenceKind<'_>) -> Result<Evidence, Error> {
        Err(Error::Unsupported { machine: "recorded machine", what: "attest" })
    }
}
