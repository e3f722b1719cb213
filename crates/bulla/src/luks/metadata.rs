//! The metadata: a JSON object. A field that is not here, or is there twice, is refused while reading.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::untrusted;
use crate::Error;

/// As many slots as the format has.
const MAX_ENTRIES: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) keyslots: Table<Keyslot>,
    pub(super) tokens: Table<IgnoredAny>,
    pub(super) segments: Table<Segment>,
    pub(super) digests: Table<Digest>,
    pub(super) config: Config,
}

impl Metadata {
    /// Reads the text, all of it. How deep it nests is bounded by the fields.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let metadata =
            serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path().iter().len() {
                0 => untrusted("metadata", error.inner()),
                _ => untrusted(error.path(), error.inner()),
            })?;
        json.end().map_err(|error| untrusted("metadata", error))?;
        Ok(metadata)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyslot {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) key_size: u32,
    #[serde(rename = "priority")]
    _priority: Option<u8>,
    pub(super) af: AntiForensic,
    pub(super) area: Area,
    pub(super) kdf: Kdf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AntiForensic {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) stripes: u32,
    pub(super) hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Area {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Decimal,
    pub(super) size: Decimal,
    pub(super) encryption: String,
    pub(super) key_size: u32,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Kdf {
    Pbkdf2 { hash: String, iterations: u32, salt: Base64 },
    Argon2i { time: u32, memory: u32, cpus: u32, salt: Base64 },
    Argon2id { time: u32, memory: u32, cpus: u32, salt: Base64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) offset: Decimal,
    pub(super) size: String,
    pub(super) iv_tweak: Decimal,
    pub(super) encryption: String,
    pub(super) sector_size: u32,
    pub(super) integrity: Option<Integrity>,
    #[serde(default)]
    pub(super) flags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Integrity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) journal_encryption: String,
    pub(super) journal_integrity: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Digest {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) keyslots: Vec<Decimal>,
    pub(super) segments: Vec<Decimal>,
    pub(super) hash: String,
    pub(super) iterations: u32,
    pub(super) salt: Base64,
    pub(super) digest: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) json_size: Decimal,
    pub(super) keyslots_size: Decimal,
    #[serde(default)]
    pub(super) flags: Vec<String>,
    pub(super) requirements: Option<Requirements>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requirements {
    #[serde(default)]
    pub(super) mandatory: Vec<IgnoredAny>,
}

/// An integer that the format writes as text.
pub(super) struct Decimal(pub(super) u64);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decimal(&String::deserialize(deserializer)?)
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a decimal number"))
    }
}

/// Digits alone, none of them a leading zero.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// The length of bytes in base64. Nothing here uses the bytes themselves.
pub(super) struct Base64(pub(super) usize);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(Self(bytes.len()))
    }
}

/// A map from numbers, ascending and each once.
pub(super) struct Table<T>(pub(super) Vec<(u8, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor(PhantomData))
    }
}

struct TableVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
    type Value = Table<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with numbers for names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table<T>, A::Error> {
        let mut entries: Vec<(u8, T)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            let number = decimal(&name).and_then(|number| u8::try_from(number).ok());
            let number = number.ok_or_else(|| A::Error::custom("not a number of the format"))?;
            if entries.len() == MAX_ENTRIES || entries.iter().any(|(other, _)| *other == number) {
                return Err(A::Error::custom("too many entries, or one twice"));
            }
            entries.push((number, value));
        }
        entries.sort_unstable_by_key(|(number, _)| *number);
        Ok(Table(entries))
    }
}
