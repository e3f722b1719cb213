//! What a provider without roots shows of itself, to be given some: a one-time key, and a quote over it.

use std::str::FromStr;

use bulla::{Kem, Recipient, RecipientKey, Sealer, Unsealer};
use serde::{Deserialize, Serialize};

use bulla_crypto::{Role, RoleHash, sha256};
use bulla_tee::{Policy as KeyPolicy, ReportData, Tee};

use super::CustodyError;
use crate::Error;
use crate::policy::Policy;

const VERSION: u8 = 1;
/// The longest JSON form, in bytes.
const LIMIT: usize = 128 * 1024;

/// What roots are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To go on where another enclave on this machine ends.
    Handover,
    /// To go on where a machine is lost.
    Recovery,
    /// To see that a backup opens, and nothing else.
    Drill,
}

impl Purpose {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Handover => "handover",
            Self::Recovery => "recovery",
            Self::Drill => "drill",
        }
    }
}

/// The request of a provider without roots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    version: u8,
    pub(super) purpose: Purpose,
    #[serde(with = "hex")]
    pub(super) authority: [u8; 32],
    pub(super) policy_version: u32,
    #[serde(with = "hex")]
    pub(super) policy_digest: [u8; 32],
    /// SHA-256 of the backup; zero for a handover.
    #[serde(with = "hex")]
    pub(super) backup: [u8; 32],
    /// The one-time key, as `bulla` writes recipients.
    recipient: String,
    #[serde(with = "hex")]
    pub(super) quote: Vec<u8>,
}

impl Ask {
    /// A new one that lacks its quote, and its private key, sealed to this enclave.
    pub(super) fn new(
        tee: &dyn Tee,
        policy: &Policy,
        purpose: Purpose,
        backup: Option<&[u8]>,
    ) -> Result<(Self, Vec<u8>), Error> {
        let key = RecipientKey::generate(Kem::XWing)?;
        let ask = Self {
            version: VERSION,
            purpose,
            authority: policy.authority,
            policy_version: policy.version,
            policy_digest: policy.digest,
            backup: backup.map_or([0; 32], |backup| sha256(&[backup])),
            recipient: key.recipient().to_string(),
            quote: Vec::new(),
        };
        let secret = Sealer::new(&ask.context())
            .machine(tee, KeyPolicy::measurement())
            .prove_origin()
            .seal(key.to_text().expose())?;
        Ok((ask, secret))
    }

    /// What the quote has to carry: everything that is asked for, and under whose policy. A policy of somebody else could give
    /// away what it is given.
    pub(super) fn report_data(&self) -> ReportData {
        RoleHash::new(
            Role::ProviderAsk,
            &[
                ("purpose", self.purpose.as_str().as_bytes()),
                ("authority", &self.authority),
                ("policy version", &self.policy_version.to_be_bytes()),
                ("policy digest", &self.policy_digest),
                ("backup", &self.backup),
                ("recipient", self.recipient.as_bytes()),
            ],
        )
    }

    /// The private key, which [`Ask::new`] sealed to this enclave for exactly this request.
    pub(super) fn key(&self, tee: &dyn Tee, secret: &[u8]) -> Result<RecipientKey, Error> {
        let (text, _) = Unsealer::new(&self.context()).machine(tee).require_origin().unseal(secret)?;
        let key = RecipientKey::from_text(str::from_utf8(text.expose()).unwrap_or_default())?;
        if *key.recipient() != self.recipient()? {
            return Err(malformed("it is not that of the secret"));
        }
        Ok(key)
    }

    /// The one-time public key.
    pub(super) fn recipient(&self) -> Result<Recipient, Error> {
        let recipient = Recipient::from_str(&self.recipient)?;
        if recipient.to_string() != self.recipient {
            return Err(malformed("its key is not in its one form"));
        }
        Ok(recipient)
    }

    /// Names the request: its quote is not a canonical byte string, and what it covers is.
    pub(super) fn digest(&self) -> [u8; 32] {
        sha256(&[self.report_data().as_bytes()])
    }

    /// Of the envelope of a share that a holder gives for this request.
    pub(super) fn share_context(&self) -> String {
        format!("bulla/provider/share/{}/{}", self.purpose.as_str(), hex::encode(self.digest()))
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("texts and numbers are JSON")
    }

    pub(super) fn from_json(json: &[u8], purpose: Purpose) -> Result<Self, Error> {
        if json.len() > LIMIT {
            return Err(malformed("it is longer than one can be"));
        }
        let ask: Self = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        if ask.version != VERSION {
            return Err(malformed(format!("version {}, and {VERSION} is known", ask.version)));
        }
        if ask.purpose != purpose {
            return Err(malformed(format!("it is for a {}", ask.purpose.as_str())));
        }
        Ok(ask)
    }

    fn context(&self) -> String {
        format!("bulla/provider/ask/{}/{}", self.purpose.as_str(), hex::encode(self.authority))
    }
}

fn malformed(why: impl Into<String>) -> Error {
    CustodyError::Malformed { what: "request", why: why.into() }.into()
}
