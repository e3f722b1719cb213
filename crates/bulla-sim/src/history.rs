//! What the vendor of simulated machines published over time, kept in the machine's directory: TCB recoveries, and
//! certificates that it took back.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hexadecimal::Hex;
use crate::machine::write_file;

const VENDOR_TOML: &str = "vendor.toml";
const HEADER: &str = "# What the vendor of this simulated machine published, and when.\n\n";

/// The number of the edition before all recoveries.
const FIRST_EDITION: u32 = 20;

/// A TCB recovery: the vendor raises what it calls UpToDate, and gives its documents a new tcbEvaluationDataNumber.
///
/// Between [`at`](Self::at) and [`standard_at`](Self::standard_at) two sets of documents are valid in the same second and
/// disagree, as with Intel's channels `early` and `standard`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// From then on (Unix seconds) there is the edition that knows of it, in the channel `early`.
    pub at: u64,
    /// From then on it is in the channel `standard` too, and the edition before is retired.
    pub standard_at: u64,
    /// The lowest component 0 of CPUSVN that is UpToDate from then on; nothing changes where it was as high before.
    pub microcode: u8,
    /// The lowest minor version of the TDX module, of major version 1, that is UpToDate from then on; as above.
    pub tdx_module: u8,
    /// Which advisory is open below.
    pub advisory: String,
}

/// Which of the editions that are valid at a time: each has its own tcbEvaluationDataNumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// What everybody gets who does not ask for another.
    Standard,
    /// The newest.
    Early,
    /// The one with this tcbEvaluationDataNumber.
    Number(u32),
}

/// A certificate that the vendor took back.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    pub(crate) at: u64,
    pub(crate) serial: Hex<16>,
}

/// `vendor.toml`; all of it in the order of time.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    #[serde(default)]
    recovery: Vec<Recovery>,
    #[serde(default)]
    revocation: Vec<Revocation>,
}

impl History {
    /// Nothing has happened to a machine without the file.
    pub(crate) fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(VENDOR_TOML);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| Error::unavailable(&path, error.message())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::unavailable(&path, error)),
        }
    }

    fn save(&self, dir: &Path) -> Result<(), Error> {
        let text = toml::to_string(self).expect("numbers and text are TOML");
        write_file(&dir.join(VENDOR_TOML), [HEADER, &text].concat().as_bytes())
    }

    /// Adds a recovery to the directory.
    pub(crate) fn recover(dir: &Path, recovery: &Recovery) -> Result<(), Error> {
        let mut history = Self::load(dir)?;
        let last = history.recovery.last();
        if recovery.standard_at < recovery.at
            || last.is_some_and(|last| recovery.at < last.at || recovery.standard_at < last.standard_at)
        {
            return Err(Error::History(
                "a recovery is standard before it is early, or comes before the last one",
            ));
        }
        history.recovery.push(recovery.clone());
        history.save(dir)
    }

    /// Adds a revocation to the directory.
    pub(crate) fn revoke(dir: &Path, revocation: Revocation) -> Result<(), Error> {
        let mut history = Self::load(dir)?;
        history.revocation.push(revocation);
        history.save(dir)
    }

    /// What is revoked at `now`.
    pub(crate) fn revoked(&self, now: u64) -> impl Iterator<Item = &Revocation> {
        self.revocation.iter().filter(move |revocation| revocation.at <= now)
    }

    /// The recoveries that an edition knows of at `now`, oldest first.
    pub(crate) fn known(&self, edition: Edition, now: u64) -> Result<&[Recovery], Error> {
        let standard = self.recovery.partition_point(|recovery| recovery.standard_at <= now);
        let early = self.recovery.partition_point(|recovery| recovery.at <= now);
        let known = match edition {
            Edition::Standard => standard,
            Edition::Early => early,
            Edition::Number(number) => {
                let numbers = [standard, early].map(|known| FIRST_EDITION + known as u32);
                match number {
                    _ if number < numbers[0] => return Err(Error::RetiredEdition(number)),
                    _ if number > numbers[1] => return Err(Error::NoEdition(number)),
                    _ => (number - FIRST_EDITION) as usize,
                }
            }
        };
        Ok(self.recovery.get(..known).unwrap_or_default())
    }
}

/// The tcbEvaluationDataNumber of the edition that knows of these recoveries.
pub(crate) const fn number(known: &[Recovery]) -> u32 {
    FIRST_EDITION + known.len() as u32
}
