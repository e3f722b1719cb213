//! `bulla provider config`.

use bulla_provider::{Finding, Settings, Weight};
use serde_json::json;

use crate::args::{Config, SettingsFile};
use crate::failure::Failure;
use crate::{machine, say};

pub(super) fn run(subcommand: &Config) -> Result<(), Failure> {
    match subcommand {
        Config::Check(file) => check(file),
        Config::Explain(file) => explain(file),
    }
}

/// Everything that a start would refuse, all of it and not only the first.
fn check(options: &SettingsFile) -> Result<(), Failure> {
    let settings = load(options)?;
    let mut findings = settings.check();
    if let Err(failure) = machine::open(Some(&settings.machine)) {
        let text = failure.to_string();
        findings.push(Finding { weight: Weight::Refused, key: "machine".into(), text });
    }
    if options.json {
        let findings: Vec<_> = findings
            .iter()
            .map(|found| json!({ "weight": word(found), "key": found.key, "text": found.text }))
            .collect();
        say::result(json!({ "findings": findings }));
    } else {
        for found in &findings {
            say::result(format_args!("{}: {}: {}", word(found), found.key, say::escaped(&found.text)));
        }
    }
    match findings.iter().filter(|found| found.weight != Weight::Note).count() {
        0 => Ok(()),
        count => Err(Failure::usage(format!("a start would be refused, for {count} of these: see above"))),
    }
}

fn word(finding: &Finding) -> &'static str {
    match finding.weight {
        Weight::Refused => "refused",
        Weight::Now => "refused now",
        _ => "note",
    }
}

fn explain(options: &SettingsFile) -> Result<(), Failure> {
    let settings = load(options)?;
    if options.json {
        let rows = settings.explain().into_iter().map(|row| {
            json!({
                "key": row.key,
                "value": row.value,
                "set": row.set,
                "default": row.default,
                "meaning": row.meaning,
                "bound": row.bound,
            })
        });
        say::result(json!(rows.collect::<Vec<_>>()));
        return Ok(());
    }
    for row in settings.explain() {
        let default = if row.set { format!("; without it: {}", row.default) } else { " (not set)".into() };
        say::result(format_args!("{} = {}{default}", row.key, say::escaped(&row.value)));
        say::result(format_args!("    {}", row.meaning));
        say::result(format_args!("    at most: {}", row.bound));
    }
    Ok(())
}

fn load(options: &SettingsFile) -> Result<Settings, Failure> {
    Settings::load(&options.settings).map_err(|error| Failure::from(error).about(&options.settings))
}
