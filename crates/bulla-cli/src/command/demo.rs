//! `bulla demo`: the whole way once, on simulated machines, with the command's own processes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::args::Demo;
use crate::failure::Failure;
use crate::say;

/// Runs the demo, and stops with a failure if one step does not end as it has to.
pub(crate) fn run(options: &Demo) -> Result<(), Failure> {
    let folder = tempfile::Builder::new()
        .prefix("bulla-demo-")
        .tempdir()
        .map_err(|error| Failure::file("make a folder in", &std::env::temp_dir(), &error))?;
    let program =
        std::env::current_exe().map_err(|error| Failure::file("find", Path::new("bulla"), &error))?;
    let stage = Stage { program, folder: folder.path().to_owned() };

    say::result(
        "Everything below runs on SIMULATED machines: it shows how bulla works and proves nothing about hardware.",
    );
    stage.seal_in_an_enclave(options.file.as_deref())?;
    stage.outlive_the_machine()?;
    stage.key_for_a_database()?;
    stage.key_for_a_guest()?;
    say::result("\nEvery step ended as it should.");
    Ok(())
}

struct Stage {
    program: PathBuf,
    folder: PathBuf,
}

impl Stage {
    fn seal_in_an_enclave(&self, file: Option<&Path>) -> Result<(), Failure> {
        self.title("An enclave seals a file; another process of the same program opens it");
        self.expect(0, &["sim", "new", "host"])?;
        self.expect(0, &["sim", "new", "other-host"])?;
        self.write("wallet", b"correct horse battery staple\n")?;
        self.expect(
            0,
            &["--machine", "sim:host", "seal", "--context", "wallet", "-o", "wallet.sealed", "wallet"],
        )?;
        self.expect(0, &["inspect", "wallet.sealed"])?;
        self.expect(0, &["--machine", "sim:host", "unseal", "--context", "wallet", "wallet.sealed"])?;

        self.title("It survives a microcode update, and says what is too old after going back");
        self.expect(0, &["sim", "microcode", "host", "up"])?;
        self.expect(
            0,
            &["--machine", "sim:host", "seal", "--context", "wallet", "-o", "newer.sealed", "wallet"],
        )?;
        self.expect(0, &["--machine", "sim:host", "unseal", "--context", "wallet", "wallet.sealed"])?;
        self.expect(0, &["sim", "microcode", "host", "down"])?;
        self.expect(12, &["--machine", "sim:host", "unseal", "--context", "wallet", "newer.sealed"])?;

        self.title("Another context, another machine and a tampered file are refused");
        self.expect(10, &["--machine", "sim:host", "unseal", "--context", "diary", "wallet.sealed"])?;
        self.expect(10, &["--machine", "sim:other-host", "unseal", "--context", "wallet", "wallet.sealed"])?;
        self.tamper("wallet.sealed")?;
        self.expect(11, &["--machine", "sim:host", "unseal", "--context", "wallet", "wallet.sealed"])?;

        let Some(file) = file else { return Ok(()) };
        self.title("Your own file");
        let absolute = fs::canonicalize(file).map_err(|error| Failure::file("read", file, &error))?;
        let absolute = absolute.to_string_lossy();
        self.expect(
            0,
            &["--machine", "sim:host", "seal", "--context", "yours", "-o", "yours.sealed", &absolute],
        )?;
        self.expect(
            0,
            &["--machine", "sim:host", "unseal", "--context", "yours", "-o", "yours", "yours.sealed"],
        )?;
        self.same_content(file, "yours")
    }

    fn outlive_the_machine(&self) -> Result<(), Failure> {
        self.title("A machine can lose its keys, so keep another way; a plan says what a change would do");
        self.expect_into("offline.pub", &["recipient", "new", "-o", "offline.key"])?;
        self.write("ledger", b"what must not be lost\n")?;
        let seal =
            ["seal", "--context", "ledger", "--recovery", "offline.pub", "-o", "ledger.sealed", "ledger"];
        self.expect(0, &[&["--machine", "sim:host"], &seal[..]].concat())?;
        let plan = ["--machine", "sim:host", "plan", "--after"];
        self.expect(0, &[&plan[..], &["microcode-up", "ledger.sealed"]].concat())?;
        self.expect(10, &[&plan[..], &["firmware-update", "ledger.sealed"]].concat())?;
        self.expect(0, &["sim", "platform-reset", "host"])?;
        self.expect(10, &["--machine", "sim:host", "unseal", "--context", "ledger", "ledger.sealed"])?;
        self.expect(0, &["unseal", "--context", "ledger", "--key", "offline.key", "ledger.sealed"])
    }

    fn key_for_a_database(&self) -> Result<(), Failure> {
        self.title("A database gets its key from a ring, by a file in memory and nowhere else");
        let ring = |words: &[&str]| self.expect(0, &[&["--machine", "sim:host"], words].concat());
        ring(&["key", "new", "--recovery", "offline.pub", "orders.ring"])?;
        ring(&["key", "rotate", "orders.ring"])?;
        ring(&["key", "show", "orders.ring"])?;
        ring(&["exec", "--key", "orders.ring", "--", "wc", "-c", "{key}"])
    }

    fn key_for_a_guest(&self) -> Result<(), Failure> {
        self.title("A TDX guest has no sealing key: the provider on its machine gives it one");
        self.write("other-guest.toml", format!("mrtd = \"{}\"\n", "5a".repeat(48)).as_bytes())?;
        self.write("debug-guest.toml", b"debug = true\n")?;
        self.write("provider.toml", b"machine = \"sim:host\"\n[listen]\nhttp = \"127.0.0.1:0\"\n")?;
        let provider = self.serve()?;
        let request = ["request", "--path", "app/db", "--purpose", "disk", "-o", "key"];
        let unseal = ["unseal", "--context", "diary", "diary.sealed"];
        self.ask(&provider, 0, "sim-td:host", &request)?;
        self.write("diary", b"a guest wrote this\n")?;
        self.ask(
            &provider,
            0,
            "sim-td:host",
            &["seal", "--context", "diary", "-o", "diary.sealed", "diary"],
        )?;

        self.title("The guest restarts and opens its file; so it does after the provider restarts");
        self.ask(&provider, 0, "sim-td:host", &unseal)?;
        drop(provider);
        let provider = self.serve()?;
        self.ask(&provider, 0, "sim-td:host", &unseal)?;

        self.title(
            "Another guest, a debug guest, a guest of another machine and a tampered file are refused",
        );
        self.ask(&provider, 10, "sim-td:host,other-guest.toml", &unseal)?;
        self.ask(&provider, 10, "sim-td:host,debug-guest.toml", &request)?;
        self.ask(&provider, 10, "sim-td:other-host", &request)?;
        self.tamper("diary.sealed")?;
        self.ask(&provider, 11, "sim-td:host", &unseal)
    }

    /// Runs the command as a guest that asks the provider.
    fn ask(
        &self,
        provider: &Serving,
        expected: i32,
        machine: &str,
        arguments: &[&str],
    ) -> Result<(), Failure> {
        let asking = ["--provider", &provider.url, "--provider-id", &provider.id];
        self.expect(expected, &[&["--machine", machine], arguments, &asking].concat())
    }

    fn title(&self, title: &str) {
        say::result(format_args!("\n== {title}"));
    }

    /// Runs the command in the demo's folder, shows what it says, and checks its exit code.
    fn expect(&self, expected: i32, arguments: &[&str]) -> Result<(), Failure> {
        say::result(format_args!("$ bulla {}", arguments.join(" ")));
        let output = self.output(arguments)?;
        Self::show(&output.stdout);
        self.ended(expected, &output)
    }

    /// The same for a command that succeeds, of which the result goes to a file.
    fn expect_into(&self, name: &str, arguments: &[&str]) -> Result<(), Failure> {
        say::result(format_args!("$ bulla {} > {name}", arguments.join(" ")));
        let output = self.output(arguments)?;
        self.write(name, &output.stdout)?;
        self.ended(0, &output)
    }

    fn output(&self, arguments: &[&str]) -> Result<Output, Failure> {
        self.command(arguments).output().map_err(|error| Failure::file("run", &self.program, &error))
    }

    fn show(text: &[u8]) {
        text.lines().map_while(Result::ok).for_each(|line| say::result(format_args!("  {line}")));
    }

    fn ended(&self, expected: i32, output: &Output) -> Result<(), Failure> {
        Self::show(&output.stderr);
        match output.status.code() {
            Some(code) if code == expected => {
                if code != 0 {
                    say::result(format_args!("  (exit code {code})"));
                }
                Ok(())
            }
            code => Err(Failure::other(format!(
                "the demo went wrong: exit code {code:?} where {expected} was due"
            ))),
        }
    }

    /// Starts the provider and waits until it says where it listens and who it is.
    fn serve(&self) -> Result<Serving, Failure> {
        say::result("$ bulla provider serve --config provider.toml &");
        let mut child = self
            .command(&["provider", "serve", "--config", "provider.toml"])
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::file("run", &self.program, &error))?;
        let log = child.stderr.take().ok_or_else(|| Failure::other("the provider has no standard error"))?;
        let mut serving = Serving { child, url: String::new(), id: String::new() };
        let (sender, lines) = mpsc::channel();
        // Reads on after we have seen enough, so that the provider can go on writing.
        thread::spawn(move || {
            BufReader::new(log).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        for line in &lines {
            say::result(format_args!("  {line}"));
            if let Some((_, id)) = line.split_once("provider id: ") {
                id.clone_into(&mut serving.id);
            }
            if let Some((_, url)) = line.split_once("listening on ") {
                url.clone_into(&mut serving.url);
            }
            if !serving.url.is_empty() && !serving.id.is_empty() {
                return Ok(serving);
            }
        }
        Err(Failure::other("the provider did not start"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env_remove("BULLA_MACHINE").stdin(Stdio::null());
        command
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(|error| Failure::file("write", &path, &error))
    }

    /// Flips one bit of the last byte.
    fn tamper(&self, name: &str) -> Result<(), Failure> {
        say::result(format_args!("(one bit of {name} is flipped)"));
        let path = self.folder.join(name);
        let mut bytes = fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        self.write(name, &bytes)
    }

    fn same_content(&self, original: &Path, copy: &str) -> Result<(), Failure> {
        let read = |path: &Path| fs::read(path).map_err(|error| Failure::file("read", path, &error));
        if read(original)? != read(&self.folder.join(copy))? {
            return Err(Failure::other("your file came back different"));
        }
        say::result("(it came back byte for byte)");
        Ok(())
    }
}

/// A running provider; it ends when this is dropped.
struct Serving {
    child: Child,
    url: String,
    id: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It is ours and it is over: that it may have ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
