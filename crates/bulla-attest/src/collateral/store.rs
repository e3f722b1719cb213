//! Collateral, kept while it is good, renewed before it expires, and never exchanged for an older one (R29, R51).
//!
//! # How it works
//! - **Items, not sets.** All platforms share a root CRL, and all of one authority a PCK CRL. The newest edition of each
//!   item that ever verified is kept, and sets are put together from those: what one platform's delivery renews is new
//!   for all, and nothing that was accepted becomes too old because another platform's delivery raised the floor.
//! - **What is taken.** A delivery is verified as a set. If any of it does not verify, none of it is taken: an unusable
//!   delivery never replaces a good set. Of one that verifies, the items at or above the floor are taken; an older item is
//!   refused and recorded (`collateral.rollback`), and the newer one that is there stays.
//! - **Single flight.** However many threads ask, one fetches, once for each kind of platform. Those that have a good set
//!   do not wait for it.
//! - **Renewal.** When less than a quarter of an item's validity is left, or the last fetch of a set that succeeded is a day
//!   ago ([`Store::with_max_age`]), the next question fetches, or [`Store::refresh_due`], which a service calls now and then
//!   so that no question has to wait. If that fails, the set that is there is used until it expires, and [`Store::status`]
//!   says why. Validity alone would let a revocation or a recovery go unnoticed for three weeks.
//! - **Failures are remembered** for ten seconds and then twice as long each time, up to a quarter of an hour, or for as
//!   long as the service asked for, up to an hour: nobody who is refused can make the store hammer a service.
//! - **Order on disk.** Items first, then the floor: a crash between them leaves items that raise the floor again when
//!   they are read. The other order would leave a floor that refuses the items that are there.

mod directory;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use directory::{Directory, FloorMemory};
pub use status::{Failure, Imported, ItemStatus, SetStatus, Status};

use super::item::CAS;
use super::{
    Bundle, Collateral, CollateralId, CollateralSource, Facts, Floor, IntelCollateralId, ItemId, Minimum,
    Piece,
};
use crate::{Error, Verifier};

/// More kinds of platform than one service meets at a time. Above it, the one that was asked for longest ago is forgotten.
const SETS_MAX: usize = 64;
/// How long a set is taken for the newest unless a store is told otherwise, in seconds.
const MAX_AGE: u64 = 24 * 3600;
/// How long a failure is remembered, in seconds: at first, and at most.
const BACKOFF: (u64, u64) = (10, 900);
/// The longest that a service can make the store wait, in seconds.
const SERVICE_LONGEST: u64 = 3600;

/// Keeps collateral for any number of threads. Time is an argument of every question; the store reads no clock.
///
/// ```
/// use std::sync::Arc;
///
/// use bulla_attest::collateral::{Minimum, Store};
/// use bulla_attest::{CollateralId, CollateralSource, Error, Policy, TrustAnchor, Verifier};
///
/// fn judge(source: Arc<dyn CollateralSource>, quote: &[u8], now_unix: u64) -> Result<(), Error> {
///     let verifier = Verifier::vendors();
///     let store = Store::in_memory(verifier.clone(), Minimum::release(&TrustAnchor::intel())).with_source(source);
///     let collateral = store.current(&CollateralId::of_quote(quote)?, now_unix)?;
///     verifier.with_floor(store.floor()).verify(quote, &collateral, now_unix, &Policy::strict())?;
///     Ok(())
/// }
/// ```
pub struct Store {
    verifier: Verifier,
    source: Option<Arc<dyn CollateralSource>>,
    max_age: u64,
    directory: Option<Arc<Directory>>,
    memory: Option<Arc<dyn FloorMemory>>,
    state: Mutex<State>,
    landed: Condvar,
}

struct State {
    floor: Arc<Floor>,
    items: BTreeMap<ItemId, Piece>,
    sets: HashMap<CollateralId, Entry>,
    /// Counts changes of `items`.
    generation: u64,
    /// Counts questions.
    questions: u64,
    storage_failure: Option<String>,
    /// Whether the floor's memory is behind.
    unsaved: bool,
}

/// What became of the items of a set.
struct Taken {
    items: Vec<ItemId>,
    /// Why the first one that was not taken was not.
    refused: Option<Error>,
}

#[derive(Default)]
struct Entry {
    current: Option<Current>,
    flying: bool,
    /// When it was last fetched, and taken.
    fetched: Option<u64>,
    failure: Option<(Failure, Arc<Error>)>,
    /// Before it nothing is fetched, unless that is further away than any wait: then the clock went back.
    retry_at: u64,
    asked: u64,
}

struct Current {
    collateral: Arc<Collateral>,
    facts: Facts,
    generation: u64,
}

impl Store {
    /// A store that forgets everything with the process, for collateral that `verifier` accepts and that is not older than
    /// `minimum`.
    pub fn in_memory(verifier: Verifier, minimum: Minimum) -> Self {
        let state = State {
            floor: Arc::new(Floor::new(&verifier.anchor, minimum)),
            items: BTreeMap::new(),
            sets: HashMap::new(),
            generation: 0,
            questions: 0,
            storage_failure: None,
            unsaved: false,
        };
        Self {
            verifier,
            source: None,
            max_age: MAX_AGE,
            directory: None,
            memory: None,
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }

    /// A store that keeps its items in a directory, and remembers its floor there. Several processes can use one
    /// directory: what one of them fetches or imports, the others find when they need it.
    ///
    /// # Errors
    /// `floor.damaged`, `floor.other_root`, `store.unsafe`, `store.io`: a floor that cannot be read is never assumed empty.
    pub fn open(directory: Directory, verifier: Verifier, minimum: Minimum) -> Result<Self, Error> {
        let directory = Arc::new(directory);
        let store = Self { directory: Some(Arc::clone(&directory)), ..Self::in_memory(verifier, minimum) };
        store.with_floor_memory(directory)
    }

    /// Where newer collateral comes from. Without a source, only what is imported is there.
    #[must_use]
    pub fn with_source(self, source: Arc<dyn CollateralSource>) -> Self {
        Self { source: Some(source), ..self }
    }

    /// How many seconds after the last fetch of a set that succeeded the next one is due, however long its items are good: how late
    /// a revocation or a recovery may be noticed. A day if this is not called. A directory remembers that time across
    /// restarts; what is imported counts as never fetched. A store without a source has nobody to ask, so nothing in it gets
    /// too old for that.
    #[must_use]
    pub fn with_max_age(self, seconds: u64) -> Self {
        Self { max_age: seconds, ..self }
    }

    /// Remembers the floor elsewhere than in the directory, for example sealed.
    ///
    /// # Errors
    /// `floor.damaged`, `floor.other_root`, and what the memory says.
    pub fn with_floor_memory(self, memory: Arc<dyn FloorMemory>) -> Result<Self, Error> {
        let store = Self { memory: Some(memory), ..self };
        store.recall(&mut store.lock())?;
        Ok(store)
    }

    /// The floor as it is now.
    pub fn floor(&self) -> Arc<Floor> {
        Arc::clone(&self.lock().floor)
    }

    /// The set for `id`, verified, good at `now_unix` and not below the floor. Fetches it if there is none, or if it is due
    /// and nobody else is fetching it; blocks for as long as the source does.
    ///
    /// # Errors
    /// `clock.below_floor`; without a good set, why there is none: what the source says, what is wrong with its delivery,
    /// `collateral.rollback`.
    pub fn current(&self, id: &CollateralId, now_unix: u64) -> Result<Arc<Collateral>, Error> {
        let mut state = self.lock();
        loop {
            state.floor.check_time(now_unix)?;
            state.make_room(id)?;
            let usable = self.usable(&mut state, id, now_unix);
            let entry = state.entry(id);
            match usable {
                Some((set, due)) if !due || entry.flying || entry.waits(now_unix) => return Ok(set),
                None if entry.flying => {
                    state = self.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                None if entry.waits(now_unix) => {
                    if let Some((_, error)) = &entry.failure {
                        return Err(Error::Remembered(Arc::clone(error)));
                    }
                }
                _ => {}
            }
            entry.flying = true;
            break;
        }
        drop(state);
        self.fly(id, now_unix, false)
    }

    /// Fetches a set for `id` whether it is due or not, and whether the last attempt failed or not; if somebody is fetching
    /// it already, waits for them first.
    ///
    /// # Errors
    /// `clock.below_floor`; why the attempt failed, even if there is still a good set.
    pub fn refresh(&self, id: &CollateralId, now_unix: u64) -> Result<(), Error> {
        let mut state = self.lock();
        state.floor.check_time(now_unix)?;
        state.make_room(id)?;
        while state.entry(id).flying {
            state = self.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.entry(id).flying = true;
        drop(state);
        self.fly(id, now_unix, true)?;
        match &self.lock().entry(id).failure {
            Some((_, error)) => Err(Error::Remembered(Arc::clone(error))),
            None => Ok(()),
        }
    }

    /// Fetches every set that was asked for or is in the directory, is due and not being fetched, one after the other, so that
    /// no question has to. What fails is in [`Store::status`].
    ///
    /// # Errors
    /// `clock.below_floor`.
    pub fn refresh_due(&self, now_unix: u64) -> Result<(), Error> {
        self.lock().floor.check_time(now_unix)?;
        let known = self.look_around(now_unix);
        let mut state = self.lock();
        for id in known {
            let usable = self.usable(&mut state, &id, now_unix);
            let entry = state.entry(&id);
            if entry.flying || entry.waits(now_unix) || usable.is_some_and(|(_, due)| !due) {
                continue;
            }
            entry.flying = true;
            drop(state);
            let _ = self.fly(&id, now_unix, false); // recorded in its entry
            state = self.lock();
        }
        Ok(())
    }

    /// Takes in the sets of a bundle, each through the same verification and floor as a delivery.
    ///
    /// # Errors
    /// `clock.below_floor`. What became of each set is in the answer.
    pub fn import(&self, bundle: &Bundle, now_unix: u64) -> Result<Vec<Imported>, Error> {
        self.lock().floor.check_time(now_unix)?;
        let take = |(id, set): (CollateralId, Collateral)| {
            let facts = self.verifier.check_collateral(&id, &set, now_unix)?;
            let mut state = self.lock();
            state.make_room(&id)?;
            let taken = self.take(&mut state, &set, &facts)?;
            state.entry(&id).forgive();
            Ok(taken)
        };
        let take = |(id, set)| match take((id, set)) {
            Ok(Taken { items, refused }) => Imported { id, taken: items, refused },
            Err(error) => Imported { id, taken: Vec::new(), refused: Some(error) },
        };
        Ok(bundle.sets().into_iter().map(take).collect())
    }

    /// All sets that are good at `now_unix`, to be imported elsewhere.
    ///
    /// # Errors
    /// `clock.below_floor`; `bundle.empty` if there are none.
    pub fn export(&self, now_unix: u64) -> Result<Bundle, Error> {
        let ids = self.look_around(now_unix);
        let mut state = self.lock();
        state.floor.check_time(now_unix)?;
        let good = |id: &CollateralId| Some((*id, state.good(&self.verifier, id, now_unix)?));
        let sets: Vec<_> = ids.iter().filter_map(good).collect();
        Bundle::of(sets.iter().map(|(id, set)| (id, set.as_ref())))
    }

    /// What is there and how it stands, without fetching anything.
    pub fn status(&self, now_unix: u64) -> Status {
        let ids = self.look_around(now_unix);
        let mut state = self.lock();
        let clock_is_good = state.floor.check_time(now_unix).is_ok();
        let set = |state: &mut State, id: &CollateralId| {
            let usable = state.good(&self.verifier, id, now_unix).is_some() && clock_is_good;
            let entry = state.entry(id);
            let due = self.due(entry, now_unix);
            let facts = entry.current.as_ref().map(|current| &current.facts);
            SetStatus {
                next_refresh: due.map(|due| due.max(entry.retry_at)),
                last_failure: entry.failure.as_ref().map(|(failure, _)| failure.clone()),
                ..SetStatus::new(id, facts, usable)
            }
        };
        let sets = ids.iter().map(|id| set(&mut state, id)).collect();
        Status {
            floor_time: state.floor.time(),
            floor: state
                .floor
                .editions()
                .map(|(item, edition)| ItemStatus::new(item, edition, None))
                .collect(),
            sets,
            storage_failure: state.storage_failure.clone(),
        }
    }

    /// The one thread that fetches; its entry says so. Ends the flight whatever happens.
    fn fly(&self, id: &CollateralId, now: u64, forced: bool) -> Result<Arc<Collateral>, Error> {
        let flight = Flight { store: self, id };
        let gathered = self.gather(id, now, forced);
        let mut state = self.lock();
        let usable = self.usable(&mut state, id, now);
        let still_due = usable.as_ref().is_some_and(|(_, due)| *due);
        let entry = state.entry(id);
        let gathered = gathered.map_err(Arc::new);
        match &gathered {
            Ok(()) => {
                entry.forgive();
                // The service has nothing newer yet.
                entry.retry_at = if still_due { now.saturating_add(BACKOFF.1) } else { 0 };
            }
            Err(error) => entry.fail(Arc::clone(error), now),
        }
        drop(state);
        drop(flight);
        match (usable, gathered) {
            (Some((set, _)), _) => Ok(set),
            (None, Err(error)) => Err(Arc::try_unwrap(error).unwrap_or_else(Error::Remembered)),
            (None, Ok(())) => Err(Error::CollateralUnavailable("what was fetched expired meanwhile".into())),
        }
    }

    /// Gets a set from the directory, or else from the source, and takes it in.
    fn gather(&self, id: &CollateralId, now: u64, forced: bool) -> Result<(), Error> {
        self.reload(id, now);
        if !forced && self.usable(&mut self.lock(), id, now).is_some_and(|(_, due)| !due) {
            return Ok(());
        }
        let Some(source) = &self.source else {
            let advice = "there is no service to ask: import a bundle that has it";
            return Err(Error::CollateralUnavailable(advice.into()));
        };
        let set = source.collateral(id)?;
        self.receive(id, &set, now)?;
        self.lock().entry(id).fetched = Some(now);
        if let Some(directory) = &self.directory {
            let since = now.saturating_sub(self.max_age);
            let noted = directory.locked(|| directory.note_fetched(id, now, since));
            self.note_storage(noted);
        }
        Ok(())
    }

    /// A set that is good at `now`, and whether the next one is due.
    fn usable(&self, state: &mut State, id: &CollateralId, now: u64) -> Option<(Arc<Collateral>, bool)> {
        let set = state.good(&self.verifier, id, now)?;
        let due = state.sets.get(id).and_then(|entry| self.due(entry, now));
        Some((set, due.is_none_or(|due| now >= due)))
    }

    /// When the set after the one that is there is looked for: now, if nobody knows when that one was fetched, or if the
    /// clock went back since.
    fn due(&self, entry: &Entry, now: u64) -> Option<u64> {
        let before_it_ends = entry.current.as_ref()?.facts.refresh_at();
        let too_old = match (&self.source, entry.fetched) {
            (None, _) => u64::MAX,
            (Some(_), Some(fetched)) if fetched <= now => fetched.saturating_add(self.max_age),
            (Some(_), _) => now,
        };
        Some(before_it_ends.min(too_old))
    }

    fn note_storage(&self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.lock().storage_failure = Some(error.to_string());
        }
    }

    /// Verifies a set and takes it in.
    fn receive(&self, id: &CollateralId, set: &Collateral, now: u64) -> Result<(), Error> {
        let facts = self.verifier.check_collateral(id, set, now)?;
        let taken = self.take(&mut self.lock(), set, &facts)?;
        taken.refused.map_or(Ok(()), Err)
    }

    /// Takes in the items of a set that verified, but for those below the floor.
    fn take(&self, state: &mut State, set: &Collateral, facts: &Facts) -> Result<Taken, Error> {
        let mut taken = Taken { items: Vec::new(), refused: None };
        let mut changed = Vec::new();
        let mut floor = Floor::clone(&state.floor);
        for (id, piece) in Piece::of(set, facts.id())? {
            // A set of AMD's stands and falls with the CRL in it.
            let is_set = matches!(id, ItemId::SnpSet(_));
            let editions = || facts.items().iter().filter(|item| is_set || item.id == id);
            if let Err(error) = editions().try_for_each(|item| state.floor.check_item(item)) {
                taken.refused.get_or_insert(error);
                continue;
            }
            editions().for_each(|item| state.unsaved |= floor.raise_item(item));
            // An equal edition may come with issuers whose certificates were renewed.
            if state.items.get(&id) != Some(&piece) {
                state.items.insert(id, piece);
                state.generation = state.generation.wrapping_add(1);
                changed.push(id);
            }
            taken.items.push(id);
        }
        state.floor = Arc::new(floor);
        if let Err(error) = self.persist(state, &changed) {
            state.storage_failure = Some(error.to_string());
        }
        Ok(taken)
    }

    /// Items, then floor. What cannot be written is in memory all the same, as if a fetch had come after a restart.
    fn persist(&self, state: &mut State, changed: &[ItemId]) -> Result<(), Error> {
        let write = |state: &mut State| {
            for id in changed {
                if let (Some(directory), Some(piece)) = (&self.directory, state.items.get(id)) {
                    directory.write_item(*id, piece)?;
                }
            }
            if let (Some(memory), true) = (&self.memory, state.unsaved) {
                self.recall(state)?;
                memory.save(&state.floor.to_bytes())?;
            }
            Ok(())
        };
        if changed.is_empty() && !state.unsaved {
            return Ok(());
        }
        match &self.directory {
            Some(directory) => directory.locked(|| write(state))?,
            None => write(state)?,
        }
        state.unsaved = false;
        state.storage_failure = None;
        Ok(())
    }

    /// Raises the floor to what is remembered.
    fn recall(&self, state: &mut State) -> Result<(), Error> {
        let Some(bytes) = self.memory.as_ref().map_or(Ok(None), |memory| memory.load())? else {
            return Ok(());
        };
        let mut floor = Floor::clone(&state.floor);
        if floor.join(&Floor::from_bytes(&bytes, &self.verifier.anchor, floor.minimum())?)? {
            state.floor = Arc::new(floor);
            state.generation = state.generation.wrapping_add(1); // some items may be below it now
        }
        Ok(())
    }

    /// Takes in what the directory has for `id`, where it is better than what is in memory.
    fn reload(&self, id: &CollateralId, now: u64) {
        let Some(directory) = &self.directory else {
            return;
        };
        let fetched = directory.fetched(id).map(|fetched| {
            let mut state = self.lock();
            let entry = state.entry(id);
            entry.fetched = entry.fetched.max(fetched);
        });
        self.note_storage(fetched);
        let recalled = self.recall(&mut self.lock());
        let outcome = recalled.and_then(|()| {
            let mut pieces = Vec::new();
            for item in ItemId::of(id) {
                let held = || self.lock().items.get(&item).cloned();
                pieces.extend(directory.read_item(item)?.or_else(held));
            }
            let pieces: Vec<_> = pieces.iter().collect();
            Piece::assemble(&pieces).map_or(Ok(()), |set| self.receive(id, &set, now))
        });
        if let Err(error) = outcome {
            let failure = format!("the set in the directory is not used: {error}");
            self.lock().storage_failure = Some(failure);
        }
    }

    /// All kinds of platform that were asked for or that the directory has something for, the latter taken into memory.
    fn look_around(&self, now: u64) -> BTreeSet<CollateralId> {
        let listed = match self.directory.as_ref().map_or(Ok(Vec::new()), |directory| directory.items()) {
            Ok(items) => items,
            Err(error) => {
                self.lock().storage_failure = Some(error.to_string());
                Vec::new()
            }
        };
        let mut ids: BTreeSet<_> = self.lock().sets.keys().copied().collect();
        let named = listed.iter().flat_map(|item| match *item {
            ItemId::TcbInfo { tee, fmspc } => {
                CAS.map(|ca| CollateralId::Intel(IntelCollateralId { tee, fmspc, ca })).to_vec()
            }
            ItemId::SnpSet(id) => vec![CollateralId::Amd(id)],
            _ => Vec::new(),
        });
        for id in named {
            let is_whole = ItemId::of(&id).iter().all(|item| listed.contains(item));
            if is_whole && ids.len() < SETS_MAX && self.lock().make_room(&id).is_ok() && ids.insert(id) {
                self.reload(&id, now);
            }
        }
        ids
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn entry(&mut self, id: &CollateralId) -> &mut Entry {
        self.questions = self.questions.wrapping_add(1);
        let entry = self.sets.entry(*id).or_default();
        entry.asked = self.questions;
        entry
    }

    /// Forgets a set, if a new one needs the room: rather one that never was there than one that is.
    fn make_room(&mut self, id: &CollateralId) -> Result<(), Error> {
        if self.sets.len() < SETS_MAX || self.sets.contains_key(id) {
            return Ok(());
        }
        let idle = self.sets.iter().filter(|(_, entry)| !entry.flying);
        let oldest = idle.min_by_key(|(_, entry)| (entry.current.is_some(), entry.asked)).map(|(id, _)| *id);
        let Some(oldest) = oldest else {
            let busy = format!("sets for {SETS_MAX} kinds of platform are being fetched at this moment");
            return Err(Error::CollateralUnavailable(busy));
        };
        self.sets.remove(&oldest);
        // What it shares with others stays; there are few of those.
        for item in ItemId::of(&oldest) {
            let is_its_own = matches!(item, ItemId::TcbInfo { .. } | ItemId::SnpSet(_));
            if is_its_own && !self.sets.keys().any(|id| ItemId::of(id).contains(&item)) {
                self.items.remove(&item);
            }
        }
        Ok(())
    }

    /// A set that is good at `now`.
    fn good(&mut self, verifier: &Verifier, id: &CollateralId, now: u64) -> Option<Arc<Collateral>> {
        let known = self.sets.get(id).and_then(|entry| entry.current.as_ref());
        if known.is_none_or(|current| current.generation != self.generation) {
            let current = self.assemble(verifier, id, now)?;
            self.sets.entry(*id).or_default().current = Some(current);
        }
        let current = self.sets.get(id)?.current.as_ref()?;
        let good = (current.facts.issued()..current.facts.valid_until()).contains(&now);
        good.then(|| Arc::clone(&current.collateral))
    }

    /// Puts a set together from the newest items, if they make one.
    fn assemble(&self, verifier: &Verifier, id: &CollateralId, now: u64) -> Option<Current> {
        let pieces: Option<Vec<_>> = ItemId::of(id).iter().map(|item| self.items.get(item)).collect();
        let collateral = Piece::assemble(&pieces?)?;
        let facts = verifier.check_collateral(id, &collateral, now).ok()?;
        self.floor.check(&facts).ok()?;
        Some(Current { collateral: Arc::new(collateral), facts, generation: self.generation })
    }
}

impl Entry {
    fn waits(&self, now: u64) -> bool {
        self.retry_at.checked_sub(now).is_some_and(|left| (1..=SERVICE_LONGEST).contains(&left))
    }

    fn forgive(&mut self) {
        (self.failure, self.retry_at) = (None, 0);
    }

    fn fail(&mut self, error: Arc<Error>, now: u64) {
        let before = self.failure.as_ref().map_or(0, |(failure, _)| failure.attempts);
        let backoff = BACKOFF.0.saturating_mul(1 << before.min(16)).min(BACKOFF.1);
        let asked_for = match error.as_ref() {
            Error::Service { retry_after, .. } => retry_after.unwrap_or(0).min(SERVICE_LONGEST),
            _ => 0,
        };
        self.retry_at = now.saturating_add(backoff.max(asked_for));
        let failure = Failure {
            code: error.code(),
            detail: error.to_string(),
            at: now,
            attempts: before.saturating_add(1),
            retry_at: self.retry_at,
        };
        self.failure = Some((failure, error));
    }
}

/// A fetch that goes on. However it ends, even by a panic of the source, those who wait go on.
struct Flight<'a> {
    store: &'a Store,
    id: &'a CollateralId,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.store.lock().entry(self.id).flying = false;
        self.store.landed.notify_all();
    }
}
