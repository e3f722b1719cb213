//! What may not fall, and outlives the process: sealed, so that the host cannot write it (R83).
//!
//! Whoever controls the disk can put an older memory back together with everything else. That it is gone is noticed, and
//! named; that it is older is not, without an anchor (R66).

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla::journal::Journal;
use bulla::{Sealer, Unsealer};
use serde::{Deserialize, Serialize};

use bulla_attest::collateral::{self, FloorMemory};
use bulla_tee::{Policy as KeyPolicy, Tee};

use super::refresh::refresh;
use super::{CustodyError, Roots};
use crate::Error;
use crate::policy::Policy;

/// Its name in the state directory.
pub(super) const FILE: &str = "memory.sealed";
/// Bytes at most: the floor of collateral, and less than as much around it.
const LARGEST: u64 = 2 * collateral::Floor::LIMIT as u64;
const VERSION: u8 = 1;

/// What is remembered. Nothing of it falls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remembered {
    pub(super) version: u8,
    /// The highest version of the policy that ran.
    pub(crate) policy_version: u32,
    /// The newest epoch that was there; 0 before there was one.
    pub(crate) newest_epoch: u32,
    /// The lowest epoch that is accepted.
    pub(crate) epoch_floor: u32,
    /// What collateral may not be older than ([`collateral::Floor::to_bytes`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) collateral: Option<String>,
}

/// The memory of one provider.
pub(crate) struct Memory {
    tee: Arc<dyn Tee>,
    path: PathBuf,
    /// Names the authority: another one's policy does not open it.
    context: String,
    kept: Mutex<Remembered>,
}

impl Memory {
    /// What was remembered in the file, or nothing yet, where there are no roots either.
    pub(super) fn open(
        tee: &Arc<dyn Tee>,
        path: &Path,
        policy: &Policy,
        has_roots: bool,
    ) -> Result<Self, Error> {
        let memory = Self {
            tee: Arc::clone(tee),
            path: path.into(),
            context: format!("bulla/provider/memory/{}", hex::encode(policy.authority)),
            kept: Mutex::default(),
        };
        match bulla::file::open_sealed(path, LARGEST) {
            Ok(mut file) => *memory.lock() = memory.read(&mut file)?,
            Err(error) if !has_roots && is_not_found(&error) => {}
            Err(error) if is_not_found(&error) || matches!(error, bulla::Error::MissingSeal { .. }) => {
                return Err(CustodyError::MissingMemory { path: path.into() }.into());
            }
            Err(error) => return Err(error.into()),
        }
        let seen = memory.lock().policy_version;
        if policy.version < seen {
            let what = "policy version";
            return Err(CustodyError::Rollback { what, found: policy.version, wanted: seen }.into());
        }
        Ok(memory)
    }

    /// Removes what is left of a memory that is lost, so that a new one can be begun.
    pub(super) fn forget(path: &Path) -> Result<(), Error> {
        if path.symlink_metadata().is_ok() {
            return Err(CustodyError::DamagedMemory {
                path: path.into(),
                reason: "it is there: move it away first if it is of no use".into(),
            }
            .into());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for left in ["lock", "new", "copy", "1", "2"] {
            match fs::remove_file(path.with_file_name(format!(".{name}.bulla-{left}"))) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(format!("removing what is left of {}", path.display()))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is remembered now.
    pub(super) fn remembered(&self) -> Remembered {
        self.lock().clone()
    }

    /// Takes in what another memory holds, such as that of the enclave before this one.
    pub(super) fn join(&self, other: &Remembered) -> Result<(), Error> {
        self.change(|kept| {
            kept.policy_version = kept.policy_version.max(other.policy_version);
            kept.newest_epoch = kept.newest_epoch.max(other.newest_epoch);
            kept.epoch_floor = kept.epoch_floor.max(other.epoch_floor);
            // The store joins it with what it sees itself.
            if kept.collateral.is_none() {
                kept.collateral.clone_from(&other.collateral);
            }
        })
    }

    /// The roots that are acceptable, with what they and the policy say remembered. Nothing is remembered where nothing is
    /// acceptable.
    pub(super) fn admit(&self, policy: &Policy, roots: Roots) -> Result<Roots, Error> {
        let seen = self.remembered();
        let newest = roots.current().epoch();
        if newest < seen.newest_epoch {
            let what = "newest epoch";
            return Err(CustodyError::Rollback { what, found: newest, wanted: seen.newest_epoch }.into());
        }
        let floor = seen.epoch_floor.max(policy.terms.minimum_epoch);
        let roots = roots.at_least(floor).ok_or(CustodyError::NoneLeft(floor))?;
        self.change(|kept| {
            kept.policy_version = kept.policy_version.max(policy.version);
            kept.newest_epoch = kept.newest_epoch.max(newest);
            kept.epoch_floor = kept.epoch_floor.max(floor);
        })?;
        Ok(roots)
    }

    /// Refuses epochs below `epoch` from now on.
    pub(super) fn raise_floor(&self, epoch: u32) -> Result<(), Error> {
        let present = self.lock().epoch_floor;
        if epoch < present {
            return Err(CustodyError::LoweredFloor { present, wanted: epoch }.into());
        }
        self.change(|kept| kept.epoch_floor = kept.epoch_floor.max(epoch))
    }

    /// Writes the memory where there is none.
    pub(super) fn begin(&self) -> Result<(), Error> {
        self.change(|kept| kept.version = VERSION)
    }

    /// Binds the memory to the versions of today: a provider that ran under newer microcode does not start under older.
    pub(super) fn refresh(&self) -> Result<bool, Error> {
        let _kept = self.lock();
        refresh(self.tee.as_ref(), &self.unsealer(), &self.path, LARGEST)
    }

    fn unsealer(&self) -> Unsealer<'_> {
        Unsealer::new(&self.context).machine(self.tee.as_ref()).require_origin()
    }

    fn change(&self, edit: impl FnOnce(&mut Remembered)) -> Result<(), Error> {
        let mut kept = self.lock();
        let mut wanted = kept.clone();
        edit(&mut wanted);
        if wanted == *kept {
            return Ok(());
        }
        let is_first = kept.version == 0;
        wanted.version = VERSION;
        let journal = Journal::at(&self.path)?.largest(LARGEST);
        let verify = |written: &mut File| match self.read(written)? {
            read if read == wanted => Ok(()),
            _ => Err(Error::from(bulla::Error::NotAsWritten)),
        };
        if is_first {
            journal.create(|new| self.write(new, &wanted), |written, ()| verify(written))?;
        } else {
            journal.change(|_, new| self.write(new, &wanted), |written, ()| verify(written))?;
        }
        *kept = wanted;
        Ok(())
    }

    fn write(&self, file: &mut File, remembered: &Remembered) -> Result<(), Error> {
        let text = serde_json::to_vec(remembered).expect("numbers and texts are JSON");
        let sealer = Sealer::new(&self.context).machine(self.tee.as_ref(), KeyPolicy::measurement());
        let sealed = sealer.prove_origin().seal(&text)?;
        file.write_all(&sealed).map_err(Error::io("writing the memory"))
    }

    fn read(&self, file: &mut File) -> Result<Remembered, Error> {
        let damaged = |reason: String| CustodyError::DamagedMemory { path: self.path.clone(), reason };
        let mut sealed = Vec::new();
        file.take(LARGEST).read_to_end(&mut sealed).map_err(Error::io("reading the memory"))?;
        let (text, _) = self.unsealer().unseal(&sealed)?;
        let remembered: Remembered =
            serde_json::from_slice(text.expose()).map_err(|error| damaged(error.to_string()))?;
        if remembered.version != VERSION {
            let reason = format!("version {}, and {VERSION} is known", remembered.version);
            return Err(damaged(reason).into());
        }
        Ok(remembered)
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FloorMemory for Memory {
    fn load(&self) -> Result<Option<Vec<u8>>, bulla_attest::Error> {
        Ok(self.lock().collateral.as_ref().map(|floor| floor.clone().into_bytes()))
    }

    fn save(&self, floor: &[u8]) -> Result<(), bulla_attest::Error> {
        let floor = String::from_utf8(floor.to_vec())
            .map_err(|_| bulla_attest::Error::FloorDamaged("it is no text".into()))?;
        let saved = self.change(|kept| kept.collateral = Some(floor));
        saved.map_err(|error| bulla_attest::Error::Store(error.to_string()))
    }
}

fn is_not_found(error: &bulla::Error) -> bool {
    matches!(error, bulla::Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}
