//! Step `record`: a release is in the audit log, on the disk, before the key leaves (R100).
//!
//! A walk appends its line to the chain in memory and signs the new head into its answer; one thread writes what has been
//! appended, syncs it and wakes whoever waits for it; a listener sends nothing before that. So the disk is waited for once
//! a batch, and by nobody who computes. When the disk fails, nothing that waits is sent, and every release is refused until
//! the log is open again.

mod folder;
mod log;
mod refusals;
mod ticket;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bulla_crypto::{SigningKey, sha256};
use bulla_protocol::Code;
use bulla_protocol::v1::{Binding, FutureKey, Request, Selector, SessionRequest, Statement, Transcript};
use bulla_tee::ReportData;

use crate::Error;
use crate::audit::{Entry, Event, Mode, Position, PublicKeys, Refused, Released, Stated, compose};
use crate::clock::host_time;
use crate::custody::Root;
use crate::health::State;
use crate::refusal::Refusal;
use crate::regime::Regime;
use folder::Folder;
use log::{Calls, System};
use refusals::{Outcome, Refusals};
pub(crate) use ticket::{Held, Ticket};
use writer::{Batch, Writer};

/// The audit log's name in the state directory.
pub(crate) const FILE: &str = "audit.log";
/// What a release is refused with while the log cannot be written.
pub(crate) const UNWRITABLE: &str = "audit.unwritable";
/// What it is refused with while the disk does not answer: whoever came before still waits for it.
const STALLED: &str = "audit.stalled";
/// How long a batch may take before that is so. A request gives up after 30 seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many entries may wait for the disk. Every listener waits for its own, so that many are never there.
const WAITING_MAX: usize = 4096;

/// What is bounded, in bytes.
#[derive(Clone, Copy)]
struct Limits {
    /// A file that is longer is followed by another.
    file: u64,
    /// Lines about refusals in one file.
    refusals: u64,
    /// Kept free for releases: while it cannot be, nothing is written about refusals.
    reserve: u64,
}

impl Limits {
    const SERVICE: Self = Self { file: 64 << 20, refusals: 4 << 20, reserve: 4 << 20 };
}

/// The audit log.
pub(crate) struct Record {
    shared: Arc<Shared>,
    statements: Folder,
    version: &'static str,
    measurement: String,
    writer: Option<JoinHandle<()>>,
    /// Releases since the start.
    released: AtomicU64,
}

/// What the walks and the writer share.
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    limits: Limits,
    clock: Clock,
}

/// What time it is, so that tests can say it.
type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

struct Queue {
    /// Behind which line the next one stands; `None` while the log cannot be written.
    end: Option<Position>,
    /// What waits to be written.
    batch: Batch,
    /// Since when a batch is being written.
    writing: Option<Instant>,
    /// What the next start or file says of the provider.
    stated: Stated,
    /// What `stated` is about: the report data of the statement, and whether it has a quote.
    about: (ReportData, bool),
    refusals: Refusals,
    /// Whether space is kept for releases.
    reserve: bool,
    closing: bool,
}

/// What is told of a request that was refused.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) mode: Mode,
    pub(crate) path: Option<String>,
    pub(crate) purpose: Option<String>,
    pub(crate) evidence: Option<[u8; 32]>,
}

impl From<Mode> for Subject {
    /// Of a request of which no more is known.
    fn from(mode: Mode) -> Self {
        Self { mode, path: None, purpose: None, evidence: None }
    }
}

impl Subject {
    /// Of a v1 order.
    pub(crate) fn order(request: &Request, transcript: &Transcript) -> Self {
        let key = request.keys.first();
        Self {
            mode: Mode::V1,
            path: key.map(|key| key.path.clone()),
            purpose: key.map(|key| key.purpose.clone()),
            evidence: Some(transcript.evidence),
        }
    }

    /// Of a request in a session.
    pub(crate) fn session(request: &SessionRequest) -> Self {
        let key = request.keys.first();
        Self {
            path: key.map(|key| key.path.clone()),
            purpose: key.map(|key| key.purpose.clone()),
            ..Self::from(Mode::V1)
        }
    }

    /// Of a described guest.
    pub(crate) fn description(wanted: &FutureKey, body: &[u8]) -> Self {
        Self {
            path: Some(wanted.key.path.clone()),
            purpose: Some(wanted.key.purpose.clone()),
            ..Self::evidence(body)
        }
    }

    /// Of evidence for a session.
    pub(crate) fn evidence(evidence: &[u8]) -> Self {
        Self { evidence: Some(sha256(&[evidence])), ..Self::from(Mode::V1) }
    }

    /// Of a legacy request.
    pub(crate) fn quote(quote: &[u8]) -> Self {
        Self { evidence: Some(sha256(&[quote])), ..Self::from(Mode::Legacy) }
    }
}

impl Record {
    /// Opens the log in a folder and states who signs it. A log that cannot be written does not stop the start: nothing
    /// is released until it can be (R53).
    pub(crate) fn open(
        folder: &Path,
        key: Arc<SigningKey>,
        measurement: &[u8; 32],
        regime: &Regime,
    ) -> Result<Self, Error> {
        let (calls, clock) = (Box::new(System), Box::new(Instant::now));
        Self::with(folder, key, measurement, regime, Limits::SERVICE, calls, clock)
    }

    fn with(
        folder: &Path,
        key: Arc<SigningKey>,
        measurement: &[u8; 32],
        regime: &Regime,
        limits: Limits,
        calls: Box<dyn Calls>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let measurement = hex::encode(measurement);
        let version = env!("CARGO_PKG_VERSION");
        let statements = Folder::new(folder);
        let statement = regime.own.statement();
        let stated = state(&statements, version, &measurement, regime, &statement);
        let about = (statement.report_data(), !statement.quote.is_empty());
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                end: None,
                batch: Batch::default(),
                writing: None,
                stated,
                about,
                refusals: Refusals::default(),
                reserve: true,
                closing: false,
            }),
            wake: Condvar::new(),
            limits,
            clock,
        });
        let mut writer = Writer::new(Arc::clone(&shared), Folder::new(folder), key, calls);
        writer.start();
        let writer = thread::Builder::new()
            .name("bulla-audit".into())
            .stack_size(512 * 1024)
            .spawn(move || writer.run())
            .map_err(Error::io("starting the thread of the audit log"))?;
        Ok(Self {
            shared,
            statements,
            version,
            measurement,
            writer: Some(writer),
            released: AtomicU64::new(0),
        })
    }

    /// Whether releases can be recorded now.
    ///
    /// # Errors
    /// The state of health.
    pub(crate) fn health(&self) -> Result<(), State> {
        let queue = self.queue();
        match queue.end {
            None => Err(State::AuditUnwritable),
            Some(_) if self.shared.lag(&queue) > PATIENCE => Err(State::AuditStalled),
            Some(_) => Ok(()),
        }
    }

    /// For how long a batch is being written.
    pub(crate) fn lag(&self) -> Duration {
        self.shared.lag(&self.queue())
    }

    /// Appends a release, under a statement with its report data. Nothing of the answer may leave before the ticket is durable.
    pub(crate) fn release(
        &self,
        regime: &Regime,
        root: &Root,
        asked: Asked<'_>,
        (statement, data): (&Statement, &ReportData),
    ) -> Result<Ticket, Refusal> {
        self.state(regime, statement, data);
        let policy = &regime.policy;
        let entry = Entry::Released(Released {
            mode: asked.mode,
            evidence: hex::encode(asked.evidence),
            binding: asked.binding,
            instance: asked.instance.map(Into::into),
            keys: asked.keys.to_vec(),
            root_id: hex::encode(root.id()),
            epoch: root.epoch(),
            policy: format!("{}/{}", policy.name, policy.version),
            policy_digest: hex::encode(policy.digest),
            simulated: policy.simulated,
        });
        let ticket = self.append(&entry)?;
        // The audit log has every one; the operator's log is not a second one, and its lines cost as much as their disk.
        let count = self.released.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::info!(mode = asked.mode.as_str(), simulated = policy.simulated, count, "released a key");
        }
        Ok(ticket)
    }

    /// Appends something that was done to the provider.
    pub(crate) fn event(&self, event: &str, detail: &[(&str, &str)]) -> Result<Ticket, Refusal> {
        let detail = detail.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.append(&Entry::Event(Event { event: event.into(), detail }))
    }

    /// Counts a refusal. If its count is a power of two it gets a line, and a message in the operator's log; the ticket is
    /// for who wants to wait for that line.
    pub(crate) fn refusal(&self, subject: &Subject, refusal: &Refusal) -> Option<Ticket> {
        let mut queue = self.queue();
        let (subject, count) = queue.refusals.count(subject, Outcome::Refused(*refusal))?;
        let (code, cause) = (refusal.code.as_str(), refusal.cause);
        tracing::warn!(mode = subject.mode.as_str(), code, cause, count, "refused");
        let entry = counted(&queue.stated, &subject, Outcome::Refused(*refusal), count);
        queue.append_refusal(&entry, self.shared.limits, &self.shared.wake)
    }

    /// Counts a public key of a described guest, and writes that down as a refusal.
    pub(crate) fn public_key(&self, subject: &Subject) -> Option<Ticket> {
        let mut queue = self.queue();
        let (subject, count) = queue.refusals.count(subject, Outcome::PublicKey)?;
        let entry = counted(&queue.stated, &subject, Outcome::PublicKey, count);
        queue.append_refusal(&entry, self.shared.limits, &self.shared.wake)
    }

    /// States under what the provider answers from now on, if that is not what was stated last.
    fn state(&self, regime: &Regime, statement: &Statement, data: &ReportData) {
        let about = (*data, !statement.quote.is_empty());
        if self.queue().about == about {
            return;
        }
        let stated = state(&self.statements, self.version, &self.measurement, regime, statement);
        let mut queue = self.queue();
        queue.stated = stated.clone();
        queue.about = about;
        drop(queue.append(&Entry::Statement(stated)));
        self.shared.wake.notify_one();
    }

    fn append(&self, entry: &Entry) -> Result<Ticket, Refusal> {
        let mut queue = self.queue();
        if queue.batch.entries >= WAITING_MAX {
            return Err(Refusal::new(Code::Busy, "audit.busy"));
        }
        if self.shared.lag(&queue) > PATIENCE {
            return Err(Refusal::new(Code::Busy, STALLED));
        }
        let ticket = queue.append(entry).ok_or(Refusal::new(Code::Internal, UNWRITABLE))?;
        self.shared.wake.notify_one();
        Ok(ticket)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue()
    }
}

impl Drop for Record {
    /// Writes what waits, and how often was refused what.
    fn drop(&mut self) {
        self.queue().closing = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// What a release is for.
pub(crate) struct Asked<'a> {
    pub(crate) mode: Mode,
    /// The evidence as it was sent.
    /// SHA-256.
    pub(crate) evidence: [u8; 32],
    pub(crate) binding: String,
    pub(crate) instance: Option<&'a str>,
    pub(crate) keys: &'a [Selector],
}

impl<'a> Asked<'a> {
    /// A v1 order.
    pub(crate) fn order(request: &'a Request, transcript: &Transcript) -> Self {
        let (instance, keys) = (request.instance.as_deref(), request.keys.as_slice());
        let evidence = transcript.evidence;
        Self { mode: Mode::V1, evidence, binding: named(&request.binding), instance, keys }
    }

    /// A request in a session, which this evidence has begun.
    pub(crate) fn session(request: &'a SessionRequest, evidence: [u8; 32]) -> Self {
        let (instance, keys) = (request.instance.as_deref(), request.keys.as_slice());
        Self { mode: Mode::V1, evidence, binding: named(&request.binding), instance, keys }
    }

    /// A legacy request.
    pub(crate) fn quote(quote: &[u8]) -> Self {
        Self {
            mode: Mode::Legacy,
            evidence: sha256(&[quote]),
            binding: "legacy".into(),
            instance: None,
            keys: &[],
        }
    }
}

fn named(binding: &Binding) -> String {
    match binding {
        Binding::Registers { name, version } => format!("registers:{name}/{version}"),
        Binding::Owner { owner, product, svn } => format!("owner:{}/{product}/{svn}", hex::encode(owner)),
        other => other.kind().into(),
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lag(&self, queue: &Queue) -> Duration {
        queue.writing.map_or(Duration::ZERO, |since| (self.clock)().saturating_duration_since(since))
    }
}

impl Queue {
    /// Puts a line behind the last one. `None` while there is no last one.
    fn append(&mut self, entry: &Entry) -> Option<Ticket> {
        let end = self.end?;
        let mut line = compose(end, host_time(), entry);
        let position = end.after(&line);
        line.push(b'\n');
        self.end = Some(position);
        let (ticket, waiter) = Ticket::new(position.head);
        self.batch.push(&line, waiter);
        Some(ticket)
    }

    /// The same for a refusal, within the budget of refusals.
    fn append_refusal(&mut self, entry: &Entry, limits: Limits, wake: &Condvar) -> Option<Ticket> {
        if !self.reserve || self.refusals.bytes >= limits.refusals {
            return None;
        }
        let before = self.batch.bytes.len();
        let ticket = self.append(entry)?;
        self.refusals.bytes += (self.batch.bytes.len() - before) as u64;
        wake.notify_one();
        Some(ticket)
    }
}

fn counted(stated: &Stated, subject: &Subject, outcome: Outcome, count: u64) -> Entry {
    let Subject { mode, path, purpose, evidence } = subject.clone();
    let evidence = evidence.map(hex::encode);
    let (policy, policy_digest) = (stated.policy.clone(), stated.policy_digest.clone());
    let simulated = stated.simulated;
    match outcome {
        Outcome::Refused(refusal) => {
            let (code, cause) = (refusal.code.as_str().into(), refusal.cause.into());
            Entry::Refused(Refused {
                mode,
                code,
                cause,
                count,
                path,
                purpose,
                evidence,
                policy,
                policy_digest,
                simulated,
            })
        }
        Outcome::PublicKey => Entry::PublicKeys(PublicKeys {
            mode,
            count,
            path,
            purpose,
            description: evidence,
            policy,
            policy_digest,
            simulated,
        }),
    }
}

/// What the log says of the provider. The statement itself, with its quote, is kept beside the log.
fn state(
    statements: &Folder,
    version: &str,
    measurement: &str,
    regime: &Regime,
    statement: &Statement,
) -> Stated {
    let policy = &regime.policy;
    let kept = (!statement.quote.is_empty()).then(|| statements.keep(statement));
    Stated {
        version: version.into(),
        signing_key: hex::encode(statement.signing_key),
        measurement: measurement.into(),
        authority: hex::encode(policy.authority),
        policy: format!("{}/{}", policy.name, policy.version),
        policy_digest: hex::encode(policy.digest),
        roots: regime.roots.iter().map(|root| hex::encode(root.id())).collect(),
        statement: kept,
        simulated: policy.simulated,
    }
}
