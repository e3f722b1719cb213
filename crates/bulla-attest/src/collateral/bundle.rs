//! Sets of collateral in one file, for where no service can be reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::item::CAS;
use super::{Collateral, CollateralId, Edition, IntelCollateralId, ItemId, Piece};
use crate::Error;
use crate::error::BundleFault;

/// The version of the layout.
const VERSION: u32 = 1;

/// Sets of collateral for several kinds of platform, in JSON: each item once, with its issuers.
///
/// A bundle needs no signature of its own, because its vendor signed each item. Nothing of it is verified by reading it:
/// [`Verifier::check_collateral`](crate::Verifier::check_collateral) or the import of a store does that, set by set.
///
/// ```
/// use bulla_attest::collateral::Bundle;
///
/// assert_eq!(Bundle::from_json(br#"{"version":1,"items":[]}"#).unwrap_err().code(), "bundle.empty");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    items: BTreeMap<ItemId, Piece>,
}

impl Bundle {
    /// The largest bundle that is read, in bytes (R31): for more than a thousand processor families.
    pub const LIMIT: usize = 16 << 20;

    /// A bundle of sets. Of items that several of them have, the newest is taken.
    ///
    /// # Errors
    /// `bundle.empty` if there are none; what is wrong with a set that cannot be read. Nothing is verified.
    pub fn of<'a>(sets: impl IntoIterator<Item = (&'a CollateralId, &'a Collateral)>) -> Result<Self, Error> {
        let mut newest: BTreeMap<ItemId, (Option<Edition>, Piece)> = BTreeMap::new();
        for (id, set) in sets {
            let facts = match id {
                CollateralId::Intel(_) => set.facts()?.items().to_vec(),
                CollateralId::Amd(_) => Vec::new(), // shares nothing with others
            };
            for (item, piece) in Piece::of(set, id)? {
                let edition = facts.iter().find(|facts| facts.id == item).map(|facts| facts.edition);
                if newest.get(&item).is_none_or(|(there, _)| *there < edition) {
                    newest.insert(item, (edition, piece));
                }
            }
        }
        Self::from_items(newest.into_iter().map(|(id, (_, piece))| (id, piece)).collect())
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// `bundle.too_large`, `bundle.parse` (also for unknown and for duplicate names, R19), `bundle.version`,
    /// `bundle.empty`, `bundle.incomplete` (R17).
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        if json.len() > Self::LIMIT {
            let detail = format!("is {} bytes long, and the limit is {}", json.len(), Self::LIMIT);
            return Err(fault(BundleFault::TooLarge, detail));
        }
        let parse = |why: String| fault(BundleFault::Parse, format!("cannot be read: {why}"));
        let layout: Layout = serde_json::from_slice(json).map_err(|error| parse(error.to_string()))?;
        if layout.version != VERSION {
            let detail =
                format!("has version {}, and {VERSION} is known: use a newer release", layout.version);
            return Err(fault(BundleFault::Version, detail));
        }
        let mut items = BTreeMap::new();
        for Entry { item, content } in layout.items {
            let id = item.parse().map_err(|_| parse("it has an unknown item".to_owned()))?;
            if !content.is_of(id) {
                return Err(parse(format!("{id} is not what its name says")));
            }
            if items.insert(id, content).is_some() {
                return Err(parse(format!("it has {id} twice")));
            }
        }
        Self::from_items(items)
    }

    /// The layout that [`Bundle::from_json`] reads.
    pub fn to_json(&self) -> String {
        let entry =
            |(id, content): (&ItemId, &Piece)| Entry { item: id.to_string(), content: content.clone() };
        let layout = Layout { version: VERSION, items: self.items.iter().map(entry).collect() };
        serde_json::to_string_pretty(&layout).expect("text and hex are JSON")
    }

    /// The sets in it, by what they say they are for.
    pub fn sets(&self) -> Vec<(CollateralId, Collateral)> {
        let ids = self.items.keys().flat_map(|item| match *item {
            ItemId::TcbInfo { tee, fmspc } => {
                CAS.map(|ca| CollateralId::Intel(IntelCollateralId { tee, fmspc, ca })).to_vec()
            }
            ItemId::SnpSet(id) => vec![CollateralId::Amd(id)],
            _ => Vec::new(),
        });
        ids.filter_map(|id| Some((id, self.set(&id)?))).collect()
    }

    fn set(&self, id: &CollateralId) -> Option<Collateral> {
        let pieces: Option<Vec<_>> = ItemId::of(id).iter().map(|item| self.items.get(item)).collect();
        Piece::assemble(&pieces?)
    }

    /// All items must be of use: each is part of a set that is there.
    fn from_items(items: BTreeMap<ItemId, Piece>) -> Result<Self, Error> {
        if items.is_empty() {
            return Err(fault(BundleFault::Empty, "is empty: export it again where there is collateral"));
        }
        let bundle = Self { items };
        let sets = bundle.sets();
        let used = |item: &ItemId| sets.iter().any(|(id, _)| ItemId::of(id).contains(item));
        if let Some(item) = bundle.items.keys().find(|item| !used(item)) {
            let detail = format!("has {item} without the other items of its set: export it again");
            return Err(fault(BundleFault::Incomplete, detail));
        }
        Ok(bundle)
    }
}

fn fault(fault: BundleFault, detail: impl Into<String>) -> Error {
    Error::Bundle { fault, detail: detail.into() }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    version: u32,
    items: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    item: String,
    content: Piece,
}
