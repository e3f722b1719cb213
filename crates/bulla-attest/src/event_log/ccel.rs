//! The confidential computing event log of firmware: TCG PC Client Platform Firmware Profile, crypto-agile log format,
//! with the registers of the UEFI specification, section 38.4.1.

use super::{EV_NO_ACTION, Event, EventLogFault};
use crate::Error;

const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const SHA384: u16 = 0x000c;
const SHA384_SIZE: u16 = 48;

pub(super) fn parse(log: &[u8]) -> Result<Vec<Event>, Error> {
    let mut reader = Reader { whole: log.len(), rest: log };
    check_header(&mut reader)?;
    let mut events = Vec::new();
    while !reader.is_at_padding() {
        let index = reader.u32()?;
        let kind = reader.u32()?;
        let digest = one_digest(&mut reader)?;
        let size = reader.u32()?;
        let content = reader.take(size)?;
        match index {
            0..=4 if kind == EV_NO_ACTION => {}
            // MRTD is complete before the guest starts. Some firmware lists events for it nevertheless.
            0 => {}
            1..=4 => {
                let register = index as usize - 1;
                events.push(Event::of_unknown_cover(register, digest, kind, String::new(), content.to_vec()));
            }
            _ => return Err(reader.fault(&format!("an event has register index {index}, and 4 is the last"))),
        }
    }
    Ok(events)
}

/// The first event, in the old layout, says how the others are laid out: with one digest each, SHA-384.
fn check_header(reader: &mut Reader<'_>) -> Result<(), Error> {
    let (index, kind) = (reader.u32()?, reader.u32()?);
    let digest = reader.array::<20>()?;
    if index > 4 || kind != EV_NO_ACTION || digest != [0; 20] {
        return Err(reader.fault("it does not begin with the event that describes the log"));
    }
    let size = reader.u32()?;
    let mut event = Reader { whole: reader.whole, rest: reader.take(size)? };
    if event.array::<16>()? != *SIGNATURE {
        return Err(event.fault("it is no crypto-agile log of version 03"));
    }
    let [.., major, _errata, _uintn_size] = event.array::<8>()?;
    let (algorithms, algorithm, size) = (event.u32()?, event.u16()?, event.u16()?);
    if major != 2 || (algorithms, algorithm, size) != (1, SHA384, SHA384_SIZE) {
        return Err(event.fault("it is no log of version 2.0 whose digests are SHA-384 alone"));
    }
    let [vendor_size] = event.array()?;
    event.take(u32::from(vendor_size))?;
    if event.rest.is_empty() {
        Ok(())
    } else {
        Err(event.fault("its description is longer than what it holds"))
    }
}

fn one_digest(reader: &mut Reader<'_>) -> Result<[u8; 48], Error> {
    let (count, algorithm) = (reader.u32()?, reader.u16()?);
    if (count, algorithm) != (1, SHA384) {
        return Err(reader.fault("an event does not have one digest, SHA-384"));
    }
    reader.array()
}

struct Reader<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Whether only filling is left. No event begins like that: 0xFF starts no register index, and of an event for index 0
    /// that is zero throughout nothing would count.
    fn is_at_padding(&self) -> bool {
        let Some(first) = self.rest.first() else { return true };
        matches!(first, 0 | 0xff) && self.rest.iter().all(|byte| byte == first)
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(length as usize) else {
            let detail = format!("{length} bytes should follow, and {} are left", self.rest.len());
            return Err(self.fault(&detail));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            let detail = format!("{N} bytes should follow, and {} are left", self.rest.len());
            return Err(self.fault(&detail));
        };
        self.rest = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn fault(&self, detail: &str) -> Error {
        let at = self.whole - self.rest.len();
        Error::event_log(EventLogFault::Parse, format!("{detail} (about byte {at})"))
    }
}
