//! Step `verify`: evidence in, claims out. Nothing here trusts the host beyond carrying bytes.

use std::sync::Arc;

use bulla_attest::collateral::{Bundle, Floor, FloorMemory, Minimum, Status, Store};
use bulla_attest::{
    Claims, CollateralId, Error, IntelCollateralId, IntelPlatform, Remote, TeeKind, TrustAnchor, Verifier,
};
use bulla_protocol::Code;
use bulla_tee::Tee;

use crate::clock::Clock;
use crate::machine::{Basis, Machine};
use crate::own::Proof;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::settings::Collateral;

/// What evidence is judged with, whatever the policy: it outlives every one.
pub(crate) struct Sources {
    verifier: Verifier,
    /// Collateral, kept while it is good and never exchanged for older (R29, R51).
    store: Store,
    clock: Clock,
}

impl Sources {
    /// What cannot be used of a bundle is said and left out: it makes no start worse than none would be.
    /// `memory` keeps the floor across restarts (R29).
    pub(crate) fn new(
        anchor: TrustAnchor,
        from: Collateral,
        memory: Option<Arc<dyn FloorMemory>>,
    ) -> Result<Self, crate::Error> {
        let minimum = Minimum::release(&anchor);
        let verifier = Verifier::new(anchor);
        let mut store = Store::in_memory(verifier.clone(), minimum);
        if let Some(memory) = memory {
            store = store.with_floor_memory(memory).map_err(crate::Error::Collateral)?;
        }
        if let Some(source) = from.source {
            store = store.with_source(source);
        }
        if let Some(seconds) = from.max_age {
            store = store.with_max_age(seconds);
        }
        let sources = Self { verifier, store, clock: Clock::new() };
        if let Some(bundle) = from.bundle {
            sources.import(&bundle);
        }
        Ok(sources)
    }

    /// Takes what can be used of a bundle.
    pub(crate) fn import(&self, bundle: &Bundle) {
        let refused = match self.now().map(|now| self.store.import(bundle, now)) {
            Ok(Ok(sets)) => sets.into_iter().find_map(|set| set.refused).map(|error| error.code()),
            Ok(Err(error)) => Some(error.code()),
            Err(refusal) => Some(refusal.cause),
        };
        if let Some(code) = refused {
            tracing::warn!(code, "not all of the bundle of collateral can be used");
        }
    }

    /// What collateral may not be older than.
    pub(crate) fn floor(&self) -> Arc<Floor> {
        self.store.floor()
    }

    /// The host's time in Unix seconds, as far as it is believed (R30).
    pub(crate) fn now(&self) -> Result<u64, Refusal> {
        self.clock.now()
    }

    /// How the collateral stands that was asked for so far.
    pub(crate) fn status(&self) -> Option<Status> {
        Some(self.store.status(self.now().ok()?))
    }

    /// Fetches collateral that is due, so that no request has to wait for it. Blocks.
    pub(crate) fn refresh(&self) {
        let refreshed = self.now().map(|now| self.store.refresh_due(now));
        if let Ok(Err(error)) = refreshed {
            tracing::warn!(code = error.code(), "collateral cannot be renewed");
        }
    }
}

/// Judges evidence, of guests and of the provider itself, under one policy.
pub(crate) struct Judge {
    sources: Arc<Sources>,
    guests: bulla_attest::Policy,
    own: bulla_attest::Policy,
    simulated: bool,
    machine: Machine,
}

impl Judge {
    pub(crate) fn new(sources: Arc<Sources>, policy: &Policy) -> Self {
        let (guests, own) = (policy.guests.clone(), policy.own.clone());
        Self { sources, guests, own, simulated: policy.simulated, machine: Machine::default() }
    }

    /// As [`Sources::now`].
    pub(crate) fn now(&self) -> Result<u64, Refusal> {
        self.sources.now()
    }

    /// What collateral has to be at least, at this moment.
    pub(crate) fn floor(&self) -> Arc<Floor> {
        self.sources.floor()
    }

    /// What a guest's quote says, if it is genuine and the policy accepts it. `id` is what [`CollateralId::of_quote`] read
    /// from it.
    pub(crate) fn claims(&self, quote: &[u8], id: &CollateralId) -> Result<Claims, Refusal> {
        self.judge(quote, id, &self.guests)
    }

    /// The same of the provider's own quote.
    pub(crate) fn own_claims(&self, quote: &[u8], id: &CollateralId) -> Result<Claims, Refusal> {
        self.judge(quote, id, &self.own)
    }

    fn judge(
        &self,
        quote: &[u8],
        id: &CollateralId,
        appraisal: &bulla_attest::Policy,
    ) -> Result<Claims, Refusal> {
        let (now, sources) = (self.now()?, self.sources.as_ref());
        // The floor of before the set was taken: a delivery for somebody else may raise it above this set at any time.
        let verifier = sources.verifier.clone().with_floor(sources.store.floor());
        let collateral = sources.store.current(id, now).map_err(|error| refusal(&error))?;
        let claims = verifier.verify(quote, &collateral, now, appraisal);
        self.accepted(claims)
    }

    /// What a TDREPORT says, if it was made on this machine and the policy accepts it (R35). `proof` is this machine's own,
    /// by which the platform is known.
    pub(crate) fn local_claims(
        &self,
        report: &[u8],
        proof: &Proof,
        tee: &dyn Tee,
    ) -> Result<Claims, Refusal> {
        let unverifiable = Refusal::new(Code::Unsupported, "report.unverifiable");
        let local = tee.local_verifier().ok_or(unverifiable)?;
        let IntelPlatform { fmspc, ca, .. } = *proof.platform.intel().ok_or(unverifiable)?;
        let (now, store) = (self.now()?, &self.sources.store);
        // As for quotes: the second set may bring newer lists than the first one has.
        let floor = store.floor();
        let collateral = |tee| {
            let id = CollateralId::Intel(IntelCollateralId { tee, fmspc, ca });
            store.current(&id, now).map_err(|error| refusal(&error))
        };
        let (own, guests) = (collateral(TeeKind::Sgx)?, collateral(TeeKind::Tdx)?);
        let basis = Basis { quote: proof.statement.quote.clone(), own, guests, floor };
        let verifier = &self.sources.verifier;
        let machine = self.machine.known_by(basis, |basis| {
            let verifier = verifier.clone().with_floor(Arc::clone(&basis.floor));
            verifier.this_machine(&basis.quote, &basis.own, &basis.guests, now, &self.own)
        });
        let machine = machine.map_err(|error| refusal(&error))?;
        self.accepted(machine.verify_report(report, local, now, &self.guests))
    }

    fn accepted(&self, claims: Result<Claims, Error>) -> Result<Claims, Refusal> {
        let claims = claims.map_err(|error| refusal(&error))?;
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
