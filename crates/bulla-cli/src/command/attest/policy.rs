//! `bulla attest policy`.

use std::path::Path;

use bulla_attest::Policy;
use serde_json::json;

use crate::args::PolicyFile;
use crate::failure::Failure;
use crate::{files, machine, say};

/// Reads a policy in its TOML form.
pub(super) fn read(path: &Path) -> Result<Policy, Failure> {
    let text = files::beginning(path, Policy::LIMIT as u64 + 1)?;
    let text =
        String::from_utf8(text).map_err(|_| Failure::usage(format!("{} is not UTF-8", path.display())))?;
    Policy::from_toml(&text).map_err(|error| Failure::from(error).about(path))
}

/// Says what its author may not have meant. None of it makes a policy invalid.
pub(crate) fn check(options: &PolicyFile) -> Result<(), Failure> {
    let policy = read(&options.policy)?;
    let warnings = policy.check(machine::now());
    if options.json {
        let warnings: Vec<_> =
            warnings.iter().map(|warning| json!({ "code": warning.code, "text": warning.text })).collect();
        say::result(json!({
            "name": policy.name(),
            "revision": policy.revision(),
            "digest": hex::encode(policy.digest()),
            "warnings": warnings,
        }));
        return Ok(());
    }
    title(&policy);
    for warning in warnings {
        say::result(format_args!("warning: {} [{}]", warning.text, warning.code));
    }
    Ok(())
}

/// Says what it accepts.
pub(crate) fn explain(options: &PolicyFile) -> Result<(), Failure> {
    let policy = read(&options.policy)?;
    if options.json {
        say::result(
            json!({ "name": policy.name(), "revision": policy.revision(), "rules": policy.explain() }),
        );
        return Ok(());
    }
    title(&policy);
    sentences(&policy);
    Ok(())
}

pub(super) fn sentences(policy: &Policy) {
    policy.explain().iter().for_each(|sentence| say::result(format_args!("- {}", say::escaped(sentence))));
}

pub(super) fn title(policy: &Policy) {
    let (name, digest) = (say::escaped(policy.name()), hex::encode(policy.digest()));
    say::result(format_args!("policy {name}, revision {}, SHA-256 {digest}", policy.revision()));
}
