//! The committed vectors, which hold the format still.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use bulla::Header;
use bulla_crypto::sha256;
use bulla_tee::sgx::arch::Attributes;
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, SgxIdentity, Tee,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    shows: String,
    context: String,
    opener_key: String,
    secret_sha256: Option<String>,
    refused: Option<String>,
}

/// A machine that gives one key, to every request that is for its identity.
pub(crate) struct Recorded {
    identity: SgxIdentity,
    key: Vec<u8>,
}

impl Recorded {
    /// The enclave of the vectors, as the plainest of them claims it.
    fn vectors(key: &[u8]) -> Self {
        let envelope = fs::read(directory().join("good_one_chunk.bulla")).unwrap();
        let header = Header::read(&mut envelope.as_slice()).unwrap();
        let KeyRequest::Simulated(inner) = header.slots()[0].request() else { panic!("not simulated") };
        let KeyRequest::Sgx(request) = inner.as_ref() else { panic!("not SGX") };
        let identity = SgxIdentity {
            mrenclave: request.mrenclave,
            mrsigner: request.mrsigner,
            isv_prod_id: request.isv_prod_id,
            isv_svn: request.isvsvn,
            cpusvn: request.cpusvn,
            attributes: Attributes { flags: request.flags, xfrm: 3 },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
        };
        Self { identity, key: key.to_vec() }
    }

    /// The same on a real processor.
    pub(crate) fn real() -> Self {
        let mut machine = Self::vectors(&[1; 16]);
        machine.identity.cpusvn[8..].fill(0);
        machine
    }
}

impl Tee for Recorded {
    fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::Sgx(Box::new(self.identity.clone())))
    }

    fn bind(&self, _: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        panic!("vectors are only opened")
    }

    fn derive(&self, _: &KeyRequest) -> Result<DerivedKey, Error> {
        Ok(DerivedKey::new(self.key.clone()))
    }

    fn attest(&self, _: &ReportData, _: EvidenceKind<'_>) -> Result<Evidence, Error> {
        panic!("vectors are only opened")
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Each vector gives what its description says, here; `tests/` of the workspace holds the second implementation to the same.
#[test]
fn vectors_open_or_are_refused_as_they_say() {
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let vector: Description = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let machine = Recorded::vectors(&hex::decode(&vector.opener_key).unwrap());
        let envelope = fs::read(path.with_extension("bulla")).unwrap();
        let opened = bulla::unseal(&machine, &vector.context, &envelope);
        let hash = opened.as_ref().ok().map(|secret| hex::encode(sha256(&[secret.expose()])));
        let refused = opened.err().map(|error| error.code().to_owned());
        assert_eq!(
            (hash, refused),
            (vector.secret_sha256, vector.refused),
            "{}: {}",
            path.display(),
            vector.shows
        );
    }
}
