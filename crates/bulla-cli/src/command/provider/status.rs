//! `bulla provider status`.

use serde_json::Value;

use super::admin::ask;
use crate::args::ProviderStatus;
use crate::failure::Failure;
use crate::say;

pub(super) fn run(options: &ProviderStatus) -> Result<(), Failure> {
    let place = &options.running.place;
    if options.metrics {
        say::result(ask(place, "GET", "/metrics", "")?.body.trim_end());
        return Ok(());
    }
    let status = ask(place, "GET", "/status", "")?.json()?;
    if options.running.json {
        say::result(&status);
    } else {
        show(&status);
    }
    match status.get("ready") {
        Some(Value::Bool(true)) => Ok(()),
        _ => Err(Failure::peer("it gives no keys: see its states")),
    }
}

fn show(status: &Value) {
    let at = |path: &str| status.pointer(path).unwrap_or(&Value::Null);
    if at("/simulated") == true {
        say::note("SIMULATED machine: the keys of this provider protect nothing");
    }
    for (name, path) in [
        ("version", "/version"),
        ("measurement", "/measurement"),
        ("signing key", "/signing_key"),
        ("authority", "/authority"),
        ("policy", "/policy/name"),
        ("policy version", "/policy/version"),
        ("policy digest", "/policy/digest"),
        ("regime", "/regime"),
        ("ready", "/ready"),
        ("answering", "/answering"),
        ("connections", "/connections"),
    ] {
        say::field(name, at(path));
    }
    roots(at("/roots"));
    for state in list(at("/states")) {
        let [number, code, title] = ["number", "code", "title"].map(|name| text(state, name));
        say::result(format_args!("not ready      {number} {code}: {title}"));
    }
    for set in list(at("/collateral/sets")) {
        let until = set.get("valid_until").and_then(Value::as_u64).map(say::date).unwrap_or_default();
        say::result(format_args!("collateral     {}, good until {until}", text(set, "name")));
    }
}

/// The roots that a provider names, a line each.
pub(super) fn roots(named: &Value) {
    for root in list(named) {
        say::result(format_args!("root           epoch {}, {}", text(root, "epoch"), text(root, "id")));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as the terminal shows it.
fn text(object: &Value, name: &str) -> String {
    match object.get(name) {
        Some(Value::String(text)) => say::escaped(text),
        value => value.map(ToString::to_string).unwrap_or_default(),
    }
}
