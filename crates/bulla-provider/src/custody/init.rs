//! Making the roots of a new provider, and a new memory for one that has lost it.

use std::sync::Arc;

use bulla_tee::Tee;

use super::{Custody, Memory, State, memory};
use crate::policy::Policy;
use crate::provider::measurement;
use crate::{Error, Provider, Settings};

impl Provider {
    /// Makes the roots of a new provider in an empty `state_dir`. For a key ring this is the only way there is (R95). If it is cut
    /// off, do it again. Returns the epochs with the ids of their roots.
    ///
    /// # Errors
    /// [`CustodyError::Exists`](crate::CustodyError::Exists); [`Error::MissingSeal`] where something shows that there was a root;
    /// as [`Provider::start`].
    pub fn init(tee: Arc<dyn Tee>, settings: &Settings) -> Result<Vec<(u32, [u8; 16])>, Error> {
        Self::init_under(&Policy::of(settings)?, tee, settings)
    }

    pub(crate) fn init_under(
        policy: &Policy,
        tee: Arc<dyn Tee>,
        settings: &Settings,
    ) -> Result<Vec<(u32, [u8; 16])>, Error> {
        measurement(tee.as_ref(), policy, settings)?;
        let (_, roots) = Custody::init(&tee, &settings.state_dir, policy)?;
        Ok(roots.iter().map(|root| (root.epoch(), *root.id())).collect())
    }

    /// Begins a new memory for the roots in `state_dir`, where the old one is lost for good. It knows nothing but what the policy says: older
    /// epochs, policies and collateral are accepted again.
    ///
    /// # Errors
    /// [`CustodyError::DamagedMemory`](crate::CustodyError::DamagedMemory) where there is one; as [`Provider::start`].
    pub fn begin_new_memory(tee: Arc<dyn Tee>, settings: &Settings) -> Result<(), Error> {
        Self::begin_new_memory_under(&Policy::of(settings)?, tee, settings)
    }

    pub(crate) fn begin_new_memory_under(
        policy: &Policy,
        tee: Arc<dyn Tee>,
        settings: &Settings,
    ) -> Result<(), Error> {
        measurement(tee.as_ref(), policy, settings)?;
        let path = {
            let state = State::open(&settings.state_dir)?;
            let path = state.path(memory::FILE);
            Memory::forget(&path)?;
            Memory::open(&tee, &path, policy, false)?.begin()?;
            path
        };
        tracing::warn!(path = %path.display(), "a new memory was begun: what it knew is lost");
        Custody::open(&tee, &settings.state_dir, policy).map(drop)
    }
}
