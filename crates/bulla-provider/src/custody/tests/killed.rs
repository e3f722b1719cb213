//! kill -9 in every step of every change: what is left starts, with the roots of before or after, and the change can be made again
//! (R76, B35). A process of its own does the change; it is killed at each call of its machine in turn, which stand between all
//! writes: before, while and after the new content is written, and while it is read back. Within a write, the journal's own tests
//! stop at every system call.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use bulla_tee::{DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, ReportData};

use super::super::Purpose;
use super::*;

const HERE: &str = "custody::tests::killed::the_process_that_is_killed";

/// A machine whose host ends the process at a call.
struct Deadly {
    tee: Arc<dyn Tee>,
    left: AtomicU32,
}

impl Deadly {
    fn step(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }
}

impl Tee for Deadly {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        self.step();
        self.tee.identity()
    }

    fn bind(&self, policy: &bulla_tee::Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        self.step();
        self.tee.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        self.step();
        self.tee.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        self.step();
        self.tee.attest(data, kind)
    }
}

/// Not a test by itself: does what its environment says, and dies where it says.
#[test]
fn the_process_that_is_killed() {
    let Ok(what) = env::var("BULLA_KILLED") else { return };
    let folder = PathBuf::from(env::var("BULLA_FOLDER").unwrap());
    let left: u32 = env::var("BULLA_CALLS").unwrap().parse().unwrap();
    let machine = Machine::open(folder.join("machine")).unwrap();
    let (custody, measurement, change) = {
        let mut words = what.split(' ');
        (words.next().unwrap(), if what.ends_with("adopt") { NEXT } else { PRESENT }, words.next().unwrap())
    };
    let policy = if custody == "hardware" { hardware() } else { keyring() };
    let identity = EnclaveIdentity::new([measurement; 32], [0x22; 32], 1, u16::from(measurement));
    let enclave = machine.enclave(&identity).unwrap();
    let tee: Arc<dyn Tee> = Arc::new(Deadly { tee: Arc::new(enclave), left: AtomicU32::new(left) });
    let state = folder.join("state");
    let open = || Custody::open(&tee, &state, &policy).unwrap().0;
    match change {
        "init" => drop(Custody::init(&tee, &state, &policy).unwrap()),
        "rotate" => drop(open().rotate(2).unwrap()),
        "retire" => drop(open().retire(1).unwrap()),
        "floor" => open().raise_floor(&policy, 2).unwrap(),
        "refresh" => drop(open().refresh().unwrap()),
        "forget" => {
            let text = "machine = \"sim:machine\"\n[listen]\nhttp = \"127.0.0.1:0\"\n";
            let settings = Settings { state_dir: state, ..Settings::from_toml(text).unwrap() };
            Provider::begin_new_memory_under(&policy, tee, &settings).unwrap();
        }
        "adopt" => {
            let site = |name: &str| std::fs::read(folder.join(name)).unwrap();
            let text = "machine = \"sim:machine\"\n[listen]\nhttp = \"127.0.0.1:0\"\n";
            let settings = Settings { state_dir: state, ..Settings::from_toml(text).unwrap() };
            let anchor = TrustAnchor::from_der(&machine.root_der()).unwrap();
            let source = Arc::new(Source(folder.join("machine")));
            let candidate = Candidate::under(policy, tee, source, anchor, &settings).unwrap();
            candidate.adopt(&site("request"), &site("secret"), &site("grant")).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Whether the process was killed, at the call of that number.
fn killed(site: &Site, what: &str, call: u32) -> bool {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", HERE, "--nocapture"])
        .env("BULLA_KILLED", what)
        .env("BULLA_FOLDER", site.folder.path())
        .env("BULLA_CALLS", call.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    match status.signal() {
        Some(9) => true,
        None if status.success() => false,
        _ => panic!("{what} at {call}: {status}"),
    }
}

/// Kills `what` at every call, on a fresh copy of `site` each, and looks at what is left. Returns how often it was killed.
fn at_every_call(site: &Site, what: &str, look: impl Fn(&Site, u32)) -> u32 {
    let mut call = 1;
    loop {
        let fresh = Site { folder: tempfile::tempdir().unwrap() };
        for name in ["machine", "state"] {
            if site.path(name).exists() {
                copy(&site.path(name), &fresh.path(name));
            }
        }
        for name in ["request", "secret", "grant"] {
            let _ = std::fs::copy(site.path(name), fresh.path(name));
        }
        let was_killed = killed(&fresh, what, call);
        look(&fresh, call);
        if !was_killed {
            return call - 1;
        }
        call += 1;
    }
}

fn policies() -> [(&'static str, Policy); 2] {
    [("hardware", hardware()), ("keyring", keyring())]
}

/// R76, R95: half an init is finished by another one; it never leaves what neither starts nor can be made.
#[test]
fn r76_killed_in_init() {
    for (name, policy) in policies() {
        let site = Site::new();
        let times = at_every_call(&site, &format!("{name} init"), |site, call| {
            let made = match site.init(&policy, "state") {
                Err(error) if error.code() == "custody.exists" => {
                    site.start(&policy, PRESENT, "state").unwrap().epochs()
                }
                made => made.unwrap(),
            };
            assert_eq!(made.len(), 1, "{call}");
            assert_eq!(site.start(&policy, PRESENT, "state").unwrap().epochs(), made, "{call}");
        });
        assert!(times > 4, "{times}");
    }
}

/// R76, R85, B35: one epoch or two, and asked for again it is two; the first stays what it was.
#[test]
fn r76_killed_in_rotate() {
    for (name, policy) in policies() {
        let site = Site::new();
        let first = site.init(&policy, "state").unwrap()[0];
        let times = at_every_call(&site, &format!("{name} rotate"), |site, call| {
            let provider = site.start(&policy, PRESENT, "state").unwrap();
            let left = provider.epochs();
            assert!(left[0] == first && left.len() <= 2, "{call}");
            assert_eq!(provider.rotate(2).unwrap(), left.len() == 1, "{call}");
            assert_eq!(provider.epochs()[..left.len()], left, "{call}");
        });
        assert!(times > 4, "{times}");
    }
}

/// R76: retired or not, and asked for again it is. The same of a floor.
#[test]
fn r76_killed_in_retire_and_raise_floor() {
    for (name, policy) in policies() {
        let site = Site::new();
        site.init(&policy, "state").unwrap();
        let newest = {
            let provider = site.start(&policy, PRESENT, "state").unwrap();
            provider.rotate(2).unwrap();
            provider.epochs()[1]
        };
        for change in ["retire", "floor"] {
            let times = at_every_call(&site, &format!("{name} {change}"), |site, call| {
                let provider = site.start(&policy, PRESENT, "state").unwrap();
                assert_eq!(provider.identity().root_id, newest.1, "{call}");
                match change {
                    "retire" => drop(provider.retire(1).unwrap()),
                    _ => provider.raise_floor(2).unwrap(),
                }
                assert_eq!(provider.epochs(), [newest], "{call}");
            });
            assert!(times > 4, "{times}");
        }
    }
}

/// R76: bound to the old versions or to the new ones, the roots are the same.
#[test]
fn r76_killed_in_refresh() {
    let (site, policy) = (Site::new(), keyring());
    let made = site.init(&policy, "state").unwrap();
    site.machine().microcode(bulla_sim::Step::Up).unwrap();
    let times = at_every_call(&site, "keyring refresh", |site, call| {
        assert_eq!(site.start(&policy, PRESENT, "state").unwrap().epochs(), made, "{call}");
    });
    assert!(times > 4, "{times}");
}

/// R76, R83: a memory that is begun anew is there or is not, and then it can be asked for again.
#[test]
fn r76_killed_in_beginning_a_new_memory() {
    for (name, policy) in policies() {
        let site = Site::new();
        let made = site.init(&policy, "state").unwrap();
        for lost in ["memory.sealed", ".memory.sealed.bulla-1"] {
            let _ = std::fs::remove_file(site.path("state").join(lost));
        }
        at_every_call(&site, &format!("{name} forget"), |site, call| {
            let provider = match site.start(&policy, PRESENT, "state") {
                Err(error) => {
                    assert_eq!(error.code(), "custody.missing_memory", "{call}");
                    let settings = site.settings("state");
                    Provider::begin_new_memory_under(&policy, site.build(PRESENT), &settings).unwrap();
                    site.start(&policy, PRESENT, "state").unwrap()
                }
                Ok(provider) => provider,
            };
            assert_eq!(provider.epochs(), made, "{call}");
        });
    }
}

/// R78, R80: a successor that dies while it takes over starts, or takes over again; its predecessor notices nothing.
#[test]
fn r78_killed_in_adopt() {
    let (site, policy) = (Site::new(), keyring());
    site.init(&policy, "old").unwrap();
    let old = site.start(&policy, PRESENT, "old").unwrap();
    let given = old.epochs();
    let candidate = site.candidate(&policy, site.build(NEXT), "state").unwrap();
    let (request, secret) = candidate.ask(Purpose::Handover, None).unwrap();
    let grant = old.hand_over(&request).unwrap();
    for (name, content) in [("request", &request), ("secret", &secret), ("grant", &grant)] {
        std::fs::write(site.path(name), content).unwrap();
    }
    let times = at_every_call(&site, "keyring adopt", |site, call| {
        let candidate = site.candidate(&policy, site.build(NEXT), "state").unwrap();
        match candidate.adopt(&request, &secret, &grant) {
            Err(error) => assert_eq!(error.code(), "custody.exists", "{call}"),
            Ok(adopted) => assert_eq!(adopted, given, "{call}"),
        }
        assert_eq!(site.start(&policy, NEXT, "state").unwrap().epochs(), given, "{call}");
    });
    assert!(times > 8, "{times}");
    assert_eq!(old.epochs(), given);
}
