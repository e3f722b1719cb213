//! What the operator is told of a running provider. No secret, no evidence and no platform id is in it (R97).

use std::sync::Arc;

use serde_json::{Value, json};

use super::command::roots;
use crate::admit::Service;
use crate::health::State;
use crate::metrics::Moment;

/// Everything at once, for people and scripts.
pub(super) async fn status(service: &Arc<Service>) -> Value {
    let states = service.states().await;
    let (provider, regime) = (&service.provider, service.provider.regime());
    let policy = &regime.policy;
    let identity = provider.identity();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "simulated": identity.simulated,
        "measurement": hex::encode(identity.measurement),
        "signing_key": hex::encode(regime.own.verifying_key()),
        "authority": hex::encode(identity.authority),
        "policy": { "name": policy.name, "version": policy.version, "digest": hex::encode(policy.digest) },
        "regime": regime.number,
        "roots": roots(provider),
        "root": hex::encode(identity.root_id),
        "ready": states.is_empty(),
        "states": states.into_iter().map(State::shown).collect::<Vec<_>>(),
        "answering": provider.operation.drain.answering(),
        "connections": service.places.taken(),
        "collateral": provider.sources.status(),
    })
}

/// What the metrics say of this moment.
pub(super) async fn moment(service: &Arc<Service>) -> Moment {
    let states = service.states().await;
    let (provider, regime) = (&service.provider, service.provider.regime());
    let ends = provider.sources.status().into_iter().flat_map(|status| status.sets);
    let end = ends.filter_map(|set| set.valid_until).min();
    let left = |end: u64| Some(i64::try_from(end).ok()? - i64::try_from(provider.sources.now().ok()?).ok()?);
    Moment {
        states,
        connections: service.places.taken(),
        waiting: provider.operation.drain.answering(),
        regime: regime.number,
        policy_version: regime.policy.version,
        epochs: provider.epochs().len(),
        collateral_left: end.and_then(left),
        audit_lag: provider.record.lag(),
    }
}
