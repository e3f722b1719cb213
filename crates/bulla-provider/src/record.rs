//! Step `record`: a release is in the audit log, on the disk, before the key leaves (R100).
//!
//! One JSON object a line, appended only. It names evidence by its hash and holds no evidence, platform id, ciphertext or
//! secret (R97). Refusals are counted per cause and written at each power of two, so that being refused a million times
//! fills twenty lines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use bulla_crypto::sha256;
use bulla_protocol::Code;
use bulla_protocol::v1::{Request, Selector};

use crate::Error;
use crate::clock::host_time;
use crate::custody::Root;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// The audit log's name in the state directory.
pub(crate) const FILE: &str = "audit.log";

/// By which protocol something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Legacy,
    V1,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::V1 => "v1",
        }
    }
}

/// The audit log.
pub(crate) struct Record {
    file: File,
    written: Mutex<Written>,
    /// How many lines are known to be on the disk.
    synced: Mutex<u64>,
    refusals: Mutex<HashMap<(Mode, &'static str), u64>>,
    policy: String,
    policy_digest: String,
    root_id: String,
    simulated: bool,
}

struct Written {
    lines: u64,
    /// A write failed and may have left half a line.
    torn: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    /// The host's clock, in Unix seconds: a hint.
    time: u64,
    mode: Mode,
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    /// How often so far, since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<Key<'a>>>,
    policy: &'a str,
    policy_digest: &'a str,
    root_id: &'a str,
    simulated: bool,
}

/// One released key.
#[derive(Serialize)]
struct Key<'a> {
    path: &'a str,
    purpose: &'a str,
}

impl Record {
    /// Opens the log, and makes it where there is none.
    pub(crate) fn open(path: &Path, policy: &Policy, root: &Root) -> Result<Self, Error> {
        let opening = Error::io(format!("opening {}", path.display()));
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(opening)?;
        Ok(Self {
            // An empty line costs nothing, and ends whatever half line a crash has left.
            written: Mutex::new(Written { lines: 0, torn: file.metadata().is_ok_and(|file| file.len() > 0) }),
            file,
            synced: Mutex::new(0),
            refusals: Mutex::default(),
            policy: format!("{}/{}", policy.name, policy.version),
            policy_digest: hex::encode(policy.digest),
            root_id: hex::encode(root.id()),
            simulated: policy.simulated,
        })
    }

    /// Records a release, and returns what the answer says of it. Without the line on the disk there is no release.
    pub(crate) fn release(
        &self,
        mode: Mode,
        evidence: &[u8],
        request: Option<&Request>,
    ) -> Result<[u8; 32], Refusal> {
        let line = Line {
            result: "released",
            evidence: Some(hex::encode(sha256(&[evidence]))),
            keys: request.map(|request| {
                let keys = request.keys.iter();
                keys.map(|Selector { path, purpose, .. }| Key { path, purpose }).collect()
            }),
            ..self.line(mode)
        };
        if self.append(&line).and_then(|number| self.sync(number)).is_err() {
            return Err(Refusal::new(Code::Internal, "audit.unwritable"));
        }
        tracing::info!(mode = mode.as_str(), simulated = self.simulated, "released a key");
        Ok([0; 32])
    }

    /// Counts a refusal, and records it when its count is a power of two. The operator's log gets the same.
    pub(crate) fn refusal(&self, mode: Mode, refusal: &Refusal) {
        let count = {
            let mut refusals = lock(&self.refusals);
            let count = refusals.entry((mode, refusal.cause)).or_insert(0);
            *count += 1;
            *count
        };
        if !count.is_power_of_two() {
            return;
        }
        let (code, cause) = (refusal.code, refusal.cause);
        tracing::warn!(mode = mode.as_str(), code = code.as_str(), cause, count, "refused");
        let line = Line {
            result: "refused",
            code: Some(code),
            cause: Some(cause),
            count: Some(count),
            ..self.line(mode)
        };
        if self.append(&line).is_err() {
            tracing::error!("the audit log cannot be written");
        }
    }

    fn line(&self, mode: Mode) -> Line<'_> {
        Line {
            time: host_time(),
            mode,
            result: "",
            code: None,
            cause: None,
            count: None,
            evidence: None,
            keys: None,
            policy: &self.policy,
            policy_digest: &self.policy_digest,
            root_id: &self.root_id,
            simulated: self.simulated,
        }
    }

    /// Appends one line and returns its number in this process.
    fn append(&self, line: &Line<'_>) -> io::Result<u64> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut written = lock(&self.written);
        if written.torn {
            text.insert(0, b'\n');
        }
        written.torn = true;
        (&self.file).write_all(&text)?;
        written.torn = false;
        written.lines += 1;
        Ok(written.lines)
    }

    /// Returns when line `number` is on the disk. Who waits here while another syncs is usually covered by the next sync.
    fn sync(&self, number: u64) -> io::Result<()> {
        let mut synced = lock(&self.synced);
        if *synced >= number {
            return Ok(());
        }
        let lines = lock(&self.written).lines;
        self.file.sync_data()?;
        *synced = lines;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
