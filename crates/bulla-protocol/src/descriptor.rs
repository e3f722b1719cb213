//! Who signs: k of n keys with a name.

use std::collections::BTreeSet;

use bulla_crypto::{Info, VerifyingKey, sha256};
use serde::{Deserialize, Serialize};

use crate::text::is_name;

/// Ed25519 keys, of which a threshold signs. The provider authority is one, and so is the owner of an image.
///
/// It is public, and what it says cannot be changed: its hash is its [id](Self::id), which is what keys are derived with and
/// what clients pin. Its TOML form is a file:
///
/// ```
/// use bulla_crypto::SigningKey;
/// use bulla_protocol::Descriptor;
///
/// let keys = [SigningKey::generate()?, SigningKey::generate()?].map(|key| key.verifying_key());
/// let descriptor = Descriptor::new("acme-platform", 2, &keys)?;
/// assert_eq!(Descriptor::from_toml(&descriptor.to_toml())?.id(), descriptor.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    name: String,
    threshold: u8,
    /// In order, so that one set of keys has one id.
    keys: BTreeSet<[u8; 32]>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Form {
    algorithm: String,
    name: String,
    threshold: u8,
    keys: Vec<String>,
}

const ALGORITHM: &str = "ed25519";

impl Descriptor {
    /// The largest TOML form, in bytes.
    pub const LIMIT: usize = 4 * 1024;
    /// The most keys.
    pub const KEYS_MAX: usize = 16;

    /// A descriptor of these keys, of which `threshold` sign.
    ///
    /// # Errors
    /// [`BadDescriptor`] for a name that is not 1 to 64 letters, digits, `.`, `_` or `-`; for no key or more than
    /// [`Self::KEYS_MAX`]; for a key that is there twice or under which signatures can be forged; for a threshold of zero
    /// or above the number of keys.
    pub fn new(name: &str, threshold: u8, keys: &[VerifyingKey]) -> Result<Self, BadDescriptor> {
        let bad = |why: &str| Err(BadDescriptor(why.into()));
        if !is_name(name) {
            return bad("its name must be 1 to 64 letters, digits, '.', '_' or '-'");
        }
        if keys.is_empty() || keys.len() > Self::KEYS_MAX {
            return bad("it must have 1 to 16 keys");
        }
        if keys.iter().any(VerifyingKey::is_weak) {
            return bad("one of its keys is of small order: anybody can sign under it");
        }
        let distinct: BTreeSet<_> = keys.iter().map(|key| *key.as_bytes()).collect();
        if distinct.len() != keys.len() {
            return bad("one of its keys is there twice");
        }
        if threshold == 0 || usize::from(threshold) > distinct.len() {
            return bad("its threshold must be 1 up to the number of its keys");
        }
        Ok(Self { name: name.to_owned(), threshold, keys: distinct })
    }

    /// Reads the TOML form.
    ///
    /// # Errors
    /// As [`Self::new`]; for a text that is longer than [`Self::LIMIT`], of another algorithm, or has anything unknown,
    /// missing or duplicate in it.
    pub fn from_toml(text: &str) -> Result<Self, BadDescriptor> {
        if text.len() > Self::LIMIT {
            return Err(BadDescriptor(format!("it is longer than {} bytes", Self::LIMIT)));
        }
        let form: Form = toml::from_str(text).map_err(|error| BadDescriptor(error.to_string()))?;
        if form.algorithm != ALGORITHM {
            return Err(BadDescriptor(format!("its algorithm must be \"{ALGORITHM}\"")));
        }
        let decode = |text: &String| {
            let mut bytes = [0; 32];
            let read = hex::decode_to_slice(text, &mut bytes);
            let bad = |_| BadDescriptor("one of its keys is not 32 bytes in hexadecimal".into());
            read.map(|()| VerifyingKey::from_bytes(bytes)).map_err(bad)
        };
        let keys = form.keys.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        Self::new(&form.name, form.threshold, &keys)
    }

    /// The TOML form.
    pub fn to_toml(&self) -> String {
        let form = Form {
            algorithm: ALGORITHM.into(),
            name: self.name.clone(),
            threshold: self.threshold,
            keys: self.keys.iter().map(hex::encode).collect(),
        };
        toml::to_string(&form).expect("texts, numbers and lists are TOML")
    }

    /// Names the descriptor by all that it says, whatever order and spelling its text has.
    pub fn id(&self) -> [u8; 32] {
        let info = Info::new("bulla/descriptor/v1")
            .part("algorithm", ALGORITHM.as_bytes())
            .part("name", self.name.as_bytes())
            .part("threshold", &[self.threshold]);
        sha256(&[self.keys.iter().fold(info, |info, key| info.part("key", key)).as_bytes()])
    }

    /// What people call it. Nothing is decided by it alone: anybody can give a descriptor any name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many keys have to sign.
    pub const fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = VerifyingKey> {
        self.keys.iter().map(|key| VerifyingKey::from_bytes(*key))
    }

    /// Whether `key` is one of the keys.
    pub fn contains(&self, key: &VerifyingKey) -> bool {
        self.keys.contains(key.as_bytes())
    }
}

/// Something is no descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the descriptor is wrong: {0}")]
pub struct BadDescriptor(String);
