//! What is acceptable of evidence that is genuine.
//!
//! A policy is data. [`Policy::strict`] is the strictest one; a file ([`Policy::from_toml`]) loosens it by name and adds
//! what only its author can know: registers, machines, floors. `appraise` applies it, `explain` says it in sentences,
//! `check` finds what its author may not have meant.

mod appraise;
mod check;
mod exception;
mod explain;
mod form;
mod registers;
mod snp;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bulla_crypto::sha256;

pub use check::Warning;

pub(crate) use self::appraise::{FIXED, Refusal};
use self::exception::{Advisories, Exception, FOREVER};
use self::registers::Alias;
pub(crate) use self::snp::SnpRules;
use crate::{Error, TcbStatus};

/// What is acceptable of evidence that is genuine: the appraisal policy.
///
/// A policy can only be loosened by name, and some things cannot be loosened at all: debug and profiling, reserved
/// attributes, a guest that its host can take pages from or move to another machine (R23, R24), the status `Revoked` and
/// statuses that are not known (R22).
///
/// ```
/// use bulla_attest::{Policy, TcbStatus};
///
/// let policy = Policy::strict()
///     .allow_statuses(&[TcbStatus::SwHardeningNeeded])
///     .min_tcb_evaluation_data_number(18);
/// assert_ne!(policy, Policy::default());
///
/// let policy = Policy::from_toml(
///     r#"
///     version = 1
///     name = "acme-production"
///     revision = 3
///     min_tcb_evaluation_data_number = 18
///
///     [[exceptions]]
///     status = "SWHardeningNeeded"
///     advisories = ["INTEL-SA-00615"]
///     until = 2027-01-01
///     reason = "ticket 4711: our enclave clears the buffers itself"
///
///     [registers.provider]
///     mrenclave = ["5f0a8a9e2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6"]
///     "#,
/// )?;
/// assert_eq!(Policy::from_toml(&policy.to_toml())?, policy);
/// # Ok::<(), bulla_attest::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Policy {
    name: String,
    revision: u32,
    simulated: bool,
    min_tcb_evaluation_data_number: u32,
    exceptions: BTreeSet<Exception>,
    /// Any machine where there is none.
    platforms: Option<Platforms>,
    tdx: TdxRules,
    /// By name. Any registers where there is none.
    registers: BTreeMap<String, Alias>,
    /// No SEV-SNP guest where there is none: their vendor publishes no levels, so without a floor nothing judges them.
    snp: Option<SnpRules>,
}

/// The machines that are accepted, by the name that their vendor certified; whatever is not listed is refused (R44).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Platforms {
    ppid: BTreeSet<[u8; 16]>,
    chip_id: BTreeSet<[u8; 64]>,
}

/// The rules for TDX guests that a policy can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TdxRules {
    performance_counters: bool,
    /// MRSERVICETD. Zero is always accepted.
    service_tds: BTreeSet<[u8; 48]>,
    /// The lowest SVN by the number in a module identity's name. Whatever the vendor lists where there is none.
    min_module_svn: Option<BTreeMap<u8, u8>>,
    mrconfigid: Pin,
    mrowner: Pin,
    mrownerconfig: Pin,
}

/// The accepted values of a register that the host chooses; `None` leaves it to whoever binds keys to it (R25).
type Pin = Option<BTreeSet<[u8; 48]>>;

impl Policy {
    /// The largest file that is read, in bytes.
    pub const LIMIT: usize = 64 * 1024;

    /// The default: exactly `UpToDate` without advisories; no debug or profiling, no PERFMON, no migration, no service TD,
    /// SEPT_VE_DISABLE set, reserved attributes zero (R22-R24); no simulated machine and no SEV-SNP guest. It names no
    /// registers and no machines.
    pub fn strict() -> Self {
        Self {
            name: "strict".into(),
            revision: 0,
            simulated: false,
            min_tcb_evaluation_data_number: 0,
            exceptions: BTreeSet::new(),
            platforms: None,
            tdx: TdxRules::default(),
            registers: BTreeMap::new(),
            snp: None,
        }
    }

    /// Reads a policy in its TOML form, version 1: the strict one with what the file changes.
    ///
    /// # Errors
    /// `usage.policy` for a file that is larger than [`Policy::LIMIT`], of another version, or has anything unknown,
    /// duplicate, missing or of a wrong type or length in it.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        form::read(text)
    }

    /// The TOML form: one text for one policy, whatever order and spelling it was read from.
    pub fn to_toml(&self) -> String {
        form::write(self)
    }

    /// Names the policy by its content: SHA-256 of [`Policy::to_toml`].
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[self.to_toml().as_bytes()])
    }

    /// Its name; `strict` for one that comes from no file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number among those of its name; 0 for one that comes from no file.
    pub const fn revision(&self) -> u32 {
        self.revision
    }

    /// Accepts these statuses too, each with whatever advisories come with it and without end: who lists `OutOfDate`
    /// accepts known holes. A policy file can do better: per advisory, and until a date (R22).
    ///
    /// `UpToDate` without advisories is always accepted, and listing `UpToDate` does not make one with advisories
    /// acceptable. Listing `Revoked` has no effect.
    pub fn allow_statuses(mut self, statuses: &[TcbStatus]) -> Self {
        let listed = statuses.iter().filter(|status| **status != TcbStatus::UpToDate);
        self.exceptions.extend(listed.filter_map(|status| without_end(*status)));
        self
    }

    /// Accepts every status but `Revoked`, with any advisories. For looking at evidence, not for releasing keys.
    pub fn allow_every_status(mut self) -> Self {
        self.exceptions.extend(TcbStatus::ALL.into_iter().filter_map(without_end));
        self
    }

    /// Accepts guests that use performance counters, through which a guest's secrets may be inferred.
    pub const fn allow_perfmon(mut self) -> Self {
        self.tdx.performance_counters = true;
        self
    }

    /// Accepts evidence of simulated machines, which protect nothing (R15, R110).
    pub const fn allow_simulated(mut self) -> Self {
        self.simulated = true;
        self
    }

    /// Refuses collateral that knows less TCB recoveries than this (R29): two sets can be valid in the same second and
    /// disagree, and without a minimum whoever delivers them picks the kinder one.
    pub const fn min_tcb_evaluation_data_number(mut self, minimum: u32) -> Self {
        self.min_tcb_evaluation_data_number = minimum;
        self
    }

    /// The policy in plain sentences, one for each rule: what is accepted, and what each loosening risks.
    pub fn explain(&self) -> Vec<String> {
        explain::sentences(self)
    }

    /// What the policy's author may not have meant, at a time in Unix seconds: exceptions that have expired, lists that
    /// accept nothing, loosenings that leave little to refuse. None of it makes a policy invalid.
    pub fn check(&self, now_unix: u64) -> Vec<Warning> {
        check::warnings(self, now_unix)
    }

    /// The rules for SEV-SNP guests, if any are accepted.
    const fn snp(&self) -> Option<&SnpRules> {
        self.snp.as_ref()
    }

    /// The lowest TCB evaluation data number that is accepted.
    pub(crate) const fn floor(&self) -> u32 {
        self.min_tcb_evaluation_data_number
    }
}

/// An exception for everything of a status that can have one.
fn without_end(status: TcbStatus) -> Option<Exception> {
    let reason = "allowed by the program that asks".into();
    Exception::new(status, Advisories::Any, FOREVER, reason).ok()
}

impl Default for Policy {
    fn default() -> Self {
        Self::strict()
    }
}
