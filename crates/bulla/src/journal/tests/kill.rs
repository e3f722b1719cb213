//! R72, R73, R76, B35: real processes, killed before every step, and several at once.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::io::Errno;

use super::super::file_system::Stat;
use super::super::{Disk, Journal, disk};
use super::*;
use crate::file::open_sealed;

/// What a child of these tests is to do, and where.
const TASK: &str = "BULLA_JOURNAL_TASK";
const PATH: &str = "BULLA_JOURNAL_PATH";

/// The disk; each step is announced on standard error, and waits for a byte on standard input.
struct Announced {
    disk: Disk,
    has_links: bool,
}

fn announce(step: &str) {
    eprintln!("step: {step}");
    let mut byte = [0];
    if io::stdin().read_exact(&mut byte).is_err() {
        std::process::exit(3); // nobody is there any more
    }
}

impl FileSystem for Announced {
    type File = File;
    type Lock = disk::Lock;

    fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        self.disk.stat(name)
    }

    fn stat_of(&self, file: &File) -> io::Result<Stat> {
        self.disk.stat_of(file)
    }

    fn open(&self, name: &OsStr) -> io::Result<File> {
        announce("open");
        self.disk.open(name)
    }

    fn reopen(&self, name: &OsStr) -> io::Result<File> {
        announce("reopen");
        self.disk.reopen(name)
    }

    fn create(&self, name: &OsStr) -> io::Result<File> {
        announce("create");
        self.disk.create(name)
    }

    fn lock(&self, name: &OsStr) -> io::Result<disk::Lock> {
        announce("lock");
        self.disk.lock(name)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        announce("sync");
        self.disk.sync(file)
    }

    fn sync_directory(&self) -> io::Result<()> {
        announce("sync directory");
        self.disk.sync_directory()
    }

    fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        announce("link");
        if self.has_links { self.disk.link(from, to) } else { Err(Errno::OPNOTSUPP.into()) }
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        announce("rename");
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        announce("remove");
        self.disk.remove(name)
    }
}

/// What a child does: one task, and it is an error if that fails.
fn child(task: &str) {
    let path = PathBuf::from(env::var_os(PATH).unwrap());
    let journal = |has_links| Protocol {
        fs: Announced { disk: Disk::beside(&path).unwrap(), has_links },
        names: Names::of(&path).unwrap(),
        keep: 2,
        largest: u64::MAX,
    };
    let slowly = |file: &mut File, content: &str| {
        announce("write");
        file.write_all(&content.as_bytes()[..1]).map_err(failed)?;
        announce("write on");
        file.write_all(&content.as_bytes()[1..]).map_err(failed)
    };
    let slow_change = |has_links| {
        journal(has_links)
            .change(|_, new| slowly(new, "new content"), |written, ()| verify(written, "new content"))
            .map(drop)
    };
    match task {
        "change" => slow_change(true),
        "change, copied" => slow_change(false),
        "create" => journal(true)
            .create(|new| slowly(new, "new content"), |written, ()| verify(written, "new content")),
        "retire" => journal(true).retire().map(drop),
        "append slowly" => append(&journal(true), '+'),
        "append often" => (0..25).try_for_each(|_| append(&journal_at(&path), 'x')),
        other => panic!("no such task: {other}"),
    }
    .unwrap();
}

fn journal_at(path: &Path) -> Protocol<Disk> {
    Protocol { fs: Disk::beside(path).unwrap(), names: Names::of(path).unwrap(), keep: 1, largest: u64::MAX }
}

/// A child with its umask, and what it says.
struct Task {
    child: Child,
    said: io::Lines<BufReader<ChildStderr>>,
}

impl Task {
    /// Starts this program again, so that only the test that is named runs, which does `task` instead.
    fn start(test: &str, task: &str, path: &Path, umask: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", "umask \"$0\"; exec \"$@\"", umask])
            .arg(env::current_exe().unwrap())
            .args(["--exact", &format!("journal::tests::kill::{test}"), "--nocapture"])
            .env(TASK, task)
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, said }
    }

    /// The step that it wants to do next; nothing if it is done.
    fn next_step(&mut self) -> Option<String> {
        let line = self.said.next()?.unwrap();
        let step = line.strip_prefix("step: ").unwrap_or_else(|| panic!("the child says: {line}"));
        Some(step.into())
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b".").unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn finish(mut self) {
        while self.next_step().is_some() {
            self.go_on();
        }
        assert!(self.child.wait().unwrap().success());
    }
}

fn put(path: &Path, content: &str) {
    let mut file = Disk::beside(path).unwrap().create(path.file_name().unwrap()).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

/// Kills a child before its first step, the second, and so on, until it gets through; returns how often.
fn kill_at_each_step(task: &str, umask: &str, start: &[(&str, &str)], old: Option<&str>, new: &str) -> usize {
    for kill_at in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let beside = |name: &str| directory.path().join(name);
        let path = beside(FILE);
        for (name, content) in start {
            put(&beside(name), content);
        }
        let mut child = Task::start("a_kill_at_any_step_loses_nothing", task, &path, umask);
        let mut killed_before = None;
        for step in 0.. {
            match child.next_step() {
                Some(name) if step == kill_at => killed_before = Some(name),
                Some(_) => {
                    child.go_on();
                    continue;
                }
                None => {}
            }
            break;
        }
        let context = format!("{task}, umask {umask}, killed before step {kill_at}: {killed_before:?}");
        if killed_before.is_some() {
            child.kill();
        } else {
            child.finish();
        }

        // As it is, who reads sees a whole content; R73: nobody else could have read any file.
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{context}: {entry:?} {mode:o}");
        }
        let content = fs::read_to_string(&path).ok();
        let is_new = content.as_deref() == Some(new);
        assert!(is_new || (killed_before.is_some() && content.as_deref() == old), "{context}: {content:?}");
        let journal = Journal::at(&path).unwrap().keep(2);
        let Some(content) = content else {
            let is_marked = fs::read(beside(LOCK)).is_ok_and(|mark| !mark.is_empty());
            let again = journal.create(|new| write(new, "again"), |written, ()| verify(written, "again"));
            assert_eq!(again.is_ok(), !is_marked, "{context}: {again:?}");
            continue;
        };
        assert_eq!(read(&mut open_sealed(&path, u64::MAX).unwrap()).unwrap(), content, "{context}");

        journal.recover().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "{context}");
        assert!(!beside(NEW).exists() && !beside(COPY).exists(), "{context}");
        let earlier = if is_new { old } else { Some("older") };
        if task != "retire" {
            assert_eq!(fs::read_to_string(beside(&kept(1))).ok().as_deref(), earlier, "{context}");
        }
        assert_eq!(journal.recover().unwrap(), Recovered::default(), "{context}");
        let next = journal.change(|_, new| write(new, "next"), |written, ()| verify(written, "next"));
        assert_eq!(next.unwrap().recovered, Recovered::default(), "{context}");
        if killed_before.is_none() {
            return kill_at;
        }
    }
    unreachable!()
}

/// R73, R76, B35: killed before any step, under umasks that give everything and nothing, a change, a creation and a
/// retirement leave the whole old or the whole new content; the lock is free; and the next change goes well.
#[test]
fn a_kill_at_any_step_loses_nothing() {
    if let Ok(task) = env::var(TASK) {
        return child(&task);
    }
    let start = [(FILE, "old content"), (LOCK, "x"), (kept(1).leak(), "older")];
    let mut kills = 0;
    for umask in ["000", "777"] {
        kills += kill_at_each_step("change", umask, &start, Some("old content"), "new content");
        kills += kill_at_each_step("change, copied", umask, &start, Some("old content"), "new content");
        kills += kill_at_each_step("create", umask, &[], None, "new content");
        kills += kill_at_each_step("retire", umask, &start, Some("old content"), "old content");
    }
    let _ = writeln!(io::stderr(), "{kills} kills");
    assert!(kills > 100, "only {kills}");
}

/// R72, B35: a change waits for that of another process. If the other is killed before its commit, it takes over from the old
/// content; if the other gets through, from the new.
#[test]
fn processes_wait_for_one_another() {
    if let Ok(task) = env::var(TASK) {
        return child(&task);
    }
    let this = "processes_wait_for_one_another";
    for is_killed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        put(&path, "old");
        let mut first = Task::start(this, "append slowly", &path, "022");
        while first.next_step().unwrap() != "rename" {
            first.go_on();
        }
        let mut second = Task::start(this, "append slowly", &path, "022");
        assert_eq!(second.next_step().unwrap(), "lock");
        second.go_on();
        if is_killed {
            first.kill();
        } else {
            first.go_on();
            first.finish();
        }
        second.finish();
        assert_eq!(fs::read_to_string(&path).unwrap(), if is_killed { "old+" } else { "old++" });
    }
}

/// R72, R95: nor is a first content that another process is making at this moment taken for one that was lost.
#[test]
fn processes_wait_for_the_first_content() {
    if let Ok(task) = env::var(TASK) {
        return child(&task);
    }
    let this = "processes_wait_for_the_first_content";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let mut first = Task::start(this, "create", &path, "022");
    while first.next_step().unwrap() != "rename" {
        first.go_on();
    }
    assert!(!fs::read(directory.path().join(LOCK)).unwrap().is_empty());
    let mut second = Task::start(this, "append slowly", &path, "022");
    assert_eq!(second.next_step().unwrap(), "lock");
    second.go_on();
    first.go_on();
    first.finish();
    second.finish();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new content+");
}

/// R72, B35: processes that change the file as often as they can lose none of their changes.
#[test]
fn processes_take_turns() {
    if let Ok(task) = env::var(TASK) {
        return child(&task);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    put(&path, "");
    let tasks: Vec<_> =
        (0..4).map(|_| Task::start("processes_take_turns", "append often", &path, "022")).collect();
    for task in tasks {
        task.finish();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "x".repeat(100));
}
