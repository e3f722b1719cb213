//! Whether the provider gives keys, and if not, why: coded states, for machines, with a number each that stays.

use serde::Serialize;

/// A reason not to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Draining,
    SelfEvidenceInvalid,
    CollateralMissing,
    AuditUnwritable,
    ClockUnusable,
    AuditStalled,
}

impl State {
    pub(crate) const ALL: [Self; 6] = [
        Self::Draining,
        Self::SelfEvidenceInvalid,
        Self::CollateralMissing,
        Self::AuditUnwritable,
        Self::ClockUnusable,
        Self::AuditStalled,
    ];

    /// A number that never changes its meaning.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Draining => 1,
            Self::SelfEvidenceInvalid => 2,
            Self::CollateralMissing => 3,
            Self::AuditUnwritable => 4,
            Self::ClockUnusable => 5,
            Self::AuditStalled => 6,
        }
    }

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::SelfEvidenceInvalid => "self-evidence-invalid",
            Self::CollateralMissing => "collateral-missing",
            Self::AuditUnwritable => "audit-unwritable",
            Self::ClockUnusable => "clock-unusable",
            Self::AuditStalled => "audit-stalled",
        }
    }

    /// One sentence for a person, with the remedy, without a full stop.
    const fn title(self) -> &'static str {
        match self {
            Self::Draining => "it was told to take no more requests: resume or restart it",
            Self::SelfEvidenceInvalid => {
                "it cannot prove its own identity: its log says why, look at the quoting service and the platform's TCB"
            }
            Self::CollateralMissing => {
                "it has no fresh collateral to judge evidence with: look at the caching service, or import a bundle"
            }
            Self::AuditUnwritable => "the audit log cannot be written: make room on its disk",
            Self::ClockUnusable => "the host's clock went back: set it right",
            Self::AuditStalled => {
                "the disk of the audit log does not answer: look at it, and at what else uses it"
            }
        }
    }

    pub(crate) const fn shown(self) -> Shown {
        Shown { number: self.number(), code: self.code(), title: self.title() }
    }
}

/// A state as it is told.
#[derive(Serialize)]
pub(crate) struct Shown {
    number: u8,
    code: &'static str,
    title: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_and_codes_are_of_one_state_each() {
        let numbers: BTreeSet<_> = State::ALL.iter().map(|state| state.number()).collect();
        let codes: BTreeSet<_> = State::ALL.iter().map(|state| state.code()).collect();
        assert_eq!((numbers.len(), codes.len()), (State::ALL.len(), State::ALL.len()));
    }
}
