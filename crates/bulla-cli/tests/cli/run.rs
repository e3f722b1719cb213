//! `bulla sim run`: programs as they are on a simulated machine, and what becomes of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bulla_crypto::sha256;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::support::{Bulla, PATIENCE, Ran, rebuilt};

/// A folder with the machine `host`.
struct Lab(Bulla);

impl Lab {
    fn new() -> Self {
        Self(Bulla::with_host())
    }

    /// With the program `enclu`, which is static.
    fn with_enclu() -> Self {
        let lab = Self::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/enclu.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-static", "-O1", "-pthread", "-o"]).arg(lab.0.path("enclu")).arg(source);
        assert!(compiler.status().unwrap().success());
        lab
    }

    fn command(&self, options: &str, program: &[&str]) -> Command {
        let mut command = self.0.command(&format!("sim run host {options} --"));
        command.args(program);
        command
    }

    fn run(&self, options: &str, program: &[&str]) -> Ran {
        Ran::of(&mut self.command(options, program), b"")
    }

    /// Runs `enclu`; the exit code and the lines.
    fn enclu(&self, options: &str, does: &str) -> (i32, Vec<String>) {
        let program: Vec<_> = ["./enclu"].into_iter().chain(does.split(' ')).collect();
        let ran = self.run(options, &program);
        (ran.code, String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect())
    }

    /// `bulla` on the machine on which it was put.
    fn bulla(&self, options: &str, line: &str, input: &[u8]) -> Ran {
        self.program(options, Path::new(env!("CARGO_BIN_EXE_bulla")), line, input)
    }

    fn program(&self, options: &str, program: &Path, line: &str, input: &[u8]) -> Ran {
        let mut command = self.command(options, &[program.to_str().unwrap()]);
        Ran::of(command.args(line.split_whitespace()), input)
    }
}

const SEAL: &str = "--machine sim seal --context wallet";
const UNSEAL: &str = "--machine sim unseal --context wallet";

/// The shipped backends of both library OSes, in another process than what answers them: the envelope is that of the machine
/// and the program, wherever that is, and survives an update of the microcode.
#[test]
fn a_program_seals_and_unseals_as_an_enclave() {
    let lab = Lab::new();
    for guise in ["", "--as gramine", "--as occlum"] {
        let sealed = lab.bulla(guise, SEAL, b"secret").ok();
        assert_eq!(lab.bulla(guise, UNSEAL, &sealed).ok(), b"secret");
        assert_eq!(lab.0.unseal(&sealed).ok(), b"secret");
        lab.0.run("sim microcode host up").ok();
        let ran = lab.bulla(guise, UNSEAL, &sealed);
        // R110: it is said, once.
        assert_eq!(ran.stderr.matches("SIMULATED").count(), 1, "{}", ran.stderr);
        assert_eq!(ran.ok(), b"secret");
        lab.program(guise, &rebuilt(&lab.0), UNSEAL, &sealed).fails(10, &["[machine.other_identity]"]);
    }
}

/// A SEV-SNP guest seals by its chip's keys, whichever program it runs.
#[test]
fn a_program_seals_and_unseals_in_a_guest() {
    let lab = Lab::new();
    let sealed = lab.bulla("--as snp", SEAL, b"secret").ok();
    assert_eq!(lab.program("--as snp", &rebuilt(&lab.0), UNSEAL, &sealed).ok(), b"secret");
    lab.0.run_with("--machine sim-snp:host unseal --context wallet", &sealed).ok();
    lab.0.write("guest.toml", format!("measurement = \"{}\"", "ab".repeat(48)));
    lab.bulla("--as snp --guest guest.toml", UNSEAL, &sealed).fails(10, &[]);
    lab.bulla("--as snp --fault snp-key=zero-key", UNSEAL, &sealed).fails(1, &["[machine.zero]"]);
    lab.bulla("--as snp --fault snp-report=EIO", UNSEAL, &sealed).fails(1, &["[machine.device]"]);
    lab.run("--as snp --fault snp-key=unheard-of", &["true"]).fails(2, &["snp-key=FAULT"]);
    lab.run("--as tdx --fault snp-key=busy", &["true"]).fails(2, &["snp-key cannot happen there"]);
}

/// The kernel has the command for sealing keys of the TDX module where that was asked for.
#[test]
fn a_tdx_module_gives_keys_when_asked_to() {
    let lab = Lab::with_enclu();
    let key_get = |options: &str| lab.enclu(options, "key-get").1.remove(0);
    assert_eq!(key_get("--as tdx"), format!("key-get {} 0000000000000000", libc::ENOTTY));
    assert_eq!(key_get("--as tdx-native"), "key-get 0 0000000000000000");
    let busy = "a800000000020080";
    assert_eq!(key_get("--as tdx-native --fault key-busy"), format!("key-get {} {busy}", libc::EIO));
}

/// R15: who asks for a real machine is refused there.
#[test]
fn r15_nobody_takes_it_for_a_real_machine() {
    let lab = Lab::new();
    let asked = [
        ("", "sgx"),
        ("", "sgx:key-file"),
        ("", "auto"),
        ("--as occlum", "occlum"),
        ("--as tdx", "tdx"),
        ("--as tdx-native", "tdx:native"),
        ("--as tdx", "auto"),
        ("--as snp", "snp"),
        ("--as snp", "auto"),
    ];
    for (guise, machine) in asked {
        let ran = lab.bulla(guise, &format!("--machine {machine} seal --context wallet"), b"secret");
        assert!(
            ran.fails(10, &["[machine.wrong_backend]", "simulated"]).stdout.is_empty(),
            "{guise} {machine}"
        );
    }
    // Nobody is on one by himself.
    lab.0.run(SEAL).fails(13, &["bulla sim run"]);
    lab.bulla("--as sgx", SEAL, b"secret").fails(13, &["bulla sim run"]);
}

#[test]
fn doctor_shows_what_it_is() {
    let lab = Lab::new();
    for (guise, name) in [("", "sgx"), ("--as occlum", "occlum"), ("--as tdx", "tdx"), ("--as snp", "snp")] {
        let report = lab.bulla(guise, "doctor --json", b"").json();
        assert_eq!(report["machines"][0], name, "{report}");
        // R110. Nobody asks a security processor only to look around.
        let found = report["findings"][0]["found"].as_str().unwrap();
        assert_eq!(found.starts_with("a SIMULATED machine: "), name != "snp", "{report}");
    }
}

/// What the shell reads is evidence of the shell's executable, and everybody around it is none the wiser.
#[test]
fn a_shell_reads_a_quote() {
    let lab = Lab::new();
    let before = fs::read_to_string("/proc/mounts").unwrap();
    let script = "printf data > /dev/attestation/user_report_data; cat /dev/attestation/quote";
    lab.0.write("quote", lab.run("--as gramine", &["sh", "-c", script]).ok());
    lab.0.run("sim root host -o root").ok();
    lab.0.run("sim collateral host quote -o collateral").ok();
    let claims = lab.0.run("attest verify quote --collateral collateral --root root --json").json();
    let shell = hex::encode(sha256(&[&fs::read("/bin/sh").unwrap()]));
    assert!(claims.to_string().contains(&shell), "{claims}");
    assert_eq!(fs::read_to_string("/proc/mounts").unwrap(), before);
    assert!(!Path::new("/dev/attestation").exists());

    let script =
        "cd /sys/kernel/config/tsm/report && mkdir a && head -c 64 /dev/zero > a/inblob && cat a/outblob";
    let td = format!("rtmr3 = \"{}\"", "ab".repeat(48));
    lab.0.write("guest.toml", td);
    lab.0.write("quote", lab.run("--as tdx --guest guest.toml", &["sh", "-c", script]).ok());
    lab.0.run("sim collateral host quote -o collateral").ok();
    let claims = lab.0.run("attest verify quote --collateral collateral --root root --json").json();
    assert!(claims.to_string().contains(&"ab".repeat(48)), "{claims}");
    assert_eq!(fs::read_to_string("/proc/mounts").unwrap(), before);
}

/// The rest of `/dev` and `/sys` is what it was.
#[test]
fn the_other_devices_are_there() {
    let lab = Lab::new();
    let script = "test -c /dev/null && echo gone > /dev/null && head -c 3 /dev/zero | wc -c && test -L /dev/fd && ls /dev /sys/kernel";
    let list = |program: &mut Command| {
        let output = program.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|name| !["attestation", "tdx_guest", "config"].contains(name))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut outside = Command::new("sh");
    let names = list(outside.args(["-c", script]));
    assert!(names.len() > 10);
    for guise in ["--as gramine", "--as tdx"] {
        assert_eq!(list(&mut lab.command(guise, &["sh", "-c", script])), names);
    }
}

/// A static program, its threads, its children, and what it becomes: one enclave, by the SHA-256 of its file.
#[test]
fn enclu_is_answered_in_every_thread_and_child() {
    let lab = Lab::with_enclu();
    let measurement = hex::encode(sha256(&[&lab.0.read("enclu")]));
    for guise in ["--as sgx", "--as gramine", "--as occlum"] {
        let (code, lines) = lab.enclu(guise, "report key threads fork exec");
        assert_eq!((code, lines.len()), (0, 12), "{lines:?}");
        assert_eq!(lines[0], format!("mrenclave 0 {measurement}"));
        assert!(lines[1].starts_with("key 0 ") && !lines[1].contains("aaaaaaaa"), "{lines:?}");
        assert!(lines[1..].iter().all(|line| *line == lines[1]), "{lines:?}");
    }
    let by_shell = lab.run("", &["sh", "-c", "./enclu report; true"]).text();
    let shell = hex::encode(sha256(&[&fs::read("/bin/sh").unwrap()]));
    assert_eq!(by_shell, format!("mrenclave 0 {shell}\n"));
    // EVERIFYREPORT2 of nothing.
    assert_eq!(lab.enclu("", "verify").1, ["verify 28 "]);
}

/// The key file holds what the instruction gives for Gramine's request: the present versions, its masks, a KEYID of zeros.
#[test]
fn a_key_file_is_what_gramine_asks_the_processor_for() {
    let lab = Lab::with_enclu();
    let (_, lines) = lab.enclu("", "gramine-key");
    assert!(lines.len() == 2 && lines[0] == lines[1] && lines[0].starts_with("gramine-key 0 "), "{lines:?}");
}

/// The signals of others stay theirs, and what is wrong with an operand is SIGSEGV, as from a real processor.
#[test]
fn other_signals_arrive_as_ever() {
    let lab = Lab::with_enclu();
    let signal = |number| 128 + number;
    for (does, code, lines) in [
        ("undefined", signal(libc::SIGILL), &[][..]),
        ("raise", signal(libc::SIGILL), &[]),
        ("handle undefined", 3, &["handled 4"]),
        ("handle raise", 3, &["handled 4"]),
        ("unaligned", signal(libc::SIGSEGV), &[]),
        ("read-only", signal(libc::SIGSEGV), &[]),
        ("handle unaligned", 3, &["handled 11"]),
        // The kernel ends whoever blocks an exception, and so does this.
        ("deaf unaligned", signal(libc::SIGKILL), &[]),
        ("handle real-time", 0, &["handled 39"]),
        ("stop", 0, &["stopped 5 "]),
    ] {
        let (found, said) = lab.enclu("--as sgx", does);
        assert_eq!(found, code, "{does}");
        assert_eq!(said, lines, "{does}");
    }
    // Nobody answers in a guest, nor without a machine.
    assert_eq!(lab.enclu("--as tdx", "key").0, signal(libc::SIGILL));
    let alone = Command::new(lab.0.path("enclu")).arg("key").status().unwrap();
    assert_eq!(alone.signal(), Some(libc::SIGILL));
}

#[test]
fn the_exit_code_is_that_of_the_program() {
    let lab = Lab::new();
    for (script, code) in
        [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
    {
        assert_eq!(lab.run("", &["sh", "-c", script]).code, code, "{script}");
    }
    assert_eq!(Ran::of(&mut lab.command("", &["cat"]), b"input").ok(), b"input");
    lab.run("", &["./missing"]).fails(1, &["./missing", "[sim.program]"]);
    lab.run("", &["."]).fails(1, &["[sim.program]"]);
    lab.0.run("sim run host --").fails(2, &[]);
    lab.0.run("sim run missing -- true").fails(13, &["machine.toml"]);
    lab.run("--fault quote-empty", &["true"]).fails(2, &["quote-empty"]);
    lab.run("--as sgx --fault quote-busy", &["true"]).fails(2, &["quote-busy"]);
}

/// A program that has said something and waits.
struct Waiting {
    child: Child,
    said: String,
}

impl Waiting {
    fn new(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        Self { child, said }
    }

    /// The process whose number it has said.
    fn process(&self) -> OwnedFd {
        let number = self.said.trim().parse().unwrap();
        pidfd_open(Pid::from_raw(number).unwrap(), PidfdFlags::empty()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

/// Waits until it has ended.
fn ends(process: &OwnedFd) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience)).unwrap(), 1);
}

/// Nothing stays: not the program when who runs it is killed, and not what it has left behind when it ends.
#[test]
fn no_process_outlives_it() {
    let lab = Lab::new();
    for guise in ["--as sgx", "--as gramine", "--as tdx"] {
        let running = Waiting::new(lab.command(guise, &["sh", "-c", "echo $$; read line"]));
        let program = running.process();
        running.signal(Signal::KILL);
        ends(&program);
        assert_eq!(running.end().status.signal(), Some(libc::SIGKILL));

        let script = "(trap '' HUP; exec setsid sh -c 'echo $$; exec sleep 1000') & read line; exit 4";
        let mut running = Waiting::new(lab.command(guise, &["sh", "-c", script]));
        let left_behind = running.process();
        running.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        // It holds our pipe open, so its end is waited for first.
        assert_eq!(running.child.wait().unwrap().code(), Some(4));
        ends(&left_behind);
    }
}

/// Who runs it has no ears of his own.
#[test]
fn signals_go_to_the_program() {
    let lab = Lab::new();
    for (signal, name) in
        [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::INT, "INT"), (Signal::USR1, "USR1")]
    {
        let script =
            format!("trap 'echo got {name}; exit 9' {name}; echo ready; while :; do read line; done");
        let running = Waiting::new(lab.command("", &["sh", "-c", &script]));
        assert_eq!(running.said, "ready\n");
        running.signal(signal);
        let mut running = running;
        let stdin = running.child.stdin.take();
        let mut rest = String::new();
        running.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("got {name}\n"));
        assert_eq!(running.end().status.code(), Some(9));
        drop(stdin);
    }
}

/// What is to go wrong does, once, in the order in which it was said.
#[test]
fn faults_happen_once() {
    let lab = Lab::with_enclu();
    let (code, lines) = lab.enclu("--fault enclu-status=32 --fault enclu-status=64", "key key key");
    let key = "aa".repeat(16);
    assert_eq!((code, &lines[..2]), (0, &[format!("key 32 {key}"), format!("key 64 {key}")][..]));
    assert!(lines[2].starts_with("key 0 ") && !lines[2].contains(&key), "{lines:?}");
    assert_eq!(lab.enclu("--fault enclu-exception", "key").0, 128 + libc::SIGSEGV);
    assert_eq!(lab.enclu("--fault epc-lost", "key").0, 128 + libc::SIGBUS);

    // Between two calls: after an update the key of the report before is what it was; after a downgrade it is refused.
    let (_, before) = lab.enclu("", "key");
    let (_, lines) = lab.enclu("--fault microcode-up", "key cpusvn");
    assert_eq!(lines[0], before[0]);
    assert!(lines[1].starts_with("cpusvn 0 06"), "{lines:?}");
    let (_, lines) = lab.enclu("--fault microcode-down", "key cpusvn");
    assert_eq!(lines[0], format!("key 32 {key}"));
    assert!(lines[1].starts_with("cpusvn 0 05"), "{lines:?}");

    let quote = |fault: &str| {
        let script = "for i in 1 2; do cat /dev/attestation/quote | wc -c; done";
        lab.run(&format!("--fault {fault}"), &["sh", "-c", script]).text()
    };
    let well = quote("enclu-exception").lines().next().unwrap().to_owned();
    for (fault, first) in [("quote-torn=100", "100"), ("epc-exhausted", "0"), ("quote-too-long", "8193")] {
        assert_eq!(quote(fault), format!("{first}\n{well}\n"), "{fault}");
    }
    let errno = |fault: &str| {
        let ran = lab.run(&format!("--fault {fault}"), &["cat", "/dev/attestation/quote"]);
        ran.fails(1, &[]).stderr
    };
    assert!(errno("quote-busy").contains("busy"));
    assert!(errno("quote-timeout").contains("timed out"));
    assert!(errno("quote-fails=EIO").contains("Input/output"));
    assert!(errno("aesm-restarted").contains("denied"));
}

/// Without root a user namespace does, where there may be one; elsewhere it is refused, and why.
#[test]
fn without_root_it_takes_a_user_namespace() {
    let lab = Lab::with_enclu();
    let host = lab.0.path("host");
    // Namespaces are counted per user namespace, so this one forbids only its own.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin \
                  \"$0\" sim run \"$1\" -- true";
    let mut forbidden = Command::new("unshare");
    forbidden.args(["-Ur", "sh", "-c", script, env!("CARGO_BIN_EXE_bulla")]).arg(&host);
    Ran::of(&mut forbidden, b"").fails(13, &["[sim.stage]", "user namespaces"]);
    let script = "exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin \"$0\" sim run \"$1\" -- \"$2\" report key";
    let mut allowed = Command::new("unshare");
    allowed
        .args(["-Ur", "sh", "-c", script, env!("CARGO_BIN_EXE_bulla")])
        .arg(&host)
        .arg(lab.0.path("enclu"));
    let told = Ran::of(&mut allowed, b"").text();
    let measurement = hex::encode(sha256(&[&lab.0.read("enclu")]));
    assert!(told.starts_with(&format!("mrenclave 0 {measurement}\nkey 0 ")), "{told}");
}
