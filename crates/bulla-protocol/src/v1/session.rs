//! Sessions: both sides show evidence for one TLS connection, and keys then travel inside it without any further quote.

use bulla_crypto::{Info, SecretBytes, sha256};
use bulla_tee::ReportData;
use serde::{Deserialize, Serialize};

use super::selector::{self, Binding, Selector};
use super::{EvidenceKind, Statement, VERSION, read};
use crate::{Code, QUOTE_MAX, Signed, b64};

/// The body of `POST /v1/session`: the guest's evidence for this connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOrder {
    /// [`VERSION`].
    pub version: u8,
    /// What `evidence` is.
    pub kind: EvidenceKind,
    /// Evidence of the guest over its side's exporter value, `TlsSide::Client`; at most [`QUOTE_MAX`] bytes.
    #[serde(with = "b64")]
    pub evidence: Vec<u8>,
}

/// The answer: the provider's own evidence for this connection, and how far the session goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionAnswer {
    /// SGX quote of the provider over its side's exporter value, `TlsSide::Server`.
    #[serde(with = "b64")]
    pub quote: Vec<u8>,
    /// The session ends after so many seconds, or earlier.
    pub expires_in: u32,
    /// The session ends after so many keys, or earlier.
    pub keys: u32,
    /// Ed25519 signature over [`SessionAnswer::signed`] by the key of the provider's [`Statement`].
    #[serde(with = "b64")]
    pub signature: [u8; 64],
}

/// The body of `POST /v1/session/keys`. The session says who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// What the keys are bound to.
    pub binding: Binding,
    /// The root that the keys come from.
    #[serde(with = "b64")]
    pub root_id: [u8; 16],
    /// As in a [`Request`](super::Request).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub instance: Option<String>,
    /// What entitles the guest, for an owner's binding.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub manifest: Option<Signed>,
    /// The wanted keys, 1 to 256.
    pub keys: Vec<Selector>,
}

/// The answer to a [`SessionRequest`]. What carries it is what keeps it secret: it is written for an attested connection and
/// for nothing else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionKeys {
    /// The keys, one after the other.
    #[serde(with = "b64::secret")]
    pub keys: SecretBytes,
    /// As in an [`Answer`](super::Answer).
    #[serde(with = "b64")]
    pub head: [u8; 32],
}

impl SessionOrder {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// As [`Order::from_json`](super::Order::from_json).
    pub fn from_json(body: &[u8]) -> Result<Self, Code> {
        let order: Self = read(body)?;
        if order.version != VERSION {
            return Err(Code::Unsupported);
        }
        if order.evidence.len() > QUOTE_MAX { Err(Code::TooLarge) } else { Ok(order) }
    }
}

impl SessionAnswer {
    /// What the provider signs: both sides of the connection, the guest's evidence, its own statement and evidence, and the
    /// bounds. `client` and `server` are the report data of the two sides, each from one's own end of the connection (R39,
    /// R42).
    pub fn signed(
        &self,
        client: &ReportData,
        server: &ReportData,
        evidence: &[u8],
        statement: &Statement,
    ) -> Info {
        Info::new("bulla/session/v1")
            .part("client", client.as_bytes())
            .part("server", server.as_bytes())
            .part("evidence", &sha256(&[evidence]))
            .part("provider", statement.report_data().as_bytes())
            .part("quote", &sha256(&[&self.quote]))
            .part("expires in", &self.expires_in.to_be_bytes())
            .part("keys", &self.keys.to_be_bytes())
    }
}

impl SessionRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// As [`Order::from_json`](super::Order::from_json); as [`check`](selector::check).
    pub fn from_json(body: &[u8]) -> Result<Self, Code> {
        let request: Self = read(body)?;
        selector::check(&request.binding, request.instance.as_deref(), &request.keys)?;
        Ok(request)
    }
}
