//! A simulated machine with its provider and guests, all of them processes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Bulla, PATIENCE, Ran, Serving};

/// The settings of a new site.
pub const SETTINGS: &str =
    "machine = \"sim:host\"\n[listen]\nlegacy = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";

/// A folder with the machine `host`, settings in `provider.toml`, and the provider's state beside them.
pub struct Site {
    pub bulla: Bulla,
}

impl Site {
    pub fn new() -> Self {
        let bulla = Bulla::with_host();
        bulla.write("provider.toml", SETTINGS);
        Self { bulla }
    }

    #[track_caller]
    pub fn serve(&self) -> Serving {
        self.bulla.serve("provider.toml")
    }

    /// The provider does not start, and says why.
    #[track_caller]
    pub fn refused_start(&self, code: i32, words: &[&str]) {
        match self.bulla.try_serve("provider.toml") {
            Ok(provider) => panic!("it started: {:?}", provider.seen),
            Err(ran) => drop(ran.fails(code, words)),
        }
    }

    /// The key that the client of the earlier providers gets, as the guest `td` of this site's machine.
    #[track_caller]
    pub fn client(&self, td: &str, provider: &Serving) -> String {
        self.run_client(td, provider).text().trim().to_owned()
    }

    /// It gets none.
    #[track_caller]
    pub fn client_is_refused(&self, td: &str, provider: &Serving) -> Ran {
        let ran = self.run_client(td, provider).fails(1, &["closed the connection"]);
        assert!(ran.stdout.is_empty());
        ran
    }

    fn run_client(&self, td: &str, provider: &Serving) -> Ran {
        let address = provider.legacy();
        let mut command = self.script("legacy_client.py");
        command.arg(self.bulla.program()).args(["host", td]);
        Ran::of(command.args([address.ip().to_string(), address.port().to_string()]), b"")
    }

    /// Runs `bulla request` as a guest of this site's machine; `selectors` are path, purpose and length.
    pub fn request(&self, td: &str, selectors: &str, provider: &Serving) -> Ran {
        let [path, purpose, length] = selectors.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{selectors}")
        };
        let (url, id) = (provider.http(), provider.id());
        self.bulla.run(&format!(
            "--machine sim-td:host,{td} request --provider http://{url} --provider-id {id} \
             --path {path} --purpose {purpose} --length {length}"
        ))
    }

    /// What `formula.py` computes from the machine's own secrets and the provider's record.
    #[track_caller]
    pub fn formula(&self, what: &str, rest: &str) -> String {
        Ran::of(&mut self.python(what, rest), b"").text().trim().to_owned()
    }

    /// `formula.py`, to be run.
    pub fn python(&self, what: &str, rest: &str) -> Command {
        let mut command = self.script("formula.py");
        command.arg(what).arg(self.bulla.program()).args(["host", "provider-state/root.request"]);
        command.args(rest.split_whitespace());
        command
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name));
        command.current_dir(self.bulla.path("."));
        command
    }

    /// The quote of the guest `td` over report data in hexadecimal.
    pub fn quote(&self, td: &str, report_data: &str) -> Vec<u8> {
        self.bulla.run(&format!("sim quote host --td {td} --report-data {report_data} -o quote")).ok();
        self.bulla.read("quote")
    }

    /// A legacy request with a good quote.
    pub fn good_quote(&self) -> Vec<u8> {
        // The base point of Curve25519 is a public key whose private key is 1.
        self.quote("default", &format!("09{}", "00".repeat(63)))
    }

    /// The decisions in the audit log.
    pub fn audit(&self) -> Vec<Value> {
        let text = self.bulla.text("provider-state/audit.log");
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.filter(|line: &Value| line["entry"] == "released" || line["entry"] == "refused").collect()
    }

    /// How many keys were released.
    pub fn released(&self) -> usize {
        self.audit().iter().filter(|line| line["entry"] == "released").count()
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether the peer ends the connection without a further byte.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// A legacy frame.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// A legacy frame with a quote.
pub fn quote_frame(quote: &[u8]) -> Vec<u8> {
    frame(serde_json::json!({ "quote": quote }).to_string().as_bytes())
}

/// Sends a frame; the sealed box and the provider's quote, or `None` where the provider closed the connection.
pub fn exchange(address: SocketAddr, frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut stream = connect(address);
    // Who refuses early does not read to the end.
    let _ = stream.write_all(frame);
    let mut length = [0; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "no answer and no end");
        return None;
    }
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    let response: Value = serde_json::from_slice(&body).unwrap();
    let bytes = |name: &str| {
        let numbers = response[name].as_array().unwrap().iter();
        numbers.map(|number| u8::try_from(number.as_u64().unwrap()).unwrap()).collect()
    };
    Some((bytes("encrypted_key"), bytes("provider_quote")))
}

/// The peak of a process's resident memory, in KiB.
pub fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
