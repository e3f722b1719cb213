//! Which registers of a guest bind its keys: named, versioned choices (R26).

use bulla_attest::{Boundary, EventLog};
use bulla_protocol::Code;
use bulla_tee::{GuestRegisters, TdxIdentity};

use crate::refusal::Refusal;
use crate::verify::refusal;

/// The registers that the host chooses when it makes a guest. One that does not bind a key must be zero: otherwise guests
/// that differ in nothing else would share it (R25).
const BY_HOST: [&str; 3] = ["MRCONFIGID", "MROWNER", "MROWNERCONFIG"];

/// A choice of registers. Its name and version enter every key that is bound by it, so another choice under another name
/// or version never leads to the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisterPolicy {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// Names as in [`GuestRegisters::NAMES`], in that order.
    pub(crate) bind: Vec<&'static str>,
    pub(crate) boundary: Option<EventBoundary>,
}

/// One run-time register counts as it was at a named event of the guest's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventBoundary {
    /// RTMR 0 to 3. It is among those that bind.
    pub(crate) register: u8,
    pub(crate) event: String,
    /// Whether the guest may have extended the register since.
    pub(crate) later: bool,
}

impl RegisterPolicy {
    /// All registers: the binding `measurement`.
    pub(crate) fn measurement() -> Self {
        Self { name: "measurement".into(), version: 1, bind: GuestRegisters::NAMES.into(), boundary: None }
    }

    /// The values that bind the keys of a guest.
    pub(crate) fn values(
        &self,
        guest: &TdxIdentity,
        log: Option<&[u8]>,
    ) -> Result<Vec<(&'static str, [u8; 48])>, Refusal> {
        let mut counted = guest.clone();
        if let Some(boundary) = &self.boundary {
            counted.rtmr = boundary.registers(guest, log)?;
        }
        let registers = GuestRegisters::from(&counted);
        let unbound = |name: &str| BY_HOST.contains(&name) && !self.bind.contains(&name);
        if registers.named().into_iter().any(|(name, value)| unbound(name) && *value != [0; 48]) {
            return Err(Refusal::new(Code::PolicyDenied, "registers.unbound"));
        }
        let bound = registers.named().into_iter().filter(|(name, _)| self.bind.contains(name));
        Ok(bound.map(|(name, value)| (name, *value)).collect())
    }
}

impl EventBoundary {
    /// The run-time registers as they count, after the log was found to be the guest's (B22).
    fn registers(&self, guest: &TdxIdentity, log: Option<&[u8]>) -> Result<[[u8; 48]; 4], Refusal> {
        let log = log.ok_or(Refusal::new(Code::PolicyDenied, "event_log.missing"))?;
        let fault = |error: bulla_attest::Error| refusal(&error);
        let log = EventLog::from_json(log).map_err(fault)?;
        let boundary = Boundary { register: self.register.into(), event: &self.event };
        let at = log.matches(guest).and_then(|log| log.at(boundary)).map_err(fault)?;
        if !self.later {
            at.require_nothing_later().map_err(fault)?;
        }
        Ok(at.registers)
    }
}
