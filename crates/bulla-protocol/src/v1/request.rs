//! What a guest asks for, and what its evidence has to cover.

use bulla_crypto::{Info, Kem, Role, RoleHash};
use bulla_tee::ReportData;
use serde::{Deserialize, Serialize};

use super::selector::{self, Binding, Selector};
use crate::{Code, b64};

/// The version of this protocol.
pub const VERSION: u8 = 1;
/// Suite 1: HPKE with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, where the provider's policy allows it.
pub const SUITE_X25519: u16 = 1;
/// Suite 2: HPKE with X-Wing (ML-KEM-768 and X25519), HKDF-SHA256, AES-256-GCM.
pub const SUITE_XWING: u16 = 2;
/// The longest challenge, in bytes.
pub const CHALLENGE_MAX: usize = 64;

/// A single-use challenge. Its content is the provider's business.
///
/// It is the answer to `GET /v1/challenge`, and stands in the field [`Challenge::FIELD`] of the answers that an order can follow,
/// so that one exchange is enough for each order on a connection. Nobody signs either: a challenge that was exchanged on the way
/// costs its order, as a message does that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// At most [`CHALLENGE_MAX`] bytes.
    #[serde(with = "b64")]
    pub challenge: Vec<u8>,
    /// How long it may be used, in seconds.
    pub expires_in: u32,
}

impl Challenge {
    /// The name of the HTTP field in which the next challenge comes with an answer.
    pub const FIELD: &str = "bulla-challenge";

    /// The value of the field: the same JSON, on one line.
    pub fn to_field(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and base64 are JSON")
    }

    /// What a field says. `None` for one that is nothing to build an order on; whoever has none asks for one.
    pub fn from_field(value: &[u8]) -> Option<Self> {
        let challenge: Self = serde_json::from_slice(value).ok()?;
        (challenge.challenge.len() <= CHALLENGE_MAX && challenge.expires_in > 0).then_some(challenge)
    }
}

/// Everything that selects the wanted keys and says where they go. All of it is covered by the guest's report data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u8,
    /// How the keys are encrypted to the guest: [`SUITE_XWING`] or [`SUITE_X25519`].
    pub suite: u16,
    /// What the keys are bound to.
    pub binding: Binding,
    /// The root that the keys come from. The provider refuses one that it does not have.
    #[serde(with = "b64")]
    pub root_id: [u8; 16],
    /// The provider's signing key, as the guest verified it.
    #[serde(with = "b64")]
    pub provider_key: [u8; 32],
    /// The guest's one-time HPKE public key: 32 bytes in suite 1, 1,216 in suite 2.
    #[serde(with = "b64")]
    pub public_key: Vec<u8>,
    /// The challenge that the provider gave on this connection.
    #[serde(with = "b64")]
    pub challenge: Vec<u8>,
    /// Separates instances that are bound to the same: each gets keys of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub instance: Option<String>,
    /// The wanted keys, 1 to 256.
    pub keys: Vec<Selector>,
}

impl Request {
    /// Whether everything in it exists in this version.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for an unknown version or suite, [`Code::BadPublicKey`] for a public key of a wrong length,
    /// [`Code::Malformed`] for a challenge that is too long; as [`check`](selector::check).
    pub fn check(&self) -> Result<(), Code> {
        let kem = self.kem().filter(|_| self.version == VERSION).ok_or(Code::Unsupported)?;
        if self.public_key.len() != kem.public_key_len() {
            return Err(Code::BadPublicKey);
        }
        if self.challenge.len() > CHALLENGE_MAX {
            return Err(Code::Malformed);
        }
        selector::check(&self.binding, self.instance.as_deref(), &self.keys)
    }

    /// The key encapsulation of the suite, if it is one of the two.
    pub const fn kem(&self) -> Option<Kem> {
        match self.suite {
            SUITE_X25519 => Some(Kem::X25519),
            SUITE_XWING => Some(Kem::XWing),
            _ => None,
        }
    }

    /// The report data of the guest's evidence: a hash of every field.
    pub fn report_data(&self) -> ReportData {
        let suite = self.suite.to_be_bytes();
        let binding = self.binding.info();
        let keys: Vec<Info> = self.keys.iter().map(Selector::info).collect();
        let mut parts = vec![
            ("version", std::slice::from_ref(&self.version)),
            ("suite", &suite),
            ("binding", binding.as_bytes()),
            ("root id", &self.root_id),
            ("provider key", &self.provider_key),
            ("public key", &self.public_key),
            ("challenge", &self.challenge),
        ];
        parts.extend(self.instance.as_deref().map(|instance| ("instance", instance.as_bytes())));
        parts.extend(keys.iter().map(|key| ("key", key.as_bytes())));
        RoleHash::new(Role::GuestRequest, &parts)
    }
}
