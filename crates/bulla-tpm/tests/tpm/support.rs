//! A software TPM: a process that listens on loopback, without a resource manager.

use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use bulla_tpm::Tpm;
use tempfile::TempDir;
use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::PcrHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CapabilityData, Digest, DigestValues};

pub(crate) struct SoftwareTpm {
    _turn: Turn,
    process: Child,
    state: TempDir,
    pub(crate) port: u16,
}

impl SoftwareTpm {
    /// A new one, with something measured into every register that bulla selects by default.
    pub(crate) fn new() -> Self {
        let turn = Turn::take();
        let state = tempfile::tempdir().unwrap();
        let (process, port) = start(state.path());
        let tpm = Self { _turn: turn, process, state, port };
        tpm.boot(&[]);
        tpm
    }

    /// A new one as a manufacturer makes it: with certificates of its endorsement keys by a certificate authority of its own, whose root
    /// and issuer come with it (PEM).
    pub(crate) fn manufactured() -> (Self, Vec<u8>) {
        let turn = Turn::take();
        let (state, authority) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| authority.path().join(name);
        let folder = authority.path().display();
        let keys = "signingkey = {}/signkey.pem\nissuercert = {}/issuercert.pem\ncertserial = {}/certserial\nstatedir = {}\n";
        fs::write(at("localca.conf"), keys.replace("{}", &folder.to_string())).unwrap();
        fs::write(
            at("options"),
            "--platform-manufacturer bulla\n--platform-version 1\n--platform-model test\n",
        )
        .unwrap();
        let tool = format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {folder}/localca.conf\n\
             create_certs_tool_options = {folder}/options\nactive_pcr_banks = sha256\n"
        );
        fs::write(at("setup.conf"), tool).unwrap();
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--createek", "--create-ek-cert", "--overwrite", "--tpmstate"])
            .arg(state.path())
            .arg("--config")
            .arg(at("setup.conf"))
            .output()
            .expect("the package swtpm-tools is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let (process, port) = start(state.path());
        let tpm = Self { _turn: turn, process, state, port };
        tpm.boot(&[]);
        tpm.certify_p256(authority.path());
        let roots =
            ["issuercert.pem", "swtpm-localca-rootca-cert.pem"].map(|name| fs::read(at(name)).unwrap());
        (tpm, roots.concat())
    }

    /// The same authority vouches for the endorsement key on P-256, which swtpm_setup does not: it knows P-384 only.
    fn certify_p256(&self, authority: &Path) {
        let (endorsement, _) = self.machine().points().unwrap();
        let hex = |half: &[u8]| half.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (x, y) = endorsement.split_at(32);
        let certificate = authority.join("p256.der");
        let tcti = format!("--tcti={}", self.address());
        let file = |name: &str| authority.join(name).display().to_string();
        run(Command::new("swtpm_cert")
            .args(["--type", "ek", "--tpm2", "--decryption", "--days", "3650", "--serial", "7"])
            .args(["--ecc-x", &hex(x), "--ecc-y", &hex(y), "--ecc-curveid", "secp256r1"])
            .args(["--signkey", &file("signkey.pem"), "--issuercert", &file("issuercert.pem")])
            .args([
                "--tpm-manufacturer",
                "id:00001014",
                "--tpm-model",
                "swtpm",
                "--tpm-version",
                "id:20191023",
            ])
            .args(["--tpm-spec-family", "2.0", "--tpm-spec-level", "0", "--tpm-spec-revision", "164"])
            .args(["--platform-manufacturer", "bulla", "--platform-version", "1", "--platform-model", "test"])
            .arg("--out-cert")
            .arg(&certificate));
        // Longer than the certificate, as some vendors' is.
        let size = fs::metadata(&certificate).unwrap().len() + 100;
        run(Command::new("tpm2_nvdefine")
            .args([&tcti, "0x01c0000a", "-C", "o", "-s", &size.to_string()])
            .args(["-a", "ownerwrite|ownerread|authread|no_da"]));
        run(Command::new("tpm2_nvwrite").args([&tcti, "0x01c0000a", "-C", "o", "-i"]).arg(&certificate));
    }

    /// What a system start measures: the same as ever, but for some registers.
    fn boot(&self, others: &[(u32, &str)]) {
        for register in [0, 2, 4, 7] {
            let other = others.iter().find(|(other, _)| *other == register);
            self.extend(register, other.map_or("measured at start", |(_, event)| event));
        }
    }

    /// The machine restarts: the registers go back, and the same software is measured again.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// The machine restarts, and something else is measured into some registers.
    pub(crate) fn restart_with(&mut self, others: &[(u32, &str)]) {
        self.stop();
        (self.process, self.port) = start(self.state.path());
        self.boot(others);
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn address(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    pub(crate) fn machine(&self) -> Tpm {
        Tpm::open(&self.address()).unwrap()
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.address().parse().unwrap()).unwrap()
    }

    pub(crate) fn extend(&self, register: u32, event: &str) {
        let mut values = DigestValues::new();
        let digest = bulla_crypto::sha256(&[event.as_bytes()]).to_vec();
        values.set(HashingAlgorithm::Sha256, Digest::try_from(digest).unwrap());
        let register = PcrHandle::try_from(register).unwrap();
        self.context()
            .execute_with_session(Some(AuthSession::Password), |tpm| tpm.pcr_extend(register, values))
            .unwrap();
    }

    /// How many sessions and objects are in the TPM.
    pub(crate) fn occupied(&self) -> usize {
        let mut context = self.context();
        // Loaded sessions, saved sessions, transient objects (TPM 2.0 Library, part 2, TPM_HT).
        [0x0200_0000, 0x0300_0000, 0x8000_0000]
            .into_iter()
            .map(|first| match context.get_capability(CapabilityType::Handles, first, 16).unwrap() {
                (CapabilityData::Handles(handles), _) => handles.len(),
                other => panic!("{other:?}"),
            })
            .sum()
    }
}

/// The turn of one test: those with software TPMs run one after the other. libtss2 leaves its sockets to every process that is started
/// meanwhile, and a software TPM serves no other connection until the last holder of one has closed it.
struct Turn;

thread_local! {
    static DEPTH: RefCell<(usize, Option<MutexGuard<'static, ()>>)> = const { RefCell::new((0, None)) };
}

impl Turn {
    /// Of this test, which may have several TPMs.
    fn take() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        DEPTH.with_borrow_mut(|(depth, guard)| {
            if *depth == 0 {
                *guard = Some(ONE.lock().unwrap_or_else(PoisonError::into_inner));
            }
            *depth += 1;
        });
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        DEPTH.with_borrow_mut(|(depth, guard)| {
            *depth -= 1;
            if *depth == 0 {
                guard.take();
            }
        });
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(command: &mut Command) {
    let ran = command.output().expect("the packages swtpm-tools and tpm2-tools are installed");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The address has two ports, one after the other, so a free pair is tried until one is still free when it is taken.
fn start(state: &Path) -> (Child, u16) {
    loop {
        let port = free_pair();
        let at = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let mut process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args(["--server", &at(port), "--ctrl", &at(port + 1)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the package swtpm is installed");
        while process.try_wait().unwrap().is_none() {
            if is_listening(port) && is_listening(port + 1) {
                return (process, port);
            }
            thread::yield_now();
        }
    }
}

/// Whether somebody listens there (state 0A), without a connection, which the software TPM would have to end first.
fn is_listening(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.contains(&format!("0100007F:{port:04X} 00000000:0000 0A"))
}

/// Two ports, one after the other, that nobody listens at. No two calls in this process get the same, and they are below those that the
/// system gives away by itself.
pub(crate) fn free_pair() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(211).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + 2 * (number % 10_000) as u16;
        if [port, port + 1].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}
