//! One line: where it stands in the chain, and what it says.
//!
//! A line is one JSON object. Its hash is SHA-256 over its bytes without the line end, and stands in the next line as
//! `prev`; so the last line's hash, the head, covers every byte of the log.

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;

use bulla_crypto::{Info, sha256};

use super::Entry;

/// The longest line, in bytes: an order of 256 keys with the longest paths fits.
pub const LINE_MAX: usize = 256 * 1024;

/// What a line about a few keys needs, with its end.
const USUAL: usize = 1024;

/// A place in the chain: a line's number, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Lines so far.
    pub number: u64,
    /// Hash of the last of them; the head of the chain up to it.
    pub head: [u8; 32],
}

impl Position {
    /// Before the first line.
    pub const GENESIS: Self = Self { number: 0, head: [0; 32] };

    /// Behind a line that follows.
    pub(crate) fn after(self, line: &[u8]) -> Self {
        Self { number: self.number + 1, head: sha256(&[line]) }
    }
}

/// What a checkpoint signs: the head before it, and how many lines that is.
pub(crate) fn checkpoint(position: Position) -> Info {
    Info::new("bulla/audit-checkpoint/v1")
        .part("head", &position.head)
        .part("count", &position.number.to_be_bytes())
}

/// The line that says `entry` behind `position`, without its end.
pub(crate) fn compose(position: Position, time: u64, entry: &Entry) -> Vec<u8> {
    let (number, prev) = (position.number + 1, hex::encode(position.head));
    let mut line = Vec::with_capacity(USUAL);
    write!(line, "{{\"number\":{number},\"prev\":\"{prev}\",\"time\":{time}")
        .expect("a vector takes what is written");
    let end = line.len();
    serde_json::to_writer(&mut line, entry).expect("texts and numbers are JSON");
    // The entry goes on where the links end.
    *line.get_mut(end).expect("an object begins with a brace") = b',';
    line
}

/// A line that was read.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    bytes: &'a [u8],
    kind: Cow<'a, str>,
    /// Its number, from 1.
    pub number: u64,
    /// The hash of the line before; zeros in the first.
    pub previous: [u8; 32],
    /// The host's clock, in Unix seconds: a hint.
    pub time: u64,
}

#[derive(Deserialize)]
struct Links<'a> {
    number: u64,
    #[serde(with = "hex::serde")]
    prev: [u8; 32],
    time: u64,
    #[serde(borrow)]
    entry: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// Reads a line, given without its end. `None` for bytes that are no line.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > LINE_MAX || bytes.first() != Some(&b'{') {
            return None;
        }
        let links: Links<'_> = serde_json::from_slice(bytes).ok()?;
        let number = (1..u64::MAX).contains(&links.number).then_some(links.number)?;
        Some(Self { bytes, kind: links.entry, number, previous: links.prev, time: links.time })
    }

    /// Its bytes, without the line end.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The name of what it says, also where [`Line::entry`] does not know it.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its hash: the head of the chain up to it.
    pub fn head(&self) -> [u8; 32] {
        sha256(&[self.bytes])
    }

    /// What it says; `None` for an entry that this version does not know.
    pub fn entry(&self) -> Option<Entry> {
        serde_json::from_slice(self.bytes).ok()
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        Position { number: self.number, head: self.head() }
    }

    /// The place that it claims to follow.
    pub const fn follows(&self) -> Position {
        Position { number: self.number - 1, head: self.previous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line cannot be read in two ways, and everything else is none.
    #[test]
    fn what_is_no_line() {
        let entry = Entry::Checkpoint { signature: "00".into() };
        let good = String::from_utf8(compose(Position::GENESIS, 7, &entry)).unwrap();
        let line = Line::parse(good.as_bytes()).unwrap();
        assert_eq!((line.number, line.previous, line.time, line.entry()), (1, [0; 32], 7, Some(entry)));
        let later = good.replace("checkpoint", "of_a_later_version");
        assert_eq!(Line::parse(later.as_bytes()).unwrap().entry(), None);
        for bad in [
            "",
            "{}",
            "[]",
            &good[1..],
            &good[..good.len() - 1],
            &format!(" {good}"),
            &format!("{good}{{}}"),
            &good.replace("\"number\":1", "\"number\":0"),
            &good.replace("\"number\":1", "\"number\":-1"),
            &good.replace("\"number\":1", "\"number\":18446744073709551615"),
            &good.replace("\"number\":1", "\"number\":1,\"number\":1"),
            &good.replace("\"prev\":\"00", "\"prev\":\"0"),
            &good.replace("\"prev\"", "\"next\""),
            &format!("{{{}{good}", " ".repeat(LINE_MAX)),
        ] {
            assert!(Line::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
