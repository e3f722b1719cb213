//! `bulla audit show`.

use std::time::{SystemTime, UNIX_EPOCH};

use bulla_provider::audit::{Entry, Line, Stated, Verifier, advice};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::args::AuditShow;
use crate::failure::Failure;
use crate::say;

/// Shows a log, in its order.
pub(super) fn run(options: &AuditShow) -> Result<(), Failure> {
    let files = super::files(&options.files)?;
    let since = options.since.as_deref().map(time).transpose()?;
    let mut verifier = Verifier::new().without_signatures();
    let mut shown = 0_u64;
    super::read(&mut verifier, &files, &mut |line| {
        let Some(entry) = line.entry() else {
            if plain(options) && since.is_none_or(|since| line.time >= since) {
                shown += 1;
                say::result(say::escaped(&String::from_utf8_lossy(line.bytes())));
            }
            return;
        };
        if !wanted(options, since, line, &entry) {
            return;
        }
        shown += 1;
        if options.json {
            say::result(String::from_utf8_lossy(line.bytes()));
        } else {
            print(line, &entry);
        }
    })?;
    let verdict = verifier.end();
    if !verdict.findings.is_empty() {
        say::note("this log was changed: bulla audit verify says where");
    }
    if shown == 0 {
        say::note("nothing of this kind is recorded");
    }
    Ok(())
}

/// Whether nothing was asked for but time.
fn plain(options: &AuditShow) -> bool {
    !options.refused && !options.released && options.path.is_none() && options.cause.is_none()
}

fn wanted(options: &AuditShow, since: Option<u64>, line: &Line<'_>, entry: &Entry) -> bool {
    if since.is_some_and(|since| line.time < since) {
        return false;
    }
    let path = |found: &str| options.path.as_deref().is_none_or(|path| path == found);
    match entry {
        Entry::Refused(refused) => {
            !options.released
                && options.cause.as_deref().is_none_or(|cause| refused.cause.starts_with(cause))
                && path(refused.path.as_deref().unwrap_or_default())
        }
        Entry::Released(released) => {
            !options.refused
                && options.cause.is_none()
                && (options.path.is_none() || released.keys.iter().any(|key| path(&key.path)))
        }
        Entry::PublicKeys(given) => {
            !options.refused
                && !options.released
                && options.cause.is_none()
                && path(given.path.as_deref().unwrap_or_default())
        }
        // Seals of the log itself are for `verify`.
        Entry::Checkpoint { .. } => options.json && plain(options),
        _ => plain(options),
    }
}

fn print(line: &Line<'_>, entry: &Entry) {
    let head = format!("{:>7}  {}", line.number, at(line.time));
    let simulated = |simulated: bool| if simulated { " (SIMULATED)" } else { "" };
    match entry {
        Entry::Released(released) => {
            let keys: Vec<_> = released
                .keys
                .iter()
                .map(|key| format!("{} for {}", say::escaped(&key.path), key.purpose))
                .collect();
            let keys = if keys.is_empty() { "the legacy key".into() } else { keys.join(", ") };
            let (binding, simulated) = (say::escaped(&released.binding), simulated(released.simulated));
            say::result(format_args!("{head}  released  {keys}, bound to {binding}{simulated}"));
        }
        Entry::Refused(refused) => {
            let path =
                refused.path.as_deref().map(|path| format!(" {}", say::escaped(path))).unwrap_or_default();
            let (mode, count) = (refused.mode.as_str(), refused.count);
            let times = if count == 1 { "once".into() } else { format!("{count} times so far") };
            let cause = say::escaped(&refused.cause);
            say::result(format_args!("{head}  refused   {mode}{path}, {times}: {cause}"));
            if let Some(advice) = advice(&refused.cause) {
                say::result(format_args!("{:>9}{}", "", advice.meaning));
                say::result(format_args!("{:>9}{}", "", advice.action));
            }
        }
        Entry::PublicKeys(given) => {
            let path =
                given.path.as_deref().map(|path| format!(" of {}", say::escaped(path))).unwrap_or_default();
            let times =
                if given.count == 1 { "once".into() } else { format!("{} times so far", given.count) };
            say::result(format_args!("{head}  public    keys{path}, {times}{}", simulated(given.simulated)));
        }
        Entry::Start(stated) => state(&head, "started", stated),
        Entry::Statement(stated) => state(&head, "states", stated),
        Entry::Continued(continued) => {
            say::result(format_args!("{head}  continued from file {}", continued.file));
        }
        Entry::Event(event) => {
            let detail: Vec<_> =
                event.detail.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let event = say::escaped(&format!("{}{}", event.event, detail.concat()));
            say::result(format_args!("{head}  event     {event}"));
        }
        Entry::Recovered(recovered) => say::result(format_args!(
            "{head}  recovered after a crash or a failing disk: {} bytes left behind, {} entries lost",
            recovered.bytes, recovered.lost
        )),
        Entry::Broken(broken) => {
            let found = say::escaped(&format!("{}: {}", broken.file, broken.found));
            say::result(format_args!("{head}  found its log changed: {found}"));
        }
        _ => {}
    }
}

fn state(head: &str, what: &str, stated: &Stated) {
    let Stated { version, policy, measurement, .. } = stated;
    let text = say::escaped(&format!("version {version}, policy {policy}, provider id {measurement}"));
    say::result(format_args!(
        "{head}  {what:<9} {text}{}",
        if stated.simulated { " (SIMULATED)" } else { "" }
    ));
}

/// A time of the host, to the second.
fn at(unix: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    let at = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    at.and_then(|at| at.format(format).ok()).unwrap_or_else(|| unix.to_string())
}

/// A time as the operator gives it, in Unix seconds.
fn time(text: &str) -> Result<u64, Failure> {
    let wrong =
        || Failure::usage(format!("--since {text:?} is no time: 2026-01-31, 2026-01-31T12:00:00Z, or 12h"));
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    for (unit, seconds) in units {
        if let Some(number) = text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok()) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            return Ok(now.saturating_sub(number.saturating_mul(seconds)));
        }
    }
    let date = Date::parse(text, format_description!("[year]-[month]-[day]"));
    let moment =
        date.map(|date| date.midnight().assume_utc()).or_else(|_| OffsetDateTime::parse(text, &Rfc3339));
    let moment = moment.map_err(|_| wrong())?;
    u64::try_from(moment.unix_timestamp()).map_err(|_| wrong())
}
