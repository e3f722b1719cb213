//! R100: the log while disks fail, fill up and crash.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use bulla_attest::{Collateral, CollateralId, CollateralSource, TrustAnchor};
use bulla_sim::{EnclaveIdentity, Machine};
use rustix::io::Errno;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::audit::{Verdict, Verifier};
use crate::{Provider, Settings};

/// The longest that a test waits for the writer before it fails.
const LONGEST: Duration = Duration::from_secs(30);

const SMALL: Limits = Limits { file: 16 * 1024, refusals: 2 * 1024, reserve: 64 * 1024 };

struct NoCollateral;

impl CollateralSource for NoCollateral {
    fn collateral(&self, _: &CollateralId) -> Result<Collateral, bulla_attest::Error> {
        Err(bulla_attest::Error::CollateralUnavailable("none in this test".into()))
    }
}

/// A folder for logs, and a provider whose regime they are about.
struct Bench {
    folder: TempDir,
    provider: Provider,
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path().join("machine")).unwrap();
        let enclave = machine.enclave(&EnclaveIdentity::new([1; 32], [2; 32], 1, 1)).unwrap();
        let anchor = TrustAnchor::from_der(&machine.root_der()).unwrap();
        let settings = "machine = \"sim:m\"\n[listen]\nhttp = \"127.0.0.1:0\"\n";
        let settings =
            Settings { state_dir: folder.path().join("state"), ..Settings::from_toml(settings).unwrap() };
        let provider = Provider::start(Arc::new(enclave), Arc::new(NoCollateral), anchor, &settings).unwrap();
        fs::create_dir(folder.path().join("log")).unwrap();
        Self { folder, provider, runtime: Builder::new_current_thread().build().unwrap() }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn open(&self, limits: Limits, calls: impl Calls + 'static) -> Record {
        let (key, regime) = (Arc::clone(&self.provider.key), self.provider.regime());
        let clock = Box::new(Instant::now);
        Record::with(&self.log(), key, &[1; 32], &regime, limits, Box::new(calls), clock).unwrap()
    }

    fn release(&self, record: &Record) -> Result<Ticket, Refusal> {
        let regime = self.provider.regime();
        let root = regime.roots.current();
        let statement = regime.own.statement();
        let data = statement.report_data();
        record.release(&regime, root, Asked::quote(b"evidence"), (&statement, &data))
    }

    fn released(&self, record: &Record) -> Result<(), Refusal> {
        self.runtime.block_on(self.release(record)?.durable())
    }

    /// Waits until the log is open again.
    fn recovers(&self, record: &Record) {
        let start = Instant::now();
        while record.health().is_err() {
            assert!(start.elapsed() < LONGEST, "the log stays closed");
            thread::yield_now();
        }
        self.released(record).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.log()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".log"));
        names.sort();
        names
    }

    fn lines(&self, each: &mut dyn FnMut(&crate::audit::Line<'_>)) -> Verdict {
        let mut verifier = Verifier::new();
        for name in self.files() {
            let file = File::open(self.log().join(&name)).unwrap();
            verifier.read(&name, BufReader::new(file), each).unwrap();
        }
        verifier.end()
    }

    /// The log, which nobody touched.
    #[track_caller]
    fn sound(&self) -> Verdict {
        let verdict = self.lines(&mut |_| ());
        assert_eq!((&verdict.findings[..], &verdict.tail), (&[][..], &None));
        assert_eq!((verdict.first, verdict.unsigned()), (1, 0));
        verdict
    }

    fn entries(&self, kind: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.lines(&mut |line| entries.extend(line.entry().filter(|_| line.kind() == kind)));
        entries
    }
}

/// What the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Writes some bytes, then there is no space.
    Full(usize),
    /// Writes, and does not get it onto the disk.
    NoSync,
    /// Neither writes nor takes back what was written.
    Stuck(usize),
    /// Keeps no space.
    NoReserve,
}

#[derive(Clone)]
struct Disk {
    weather: Arc<Mutex<Weather>>,
    left: Arc<AtomicUsize>,
    syncs: Arc<AtomicUsize>,
}

impl Disk {
    fn new() -> Self {
        let weather = Arc::new(Mutex::new(Weather::Fine));
        Self { weather, left: Arc::default(), syncs: Arc::default() }
    }

    fn turns(&self, weather: Weather) {
        if let Weather::Full(bytes) | Weather::Stuck(bytes) = weather {
            self.left.store(bytes, Ordering::SeqCst);
        }
        *self.weather.lock().unwrap() = weather;
    }

    fn is(&self) -> Weather {
        *self.weather.lock().unwrap()
    }
}

impl Calls for Disk {
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        let (Weather::Full(_) | Weather::Stuck(_)) = self.is() else {
            return System.write(file, bytes);
        };
        // In pieces, so that a batch is cut anywhere.
        let len = bytes.len().min(self.left.load(Ordering::SeqCst)).min(7);
        self.left.fetch_sub(len, Ordering::SeqCst);
        if len == 0 {
            return Err(Errno::NOSPC.into());
        }
        System.write(file, &bytes[..len])
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.is() == Weather::NoSync {
            return Err(Errno::IO.into());
        }
        System.sync(file)
    }

    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        if let Weather::Stuck(_) = self.is() {
            return Err(Errno::PERM.into());
        }
        System.truncate(file, len)
    }

    fn reserve(&mut self, file: &File, from: u64, len: u64) -> io::Result<()> {
        if self.is() == Weather::NoReserve {
            return Err(Errno::NOSPC.into());
        }
        System.reserve(file, from, len)
    }
}

/// R100, B34: no space, half a batch, no sync, nothing taken back: no ticket becomes durable, the state of health says
/// so, and when the disk is back so is the service, on a chain that is whole.
#[test]
fn no_release_is_durable_on_a_disk_that_fails() {
    for weather in [
        Weather::Full(0),
        Weather::Full(1),
        Weather::Full(300),
        Weather::NoSync,
        Weather::Stuck(0),
        Weather::Stuck(200),
        Weather::Stuck(500),
    ] {
        let (bench, disk) = (Bench::new(), Disk::new());
        let record = bench.open(SMALL, disk.clone());
        bench.released(&record).unwrap();
        disk.turns(weather);
        let refusal = bench.released(&record).unwrap_err();
        assert_eq!((refusal.code, refusal.cause), (Code::Internal, "audit.unwritable"), "{weather:?}");
        assert_eq!(record.health(), Err(State::AuditUnwritable));
        assert_eq!(bench.release(&record).err().map(|refusal| refusal.cause), Some("audit.unwritable"));
        disk.turns(Weather::Fine);
        bench.recovers(&record);
        drop(record);
        let verdict = bench.sound();
        assert_eq!(verdict.recovered.len(), 1, "{weather:?}");
        assert_eq!(verdict.recovered[0].1.lost, 1, "{weather:?}");
        let left_behind = !matches!(weather, Weather::Stuck(1..));
        assert_eq!(verdict.recovered[0].1.bytes == 0, left_behind, "{weather:?}");
    }
}

/// A log that cannot be opened does not stop the start, and is used as soon as it can be. Nothing else that has its name
/// is written to (B33).
#[test]
fn what_is_no_file_is_no_log() {
    let bench = Bench::new();
    let log = bench.log().join(FILE);
    let other = bench.folder.path().join("other");
    fs::write(&other, "").unwrap();
    symlink(&other, &log).unwrap();
    let record = bench.open(SMALL, System);
    assert_eq!(record.health(), Err(State::AuditUnwritable));
    assert!(bench.release(&record).is_err());
    fs::remove_file(&log).unwrap();
    bench.recovers(&record);
    drop(record);
    assert_eq!(fs::read(&other).unwrap(), b"");
    bench.sound();
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    assert_eq!(bench.open(SMALL, System).health(), Err(State::AuditUnwritable));
}

/// Syncs when it is told to.
struct Gate {
    syncing: Sender<()>,
    go: Receiver<()>,
}

impl Calls for Gate {
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        System.write(file, bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let _ = self.syncing.send(());
        self.go.recv().map_err(|_| ErrorKind::BrokenPipe)?;
        System.sync(file)
    }

    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        System.truncate(file, len)
    }

    fn reserve(&mut self, _: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever appends waits for no disk, and everyone who came during one sync is served by the next.
#[test]
fn a_hundred_releases_share_a_sync() {
    let bench = Bench::new();
    let ((syncing, synced), (go, gate)) = (channel(), channel());
    go.send(()).unwrap();
    let record = bench.open(SMALL, Gate { syncing, go: gate });
    synced.recv().unwrap();
    let first = bench.release(&record).unwrap();
    synced.recv().unwrap();
    // The first is being synced, for as long as it takes.
    let others: Vec<_> = (0..100).map(|_| bench.release(&record).unwrap()).collect();
    go.send(()).unwrap();
    bench.runtime.block_on(first.durable()).unwrap();
    synced.recv().unwrap();
    let heads: std::collections::HashSet<_> = others.iter().map(|ticket| *ticket.head()).collect();
    assert_eq!(heads.len(), 100);
    go.send(()).unwrap();
    for ticket in others {
        bench.runtime.block_on(ticket.durable()).unwrap();
    }
    go.send(()).unwrap();
    drop(record);
    bench.sound();
    // Every head that was signed is that of a line.
    let mut found = 0;
    bench.lines(&mut |line| found += usize::from(heads.contains(&line.head())));
    assert_eq!((found, bench.entries("checkpoint").len()), (100, 4));
}

/// R53, B34: a disk that hangs is a state of health after a while. Whoever came waits on, nobody else is made to wait, and all goes on
/// when the disk does.
#[test]
fn a_disk_that_hangs_is_known() {
    let bench = Bench::new();
    let ((syncing, synced), (go, gate)) = (channel(), channel());
    let (start, passed) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let clock = {
        let passed = Arc::clone(&passed);
        Box::new(move || start + Duration::from_millis(passed.load(Ordering::SeqCst)))
    };
    let at = |time: Duration| passed.store(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    go.send(()).unwrap();
    let (key, regime) = (Arc::clone(&bench.provider.key), bench.provider.regime());
    let calls = Box::new(Gate { syncing, go: gate });
    let record = Record::with(&bench.log(), key, &[1; 32], &regime, SMALL, calls, clock).unwrap();
    let go = go; // dropped before the log, so that a failure here does not leave its writer waiting
    synced.recv().unwrap();
    at(PATIENCE * 5);
    assert_eq!((record.health(), record.lag()), (Ok(()), Duration::ZERO), "nothing is being written");

    let first = bench.release(&record).unwrap();
    synced.recv().unwrap();
    at(PATIENCE * 6);
    assert_eq!((record.health(), record.lag()), (Ok(()), PATIENCE));
    let second = bench.release(&record).unwrap();
    at(PATIENCE * 6 + Duration::from_millis(1));
    assert_eq!(record.health(), Err(State::AuditStalled));
    let refusal = bench.release(&record).err().unwrap();
    assert_eq!((refusal.code, refusal.cause), (Code::Busy, "audit.stalled"));

    go.send(()).unwrap();
    bench.runtime.block_on(first.durable()).unwrap();
    synced.recv().unwrap();
    assert_eq!((record.health(), record.lag()), (Ok(()), Duration::ZERO), "the second has only begun");
    go.send(()).unwrap();
    bench.runtime.block_on(second.durable()).unwrap();
    go.send(()).unwrap();
    drop(record);
    bench.sound();
}

fn refuse(record: &Record, path: Option<&str>) {
    let subject = Subject { path: path.map(Into::into), ..Mode::V1.into() };
    drop(record.refusal(&subject, &Refusal::new(Code::PolicyDenied, "policy.debug")));
}

/// R100: being refused a million times, or under a million names, costs the releases nothing.
#[test]
fn refusals_have_a_budget_of_their_own() {
    let bench = Bench::new();
    let limits = Limits { file: 1 << 30, ..SMALL };
    let record = bench.open(limits, System);
    for _ in 0..1_000_000 {
        refuse(&record, None);
    }
    assert!(record.queue().refusals.bytes < 2 * limits.refusals);
    for number in 0..10_000 {
        refuse(&record, Some(&format!("path/{number}")));
    }
    bench.released(&record).unwrap();
    assert!(record.queue().refusals.bytes < 2 * limits.refusals);
    drop(record);
    let verdict = bench.sound();
    assert!(verdict.end.unwrap().number < 2_000);
    let largest = bench.entries("refused").into_iter().filter_map(|entry| match entry {
        Entry::Refused(refused) => Some(refused.count),
        _ => None,
    });
    // Those that found no place of their own are counted with those that named no path.
    assert_eq!(largest.max(), Some(1_000_000 + 10_000 - 1_023));
}

/// R100: the last free space is for releases.
#[test]
fn refusals_stop_where_no_space_can_be_kept() {
    let (bench, disk) = (Bench::new(), Disk::new());
    disk.turns(Weather::NoReserve);
    let record = bench.open(SMALL, disk.clone());
    bench.released(&record).unwrap();
    refuse(&record, None);
    refuse(&record, None);
    bench.released(&record).unwrap();
    assert_eq!(bench.entries("refused").len(), 0);
    disk.turns(Weather::Fine);
    bench.released(&record).unwrap();
    bench.released(&record).unwrap();
    for _ in 0..2 {
        refuse(&record, None);
    }
    drop(record);
    bench.sound();
    let Entry::Refused(refused) = &bench.entries("refused")[0] else { panic!() };
    assert_eq!(refused.count, 4);
}

/// Full files are followed by others, and the chain goes on from file to file and from start to start.
#[test]
fn the_chain_goes_on_across_files_and_starts() {
    let bench = Bench::new();
    for _ in 0..3 {
        let record = bench.open(SMALL, System);
        for _ in 0..30 {
            bench.released(&record).unwrap();
        }
    }
    let files = bench.files();
    assert!(files.len() > 3 && files[0] == "audit.000001.log" && files.last().unwrap() == FILE, "{files:?}");
    bench.sound();
    assert_eq!(bench.entries("released").len(), 90);
    assert_eq!(bench.entries("continued").len(), files.len() - 1);
    // One file alone has its key too.
    let mut verifier = Verifier::new();
    let file = File::open(bench.log().join(&files[1])).unwrap();
    verifier.read(&files[1], BufReader::new(file), &mut |_| ()).unwrap();
    let verdict = verifier.end();
    assert_eq!((verdict.findings, verdict.unchecked), (vec![], 0));
    assert!(verdict.first > 1);
    // The file that is written is gone, as a crash between two renames leaves it.
    fs::rename(bench.log().join(FILE), bench.log().join(format!("audit.{:06}.log", files.len()))).unwrap();
    bench.released(&bench.open(SMALL, System)).unwrap();
    bench.sound();
}

/// A crash at every byte of the last batch.
#[test]
fn whatever_a_crash_leaves_is_closed_and_the_chain_goes_on() {
    let bench = Bench::new();
    drop(bench.open(SMALL, System));
    let log = bench.log().join(FILE);
    let before = fs::read(&log).unwrap().len();
    let record = bench.open(SMALL, System);
    bench.released(&record).unwrap();
    let whole = fs::read(&log).unwrap();
    drop(record);
    for len in (before..whole.len()).step_by(23).chain([1, 2]) {
        fs::write(&log, &whole[..len]).unwrap();
        bench.released(&bench.open(SMALL, System)).unwrap();
        bench.sound();
        // And once more at the line that closes it.
        let closed = fs::read(&log).unwrap();
        fs::write(&log, &closed[..(len + 40).min(closed.len())]).unwrap();
        bench.released(&bench.open(SMALL, System)).unwrap();
        bench.sound();
    }
    for garbage in [vec![0; 4096], vec![b'\n'; 100], vec![0xFF; 2 << 20]] {
        fs::write(&log, [&whole[..before], &garbage].concat()).unwrap();
        bench.released(&bench.open(SMALL, System)).unwrap();
        bench.sound();
    }
}

/// R100: a log that was edited is left as it is, and the next file says what was found.
#[test]
fn an_edited_log_is_named_and_left() {
    let bench = Bench::new();
    let record = bench.open(SMALL, System);
    for _ in 0..5 {
        bench.released(&record).unwrap();
    }
    drop(record);
    let log = bench.log().join(FILE);
    let text = fs::read_to_string(&log).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.remove(4);
    let edited = lines.join("\n") + "\n";
    fs::write(&log, &edited).unwrap();
    let record = bench.open(SMALL, System);
    bench.released(&record).unwrap();
    drop(record);
    assert_eq!(fs::read_to_string(bench.log().join("audit.000001.log")).unwrap(), edited);
    let Entry::Broken(broken) = &bench.entries("broken")[0] else { panic!() };
    assert_eq!((broken.file.as_str(), broken.found.contains("entry 5 is missing")), (FILE, true));
    // It is named once, and found by everyone who looks.
    drop(bench.open(SMALL, System));
    assert_eq!(bench.entries("broken").len(), 1);
    assert_eq!(bench.lines(&mut |_| ()).findings.len(), 2);
}
