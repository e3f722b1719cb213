//! The one verifier: sequential, in bounded memory, used by `bulla audit` and by the provider when it opens its log.
//!
//! After trouble it goes on with the line that it finds, so that what follows is judged too.

use std::fmt;
use std::io::{self, BufRead};

use bulla_crypto::{Sha256, VerifyingKey};

use super::line::checkpoint;
use super::{Entry, LINE_MAX, Line, Position, Recovered, Stated};

/// How many findings and statements are kept; more are counted.
const KEPT_MAX: usize = 1_000;
/// The entries that mean something for the chain.
const MATTERS: [&str; 6] = ["start", "statement", "continued", "checkpoint", "recovered", "broken"];

/// Reads files of a log in their order and judges the chain that they hold.
pub struct Verifier {
    witness: Option<[u8; 32]>,
    check_signatures: bool,
    chain: Chain,
    torn: Option<Torn>,
    file: String,
    line: u64,
    verdict: Verdict,
}

/// What is known behind a line.
#[derive(Clone, Default)]
struct Chain {
    first: Option<u64>,
    last: Option<Position>,
    /// A line that stands out of order; a second one that follows it makes it the chain.
    aside: Option<Position>,
    key: Option<VerifyingKey>,
    signed: u64,
    unchecked: u64,
    witnessed: Option<u64>,
}

/// Bytes that do not follow. A line [`Entry::Recovered`] that names exactly them makes them no trouble.
struct Torn {
    before: Chain,
    findings: usize,
    more: u64,
    statements: usize,
    bytes: u64,
    hash: Sha256,
    checkpoints: u8,
}

/// What a log is worth.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The number of the first line; 1 unless earlier files are missing.
    pub first: u64,
    /// Where the chain ends.
    pub end: Option<Position>,
    /// How far the signatures reach: the number of the last line that a good checkpoint covers.
    pub signed: u64,
    /// Checkpoints whose key no line before them states. Only earlier files can tell.
    pub unchecked: u64,
    /// The number of the line whose hash is the witnessed head.
    pub witnessed: Option<u64>,
    /// Every start and statement.
    pub statements: Vec<(Place, Stated)>,
    /// What a crash or a failing disk left, each closed by the provider; no trouble.
    pub recovered: Vec<(Place, Recovered)>,
    /// Bytes behind the last line that belong to no line: a crash, before the provider has started again.
    pub tail: Option<Tail>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond the first thousand.
    pub more: u64,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its file, by the name that was given.
    pub file: String,
    /// Its line in the file, from 1.
    pub line: u64,
}

/// Bytes that belong to no line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Behind which line.
    pub after: Option<Position>,
    /// How many of [`Verdict::findings`] are of what stands before them.
    pub findings: usize,
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub trouble: Trouble,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Bytes that are no line.
    NoLine,
    /// The line before it is not the one that this line was written behind.
    Changed {
        /// The number of the line before.
        number: u64,
    },
    /// Lines are missing before this one.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A line that was inserted, moved or repeated.
    OutOfOrder {
        /// Its number.
        number: u64,
        /// The line that it stands behind.
        after: u64,
    },
    /// A new chain begins: the log was removed while no provider ran.
    NewChain {
        /// The line that it stands behind.
        after: u64,
    },
    /// A checkpoint that the stated key did not sign: lines were changed together with their hashes.
    Signature {
        /// The first line that it covers and no good checkpoint does.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The bytes that this line excuses are not there any more, or others are.
    Tidied,
    /// The provider itself found its log changed.
    Broken(String),
}

impl Verifier {
    /// A verifier that has read nothing. It takes the first line as it is: whether something was before it shows in
    /// [`Verdict::first`].
    pub fn new() -> Self {
        Self {
            witness: None,
            check_signatures: true,
            chain: Chain::default(),
            torn: None,
            file: String::new(),
            line: 0,
            verdict: Verdict::default(),
        }
    }

    /// Also looks for a line whose hash is `head`, which an answer carried. A log that was cut off is as good as any
    /// shorter log, so only a head from elsewhere shows the cut.
    #[must_use]
    pub fn witness(mut self, head: [u8; 32]) -> Self {
        self.witness = Some(head);
        self
    }

    /// Leaves signatures out, which cost more than everything else.
    #[must_use]
    pub fn without_signatures(mut self) -> Self {
        self.check_signatures = false;
        self
    }

    /// Reads one file to its end, in memory for one line. `each` sees every line, in the file's order.
    ///
    /// # Errors
    /// What `input` says.
    pub fn read(
        &mut self,
        name: &str,
        mut input: impl BufRead,
        each: &mut dyn FnMut(&Line<'_>),
    ) -> io::Result<()> {
        // What an earlier file ended with was not closed behind it.
        self.settle();
        self.file = name.into();
        self.line = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = LINE_MAX as u64 + 1;
            if io::Read::take(&mut input, limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.line += 1;
            let whole = line.strip_suffix(b"\n").and_then(Line::parse);
            if let Some(line) = &whole {
                each(line);
            }
            self.take(&line, whole.as_ref());
            // The rest of a line that is too long is no line either.
            while !line.ends_with(b"\n") {
                line.clear();
                if io::Read::take(&mut input, limit).read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                self.torn(&line);
            }
        }
    }

    /// What the files were worth.
    pub fn end(mut self) -> Verdict {
        if let Some(torn) = self.torn.take() {
            // Half a line at the end is what a crash leaves; lines that do not follow can be more than that.
            let half_a_line = |finding: &Finding| finding.trouble == Trouble::NoLine;
            if self.verdict.findings.iter().skip(torn.findings).all(half_a_line) {
                self.verdict.findings.truncate(torn.findings);
                self.verdict.more = torn.more;
            }
            self.verdict.tail = Some(Tail {
                bytes: torn.bytes,
                sha256: torn.hash.finish(),
                after: torn.before.last,
                findings: torn.findings,
            });
            self.chain = torn.before;
        }
        let Chain { first, last, signed, unchecked, witnessed, .. } = self.chain;
        Verdict { first: first.unwrap_or(0), end: last, signed, unchecked, witnessed, ..self.verdict }
    }

    /// One line with its end, and how it reads.
    fn take(&mut self, bytes: &[u8], line: Option<&Line<'_>>) {
        let entry = line.filter(|line| MATTERS.contains(&line.kind())).and_then(Line::entry);
        if let (Some(line), Some(Entry::Recovered(recovered))) = (line, &entry)
            && self.closes(line, recovered)
        {
            return self.accept(line, entry.as_ref());
        }
        let Some(line) = line else {
            self.find(Trouble::NoLine);
            return self.torn(bytes);
        };
        if let Some(Entry::Recovered(Recovered { bytes: 1.., .. })) = &entry
            && self.chain.last.is_some()
        {
            self.note(Trouble::Tidied);
        }
        if self.chain.last.is_none_or(|last| last == line.follows()) {
            self.accept(line, entry.as_ref());
        } else {
            self.stray(line, entry.as_ref());
        }
        if self.torn.is_some() {
            self.torn(bytes);
        }
    }

    /// A line that does not follow the one before it.
    fn stray(&mut self, line: &Line<'_>, entry: Option<&Entry>) {
        let last = self.chain.last.unwrap_or(Position::GENESIS);
        if line.follows() == Position::GENESIS {
            self.note(Trouble::NewChain { after: last.number });
            return self.accept(line, entry);
        }
        if self.chain.aside == Some(line.follows()) {
            return self.accept(line, entry);
        }
        if line.number <= last.number {
            self.find(Trouble::OutOfOrder { number: line.number, after: last.number });
            self.chain.aside = Some(line.position());
            return;
        }
        if line.number == last.number + 1 {
            self.find(Trouble::Changed { number: last.number });
        } else {
            self.find(Trouble::Missing { from: last.number + 1, to: line.number - 1 });
        }
        self.accept(line, entry);
    }

    /// Goes on behind a line.
    fn accept(&mut self, line: &Line<'_>, entry: Option<&Entry>) {
        let position = line.position();
        self.chain.first.get_or_insert(line.number);
        self.chain.last = Some(position);
        self.chain.aside = None;
        if self.witness == Some(position.head) {
            self.chain.witnessed = Some(line.number);
        }
        match entry {
            Some(Entry::Start(stated) | Entry::Statement(stated)) => self.state(stated),
            Some(Entry::Continued(continued)) => self.state(&continued.stated),
            Some(Entry::Checkpoint { signature }) => {
                self.check(line, signature);
                // A crash leaves at most one batch that is not whole, and a batch has one checkpoint.
                if let Some(torn) = &mut self.torn {
                    torn.checkpoints += 1;
                    if torn.checkpoints > 1 {
                        self.settle();
                    }
                }
            }
            Some(Entry::Recovered(recovered)) => {
                let place = self.place();
                self.verdict.recovered.push((place, recovered.clone()));
                self.verdict.recovered.truncate(KEPT_MAX);
            }
            Some(Entry::Broken(broken)) => {
                self.note(Trouble::Broken(format!("{}: {}", broken.file, broken.found)));
            }
            _ => {}
        }
    }

    fn state(&mut self, stated: &Stated) {
        let mut key = [0; 32];
        let known = hex::decode_to_slice(&stated.signing_key, &mut key).is_ok();
        self.chain.key = known.then(|| VerifyingKey::from_bytes(key));
        if self.verdict.statements.len() < KEPT_MAX {
            let place = self.place();
            self.verdict.statements.push((place, stated.clone()));
        }
    }

    fn check(&mut self, line: &Line<'_>, signature: &str) {
        if !self.check_signatures {
            return;
        }
        let Some(key) = &self.chain.key else {
            self.chain.unchecked += 1;
            return;
        };
        let mut bytes = [0; 64];
        let covered = line.follows();
        let good = hex::decode_to_slice(signature, &mut bytes).is_ok()
            && key.verify(&checkpoint(covered), &bytes).is_ok();
        if good {
            self.chain.signed = covered.number;
        } else {
            self.note(Trouble::Signature { from: self.chain.signed + 1, to: covered.number });
        }
    }

    /// Whether a line closes the bytes before it: it follows the line before them and names them.
    fn closes(&mut self, line: &Line<'_>, recovered: &Recovered) -> bool {
        let Some(torn) = &self.torn else { return false };
        let follows = torn.before.last.is_none_or(|last| last == line.follows());
        if !follows
            || torn.bytes != recovered.bytes
            || hex::encode(torn.hash.clone().finish()) != recovered.sha256
        {
            return false;
        }
        self.verdict.findings.truncate(torn.findings);
        self.verdict.more = torn.more;
        self.verdict.statements.truncate(torn.statements);
        self.chain = torn.before.clone();
        self.torn = None;
        true
    }

    /// More bytes that do not follow.
    fn torn(&mut self, bytes: &[u8]) {
        if let Some(torn) = &mut self.torn {
            torn.bytes += bytes.len() as u64;
            torn.hash.update(bytes);
        }
    }

    /// Nothing will close what is torn: it is trouble.
    fn settle(&mut self) {
        self.torn = None;
    }

    /// Trouble that a crash could have left.
    fn find(&mut self, trouble: Trouble) {
        if self.torn.is_none() {
            self.torn = Some(Torn {
                before: self.chain.clone(),
                findings: self.verdict.findings.len(),
                more: self.verdict.more,
                statements: self.verdict.statements.len(),
                bytes: 0,
                hash: Sha256::new(),
                checkpoints: 0,
            });
        }
        self.note(trouble);
    }

    /// Trouble.
    fn note(&mut self, trouble: Trouble) {
        if self.verdict.findings.len() == KEPT_MAX {
            self.verdict.more += 1;
            return;
        }
        let place = self.place();
        self.verdict.findings.push(Finding { place, trouble });
    }

    fn place(&self) -> Place {
        Place { file: self.file.clone(), line: self.line }
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verdict {
    /// The number of lines that no good checkpoint covers, without the last checkpoint itself.
    pub fn unsigned(&self) -> u64 {
        self.end.map_or(0, |end| end.number.saturating_sub(self.signed + 1))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLine => f.write_str("this is no line of an audit log"),
            Self::Changed { number } => {
                write!(f, "entry {number}, or the link to it, was changed after this line was written")
            }
            Self::Missing { from, to } if from == to => write!(f, "entry {from} is missing before this line"),
            Self::Missing { from, to } => write!(f, "entries {from} to {to} are missing before this line"),
            Self::OutOfOrder { number, after } => {
                write!(f, "entry {number} stands behind entry {after}: it was inserted, moved or repeated")
            }
            Self::NewChain { after } => {
                write!(
                    f,
                    "a new log begins behind entry {after}: the old one was taken away while no provider ran"
                )
            }
            Self::Signature { from, to } => write!(
                f,
                "the signature does not cover entries {from} to {to}: some of them were changed together with their hashes"
            ),
            Self::Tidied => f.write_str("what a crash had left before this line was changed or removed"),
            Self::Broken(found) => write!(f, "the provider found its log changed when it started: {found}"),
        }
    }
}
