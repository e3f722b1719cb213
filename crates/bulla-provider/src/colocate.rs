//! Step `colocate`: guest and provider are on one machine (R36).

use bulla_attest::{CollateralId, Platform, TeeKind};
use bulla_protocol::Code;

use crate::refusal::Refusal;

/// The cheap look, before anything is fetched or verified (R50): a quote of another kind, or one that does not even claim
/// this model of machine. It can only refuse.
pub(crate) fn plausible(own: &Platform, guest: &CollateralId) -> Result<(), Refusal> {
    let Some(guest) = guest.intel().filter(|guest| guest.tee == TeeKind::Tdx) else {
        return Err(Refusal::new(Code::Unsupported, "evidence.not_tdx"));
    };
    if !own.intel().is_some_and(|own| guest.fmspc == own.fmspc && guest.ca == own.ca) {
        return Err(Refusal::new(Code::WrongPlatform, "platform.other_model"));
    }
    Ok(())
}

/// The decision, by the PCK certificates of two quotes that verified. The QE ID in a quote's header has no part in it:
/// the host writes it (B15).
pub(crate) fn one_machine(own: &Platform, guest: &Platform) -> Result<(), Refusal> {
    if own.same_machine(guest) {
        return Ok(());
    }
    Err(Refusal::new(Code::WrongPlatform, "platform.mismatch"))
}
