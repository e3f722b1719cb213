//! A policy in plain sentences.

use std::collections::BTreeSet;
use std::fmt::Display;

use bulla::successor::Upgrade;
use bulla_protocol::text::shown_time;
use bulla_tee::GuestRegisters;

use super::usage::{BindingName, Claims, Rule, Sessions};
use super::{Legacy, Policy};
use crate::custody::{Kind, Target, Terms};
use crate::registers::RegisterPolicy;

/// How those sentences of an appraisal begin that are not about SGX enclaves, of which the provider is one, or about what is
/// settled otherwise: its own report says which program it is.
const OF_GUESTS: [&str; 8] =
    ["TDX guests", "Any TDX", "No TDX", "The TDX", "MRCONFIGID", "MROWNER", "SEV-SNP", "No registers"];

pub(super) fn sentences(policy: &Policy) -> Vec<String> {
    let mut lines = vec![if policy.simulated {
        "It is for simulated machines, which protect nothing; a real one refuses it.".to_owned()
    } else {
        "It is for real machines; a simulated one refuses it.".into()
    }];
    lines.extend(roots(&policy.terms));
    lines.push(legacy(policy.legacy.as_ref()));
    lines.push(if policy.classical {
        "Keys may travel under X25519 alone: whoever records them can read them with a quantum computer one day.".into()
    } else {
        "Keys travel under X25519 and ML-KEM-768 together, and never under one of them alone.".into()
    });
    lines.push("A guest can have keys that belong to an owner who signed a manifest for its image.".into());
    lines.push(registers(&policy.measurement));
    lines.extend(policy.registers.iter().map(registers));
    lines.extend(usage(&policy.usage));
    let bounds = policy.session;
    lines.push(format!(
        "A session ends after {} s, after {} keys, and whenever policy, roots or collateral change.",
        bounds.seconds, bounds.keys
    ));
    lines.extend(policy.guests.explain().into_iter().map(|line| format!("Guests: {line}")));
    let of_enclaves = |line: &String| !OF_GUESTS.iter().any(|begin| line.starts_with(begin));
    let own = policy.own.explain().into_iter().filter(of_enclaves);
    lines.extend(own.map(|line| format!("The provider itself: {line}")));
    lines
}

fn roots(terms: &Terms) -> Vec<String> {
    let mut lines = vec![match terms.custody {
        Kind::Hardware => {
            "Roots are derived by the processor, for this enclave on this machine: they cannot be handed \
                           over, backed up or recovered."
                .to_owned()
        }
        Kind::Keyring => "Roots are random, and sealed to this enclave on this machine.".into(),
    }];
    if terms.custody == Kind::Keyring {
        lines.push(match &terms.recovery {
            None => "There is no recovery: what the machine loses is lost.".into(),
            Some(recovery) => format!(
                "{} of {} recovery recipients together can open a backup of the roots.",
                recovery.threshold,
                recovery.recipients.len()
            ),
        });
        if terms.upgrades.is_empty() {
            lines.push(
                "Roots are handed to no other enclave: another build of the provider cannot have them."
                    .into(),
            );
        }
        lines.extend(terms.upgrades.iter().map(target));
        lines.push(match terms.migration.len() {
            0 => "Roots are recovered on no machine.".into(),
            count => format!(
                "Roots may be recovered on {count} machines, by PPID: {}.",
                joined(terms.migration.iter().map(hex::encode))
            ),
        });
    }
    if terms.minimum_epoch > 0 {
        lines.push(format!("Roots before epoch {} are refused.", terms.minimum_epoch));
    }
    lines
}

fn target(target: &Target) -> String {
    let whom = match &target.enclave {
        Upgrade::Measurement(id) => format!("the enclave with MRENCLAVE {}", hex::encode(id)),
        Upgrade::Signer { signer, product, min_svn } => format!(
            "every enclave of MRSIGNER {} with product {product} and SVN {min_svn} or above, also those to come",
            hex::encode(signer)
        ),
        _ => "another machine".into(),
    };
    let until = target.not_after.map(|end| format!("Until {}, roots", shown_time(end)));
    format!("{} may be handed to {whom}.", until.as_deref().unwrap_or("Roots"))
}

fn legacy(legacy: Option<&Legacy>) -> String {
    let Some(legacy) = legacy else {
        return "Legacy clients are refused.".into();
    };
    let listed = legacy.listed().map(|(name, values)| match values.len() {
        0 => format!("{name} must be zero"),
        _ => format!(
            "{name} must be zero or {}, between which keys do not differ",
            joined(values.iter().map(hex::encode))
        ),
    });
    format!("Legacy clients get keys by the formula of the earlier providers; {}.", listed.join("; "))
}

fn registers(policy: &RegisterPolicy) -> String {
    let RegisterPolicy { name, version, bind, boundary } = policy;
    let cut = boundary.as_ref().map(|boundary| {
        let later =
            if boundary.later { "; what the guest does later counts no more" } else { " and still is" };
        format!(
            " (RTMR{} as it was at the event {:?} of the guest's log{later})",
            boundary.register, boundary.event
        )
    });
    let left: Vec<_> = GuestRegisters::NAMES.into_iter().filter(|name| !bind.contains(name)).collect();
    let shared = match left.as_slice() {
        [] => String::new(),
        _ => format!(". Guests that differ in {} alone share them", left.join(", ")),
    };
    format!(
        "A guest can have keys bound to {name}/{version}, which is {}{}{shared}.",
        bind.join(", "),
        cut.unwrap_or_default()
    )
}

fn usage(rules: &[Rule]) -> Vec<String> {
    if rules.is_empty() {
        return vec![
            "There are no usage rules: a guest may have any path, purpose, algorithm and length.".into(),
        ];
    }
    let mut lines: Vec<_> = rules.iter().map(rule).collect();
    lines.push("Keys that no usage rule names are refused.".into());
    lines
}

fn rule(rule: &Rule) -> String {
    let Claims { owners, products, min_svn, registers } = &rule.claims;
    let mut terms = vec![format!("under the path {}", rule.path.as_str())];
    let mut add = |what: &str, values: Option<String>| {
        terms.extend(
            values.map(|values| format!("{what} {}", if values.is_empty() { "(none)" } else { &values })),
        );
    };
    add("for", rule.purposes.as_ref().map(joined_set));
    add("by", rule.algorithms.as_ref().map(joined_set));
    add("of bytes", rule.lengths.as_ref().map(joined_set));
    let bindings = rule.bindings.as_ref();
    add("bound to", bindings.map(|set| joined(set.iter().map(binding))));
    add("of the owners", owners.as_ref().map(|set| joined(set.iter().map(hex::encode))));
    add("of the products", products.as_ref().map(joined_set));
    add("at SVN or above", min_svn.map(|svn| svn.to_string()));
    for (name, values) in registers {
        add(&format!("with {name}"), Some(joined(values.iter().map(hex::encode))));
    }
    match rule.session {
        Sessions::Any => {}
        Sessions::Only => terms.push("only in a session".into()),
        Sessions::Never => terms.push("never in a session".into()),
    }
    terms.extend(rule.session_keys.map(|most| format!("among the first {most} keys of a session")));
    terms.extend(rule.not_after.map(|end| format!("until {} by the host's clock", shown_time(end))));
    format!("A guest may have keys {}.", terms.join(", "))
}

fn binding(name: &BindingName) -> String {
    match name {
        BindingName::Measurement => "measurement".into(),
        BindingName::Owner => "owner".into(),
        BindingName::Registers(name, version) => format!("{name}/{version}"),
    }
}

fn joined_set<T: Display>(set: &BTreeSet<T>) -> String {
    joined(set.iter())
}

fn joined(items: impl Iterator<Item = impl Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(" or ")
}
