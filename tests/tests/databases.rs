//! Real engines on keys of a ring: a change of a key that is broken off at every step (R89, R93).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};

use support::Bulla;

#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

/// SQLCipher 3, the Debian command.
#[test]
fn r93_rekey_of_the_shell_survives_a_crash_at_every_step() {
    let shell = |key, lines: &[&'static str]| {
        [&["sqlcipher", "-bail", "-init", key, "ledger.db"], lines]
            .concat()
            .into_iter()
            .map(Into::into)
            .collect()
    };
    let fill = "CREATE TABLE ledger (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
        WITH RECURSIVE line(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM line WHERE n < 24)
        INSERT INTO ledger (text) SELECT hex(randomblob(400)) FROM line;";
    Engine {
        forms: ["sqlcipher", "sqlcipher-rekey"],
        fill: shell("{key}", &[fill]),
        check: shell("{key}", &["SELECT count(*) FROM ledger; PRAGMA integrity_check;"]),
        // A small cache, so that pages reach the file before all are done: the most that a crash can meet.
        rekey: shell("{key:1}", &["PRAGMA cache_size = 5;", ".read {key:2}"]),
    }
    .crash_at_every_step();
}

/// SQLCipher 4, in a Rust program.
#[test]
fn r93_rekey_of_a_program_survives_a_crash_at_every_step() {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/ledger");
    assert!(program.exists(), "{} is not built: run ./test", program.display());
    let ledger = |words: &[&'static str]| {
        let words = ["ledger.db"].iter().chain(words).map(|word| word.to_string());
        [program.display().to_string()].into_iter().chain(words).collect()
    };
    Engine {
        forms: ["raw", "raw"],
        fill: ledger(&["{key}", "fill", "24"]),
        check: ledger(&["{key}", "check"]),
        rekey: ledger(&["{key:1}", "rekey", "{key:2}"]),
    }
    .crash_at_every_step();
}

/// What a whole database answers to `check`.
const WHOLE: &[u8] = b"24\nok\n";

/// The calls at which the change of a key is broken off: all that write, and `close`, which is left when all is written.
const STEPS: [&str; 5] = ["pwrite64", "fsync", "fdatasync", "unlink", "close"];

/// How an engine is called with keys.
struct Engine {
    forms: [&'static str; 2],
    fill: Vec<String>,
    check: Vec<String>,
    rekey: Vec<String>,
}

impl Engine {
    /// A crash at any step leaves the whole database under one of the two keys that the ring holds.
    fn crash_at_every_step(&self) {
        let bulla = Bulla::with_host();
        bulla.run("--machine sim:host key new ledger.ring").ok();
        bulla.run("--machine sim:host key rotate ledger.ring").ok();
        let [old, new] = ["ledger.ring:1", "ledger.ring:2"];
        let (key, next) = (format!("{old}={}", self.forms[0]), format!("{new}={}", self.forms[1]));
        let filled = exec(&bulla, &[&key], &self.fill);
        assert!(filled.status.success(), "{}", text(&filled));
        assert!(self.is_whole(&bulla, old) && !self.is_whole(&bulla, new));
        let database = bulla.read("ledger.db");

        let mut found = [0, 0];
        for step in STEPS {
            for nth in 1.. {
                bulla.write("ledger.db", &database);
                let _ = fs::remove_file(bulla.path("ledger.db-journal"));
                let kill = format!("inject={step}:signal=KILL:when={nth}");
                let trace = format!("trace={step}");
                let strace = ["strace", "-f", "-o", "/dev/null", "-e", &trace, "-e", &kill];
                let broken =
                    strace.map(String::from).into_iter().chain(self.rekey.clone()).collect::<Vec<_>>();
                let broken = exec(&bulla, &[&key, &next], &broken);
                if broken.status.success() {
                    assert!(self.is_whole(&bulla, new) && !self.is_whole(&bulla, old), "unbroken");
                    break;
                }
                assert_eq!(broken.status.signal(), Some(9), "{}", text(&broken));
                // Whoever comes back tries the new key first.
                let left = [new, old].iter().position(|key| self.is_whole(&bulla, key));
                found[left.unwrap_or_else(|| panic!("lost at {step} {nth}"))] += 1;
            }
        }
        let [new, old] = found;
        println!(
            "broken off at {} steps: {old} times under the old key, {new} times under the new",
            old + new
        );
        assert!(old > 20 && new > 0, "it is broken off before and after the change takes effect");
    }

    fn is_whole(&self, bulla: &Bulla, key: &str) -> bool {
        exec(bulla, &[&format!("{key}={}", self.forms[0])], &self.check).stdout == WHOLE
    }
}

/// Runs a command with keys, as the machine `host`.
fn exec(bulla: &Bulla, keys: &[&str], command: &[String]) -> Output {
    let mut exec = bulla.command("--machine sim:host exec");
    for key in keys {
        exec.args(["--key", key]);
    }
    let home = bulla.path(".");
    exec.arg("--").args(command).env("HOME", home).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
