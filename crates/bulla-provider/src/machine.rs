//! This machine, by which local reports of its guests are judged (R35).

use std::sync::{Arc, Mutex, PoisonError};

use bulla_attest::collateral::Floor;
use bulla_attest::{Collateral, Error, ThisMachine};

/// This machine, as its own quote shows it: verified once, as long as what it was verified with stays.
#[derive(Default)]
pub(crate) struct Machine(Mutex<Option<(Basis, Arc<ThisMachine>)>>);

/// What it was verified with.
pub(crate) struct Basis {
    /// This enclave's.
    pub(crate) quote: Vec<u8>,
    /// For the quote.
    pub(crate) own: Arc<Collateral>,
    /// For guests on this machine.
    pub(crate) guests: Arc<Collateral>,
    pub(crate) floor: Arc<Floor>,
}

impl Machine {
    /// The machine, verified anew where it was verified with anything else.
    pub(crate) fn known_by(
        &self,
        basis: Basis,
        verify: impl FnOnce(&Basis) -> Result<ThisMachine, Error>,
    ) -> Result<Arc<ThisMachine>, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((by, machine)) = &*known
            && by.is(&basis)
        {
            return Ok(Arc::clone(machine));
        }
        let machine = Arc::new(verify(&basis)?);
        *known = Some((basis, Arc::clone(&machine)));
        Ok(machine)
    }
}

impl Basis {
    fn is(&self, other: &Self) -> bool {
        self.quote == other.quote
            && Arc::ptr_eq(&self.own, &other.own)
            && Arc::ptr_eq(&self.guests, &other.guests)
            && Arc::ptr_eq(&self.floor, &other.floor)
    }
}
