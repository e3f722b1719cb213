//! What a line can say. Writer and readers share these types; a reader ignores fields that it does not know.

use std::collections::BTreeMap;

use bulla_protocol::v1::Selector;
use serde::{Deserialize, Serialize};

/// By which protocol something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The frames of the earlier providers.
    Legacy,
    /// Protocol v1.
    V1,
}

impl Mode {
    /// The name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::V1 => "v1",
        }
    }
}

/// What a line says. None of it is evidence, a platform's identifier, a ciphertext or a secret (R97).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Entry {
    /// A provider started, and signs from here on with the key that it states.
    Start(Stated),
    /// The provider answers under another policy or other roots from here on, or could prove who it is only now.
    Statement(Stated),
    /// A key left, or may have left.
    Released(Released),
    /// Requests were refused.
    Refused(Refused),
    /// Public keys of described guests were given.
    PublicKeys(PublicKeys),
    /// Something was done to the provider.
    Event(Event),
    /// The provider's signature over all lines before this one.
    Checkpoint {
        /// Ed25519, hexadecimal.
        signature: String,
    },
    /// What a crash or a failing disk has left behind the last good line ends here.
    Recovered(Recovered),
    /// The first line of a further file.
    Continued(Continued),
    /// The provider found at a start that what was there is not what it had written.
    Broken(Broken),
}

/// Who signs the log, and what it answers under. Hashes and keys are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// Version of the program.
    pub version: String,
    /// Ed25519 key of the checkpoints that follow, and of every answer.
    pub signing_key: String,
    /// MRENCLAVE.
    pub measurement: String,
    /// Hash of the authority's descriptor.
    pub authority: String,
    /// Name and version of the policy.
    pub policy: String,
    /// Hash of the policy document.
    pub policy_digest: String,
    /// Ids of the roots; new keys come from the last.
    pub roots: Vec<String>,
    /// SHA-256 of the statement with its quote, which is kept beside the log in `statements`; absent while the provider
    /// cannot prove who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Whether the machine is simulated, and so protects nothing (R110).
    pub simulated: bool,
}

/// One answer with keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// By which protocol.
    pub mode: Mode,
    /// SHA-256 of the evidence as it was sent, hexadecimal.
    pub evidence: String,
    /// What the keys are bound to: `measurement`, `registers:NAME/VERSION`, `owner:ID/PRODUCT/SVN`, or `legacy`.
    pub binding: String,
    /// The instance, if the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The keys; none for the one key of the legacy formula.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Selector>,
    /// The root that they come from.
    pub root_id: String,
    /// Its epoch.
    pub epoch: u32,
    /// Name and version of the policy.
    pub policy: String,
    /// Its hash.
    pub policy_digest: String,
    /// Whether the machine is simulated.
    pub simulated: bool,
}

/// How often requests were refused for one cause. Written when the count is a power of two, and at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// By which protocol.
    pub mode: Mode,
    /// What the peer was told.
    pub code: String,
    /// The precise cause; [`advice`](super::advice) has the sentence.
    pub cause: String,
    /// How often since the start.
    pub count: u64,
    /// The path of the first key that was asked for, if the request came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// SHA-256 of the evidence of the last of them, if it came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Name and version of the policy.
    pub policy: String,
    /// Its hash.
    pub policy_digest: String,
    /// Whether the machine is simulated.
    pub simulated: bool,
}

/// How often public keys of described guests were given under one path. They are public, and anybody may ask; so they are counted and
/// written as refusals are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeys {
    /// By which protocol.
    pub mode: Mode,
    /// How often since the start.
    pub count: u64,
    /// The path of the key; absent where there are too many to be told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// SHA-256 of the last description as it was sent, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name and version of the policy.
    pub policy: String,
    /// Its hash.
    pub policy_digest: String,
    /// Whether the machine is simulated.
    pub simulated: bool,
}

/// A reload, a rotation, an admin command, an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub event: String,
    /// With what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<String, String>,
}

/// What was left behind the line that this one follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Bytes between that line and this one, line ends included, that belong to no line.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
    /// Entries of the running provider that could not be written; no key of theirs left.
    pub lost: u64,
}

/// Where a further file goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continued {
    /// The number of the file before.
    pub file: u32,
    /// Who signs; the same as before.
    #[serde(flatten)]
    pub stated: Stated,
}

/// What the provider found instead of what it had written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The file.
    pub file: String,
    /// Where and what, in words.
    pub found: String,
}
