//! What the vendor says of a platform's security version.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The status of a platform's TCB, as Intel's TCB info names it; AMD names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TcbStatus {
    /// Nothing to do.
    UpToDate,
    /// The software in the enclave must mitigate something itself.
    SwHardeningNeeded,
    /// The platform must be configured otherwise, for example hyper-threading off.
    ConfigurationNeeded,
    /// Both of the above.
    ConfigurationAndSwHardeningNeeded,
    /// Microcode or firmware has known holes.
    OutOfDate,
    /// Known holes, and configuration.
    OutOfDateConfigurationNeeded,
    /// A TDX guest that was started before the TDX module was updated, and should be started again.
    TdRelaunchAdvised,
    /// The same, and configuration.
    TdRelaunchAdvisedConfigurationNeeded,
    /// The keys of the platform are not to be trusted. No policy accepts it (R22).
    Revoked,
    /// The vendor publishes no levels: AMD. Nobody says what is up to date, so the policy's own floor decides and this
    /// status cannot be allowed by name.
    Unlisted,
}

impl TcbStatus {
    /// Every status that a vendor gives.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
        Self::Revoked,
    ];

    /// The name in Intel's documents, for example `SWHardeningNeeded`.
    pub const fn as_str(self) -> &'static str {
        self.names().0
    }

    /// The name on a command line, for example `sw-hardening-needed`.
    pub const fn as_kebab(self) -> &'static str {
        self.names().1
    }

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::UpToDate => ("UpToDate", "up-to-date"),
            Self::SwHardeningNeeded => ("SWHardeningNeeded", "sw-hardening-needed"),
            Self::ConfigurationNeeded => ("ConfigurationNeeded", "configuration-needed"),
            Self::ConfigurationAndSwHardeningNeeded => {
                ("ConfigurationAndSWHardeningNeeded", "configuration-and-sw-hardening-needed")
            }
            Self::OutOfDate => ("OutOfDate", "out-of-date"),
            Self::OutOfDateConfigurationNeeded => {
                ("OutOfDateConfigurationNeeded", "out-of-date-configuration-needed")
            }
            Self::TdRelaunchAdvised => ("TDRelaunchAdvised", "td-relaunch-advised"),
            Self::TdRelaunchAdvisedConfigurationNeeded => {
                ("TDRelaunchAdvisedConfigurationNeeded", "td-relaunch-advised-configuration-needed")
            }
            Self::Revoked => ("Revoked", "revoked"),
            Self::Unlisted => ("Unlisted", "unlisted"),
        }
    }
}

impl From<dcap_qvl::TcbStatus> for TcbStatus {
    fn from(status: dcap_qvl::TcbStatus) -> Self {
        use dcap_qvl::TcbStatus as Theirs;
        match status {
            Theirs::UpToDate => Self::UpToDate,
            Theirs::SWHardeningNeeded => Self::SwHardeningNeeded,
            Theirs::ConfigurationNeeded => Self::ConfigurationNeeded,
            Theirs::ConfigurationAndSWHardeningNeeded => Self::ConfigurationAndSwHardeningNeeded,
            Theirs::OutOfDate => Self::OutOfDate,
            Theirs::OutOfDateConfigurationNeeded => Self::OutOfDateConfigurationNeeded,
            Theirs::TDRelaunchAdvised => Self::TdRelaunchAdvised,
            Theirs::TDRelaunchAdvisedConfigurationNeeded => Self::TdRelaunchAdvisedConfigurationNeeded,
            Theirs::Revoked => Self::Revoked,
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads either spelling: `OutOfDate` or `out-of-date`.
impl FromStr for TcbStatus {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|status| [status.as_str(), status.as_kebab()].contains(&name))
            .ok_or_else(|| Error::UnknownStatus(name.chars().take(64).collect()))
    }
}

/// The verdict on a platform's TCB. Of an Intel machine: what the TCB info, the TDX module's and the quoting enclave's identity say together. Of an AMD machine: [`Tcb::UNLISTED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcb {
    /// Platform, TDX module and quoting enclave converged, as Intel's verification library does.
    pub status: TcbStatus,
    /// The advisories that are open at this level, platform first.
    pub advisory_ids: Vec<String>,
    /// The lower of the tcbEvaluationDataNumbers of TCB info and QE identity: which recovery the verdict knows of.
    pub evaluation_data_number: u32,
    /// The quoting enclave's own status. Converging ignores some values of it; [`Policy`](crate::Policy) does not.
    pub qe_status: TcbStatus,
    /// What keeps the machine from the best level that the vendor lists; empty where nothing does.
    pub shortfalls: Vec<Shortfall>,
}

/// A security version that is below what the vendor's best level asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Whose, as the vendor's document names it, for example `SGX TCB component 2 (SGX Late Microcode Update)`.
    pub component: String,
    /// The version that is there.
    pub found: u16,
    /// The lowest version that meets the level.
    pub wanted: u16,
    /// What to do.
    pub remedy: &'static str,
    /// Whether the version is that of the machine's PCK certificate: after the update, a new one must be fetched.
    pub certified: bool,
}

/// For example `TDX module SVN is 6, needs 11`.
impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, needs {}", self.component, self.found, self.wanted)
    }
}

/// Several shortfalls in one sentence.
pub(crate) mod remedies {
    use super::Shortfall;

    /// What falls short.
    pub(crate) fn listed(shortfalls: &[Shortfall]) -> String {
        shortfalls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What to do, each thing once.
    pub(crate) fn of(shortfalls: &[Shortfall]) -> String {
        let mut remedies: Vec<&str> = Vec::new();
        for shortfall in shortfalls {
            if !remedies.contains(&shortfall.remedy) {
                remedies.push(shortfall.remedy);
            }
        }
        certified(remedies.join("; "), shortfalls)
    }

    /// What falls short, each with what to do.
    pub(crate) fn each(shortfalls: &[Shortfall]) -> String {
        let groups = shortfalls.chunk_by(|one, other| one.remedy == other.remedy);
        let groups = groups.filter_map(|group| Some(format!("{}: {}", listed(group), group.first()?.remedy)));
        certified(groups.collect::<Vec<_>>().join("; "), shortfalls)
    }

    fn certified(mut sentence: String, shortfalls: &[Shortfall]) -> String {
        if shortfalls.iter().any(|shortfall| shortfall.certified) {
            sentence.push_str("; then fetch a new PCK certificate for the machine");
        }
        sentence
    }
}

impl Tcb {
    /// Of a machine whose vendor publishes no levels.
    pub const UNLISTED: Self = Self {
        status: TcbStatus::Unlisted,
        advisory_ids: Vec::new(),
        evaluation_data_number: 0,
        qe_status: TcbStatus::Unlisted,
        shortfalls: Vec::new(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_nothing_else() {
        for status in TcbStatus::ALL {
            assert_eq!(status.as_str().parse::<TcbStatus>().unwrap(), status);
            assert_eq!(status.as_kebab().parse::<TcbStatus>().unwrap(), status);
        }
        for bad in ["unlisted", "", "uptodate", "up_to_date", "Unknown", "UpToDate "] {
            assert_eq!(bad.parse::<TcbStatus>().unwrap_err().code(), "usage.tcb_status");
        }
    }
}
