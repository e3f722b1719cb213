//! `bulla sim mount`: what other programs find in the folder, and that it is gone afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Bulla;

/// A served folder. It ends when this is dropped.
struct Mounting {
    folder: PathBuf,
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Mounting {
    fn new(bulla: &Bulla, options: &str) -> Self {
        let folder = bulla.path("mounted");
        fs::create_dir_all(&folder).unwrap();
        let mut command = bulla.command(&format!("sim mount host mounted {options}"));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("serving") {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        }
        // R110: it is said before anybody can read.
        assert!(said.contains("SIMULATED"), "{said}");
        Self { folder, child, stderr }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// What its end leaves: the exit code, and what is in the folder then.
    fn end(mut self, signal: Signal) -> (Option<i32>, usize) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, fs::read_dir(&self.folder).unwrap().count())
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        // It may have ended already. Not a kill, which would leave a dead tree.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

const ATTESTATION: &str = "dev/attestation";

fn key(mounting: &Mounting, name: &str) -> Vec<u8> {
    let key = mounting.read(&format!("{ATTESTATION}/keys/{name}"));
    assert_eq!(key.len(), 16);
    key
}

/// Another process asks for a quote with the tools of the shell, and a verifier believes it as that of a simulated machine
/// and no other (R110).
#[test]
fn a_shell_gets_a_quote_that_verifies_as_simulated() {
    let bulla = Bulla::with_host();
    let mounting = Mounting::new(&bulla, "");
    let script = "printf 'data of the shell' > user_report_data && cat quote";
    let mut shell = Command::new("sh");
    let quote = shell.args(["-c", script]).current_dir(mounting.path(ATTESTATION)).output().unwrap().stdout;
    bulla.write("quote", &quote);
    bulla.run("sim root host -o root").ok();
    bulla.run("sim collateral host quote -o collateral").ok();
    let verify = "attest verify quote --collateral collateral";
    let claims = bulla.run(&format!("{verify} --root root --json")).json();
    assert_eq!(claims["tcb_status"], "UpToDate");
    let data = hex::encode(b"data of the shell");
    assert!(claims.to_string().contains(&data), "{claims}");
    bulla.run(verify).fails(10, &["root"]);
    // Each write replaces the whole value, and the quote is of when it was opened.
    let mut opened = File::open(mounting.path("dev/attestation/quote")).unwrap();
    fs::write(mounting.path("dev/attestation/user_report_data"), "x").unwrap();
    let mut snapshot = Vec::new();
    opened.read_to_end(&mut snapshot).unwrap();
    assert_eq!(snapshot[48 + 320..][..17], *b"data of the shell");
    assert_eq!(
        mounting.read("dev/attestation/quote")[48 + 320..][..17],
        *b"x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
}

/// Gramine's sealing keys follow the present microcode; one follows the program, the other its signer.
#[test]
fn key_files_are_as_gramine_derives_them() {
    let bulla = Bulla::with_host();
    let keys = |options: &str| {
        let mounting = Mounting::new(&bulla, options);
        ["_sgx_mrenclave", "_sgx_mrsigner"].map(|name| key(&mounting, name))
    };
    bulla.write("program", "one");
    bulla.write("other", "another");
    let [own, signer] = keys("--program program");
    assert_eq!(keys("--program program"), [own.clone(), signer.clone()]);
    let [others, same] = keys("--program other");
    assert!(own != others && signer == same && own != signer);
    bulla.run("sim microcode host up").ok();
    let [newer, newer_signer] = keys("--program program");
    assert!(newer != own && newer_signer != signer);
    bulla.run("sim microcode host down").ok();
    assert_eq!(keys("--program program"), [own, signer]);
}

/// The key that a program sets itself: empty before, 16 bytes or EACCES. Sealing keys and quotes are only read.
#[test]
fn files_take_what_gramine_takes() {
    let bulla = Bulla::with_host();
    let mounting = Mounting::new(&bulla, "");
    let default = mounting.path("dev/attestation/keys/default");
    let write = |bytes: &[u8]| OpenOptions::new().write(true).open(&default)?.write_all(bytes);
    assert!(fs::read(&default).unwrap().is_empty());
    for wrong in [&[7; 15][..], &[7; 17]] {
        assert_eq!(write(wrong).unwrap_err().raw_os_error(), Some(libc::EACCES));
        assert!(fs::read(&default).unwrap().is_empty());
    }
    write(&[7; 16]).unwrap();
    assert_eq!(fs::read(&default).unwrap(), [7; 16]);
    for name in ["quote", "report", "my_target_info", "attestation_type", "keys/_sgx_mrenclave"] {
        let path = mounting.path(ATTESTATION).join(name);
        let error = OpenOptions::new().write(true).open(path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{name}");
    }
    // For a program that opens it to read and write: what it reads is what was there.
    let data = mounting.path("dev/attestation/user_report_data");
    fs::write(&data, [9; 64]).unwrap();
    let mut both = OpenOptions::new().read(true).write(true).open(&data).unwrap();
    let mut read = [0; 64];
    both.read_exact(&mut read).unwrap();
    assert_eq!(read, [9; 64]);
    assert_eq!(mounting.read("dev/attestation/attestation_type"), b"dcap");
}

#[test]
fn a_guest_asks_its_kernel() {
    let bulla = Bulla::with_host();
    let mounting = Mounting::new(&bulla, "--as tdx --fault quote-busy");
    let request = mounting.path("sys/kernel/config/tsm/report/mine");
    fs::create_dir(&request).unwrap();
    fs::write(request.join("inblob"), [3; 64]).unwrap();
    let busy = fs::read(request.join("outblob")).unwrap_err();
    assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
    let quote = fs::read(request.join("outblob")).unwrap();
    assert_eq!(quote[48 + 520..48 + 584], [3; 64]);
    assert_eq!(fs::read(request.join("generation")).unwrap(), b"1\n");
    fs::remove_dir(&request).unwrap();
    let registers = mounting.path("sys/devices/virtual/misc/tdx_guest/measurements");
    assert_eq!(fs::read(registers.join("mrtd:sha384")).unwrap().len(), 48);
}

/// By a signal, whoever still reads; by `umount`; and never because a reader died.
#[test]
fn it_ends_and_leaves_nothing() {
    let bulla = Bulla::with_host();
    for signal in [Signal::TERM, Signal::INT] {
        assert_eq!(Mounting::new(&bulla, "").end(signal), (Some(0), 0));
    }
    let mounting = Mounting::new(&bulla, "");
    let mut reader = Command::new("sh")
        .args(["-c", "exec 3< quote && echo open && exec cat"])
        .current_dir(mounting.path(ATTESTATION))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(reader.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    reader.kill().unwrap();
    reader.wait().unwrap();
    assert!(!mounting.read("dev/attestation/quote").is_empty());
    let held = File::open(mounting.path("dev/attestation/quote")).unwrap();
    assert_eq!(mounting.end(Signal::TERM), (Some(0), 0));
    drop(held);

    let mut mounting = Mounting::new(&bulla, "--as occlum");
    assert_eq!(fs::metadata(mounting.path("dev/sgx")).unwrap().mode() & 0o777, 0o666);
    let umount = if rustix::process::geteuid().is_root() { "umount" } else { "fusermount3 -u" };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{umount} mounted")]).current_dir(bulla.path("."));
    assert!(shell.status().unwrap().success());
    assert_eq!(mounting.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    mounting.stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

/// The help and the documentation name the same faults.
#[test]
fn all_faults_are_documented() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/machines.md");
    let guide = fs::read_to_string(guide).unwrap();
    let documented: Vec<_> =
        guide.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    for command in ["mount", "run"] {
        let help = Bulla::new().run(&format!("sim {command} --help")).text();
        let (_, list) = help.split_once("What --fault makes go wrong:\n").unwrap();
        let names: Vec<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
        assert!(names.len() > 20, "{names:?}");
        assert!(names.iter().all(|name| documented.contains(name)), "{names:?}");
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let bulla = Bulla::with_host();
    fs::create_dir(bulla.path("mounted")).unwrap();
    bulla.run("sim mount host mounted --as sgx").fails(2, &["[sim.no_files]"]);
    for (options, words) in [
        ("--fault nonsense", "nonsense"),
        ("--fault quote-busy=1", "quote-busy"),
        ("--fault quote-torn", "quote-torn=BYTES"),
        ("--fault quote-fails=0", "quote-fails=ERRNO"),
        ("--fault quote-empty", "quote-empty cannot happen there"),
        ("--as tdx --fault aesm-restarted", "aesm-restarted cannot happen there"),
        ("--fault epc-lost", "epc-lost happens to programs"),
        ("--guest guest.toml", "--as tdx"),
    ] {
        bulla.run(&format!("sim mount host mounted {options}")).fails(2, &[words]);
    }
    bulla.run("sim mount host missing").fails(13, &["missing"]);
    bulla.run("sim mount missing mounted").fails(13, &["machine.toml"]);
}
