//! The protocol from the guest's side, as decisions over bytes: no connection, no clock, no machine.
//!
//! ```text
//! statement -> Provider::judge        the pinned provider, or an error
//! challenge -> Draft::new             what the guest's evidence has to cover
//! evidence  -> Draft::with_evidence   the order to send
//! answer    -> Pending::open          the keys, or an error
//! ```

use std::sync::Arc;

use bulla_attest::Platform;
use bulla_crypto::{EntropyFailure, HpkePrivateKey, HpkeSealed, Kem, SecretBytes, VerifyingKey};
use bulla_protocol::Signed;
use bulla_protocol::v1::{
    self, Answer, Challenge, EvidenceKind, Order, Request, Selector, Statement, Transcript,
};
use bulla_tee::{Identity, ReportData};

use crate::client::OwnEvidence;
use crate::judge::require;
use crate::{Clause, Error, Judge, Keys, Pin, Wanted};

/// The pinned provider, proved by its quote.
pub(crate) struct Provider {
    pub(crate) statement: Statement,
    /// The root that new keys come from.
    pub(crate) current_root: [u8; 16],
    /// MRENCLAVE.
    pub(crate) measurement: [u8; 32],
    pub(crate) platform: Platform,
}

impl Provider {
    /// Judges the body of `GET /v1/provider` (R40).
    pub(crate) fn judge(body: &[u8], judge: &Judge, pin: &Pin) -> Result<Self, Error> {
        let statement: Statement =
            serde_json::from_slice(body).map_err(|_| Error::Malformed("a provider's statement"))?;
        let claims = judge.claims(&statement.quote).map_err(Error::ProviderEvidence)?;
        let Identity::Sgx(enclave) = &claims.identity else {
            return Err(Error::NoEnclave);
        };
        pin.enclave.require(enclave)?;
        claims
            .require_report_data(statement.report_data().as_bytes())
            .map_err(|_| Error::UncoveredStatement)?;
        require(Clause::Authority, &pin.authority, &statement.authority)?;
        let current_root = statement.current_root().ok_or(Error::Malformed("a provider's statement"))?.id;
        if let Some(root_id) = &pin.root_id {
            require(Clause::Root, root_id, &current_root)?;
        }
        Ok(Self { statement, current_root, measurement: enclave.mrenclave, platform: claims.platform })
    }

    /// R36: what the host says of the machine, the QE ID in a quote's header included, decides nothing. A report names none: the
    /// provider's processor judges it.
    pub(crate) fn require_machine(&self, own: &OwnEvidence) -> Result<(), Error> {
        let Some(own) = &own.platform else { return Ok(()) };
        own.require_same_machine(&self.platform).map_err(Error::OtherMachine)
    }
}

/// A request for which the guest has not made its evidence yet.
pub(crate) struct Draft {
    provider: Arc<Provider>,
    key: HpkePrivateKey,
    request: Request,
    manifest: Option<Signed>,
    event_log: Option<Vec<u8>>,
}

impl Draft {
    /// Takes a challenge that was never used, and a fresh one-time key.
    pub(crate) fn new(
        kem: Kem,
        wanted: &Wanted,
        provider: &Arc<Provider>,
        challenge: Challenge,
    ) -> Result<Self, Error> {
        // Entropy is the one thing that making a key can lack.
        let key = HpkePrivateKey::generate(kem).map_err(|_| Error::Entropy(EntropyFailure))?;
        let request = Request {
            version: v1::VERSION,
            suite: match kem {
                Kem::X25519 => v1::SUITE_X25519,
                Kem::XWing => v1::SUITE_XWING,
            },
            binding: wanted.binding.clone(),
            root_id: wanted.root_id.unwrap_or(provider.current_root),
            provider_key: provider.statement.signing_key,
            public_key: key.public_key().as_bytes().into(),
            challenge: challenge.challenge,
            instance: wanted.instance.clone(),
            keys: wanted.keys.clone(),
        };
        // Everything else was checked before.
        request.check().map_err(|_| Error::Malformed("a challenge"))?;
        let (manifest, event_log) = (wanted.manifest.clone(), wanted.event_log.clone());
        Ok(Self { provider: Arc::clone(provider), key, request, manifest, event_log })
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// What the evidence has to cover (R38).
    pub(crate) fn report_data(&self) -> ReportData {
        self.request.report_data()
    }

    pub(crate) fn with_evidence(self, kind: EvidenceKind, evidence: Vec<u8>) -> Pending {
        let Self { provider, key, request, manifest, event_log } = self;
        let order = Order { request, kind, evidence, manifest, event_log };
        let transcript = order.transcript();
        Pending { provider, key, order, transcript }
    }
}

/// An order that waits for its answer.
pub(crate) struct Pending {
    provider: Arc<Provider>,
    key: HpkePrivateKey,
    order: Order,
    transcript: Transcript,
}

impl Pending {
    /// The body of `POST /v1/keys`.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.order).expect("text, numbers and base64 are JSON")
    }

    /// The keys in an answer, in the order in which they were asked for, after everything about the answer was checked (R39,
    /// R41, B21).
    pub(crate) fn open(&self, body: &[u8]) -> Result<Keys, Error> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Error::Malformed("an answer"))?;
        let (request, transcript) = (&self.order.request, &self.transcript);
        let statement = &self.provider.statement;
        let sealed = HpkeSealed { encapsulated_key: answer.encapsulated_key, ciphertext: answer.ciphertext };
        VerifyingKey::from_bytes(statement.signing_key)
            .verify(
                &Answer::signed(transcript, &statement.report_data(), &sealed, &answer.head),
                &answer.signature,
            )
            .map_err(|_| {
                Error::BadAnswer(
                    "the provider did not sign it for this request, or it was changed on the way",
                )
            })?;
        let keys = self.key.open(&transcript.transport_info(), b"", &sealed).map_err(|_| {
            Error::BadAnswer("the keys in it were not encrypted to this guest for this request")
        })?;
        let keys = split(keys.expose(), &request.keys)
            .ok_or(Error::BadAnswer("the keys in it have not the lengths that were asked for"))?;
        Ok(Keys { root_id: request.root_id, keys, head: answer.head })
    }
}

/// The keys that stand one after the other, if they have the right lengths.
pub(crate) fn split(mut keys: &[u8], selectors: &[Selector]) -> Option<Vec<SecretBytes>> {
    let mut found = Vec::with_capacity(selectors.len());
    for selector in selectors {
        let (key, rest) = keys.split_at_checked(selector.length.into())?;
        found.push(SecretBytes::new(key.to_vec()));
        keys = rest;
    }
    keys.is_empty().then_some(found)
}
