//! Endorsements that were found good, for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::TeeKind;
use crate::endorsement::{Endorsement, Key};

/// How many endorsements are remembered.
const ENTRIES: usize = 4096;
/// How many of them are of one PPID. Quotes are malleable (ECDSA has two signatures, PEM has line breaks, a host chooses its
/// QE ID), so one machine can make keys without end; it drives out its own.
const PER_PLATFORM: usize = 16;

/// What a [`Verifier`](crate::Verifier) remembers, for whoever watches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// How many endorsements are remembered now: at most 4096, and 16 of one PPID.
    pub endorsements: usize,
    /// How many quotes found theirs.
    pub hits: u64,
    /// How many did not and were verified in full.
    pub misses: u64,
}

/// Endorsements by their key, bounded in number and by platform, shared by threads.
///
/// An entry takes about 2 KiB, most of it the parsed attestation key: 8 MiB when full.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    by_age: BTreeMap<u64, Key>,
    by_platform: BTreeMap<([u8; 16], u64), Key>,
    /// The number of the next entry.
    next: u64,
    hits: u64,
    misses: u64,
}

struct Entry {
    endorsement: Arc<Endorsement>,
    number: u64,
    tee: TeeKind,
    /// [`Collateral::digest`](crate::Collateral::digest).
    collateral: [u8; 32],
    /// The latest time that it was asked for.
    seen: u64,
}

impl Memory {
    /// What is remembered under `key` and good at `now`. An entry that is not good, or that was asked for at a later time
    /// than now, is forgotten: what outlives a clock that is set back is verified again.
    pub(crate) fn recall(&self, key: &Key, now: u64) -> Option<Arc<Endorsement>> {
        let mut entries = self.lock();
        let found = match entries.by_key.get_mut(key) {
            Some(entry) if entry.endorsement.window.contains(now) && entry.seen <= now => {
                entry.seen = now;
                Some(entry.endorsement.clone())
            }
            Some(_) => {
                entries.forget(key);
                None
            }
            None => None,
        };
        match found {
            Some(_) => entries.hits += 1,
            None => entries.misses += 1,
        }
        found
    }

    /// Remembers an endorsement that was found good at `now`. What is remembered of the same platform and TEE from other
    /// collateral is forgotten.
    pub(crate) fn remember(
        &self,
        key: Key,
        endorsement: &Arc<Endorsement>,
        tee: TeeKind,
        collateral: &[u8; 32],
        now: u64,
    ) {
        let mut entries = self.lock();
        entries.forget(&key);
        let ppid = endorsement.platform.ppid;
        let outdated = |entry: &Entry| entry.tee == tee && entry.collateral != *collateral;
        for key in entries.of(&ppid) {
            if entries.by_key.get(&key).is_some_and(outdated) {
                entries.forget(&key);
            }
        }
        let own = entries.of(&ppid);
        if own.len() >= PER_PLATFORM {
            own.first().into_iter().for_each(|oldest| entries.forget(oldest));
        } else if entries.by_key.len() >= ENTRIES {
            let oldest = entries.by_age.first_key_value().map(|(_, key)| *key);
            oldest.iter().for_each(|oldest| entries.forget(oldest));
        }
        let number = entries.next;
        entries.next += 1;
        entries.by_age.insert(number, key);
        entries.by_platform.insert((ppid, number), key);
        let (endorsement, collateral) = (endorsement.clone(), *collateral);
        entries.by_key.insert(key, Entry { endorsement, number, tee, collateral, seen: now });
    }

    pub(crate) fn remembered(&self) -> Remembered {
        let entries = self.lock();
        Remembered { endorsements: entries.by_key.len(), hits: entries.hits, misses: entries.misses }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// The entries of a platform, oldest first.
    fn of(&self, ppid: &[u8; 16]) -> Vec<Key> {
        self.by_platform.range((*ppid, 0)..=(*ppid, u64::MAX)).map(|(_, key)| *key).collect()
    }

    fn forget(&mut self, key: &Key) {
        let Some(entry) = self.by_key.remove(key) else { return };
        self.by_age.remove(&entry.number);
        self.by_platform.remove(&(entry.endorsement.platform.ppid, entry.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::VerifyingKey;
    use crate::endorsement::Window;
    use crate::{IntelPlatform, PckCa, Tcb};

    /// The base point of P-256.
    const POINT: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

    fn endorsement(ppid: u32) -> Arc<Endorsement> {
        let mut name = [0; 16];
        name[..4].copy_from_slice(&ppid.to_be_bytes());
        Arc::new(Endorsement {
            platform: IntelPlatform {
                ppid: name,
                fmspc: [0; 6],
                pceid: [0; 2],
                ca: PckCa::Platform,
                instance_id: None,
                cpusvn: [0; 16],
                pcesvn: 0,
            },
            tcb: Tcb::UNLISTED,
            simulated: true,
            window: Window { from: 10, until: 20 },
            attestation_key: VerifyingKey::new(&hex::decode(POINT).unwrap()).unwrap(),
        })
    }

    fn key(number: usize) -> Key {
        Key::numbered(number)
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_go() {
        let memory = Memory::default();
        for number in 0..2 * ENTRIES {
            memory.remember(key(number), &endorsement(number as u32 / 4), TeeKind::Tdx, &[0; 32], 10);
            assert_eq!(memory.remembered().endorsements, (number + 1).min(ENTRIES));
        }
        assert!(memory.recall(&key(ENTRIES - 1), 10).is_none());
        assert!((ENTRIES..2 * ENTRIES).all(|number| memory.recall(&key(number), 10).is_some()));
        let entries = memory.lock();
        let lengths = [entries.by_key.len(), entries.by_age.len(), entries.by_platform.len()];
        assert_eq!(lengths, [ENTRIES; 3]);
    }

    #[test]
    fn one_platform_drives_out_its_own() {
        let memory = Memory::default();
        let none = [0; 32];
        memory.remember(key(0), &endorsement(0), TeeKind::Tdx, &none, 10);
        for number in 1..100 {
            memory.remember(key(number), &endorsement(1), TeeKind::Tdx, &none, 10);
            // Again, as two threads do that verified the same.
            memory.remember(key(number), &endorsement(1), TeeKind::Tdx, &none, 10);
            assert_eq!(memory.remembered().endorsements, 1 + number.min(PER_PLATFORM));
        }
        assert!(memory.recall(&key(0), 10).is_some());
        // New collateral for the one TEE: what the platform had from the old one is gone, of the other TEE and of others not.
        memory.remember(key(100), &endorsement(1), TeeKind::Sgx, &none, 10);
        memory.remember(key(101), &endorsement(1), TeeKind::Tdx, &[1; 32], 10);
        assert_eq!(memory.remembered().endorsements, 3);
        assert!([0, 100, 101].iter().all(|number| memory.recall(&key(*number), 10).is_some()));
    }

    #[test]
    fn an_entry_is_good_in_its_window_and_with_a_clock_that_goes_on() {
        let memory = Memory::default();
        for bad in [0, 9, 11, 20, u64::MAX] {
            memory.remember(key(0), &endorsement(0), TeeKind::Tdx, &[0; 32], 12);
            assert!(memory.recall(&key(0), bad).is_none(), "{bad}");
            assert!(memory.recall(&key(0), 12).is_none(), "{bad} made it forgotten");
        }
        memory.remember(key(0), &endorsement(0), TeeKind::Tdx, &[0; 32], 12);
        assert!([12, 12, 19].iter().all(|now| memory.recall(&key(0), *now).is_some()));
        assert!(memory.recall(&key(0), 18).is_none());
    }
}
