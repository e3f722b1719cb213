//! Protocol v1: JSON over HTTP (specified in `docs/spec/protocol.md`).
//!
//! ```text
//! GET  /v1/provider   -> Statement    who the provider is, proved by its quote
//! GET  /v1/challenge  -> Challenge    for one order, on this connection
//! POST /v1/keys       Order -> Answer
//! ```
//!
//! A guest's report data covers every field of its [`Request`] ([`Request::report_data`]); the provider's signature covers
//! the request, the evidence and the ciphertext ([`Answer::signed`]). So whoever edits one selector on the way gets
//! nothing accepted (R38, R39).

use bulla_crypto::{HpkeSealed, Info, Role, RoleHash, sha256};
use bulla_tee::ReportData;
use serde::{Deserialize, Serialize};

use crate::{Code, QUOTE_MAX, b64};

/// The version of this protocol.
pub const VERSION: u8 = 1;
/// Suite 1: HPKE with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Suite 2 is reserved for a post-quantum hybrid.
pub const SUITE_X25519: u16 = 1;
/// The binding to all measurement registers of the guest.
pub const BINDING_MEASUREMENT: &str = "measurement";
/// Keys by HKDF-SHA-256.
pub const ALGORITHM_HKDF_SHA256: &str = "hkdf-sha256";
/// The longest path, in bytes.
pub const PATH_MAX: usize = 256;
/// The longest purpose, in bytes.
pub const PURPOSE_MAX: usize = 64;
/// The shortest and the longest key, in bytes.
pub const KEY_LENGTHS: std::ops::RangeInclusive<u16> = 16..=64;

/// Who a provider is: its signing key, the authority and policy it works under, and a quote that covers all three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Ed25519 key that signs answers, made when the provider started.
    #[serde(with = "b64")]
    pub signing_key: [u8; 32],
    /// Hash of the provider authority's key; an input of every derived key.
    #[serde(with = "b64")]
    pub authority: [u8; 32],
    /// Hash of the policy document.
    #[serde(with = "b64")]
    pub policy_digest: [u8; 32],
    /// The root that new keys come from.
    #[serde(with = "b64")]
    pub root_id: [u8; 16],
    /// SGX quote of the provider over [`Statement::report_data`].
    #[serde(with = "b64")]
    pub quote: Vec<u8>,
}

impl Statement {
    /// The report data of the provider's quote.
    pub fn report_data(&self) -> ReportData {
        RoleHash::new(
            Role::ProviderKey,
            &[
                ("signing key", &self.signing_key),
                ("authority", &self.authority),
                ("policy digest", &self.policy_digest),
                ("root id", &self.root_id),
            ],
        )
    }
}

/// A single-use challenge. Its content is the provider's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// At most 64 bytes.
    #[serde(with = "b64")]
    pub challenge: Vec<u8>,
    /// How long it may be used, in seconds.
    pub expires_in: u32,
}

/// Every selector of a wanted key. All of it is covered by the guest's report data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u8,
    /// How the key is encrypted to the guest: [`SUITE_X25519`].
    pub suite: u16,
    /// What the key is bound to: [`BINDING_MEASUREMENT`].
    pub binding: String,
    /// Names the key; 1 to [`PATH_MAX`] printable ASCII characters.
    pub path: String,
    /// What the key is for; 1 to [`PURPOSE_MAX`] lower-case letters, digits and hyphens.
    pub purpose: String,
    /// How the key is derived: [`ALGORITHM_HKDF_SHA256`].
    pub algorithm: String,
    /// Bytes of the key, within [`KEY_LENGTHS`].
    pub length: u16,
    /// The root that the key comes from. The provider refuses one that it does not have.
    #[serde(with = "b64")]
    pub root_id: [u8; 16],
    /// The provider's signing key, as the guest verified it.
    #[serde(with = "b64")]
    pub provider_key: [u8; 32],
    /// The guest's one-time HPKE public key.
    #[serde(with = "b64")]
    pub public_key: [u8; 32],
    /// The challenge that the provider gave on this connection.
    #[serde(with = "b64")]
    pub challenge: Vec<u8>,
}

impl Request {
    /// Whether every selector is one that exists in this version.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for an unknown version, suite, binding or algorithm; [`Code::Malformed`] for a path, purpose,
    /// length or challenge outside its bounds.
    pub fn check(&self) -> Result<(), Code> {
        let known = self.version == VERSION
            && self.suite == SUITE_X25519
            && self.binding == BINDING_MEASUREMENT
            && self.algorithm == ALGORITHM_HKDF_SHA256;
        if !known {
            return Err(Code::Unsupported);
        }
        let path = (1..=PATH_MAX).contains(&self.path.len())
            && self.path.bytes().all(|byte| byte.is_ascii_graphic());
        let purpose = (1..=PURPOSE_MAX).contains(&self.purpose.len())
            && self.purpose.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !path || !purpose || !KEY_LENGTHS.contains(&self.length) || self.challenge.len() > 64 {
            return Err(Code::Malformed);
        }
        Ok(())
    }

    /// The report data of the guest's evidence: a hash of every field.
    pub fn report_data(&self) -> ReportData {
        RoleHash::new(
            Role::GuestRequest,
            &[
                ("version", &[self.version]),
                ("suite", &self.suite.to_be_bytes()),
                ("binding", self.binding.as_bytes()),
                ("path", self.path.as_bytes()),
                ("purpose", self.purpose.as_bytes()),
                ("algorithm", self.algorithm.as_bytes()),
                ("length", &self.length.to_be_bytes()),
                ("root id", &self.root_id),
                ("provider key", &self.provider_key),
                ("public key", &self.public_key),
                ("challenge", &self.challenge),
            ],
        )
    }

    /// The info of the HPKE encryption that carries the key: the whole request.
    pub fn transport_info(&self) -> Info {
        Info::new("bulla/key-transport/v1").part("request", self.report_data().as_bytes())
    }
}

/// Which evidence an [`Order`] brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EvidenceKind {
    /// A DCAP quote of a TDX guest.
    TdxQuote,
}

/// The body of `POST /v1/keys`: a request and the evidence that covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is wanted.
    pub request: Request,
    /// What `evidence` is.
    pub kind: EvidenceKind,
    /// Evidence of the guest over [`Request::report_data`]; at most [`QUOTE_MAX`] bytes.
    #[serde(with = "b64")]
    pub evidence: Vec<u8>,
}

impl Order {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Code::Malformed`] for anything but the one JSON object, unknown and duplicate fields included (B4);
    /// [`Code::TooLarge`] for more evidence than [`QUOTE_MAX`]; as [`Request::check`].
    pub fn from_json(body: &[u8]) -> Result<Self, Code> {
        let order: Self = serde_json::from_slice(body).map_err(|_| Code::Malformed)?;
        if order.evidence.len() > QUOTE_MAX {
            return Err(Code::TooLarge);
        }
        order.request.check()?;
        Ok(order)
    }
}

/// The answer to an [`Order`]: the key, encrypted to the guest's one-time key, and the provider's signature over all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The HPKE encapsulated key.
    #[serde(with = "b64")]
    pub encapsulated_key: [u8; 32],
    /// The key, encrypted under [`Request::transport_info`].
    #[serde(with = "b64")]
    pub ciphertext: Vec<u8>,
    /// Ed25519 signature over [`Answer::signed`] by the key of the provider's [`Statement`].
    #[serde(with = "b64")]
    pub signature: [u8; 64],
}

impl Answer {
    /// What the provider signs: the request, the evidence, its own statement and the ciphertext (R39).
    pub fn signed(request: &Request, evidence: &[u8], statement: &Statement, sealed: &HpkeSealed) -> Info {
        Info::new("bulla/answer/v1")
            .part("request", request.report_data().as_bytes())
            .part("evidence", &sha256(&[evidence]))
            .part("provider", statement.report_data().as_bytes())
            .part("encapsulated key", &sealed.encapsulated_key)
            .part("ciphertext", &sealed.ciphertext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            version: VERSION,
            suite: SUITE_X25519,
            binding: BINDING_MEASUREMENT.into(),
            path: "app/db".into(),
            purpose: "disk".into(),
            algorithm: ALGORITHM_HKDF_SHA256.into(),
            length: 32,
            root_id: [1; 16],
            provider_key: [2; 32],
            public_key: [3; 32],
            challenge: vec![4; 48],
        }
    }

    /// R38: report data covers every field, so an edit of any of them shows.
    #[test]
    fn every_field_changes_the_report_data() {
        let original = serde_json::to_value(request()).unwrap();
        let fields = original.as_object().unwrap();
        assert_eq!(fields.len(), 11);
        for (name, value) in fields {
            let mut edited = original.clone();
            edited[name] = match value {
                serde_json::Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
                serde_json::Value::String(text) if text.ends_with('=') || text.len() > 40 => {
                    let other = if text.starts_with('A') { "B" } else { "A" };
                    format!("{other}{}", &text[1..]).into()
                }
                text => format!("{}x", text.as_str().unwrap()).into(),
            };
            let edited: Request = serde_json::from_value(edited).unwrap();
            assert_ne!(edited.report_data(), request().report_data(), "{name}");
        }
    }

    #[test]
    fn selectors_have_bounds() {
        type Edit = fn(&mut Request);
        let cases: [(Edit, Code); 14] = [
            (|r| r.version = 2, Code::Unsupported),
            (|r| r.suite = 2, Code::Unsupported),
            (|r| r.binding = "owner".into(), Code::Unsupported),
            (|r| r.algorithm = "hkdf-sha384".into(), Code::Unsupported),
            (|r| r.path.clear(), Code::Malformed),
            (|r| r.path = "x".repeat(257), Code::Malformed),
            (|r| r.path = "a b".into(), Code::Malformed),
            (|r| r.path = "a\u{0}".into(), Code::Malformed),
            (|r| r.purpose = "Disk".into(), Code::Malformed),
            (|r| r.purpose.clear(), Code::Malformed),
            (|r| r.purpose = "x".repeat(65), Code::Malformed),
            (|r| r.length = 15, Code::Malformed),
            (|r| r.length = 65, Code::Malformed),
            (|r| r.challenge = vec![0; 65], Code::Malformed),
        ];
        assert_eq!(request().check(), Ok(()));
        for (edit, code) in cases {
            let mut edited = request();
            edit(&mut edited);
            assert_eq!(edited.check(), Err(code), "{edited:?}");
        }
    }

    /// B4: an order with unknown, missing, duplicate or trailing parts is none.
    #[test]
    fn an_order_is_exactly_one_shape() {
        let order = Order { request: request(), kind: EvidenceKind::TdxQuote, evidence: vec![9; 10] };
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(Order::from_json(json.as_bytes()), Ok(order.clone()));
        for bad in [
            json.replace("\"kind\"", "\"more\":1,\"kind\""),
            json.replace("\"length\":32", "\"length\":32,\"length\":32"),
            json.replace("\"length\":32,", ""),
            json.replace("tdx-quote", "sgx-quote"),
            format!("{json} x"),
            json.replace(
                "\"version\":1",
                &format!("\"version\":{}1{}", "[".repeat(99_999), "]".repeat(99_999)),
            ),
        ] {
            assert_eq!(Order::from_json(bad.as_bytes()), Err(Code::Malformed));
        }
        let big = Order { evidence: vec![0; QUOTE_MAX + 1], ..order };
        assert_eq!(Order::from_json(&serde_json::to_vec(&big).unwrap()), Err(Code::TooLarge));
    }
}
