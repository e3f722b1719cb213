//! What may not fall.

use std::fs;

use super::*;

const FILES: [&str; 3] = ["memory.sealed", ".memory.sealed.bulla-lock", ".memory.sealed.bulla-1"];

/// R83: floors rise, stay over a restart, and do not fall, whatever policy or host say.
#[test]
fn r83_the_floor_of_epochs_only_rises() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        provider.rotate(2).unwrap();
        provider.rotate(3).unwrap();
        assert_eq!(code(provider.raise_floor(4)), "custody.unknown_epoch");
        provider.raise_floor(2).unwrap();
        let left = provider.epochs();
        assert_eq!(left.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(code(provider.raise_floor(1)), "custody.lowered_floor");
        provider.raise_floor(2).unwrap();
        drop(provider);
        assert_eq!(site.start(&policy, PRESENT, "state").unwrap().epochs(), left);

        // A policy raises it too, and a later one that says less does not lower it.
        let mut stricter = policy.clone();
        stricter.terms.minimum_epoch = 3;
        assert_eq!(site.start(&stricter, PRESENT, "state").unwrap().epochs(), left[1..]);
        assert_eq!(site.start(&policy, PRESENT, "state").unwrap().epochs(), left[1..]);
        // One that leaves nothing is refused, and nothing is remembered of it.
        stricter.terms.minimum_epoch = 4;
        assert_eq!(code(site.start(&stricter, PRESENT, "state")), "custody.none_left");
        assert_eq!(site.start(&policy, PRESENT, "state").unwrap().epochs(), left[1..]);
    }
}

/// R83, B37: a policy that was replaced does not come back.
#[test]
fn r83_an_older_policy_is_refused() {
    let site = Site::new();
    let newer = Policy { version: 5, ..keyring() };
    site.init(&keyring(), "state").unwrap();
    site.start(&newer, PRESENT, "state").unwrap();
    assert_eq!(code(site.start(&Policy { version: 4, ..keyring() }, PRESENT, "state")), "custody.rollback");
    assert_eq!(code(site.start(&newer, PRESENT, "state")), "done");
}

/// A ring or record that is older than what was seen is named.
#[test]
fn r83_older_roots_are_refused() {
    for (policy, file) in [(hardware(), "root.request"), (keyring(), "roots.ring")] {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let path = site.path("state").join(file);
        let old = fs::read(&path).unwrap();
        site.start(&policy, PRESENT, "state").unwrap().rotate(2).unwrap();
        let new = fs::read(&path).unwrap();
        fs::write(&path, old).unwrap();
        assert_eq!(code(site.start(&policy, PRESENT, "state")), "custody.rollback");
        fs::write(&path, new).unwrap();
        assert_eq!(code(site.start(&policy, PRESENT, "state")), "done");
    }
}

/// R83, R95: a memory that is gone is named, never taken for one that was not begun; beginning anew is asked for by name.
#[test]
fn r83_a_lost_memory_is_named() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        provider.rotate(2).unwrap();
        provider.raise_floor(2).unwrap();
        let left = provider.epochs();
        drop(provider);
        let forget =
            || Provider::begin_new_memory_under(&policy, site.build(PRESENT), &site.settings("state"));
        assert_eq!(code(forget()), "custody.damaged_memory", "there is one");
        for lost in 1..=FILES.len() {
            for name in &FILES[..lost] {
                let _ = fs::remove_file(site.path("state").join(name));
            }
            assert_eq!(code(site.start(&policy, PRESENT, "state")), "custody.missing_memory", "{lost}");
        }
        forget().unwrap();
        let after = site.start(&policy, PRESENT, "state").unwrap().epochs();
        assert_eq!((after.len(), after[1]), (2, left[0]), "the floor is what was lost");
    }
}

/// What the host writes there is no memory.
#[test]
fn no_bit_of_the_memory_can_be_changed() {
    let site = Site::new();
    site.init(&keyring(), "state").unwrap();
    let path = site.path("state/memory.sealed");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, bad).unwrap();
        assert_ne!(code(site.start(&keyring(), PRESENT, "state")), "done", "byte {at}");
    }
    for bad in [&[][..], &good[..good.len() - 1]] {
        fs::write(&path, bad).unwrap();
        assert_ne!(code(site.start(&keyring(), PRESENT, "state")), "done");
    }
    fs::write(&path, good).unwrap();
    assert_eq!(code(site.start(&keyring(), PRESENT, "state")), "done");
}

/// R29: what collateral may not be older than outlives the process.
#[test]
fn r29_the_floor_of_collateral_is_remembered() {
    let site = Site::new();
    site.init(&keyring(), "state").unwrap();
    let provider = site.start(&keyring(), PRESENT, "state").unwrap();
    let seen = provider.sources.floor();
    assert!(seen.time() > 0 && seen.editions().count() > 0);
    drop(provider);
    let policy = keyring();
    let (custody, _) = Custody::open(&site.build(PRESENT), &site.path("state"), &policy).unwrap();
    let (_, anchor) = site.source();
    let memory: Arc<dyn bulla_attest::collateral::FloorMemory> = custody.memory();
    let from = site.settings("state").collateral.open(Arc::new(Source(site.path("none")))).unwrap();
    let sources = crate::verify::Sources::new(anchor, from, Some(memory)).unwrap();
    assert_eq!(sources.floor().to_bytes(), seen.to_bytes());
}
