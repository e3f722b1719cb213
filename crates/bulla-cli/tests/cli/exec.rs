//! Commands with keys: what they find, and that nobody else finds it (R89).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyutils::Keyring;
use rustix::fs::{SealFlags, fcntl_get_seals};

use crate::support::{Bulla, Ran, places};

const ON: &str = "--machine sim:host";
/// What a descriptor of a key shows as.
const MEMFD: &str = "/memfd:bulla (deleted)";

/// A folder with the machine `host`, and `a.ring` with two keys and `b.ring` with one.
fn with_rings() -> Bulla {
    let bulla = Bulla::with_host();
    for line in ["new a.ring", "rotate a.ring", "new b.ring"] {
        bulla.run(&format!("{ON} key {line}")).ok();
    }
    bulla
}

/// Runs `bulla exec` with these keys and this command.
fn exec(bulla: &Bulla, keys: &[&str], command: &[&str]) -> Ran {
    Ran::of(&mut prepared(bulla, keys, command), b"")
}

fn prepared(bulla: &Bulla, keys: &[&str], command: &[&str]) -> Command {
    let mut exec = bulla.command(&format!("{ON} exec"));
    for key in keys {
        exec.args(["--key", key]);
    }
    exec.arg("--").args(command);
    exec
}

fn secret(bulla: &Bulla, key: &str) -> Vec<u8> {
    exec(bulla, &[key], &["cat", "{key}"]).ok()
}

#[test]
fn each_form_is_what_its_program_reads() {
    let bulla = with_rings();
    let [one, two] = ["a.ring:1", "a.ring:2"].map(|key| secret(&bulla, key));
    assert!(one.len() == 32 && two.len() == 32 && one != two);
    assert_eq!(secret(&bulla, "a.ring"), two, "the newest, if none is named");
    let [one, digits] = [&one, &two].map(hex::encode);
    for (form, wanted) in [
        ("raw", two.clone()),
        ("hex", format!("{digits}\n").into()),
        ("base64", format!("{}\n", STANDARD.encode(&two)).into()),
        ("passphrase", digits.clone().into()),
        ("sqlcipher", format!("PRAGMA key = \"x'{digits}'\";\n").into()),
        ("sqlcipher-rekey", format!("PRAGMA rekey = \"x'{digits}'\";\n").into()),
        ("mariadb", format!("1;{one}\n2;{digits}\n").into()),
    ] {
        assert_eq!(secret(&bulla, &format!("a.ring={form}")), wanted, "{form}");
    }
    assert_eq!(secret(&bulla, "a.ring:1=mariadb"), format!("1;{one}\n").into_bytes());
    bulla.run(&format!("{ON} key retire a.ring 1")).ok();
    assert_eq!(secret(&bulla, "a.ring=mariadb"), format!("2;{digits}\n").into_bytes());
    exec(&bulla, &["a.ring=hexa"], &["touch", "{key}", "ran"]).fails(2, &["hexa", "sqlcipher-rekey"]);
    assert!(!bulla.path("ran").exists());
}

/// A path can be opened twice, a descriptor stands at the beginning, and each placeholder is a file of its own.
#[test]
fn each_reads_the_whole_key() {
    let bulla = with_rings();
    let (a, b) = (secret(&bulla, "a.ring"), secret(&bulla, "b.ring"));
    let twice = exec(&bulla, &["a.ring"], &["sh", "-c", "cat $1; cat $1; cat <$1", "sh", "{key}"]).ok();
    assert_eq!(twice, [&*a, &a, &a].concat());
    assert_eq!(exec(&bulla, &["a.ring"], &["cat", "{key}", "{key}"]).ok(), [&*a, &a].concat());
    let script = "cat <&$1; cat <&$2; cat <&$2; cat ${3#--file=}";
    // In bash: dash takes a descriptor above 9 for a file's name.
    let placed = ["bash", "-c", script, "bash", "{fd:1}", "{fd:1}", "--file={key:2}"];
    assert_eq!(exec(&bulla, &["a.ring", "b.ring"], &placed).ok(), [&*a, &a, &b].concat());
    let crossed =
        exec(&bulla, &["a.ring", "b.ring=hex", "a.ring:1"], &["cat", "{key:2}", "{key:1}", "{key:3}"]);
    let wanted = [format!("{}\n", hex::encode(b)).as_bytes(), &a, &secret(&bulla, "a.ring:1")].concat();
    assert_eq!(crossed.ok(), wanted);
}

#[test]
fn keys_and_places_have_to_match_before_anything_runs() {
    let bulla = with_rings();
    for (keys, place, words) in [
        (&["a.ring"][..], "x", "no place"),
        (&["a.ring", "b.ring"], "{key}", "say which"),
        (&["a.ring", "b.ring"], "{key:1}", "no place"),
        (&["a.ring"], "{key:2}", "no --key"),
        (&["a.ring"], "{key:0}", "no --key"),
        (&[], "{key}", "no --key"),
        (&[], "{fd}", "no --key"),
        (&[], "{keyring}", "no --key"),
        (&["a.ring"], "{luks}", "no --luks"),
    ] {
        exec(&bulla, keys, &["touch", "ran", place]).fails(2, &[words, "[usage]"]);
    }
    bulla.run(&format!("{ON} exec --key a.ring")).fails(2, &[]);
    bulla.run(&format!("{ON} exec --key a.ring touch {{key}} ran")).fails(2, &[]);
    assert!(!bulla.path("ran").exists());
    assert_eq!(exec(&bulla, &[], &["printf", "%s", "{} {keys} ${HOME}"]).ok(), b"{} {keys} ${HOME}");
}

/// With two keys of which one does not open, the command does not start with the other.
#[test]
fn nothing_runs_when_a_key_does_not_open() {
    let bulla = with_rings();
    bulla.run("sim new other").ok();
    bulla.run("--machine sim:other key new foreign.ring").ok();
    bulla.write("noise.ring", "noise");
    fs::rename(bulla.path("b.ring"), bulla.path("c.ring")).unwrap();
    for (key, code, words) in [
        ("foreign.ring", 10, "foreign.ring: "),
        ("noise.ring", 11, "noise.ring: "),
        ("b.ring", 10, "[seal.missing]"),
        ("missing.ring", 1, "missing.ring"),
        ("c.ring", 10, "c.ring: "),
        ("a.ring:3", 2, "[ring.unknown_key]"),
    ] {
        let ran = exec(&bulla, &["a.ring", key], &["touch", "ran", "{key:1}", "{key:2}"]);
        assert!(ran.fails(code, &[words]).stdout.is_empty());
        assert!(!bulla.path("ran").exists(), "{key}");
    }
    Ran::of(&mut bulla.command("exec --key a.ring -- touch ran {key}"), b"").fails(2, &["no machine given"]);
    assert!(!bulla.path("ran").exists());
}

#[test]
fn the_end_of_the_command_is_ours() {
    let bulla = with_rings();
    for code in [0, 1, 7, 10, 255] {
        let ran = exec(
            &bulla,
            &["a.ring"],
            &["sh", "-c", &format!("cat $1 >/dev/null; exit {code}"), "sh", "{key}"],
        );
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""));
    }
    let killed = ["sh", "-c", "kill -TERM $$", "sh", "{key}"];
    assert_eq!(prepared(&bulla, &["a.ring"], &killed).status().unwrap().signal(), Some(15));
    exec(&bulla, &["a.ring"], &["/no/such/program", "{key}"]).fails(1, &["/no/such/program", "[file]"]);
    // Standard input and output are the command's.
    let mut command = prepared(&bulla, &["a.ring=hex"], &["sh", "-c", "cat; echo talk >&2", "sh", "{key}"]);
    let ran = Ran::of(&mut command, b"input");
    assert_eq!((ran.stderr.as_str(), ran.code), ("talk\n", 0));
    assert_eq!(ran.stdout, b"input");
}

/// A command that runs until it is let go.
const WAIT: [&str; 4] = ["sh", "-c", "echo ready; read -r line; true", "sh"];

/// Such a command, seen from outside.
struct Running {
    child: Child,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
}

impl Running {
    fn start(bulla: &Bulla, keys: &[&str], places: &[&str]) -> Self {
        Self::of(prepared(bulla, keys, &[&WAIT, places].concat()))
    }

    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("RUST_LOG", "trace");
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut said = Vec::new();
            stderr.read_to_end(&mut said).unwrap();
            said
        });
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Self { child, stderr: Some(stderr) }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Its descriptors but the standard ones, and what they are.
    fn descriptors(&self) -> BTreeMap<i32, String> {
        let entries = fs::read_dir(self.path("fd")).unwrap().map(|entry| entry.unwrap());
        let target = |path: PathBuf| fs::read_link(path).unwrap().display().to_string();
        entries
            .map(|entry| (entry.file_name().into_string().unwrap().parse().unwrap(), target(entry.path())))
            .filter(|(number, _)| *number > 2)
            .collect()
    }

    /// Lets it go; what it, and `bulla` before it, said.
    fn end(mut self) -> Vec<u8> {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        self.stderr.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// R89: neither arguments nor environment nor talk nor the names of descriptors have the key, in any form.
#[test]
fn r89_no_argument_environment_or_log_has_a_key() {
    let bulla = with_rings();
    let secrets = ["a.ring:1", "a.ring:2", "b.ring"].map(|key| secret(&bulla, key));
    let keys = ["a.ring:1", "a.ring=hex", "b.ring=base64", "a.ring=mariadb"];
    let running = Running::start(&bulla, &keys, &["{key:1}", "--file={key:2}", "{fd:3}", "{key:4}"]);
    let mut seen = running.read("cmdline");
    assert_eq!(places(&seen, b"/proc/self/fd/").len(), 3);
    for name in ["environ", "comm", "maps", "status"] {
        seen.extend(running.read(name));
    }
    seen.extend(running.descriptors().into_values().flat_map(String::into_bytes));
    seen.extend(running.end());
    assert!(!places(&seen, b"PATH=").is_empty() && !places(&seen, b"memfd:bulla").is_empty());
    for secret in secrets {
        for half in secret.chunks_exact(15) {
            let hex = hex::encode(half);
            let forms = [half.to_vec(), STANDARD.encode(half).into(), hex.to_uppercase().into(), hex.into()];
            assert!(forms.iter().all(|form| places(&seen, form).is_empty()));
        }
    }
}

/// R89: the command has its standard streams and the files in memory, and no descriptor of ours.
#[test]
fn r89_no_other_descriptor_is_left_open() {
    let bulla = with_rings();
    let keys = ["a.ring:1", "a.ring", "b.ring"];
    let running = Running::start(&bulla, &keys, &["{key:1}", "{key:2}", "{key:2}", "{fd:3}"]);
    let mut found = running.descriptors();
    running.end();
    // What whoever runs the tests has left open for everyone.
    let mut plain = Command::new(WAIT[0]);
    plain.args(&WAIT[1..]);
    let plain = Running::of(plain);
    let inherited = plain.descriptors();
    plain.end();
    found.retain(|number, target| inherited.get(number) != Some(target));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.values().all(|target| target == MEMFD), "{found:?}");
    // Without keys there is nothing at all.
    let running = Running::start(&bulla, &[], &[]);
    assert_eq!(running.descriptors(), inherited);
    running.end();
}

/// R89: nobody changes what the command reads, root included.
#[test]
fn r89_the_file_is_sealed_and_for_reading() {
    let bulla = with_rings();
    let wanted = secret(&bulla, "a.ring");
    let running = Running::start(&bulla, &["a.ring"], &["{key}", "{fd}"]);
    let mut files = running.descriptors();
    files.retain(|_, target| target == MEMFD);
    assert_eq!(files.len(), 2);
    for number in files.into_keys() {
        let path = running.path(&format!("fd/{number}"));
        let file = File::open(&path).unwrap();
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        assert!(fcntl_get_seals(&file).unwrap().contains(seals));
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o400);
        // Root can open it for writing; that is as far as it gets.
        if let Ok(mut file) = File::options().write(true).open(&path) {
            file.write_all(b"x").unwrap_err();
            file.set_len(0).unwrap_err();
            file.set_len(100).unwrap_err();
        }
        assert_eq!(fs::read(&path).unwrap(), wanted);
    }
    running.end();
}

/// A key in a new session keyring; where the kernel or a container does not give one, that is what is said, and nothing runs.
#[test]
fn a_keyring_gives_the_key_or_a_typed_refusal() {
    let bulla = with_rings();
    let list =
        ["sh", "-c", "cat /proc/keys; touch ran", "sh", "{keyring:2}", "{keyring:1}", "--is={keyring:1}"];
    let ran = exec(&bulla, &["a.ring", "b.ring"], &list);
    // A thread of its own, whose session nobody shares.
    let given = thread::spawn(|| Keyring::join_anonymous_session().is_ok()).join().unwrap();
    assert_eq!(bulla.path("ran").exists(), given);
    if !given {
        assert!(ran.fails(13, &["keyring", "[handover.unavailable]"]).stdout.is_empty());
        return;
    }
    let keys = ran.text();
    for (description, length) in [("bulla:1", 32), ("bulla:2", 32)] {
        let line = format!(" {description}: {length}");
        // Its session has it, and its user may see that it is there.
        let is_it = |key: &&str| key.ends_with(&line) && key.contains(" user ") && key.contains(" 3f010000 ");
        assert!(keys.lines().any(|key| is_it(&key)), "{keys}");
    }
    let told = exec(&bulla, &["a.ring"], &["printf", "%s", "--is={keyring}"]);
    assert_eq!(told.ok(), b"--is=bulla:1");
}

/// R87: with the machine gone a private key gives the ring's keys to the command.
#[test]
fn r87_a_recovery_key_stands_in_for_the_machine() {
    let bulla = Bulla::with_host();
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    bulla.run(&format!("{ON} key new a.ring --recovery key.pub")).ok();
    let wanted = secret(&bulla, "a.ring");
    bulla.run("sim platform-reset host").ok();
    exec(&bulla, &["a.ring"], &["touch", "ran", "{key}"]).fails(10, &["[machine.other_machine]"]);
    assert!(!bulla.path("ran").exists());
    let line = "exec --private-key key --key a.ring -- cat {key}";
    assert_eq!(bulla.run(line).ok(), wanted);
}
