//! Custody of the roots, of which every key is made.
//!
//! - `hardware`: each root is what the processor derives for this enclave from one recorded selector. Nothing secret is
//!   stored, and nothing leaves the machine or outlives the enclave's measurement.
//! - `keyring`: roots are random, sealed in a key ring. They can be handed to the next enclave and recovered elsewhere.
//!
//! Both number their roots as *epochs*, and both remember in [`Memory`] what may not fall. The files are described in
//! `docs/spec/custody.md`.

mod ask;
mod candidate;
mod change;
mod error;
mod handover;
mod hardware;
mod holder;
mod init;
mod keyring;
mod memory;
mod refresh;
mod roots;
mod state;
mod terms;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_tee::Tee;

use crate::Error;
use crate::policy::Policy;
pub use candidate::{Candidate, Drilled, Purpose};
pub use error::CustodyError;
use hardware::Hardware;
pub use holder::Holder;
use keyring::Keyring;
pub(crate) use memory::Memory;
pub(crate) use roots::{Root, Roots};
pub(crate) use state::State;
pub(crate) use terms::{Kind, Recovery, Target, Terms};

/// The roots of one provider on the disk, and the only way to change them.
pub(crate) struct Custody {
    state: State,
    store: Store,
    memory: Arc<Memory>,
    /// One change at a time.
    changing: Mutex<()>,
    /// Whether a successor was given the roots by this process.
    given: AtomicBool,
}

/// Where the roots are.
enum Store {
    Hardware(Hardware),
    Keyring(Keyring),
}

impl Custody {
    /// Opens what is in `folder`. On an empty one the first start makes hardware roots; a key ring is made by [`init`](Self::init)
    /// alone (R95, B39).
    pub(crate) fn open(tee: &Arc<dyn Tee>, folder: &Path, policy: &Policy) -> Result<(Self, Roots), Error> {
        let custody = Self::at(tee, folder, policy)?;
        match (&custody.store, custody.is_begun()?) {
            (Store::Hardware(_), false) => custody.begin()?,
            (Store::Keyring(_), false) => {
                let state_dir = custody.state.folder().into();
                return Err(CustodyError::NotInitialised { state_dir }.into());
            }
            (_, true) => {}
        }
        let roots = custody.roots(policy)?;
        if let Err(error) = custody.refresh() {
            tracing::warn!(code = error.code(), "the state cannot be bound to the versions of today");
        }
        Ok((custody, roots))
    }

    /// Makes the first root, where there is nothing at all, or where doing so was cut off.
    pub(crate) fn init(tee: &Arc<dyn Tee>, folder: &Path, policy: &Policy) -> Result<(Self, Roots), Error> {
        let custody = Self::at(tee, folder, policy)?;
        if custody.is_begun()? {
            return Err(CustodyError::Exists { state_dir: folder.into() }.into());
        }
        custody.begin()?;
        let roots = custody.roots(policy)?;
        Ok((custody, roots))
    }

    /// The state in `folder`, which nobody else works on from now on.
    fn at(tee: &Arc<dyn Tee>, folder: &Path, policy: &Policy) -> Result<Self, Error> {
        let state = State::open(folder)?;
        let (mine, other) = match policy.terms.custody {
            Kind::Hardware => (hardware::FILE, keyring::FILE),
            Kind::Keyring => (keyring::FILE, hardware::FILE),
        };
        if state.has(other) {
            return Err(CustodyError::OtherCustody { found: state.path(other) }.into());
        }
        let memory = Memory::open(tee, &state.path(memory::FILE), policy, state.has(mine))?;
        let store = match policy.terms.custody {
            Kind::Hardware => Store::Hardware(Hardware::new(tee, &state, policy)),
            Kind::Keyring => Store::Keyring(Keyring::new(tee, &state, policy)?),
        };
        Ok(Self {
            state,
            store,
            memory: Arc::new(memory),
            changing: Mutex::new(()),
            given: AtomicBool::new(false),
        })
    }

    /// Whether there is a root, or was one (R95). A memory that knows of none yet is what a start leaves that was cut off.
    fn is_begun(&self) -> Result<bool, Error> {
        let file = self.store.file();
        if self.state.has(file) {
            return Ok(true);
        }
        self.state.require_unused(file)?;
        if self.memory.remembered().newest_epoch > 0 {
            return Err(self.state.missing(memory::FILE));
        }
        Ok(false)
    }

    /// The memory comes first: roots without one would be those of somebody who lost it.
    fn begin(&self) -> Result<(), Error> {
        self.memory.begin()?;
        match &self.store {
            Store::Hardware(hardware) => hardware.create(),
            Store::Keyring(keyring) => keyring.create(),
        }
    }

    /// The roots that are there, are not retired, and are not below the floor.
    pub(crate) fn roots(&self, policy: &Policy) -> Result<Roots, Error> {
        let roots = match &self.store {
            Store::Hardware(hardware) => hardware.roots()?,
            Store::Keyring(keyring) => keyring.roots()?,
        };
        self.memory.admit(policy, roots)
    }

    /// What may not fall.
    pub(crate) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    /// Adds epoch `to`, the one after the newest; `false` if it is there already (R85).
    pub(crate) fn rotate(&self, to: u32) -> Result<bool, Error> {
        let _one = self.one_change();
        self.require_not_given()?;
        match &self.store {
            Store::Hardware(hardware) => hardware.rotate(to),
            Store::Keyring(keyring) => keyring.rotate(to),
        }
    }

    /// Takes the root of an epoch out of use; `false` if it is already. Nothing is erased (R84).
    pub(crate) fn retire(&self, epoch: u32) -> Result<bool, Error> {
        let _one = self.one_change();
        self.require_not_given()?;
        match &self.store {
            Store::Hardware(hardware) => hardware.retire(epoch),
            Store::Keyring(keyring) => keyring.retire(epoch),
        }
    }

    /// An epoch that only one of two providers has is lost with that one.
    fn require_not_given(&self) -> Result<(), Error> {
        if self.given.load(Ordering::Acquire) {
            return Err(CustodyError::HandedOver.into());
        }
        Ok(())
    }

    /// Refuses all epochs below `epoch` from now on (R83).
    pub(crate) fn raise_floor(&self, policy: &Policy, epoch: u32) -> Result<(), Error> {
        let _one = self.one_change();
        let newest = self.roots(policy)?.current().epoch();
        if epoch > newest {
            return Err(CustodyError::NoSuchEpoch(epoch).into());
        }
        self.memory.raise_floor(epoch)
    }

    /// Binds the memory and the key ring to the versions of today; `false` where they are (R5).
    pub(crate) fn refresh(&self) -> Result<bool, Error> {
        let _one = self.one_change();
        let memory = self.memory.refresh()?;
        match &self.store {
            Store::Hardware(_) => Ok(memory),
            Store::Keyring(keyring) => Ok(keyring.refresh()? | memory),
        }
    }
}

impl Custody {
    /// Puts roots that came from elsewhere in `folder`, where there are none, or where doing so was cut off. `write` fills the ring,
    /// and `seen` is what may not fall. What opens it here has to be this enclave.
    pub(crate) fn receive(
        tee: &Arc<dyn Tee>,
        folder: &Path,
        policy: &Policy,
        seen: &memory::Remembered,
        write: impl FnOnce(&mut File) -> Result<(), Error>,
    ) -> Result<Roots, Error> {
        let custody = Self::at(tee, folder, policy)?;
        if custody.is_begun()? {
            return Err(CustodyError::Exists { state_dir: folder.into() }.into());
        }
        let keyring = custody.keyring()?;
        custody.memory.begin()?;
        // Until there are roots it knows of none, so that this can be done again.
        custody.memory.join(&memory::Remembered { newest_epoch: 0, ..seen.clone() })?;
        keyring.receive(write)?;
        custody.memory.join(seen)?;
        custody.roots(policy)
    }

    /// Waits until nobody else changes the roots.
    pub(crate) fn one_change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring, as the hardware's roots leave it for nobody.
    fn keyring(&self) -> Result<&Keyring, Error> {
        match &self.store {
            Store::Hardware(_) => Err(CustodyError::BoundToHardware.into()),
            Store::Keyring(keyring) => Ok(keyring),
        }
    }
}

impl Store {
    const fn file(&self) -> &'static str {
        match self {
            Self::Hardware(_) => hardware::FILE,
            Self::Keyring(_) => keyring::FILE,
        }
    }
}
