//! The protocol from the guest's side, as decisions over bytes: no connection, no clock, no machine.
//!
//! ```text
//! statement -> Provider::judge        the pinned provider, or an error
//! challenge -> Draft::new             what the guest's evidence has to cover
//! evidence  -> Draft::with_evidence   the order to send
//! answer    -> Pending::open          the key, or an error
//! ```

use bulla_attest::Platform;
use bulla_crypto::{EntropyFailure, HpkePrivateKey, HpkeSealed, Kem, SecretBytes, VerifyingKey};
use bulla_protocol::v1::{self, Answer, Challenge, EvidenceKind, Order, Request, Statement};
use bulla_tee::{Identity, ReportData};

use crate::{Clause, Error, Judge, Pin};

/// A key that can be asked for.
pub(crate) struct Wanted<'a> {
    path: &'a str,
    purpose: &'a str,
    length: u16,
    /// A recorded root, or the one that new keys come from.
    root_id: Option<[u8; 16]>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(
        path: &'a str,
        purpose: &'a str,
        length: u16,
        root_id: Option<[u8; 16]>,
    ) -> Result<Self, Error> {
        let wanted = Self { path, purpose, length, root_id };
        wanted.request([0; 16], [0; 32], [0; 32], Vec::new()).check().map_err(|_| Error::Selectors)?;
        Ok(wanted)
    }

    fn request(
        &self,
        current_root: [u8; 16],
        provider_key: [u8; 32],
        public_key: [u8; 32],
        challenge: Vec<u8>,
    ) -> Request {
        Request {
            version: v1::VERSION,
            suite: v1::SUITE_X25519,
            binding: v1::BINDING_MEASUREMENT.into(),
            path: self.path.into(),
            purpose: self.purpose.into(),
            algorithm: v1::ALGORITHM_HKDF_SHA256.into(),
            length: self.length,
            root_id: self.root_id.unwrap_or(current_root),
            provider_key,
            public_key,
            challenge,
        }
    }
}

/// The pinned provider, proved by its quote.
pub(crate) struct Provider {
    statement: Statement,
    platform: Platform,
}

impl Provider {
    /// Judges the body of `GET /v1/provider` (R40).
    pub(crate) fn judge(body: &[u8], judge: &Judge, pin: &Pin) -> Result<Self, Error> {
        let statement: Statement =
            serde_json::from_slice(body).map_err(|_| Error::Malformed("a provider's statement"))?;
        let claims = judge.claims(&statement.quote).map_err(Error::ProviderEvidence)?;
        // Only an enclave has an MRENCLAVE: whatever else this is a quote of is not the pinned one.
        let measurement = match &claims.identity {
            Identity::Sgx(enclave) => enclave.mrenclave.as_slice(),
            _ => &[],
        };
        require(Clause::Measurement, &pin.measurement, measurement)?;
        claims
            .require_report_data(statement.report_data().as_bytes())
            .map_err(|_| Error::UncoveredStatement)?;
        require(Clause::Authority, &pin.authority, &statement.authority)?;
        if let Some(root_id) = &pin.root_id {
            require(Clause::Root, root_id, &statement.root_id)?;
        }
        Ok(Self { statement, platform: claims.platform })
    }

    /// R36: what the host says of the machine, the QE ID in a quote's header included, decides nothing.
    pub(crate) fn require_machine(&self, own: &Platform) -> Result<(), Error> {
        own.require_same_machine(&self.platform).map_err(Error::OtherMachine)
    }
}

fn require(clause: Clause, wanted: &[u8], found: &[u8]) -> Result<(), Error> {
    if wanted == found {
        return Ok(());
    }
    Err(Error::UntrustedProvider { clause, wanted: hex::encode(wanted), found: hex::encode(found) })
}

/// A request for which the guest has not made its evidence yet.
pub(crate) struct Draft<'a> {
    provider: &'a Provider,
    key: HpkePrivateKey,
    request: Request,
}

impl<'a> Draft<'a> {
    /// Takes the body of `GET /v1/challenge`, and a fresh one-time key.
    pub(crate) fn new(wanted: &Wanted<'_>, provider: &'a Provider, body: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed("a challenge");
        let Ok(Challenge { challenge, .. }) = serde_json::from_slice(body) else {
            return Err(malformed);
        };
        // Entropy is the one thing that making a key can lack.
        let key = HpkePrivateKey::generate(Kem::X25519).map_err(|_| Error::Entropy(EntropyFailure))?;
        let Statement { signing_key, root_id, .. } = &provider.statement;
        let public_key = key.public_key().as_bytes().try_into().expect("an X25519 key is 32 bytes");
        let request = wanted.request(*root_id, *signing_key, public_key, challenge);
        // Everything else was checked before.
        request.check().map_err(|_| malformed)?;
        Ok(Self { provider, key, request })
    }

    /// What the evidence has to cover (R38).
    pub(crate) fn report_data(&self) -> ReportData {
        self.request.report_data()
    }

    pub(crate) fn with_evidence(self, evidence: Vec<u8>) -> Pending<'a> {
        let Self { provider, key, request } = self;
        Pending { provider, key, order: Order { request, kind: EvidenceKind::TdxQuote, evidence } }
    }
}

/// An order that waits for its answer.
pub(crate) struct Pending<'a> {
    provider: &'a Provider,
    key: HpkePrivateKey,
    order: Order,
}

impl Pending<'_> {
    /// The body of `POST /v1/keys`.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.order).expect("text, numbers and base64 are JSON")
    }

    /// The root that the key is asked from.
    pub(crate) fn root_id(&self) -> [u8; 16] {
        self.order.request.root_id
    }

    /// The key in an answer, after everything about the answer was checked (R39, R41, B21).
    pub(crate) fn open(&self, body: &[u8]) -> Result<SecretBytes, Error> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| Error::Malformed("an answer"))?;
        let Order { request, evidence, .. } = &self.order;
        let statement = &self.provider.statement;
        let sealed =
            HpkeSealed { encapsulated_key: answer.encapsulated_key.into(), ciphertext: answer.ciphertext };
        VerifyingKey::from_bytes(statement.signing_key)
            .verify(&Answer::signed(request, evidence, statement, &sealed), &answer.signature)
            .map_err(|_| {
                Error::BadAnswer(
                    "the provider did not sign it for this request, or it was changed on the way",
                )
            })?;
        let key = self.key.open(&request.transport_info(), b"", &sealed).map_err(|_| {
            Error::BadAnswer("the key in it was not encrypted to this guest for this request")
        })?;
        if key.expose().len() != usize::from(request.length) {
            return Err(Error::BadAnswer("the key in it has not the length that was asked for"));
        }
        Ok(key)
    }
}
