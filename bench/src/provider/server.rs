//! A `bulla provider serve` of its own, and what the kernel says about it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::session::Known;

/// Of `/proc/PID/stat`, on every port of Linux in use.
const TICK: Duration = Duration::from_millis(10);

/// The program beside this one, or `BULLA`.
fn program() -> PathBuf {
    std::env::var_os("BULLA").map_or_else(
        || std::env::current_exe().expect("a program has a path").with_file_name("bulla"),
        PathBuf::from,
    )
}

/// A provider that listens. It ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) legacy: SocketAddr,
    pub(crate) http: SocketAddr,
    https: SocketAddr,
    measurement: [u8; 32],
}

/// What a process has used and holds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) processor: Duration,
    pub(crate) resident: u64,
    pub(crate) peak: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
}

impl Server {
    /// Starts on a machine's folder with a state of its own, under the limits that `prlimit` is given.
    pub(crate) fn start(machine: &Path, state: &Path, limits: &[&str]) -> Self {
        let settings = state.with_extension("toml");
        let text = format!(
            "machine = \"sim:{}\"\nstate_dir = \"{}\"\n[listen]\nlegacy = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\n",
            machine.display(),
            state.display()
        );
        fs::write(&settings, text).unwrap();
        let mut command = match limits {
            [] => Command::new(program()),
            limits => {
                let mut command = Command::new("prlimit");
                command.args(limits).arg(program());
                command
            }
        };
        let mut child = command
            .args(["provider", "serve", "--config"])
            .arg(&settings)
            .stderr(Stdio::piped())
            .spawn()
            .expect("build it first: bench/provider.sh does");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let id = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, id) = line.split_once("provider id: ")?;
            Some(id.to_owned())
        });
        let mut measurement = [0; 32];
        hex::decode_to_slice(id.expect("the provider did not start"), &mut measurement).unwrap();
        let mut address = |before: &str| {
            let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains(before));
            let line = line.expect("the provider did not start");
            line.rsplit([' ', '/']).next().and_then(|address| address.parse().ok()).expect("an address")
        };
        let [legacy, http, https] =
            ["legacy clients are served on", "listening on http://", "listening on https://"]
                .map(&mut address);
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, legacy, http, https, measurement }
    }

    pub(crate) fn usage(&self) -> Usage {
        let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.child.id()));
        let (stat, status) = (proc("stat").unwrap(), proc("status").unwrap());
        // The name in parentheses may hold spaces: user and system time are the 12th and 13th behind it.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u32 = fields.get(11..13).unwrap().iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Usage {
            processor: TICK * ticks,
            resident: field("VmRSS:") * 1024,
            peak: field("VmHWM:") * 1024,
            threads: field("Threads:"),
            descriptors: fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count),
        }
    }

    /// What its clients know of it.
    pub(crate) fn known(&self) -> Known {
        Known { at: self.https, measurement: self.measurement, statement: super::v1::statement(self.http) }
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
