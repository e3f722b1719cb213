//! A provisioning service that runs. It ends when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{iter, thread};

use bulla_attest::CollateralSource;
use bulla_attest::pcs::{PcsClient, PcsSettings};

use crate::misbehave;
use crate::support::{Bulla, PATIENCE};

/// When these tests begin: 15 January 2027, 08:00.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;

/// Which test becomes the service that misbehaves, when it is told to.
const HOSTILE_TEST: &str = "hostile::every_spelling_of_an_answer_is_understood";

pub(crate) struct Service {
    child: Child,
    said: Receiver<String>,
    /// Its address, for example `127.0.0.1:40000`.
    pub(crate) address: String,
}

impl Service {
    /// `bulla sim pcs host`, at the time in the file `clock`.
    pub(crate) fn honest(bulla: &Bulla, listen: &str) -> Self {
        let mut command = bulla.command(&format!("sim pcs host --listen {listen} --clock clock"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = child.stderr.take().unwrap();
        Self::of(child, output, "bulla: listening on http://")
    }

    /// The one that misbehaves, in the same folder.
    pub(crate) fn hostile(bulla: &Bulla) -> Self {
        Self::hostile_as(bulla, "plain")
    }

    /// The same over TLS, under a certificate for this name.
    pub(crate) fn hostile_tls(bulla: &Bulla, name: &str) -> Self {
        Self::hostile_as(bulla, &format!("tls {name}"))
    }

    fn hostile_as(bulla: &Bulla, role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", HOSTILE_TEST, "--nocapture"]).env(misbehave::ROLE, role);
        command.current_dir(bulla.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        Self::of(child, output, "listening on ")
    }

    fn of(child: Child, output: impl Read + Send + 'static, listening: &str) -> Self {
        let (sender, said) = channel();
        // Reads on when nobody listens, so that the service can go on writing.
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        let mut service = Self { child, said, address: String::new() };
        while service.address.is_empty() {
            let line = service.said.recv_timeout(PATIENCE).expect("the service did not start");
            // The test harness says something before.
            service.address =
                line.split_once(listening).map_or_else(String::new, |(_, address)| address.into());
        }
        service
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        // What comes last shows that all before it was said.
        let last = "GET /last HTTP/1.1\r\n\r\n";
        TcpStream::connect(&self.address).unwrap().write_all(last.as_bytes()).unwrap();
        iter::from_fn(|| Some(self.said.recv_timeout(PATIENCE).unwrap()))
            .take_while(|line| !line.contains("/last"))
            .collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let ended = self.child.try_wait().unwrap();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        assert!(ended.is_none() || thread::panicking(), "the service ended by itself: {ended:?}");
    }
}

/// A client of the service at an address, which gives up after a while.
pub(crate) fn client(url: &str, deadline: Duration) -> Arc<dyn CollateralSource> {
    Arc::new(PcsClient::new(PcsSettings::pccs(url).unwrap().with_deadlines(deadline, deadline)))
}

/// Sets the services' clock.
pub(crate) fn set_clock(bulla: &Bulla, now: u64) {
    replace(&bulla.path("clock"), &now.to_string());
}

/// Replaces a file whole, so that a service never reads half of it.
pub(crate) fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}
