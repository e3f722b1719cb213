//! Runs the command in a folder of its own. The tests of the whole system use it too.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// The longest that a test waits for another process before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder, and the command to run in it.
pub struct Bulla {
    folder: TempDir,
    program: PathBuf,
}

impl Bulla {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), program: program() }
    }

    /// A folder with the simulated machine `host`.
    pub fn with_host() -> Self {
        let bulla = Self::new();
        bulla.run("sim new host").ok();
        bulla
    }

    /// The same folder, and another program.
    pub fn with_program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// The program's file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command line of words without blanks.
    pub fn run(&self, line: &str) -> Ran {
        self.run_with(line, b"")
    }

    /// The same, with an input.
    pub fn run_with(&self, line: &str, input: &[u8]) -> Ran {
        Ran::of(&mut self.command(line), input)
    }

    /// A command line of words without blanks, to be added to.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).current_dir(&self.folder).env_remove("BULLA_MACHINE");
        command
    }

    /// Seals `secret` on `host`, for the context `wallet`, and returns the envelope.
    pub fn seal(&self, secret: &[u8]) -> Vec<u8> {
        self.run_with("--machine sim:host seal --context wallet", secret).ok()
    }

    /// Opens an envelope on `host`, for the context `wallet`.
    pub fn unseal(&self, envelope: &[u8]) -> Ran {
        self.run_with("--machine sim:host unseal --context wallet", envelope)
    }

    /// Starts `bulla provider serve` and waits until it listens.
    #[track_caller]
    pub fn serve(&self, config: &str) -> Serving {
        self.try_serve(config).unwrap_or_else(|ran| panic!("{}", ran.stderr))
    }

    /// Starts `bulla provider serve` and waits until it listens, or has ended.
    pub fn try_serve(&self, config: &str) -> Result<Serving, Ran> {
        self.try_serve_as(self.command(&format!("provider serve --config {config}")))
    }

    /// The same, by a command that was added to.
    pub fn try_serve_as(&self, mut command: Command) -> Result<Serving, Ran> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Serving::of(command.spawn().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The names in a folder, sorted; hidden ones too.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Gives a key of a TOML file of the simulated machines, or of settings, another value; adds it where it is not there.
    pub fn set(&self, file: &str, key: &str, value: &str) {
        let text = self.text(file);
        let is_it = |line: &&str| line.split(" =").next() == Some(key);
        let new = format!("{key} = {value}");
        // Where it stands, since it may be in a section; without one, before all sections.
        let first = if text.lines().any(|line| is_it(&line)) { "" } else { new.as_str() };
        let lines = text.lines().map(|line| if is_it(&line) { new.as_str() } else { line });
        let lines: Vec<_> = [first].into_iter().filter(|line| !line.is_empty()).chain(lines).collect();
        self.write(file, format!("{}\n", lines.join("\n")));
    }

    /// The value of a key of such a file, as it stands there.
    pub fn value(&self, file: &str, key: &str) -> String {
        let text = self.text(file);
        let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        values.next().unwrap().split("  #").next().unwrap().to_owned()
    }
}

/// The command under test. Other packages find it where cargo has put it: beside the folder of the test's own executable.
fn program() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_bulla") {
        return path.into();
    }
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("bulla");
    assert!(program.exists(), "{} is not built: run ./test", program.display());
    program
}

/// What became of a run. No input ever makes the command panic or die of a signal.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// Runs a command and gives it an input.
    pub fn of(command: &mut Command, input: &[u8]) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // Who refuses early does not read to the end.
            scope.spawn(move || drop(stdin.write_all(input)));
            Self::from(child.wait_with_output().unwrap())
        })
    }

    /// It succeeded; what it wrote.
    #[track_caller]
    pub fn ok(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// It succeeded; the text that it wrote.
    #[track_caller]
    pub fn text(self) -> String {
        String::from_utf8(self.ok()).unwrap()
    }

    /// It succeeded; the JSON that it wrote.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_slice(&self.ok()).unwrap()
    }

    /// It failed with this exit code, and says so with these words.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        for words in words {
            assert!(self.stderr.contains(words), "{words:?} is not in {:?}", self.stderr);
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("{}: {stderr}", output.status));
        assert!(code != 101 && !stderr.contains("panicked"), "{stderr}");
        Self { code, stdout: output.stdout, stderr }
    }
}

/// A provider that listens. It ends when this is dropped.
pub struct Serving {
    child: Child,
    log: Receiver<String>,
    /// All that was read of its log.
    pub seen: Vec<String>,
}

impl Serving {
    fn of(mut child: Child) -> Result<Self, Ran> {
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Reads on when nobody listens, so that the provider can go on writing.
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut serving = Self { child, log, seen: Vec::new() };
        loop {
            match serving.log.recv_timeout(PATIENCE) {
                Ok(line) => serving.seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("it does not start: {:#?}", serving.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    let (status, stderr) =
                        (serving.child.wait().unwrap(), serving.seen.join("\n").into_bytes());
                    return Err(Ran::from(Output { status, stdout: Vec::new(), stderr }));
                }
            }
            // The last line before it serves.
            if serving.seen.iter().any(|line| line.contains("listening on ")) {
                return Ok(serving);
            }
        }
    }

    /// Reads the log until a line has these words.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("{words:?} is not in the log: {:#?}", self.seen),
            }
            if self.seen.last().is_some_and(|line| line.contains(words)) {
                return;
            }
        }
    }

    /// What stands after these words in the log so far.
    #[track_caller]
    pub fn said(&self, words: &str) -> &str {
        let mut found = self.seen.iter().filter_map(|line| Some(line.split_once(words)?.1));
        found.next().unwrap_or_else(|| panic!("{words:?} is not in the log: {:#?}", self.seen))
    }

    pub fn id(&self) -> &str {
        self.said("provider id: ")
    }

    pub fn http(&self) -> SocketAddr {
        self.said("listening on http://").parse().unwrap()
    }

    pub fn legacy(&self) -> SocketAddr {
        self.said("legacy clients are served on ").parse().unwrap()
    }

    /// The options by which a guest finds and knows it.
    pub fn options(&self) -> String {
        format!("--provider http://{} --provider-id {}", self.http(), self.id())
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; the exit code.
    pub fn end(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Kills it, and waits for its end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program with another measurement: a copy of the command with one byte more. Another process writes it, because a
/// file that any thread of this one has open for writing cannot be executed.
pub fn rebuilt(bulla: &Bulla) -> PathBuf {
    let copy = bulla.path("rebuilt");
    let script = "cp \"$0\" \"$1\" && printf x >> \"$1\"";
    let status = Command::new("/bin/sh").args(["-c", script]).args([&program(), &copy]).status().unwrap();
    assert!(status.success());
    copy
}

/// A file with one bit flipped.
pub fn flipped(bytes: &[u8], at: usize, bit: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

/// Where `part` begins in `bytes`, each time.
pub fn places(bytes: &[u8], part: &[u8]) -> Vec<usize> {
    bytes.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(at, _)| at).collect()
}

/// The mode of a file, without its type.
pub fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o7777
}
