//! The store of collateral: one fetch for all, renewal, and nothing older than what was seen (R29, R51; B11, B14, B33, B42).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

use bulla_attest::collateral::{Bundle, Directory, Floor, FloorMemory, Minimum, SetStatus, Store};
use bulla_attest::{
    Collateral, CollateralId, CollateralSource, Error, IntelCollateralId, TrustAnchor, Verifier,
};
use bulla_sim::{Edition, Machine, Recovery, TeeType};
use tempfile::TempDir;

/// 2027-01-15. The simulated vendor's sets are issued a day before they are asked for, and good for 30 days.
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;
/// When less than a quarter of 30 days is left of a set that was asked for at `NOW`.
const DUE: u64 = NOW - DAY + 30 * DAY - 30 * DAY / 4;

struct World {
    dir: TempDir,
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        Self { dir, machine }
    }

    fn anchor(&self) -> TrustAnchor {
        TrustAnchor::from_der(&self.machine.root_der()).unwrap()
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.anchor())
    }

    fn set(&self, tee: TeeType, edition: Edition, at: u64) -> Collateral {
        Collateral::from_json(self.machine.collateral_of(tee, edition, at).unwrap().as_bytes()).unwrap()
    }

    fn tdx(&self, at: u64) -> Collateral {
        self.set(TeeType::Tdx, Edition::Standard, at)
    }

    fn id(&self) -> CollateralId {
        self.tdx(NOW).intel_id().unwrap()
    }

    /// A recovery that is on the early channel from `at` on, for a year.
    fn recover(&self, at: u64) {
        let advisory = "SIM-SA-00002".into();
        let recovery = Recovery { at, standard_at: at + 365 * DAY, microcode: 3, tdx_module: 5, advisory };
        self.machine.tcb_recovery(&recovery).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    fn offline(&self) -> Store {
        let directory = Directory::open(&self.path()).unwrap();
        Store::open(directory, self.verifier(), Minimum::NONE).unwrap()
    }

    /// Renews by validity alone, unless the test says otherwise.
    fn open(&self, source: &Arc<Source>) -> Store {
        self.offline().with_source(source.clone()).with_max_age(u64::MAX)
    }

    fn in_memory(&self, source: &Arc<Source>) -> Store {
        let store = Store::in_memory(self.verifier(), Minimum::NONE);
        store.with_source(source.clone()).with_max_age(u64::MAX)
    }
}

type Answer = Result<Collateral, Error>;

type Rule = Box<dyn Fn(&CollateralId) -> Answer + Send>;

/// Answers what the test says, and counts.
#[derive(Default)]
struct Source {
    answer: Mutex<Option<Rule>>,
    asked: AtomicUsize,
}

impl Source {
    fn with(answer: impl Fn(&CollateralId) -> Answer + Send + 'static) -> Arc<Self> {
        let source = Arc::new(Self::default());
        source.answers(answer);
        source
    }

    fn delivering(set: Collateral) -> Arc<Self> {
        Self::with(move |_| Ok(set.clone()))
    }

    fn answers(&self, answer: impl Fn(&CollateralId) -> Answer + Send + 'static) {
        *self.answer.lock().unwrap() = Some(Box::new(answer));
    }

    fn delivers(&self, set: Collateral) {
        self.answers(move |_| Ok(set.clone()));
    }

    fn is_down(&self) {
        self.answers(|_| Err(down()));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl CollateralSource for Source {
    fn collateral(&self, id: &CollateralId) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.answer.lock().unwrap().as_ref().unwrap())(id)
    }
}

fn down() -> Error {
    Error::CollateralUnavailable("the service is down".into())
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

fn only(store: &Store, now: u64) -> SetStatus {
    let mut sets = store.status(now).sets;
    assert_eq!(sets.len(), 1);
    sets.pop().unwrap()
}

fn failure(store: &Store, now: u64) -> Option<&'static str> {
    only(store, now).last_failure.map(|failure| failure.code)
}

#[test]
fn r51_many_threads_that_ask_at_once_make_one_fetch() {
    let world = World::new();
    let (set, id) = (world.tdx(NOW), world.id());
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (held, delivery) = (Arc::clone(&gate), set.clone());
    let source = Source::with(move |_| {
        let mut open = held.0.lock().unwrap();
        while !*open {
            open = held.1.wait(open).unwrap();
        }
        Ok(delivery.clone())
    });
    let store = world.in_memory(&source);
    let start = Barrier::new(17);
    thread::scope(|threads| {
        let asking: Vec<_> = (0..16)
            .map(|_| {
                threads.spawn(|| {
                    start.wait();
                    store.current(&id, NOW)
                })
            })
            .collect();
        start.wait();
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        for thread in asking {
            assert!(*thread.join().unwrap().unwrap() == set);
        }
    });
    assert_eq!(source.asked(), 1);
}

#[test]
fn r51_a_failure_is_one_for_all_who_wait_and_is_remembered() {
    let world = World::new();
    let source = Source::with(|_| Err(down()));
    let store = world.in_memory(&source);
    let id = world.id();
    let start = Barrier::new(8);
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                start.wait();
                let error = store.current(&id, NOW).unwrap_err();
                assert_eq!(error.code(), "collateral.unavailable");
                assert!(matches!(error.first(), Error::CollateralUnavailable(_)));
            });
        }
    });
    assert_eq!(source.asked(), 1);
    // Twice as long each time, up to a quarter of an hour.
    let mut at = NOW;
    for wait in [10, 20, 40, 80, 160, 320, 640, 900, 900] {
        assert_eq!(only(&store, at).last_failure.unwrap().retry_at, at + wait);
        let asked = source.asked();
        assert_eq!(code(store.current(&id, at + wait - 1)), "collateral.unavailable");
        assert_eq!(source.asked(), asked);
        at += wait;
        assert_eq!(code(store.current(&id, at)), "collateral.unavailable");
        assert_eq!(source.asked(), asked + 1);
    }
    source.delivers(world.tdx(NOW));
    assert_eq!(code(store.refresh(&id, at)), "ok", "an operator need not wait");
    assert_eq!(failure(&store, at), None);
}

#[test]
fn r51_a_service_is_left_alone_for_as_long_as_it_asks_within_an_hour() {
    let world = World::new();
    let id = world.id();
    for (asked_for, wait) in [(None, 10), (Some(5), 10), (Some(300), 300), (Some(u64::MAX), 3600)] {
        let source = Source::with(move |_| {
            let fault = bulla_attest::ServiceFault::Busy;
            Err(Error::Service { fault, detail: "busy".into(), retry_after: asked_for })
        });
        let store = world.in_memory(&source);
        assert_eq!(code(store.current(&id, NOW)), "collateral.service.busy");
        assert_eq!(only(&store, NOW).last_failure.unwrap().retry_at, NOW + wait);
    }
}

#[test]
fn a_source_that_panics_leaves_nobody_waiting() {
    let world = World::new();
    let source = Source::with(|_| panic!("a bug in a source"));
    let store = world.in_memory(&source);
    let id = world.id();
    thread::scope(|threads| {
        let panicked =
            (0..3).map(|_| threads.spawn(|| store.current(&id, NOW))).map(|thread| thread.join().is_err());
        assert!(panicked.fold(false, |any, one| any | one));
    });
}

#[test]
fn r51_a_set_is_renewed_before_it_expires_and_kept_if_that_fails() {
    let world = World::new();
    let first = world.tdx(NOW);
    let source = Source::delivering(first.clone());
    let store = world.in_memory(&source);
    let id = world.id();
    assert!(*store.current(&id, NOW).unwrap() == first);
    assert_eq!(only(&store, NOW).next_refresh, Some(DUE));
    assert!(*store.current(&id, DUE - 1).unwrap() == first);
    assert_eq!(source.asked(), 1, "nobody asks before it is due");

    source.is_down();
    assert!(*store.current(&id, DUE).unwrap() == first, "still good");
    assert_eq!((source.asked(), failure(&store, DUE)), (2, Some("collateral.unavailable")));
    assert!(*store.current(&id, DUE + 9).unwrap() == first);
    assert_eq!(source.asked(), 2, "not every question makes an attempt");
    let status = only(&store, DUE + 9);
    assert!(status.usable && status.next_refresh == Some(DUE + 10) && status.items.len() == 4);

    let second = world.tdx(DUE + 10);
    source.delivers(second.clone());
    assert!(*store.current(&id, DUE + 10).unwrap() == second);
    assert_eq!((source.asked(), failure(&store, DUE + 10)), (3, None));

    // A service that has nothing newer yet is not asked by every question either.
    let due = only(&store, DUE + 10).next_refresh.unwrap();
    for wait in [0, 1, 899] {
        assert!(*store.current(&id, due + wait).unwrap() == second);
        assert_eq!(source.asked(), 4);
    }
    store.current(&id, due + 900).unwrap();
    assert_eq!(source.asked(), 5);
}

#[test]
fn r51_a_service_can_renew_so_that_no_question_has_to() {
    let world = World::new();
    let (tdx, sgx) = (world.tdx(NOW), world.set(TeeType::Sgx, Edition::Standard, NOW));
    let ids = [tdx.intel_id().unwrap(), sgx.intel_id().unwrap()];
    let source = Source::with(move |id| {
        let CollateralId::Intel(id) = id else { return Err(down()) };
        Ok(if id.tee == bulla_attest::TeeKind::Tdx { tdx.clone() } else { sgx.clone() })
    });
    let store = world.in_memory(&source);
    for id in &ids {
        store.current(id, NOW).unwrap();
    }
    store.refresh_due(DUE - 1).unwrap();
    assert_eq!(source.asked(), 2);
    source.is_down();
    store.refresh_due(DUE).unwrap();
    store.refresh_due(DUE).unwrap();
    assert_eq!(source.asked(), 4, "each once, and not again before the wait is over");
    let renewed = [world.tdx(DUE), world.set(TeeType::Sgx, Edition::Standard, DUE)];
    source
        .answers(move |id| Ok(renewed.iter().find(|set| set.intel_id().ok() == Some(*id)).unwrap().clone()));
    store.refresh_due(DUE + 10).unwrap();
    assert_eq!(source.asked(), 6);
    for id in &ids {
        store.current(id, DUE + 11).unwrap();
    }
    assert_eq!(source.asked(), 6);
}

/// R29, R51: a revocation or a recovery is noticed a day later at most, however long what is there is good.
#[test]
fn r51_a_set_is_renewed_when_its_last_fetch_is_a_day_ago_and_kept_if_that_fails() {
    let world = World::new();
    let (first, id) = (world.tdx(NOW), world.id());
    let source = Source::delivering(first.clone());
    let store = Store::in_memory(world.verifier(), Minimum::NONE).with_source(source.clone());
    let got = |at| store.current(&id, at).unwrap();
    assert!(*got(NOW) == first);
    assert_eq!(only(&store, NOW).next_refresh, Some(NOW + DAY));
    got(NOW + DAY - 1);
    store.refresh_due(NOW + DAY - 1).unwrap();
    assert_eq!(source.asked(), 1);

    source.is_down();
    assert!(*got(NOW + DAY) == first, "still good");
    assert_eq!((source.asked(), failure(&store, NOW + DAY)), (2, Some("collateral.unavailable")));
    got(NOW + DAY + 9);
    assert_eq!(source.asked(), 2, "a failure is remembered");
    assert_eq!(only(&store, NOW + DAY + 9).next_refresh, Some(NOW + DAY + 10));

    // What has not changed is new again.
    source.delivers(first.clone());
    store.refresh_due(NOW + DAY + 10).unwrap();
    assert_eq!((source.asked(), failure(&store, NOW + DAY + 10)), (3, None));
    assert_eq!(only(&store, NOW + DAY + 10).next_refresh, Some(NOW + 2 * DAY + 10));
    got(NOW + 2 * DAY + 9);
    assert_eq!(source.asked(), 3);

    world.machine.revoke_pck(NOW + DAY + 10).unwrap();
    let second = world.tdx(NOW + 3 * DAY);
    source.delivers(second.clone());
    assert!(*got(NOW + 3 * DAY) == second && second.to_json() != first.to_json());
    assert_eq!(source.asked(), 4);
    // The clock went back behind the fetch: nobody knows how old it is.
    source.delivers(world.tdx(NOW + 3 * DAY - 1));
    got(NOW + 3 * DAY - 1);
    assert_eq!((source.asked(), failure(&store, NOW + 3 * DAY - 1)), (5, Some("collateral.rollback")));
}

/// An older delivery is no fetch that succeeded, and does not count as one.
#[test]
fn r29_a_service_that_goes_back_does_not_make_a_set_young() {
    let world = World::new();
    let source = Source::delivering(world.tdx(NOW + DAY));
    let store = world.in_memory(&source).with_max_age(3600);
    let at = NOW + DAY;
    store.current(&world.id(), at).unwrap();
    source.delivers(world.tdx(NOW));
    for (wait, asked) in [(3599, 1), (3600, 2), (3609, 2), (3610, 3)] {
        store.current(&world.id(), at + wait).unwrap();
        assert_eq!(source.asked(), asked, "{wait}");
    }
    assert_eq!(failure(&store, at + 3610), Some("collateral.rollback"));
}

#[test]
fn r51_a_directory_remembers_when_its_sets_were_fetched() {
    let world = World::new();
    let (set, id) = (world.tdx(NOW), world.id());
    let source = Source::delivering(set.clone());
    let reopened = |at: u64| {
        let store = world.open(&source).with_max_age(DAY);
        assert!(*store.current(&id, at).unwrap() == set);
        source.asked()
    };
    assert_eq!([reopened(NOW), reopened(NOW + DAY - 1), reopened(NOW + DAY)], [1, 1, 2]);
    assert_eq!([reopened(NOW + DAY + 1), reopened(NOW + 2 * DAY - 1)], [2, 2]);
    // A service that has just started renews what nobody has asked it for yet.
    world.open(&source).with_max_age(DAY).refresh_due(NOW + 2 * DAY).unwrap();
    assert_eq!([source.asked(), reopened(NOW + 2 * DAY)], [3, 3]);
    // What another process fetched is found, not fetched again.
    let [one, other] = [(); 2].map(|()| world.open(&source).with_max_age(DAY));
    for store in [&one, &other, &one] {
        store.current(&id, NOW + 3 * DAY).unwrap();
    }
    assert_eq!(source.asked(), 4);

    // Without that memory, and with a forged one, it is fetched.
    let path = world.path().join("fetched.json");
    let forged = format!(r#"{{"{}":{}}}"#, only(&one, NOW + 3 * DAY).name, NOW + 9 * DAY);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        forged.replace(&(NOW + 9 * DAY).to_string(), &(NOW + 3 * DAY).to_string())
    );
    for (content, asked) in [("", 5), ("[]", 6), (forged.as_str(), 7)] {
        fs::write(&path, content).unwrap();
        assert_eq!(reopened(NOW + 3 * DAY + 1), asked, "{content}");
    }
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    let store = world.open(&source).with_max_age(DAY);
    store.current(&id, NOW + 3 * DAY + 2).unwrap();
    assert_eq!((source.asked(), store.status(NOW).storage_failure.is_some()), (8, true));
}

/// Who has nobody to ask never has to.
#[test]
fn r51_without_a_source_nothing_is_due_before_it_ends() {
    let world = World::new();
    let (set, id) = (world.tdx(NOW), world.id());
    let bundle = Bundle::of([(&id, &set)]).unwrap();
    world.offline().import(&bundle, NOW).unwrap();
    let store = world.offline().with_max_age(1);
    for at in [NOW, NOW + DAY, DUE - 1] {
        assert!(*store.current(&id, at).unwrap() == set);
        store.refresh_due(at).unwrap();
        let status = only(&store, at);
        assert_eq!((status.next_refresh, status.last_failure), (Some(DUE), None));
    }
    // An import is no fetch: who has a source from now on asks it at once, and is as well off without an answer.
    let source = Source::with(|_| Err(down()));
    let store = world.offline().with_source(source.clone());
    assert!(*store.current(&id, NOW + DAY).unwrap() == set);
    assert_eq!((source.asked(), failure(&store, NOW + DAY)), (1, Some("collateral.unavailable")));
}

/// B11, B42: garbage, another platform's set, an expired one, one that somebody else signed.
#[test]
fn b42_an_unusable_delivery_never_replaces_a_good_set() {
    let world = World::new();
    let first = world.tdx(NOW);
    let id = world.id();
    let changed = |name: &str, from: &str, to: &str| {
        let mut json: serde_json::Value = serde_json::from_str(&world.tdx(DUE).to_json()).unwrap();
        json[name] = json[name].as_str().unwrap().replace(from, to).into();
        Collateral::from_json(json.to_string().as_bytes()).unwrap()
    };
    let deliveries = [
        (changed("tcb_info", "OutOfDate", "UpToDate"), "tcb_info.signature"),
        (changed("tcb_info", "{", "["), "tcb_info.signature"),
        (changed("root_ca_crl", "30", "31"), "root_crl.parse"),
        (world.set(TeeType::Sgx, Edition::Standard, DUE), "tcb_info.wrong_id"),
        (world.tdx(DUE - 60 * DAY), "tcb_info.expired"),
        (world.tdx(DUE + 2 * DAY), "tcb_info.not_yet_valid"),
    ];
    for (delivery, wanted) in deliveries {
        let source = Source::delivering(first.clone());
        let store = world.in_memory(&source);
        store.current(&id, NOW).unwrap();
        let floor = store.floor();
        source.delivers(delivery);
        assert!(*store.current(&id, DUE).unwrap() == first, "{wanted}");
        assert_eq!(failure(&store, DUE), Some(wanted));
        assert_eq!(store.floor(), floor, "{wanted}: what does not verify raises nothing");
        assert_eq!(code(store.refresh(&id, DUE)), wanted);
        // When the good one is over, the reason is what is left.
        let end = only(&store, DUE).valid_until.unwrap();
        let verdict = code(store.current(&id, end));
        assert!(verdict == wanted || verdict.ends_with(".expired") || verdict == "ok", "{wanted} {verdict}");
    }
}

/// R29, B11: an older, genuine, valid set after a newer one.
#[test]
fn r29_an_older_set_after_a_newer_one_is_a_rollback() {
    let world = World::new();
    world.recover(NOW - 2 * DAY);
    let older = world.tdx(DUE);
    let newer = world.set(TeeType::Tdx, Edition::Early, NOW);
    let id = world.id();
    let source = Source::delivering(newer);
    let store = world.open(&source);
    store.current(&id, NOW).unwrap();
    let number = |store: &Store, now| only(store, now).items[0].number.clone();
    assert_eq!(number(&store, NOW), "21");

    // Issued later, with the lower number: kinder verdicts. What else came with it is newer, and taken.
    source.delivers(older);
    let held = store.current(&id, DUE).unwrap();
    assert_eq!(failure(&store, DUE), Some("collateral.rollback"));
    assert_eq!(number(&store, DUE), "21");
    assert!(held.to_json().contains("\\\"tcbEvaluationDataNumber\\\":21"));
    let detail = only(&store, DUE).last_failure.unwrap().detail;
    assert!(
        detail.contains("tcb-info-tdx") && detail.contains("number 20") && detail.contains("number 21"),
        "{detail}"
    );

    // The newer one has expired, the older one has not: there is no set.
    let end = only(&store, DUE).valid_until.unwrap();
    source.delivers(world.tdx(end));
    assert_eq!(code(store.current(&id, end)), "collateral.rollback");

    // After a restart, with what the directory held or without.
    drop(store);
    for item in ["", "tcb-info", "qe-identity", "pck-crl", "root-crl"] {
        for file in fs::read_dir(world.path()).unwrap() {
            let file = file.unwrap();
            if !item.is_empty() && file.file_name().to_str().unwrap().starts_with(item) {
                fs::remove_file(file.path()).unwrap();
            }
        }
        source.delivers(world.tdx(end + DAY));
        assert_eq!(code(world.open(&source).current(&id, end + DAY)), "collateral.rollback", "{item}");
    }
}

/// What one platform's delivery renews is new for all, and makes nobody's set too old.
#[test]
fn sets_share_their_newest_items() {
    let world = World::new();
    let (tdx, sgx) = (world.tdx(NOW), world.set(TeeType::Sgx, Edition::Standard, NOW + DAY));
    let ids = [tdx.intel_id().unwrap(), sgx.intel_id().unwrap()];
    let source = Source::delivering(tdx);
    let store = world.in_memory(&source);
    store.current(&ids[0], NOW).unwrap();
    source.delivers(sgx);
    store.current(&ids[1], NOW + DAY).unwrap();
    source.is_down();
    let held = store.current(&ids[0], NOW + DAY).unwrap();
    store.floor().check(&world.verifier().check_collateral(&ids[0], &held, NOW + DAY).unwrap()).unwrap();
    assert_eq!(source.asked(), 2);
    let status = store.status(NOW + DAY);
    let issued: Vec<_> = status.sets.iter().map(|set| set.items[3].issued).collect();
    assert_eq!(issued, [NOW, NOW], "the root CRL of the later delivery, in both");
}

/// A revocation list of the same second that revokes more is newer, one that revokes less is older.
#[test]
fn r29_a_list_that_forgets_a_revocation_is_a_rollback() {
    let world = World::new();
    let (id, before) = (world.id(), world.tdx(NOW));
    world.machine.revoke_pck(NOW).unwrap();
    let after = world.tdx(NOW);
    let source = Source::delivering(before.clone());
    let store = world.in_memory(&source);
    store.current(&id, NOW).unwrap();
    source.delivers(after);
    store.refresh(&id, NOW).unwrap();
    assert_eq!(only(&store, NOW).items[2].revoked, 1);
    source.delivers(before);
    assert_eq!(code(store.refresh(&id, NOW)), "collateral.rollback");
    assert_eq!(only(&store, NOW).items[2].revoked, 1);
}

/// B14: a clock at 1970, in 2106, and jumping back.
#[test]
fn b14_a_wrong_clock_widens_nothing() {
    let world = World::new();
    let id = world.id();
    let source = Source::delivering(world.tdx(NOW));
    let store = world.open(&source);
    store.current(&id, NOW).unwrap();
    let floor = store.floor();
    for now in [0, 1, NOW - DAY - 1] {
        assert_eq!(code(store.current(&id, now)), "clock.below_floor", "{now}");
        assert_eq!(code(store.refresh(&id, now)), "clock.below_floor");
        assert_eq!(code(store.refresh_due(now)), "clock.below_floor");
        assert_eq!(code(store.export(now)), "clock.below_floor");
        assert!(!only(&store, now).usable);
    }
    assert_eq!(source.asked(), 1, "nobody is asked because of a wrong clock");
    // 2106: everything is over, and what is delivered too. Nothing is learned from it.
    let later = 4_300_000_000;
    assert_eq!(code(store.current(&id, later)), "tcb_info.expired");
    assert_eq!(code(store.current(&id, u64::MAX)), "tcb_info.expired");
    assert_eq!(store.floor(), floor);
    // Back again: what is good is good, and the wait from 2106 binds nobody.
    assert_eq!(code(store.current(&id, NOW + 1)), "ok");
    source.delivers(world.tdx(DUE));
    let asked = source.asked();
    store.current(&id, DUE).unwrap();
    assert_eq!(source.asked(), asked + 1);
    // Frozen is not behind.
    assert_eq!(code(store.current(&id, DUE)), "ok");
    // A restart forgets no time.
    drop(store);
    assert_eq!(code(world.open(&source).current(&id, NOW - 2 * DAY)), "clock.below_floor");
}

/// A store keeps what it had over a restart, and two of them can share a directory.
#[test]
fn what_is_in_the_directory_is_found() {
    let world = World::new();
    let id = world.id();
    let set = world.tdx(NOW);
    let source = Source::delivering(set.clone());
    world.open(&source).current(&id, NOW).unwrap();
    let silent = Source::with(|_| Err(down()));
    let again = world.open(&silent);
    assert_eq!(only(&again, NOW).valid_until, Some(set.valid_until().unwrap()));
    assert!(*again.current(&id, NOW).unwrap() == set);
    assert_eq!(silent.asked(), 0);

    // Offline, somebody imports what is newer; the one that runs finds it when it looks.
    let newer = world.tdx(DUE);
    let bundle = Bundle::of([(&id, &newer)]).unwrap();
    let offline =
        Store::open(Directory::open(&world.path()).unwrap(), world.verifier(), Minimum::NONE).unwrap();
    let imported = offline.import(&bundle, DUE).unwrap();
    assert!(imported.len() == 1 && imported[0].refused.is_none() && imported[0].taken.len() == 4);
    assert!(*again.current(&id, DUE).unwrap() == newer);
    assert_eq!(silent.asked(), 0);
    assert_eq!(again.floor().time(), offline.floor().time());
    for file in fs::read_dir(world.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// R29: who opened the directory before somebody else raised the floor does not lower it.
#[test]
fn r29_stores_that_share_a_directory_share_its_floor() {
    let world = World::new();
    world.recover(NOW - 2 * DAY);
    let source = Source::delivering(world.set(TeeType::Tdx, Edition::Early, NOW));
    let [one, other] = [world.open(&source), world.open(&source)];
    one.current(&world.id(), NOW).unwrap();
    let sgx = world.set(TeeType::Sgx, Edition::Standard, NOW);
    let bundle = Bundle::of([(&sgx.intel_id().unwrap(), &sgx)]).unwrap();
    assert!(other.import(&bundle, NOW).unwrap()[0].refused.is_none());
    drop((one, other));
    fs::remove_file(world.path().join("qe-identity-tdx.json")).unwrap();
    source.delivers(world.tdx(NOW));
    assert_eq!(code(world.open(&source).current(&world.id(), NOW)), "collateral.rollback");
}

/// B33: files that somebody else can have put there are not used.
#[test]
fn b33_unsafe_files_are_not_used() {
    let world = World::new();
    let id = world.id();
    let source = Source::delivering(world.tdx(NOW));
    let store = world.open(&source);
    store.current(&id, NOW).unwrap();
    drop(store);
    let files: Vec<_> = fs::read_dir(world.path()).unwrap().map(|file| file.unwrap().path()).collect();
    let find = |start: &str| {
        files
            .iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start))
            .unwrap()
            .clone()
    };
    let aside = world.dir.path().join("aside");
    type Trick = fn(&Path, &Path);
    let tricks: [(&str, Trick); 6] = [
        ("symbolic link", |path, aside| {
            fs::rename(path, aside).unwrap();
            symlink(aside, path).unwrap();
        }),
        ("hard link", |path, aside| {
            fs::hard_link(path, aside).unwrap();
        }),
        ("directory", |path, aside| {
            fs::rename(path, aside).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("pipe", |path, aside| {
            fs::rename(path, aside).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
                .unwrap();
        }),
        ("written by other users", |path, aside| {
            fs::copy(path, aside).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("larger than", |path, aside| {
            fs::rename(path, aside).unwrap();
            fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }),
    ];
    for (name, trick) in tricks {
        for (start, is_floor) in [("tcb-info", false), ("root-crl", false), ("floor", true)] {
            let path = find(start);
            trick(&path, &aside);
            let directory = Directory::open(&world.path()).unwrap();
            let opened = Store::open(directory, world.verifier(), Minimum::NONE);
            if is_floor {
                let error = opened.err().unwrap();
                assert_eq!(error.code(), "store.unsafe", "{name}");
                assert!(error.to_string().contains(name), "{error}");
            } else {
                let store = opened.unwrap();
                assert_eq!(code(store.current(&id, NOW)), "collateral.unavailable", "{name} {start}");
                let why = store.status(NOW).storage_failure.unwrap();
                assert!(why.contains(name) && why.contains(start), "{why}");
            }
            let _ = fs::remove_dir(&path);
            let _ = fs::remove_file(&path);
            fs::rename(&aside, &path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(
                code(world.open(&Source::with(|_| Err(down()))).current(&id, NOW)),
                "ok",
                "{name} {start}"
            );
        }
    }
    fs::write(find("floor"), b"{}").unwrap();
    let opened = Store::open(Directory::open(&world.path()).unwrap(), world.verifier(), Minimum::NONE);
    assert_eq!(opened.err().unwrap().code(), "floor.damaged");

    let link = world.dir.path().join("link");
    symlink(world.path(), &link).unwrap();
    assert_eq!(code(Directory::open(&link)), "store.io");
    fs::set_permissions(world.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(code(Directory::open(&world.path())), "store.unsafe");
}

/// A file that is damaged is fetched again, and costs nothing that is in memory.
#[test]
fn a_damaged_item_is_fetched_again() {
    let world = World::new();
    let id = world.id();
    let source = Source::delivering(world.tdx(NOW));
    world.open(&source).current(&id, NOW).unwrap();
    for file in fs::read_dir(world.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().contains("crl") {
            fs::write(&file, b"{\"crl\":{\"der\":\"00\",\"issuer_chain\":\"\"}}").unwrap();
        }
    }
    let store = world.open(&source);
    assert!(!only(&store, NOW).usable);
    assert!(store.status(NOW).storage_failure.is_some());
    assert_eq!(code(store.current(&id, NOW)), "ok");
    assert_eq!(source.asked(), 2);
    assert_eq!(code(world.open(&Source::with(|_| Err(down()))).current(&id, NOW)), "ok");
}

/// An empty bundle, a partial one, an older one, an expired one, and one for another root.
#[test]
fn a_bundle_goes_through_the_same_checks() {
    let world = World::new();
    world.recover(NOW - 2 * DAY);
    let (tdx, sgx) =
        (world.set(TeeType::Tdx, Edition::Early, NOW), world.set(TeeType::Sgx, Edition::Early, NOW));
    let source = Source::with(move |id| {
        Ok([&tdx, &sgx].into_iter().find(|set| set.intel_id().ok() == Some(*id)).unwrap().clone())
    });
    let online = world.in_memory(&source);
    assert_eq!(code(online.export(NOW)), "bundle.empty");
    let ids =
        [TeeType::Tdx, TeeType::Sgx].map(|tee| world.set(tee, Edition::Standard, NOW).intel_id().unwrap());
    for id in &ids {
        online.current(id, NOW).unwrap();
    }
    let bundle = Bundle::from_json(online.export(NOW).unwrap().to_json().as_bytes()).unwrap();
    assert_eq!(bundle.sets().len(), 2);

    let offline = Store::in_memory(world.verifier(), Minimum::NONE);
    let missing = offline.current(&ids[0], NOW).unwrap_err();
    assert!(missing.to_string().contains("import a bundle"), "{missing}");
    let imported = offline.import(&bundle, NOW).unwrap();
    assert!(imported.iter().all(|set| set.refused.is_none()), "{imported:?}");
    for id in &ids {
        assert_eq!(code(offline.current(id, NOW)), "ok", "at once, whatever failed before");
    }
    let refusals = |store: &Store, bundle: &Bundle, now| -> Vec<_> {
        let imported = store.import(bundle, now).unwrap();
        imported.iter().map(|set| set.refused.as_ref().map_or("ok", Error::code)).collect()
    };
    let standard = [TeeType::Tdx, TeeType::Sgx].map(|tee| world.set(tee, Edition::Standard, NOW));
    let older = Bundle::of(ids.iter().zip(&standard)).unwrap();
    assert_eq!(refusals(&offline, &older, NOW), ["collateral.rollback"; 2]);
    let end = NOW + 40 * DAY;
    assert_eq!(refusals(&offline, &bundle, end), ["tcb_info.expired"; 2]);
    let elsewhere = Store::in_memory(Verifier::new(TrustAnchor::intel()), Minimum::NONE);
    assert_eq!(refusals(&elsewhere, &bundle, NOW), ["tcb_info.untrusted_root"; 2]);
    assert_eq!(code(offline.import(&bundle, NOW - 2 * DAY)), "clock.below_floor");
}

/// Questions about platforms that do not exist fill no memory, and push out nothing good.
#[test]
fn r31_the_store_is_bounded() {
    let world = World::new();
    let (id, set) = (world.id(), world.tdx(NOW));
    let known = id;
    let source = Source::with(move |id| if *id == known { Ok(set.clone()) } else { Err(down()) });
    let store = world.in_memory(&source);
    store.current(&id, NOW).unwrap();
    let CollateralId::Intel(real) = id else { panic!("a quote's") };
    for n in 0..1000u16 {
        let [a, b] = n.to_be_bytes();
        let invented = CollateralId::Intel(IntelCollateralId { fmspc: [9, 9, 9, 9, a, b], ..real });
        assert_eq!(code(store.current(&invented, NOW)), "collateral.unavailable");
    }
    assert!(store.status(NOW).sets.len() <= 64);
    let asked = source.asked();
    assert_eq!(code(store.current(&id, NOW)), "ok");
    assert_eq!(source.asked(), asked);
}

/// The floor can be kept elsewhere, for example sealed; the directory is not asked then.
#[test]
fn r29_a_floor_can_be_remembered_where_the_host_cannot_put_an_older_one() {
    #[derive(Default)]
    struct Sealed(Mutex<Option<Vec<u8>>>);
    impl FloorMemory for Sealed {
        fn load(&self) -> Result<Option<Vec<u8>>, Error> {
            Ok(self.0.lock().unwrap().clone())
        }
        fn save(&self, floor: &[u8]) -> Result<(), Error> {
            *self.0.lock().unwrap() = Some(floor.to_vec());
            Ok(())
        }
    }
    let world = World::new();
    world.recover(NOW - 2 * DAY);
    let id = world.id();
    let sealed = Arc::new(Sealed::default());
    let source = Source::delivering(world.set(TeeType::Tdx, Edition::Early, NOW));
    let open = || world.open(&source).with_floor_memory(sealed.clone()).unwrap();
    open().current(&id, NOW).unwrap();
    let saved = sealed.load().unwrap().unwrap();
    let floor = Floor::from_bytes(&saved, &world.anchor(), Minimum::NONE).unwrap();
    assert_eq!(floor.time(), NOW - DAY);
    assert!(!world.path().join("floor.json").exists());
    // The host puts the whole directory back to what it was before.
    fs::remove_dir_all(world.path()).unwrap();
    source.delivers(world.tdx(NOW));
    assert_eq!(code(open().current(&id, NOW)), "collateral.rollback");
    *sealed.0.lock().unwrap() = Some(b"?".to_vec());
    assert_eq!(code(world.open(&source).with_floor_memory(sealed.clone()).map(drop)), "floor.damaged");
}
