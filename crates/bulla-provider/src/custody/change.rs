//! Changes of a running provider's roots. Each is on the disk before it is in force, and can be asked for again (R85).

use std::io::Write;
use std::path::Path;

use super::{CustodyError, Roots, keyring};
use crate::{Error, Provider};

impl Provider {
    /// Makes epoch `to`, the one after the newest, and new keys from it; older ones go on. Returns whether it did: `false` if the
    /// epoch was there already.
    ///
    /// A key ring gets a new random root, `hardware` a selector of the versions that the machine has now.
    ///
    /// # Errors
    /// [`CustodyError::NotNext`]; those of the state's files. Nothing has changed then.
    pub fn rotate(&self, to: u32) -> Result<bool, Error> {
        let rotated = self.custody.rotate(to)?;
        self.take_over()?;
        Ok(rotated)
    }

    /// Takes the root of an epoch out of use: **its keys are lost** to whoever still needs them. Returns whether it did.
    ///
    /// This erases nothing (R84): whoever has an older copy of the state can put it back. A floor
    /// ([`raise_floor`](Self::raise_floor)) holds against that as long as the sealed memory is not put back too.
    ///
    /// # Errors
    /// [`CustodyError::CurrentEpoch`],
    /// [`CustodyError::NoSuchEpoch`]; those of the state's files.
    pub fn retire(&self, epoch: u32) -> Result<bool, Error> {
        let retired = self.custody.retire(epoch)?;
        self.take_over()?;
        Ok(retired)
    }

    /// Accepts no epoch below `epoch` any more; never to be undone (R83).
    ///
    /// # Errors
    /// [`CustodyError::LoweredFloor`],
    /// [`CustodyError::NoSuchEpoch`] above the newest; those of the state's files.
    pub fn raise_floor(&self, epoch: u32) -> Result<(), Error> {
        self.custody.raise_floor(&self.regime().policy, epoch)?;
        self.take_over()
    }

    /// Binds the sealed state to the microcode of today, while the roots go on serving. A start does it by itself, and from then on none
    /// succeeds under older microcode. Returns whether there was something to do.
    ///
    /// # Errors
    /// Those of the state's files. The ring opens as before then.
    pub fn refresh_roots(&self) -> Result<bool, Error> {
        self.custody.refresh()
    }

    /// Writes a backup of the key ring to `to`: a copy that was read back and opened. The recovery recipients open it together, on a
    /// machine that the policy names, and nobody else can. Whether they really can, a drill shows
    /// ([`Candidate::drill`](crate::Candidate::drill)).
    ///
    /// # Errors
    /// [`CustodyError::NoRecipients`], [`CustodyError::BoundToHardware`]; those of writing a file.
    pub fn backup(&self, to: &Path) -> Result<(), Error> {
        let keyring = self.custody.keyring()?;
        if keyring.recovery.is_none() {
            return Err(CustodyError::NoRecipients.into());
        }
        let _one = self.custody.one_change();
        let (ring, _) = keyring.bytes()?;
        bulla::file::replace_verified(
            to,
            |new| new.write_all(&ring).map_err(Error::io("writing the backup")),
            |written| match keyring::read(written)? {
                read if read == ring => Ok(()),
                _ => Err(bulla::Error::NotAsWritten.into()),
            },
        )
    }

    /// The epochs in use with the ids of their roots, the oldest first.
    pub fn epochs(&self) -> Vec<(u32, [u8; 16])> {
        self.regime().roots.iter().map(|root| (root.epoch(), *root.id())).collect()
    }

    /// Answers from what is on the disk now.
    fn take_over(&self) -> Result<(), Error> {
        let roots: Roots = self.custody.roots(&self.regime().policy)?;
        let is_same =
            self.epochs() == roots.iter().map(|root| (root.epoch(), *root.id())).collect::<Vec<_>>();
        if !is_same {
            self.replace_roots(roots);
        }
        Ok(())
    }
}
