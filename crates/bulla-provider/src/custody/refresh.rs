//! Sealed files follow the machine: after an update they are bound to the new versions, and open under the old ones no more.

use std::io::Read;
use std::path::Path;

use bulla::{Opener, Rewrap, Slot, Unsealer};

use bulla_tee::{Policy as KeyPolicy, Tee};

use crate::Error;

/// Replaces the slot of this machine in the file at `path` by one of today's versions, if it is of others. What is inside stays.
pub(super) fn refresh(
    tee: &dyn Tee,
    unsealer: &Unsealer<'_>,
    path: &Path,
    largest: u64,
) -> Result<bool, Error> {
    let mut bytes = Vec::new();
    let file = bulla::file::open_sealed(path, largest)?;
    file.take(largest).read_to_end(&mut bytes).map_err(Error::io(format!("reading {}", path.display())))?;
    let (_, opened) = unsealer.unseal(&bytes)?;
    let slot = opened.header.slots().get(opened.slot).map(Slot::opener);
    let Some(Opener::Machine(recorded)) = slot else { return Ok(false) };
    let (present, _) = tee.bind(&KeyPolicy::measurement())?;
    if recorded.cpusvn() == present.cpusvn() {
        return Ok(false);
    }
    Rewrap::new().refresh(tee).file(unsealer, path)?;
    Ok(true)
}
