//! Slots: each wraps the file key for one opener.

use std::iter;

use bulla_crypto::{Info, Secret, hkdf, sha256};
use bulla_tee::{KeyRequest, Register};

use crate::Error;
use crate::file_key::FileKey;
use crate::header::{Fixed, RawSlot};
use crate::recipient::{Recipient, RecipientOpener};
use crate::threshold::ThresholdOpener;
use crate::wrapped::WRAPPED_LEN;

/// One opener of an envelope, and the file key wrapped for it.
#[derive(Clone, Debug)]
pub struct Slot {
    opener: Opener,
    /// The opener as it stands in the header, which goes into every key.
    encoded: Vec<u8>,
    salt: [u8; 32],
    wrapped: [u8; WRAPPED_LEN],
}

/// Who opens a slot. A claim until the envelope has been opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Opener {
    /// A machine, which is asked for the key again as it was asked when sealing.
    Machine(KeyRequest),
    /// The holder of a private key.
    Recipient(RecipientOpener),
    /// `k` of `n` holders of private keys.
    Threshold(ThresholdOpener),
}

/// What it takes to open a slot, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Strength {
    /// Nothing: whoever can read a simulated machine's directory can open it (R110).
    Simulated,
    /// One private key, wherever it is kept.
    Recipient,
    /// Several private keys.
    Threshold,
    /// Any program of one signer, on one machine.
    Signer,
    /// One program, on one machine.
    Measurement,
}

impl Slot {
    /// A slot that wraps `file_key` under the key that its opener gets.
    pub(crate) fn wrap(
        opener: Opener,
        opener_key: &[u8],
        salt: [u8; 32],
        fixed: &Fixed,
        file_key: &FileKey,
    ) -> Self {
        let encoded = opener.encode();
        let mut slot = Self { opener, encoded, salt, wrapped: [0; WRAPPED_LEN] };
        slot.wrapped = file_key.wrap(&slot.derived("bulla/envelope/wrap/v1", opener_key, fixed));
        slot
    }

    /// The kind of its opener: that of a machine ([`KeyRequest::kind`]), `recipient` or `threshold`.
    pub fn kind(&self) -> &'static str {
        self.opener.kind()
    }

    /// Who opens it.
    pub fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Whose private keys open it: of one, of several together, of nobody if it is a machine's.
    pub fn recipients(&self) -> Box<dyn Iterator<Item = &Recipient> + '_> {
        match &self.opener {
            Opener::Machine(_) => Box::new(iter::empty()),
            Opener::Recipient(opener) => Box::new(iter::once(opener.recipient())),
            Opener::Threshold(opener) => Box::new(opener.recipients()),
        }
    }

    /// 32 random bytes that tell this slot from every other.
    pub fn salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// What it takes to open it.
    pub fn strength(&self) -> Strength {
        match &self.opener {
            Opener::Machine(KeyRequest::Simulated(_)) => Strength::Simulated,
            Opener::Machine(request) => {
                let policy = request.policy();
                let to_program = match policy.pcr_policy() {
                    Some(pcrs) => pcrs.authority.is_none(),
                    None => policy.registers().any(|register| register == Register::MrEnclave),
                };
                if to_program { Strength::Measurement } else { Strength::Signer }
            }
            Opener::Recipient(_) => Strength::Recipient,
            Opener::Threshold(_) => Strength::Threshold,
        }
    }

    /// Whether it is a simulated machine's; `None` if it is no machine's.
    pub(crate) fn is_simulated(&self) -> Option<bool> {
        match &self.opener {
            Opener::Machine(request) => Some(matches!(request, KeyRequest::Simulated(_))),
            _ => None,
        }
    }

    /// The file key, unless anything that goes into the wrapping key differs.
    pub(crate) fn unwrap(&self, opener_key: &[u8], fixed: &Fixed) -> Result<FileKey, Error> {
        let wrapping_key = self.derived("bulla/envelope/wrap/v1", opener_key, fixed);
        FileKey::unwrap(&self.wrapped, &wrapping_key).map_err(|_| Error::HeaderChanged)
    }

    /// The key of the trailer that this slot's machine writes.
    pub(crate) fn origin_key(&self, opener_key: &[u8], fixed: &Fixed) -> Secret<32> {
        self.derived("bulla/envelope/origin-key/v1", opener_key, fixed)
    }

    pub(crate) fn from_raw(raw: &RawSlot<'_>) -> Result<Self, Error> {
        let opener = Opener::decode(raw.kind, raw.opener)?;
        Ok(Self { opener, encoded: raw.opener.to_vec(), salt: raw.salt, wrapped: raw.wrapped })
    }

    pub(crate) fn to_raw(&self) -> RawSlot<'_> {
        RawSlot { kind: self.kind(), salt: self.salt, opener: &self.encoded, wrapped: self.wrapped }
    }

    /// Binds a key to every selector, to this envelope and to its context (R16, R57).
    fn derived(&self, label: &str, opener_key: &[u8], fixed: &Fixed) -> Secret<32> {
        let info = Info::new(label)
            .part("suite", &fixed.suite.id().to_be_bytes())
            .part("kind", self.kind().as_bytes())
            .part("opener", &self.encoded)
            .part("envelope id", &fixed.envelope_id)
            .part("context hash", &sha256(&[fixed.context.as_bytes()]));
        hkdf(opener_key, &self.salt, &info)
    }
}

impl Opener {
    /// Its name, as it stands in the header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Machine(request) => request.kind(),
            Self::Recipient(_) => RecipientOpener::KIND,
            Self::Threshold(_) => ThresholdOpener::KIND,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Machine(request) => request.encode(),
            Self::Recipient(opener) => opener.encode(),
            Self::Threshold(opener) => opener.encode(),
        }
    }

    fn decode(kind: &str, bytes: &[u8]) -> Result<Self, Error> {
        match kind {
            RecipientOpener::KIND => RecipientOpener::decode(bytes).map(Self::Recipient),
            ThresholdOpener::KIND => ThresholdOpener::decode(bytes).map(Self::Threshold),
            _ => Ok(Self::Machine(KeyRequest::decode(kind, bytes)?)),
        }
    }
}
