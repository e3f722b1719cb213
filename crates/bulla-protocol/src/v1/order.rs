//! A request with its evidence, and the answer to it.

use bulla_crypto::{HpkeSealed, Info, sha256};
use bulla_tee::ReportData;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Statement;
use super::{Request, read};
use crate::{Code, QUOTE_MAX, Signed, b64};

/// Which evidence an [`Order`] brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EvidenceKind {
    /// A DCAP quote of a TDX guest.
    TdxQuote,
    /// A TDREPORT of a TDX guest on the provider's own machine, 1,024 bytes.
    TdxReport,
    /// A report of a SEV-SNP guest.
    SnpReport,
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
    /// What entitles the guest, for an owner's binding.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub manifest: Option<Signed>,
    /// What was measured into the guest's run-time registers, for register policies with a boundary.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "b64::option")]
    pub event_log: Option<Vec<u8>>,
}

impl Order {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Code::Malformed`] for anything but the one JSON object, unknown and duplicate fields included (B4);
    /// [`Code::Unsupported`] for a binding, algorithm or kind of evidence that this version does not know;
    /// [`Code::TooLarge`] for more evidence than [`QUOTE_MAX`]; as [`Request::check`].
    pub fn from_json(body: &[u8]) -> Result<Self, Code> {
        let order: Self = read(body)?;
        if order.evidence.len() > QUOTE_MAX {
            return Err(Code::TooLarge);
        }
        order.request.check()?;
        Ok(order)
    }

    /// What its answer is bound to.
    pub fn transcript(&self) -> Transcript {
        Transcript { request: self.request.report_data(), evidence: sha256(&[&self.evidence]) }
    }
}

/// An order as its answer names it. Both sides compute it, from what was sent and from what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// [`Request::report_data`].
    pub request: ReportData,
    /// SHA-256 of the evidence.
    pub evidence: [u8; 32],
}

impl Transcript {
    /// The info of the HPKE encryption that carries the keys: the whole request.
    pub fn transport_info(&self) -> Info {
        Info::new("bulla/key-transport/v1").part("request", self.request.as_bytes())
    }
}

/// The answer to an [`Order`]: the keys, encrypted to the guest's one-time key, and the provider's signature over all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The HPKE encapsulated key.
    #[serde(with = "b64")]
    pub encapsulated_key: Vec<u8>,
    /// The keys, one after the other, encrypted under [`Transcript::transport_info`].
    #[serde(with = "b64")]
    pub ciphertext: Vec<u8>,
    /// The head of the provider's audit chain after this release: who keeps heads can show that a log was cut (R100).
    #[serde(with = "b64")]
    pub head: [u8; 32],
    /// Ed25519 signature over [`Answer::signed`] by the key of the provider's [`Statement`].
    #[serde(with = "b64")]
    pub signature: [u8; 64],
}

impl Answer {
    /// What the provider signs: the request, the evidence, its own [statement](Statement::report_data), the ciphertext and the
    /// audit head (R39).
    pub fn signed(order: &Transcript, provider: &ReportData, sealed: &HpkeSealed, head: &[u8; 32]) -> Info {
        Info::new("bulla/answer/v1")
            .part("request", order.request.as_bytes())
            .part("evidence", &order.evidence)
            .part("provider", provider.as_bytes())
            .part("encapsulated key", &sha256(&[&sealed.encapsulated_key]))
            .part("ciphertext", &sha256(&[&sealed.ciphertext]))
            .part("head", head)
    }
}
