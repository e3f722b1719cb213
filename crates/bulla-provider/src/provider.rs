//! A provider that has its root and knows who it is, and does not listen yet.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bulla_attest::{CollateralSource, TrustAnchor};
use bulla_crypto::SigningKey;
use bulla_tee::{Identity, Tee, is_simulated};

use crate::challenge::Challenges;
use crate::custody::{Custody, Roots};
use crate::operation::Operation;
use crate::policy::Policy;
use crate::record::Record;
use crate::regime::Regime;
use crate::verify::Sources;
use crate::{Error, Settings};

/// A provider that has its root and knows who it is. [`serve`](crate::serve) makes it answer.
pub struct Provider {
    regime: RwLock<Arc<Regime>>,
    tee: Arc<dyn Tee>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) challenges: Challenges,
    pub(crate) record: Record,
    pub(crate) operation: Operation,
    /// Keeps other instances away, too.
    pub(crate) custody: Custody,
    measurement: [u8; 32],
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
    /// [`Error::SignedPolicyNeeded`] on a real machine without a policy, [`Error::Policy`] for one that is not signed as it has
    /// to be or is for other machines (R108), [`Error::NotAnEnclave`] for a machine that is no enclave, [`Error::Machine`], [`Error::Locked`], [`Error::MissingSeal`] and the other errors about `state_dir` (R95, B39).
    pub fn start(
        tee: Arc<dyn Tee>,
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        Self::start_under(Policy::of(settings)?, tee, collateral, anchor, settings)
    }

    /// As [`start`](Self::start), under a policy.
    pub(crate) fn start_under(
        policy: Policy,
        tee: Arc<dyn Tee>,
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let measurement = measurement(tee.as_ref(), &policy, settings)?;
        let collateral = settings.collateral.open(collateral)?;
        let state_dir = &settings.state_dir;
        let (custody, roots) = Custody::open(&tee, state_dir, &policy)?;
        let sources = Arc::new(Sources::new(anchor, collateral, Some(custody.memory()))?);
        let key = Arc::new(SigningKey::generate()?);
        let operation = Operation::new(settings, policy.simulated);
        let regime =
            Regime::new(0, Arc::clone(&tee), Arc::clone(&sources), Arc::clone(&key), Arc::new(policy), roots);
        if let Err(refusal) = regime.own.proof() {
            let (code, cause) = (refusal.code.as_str(), refusal.cause);
            tracing::error!(
                code,
                cause,
                "this provider cannot prove who it is, and gives no keys until it can"
            );
        }
        let record = Record::open(state_dir, Arc::clone(&key), &measurement, &regime)?;
        let (regime, challenges) = (RwLock::new(Arc::new(regime)), Challenges::new()?);
        Ok(Self { regime, tee, key, sources, challenges, record, operation, custody, measurement })
    }

    /// What clients pin.
    pub fn identity(&self) -> ProviderIdentity {
        let Regime { policy, roots, .. } = &*self.regime();
        ProviderIdentity {
            measurement: self.measurement,
            authority: policy.authority,
            root_id: *roots.current().id(),
            policy_digest: policy.digest,
            simulated: policy.simulated,
        }
    }

    /// Answers under other roots from now on; what is being answered ends under those that it began with.
    pub(crate) fn replace_roots(&self, roots: Roots) {
        self.replace(self.regime().policy.clone(), roots);
    }

    /// Answers under another policy from now on, with the roots that it admits.
    pub(crate) fn replace_policy(&self, policy: Policy) -> Result<(), Error> {
        let roots = self.custody.roots(&policy)?;
        self.replace(Arc::new(policy), roots);
        Ok(())
    }

    fn replace(&self, policy: Arc<Policy>, roots: Roots) {
        let mut present = self.regime.write().unwrap_or_else(PoisonError::into_inner);
        let (tee, sources, key) = (Arc::clone(&self.tee), Arc::clone(&self.sources), Arc::clone(&self.key));
        *present = Arc::new(Regime::new(present.number + 1, tee, sources, key, policy, roots));
    }

    /// Under what this provider answers now. A walk takes it once.
    pub(crate) fn regime(&self) -> Arc<Regime> {
        Arc::clone(&self.regime.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// MRENCLAVE of the enclave that this is, if a provider of the policy may run in it.
pub(crate) fn measurement(tee: &dyn Tee, policy: &Policy, settings: &Settings) -> Result<[u8; 32], Error> {
    let (measurement, simulated) = match tee.identity()? {
        Identity::Sgx(enclave) => (enclave.mrenclave, is_simulated(&enclave.cpusvn)),
        Identity::Tdx(_) => return Err(Error::NotAnEnclave("TDX guest")),
        Identity::Snp(_) => return Err(Error::NotAnEnclave("SEV-SNP guest")),
        _ => return Err(Error::NotAnEnclave("machine of another kind")),
    };
    if settings.policy.is_none() && !simulated {
        return Err(Error::SignedPolicyNeeded);
    }
    policy.belongs(simulated)?;
    Ok(measurement)
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
