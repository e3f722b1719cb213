//! Counts and states for Prometheus. Labels are protocols, codes and states: their number is fixed, and none of them says
//! whose key, evidence or machine it was (R97).

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::audit::Mode;
use crate::health::State;
use crate::refusal::Refusal;

/// The content type of what [`Metrics::text`] returns.
pub(crate) const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latencies, in seconds: from one answer without a signature to what a peer gives up on.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    releases: Family<Protocol, Counter>,
    refusals: Family<Refused, Counter>,
    durations: Family<Protocol, Histogram, fn() -> Histogram>,
    connections: Gauge,
    waiting: Gauge,
    states: Family<InState, Gauge>,
    ready: Gauge,
    regime: Gauge,
    policy_version: Gauge,
    epochs: Gauge,
    collateral_left: Gauge,
    audit_lag: Gauge<f64, AtomicU64>,
    reloads: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    protocol: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What is as it is at the moment of the question.
pub(crate) struct Moment {
    pub(crate) states: Vec<State>,
    pub(crate) connections: usize,
    pub(crate) waiting: usize,
    pub(crate) regime: u64,
    pub(crate) policy_version: u32,
    pub(crate) epochs: usize,
    /// How many seconds the collateral that expires first is good for. Negative where it has expired, absent where there is
    /// none.
    pub(crate) collateral_left: Option<i64>,
    /// For how long the audit log waits for its disk.
    pub(crate) audit_lag: Duration,
}

impl Metrics {
    pub(crate) fn new(simulated: bool) -> Self {
        let mut registry = Registry::with_prefix("bulla_provider");
        let build = [("version", env!("CARGO_PKG_VERSION").to_owned()), ("simulated", simulated.to_string())];
        registry.register("build", "What runs", Info::new(build.to_vec()));
        let durations = Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        Self {
            releases: add(&mut registry, "releases", "Keys that were released"),
            refusals: add(&mut registry, "refusals", "Requests that were refused"),
            durations: durations.clone(),
            connections: add(&mut registry, "connections", "Connections that are open"),
            waiting: add(&mut registry, "waiting", "Requests that are complete and not answered"),
            states: add(&mut registry, "state", "1 for each reason not to be ready that holds"),
            ready: add(&mut registry, "ready", "1 if keys are given"),
            regime: add(&mut registry, "regime", "How often policy or roots were replaced since the start"),
            policy_version: add(&mut registry, "policy_version", "The version of the policy"),
            epochs: add(&mut registry, "roots", "How many roots keys can be derived from"),
            collateral_left: Gauge::default(),
            audit_lag: Gauge::default(),
            reloads: add(&mut registry, "reloads", "Attempts to replace the policy"),
            registry,
        }
        .with(durations)
    }

    fn with(mut self, durations: Family<Protocol, Histogram, fn() -> Histogram>) -> Self {
        let help = "From the complete request to its answer";
        self.registry.register_with_unit("request_duration", help, Unit::Seconds, durations);
        let help = "How long the collateral that expires first is good";
        let left = self.collateral_left.clone();
        self.registry.register_with_unit("collateral_left", help, Unit::Seconds, left);
        let help = "For how long the audit log waits for its disk";
        self.registry.register_with_unit("audit_lag", help, Unit::Seconds, self.audit_lag.clone());
        self
    }

    pub(crate) fn released(&self, mode: Mode, keys: usize) {
        self.releases.get_or_create(&Protocol { protocol: mode.as_str() }).inc_by(keys as u64);
    }

    pub(crate) fn refused(&self, mode: Mode, refusal: &Refusal) {
        self.refusals.get_or_create(&Refused { protocol: mode.as_str(), code: refusal.code.as_str() }).inc();
    }

    pub(crate) fn reloaded(&self, done: bool) {
        let outcome = if done { "done" } else { "refused" };
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }

    /// Measures until it is dropped.
    pub(crate) fn timer(&self, mode: Mode) -> Timer<'_> {
        Timer { metrics: self, protocol: Protocol { protocol: mode.as_str() }, start: Instant::now() }
    }

    /// All of it, as Prometheus reads it.
    pub(crate) fn text(&self, moment: &Moment) -> String {
        for state in State::ALL {
            let holds = i64::from(moment.states.contains(&state));
            self.states.get_or_create(&InState { state: state.code() }).set(holds);
        }
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.ready.set(i64::from(moment.states.is_empty()));
        self.connections.set(number(moment.connections));
        self.waiting.set(number(moment.waiting));
        self.regime.set(i64::try_from(moment.regime).unwrap_or(i64::MAX));
        self.policy_version.set(moment.policy_version.into());
        self.epochs.set(number(moment.epochs));
        self.collateral_left.set(moment.collateral_left.unwrap_or(0));
        self.audit_lag.set(moment.audit_lag.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text takes what is written");
        text
    }
}

/// Measures one request.
pub(crate) struct Timer<'a> {
    metrics: &'a Metrics,
    protocol: Protocol,
    start: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let elapsed: Duration = self.start.elapsed();
        self.metrics.durations.get_or_create(&self.protocol).observe(elapsed.as_secs_f64());
    }
}

fn add<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
