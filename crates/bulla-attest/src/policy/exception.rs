//! Exceptions for TCB statuses and advisories: each has an end and a reason (R22).

use std::collections::BTreeSet;

use crate::TcbStatus;

/// 9999-12-31T23:59:59Z, the last second that a policy can name.
pub(super) const FOREVER: u64 = 253_402_300_799;

/// Accepts a TCB status, and advisories that are open with it, until a time. From then on it is as if it were not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exception {
    pub(super) status: TcbStatus,
    pub(super) advisories: Advisories,
    /// Unix seconds; that second does not count.
    pub(super) until: u64,
    pub(super) reason: String,
}

/// The advisories that an exception covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Advisories {
    Listed(BTreeSet<String>),
    /// Whatever comes, also what nobody has heard of yet.
    Any,
}

impl Exception {
    pub(super) fn new(
        status: TcbStatus,
        advisories: Advisories,
        until: u64,
        reason: String,
    ) -> Result<Self, &'static str> {
        if status == TcbStatus::Revoked || !TcbStatus::ALL.contains(&status) {
            return Err("no policy accepts this status");
        }
        Ok(Self { status, advisories, until, reason })
    }

    pub(super) const fn is_live(&self, now: u64) -> bool {
        now < self.until
    }

    pub(super) fn covers(&self, advisory: &str) -> bool {
        match &self.advisories {
            Advisories::Listed(ids) => ids.contains(advisory),
            Advisories::Any => true,
        }
    }
}
