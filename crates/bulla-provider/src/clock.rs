//! The host's clock, which is a hint (R30).

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bulla_protocol::Code;

use crate::refusal::Refusal;

/// How far the clock may step back, in seconds, before nothing is judged by it any more. Within it, time stands still.
const STEP: u64 = 60;

/// The host's clock. The one thing it decides is whether collateral is current; the verifier refuses a time before the
/// collateral's issue, and this refuses a time that has been passed.
pub(crate) struct Clock {
    largest: Mutex<u64>,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self { largest: Mutex::new(0) }
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> Result<u64, Refusal> {
        self.observe(host_time())
    }

    fn observe(&self, host: u64) -> Result<u64, Refusal> {
        let mut largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        if host < largest.saturating_sub(STEP) {
            return Err(Refusal::new(Code::CollateralUnavailable, "clock.went_back"));
        }
        *largest = host.max(*largest);
        Ok(*largest)
    }
}

/// What the host says the time is, for records. Zero before 1970.
pub(crate) fn host_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R30: a clock that goes back, freezes or starts in 1970.
    #[test]
    fn time_does_not_go_back() {
        let clock = Clock::new();
        assert_eq!(clock.observe(1_000), Ok(1_000));
        assert_eq!(clock.observe(1_000), Ok(1_000));
        assert_eq!(clock.observe(950), Ok(1_000));
        assert_eq!(clock.observe(0).unwrap_err().cause, "clock.went_back");
        assert_eq!(clock.observe(939).unwrap_err().code, Code::CollateralUnavailable);
        assert_eq!(clock.observe(2_000), Ok(2_000));
    }
}
