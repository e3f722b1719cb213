//! Documents that a descriptor's keys have signed.

use std::collections::BTreeSet;

use bulla_crypto::{Class, Info, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{BadDescriptor, Descriptor, b64};

/// What a document is. A signature for one role is none for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentRole {
    /// A provider's policy, by its authority.
    Policy,
    /// A [`Manifest`](crate::Manifest), by the owner of an image.
    Manifest,
    /// A command to a running provider, by its authority.
    Command,
}

impl DocumentRole {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Policy, Self::Manifest, Self::Command];

    /// The role's name, as the signature covers it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Manifest => "manifest",
            Self::Command => "command",
        }
    }
}

/// A document, who signs it, and the signatures so far: one JSON object, the same in files and on the wire.
///
/// Nothing in it counts before [`Signed::verify`], and then only for the one role asked for. Whether the signers are the
/// right ones is for the caller to say, by [`Verified::id`].
///
/// ```
/// use bulla_crypto::SigningKey;
/// use bulla_protocol::{Descriptor, DocumentRole, Signed};
///
/// let key = SigningKey::generate()?;
/// let acme = Descriptor::new("acme", 1, &[key.verifying_key()])?;
/// let mut signed = Signed::new(&acme, "version = 1\n");
/// signed.sign(DocumentRole::Policy, &key)?;
///
/// let verified = signed.verify(DocumentRole::Policy)?;
/// assert_eq!(verified.id, acme.id());
/// assert!(signed.verify(DocumentRole::Manifest).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The TOML form of the signers' [`Descriptor`].
    pub descriptor: String,
    /// The document, to the byte.
    pub document: String,
    /// One for each key that has signed.
    pub signatures: Vec<Signature>,
}

/// One key's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The Ed25519 public key.
    #[serde(with = "b64")]
    pub key: [u8; 32],
    /// Over [`Signed::message`].
    #[serde(with = "b64")]
    pub signature: [u8; 64],
}

/// A document whose signatures have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// Who signed.
    pub signers: Descriptor,
    /// [`Descriptor::id`] of the signers.
    pub id: [u8; 32],
    /// What they signed.
    pub document: &'a str,
}

impl Signed {
    /// The largest JSON form, in bytes.
    pub const LIMIT: usize = 128 * 1024;
    /// The longest document, in bytes.
    pub const DOCUMENT_MAX: usize = 64 * 1024;

    /// A document that nobody has signed yet.
    pub fn new(signers: &Descriptor, document: &str) -> Self {
        Self { descriptor: signers.to_toml(), document: document.to_owned(), signatures: Vec::new() }
    }

    /// Reads the JSON form. Nothing is verified.
    ///
    /// # Errors
    /// [`SignedError::Malformed`] for anything but the one object, [`SignedError::TooLarge`] above [`Signed::LIMIT`].
    pub fn from_json(json: &[u8]) -> Result<Self, SignedError> {
        if json.len() > Self::LIMIT {
            return Err(SignedError::TooLarge);
        }
        serde_json::from_slice(json).map_err(|error| SignedError::Malformed(error.to_string()))
    }

    /// The JSON form, as a file has it.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("texts and lists are JSON");
        json + "\n"
    }

    /// What a signature covers.
    pub fn message(role: DocumentRole, signers: &[u8; 32], document: &str) -> Info {
        Info::new("bulla/signed-document/v1")
            .part("role", role.as_str().as_bytes())
            .part("signers", signers)
            .part("document", document.as_bytes())
    }

    /// Adds the signature of one key.
    ///
    /// # Errors
    /// As [`Signed::signers`]; [`SignedError::UnknownKey`] for a key that the descriptor does not have,
    /// [`SignedError::SignedTwice`] for one that has signed.
    pub fn sign(&mut self, role: DocumentRole, key: &SigningKey) -> Result<(), SignedError> {
        let signers = self.signers()?;
        let public = key.verifying_key();
        if !signers.contains(&public) {
            return Err(SignedError::UnknownKey(*public.as_bytes()));
        }
        if self.signatures.iter().any(|signature| signature.key == *public.as_bytes()) {
            return Err(SignedError::SignedTwice(*public.as_bytes()));
        }
        let signature = key.sign(&Self::message(role, &signers.id(), &self.document));
        self.signatures.push(Signature { key: *public.as_bytes(), signature });
        Ok(())
    }

    /// Who is to sign, without a look at who has.
    ///
    /// # Errors
    /// [`SignedError::Descriptor`], [`SignedError::TooLarge`].
    pub fn signers(&self) -> Result<Descriptor, SignedError> {
        if self.document.len() > Self::DOCUMENT_MAX {
            return Err(SignedError::TooLarge);
        }
        Ok(Descriptor::from_toml(&self.descriptor)?)
    }

    /// How many of the descriptor's keys have signed the document in this role. Every signature that is there has to be good.
    ///
    /// # Errors
    /// As [`Signed::signers`]; [`SignedError::UnknownKey`], [`SignedError::SignedTwice`], [`SignedError::BadSignature`].
    pub fn count(&self, role: DocumentRole) -> Result<usize, SignedError> {
        let signers = self.signers()?;
        let message = Self::message(role, &signers.id(), &self.document);
        let mut seen = BTreeSet::new();
        for Signature { key, signature } in &self.signatures {
            let public = VerifyingKey::from_bytes(*key);
            if !signers.contains(&public) {
                return Err(SignedError::UnknownKey(*key));
            }
            if !seen.insert(key) {
                return Err(SignedError::SignedTwice(*key));
            }
            public.verify(&message, signature).map_err(|_| SignedError::BadSignature(*key))?;
        }
        Ok(seen.len())
    }

    /// Whether the threshold of the descriptor's keys has signed the document in this role.
    ///
    /// # Errors
    /// As [`Signed::count`]; [`SignedError::TooFew`].
    pub fn verify(&self, role: DocumentRole) -> Result<Verified<'_>, SignedError> {
        let (signers, found) = (self.signers()?, self.count(role)?);
        if found < usize::from(signers.threshold()) {
            return Err(SignedError::TooFew { wanted: signers.threshold(), found });
        }
        Ok(Verified { id: signers.id(), signers, document: &self.document })
    }
}

/// Why something is no signed document, or not signed as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// It is too large to be read.
    #[error("the signed document is too large: at most 64 KiB can be signed")]
    TooLarge,

    /// It is not the JSON of one.
    #[error("this is no signed document: {0}")]
    Malformed(String),

    /// What names the signers does not.
    #[error(transparent)]
    Descriptor(#[from] BadDescriptor),

    /// A key that the descriptor does not have.
    #[error("the key {} is not one of the descriptor's", hex::encode(.0))]
    UnknownKey([u8; 32]),

    /// A key signs once.
    #[error("the key {} has signed already", hex::encode(.0))]
    SignedTwice([u8; 32]),

    /// A signature is not over this document in this role by these signers.
    #[error(
        "the signature of the key {} is not over this document: it was edited, or signed for another purpose or by other \
         signers",
        hex::encode(.0)
    )]
    BadSignature([u8; 32]),

    /// Not enough have signed.
    #[error("{found} have signed, and {wanted} have to")]
    TooFew {
        /// The descriptor's threshold.
        wanted: u8,
        /// How many signatures there are.
        found: usize,
    },
}

impl SignedError {
    /// A stable name for this kind of failure.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "signed.too_large",
            Self::Malformed(_) => "signed.malformed",
            Self::Descriptor(_) => "signed.descriptor",
            Self::UnknownKey(_) => "signed.unknown_key",
            Self::SignedTwice(_) => "signed.twice",
            Self::BadSignature(_) => "signed.bad_signature",
            Self::TooFew { .. } => "signed.too_few",
        }
    }

    /// The class of this failure.
    pub const fn class(&self) -> Class {
        match self {
            Self::TooLarge | Self::Malformed(_) | Self::Descriptor(_) | Self::BadSignature(_) => {
                Class::Damaged
            }
            Self::UnknownKey(_) | Self::SignedTwice(_) | Self::TooFew { .. } => Class::Refused,
        }
    }
}
