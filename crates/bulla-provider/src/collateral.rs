//! Collateral, kept while it is valid and fetched once for all who wait for it (R51).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulla_attest::{Collateral, CollateralId, CollateralSource, Error};

/// More kinds than one machine has: its enclaves' and its guests'. Above it, all are forgotten.
const KINDS_MAX: usize = 16;

type Slot = Arc<Mutex<Option<(Arc<Collateral>, u64)>>>;

pub(crate) struct Collaterals {
    source: Arc<dyn CollateralSource>,
    slots: Mutex<HashMap<CollateralId, Slot>>,
}

impl Collaterals {
    pub(crate) fn new(source: Arc<dyn CollateralSource>) -> Self {
        Self { source, slots: Mutex::default() }
    }

    /// A set that is valid at `now`, as far as its unverified dates say. Blocks while it is fetched.
    pub(crate) fn current(&self, id: &CollateralId, now: u64) -> Result<Arc<Collateral>, Error> {
        let slot = self.slot(id);
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((collateral, until)) = known.as_ref()
            && *until > now
        {
            return Ok(Arc::clone(collateral));
        }
        let collateral = Arc::new(self.source.collateral(id)?);
        *known = Some((Arc::clone(&collateral), collateral.valid_until()?));
        Ok(collateral)
    }

    /// Forgets a set that did not verify, so that a bad delivery does not last as long as it claims to.
    pub(crate) fn forget(&self, id: &CollateralId) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn slot(&self, id: &CollateralId) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= KINDS_MAX && !slots.contains_key(id) {
            slots.clear();
        }
        Arc::clone(slots.entry(*id).or_default())
    }
}
