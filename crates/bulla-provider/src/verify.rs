//! Step `verify`: evidence in, claims out. Nothing here trusts the host beyond carrying bytes.

use std::sync::Arc;

use bulla_attest::{Claims, CollateralId, CollateralSource, Error, Remote, TrustAnchor, Verifier};
use bulla_protocol::Code;

use crate::clock::Clock;
use crate::collateral::Collaterals;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// Judges evidence, of guests and of the provider itself, under one policy.
pub(crate) struct Judge {
    verifier: Verifier,
    appraisal: bulla_attest::Policy,
    simulated: bool,
    collaterals: Collaterals,
    pub(crate) clock: Clock,
}

impl Judge {
    pub(crate) fn new(anchor: TrustAnchor, source: Arc<dyn CollateralSource>, policy: &Policy) -> Self {
        Self {
            verifier: Verifier::new(anchor),
            appraisal: policy.appraisal.clone(),
            simulated: policy.simulated,
            collaterals: Collaterals::new(source),
            clock: Clock::new(),
        }
    }

    /// What a quote says, if it is genuine and the policy accepts it. `id` is what [`CollateralId::of_quote`] read from it.
    pub(crate) fn claims(&self, quote: &[u8], id: &CollateralId) -> Result<Claims, Refusal> {
        let now = self.clock.now()?;
        let collateral = self.collaterals.current(id, now).map_err(|error| refusal(&error))?;
        let claims = match self.verifier.verify(quote, &collateral, now, &self.appraisal) {
            Ok(claims) => claims,
            Err(error) => {
                let refusal = refusal(&error);
                if refusal.code == Code::CollateralUnavailable {
                    self.collaterals.forget(id);
                }
                return Err(refusal);
            }
        };
        if claims.simulated != self.simulated {
            return Err(Refusal::new(Code::PolicyDenied, "policy.simulated"));
        }
        Ok(claims)
    }
}

/// What a peer is told about evidence, beside what the operator is told (R55).
pub(crate) fn refusal(error: &Error) -> Refusal {
    let code = match error.remote() {
        Remote::Malformed => Code::Malformed,
        Remote::TooLarge => Code::TooLarge,
        Remote::Unsupported => Code::Unsupported,
        Remote::BadEvidence => Code::BadEvidence,
        Remote::TcbTooOld => Code::TcbTooOld,
        Remote::PolicyDenied => Code::PolicyDenied,
        Remote::WrongPlatform => Code::WrongPlatform,
        Remote::BindingMismatch => Code::BindingMismatch,
        Remote::CollateralUnavailable => Code::CollateralUnavailable,
        _ => Code::Internal,
    };
    Refusal::new(code, error.code())
}
