//! What the author of a policy may not have meant.

use super::Policy;
use crate::custody::Kind;

/// Something that the author of a policy may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// A stable name for this kind of warning.
    pub code: &'static str,
    /// What it is, and what to do.
    pub text: String,
}

/// What an appraisal warns of that is no matter here: keys are bound to what guests show, the provider's evidence is compared
/// with its own report, and the rest is said once for both.
const NOT_HERE: [&str; 2] = ["registers.none", "simulated"];

pub(super) fn warnings(policy: &Policy, now: u64) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code, text: String| warnings.push(Warning { code, text });
    if policy.simulated {
        warn(
            "simulated",
            "it is for simulated machines, which protect nothing: leave simulated to trials".into(),
        );
    }
    if policy.classical {
        let text = "transport.classical lets keys travel under X25519 alone: leave it out once every client is hybrid";
        warn("transport.classical", text.into());
    }
    legacy(policy, &mut warn);
    roots(policy, now, &mut warn);
    registers(policy, &mut warn);
    usage(policy, now, &mut warn);
    for (section, appraisal) in [("guests", &policy.guests), ("provider", &policy.own)] {
        for warning in appraisal.check(now) {
            let once = section == "provider" && warning.code == "evaluation_number.none";
            if !once && !NOT_HERE.contains(&warning.code) {
                warn(warning.code, format!("[{section}]: {}", warning.text));
            }
        }
    }
    warnings
}

fn legacy(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    let Some(legacy) = &policy.legacy else { return };
    let text = "[legacy] serves clients whose requests name neither a path nor a challenge: leave it out when none is left";
    warn("legacy", text.into());
    for (name, values) in legacy.listed() {
        if !values.is_empty() {
            let text = format!(
                "legacy: the host chooses {name}, and guests that differ in a listed value share their key"
            );
            warn("legacy.registers", text);
        }
    }
}

fn roots(policy: &Policy, now: u64, warn: &mut impl FnMut(&'static str, String)) {
    let terms = &policy.terms;
    if terms.custody == Kind::Keyring {
        if terms.recovery.is_none() {
            let text = "there is no [recovery], and none can be added once roots are made: a lost machine loses every key";
            warn("recovery.none", text.into());
        }
        if terms.recovery.is_some() && terms.migration.is_empty() {
            let text =
                "[recovery] names recipients and no [[migration]] a machine: a backup can be opened nowhere";
            warn("migration.none", text.into());
        }
        if terms.upgrades.is_empty() {
            let text = "there is no [[upgrade]]: another build of the provider cannot have the roots";
            warn("upgrade.none", text.into());
        }
    } else if !terms.migration.is_empty() {
        warn(
            "migration.hardware",
            "[[migration]] has no effect: roots of custody \"hardware\" cannot move".into(),
        );
    }
    if terms.upgrades.iter().any(|target| target.not_after.is_some_and(|end| end <= now)) {
        warn("upgrade.expired", "an [[upgrade]] has expired: remove it, or sign it anew".into());
    }
}

fn registers(policy: &Policy, warn: &mut impl FnMut(&'static str, String)) {
    for registers in &policy.registers {
        let binds = |name| registers.bind.contains(&name);
        let name = &registers.name;
        if !binds("RTMR1") || !binds("RTMR2") {
            let text = format!(
                "registers {name}: without rtmr1 and rtmr2 any kernel and any command line get the keys"
            );
            warn("registers.no_kernel", text);
        }
        if !binds("RTMR3") && !binds("MRCONFIGID") {
            let text = format!(
                "registers {name}: neither rtmr3 nor mrconfigid is bound, where guests commonly measure the application: \
                 two applications on one image may share keys (R26)"
            );
            warn("registers.no_app", text);
        }
    }
}

fn usage(policy: &Policy, now: u64, warn: &mut impl FnMut(&'static str, String)) {
    for (at, rule) in policy.usage.iter().enumerate() {
        let number = at + 1;
        let empty = rule.purposes.as_ref().is_some_and(|set| set.is_empty())
            || rule.algorithms.as_ref().is_some_and(|set| set.is_empty())
            || rule.lengths.as_ref().is_some_and(|set| set.is_empty())
            || rule.bindings.as_ref().is_some_and(|set| set.is_empty())
            || rule.claims.owners.as_ref().is_some_and(|set| set.is_empty())
            || rule.claims.products.as_ref().is_some_and(|set| set.is_empty())
            || rule.claims.registers.values().any(|set| set.is_empty());
        if empty {
            warn("usage.empty", format!("usage rule {number} has an empty list, and allows nothing"));
        }
        if rule.not_after.is_some_and(|end| end <= now) {
            warn("usage.expired", format!("usage rule {number} has expired: remove it"));
        }
    }
}
