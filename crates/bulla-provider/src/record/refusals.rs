//! What anybody can bring about, counted: being refused a million times fills twenty lines. So do public keys, which anybody gets.

use std::collections::HashMap;

use crate::audit::Mode;
use crate::refusal::Refusal;

use super::Subject;

/// How many kinds are told apart by path. What comes beyond is counted by cause alone, so that nobody fills memory or log
/// with paths.
const KINDS_MAX: usize = 1024;
/// Causes are fixed names in this program; this many are not there.
const CAUSES_MAX: usize = 4096;

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Refused(Refusal),
    /// The public key of a described guest was given.
    PublicKey,
}

impl Outcome {
    const fn cause(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.cause,
            Self::PublicKey => "",
        }
    }
}

/// How often was what, since the start.
#[derive(Default)]
pub(super) struct Refusals {
    kinds: HashMap<Kind, Count>,
    /// How much was written about it into the present file.
    pub(super) bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    mode: Mode,
    cause: &'static str,
    path: Option<String>,
}

struct Count {
    count: u64,
    written: u64,
    subject: Subject,
    outcome: Outcome,
}

impl Refusals {
    /// Counts one more, and returns what was counted and how often if that is a power of two.
    pub(super) fn count(&mut self, subject: &Subject, outcome: Outcome) -> Option<(Subject, u64)> {
        let mut subject = subject.clone();
        let mut kind = Kind { mode: subject.mode, cause: outcome.cause(), path: subject.path.clone() };
        if !self.kinds.contains_key(&kind) && self.kinds.len() >= KINDS_MAX {
            kind.path = None;
            subject = Subject { path: None, purpose: None, ..subject };
        }
        if !self.kinds.contains_key(&kind) && self.kinds.len() >= CAUSES_MAX {
            return None;
        }
        let fresh = || Count { count: 0, written: 0, subject: subject.clone(), outcome };
        let count = self.kinds.entry(kind).or_insert_with(fresh);
        count.count += 1;
        if !count.count.is_power_of_two() {
            return None;
        }
        count.written = count.count;
        count.subject = subject.clone();
        Some((subject, count.count))
    }

    /// What was counted and not yet written, with its subject and its count.
    pub(super) fn rest(&mut self) -> Vec<(Subject, Outcome, u64)> {
        let unwritten = self.kinds.values().filter(|count| count.count > count.written);
        unwritten.map(|count| (count.subject.clone(), count.outcome, count.count)).collect()
    }
}
