//! The event logs that guest agents publish: a JSON list, as dstack writes it.

use bulla_crypto::sha384;
use serde::Deserialize;

use super::{Cover, EV_NO_ACTION, Event, EventLogFault};
use crate::Error;

/// The type of all run-time events, in no TCG list.
const RUNTIME_EVENT: u32 = 0x0800_0001;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    imr: usize,
    event_type: u32,
    #[serde(default)]
    digest: String,
    event: String,
    event_payload: String,
    #[serde(default = "first_version")]
    version: u32,
    #[serde(default)]
    preimage: Option<String>,
}

const fn first_version() -> u32 {
    1
}

pub(super) fn parse(log: &[u8]) -> Result<Vec<Event>, Error> {
    let entries: Vec<Entry> = serde_json::from_slice(log).map_err(|error| {
        Error::event_log(EventLogFault::Parse, format!("it is not a list of events: {error}"))
    })?;
    let mut events = Vec::new();
    for (number, entry) in entries.into_iter().enumerate() {
        let register = entry.imr;
        if register > 3 {
            return Err(fault(number, EventLogFault::Parse, "is in a register above 3"));
        }
        if entry.event_type == RUNTIME_EVENT {
            events.push(runtime_event(number, entry)?);
            continue;
        }
        if entry.version != 1 || entry.preimage.is_some() {
            return Err(fault(
                number,
                EventLogFault::Parse,
                "has a version or pre-image, as run-time events alone have",
            ));
        }
        let digest = digest(number, &entry.digest)?;
        let content = bytes(number, &entry.event_payload)?;
        if entry.event_type != EV_NO_ACTION {
            events.push(Event::of_unknown_cover(register, digest, entry.event_type, entry.event, content));
        }
    }
    Ok(events)
}

/// An event whose digest is that of type, name and content, so that all three are what was measured.
fn runtime_event(number: usize, entry: Entry) -> Result<Event, Error> {
    let content = bytes(number, &entry.event_payload)?;
    let measured = match entry.version {
        1 if entry.event.contains(':') => {
            return Err(fault(
                number,
                EventLogFault::Parse,
                "has a colon in its name, which could end anywhere",
            ));
        }
        1 => [&RUNTIME_EVENT.to_le_bytes(), &b":"[..], entry.event.as_bytes(), b":", &content].concat(),
        2 => canonical_json(&entry.event, &content),
        _ => return Err(fault(number, EventLogFault::Parse, "has an unknown version; 1 and 2 are known")),
    };
    let computed = sha384(&[&measured]);
    if !entry.digest.is_empty() && digest(number, &entry.digest)? != computed {
        let detail = format!("({:?}) has a digest that is not that of its name and content", entry.event);
        return Err(fault(number, EventLogFault::Digest, &detail));
    }
    if let Some(preimage) = &entry.preimage
        && bytes(number, preimage)? != measured
    {
        let detail = format!("({:?}) has a pre-image that is not its name and content", entry.event);
        return Err(fault(number, EventLogFault::Digest, &detail));
    }
    Ok(Event {
        register: entry.imr,
        digest: computed,
        claimed_type: entry.event_type,
        claimed_name: entry.event,
        claimed_content: content,
        cover: Cover::Whole,
    })
}

/// RFC 8785: keys in order, no spaces, and strings as serde_json escapes them.
fn canonical_json(name: &str, content: &[u8]) -> Vec<u8> {
    let name = serde_json::Value::from(name);
    format!(r#"{{"name":{name},"payload":"{}","type":{RUNTIME_EVENT}}}"#, hex::encode(content)).into_bytes()
}

fn digest(number: usize, text: &str) -> Result<[u8; 48], Error> {
    let mut digest = [0; 48];
    hex::decode_to_slice(text, &mut digest)
        .map_err(|_| fault(number, EventLogFault::Parse, "has no digest of 48 bytes in hex"))?;
    Ok(digest)
}

fn bytes(number: usize, text: &str) -> Result<Vec<u8>, Error> {
    hex::decode(text)
        .map_err(|_| fault(number, EventLogFault::Parse, "has something other than hex for bytes"))
}

fn fault(number: usize, fault: EventLogFault, detail: &str) -> Error {
    Error::event_log(fault, format!("event {number} {detail}"))
}
