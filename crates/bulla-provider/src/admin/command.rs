//! Commands that make, retire or lower what keys come from: documents that the provider authority has signed.
//!
//! A document is for one process, which it names by its signing key, and is obeyed once, because it carries a nonce that
//! this process has given out and takes back only once (R83, R85). So neither a copy nor a delayed delivery does anything. The
//! development authority, which only simulated machines know, has no key; its documents are obeyed without a signature.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bulla_crypto::{EntropyFailure, RandomSource, SystemRandom};
use bulla_protocol::{DocumentRole, Signed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::record::Ticket;
use crate::{DEVELOPMENT_AUTHORITY, Error, Provider};

/// How many nonces can be out. The oldest gives way.
const NONCES_MAX: usize = 16;

/// What the authority can have a running provider do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Command {
    /// Make the root of an epoch, from which new keys are derived.
    Rotate {
        /// The epoch, one above the current one.
        to: u32,
    },
    /// Give no more keys of an epoch.
    Retire {
        /// The epoch.
        epoch: u32,
    },
    /// Never again accept an epoch below this one.
    Floor {
        /// The epoch.
        epoch: u32,
    },
}

/// A command, with what makes it good for one process and once. TOML.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommandDocument {
    /// 1.
    pub version: u32,
    /// The provider's signing key.
    #[serde(with = "hex")]
    pub provider: [u8; 32],
    /// What this process gave out for one command.
    #[serde(with = "hex")]
    pub nonce: [u8; 32],
    /// What is to be done.
    pub command: Command,
}

impl CommandDocument {
    /// The text to be signed.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers and hexadecimal are TOML")
    }
}

/// Nonces that are out.
pub(crate) struct Nonces(Mutex<VecDeque<[u8; 32]>>);

impl Nonces {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub(super) fn issue(&self) -> Result<[u8; 32], EntropyFailure> {
        let mut nonce = [0; 32];
        SystemRandom.fill(&mut nonce)?;
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.truncate(NONCES_MAX - 1);
        out.push_front(nonce);
        Ok(nonce)
    }

    /// Whether a nonce is out; it no longer is.
    fn redeem(&self, nonce: &[u8; 32]) -> bool {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = out.iter().position(|there| there == nonce);
        place.and_then(|place| out.remove(place)).is_some()
    }
}

/// A document that nobody has signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {
    document: String,
}

/// The roots in use.
pub(super) fn roots(provider: &Provider) -> Vec<Value> {
    let roots = provider.epochs().into_iter();
    roots.map(|(epoch, id)| json!({ "epoch": epoch, "id": hex::encode(id) })).collect()
}

impl Provider {
    /// Does what a document says, if it may.
    pub(crate) fn obey(&self, body: &[u8]) -> Result<Value, Error> {
        let text = self.authorised(body)?;
        let wrong = |error: toml::de::Error| Error::Command(error.to_string().trim_end().to_owned());
        let CommandDocument { version, provider, nonce, command } = toml::from_str(&text).map_err(wrong)?;
        if version != 1 {
            return Err(Error::Command(format!("it has version {version}, and 1 is known")));
        }
        if &provider != self.regime().own.verifying_key() {
            return Err(Error::Command(
                "it is for another provider, or for this one before it was restarted".into(),
            ));
        }
        if !self.operation.nonces.redeem(&nonce) {
            return Err(Error::Command(
                "its nonce is not out: it was used, or others were asked for since".into(),
            ));
        }
        // What is not in the audit log is not done (R100).
        let event = [("command", format!("{command:?}"))];
        let event = event.each_ref().map(|(name, value)| (*name, value.as_str()));
        let noted = self.record.event("command", &event).and_then(Ticket::wait);
        noted.map_err(|_| Error::Command("the audit log cannot be written: make room on its disk".into()))?;
        let _one = self.operation.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match command {
            Command::Rotate { to } => self.rotate(to)?,
            Command::Retire { epoch } => self.retire(epoch)?,
            Command::Floor { epoch } => self.raise_floor(epoch).map(|()| true)?,
        };
        let _ = self.prove();
        tracing::info!(command = ?command, changed, "obeyed a command of the authority");
        Ok(json!({ "changed": changed, "roots": roots(self) }))
    }

    /// The document's text, once it is the authority's.
    fn authorised(&self, body: &[u8]) -> Result<String, Error> {
        let authority = self.regime().policy.authority;
        if authority == DEVELOPMENT_AUTHORITY
            && let Ok(Bare { document }) = serde_json::from_slice(body)
        {
            return Ok(document);
        }
        let signed = Signed::from_json(body).map_err(|error| Error::Command(error.to_string()))?;
        let verified =
            signed.verify(DocumentRole::Command).map_err(|error| Error::Command(error.to_string()))?;
        if verified.id != authority {
            return Err(Error::Command("it is signed by another authority than this provider's".into()));
        }
        Ok(verified.document.to_owned())
    }
}
