//! Custody `keyring`: roots are random, sealed in a key ring of `bulla` (`docs/spec/ring.md`), a generation an epoch.
//!
//! The ring opens for this enclave on this machine, and for the recovery recipients together. Its context names the authority,
//! so the same enclave under another authority's policy, which may give roots away, does not open it.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bulla::journal::Journal;
use bulla::{Header, Opened, Opener, Ring, Sealer, Unsealer};

use bulla_tee::{Policy as KeyPolicy, Tee};

use super::refresh::refresh;
use super::{CustodyError, Recovery, Root, Roots, State};
use crate::Error;
use crate::clock::host_time;
use crate::policy::Policy;

/// The ring.
pub(super) const FILE: &str = "roots.ring";
/// Bytes of the file at most, as `bulla` reads rings.
pub(super) const LARGEST: u64 = 512 * 1024;

/// The roots in a ring.
pub(super) struct Keyring {
    tee: Arc<dyn Tee>,
    path: PathBuf,
    authority: [u8; 32],
    context: String,
    pub(super) recovery: Option<Recovery>,
}

impl Keyring {
    pub(super) fn new(tee: &Arc<dyn Tee>, state: &State, policy: &Policy) -> Result<Self, Error> {
        Ok(Self {
            tee: Arc::clone(tee),
            path: state.path(FILE),
            authority: policy.authority,
            context: context(&policy.authority)?,
            recovery: policy.terms.recovery.clone(),
        })
    }

    /// Makes the ring with its first root.
    pub(super) fn create(&self) -> Result<(), Error> {
        let sealer = Sealer::new(&self.context)
            .machine(self.tee.as_ref(), KeyPolicy::measurement())
            .created(host_time())
            .prove_origin();
        let sealer = match &self.recovery {
            Some(recovery) => sealer.threshold(recovery.threshold, &recovery.recipients),
            None => sealer,
        };
        Ring::create(&self.path, sealer, self.unsealer())?;
        Ok(())
    }

    /// The roots of all epochs that are not retired.
    pub(super) fn roots(&self) -> Result<Roots, Error> {
        Ok(roots_of(&self.open()?, &self.authority, self.recovery.clone()))
    }

    /// Adds an epoch with a new random root.
    pub(super) fn rotate(&self, to: u32) -> Result<bool, Error> {
        let mut ring = self.open()?;
        let newest = ring.current().generation();
        if to == 0 || to > newest + 1 {
            return Err(CustodyError::NotNext { next: newest + 1 }.into());
        }
        Ok(ring.rotate(to, Some(host_time()))?)
    }

    /// Takes the root of an epoch out of the ring.
    pub(super) fn retire(&self, epoch: u32) -> Result<bool, Error> {
        let mut ring = self.open()?;
        let newest = ring.current().generation();
        match epoch {
            _ if epoch == newest => Err(CustodyError::CurrentEpoch(epoch).into()),
            _ if epoch == 0 || epoch > newest => Err(CustodyError::NoSuchEpoch(epoch).into()),
            _ => Ok(ring.retire(epoch)?),
        }
    }

    /// Replaces the slot of this machine by one of today's versions, if it is of others. The roots stay, and so does everything
    /// that is served from them meanwhile.
    pub(super) fn refresh(&self) -> Result<bool, Error> {
        refresh(self.tee.as_ref(), &self.unsealer(), &self.path, LARGEST)
    }

    /// Makes the ring out of one from elsewhere.
    pub(super) fn receive(&self, write: impl FnOnce(&mut File) -> Result<(), Error>) -> Result<(), Error> {
        Journal::at(&self.path)?.largest(LARGEST).create(write, |written, ()| {
            let (_, opened) = self.unsealer().unseal(&read(written)?)?;
            self.require_recipients(&opened.header)
        })
    }

    /// The ring as it is on the disk, with what is known of it: it opens here.
    pub(super) fn bytes(&self) -> Result<(Vec<u8>, Opened), Error> {
        let bytes = read(&mut bulla::file::open_sealed(&self.path, LARGEST)?)?;
        let (_, opened) = self.unsealer().unseal(&bytes)?;
        self.require_recipients(&opened.header)?;
        Ok((bytes, opened))
    }

    /// The ring, written by this enclave, for the recovery recipients of the policy and for nobody else (R87).
    pub(super) fn open(&self) -> Result<Ring<'_>, Error> {
        let ring = Ring::open(&self.path, self.unsealer())?;
        self.require_recipients(&ring.opened().header)?;
        Ok(ring)
    }

    pub(super) fn require_recipients(&self, header: &Header) -> Result<(), Error> {
        let mut found = header.slots().iter().filter(|slot| !matches!(slot.opener(), Opener::Machine(_)));
        let is_same = match (found.next().map(bulla::Slot::opener), &self.recovery) {
            (None, None) => true,
            (Some(Opener::Threshold(found)), Some(wanted)) => {
                found.threshold() == wanted.threshold && found.recipients().eq(&wanted.recipients)
            }
            _ => false,
        };
        if !is_same || found.next().is_some() {
            return Err(CustodyError::OtherRecipients.into());
        }
        Ok(())
    }

    pub(super) fn unsealer(&self) -> Unsealer<'_> {
        Unsealer::new(&self.context).machine(self.tee.as_ref()).require_origin()
    }
}

impl Root {
    /// Of a random secret that a ring holds.
    pub(crate) fn keyring(
        authority: &[u8; 32],
        epoch: u32,
        ring: &[u8; 16],
        key: &[u8; 16],
        secret: &[u8],
    ) -> Self {
        let origin = [("ring", ring.as_slice()), ("key", key.as_slice())];
        Self::derive("keyring", authority, epoch, origin, secret)
    }
}

/// The roots in an open ring.
pub(super) fn roots_of(ring: &Ring<'_>, authority: &[u8; 32], recovery: Option<Recovery>) -> Roots {
    let roots = ring.active().map(|(key, secret)| {
        Root::keyring(authority, key.generation(), ring.id(), key.id(), secret.expose())
    });
    Roots::new(roots.collect(), recovery).expect("the newest key of a ring is there")
}

pub(super) fn read(file: &mut File) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(Error::io("reading the key ring"))?;
    Ok(bytes)
}

/// The context of an authority's ring.
pub(super) fn context(authority: &[u8; 32]) -> Result<String, Error> {
    Ok(Ring::context(&hex::encode(authority), "roots")?)
}
