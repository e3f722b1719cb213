//! Epochs of both custodies: made once, rotated, retired, never replaced.

use std::fs;

use bulla_sim::Step;
use bulla_tee::{DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, ReportData};

use super::*;

/// R95, B39: a start makes no ring, whatever is or is not there; init makes one, once.
#[test]
fn r95_only_init_makes_a_ring() {
    let site = Site::new();
    assert_eq!(code(site.start(&keyring(), PRESENT, "state")), "custody.not_initialised");
    assert_eq!(code(site.start(&keyring(), PRESENT, "state")), "custody.not_initialised");
    let made = site.init(&keyring(), "state").unwrap();
    assert_eq!(code(site.init(&keyring(), "state")), "custody.exists");
    let provider = site.start(&keyring(), PRESENT, "state").unwrap();
    assert_eq!(provider.epochs(), made);
    drop(provider);

    let ring = site.path("state/roots.ring");
    let kept = fs::read(&ring).unwrap();
    fs::remove_file(&ring).unwrap();
    for refused in [code(site.start(&keyring(), PRESENT, "state")), code(site.init(&keyring(), "state"))] {
        assert_eq!(refused, "state.missing_seal");
    }
    assert!(!ring.exists());
    fs::write(&ring, kept).unwrap();
    assert_eq!(site.start(&keyring(), PRESENT, "state").unwrap().epochs(), made);

    fs::create_dir(site.path("stray")).unwrap();
    fs::write(site.path("stray/audit.log"), "").unwrap();
    assert_eq!(code(site.init(&keyring(), "stray")), "state.missing_seal");
}

#[test]
fn init_makes_hardware_roots_too_and_a_start_finds_them() {
    let site = Site::new();
    let made = site.init(&hardware(), "state").unwrap();
    assert_eq!(code(site.init(&hardware(), "state")), "custody.exists");
    assert_eq!(site.start(&hardware(), PRESENT, "state").unwrap().epochs(), made);
    assert_eq!(
        code(site.start(&Policy { authority: [0; 32], ..hardware() }, PRESENT, "state")),
        "envelope.other_context"
    );
}

/// State of one custody is not started on under the other.
#[test]
fn custodies_are_not_confused() {
    let site = Site::new();
    site.init(&hardware(), "hardware").unwrap();
    site.init(&Policy { authority: hardware().authority, ..keyring() }, "keyring").unwrap();
    let other = Policy { authority: hardware().authority, ..keyring() };
    assert_eq!(code(site.start(&other, PRESENT, "hardware")), "custody.other");
    assert_eq!(code(site.start(&hardware(), PRESENT, "keyring")), "custody.other");
}

/// R85, R86: asked for again, an epoch is the one that is there; older ones go on; ids are never given twice.
#[test]
fn r85_rotating_twice_is_rotating_once() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        let first = site.init(&policy, "state").unwrap();
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        let before = provider.identity().root_id;
        assert!(provider.rotate(2).unwrap());
        let both = provider.epochs();
        assert_eq!((both.len(), both[0]), (2, first[0]));
        assert_ne!(provider.identity().root_id, before);
        assert_eq!(provider.identity().root_id, both[1].1);
        assert!(!provider.rotate(2).unwrap() && !provider.rotate(1).unwrap());
        for wrong in [0, 4, u32::MAX] {
            assert_eq!(code(provider.rotate(wrong)), "custody.not_next", "{wrong}");
        }
        assert_eq!(provider.epochs(), both);
        let roots = secrets(&provider.regime().roots);
        drop(provider);
        assert_eq!(secrets(&opened(&site, &policy, PRESENT, "state").unwrap()), roots);
    }
}

/// R85: of many who rotate at once, one does.
#[test]
fn r85_rotations_at_once_are_one() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| provider.rotate(2).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
        assert_eq!(provider.epochs().len(), 2);
    }
}

/// R84, R86: a retired epoch is gone from what is served, stays taken, and nobody retires what new keys come from.
#[test]
fn a_retired_epoch_is_not_served_and_not_given_again() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        let first = site.init(&policy, "state").unwrap()[0];
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        assert_eq!(code(provider.retire(1)), "custody.current_epoch");
        provider.rotate(2).unwrap();
        assert!(provider.regime().roots.first().is_some());
        assert!(provider.retire(1).unwrap());
        assert!(!provider.retire(1).unwrap());
        assert_eq!(code(provider.retire(2)), "custody.current_epoch");
        for unknown in [0, 3] {
            assert_eq!(code(provider.retire(unknown)), "custody.unknown_epoch");
        }
        assert!(provider.regime().roots.get(&first.1).is_none());
        assert!(provider.regime().roots.first().is_none(), "legacy keys are of the first epoch");
        assert_eq!(provider.epochs().iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [2]);
        assert!(!provider.rotate(1).unwrap(), "its number stays taken");
        drop(provider);
        let again = opened(&site, &policy, PRESENT, "state").unwrap();
        assert_eq!(again.iter().count(), 1);
    }
}

/// R5, B38: after an update of the microcode everything opens, and a new hardware epoch, like a ring that is started on, is bound to
/// the new one. Before it they do not open.
#[test]
fn r5_roots_outlive_a_microcode_update() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        let before = provider.epochs();
        assert!(!provider.refresh_roots().unwrap());
        site.machine().microcode(Step::Up).unwrap();
        drop(provider);
        let provider = site.start(&policy, PRESENT, "state").unwrap();
        assert_eq!(provider.epochs(), before);
        assert!(!provider.refresh_roots().unwrap(), "the start has done it");
        provider.rotate(2).unwrap();
        drop(provider);
        site.machine().microcode(Step::Down).unwrap();
        assert_eq!(code(site.start(&policy, PRESENT, "state")), "machine.tcb_too_old");
    }
}

/// The machine under a running provider, which is updated meanwhile.
struct Updated(std::sync::RwLock<Arc<dyn Tee>>);

impl Updated {
    fn tee(&self) -> Arc<dyn Tee> {
        Arc::clone(&self.0.read().unwrap())
    }
}

impl Tee for Updated {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        self.tee().identity()
    }

    fn bind(&self, policy: &bulla_tee::Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        self.tee().bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        self.tee().derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        self.tee().attest(data, kind)
    }
}

/// P6: the ring of a running provider is bound to new versions without a pause: the regime stays, and so do the roots.
#[test]
fn a_running_provider_refreshes_its_ring() {
    let site = Site::new();
    let made = site.init(&keyring(), "state").unwrap();
    let tee = Arc::new(Updated(site.build(PRESENT).into()));
    let (source, anchor) = site.source();
    let settings = site.settings("state");
    let here: Arc<dyn Tee> = tee.clone();
    let provider = Provider::start_under(keyring(), here, source, anchor, &settings).unwrap();
    let regime = provider.regime();
    assert!(!provider.refresh_roots().unwrap());
    site.machine().microcode(Step::Up).unwrap();
    *tee.0.write().unwrap() = site.build(PRESENT);
    assert!(provider.refresh_roots().unwrap());
    assert!(!provider.refresh_roots().unwrap());
    assert!(Arc::ptr_eq(&provider.regime(), &regime));
    drop(provider);
    assert_eq!(site.start(&keyring(), PRESENT, "state").unwrap().epochs(), made);
    site.machine().microcode(Step::Down).unwrap();
    assert_eq!(code(site.start(&keyring(), PRESENT, "state")), "machine.tcb_too_old");
}

/// The host numbers nothing: an entry that is moved, dropped or brought back under another number is refused.
#[test]
fn r83_the_host_does_not_renumber_hardware_epochs() {
    let site = Site::new();
    site.init(&hardware(), "state").unwrap();
    let record = site.path("state/root.request");
    let old = fs::read_to_string(&record).unwrap();
    let provider = site.start(&hardware(), PRESENT, "state").unwrap();
    provider.rotate(2).unwrap();
    drop(provider);
    let text = fs::read_to_string(&record).unwrap();
    let entries: Vec<_> = text.split("[[epoch]]\n").collect();
    let (head, one, two) = (entries[0], entries[1], entries[2]);
    let numbered = |entry: &str, from: u32, to: u32| {
        entry.replace(&format!("number = {from}"), &format!("number = {to}"))
    };
    let (one_as_two, two_as_one) = (numbered(one, 1, 2), numbered(two, 2, 1));
    let join = |entries: &[&str]| [&[head], entries].concat().join("[[epoch]]\n");
    for (bad, wanted) in [
        (join(&[two, one]), "state.damaged_seal"),
        (join(&[two]), "state.damaged_seal"),
        (join(&[&two_as_one, &one_as_two]), "state.other_root"),
        (join(&[one, &one_as_two]), "state.other_root"),
        (old, "custody.rollback"),
    ] {
        fs::write(&record, &bad).unwrap();
        assert_eq!(code(site.start(&hardware(), PRESENT, "state")), wanted, "{bad}");
    }
    fs::write(&record, text).unwrap();
    assert_eq!(code(site.start(&hardware(), PRESENT, "state")), "done");
}

/// R87: the recovery recipients are fixed when the ring is made, and shown in the statement.
#[test]
fn r87_recovery_recipients_are_fixed_at_init() {
    let site = Site::new();
    let People { policy, .. } = People::new(&[&site]);
    site.init(&policy, "state").unwrap();
    let provider = site.start(&policy, PRESENT, "state").unwrap();
    let recovery = policy.terms.recovery.clone().unwrap();
    assert_eq!(provider.regime().roots.recovery(), Some(&recovery));
    drop(provider);

    let edited = |edit: &dyn Fn(&mut Recovery)| {
        let mut policy = policy.clone();
        edit(policy.terms.recovery.as_mut().unwrap());
        policy
    };
    let stranger = RecipientKey::generate(Kem::X25519).unwrap();
    let mut without = policy.clone();
    without.terms.recovery = None;
    for bad in [
        without,
        edited(&|recovery| recovery.threshold = 3),
        edited(&|recovery| recovery.recipients.swap(0, 1)),
        edited(&|recovery| recovery.recipients[2] = stranger.recipient().clone()),
        edited(&|recovery| drop(recovery.recipients.pop())),
    ] {
        assert_eq!(code(site.start(&bad, PRESENT, "state")), "custody.other_recipients");
    }
    // Nor does the host add any.
    let ring = site.path("state/roots.ring");
    let context = super::super::keyring::context(&policy.authority).unwrap();
    let tee = site.build(PRESENT);
    let unsealer = bulla::Unsealer::new(&context).machine(tee.as_ref());
    bulla::Rewrap::new().recovery(stranger.recipient()).file(&unsealer, &ring).unwrap();
    assert_eq!(code(site.start(&policy, PRESENT, "state")), "custody.other_recipients");
}

/// Another authority's policy, on the same machine, in the same enclave, over the same files: it may give roots away, so it
/// has none of them.
#[test]
fn another_authority_opens_nothing() {
    for policy in [hardware(), keyring()] {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let roots = secrets(&opened(&site, &policy, PRESENT, "state").unwrap());
        let other = Policy { authority: [0xBB; 32], ..policy.clone() };
        assert_eq!(code(site.start(&other, PRESENT, "state")), "envelope.other_context");
        // Not even where the memory was its own.
        for name in ["memory.sealed", ".memory.sealed.bulla-lock", ".memory.sealed.bulla-1"] {
            let _ = fs::remove_file(site.path("state").join(name));
        }
        let forgotten =
            Provider::begin_new_memory_under(&other, site.build(PRESENT), &site.settings("state"));
        let wanted = match policy.terms.custody {
            Kind::Hardware => "state.other_root",
            Kind::Keyring => "envelope.other_context",
        };
        assert_eq!(code(forgotten), wanted);
        assert!(!roots.is_empty());
    }
}

/// R45: nor has another machine, or another enclave on this one.
#[test]
fn r45_nobody_else_opens_the_roots() {
    let (site, other) = (Site::new(), Site::new());
    for (name, policy) in [("hardware", hardware()), ("keyring", keyring())] {
        site.init(&policy, name).unwrap();
        copy(&site.path(name), &other.path(name));
        assert_eq!(code(other.start(&policy, PRESENT, name)), "machine.other_machine");
        assert_eq!(code(site.start(&policy, NEXT, name)), "machine.other_identity");
    }
}
