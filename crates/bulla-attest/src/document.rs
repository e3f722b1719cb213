//! The two JSON documents that Intel signs: TCB info and QE identity.

use std::borrow::Cow;
use std::fmt;

use dcap_qvl::{QeIdentity, TcbInfo};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Error;
use crate::error::{Item, ItemFault};

/// The deepest nesting that is read (R31); real documents have 6.
const DEPTH: usize = 16;

/// What both documents begin with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    /// Absent before version 3 of the TCB info.
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) tcb_evaluation_data_number: u32,
    issue_date: String,
    next_update: String,
    /// In a TCB info only.
    #[serde(default)]
    pub(crate) fmspc: String,
    /// In a TCB info only.
    #[serde(default)]
    pub(crate) pce_id: String,
}

impl Head {
    /// Reads a document whose signature was checked over the same bytes (R19): no duplicate keys, nothing after its end.
    pub(crate) fn parse(item: Item, text: &str) -> Result<Self, Error> {
        check_strictly(item, text)?;
        serde_json::from_str(text).map_err(|error| malformed(item, &error))
    }

    /// The same of a document that was read as a whole, from `text`.
    pub(crate) fn of_tcb_info(whole: &TcbInfo, text: &str) -> Result<Self, Error> {
        check_strictly(Item::TcbInfo, text)?;
        Ok(Self {
            id: whole.id.clone(),
            version: whole.version.into(),
            tcb_evaluation_data_number: whole.tcb_evaluation_data_number,
            issue_date: whole.issue_date.clone(),
            next_update: whole.next_update.clone(),
            fmspc: whole.fmspc.clone(),
            pce_id: whole.pce_id.clone(),
        })
    }

    /// The same of a document that was read as a whole, from `text`.
    pub(crate) fn of_qe_identity(whole: &QeIdentity, text: &str) -> Result<Self, Error> {
        check_strictly(Item::QeIdentity, text)?;
        Ok(Self {
            id: whole.id.clone(),
            version: whole.version.into(),
            tcb_evaluation_data_number: whole.tcb_evaluation_data_number,
            issue_date: whole.issue_date.clone(),
            next_update: whole.next_update.clone(),
            fmspc: String::new(),
            pce_id: String::new(),
        })
    }

    /// Issue date, next update.
    pub(crate) fn window(&self, item: Item) -> Result<(u64, u64), Error> {
        let unix = |date: &str| {
            let time = OffsetDateTime::parse(date, &Rfc3339).ok()?;
            u64::try_from(time.unix_timestamp()).ok()
        };
        match (unix(&self.issue_date), unix(&self.next_update)) {
            (Some(from), Some(until)) => Ok((from, until)),
            _ => Err(Error::item(item, ItemFault::Parse, "its dates are not dates")),
        }
    }
}

/// No duplicate keys, nothing after its end.
fn check_strictly(item: Item, text: &str) -> Result<(), Error> {
    let mut strict = serde_json::Deserializer::from_str(text);
    let walked = Strict { depth: DEPTH, keys: &mut Vec::new() }.deserialize(&mut strict);
    let walked = walked.and_then(|()| strict.end());
    walked.map_err(|error| malformed(item, &error))
}

fn malformed(item: Item, error: &serde_json::Error) -> Error {
    Error::item(item, ItemFault::Parse, error.to_string())
}

/// A key, copied only where it is escaped.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Walks a JSON value and refuses duplicate keys and deep nesting.
struct Strict<'k, 'de> {
    /// How much deeper it may go.
    depth: usize,
    /// The keys of the objects around.
    keys: &'k mut Vec<Name<'de>>,
}

impl<'de> Strict<'_, 'de> {
    fn deeper<E: de::Error>(&mut self) -> Result<Strict<'_, 'de>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Strict { depth, keys: self.keys })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let around = self.keys.len();
        while let Some(key) = entries.next_key()? {
            self.keys.push(key);
            entries.next_value_seed(self.deeper()?)?;
        }
        let (_, own) = self.keys.split_at_mut(around);
        own.sort_unstable();
        let is_unique = own.is_sorted_by(|one, next| one != next);
        self.keys.truncate(around);
        if is_unique { Ok(()) } else { Err(A::Error::custom("duplicate key")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        r#""id":"SGX","version":3,"issueDate":"2025-06-19T10:56:11Z","nextUpdate":"2025-07-19T10:56:11Z""#;

    fn code(text: &str) -> &'static str {
        match Head::parse(Item::TcbInfo, text) {
            Ok(_) => "ok",
            Err(error) => error.code(),
        }
    }

    #[test]
    fn r19_duplicates_depth_and_trailing_data_are_refused() {
        assert_eq!(code(&format!("{{{HEAD}}}")), "ok");
        assert_eq!(code(&format!(r#"{{{HEAD},"x":{{"a":1,"b":[1.5,-1,true,null,"a"]}}}}"#)), "ok");
        assert_eq!(code(&format!(r#"{{{HEAD},"x":{{"a":1,"a":1}}}}"#)), "tcb_info.parse");
        assert_eq!(code(&format!(r#"{{{HEAD},"id":"SGX"}}"#)), "tcb_info.parse");
        assert_eq!(code(&format!("{{{HEAD}}} {{}}")), "tcb_info.parse");
        for (depth, wanted) in [(15, "ok"), (16, "tcb_info.parse")] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            assert_eq!(code(&format!(r#"{{{HEAD},"x":{open}{close}}}"#)), wanted, "{depth}");
        }
    }

    #[test]
    fn windows_are_unix_times() {
        let head = Head::parse(Item::TcbInfo, &format!("{{{HEAD}}}")).unwrap();
        assert_eq!(head.window(Item::TcbInfo).unwrap(), (1_750_330_571, 1_752_922_571));
    }
}
