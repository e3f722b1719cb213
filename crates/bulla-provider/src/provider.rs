//! A provider that has its root and knows who it is, and does not listen yet.

use std::fmt;
use std::sync::Arc;

use bulla_attest::{CollateralSource, TrustAnchor};
use bulla_tee::{Identity, Tee, is_simulated};

use crate::challenge::Challenges;
use crate::custody::{Root, State};
use crate::own::Own;
use crate::policy::Policy;
use crate::record::{self, Record};
use crate::verify::Judge;
use crate::{Error, Settings};

/// A provider that has its root and knows who it is. [`serve`](crate::serve) makes it answer.
pub struct Provider {
    pub(crate) judge: Arc<Judge>,
    pub(crate) own: Own,
    pub(crate) root: Root,
    pub(crate) policy: Policy,
    pub(crate) challenges: Challenges,
    pub(crate) record: Record,
    identity: ProviderIdentity,
    /// Keeps other instances away.
    _state: State,
}

/// What clients pin: public, for the line that a provider prints when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderIdentity {
    /// MRENCLAVE.
    pub measurement: [u8; 32],
    /// Hash of the provider authority's key.
    pub authority: [u8; 32],
    /// The root of all keys.
    pub root_id: [u8; 16],
    /// Hash of the policy.
    pub policy_digest: [u8; 32],
    /// Whether the machine is simulated, and so protects nothing (R110).
    pub simulated: bool,
}

impl Provider {
    /// Opens the state, derives the root, and proves itself to itself.
    ///
    /// The first start on an empty or absent `state_dir` chooses the root for good; every other start needs the record of
    /// it. A quoting service that is missing or lies does not stop the start: the provider then refuses every request with
    /// `self-evidence-invalid` until its quote is its own (R37, R53, B43).
    ///
    /// # Errors
    /// [`Error::SignedPolicyNeeded`] on a real machine, [`Error::NotAnEnclave`] for a machine that is no enclave,
    /// [`Error::Machine`], [`Error::Locked`], [`Error::MissingSeal`] and the other errors about `state_dir` (R95, B39).
    pub fn start(
        tee: Arc<dyn Tee>,
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let measurement = match tee.identity()? {
            Identity::Sgx(enclave) if !is_simulated(&enclave.cpusvn) => {
                return Err(Error::SignedPolicyNeeded);
            }
            Identity::Sgx(enclave) => enclave.mrenclave,
            Identity::Tdx(_) => return Err(Error::NotAnEnclave("TDX guest")),
            Identity::Snp(_) => return Err(Error::NotAnEnclave("SEV-SNP guest")),
            _ => return Err(Error::NotAnEnclave("machine of another kind")),
        };
        let policy = Policy::development();
        let state = State::open(&settings.state_dir)?;
        let root = state.root(tee.as_ref())?;
        let record = Record::open(&state.path(record::FILE), &policy, &root)?;
        let judge = Arc::new(Judge::new(anchor, collateral, &policy));
        let own = Own::new(tee, Arc::clone(&judge), &policy, &root)?;
        if let Err(refusal) = own.proof() {
            let (code, cause) = (refusal.code.as_str(), refusal.cause);
            tracing::error!(
                code,
                cause,
                "this provider cannot prove who it is, and gives no keys until it can"
            );
        }
        let identity = ProviderIdentity {
            measurement,
            authority: policy.authority,
            root_id: *root.id(),
            policy_digest: policy.digest,
            simulated: policy.simulated,
        };
        let challenges = Challenges::new()?;
        Ok(Self { judge, own, root, policy, challenges, record, identity, _state: state })
    }

    /// What clients pin.
    pub const fn identity(&self) -> &ProviderIdentity {
        &self.identity
    }
}

impl fmt::Display for ProviderIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [measurement, authority] = [self.measurement, self.authority].map(hex::encode);
        write!(f, "measurement {measurement}, authority {authority}, root {}", hex::encode(self.root_id))?;
        if self.simulated {
            f.write_str(" (SIMULATED: protects nothing)")?;
        }
        Ok(())
    }
}
