//! Event logs: what was measured into a TDX guest's run-time registers, and in which order (R26).
//!
//! A quote has the four registers' final values, and those change with every boot file and every application. A log lists
//! the digests behind them, so that a verifier can say what was measured and what a register held at a certain moment,
//! for example before the application ran. A log is not signed. It is believed as far as the quote's registers bear it out:
//!
//! 1. [`EventLog::from_ccel`] or [`EventLog::from_json`] reads it. Nothing of it is believed yet.
//! 2. [`EventLog::matches`] replays it. Each register starts with 48 zero bytes and becomes SHA-384(register ‖ digest) with
//!    every event; the results must be the registers of verified evidence, all four.
//! 3. [`MatchedLog::at`] gives the registers at a boundary: a named event of one register.
//!
//! # What a matching log proves, and what not
//!
//! - The digests of one register, their number and their order: proven.
//! - The order of events in *different* registers: **not** proven. Whoever hands over a log can show the events of one
//!   register before or after those of another as he likes. So a boundary cuts its own register alone; the other three
//!   keep their final values, and a policy must judge those as they are.
//! - What an event is called and what it holds: only where the digest was computed from it. [`Event::name`] and
//!   [`Event::content`] say nothing where that is not so:
//!
//! | event | type | name | content |
//! |---|---|---|---|
//! | run-time event of a guest agent (type 0x08000001, in JSON logs) | proven | proven | proven |
//! | any other whose digest is the SHA-384 of its content (separators, EFI variables, actions, partition tables) | not | not | proven |
//! | the rest (boot applications, ACPI data, commands of the boot loader) | not | not | not |
//!
//! So only run-time events can be boundaries, and a log of firmware alone has none.
//!
//! The digest of a run-time event, as dstack defines it, is SHA-384 over type (32 bits, little-endian) ‖ `:` ‖ name ‖ `:` ‖
//! content, or in version 2 over the canonical JSON (RFC 8785) of `name`, `payload` (hex) and `type`. Since nothing in
//! the first form says where the name ends, a name with a colon is refused there.
//!
//! ```no_run
//! use bulla_attest::{Boundary, Claims, Error, EventLog};
//! use bulla_tee::Identity;
//!
//! # fn example(claims: &Claims, log: &[u8]) -> Result<(), Error> {
//! let Identity::Tdx(guest) = &claims.identity else { return Ok(()) };
//! let log = EventLog::from_json(log)?;
//! let at_start = log.matches(guest)?.at(Boundary { register: 3, event: "system-ready" })?;
//! println!("the application is {}", hex::encode(at_start.registers[3]));
//! # Ok(())
//! # }
//! ```

use bulla_crypto::sha384;
use bulla_tee::TdxIdentity;

use crate::Error;

mod ccel;
mod fault;
mod json;

pub use fault::EventLogFault;

/// Events that are in the log for its reader only (TCG PC Client Platform Firmware Profile, EV_NO_ACTION).
const EV_NO_ACTION: u32 = 3;

/// A log that parses. Nothing in it is believed before [`EventLog::matches`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog {
    events: Vec<Event>,
}

impl EventLog {
    /// The largest log that is read, in bytes (R31). Firmware reserves 64 to 256 KiB for one.
    pub const LIMIT: usize = 1024 * 1024;

    /// Reads the log that firmware leaves for the operating system (Linux: `/sys/firmware/acpi/tables/data/CCEL`): a TCG
    /// crypto-agile log with SHA-384 digests, whose register indices 1 to 4 are RTMR 0 to 3 (UEFI specification, section
    /// 38.4.1). Events that are extended into none of them are left out. Behind the last event there may be the bytes
    /// 0xFF or zero up to the end, as firmware fills the room.
    ///
    /// # Errors
    /// `event_log.too_large` above 1 MiB, `event_log.parse`.
    pub fn from_ccel(log: &[u8]) -> Result<Self, Error> {
        check_size(log)?;
        Ok(Self { events: ccel::parse(log)? })
    }

    /// Reads the log that guest agents publish: a JSON list of objects with `imr` (0 to 3), `event_type`, `digest`, `event`
    /// and `event_payload`, and optionally `version` and `preimage`. Bytes are in hex. The digest of a run-time event
    /// must be that of its name and payload, and may be left out.
    ///
    /// # Errors
    /// `event_log.too_large` above 1 MiB; `event_log.parse`, also for unknown, duplicate and trailing parts (B4);
    /// `event_log.digest`.
    pub fn from_json(log: &[u8]) -> Result<Self, Error> {
        check_size(log)?;
        Ok(Self { events: json::parse(log)? })
    }

    /// What the four registers hold after all events, if the log is true.
    pub fn replay(&self) -> [[u8; 48]; 4] {
        let mut registers = [[0; 48]; 4];
        for (index, register) in registers.iter_mut().enumerate() {
            *register = replay(&self.events, index);
        }
        registers
    }

    /// Whether this is the log of that guest, whose registers come from verified evidence.
    ///
    /// # Errors
    /// `event_log.rtmr_mismatch`, which names the first register that differs: an event is missing, added, changed or in
    /// another place.
    pub fn matches(&self, guest: &TdxIdentity) -> Result<MatchedLog<'_>, Error> {
        let registers = self.replay();
        for (index, (replayed, wanted)) in registers.iter().zip(&guest.rtmr).enumerate() {
            if replayed != wanted {
                let detail = format!(
                    "it replays to {} in RTMR{index}, and the evidence has {}: the log is of another guest or moment, or was \
                     changed; send the log as it was when the evidence was made",
                    hex::encode(replayed),
                    hex::encode(wanted)
                );
                return Err(Error::event_log(EventLogFault::RtmrMismatch, detail));
            }
        }
        Ok(MatchedLog { events: &self.events, registers })
    }
}

/// A log that the registers of verified evidence bear out.
#[derive(Clone, Copy, Debug)]
pub struct MatchedLog<'a> {
    events: &'a [Event],
    registers: [[u8; 48]; 4],
}

impl<'a> MatchedLog<'a> {
    /// All events that were extended into a register. Only the order of those in one register is proven.
    pub fn events(&self) -> &'a [Event] {
        self.events
    }

    /// The registers at a boundary, which must be there exactly once, in the register that is asked for. Every event of
    /// that register must have a proven name, before and after, so that no second boundary hides behind a wrong label.
    ///
    /// # Errors
    /// `event_log.no_boundary`, `event_log.boundary_twice`, `event_log.boundary_register`, `event_log.unnamed_event`.
    pub fn at(&self, boundary: Boundary<'_>) -> Result<AtBoundary<'a>, Error> {
        let Boundary { register: wanted, event: name } = boundary;
        let fault = |fault, detail: String| Err(Error::event_log(fault, detail));
        let in_register = |event: &&Event| event.register == wanted;
        if self.events.iter().filter(in_register).any(|event| event.name().is_none()) {
            let detail = format!(
                "no digest covers the names of some events in RTMR{wanted}, so nobody can tell which is {name:?}: measure \
                 run-time events alone into a register that has a boundary"
            );
            return fault(EventLogFault::UnnamedEvent, detail);
        }
        let mut found = self.events.iter().enumerate().filter(|(_, event)| event.name() == Some(name));
        let Some((position, event)) = found.next() else {
            let detail =
                format!("it has no event {name:?}: the guest has not come so far, or is another image");
            return fault(EventLogFault::NoBoundary, detail);
        };
        if found.next().is_some() {
            return fault(EventLogFault::BoundaryTwice, format!("it has the event {name:?} more than once"));
        }
        if event.register != wanted {
            let detail =
                format!("the event {name:?} is in RTMR{}, and RTMR{wanted} is wanted", event.register);
            return fault(EventLogFault::BoundaryRegister, detail);
        }
        let (before, after) = self.events.split_at(position + 1);
        let mut registers = self.registers;
        if let Some(register) = registers.get_mut(wanted) {
            *register = replay(before, wanted);
        }
        Ok(AtBoundary { registers, later: after.iter().filter(in_register).collect() })
    }
}

/// The last event that counts, in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary<'a> {
    /// Which RTMR, 0 to 3.
    pub register: usize,
    /// The event's name, for example `system-ready`.
    pub event: &'a str,
}

/// A guest's registers at a [`Boundary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtBoundary<'a> {
    /// RTMR 0 to 3. That of the boundary has what it held right after that event; the others have their final values,
    /// since no log proves an order between registers.
    pub registers: [[u8; 48]; 4],
    /// What was extended into the boundary's register since.
    pub later: Vec<&'a Event>,
}

impl AtBoundary<'_> {
    /// Refuses a guest that went on to extend the boundary's register, for policies that want it untouched (B22).
    ///
    /// # Errors
    /// `event_log.extended`.
    pub fn require_nothing_later(&self) -> Result<(), Error> {
        let Some(first) = self.later.first() else { return Ok(()) };
        let detail = format!(
            "{} events were extended into RTMR{} after the boundary, the first named {:?}, and the policy wants none",
            self.later.len(),
            first.register,
            first.claimed_name
        );
        Err(Error::event_log(EventLogFault::Extended, detail))
    }
}

/// One event: a digest in a register, and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which RTMR it was extended into, 0 to 3.
    pub register: usize,
    /// What it was extended by.
    pub digest: [u8; 48],
    /// What the log calls this kind of event. Proven for run-time events alone; for display.
    pub claimed_type: u32,
    /// What the log calls this event; empty in a CCEL. For display: decide by [`Event::name`].
    pub claimed_name: String,
    /// What the log says the event holds. For display: decide by [`Event::content`].
    pub claimed_content: Vec<u8>,
    cover: Cover,
}

/// What an event's digest was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    /// Something that the log does not show.
    Nothing,
    /// The content.
    Content,
    /// Type, name and content.
    Whole,
}

impl Event {
    /// The name, where the digest covers it.
    pub fn name(&self) -> Option<&str> {
        (self.cover == Cover::Whole).then_some(&self.claimed_name)
    }

    /// The content, where the digest covers it.
    pub fn content(&self) -> Option<&[u8]> {
        (self.cover != Cover::Nothing).then_some(&self.claimed_content)
    }

    /// An event of a kind whose digest may or may not be that of its content.
    fn of_unknown_cover(
        register: usize,
        digest: [u8; 48],
        claimed_type: u32,
        claimed_name: String,
        claimed_content: Vec<u8>,
    ) -> Self {
        let cover = if sha384(&[&claimed_content]) == digest { Cover::Content } else { Cover::Nothing };
        Self { register, digest, claimed_type, claimed_name, claimed_content, cover }
    }
}

fn replay(events: &[Event], register: usize) -> [u8; 48] {
    let mine = events.iter().filter(|event| event.register == register);
    mine.fold([0; 48], |value, event| sha384(&[&value, &event.digest]))
}

fn check_size(log: &[u8]) -> Result<(), Error> {
    if log.len() > EventLog::LIMIT {
        let detail = format!("it has {} bytes, and the limit is {}", log.len(), EventLog::LIMIT);
        return Err(Error::event_log(EventLogFault::TooLarge, detail));
    }
    Ok(())
}
