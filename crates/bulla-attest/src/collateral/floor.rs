//! What collateral may not be older than (R29), and the time that it proves (R30).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Edition, Facts, ItemFacts, ItemId};
use crate::{Error, TrustAnchor};

/// The version of the persisted form.
const VERSION: u32 = 1;

/// When this release was made: 2026-11-01. Raised with each release.
const RELEASE_TIME: u64 = 1_793_491_200;
/// The tcbEvaluationDataNumber that Intel's standard channel had left behind by then. Raised with each release.
const RELEASE_EVALUATION_NUMBER: u32 = 18;

/// A floor that is set, by a release or by a policy, where [`Floor`] adds what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minimum {
    /// The lowest acceptable time, in Unix seconds.
    pub time: u64,
    /// The lowest acceptable tcbEvaluationDataNumber of a TCB info. QE identities are numbered on their own and lag behind.
    pub evaluation_number: u32,
}

impl Minimum {
    /// Nothing is too old: for judging the past.
    pub const NONE: Self = Self { time: 0, evaluation_number: 0 };

    /// What this release knows: when it was made, and how far Intel was by then. Nothing of other roots than Intel's.
    pub fn release(anchor: &TrustAnchor) -> Self {
        if *anchor == TrustAnchor::intel() {
            Self { time: RELEASE_TIME, evaluation_number: RELEASE_EVALUATION_NUMBER }
        } else {
            Self::NONE
        }
    }

    /// The higher of each.
    #[must_use]
    pub fn highest(self, other: Self) -> Self {
        Self {
            time: self.time.max(other.time),
            evaluation_number: self.evaluation_number.max(other.evaluation_number),
        }
    }
}

/// The newest editions of collateral that verified under one root of Intel's kind (and, of SEV-SNP, under AMD's), and the
/// time they prove. It only rises.
///
/// A clock below the latest verified issue is wrong (R30), and a set below what was seen before is an attempt to go back
/// to kinder verdicts (R29): both are signed statements that Intel made, so nobody but Intel can raise a floor too far.
///
/// ```
/// use bulla_attest::TrustAnchor;
/// use bulla_attest::collateral::{Floor, Minimum};
///
/// let anchor = TrustAnchor::intel();
/// let floor = Floor::new(&anchor, Minimum::release(&anchor));
/// assert_eq!(floor.check_time(0).unwrap_err().code(), "clock.below_floor");
/// let again = Floor::from_bytes(&floor.to_bytes(), &anchor, Minimum::release(&anchor))?;
/// assert_eq!(again, floor);
/// # Ok::<(), bulla_attest::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    root: [u8; 32],
    minimum: Minimum,
    /// The latest verified issue.
    time: u64,
    editions: BTreeMap<ItemId, Edition>,
}

impl Floor {
    /// The largest persisted floor that is read, in bytes (R31). It would take more processor families than there are.
    pub const LIMIT: usize = 1 << 20;

    /// A floor that has seen nothing.
    pub const fn new(anchor: &TrustAnchor, minimum: Minimum) -> Self {
        Self { root: *anchor.fingerprint(), minimum, time: 0, editions: BTreeMap::new() }
    }

    /// The lowest acceptable time, in Unix seconds.
    pub fn time(&self) -> u64 {
        self.time.max(self.minimum.time)
    }

    /// What is set, beside what was seen.
    pub const fn minimum(&self) -> Minimum {
        self.minimum
    }

    /// The newest editions that were seen.
    pub fn editions(&self) -> impl Iterator<Item = (&ItemId, &Edition)> {
        self.editions.iter()
    }

    /// Refuses a clock that is behind what was proved.
    ///
    /// # Errors
    /// `clock.below_floor`.
    pub fn check_time(&self, now_unix: u64) -> Result<(), Error> {
        let floor = self.time();
        if now_unix < floor { Err(Error::ClockBelowFloor { now: now_unix, floor }) } else { Ok(()) }
    }

    /// Refuses a set of which an item is older than what was seen or is set.
    ///
    /// # Errors
    /// `collateral.rollback`, naming the item, what was wanted and what was found.
    pub fn check(&self, facts: &Facts) -> Result<(), Error> {
        facts.items().iter().try_for_each(|item| self.check_item(item))
    }

    pub(crate) fn check_item(&self, found: &ItemFacts) -> Result<(), Error> {
        let rollback = |wanted| Error::rollback(found.id, wanted, found.edition.to_string());
        let minimum = self.minimum.evaluation_number;
        let is_numbered = matches!(found.id, ItemId::TcbInfo { .. });
        if is_numbered && found.edition.number() < u128::from(minimum) {
            return Err(rollback(format!("at least number {minimum}, which is set")));
        }
        match self.editions.get(&found.id) {
            Some(seen) if found.edition < *seen => Err(rollback(format!("at least {seen}, which was seen"))),
            _ => Ok(()),
        }
    }

    /// Takes in a set that verified, and says whether that raised anything. Nothing is ever lowered.
    pub fn raise(&mut self, facts: &Facts) -> bool {
        facts.items().iter().fold(false, |raised, item| self.raise_item(item) | raised)
    }

    pub(crate) fn raise_item(&mut self, found: &ItemFacts) -> bool {
        let later = found.edition.issued() > self.time;
        self.time = self.time.max(found.edition.issued());
        let newer = self.editions.get(&found.id).is_none_or(|seen| found.edition > *seen);
        if newer {
            self.editions.insert(found.id, found.edition);
        }
        newer || later
    }

    /// Takes in what another floor under the same root has seen, for example the one that was remembered, and says
    /// whether that raised anything.
    ///
    /// # Errors
    /// `floor.other_root`.
    pub fn join(&mut self, other: &Self) -> Result<bool, Error> {
        if other.root != self.root {
            return Err(Error::FloorOtherRoot);
        }
        let before = self.clone();
        self.minimum = self.minimum.highest(other.minimum);
        self.time = self.time.max(other.time);
        for (item, edition) in &other.editions {
            let seen = self.editions.entry(*item).or_insert(*edition);
            *seen = (*seen).max(*edition);
        }
        Ok(*self != before)
    }

    /// What was seen, to be remembered (JSON). What is set is not in it: whoever sets it says it again.
    pub fn to_bytes(&self) -> Vec<u8> {
        let editions = self.editions.iter().map(|(item, edition)| (item.to_string(), *edition)).collect();
        let layout = Layout { version: VERSION, root: hex::encode(self.root), time: self.time, editions };
        serde_json::to_vec(&layout).expect("text and numbers are JSON")
    }

    /// What was remembered, above what is set now.
    ///
    /// # Errors
    /// `floor.damaged`, and `floor.other_root` if it was remembered under another root.
    pub fn from_bytes(bytes: &[u8], anchor: &TrustAnchor, minimum: Minimum) -> Result<Self, Error> {
        let damaged = |why: &str| Error::FloorDamaged(why.to_owned());
        if bytes.len() > Self::LIMIT {
            return Err(damaged("it is larger than a floor can be"));
        }
        let layout: Layout = serde_json::from_slice(bytes).map_err(|error| damaged(&error.to_string()))?;
        if layout.version != VERSION {
            return Err(damaged(&format!("its version is {}, and {VERSION} is known", layout.version)));
        }
        let mut floor = Self::new(anchor, minimum);
        if layout.root != hex::encode(floor.root) {
            return Err(Error::FloorOtherRoot);
        }
        floor.time = layout.time;
        for (name, edition) in layout.editions {
            let item = name.parse().map_err(|_| damaged("it names an unknown item"))?;
            floor.editions.insert(item, edition);
        }
        // Duplicates, another order, other spaces: one floor has one form.
        if floor.to_bytes() == bytes { Ok(floor) } else { Err(damaged("it is not in its one form")) }
    }

    /// Equal for equal floors, and for no others: for whoever remembers verdicts that were given above one.
    pub fn digest(&self) -> [u8; 32] {
        let Minimum { time, evaluation_number } = self.minimum;
        bulla_crypto::sha256(&[&time.to_be_bytes(), &evaluation_number.to_be_bytes(), &self.to_bytes()])
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    version: u32,
    root: String,
    time: u64,
    editions: BTreeMap<String, Edition>,
}
