//! Intel's library, behind a pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use crate::inputs::Input;

/// A process that answers one question after the other.
pub(crate) struct Qvl {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What the library says.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// PCK certificate chain and its CRLs, TCB info, QE identity, quote.
    pub(crate) steps: [String; 4],
    /// As `qvl.py` reads them in the PCK certificate.
    pub(crate) platform: Names,
    /// If it was asked for, and there is one.
    pub(crate) level: Option<Level>,
    /// An enclave's report, of version 3 only.
    pub(crate) report: Option<Report>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Level {
    pub(crate) status: String,
    /// In their order, once each.
    pub(crate) advisories: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Names {
    pub(crate) ppid: Option<String>,
    pub(crate) pceid: Option<String>,
    pub(crate) fmspc: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) cpusvn: String,
    pub(crate) attributes: String,
    pub(crate) mrenclave: String,
    pub(crate) mrsigner: String,
    pub(crate) isv_prod_id: u16,
    pub(crate) isv_svn: u16,
    pub(crate) misc_select: u32,
    pub(crate) report_data: String,
}

impl Qvl {
    /// It trusts this root alone.
    pub(crate) fn start(root: &[u8]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = here.join("../target/python");
        assert!(packages.join("sgx_dcap_quote_verify").exists(), "run ./test --packages first");
        let mut process = Command::new("/usr/bin/python3")
            .arg("-B")
            .arg(here.join("python/qvl.py"))
            .arg(hex::encode(root))
            .env("PYTHONPATH", packages)
            .env("TZ", "UTC0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (questions, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, questions, answers: BufReader::new(answers) }
    }

    /// With the level by `levels.py`, of evidence that is in order.
    pub(crate) fn ask(&mut self, input: &Input, level: bool) -> Answer {
        let question = json!({
            "quote": hex::encode(&input.quote),
            "collateral": input.collateral,
            "now": input.now,
            "level": level,
        });
        writeln!(self.questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line:?}", input.what))
    }
}

impl Drop for Qvl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
