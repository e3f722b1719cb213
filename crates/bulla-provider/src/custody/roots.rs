//! Roots: what every key comes from.

use bulla_crypto::{Info, Secret, hkdf};

use super::Recovery;

/// Every root that keys are derived from, the oldest first; never none.
pub(crate) struct Roots {
    all: Vec<Root>,
    recovery: Option<Recovery>,
}

/// What keys come from.
pub(crate) struct Root {
    epoch: u32,
    key: Secret<32>,
    id: [u8; 16],
}

impl Roots {
    /// `None` without any root.
    pub(super) fn new(all: Vec<Root>, recovery: Option<Recovery>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all, recovery })
    }

    /// The root that new keys come from.
    pub(crate) fn current(&self) -> &Root {
        self.all.last().expect("there is always a root")
    }

    /// The root of this id.
    pub(crate) fn get(&self, id: &[u8; 16]) -> Option<&Root> {
        self.all.iter().find(|root| root.id() == id)
    }

    /// The root of the first epoch, if it is still in use: legacy keys stay on it.
    pub(crate) fn first(&self) -> Option<&Root> {
        self.all.first().filter(|root| root.epoch == 1)
    }

    /// All that are in use, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Root> {
        self.all.iter()
    }

    /// Who can recover them together.
    pub(crate) const fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Those from an epoch on; `None` without any.
    pub(super) fn at_least(self, epoch: u32) -> Option<Self> {
        let all = self.all.into_iter().filter(|root| root.epoch >= epoch).collect();
        Self::new(all, self.recovery)
    }
}

impl Root {
    /// The root of `input`, which is a key of the machine or of a key ring; `origin` says which. That the authority enters keeps
    /// one authority's policy from everything that another one's guests have; that the epoch does, from renumbering.
    pub(super) fn derive(
        custody: &str,
        authority: &[u8; 32],
        epoch: u32,
        origin: [(&str, &[u8]); 2],
        input: &[u8],
    ) -> Self {
        let info = Info::new("bulla/provider/root/v1")
            .part("custody", custody.as_bytes())
            .part("authority", authority)
            .part("epoch", &epoch.to_be_bytes());
        let info = origin.into_iter().fold(info, |info, (name, value)| info.part(name, value));
        Self::from_secret(epoch, hkdf(input, b"", &info))
    }

    pub(crate) fn from_secret(epoch: u32, key: Secret<32>) -> Self {
        let id = *hkdf::<16>(key.expose(), b"", &Info::new("bulla/provider/root-id/v1")).expose();
        Self { epoch, key, id }
    }

    /// Its number, from 1.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The input of every derivation.
    pub(crate) fn key(&self) -> &Secret<32> {
        &self.key
    }

    /// Names the root. It is a hash of it, so nobody can put another root behind the same name.
    pub(crate) const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// The public commitment to the root, longer than its name.
    pub(crate) fn commitment(&self) -> [u8; 32] {
        *hkdf::<32>(self.key.expose(), b"", &Info::new("bulla/provider/root-commitment/v1")).expose()
    }

    /// The "seal key" of the legacy formula: never a key of the hardware, never used by v1.
    pub(crate) fn legacy_seal_key(&self) -> Secret<16> {
        hkdf(self.key.expose(), b"", &Info::new("bulla legacy v0"))
    }
}
