//! `bulla manifest compare`: what changed between two guests, and which keys change with it.

use std::collections::BTreeSet;
use std::path::Path;

use bulla_attest::EventLog;
use bulla_provider::Draft;
use bulla_tee::tdx::attributes;
use bulla_tee::{GuestRegisters, TdxIdentity};
use serde_json::{Value, json};

use super::cause;
use super::guest::Guest;
use crate::args::Compare;
use crate::command::signing::Document;
use crate::failure::Failure;
use crate::{files, say};

/// The attributes that enter every key.
const KEYED: u64 =
    attributes::TUD | attributes::SEPT_VE_DISABLE | attributes::MIGRATABLE | attributes::PERFMON;
/// The registers of the earlier providers' formula.
const LEGACY: [&str; 5] = ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3"];

/// A register that differs.
struct Change {
    register: &'static str,
    before: [u8; 48],
    after: [u8; 48],
}

/// Keys of one binding.
struct Keys {
    binding: String,
    /// The changed registers that they are bound to.
    broken_by: Vec<String>,
}

pub(super) fn run(options: &Compare) -> Result<(), Failure> {
    let (before, after) = (Guest::read(&options.before)?, Guest::read(&options.after)?);
    let (known, unknown): (Vec<_>, Vec<_>) = GuestRegisters::NAMES
        .into_iter()
        .map(|register| (register, before.registers.get(register).zip(after.registers.get(register))))
        .partition(|(_, values)| values.is_some());
    let differing = known.into_iter().filter_map(|(register, values)| {
        let (before, after) = values?;
        (before != after).then_some(Change { register, before: *before, after: *after })
    });
    let changes: Vec<_> = differing.collect();
    let unknown: Vec<_> = unknown.into_iter().map(|(register, _)| register).collect();
    let attributes = before.quoted.as_ref().zip(after.quoted.as_ref()).and_then(|(a, b)| attributes_of(a, b));
    let module = before.quoted.as_ref().zip(after.quoted.as_ref()).is_some_and(|(a, b)| other_module(a, b));
    let events = match options.logs.as_slice() {
        [a, b] => first_events(&before, &after, &log(a)?, &log(b)?)?,
        _ => Vec::new(),
    };
    let policies = options.policy.as_deref().map(register_policies).transpose()?.unwrap_or_default();
    let changed: BTreeSet<_> = changes.iter().map(|change| change.register).collect();
    let keys = keys(&changed, attributes.is_some(), &policies);
    let summary = cause::together(&changed);
    if options.json {
        say::result(report(&changes, attributes.as_deref(), module, &events, &keys, &unknown, summary));
        return Ok(());
    }
    say::result(format_args!("looks like: {summary}"));
    for change in &changes {
        say::result(format_args!("\n{} changed: {}", change.register, cause::of(change.register)));
        say::result(format_args!("  before {}", hex::encode(change.before)));
        say::result(format_args!("  after  {}", hex::encode(change.after)));
        for (_, text) in events.iter().filter(|(register, _)| *register == change.register) {
            say::result(format_args!("  {}", say::escaped(text)));
        }
    }
    for register in &unknown {
        say::result(format_args!(
            "\n{register} cannot be compared: a manifest excepts it, so its value makes no difference there"
        ));
    }
    if let Some(text) = &attributes {
        say::result(format_args!("\nATTRIBUTES changed: {text}"));
    }
    if module {
        say::result("\nThe TDX module is another one (MRSEAM or its versions): no key depends on it.");
    }
    say::result("");
    for Keys { binding, broken_by } in &keys {
        match broken_by.as_slice() {
            [] => say::result(format_args!("keys bound to {binding}: the same")),
            names => say::result(format_args!(
                "keys bound to {binding}: OTHER KEYS, because of {}",
                names.join(", ")
            )),
        }
    }
    if !changed.is_empty() {
        way_out(attributes.is_some());
    }
    Ok(())
}

fn way_out(attributes: bool) {
    say::result("");
    if attributes {
        say::result(
            "Attributes enter every key, those of an owner too: start the guest with the ones it had.",
        );
    }
    say::result(
        "What is sealed opens in the guest as it was. To get it into the next one: start the old one again and let the new \
         one in (`bulla successor`), or open it there and seal it to a recovery recipient first (`bulla rewrap`).",
    );
    say::result(
        "So that the next change is none: bind keys to an owner. `bulla manifest new --evidence` writes a manifest for each \
         image, its owner signs it (`bulla manifest sign`), and every image of the product gets the same keys, up to the \
         security version that its manifest grants.",
    );
}

fn keys(changed: &BTreeSet<&str>, attributes: bool, policies: &[(String, Vec<&'static str>)]) -> Vec<Keys> {
    let fixed = [
        ("measurement".to_owned(), GuestRegisters::NAMES.to_vec()),
        ("the legacy formula".to_owned(), LEGACY.to_vec()),
    ];
    let owner = ("an owner, with a manifest for each image".to_owned(), Vec::new());
    let all = fixed.into_iter().chain(policies.iter().cloned()).chain([owner]);
    all.map(|(binding, registers)| {
        let broken_by = registers.into_iter().filter(|name| changed.contains(name)).map(str::to_owned);
        // The formula of the earlier providers knows no attributes.
        let keyed = (attributes && binding != "the legacy formula").then(|| "ATTRIBUTES".to_owned());
        let broken_by = broken_by.chain(keyed).collect();
        Keys { binding, broken_by }
    })
    .collect()
}

/// What the attributes that enter keys do, if anything.
fn attributes_of(before: &TdxIdentity, after: &TdxIdentity) -> Option<String> {
    let other = (before.attributes ^ after.attributes) & KEYED;
    let names = [
        (attributes::TUD, "debugging (TUD)"),
        (attributes::SEPT_VE_DISABLE, "SEPT_VE_DISABLE"),
        (attributes::MIGRATABLE, "MIGRATABLE"),
        (attributes::PERFMON, "PERFMON"),
    ];
    let names: Vec<_> =
        names.into_iter().filter(|(bits, _)| other & bits != 0).map(|(_, name)| name).collect();
    (other != 0).then(|| names.join(", "))
}

fn other_module(before: &TdxIdentity, after: &TdxIdentity) -> bool {
    (before.tee_tcb_svn, before.mrseam) != (after.tee_tcb_svn, after.mrseam)
}

fn log(path: &Path) -> Result<EventLog, Failure> {
    let bytes = files::beginning(path, EventLog::LIMIT as u64 + 1)?;
    let is_json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let log = if is_json { EventLog::from_json(&bytes) } else { EventLog::from_ccel(&bytes) };
    log.map_err(|error| Failure::from(error).about(path))
}

/// For each register the first event that differs, when the logs are those of the guests.
fn first_events(
    before: &Guest,
    after: &Guest,
    log_before: &EventLog,
    log_after: &EventLog,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let (Some(guest_before), Some(guest_after)) = (&before.quoted, &after.quoted) else {
        return Err(Failure::usage(
            "--logs needs quotes: registers alone do not say whether a log is theirs",
        ));
    };
    let (before, after) = (log_before.matches(guest_before)?, log_after.matches(guest_after)?);
    let mut differing = Vec::new();
    for (index, register) in ["RTMR0", "RTMR1", "RTMR2", "RTMR3"].into_iter().enumerate() {
        let of = |events: &'_ [bulla_attest::Event]| -> Vec<([u8; 48], String)> {
            let mine = events.iter().filter(|event| event.register == index);
            mine.map(|event| (event.digest, named(event))).collect()
        };
        let (a, b) = (of(before.events()), of(after.events()));
        let same = a.iter().zip(&b).take_while(|(a, b)| a.0 == b.0).count();
        let text = match (a.get(same), b.get(same)) {
            (None, None) => continue,
            (Some((_, a)), Some((_, b))) => {
                format!("event {same} is the first that differs: {a} before, {b} after")
            }
            (Some((_, a)), None) => format!("event {same} is there no more: {a}"),
            (None, Some((_, b))) => format!("event {same} was not there: {b}"),
        };
        differing.push((register, text));
    }
    Ok(differing)
}

/// What an event is, as far as the log says: its content where that is text.
fn named(event: &bulla_attest::Event) -> String {
    let content: String = String::from_utf8_lossy(&event.claimed_content)
        .chars()
        .filter(|character| !character.is_control() && *character != '\u{FFFD}')
        .take(60)
        .collect();
    let name = if event.claimed_name.is_empty() { "an event" } else { &event.claimed_name };
    format!("{name} (type {:#x}, {content:?})", event.claimed_type)
}

/// Name and registers of each register policy.
fn register_policies(path: &Path) -> Result<Vec<(String, Vec<&'static str>)>, Failure> {
    let draft = Draft::from_toml(Document::read(path)?.text());
    let draft = draft.map_err(|error| Failure::from(error).about(path))?;
    Ok(draft.register_policies().collect())
}

fn report(
    changes: &[Change],
    attributes: Option<&str>,
    module: bool,
    events: &[(&str, String)],
    keys: &[Keys],
    unknown: &[&str],
    summary: &str,
) -> Value {
    let changes: Vec<_> = changes
        .iter()
        .map(|change| {
            let event = events.iter().find(|(register, _)| *register == change.register);
            json!({
                "register": change.register.to_lowercase(),
                "before": hex::encode(change.before),
                "after": hex::encode(change.after),
                "cause": cause::of(change.register),
                "event": event.map(|(_, text)| text),
            })
        })
        .collect();
    let keys: Vec<_> =
        keys.iter().map(|keys| json!({ "binding": keys.binding, "broken_by": keys.broken_by })).collect();
    json!({
        "looks_like": summary,
        "changes": changes,
        "excepted": unknown.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>(),
        "attributes": attributes,
        "other_tdx_module": module,
        "keys": keys,
    })
}
