//! What an operator runs the provider with: counts, limits, drain, reload, and who supervises it. None of it is part of a walk's
//! decision, except that a limit refuses.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use bulla_protocol::Code;

use crate::admin::Nonces;
use crate::admit::Service;
use crate::audit::Mode;
use crate::drain::{Answering, Drain};
use crate::health::State;
use crate::limits::Limits;
use crate::metrics::{Metrics, Timer};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::supervisor::Supervisor;
use crate::work::Quoting;
use crate::{Error, Provider, Settings};

/// How often at most the provider tries to prove itself because somebody asks how it is.
const RETRY: Duration = Duration::from_secs(1);

/// What an operator runs the provider with.
pub(crate) struct Operation {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    pub(crate) nonces: Nonces,
    pub(crate) supervisor: Supervisor,
    /// When the last proof was tried because somebody asked, and why there was none.
    unproven: Mutex<Option<(Instant, Code)>>,
    /// Held while policy or roots are replaced.
    pub(crate) changing: Mutex<()>,
}

impl Operation {
    pub(crate) fn new(settings: &Settings, simulated: bool) -> Self {
        Self {
            settings: settings.clone(),
            metrics: Metrics::new(simulated),
            limits: Limits::new(&settings.limits),
            drain: Drain::new(),
            nonces: Nonces::new(),
            supervisor: Supervisor::none(),
            unproven: Mutex::default(),
            changing: Mutex::default(),
        }
    }
}

impl Provider {
    /// Tells this supervisor how it goes.
    #[must_use]
    pub fn supervised_by(mut self, supervisor: Supervisor) -> Self {
        self.operation.supervisor = supervisor;
        self
    }

    /// Replaces the policy by what its file says now, and takes what is new of the bundle of collateral. Whether the policy
    /// is another one. What is being answered ends under the policy that it began under; blocks.
    ///
    /// # Errors
    /// What is wrong with the file, or why it may not follow the policy that is in force, which then stays (R83).
    pub fn reload(&self) -> Result<bool, Error> {
        let _one = self.operation.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.operation.supervisor.reloading();
        let reloaded = self.try_reload();
        self.operation.metrics.reloaded(reloaded.is_ok());
        match &reloaded {
            Ok(changed) => tracing::info!(changed, "read the policy anew"),
            Err(error) => tracing::error!(code = error.code(), "the policy in force stays: {error}"),
        }
        self.operation.supervisor.ready("serving");
        reloaded
    }

    fn try_reload(&self) -> Result<bool, Error> {
        let settings = &self.operation.settings;
        let policy = Policy::of(settings)?;
        if let Some(bundle) = settings.collateral.read_bundle()? {
            self.sources.import(&bundle);
        }
        if policy.digest == self.regime().policy.digest {
            return Ok(false);
        }
        policy.may_follow(&self.regime().policy)?;
        let (name, version) = (policy.name.clone(), policy.version.to_string());
        self.replace_policy(policy)?;
        self.note("policy", &[("name", &name), ("version", &version)]);
        // The new regime has not proved itself yet; why it cannot is among the states.
        let _ = self.prove();
        Ok(true)
    }

    /// Appends to the audit log what was done. A full disk is no reason not to do it.
    pub(crate) fn note(&self, event: &str, detail: &[(&str, &str)]) {
        if self.record.event(event, detail).is_err() {
            tracing::error!("the audit log cannot be written");
        }
    }

    /// Why no keys are given, as far as it is known without trying.
    pub(crate) fn states(&self) -> Vec<State> {
        let mut states = Vec::new();
        if self.operation.drain.is_on() {
            states.push(State::Draining);
        }
        let Ok(now) = self.sources.now() else {
            states.push(State::ClockUnusable);
            return states;
        };
        if !self.regime().own.is_proven(now) {
            let code = self.unproven().map(|(_, code)| code);
            states.push(match code {
                Some(Code::CollateralUnavailable) => State::CollateralMissing,
                _ => State::SelfEvidenceInvalid,
            });
        }
        states.extend(self.record.health().err());
        let lacks = self.sources.status().is_some_and(|status| status.sets.iter().any(|set| !set.usable));
        if lacks && !states.contains(&State::CollateralMissing) {
            states.push(State::CollateralMissing);
        }
        states
    }

    /// Proves itself, and remembers why it could not.
    pub(crate) fn prove(&self) -> Result<(), Refusal> {
        let proof = self.regime().own.proof().map(drop);
        let failure = proof.as_ref().err().map(|refusal| (Instant::now(), refusal.code));
        *self.operation.unproven.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        proof
    }

    /// What is done now and then, so that no request has to wait for it. Blocks.
    pub(crate) fn renew(&self) {
        self.sources.refresh();
        let _ = self.prove();
    }

    fn unproven(&self) -> Option<(Instant, Code)> {
        *self.operation.unproven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that is taken and measured.
pub(crate) struct Begun<'a> {
    _answering: Answering<'a>,
    _timer: Timer<'a>,
}

impl Service {
    /// Takes a request of a peer, unless it has made as many as it may.
    pub(crate) fn admitted(&self, peer: Option<IpAddr>) -> Result<(), Refusal> {
        peer.map_or(Ok(()), |peer| self.provider.operation.limits.peer(peer))
    }

    /// Takes a complete request, unless none are taken.
    pub(crate) fn begin(&self, mode: Mode) -> Result<Begun<'_>, Refusal> {
        let operation = &self.provider.operation;
        Ok(Begun { _answering: operation.drain.enter()?, _timer: operation.metrics.timer(mode) })
    }

    /// Why no keys are given. Where the provider could not prove itself it tries again, but not each time that somebody asks.
    pub(crate) async fn states(self: &Arc<Self>) -> Vec<State> {
        let proven = self.provider.sources.now().is_ok_and(|now| self.provider.regime().own.is_proven(now));
        let lately = self.provider.unproven().is_some_and(|(at, _)| at.elapsed() < RETRY);
        if !proven && !lately {
            // Where the quoting service hangs, it is known soon enough that there is no proof.
            let _ = timeout(RETRY, self.walk(Quoting::Always, |provider| provider.prove())).await;
        }
        self.provider.states()
    }

    /// Takes no more requests.
    pub(crate) fn drain(&self) {
        self.provider.operation.drain.set(true);
        self.provider.note("drain", &[]);
        self.provider.operation.supervisor.status("draining: no requests are taken");
        tracing::info!("draining: no requests are taken");
    }

    /// Takes requests again.
    pub(crate) fn resume(&self) {
        self.provider.operation.drain.set(false);
        self.provider.note("resume", &[]);
        self.provider.operation.supervisor.status("serving");
        tracing::info!("requests are taken again");
    }

    /// As [`Provider::reload`].
    pub(crate) fn reload(&self) -> Result<bool, Error> {
        self.provider.reload()
    }
}
