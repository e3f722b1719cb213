//! What a store tells its operator.

use serde::Serialize;

use crate::Error;
use crate::collateral::{CollateralId, Edition, Facts, ItemId, lower};

/// What is in a store, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The lowest acceptable time, in Unix seconds.
    pub floor_time: u64,
    /// The newest editions that were ever seen: what the floor remembers.
    pub floor: Vec<ItemStatus>,
    /// One for each kind of platform that was asked for, or that the directory has something of.
    pub sets: Vec<SetStatus>,
    /// Why the directory or the floor's memory could not be read or written the last time.
    pub storage_failure: Option<String>,
}

/// One item and its edition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ItemStatus {
    /// Its name.
    pub item: String,
    /// A document's tcbEvaluationDataNumber; a CRL's number. In decimal.
    pub number: String,
    /// In Unix seconds.
    pub issued: u64,
    /// How many certificates a CRL revokes.
    pub revoked: u32,
    /// Until when it is good, in Unix seconds; of items in a set.
    pub next_update: Option<u64>,
}

/// The set for one kind of platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetStatus {
    /// Which kind, for example `tdx 90c06f000000 platform` (TEE, FMSPC, PCK authority).
    pub name: String,
    /// Whether there is a set that is good at the time of the question.
    pub usable: bool,
    /// The items of the last set that was good; empty if none ever was.
    pub items: Vec<ItemStatus>,
    /// Until when that set is good, in Unix seconds.
    pub valid_until: Option<u64>,
    /// When the next one is looked for, in Unix seconds.
    pub next_refresh: Option<u64>,
    /// Why the last attempt failed, if it did.
    pub last_failure: Option<Failure>,
}

/// Why no newer set was had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The error's code.
    pub code: &'static str,
    /// The error's message.
    pub detail: String,
    /// When, in Unix seconds.
    pub at: u64,
    /// How many attempts in a row have failed.
    pub attempts: u32,
    /// When it is tried again, in Unix seconds, if somebody asks.
    pub retry_at: u64,
}

impl ItemStatus {
    pub(super) fn new(item: &ItemId, edition: &Edition, next_update: Option<u64>) -> Self {
        Self {
            item: item.to_string(),
            number: edition.number().to_string(),
            issued: edition.issued(),
            revoked: edition.revoked(),
            next_update,
        }
    }
}

impl SetStatus {
    pub(super) fn new(id: &CollateralId, facts: Option<&Facts>, usable: bool) -> Self {
        let items = facts.into_iter().flat_map(Facts::items);
        Self {
            name: set_name(id),
            usable,
            items: items
                .map(|item| ItemStatus::new(&item.id, &item.edition, Some(item.next_update)))
                .collect(),
            valid_until: facts.map(Facts::valid_until),
            next_refresh: None,
            last_failure: None,
        }
    }
}

pub(super) fn set_name(id: &CollateralId) -> String {
    match id {
        CollateralId::Intel(id) => format!("{} {} {}", lower(id.tee), hex::encode(id.fmspc), id.ca.as_str()),
        CollateralId::Amd(id) => ItemId::SnpSet(*id).to_string(),
    }
}

/// What became of one set of an imported bundle.
#[derive(Debug)]
#[non_exhaustive]
pub struct Imported {
    /// For which platforms it says it is.
    pub id: CollateralId,
    /// The items that are in the store now because of it, or were there already.
    pub taken: Vec<ItemId>,
    /// Why the set, or an item of it, was not taken.
    pub refused: Option<Error>,
}
