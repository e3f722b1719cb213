//! A provider made of the pieces of the protocol. It signs and encrypts as it should, and believes every client: so what
//! refuses in these tests is the client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bulla_crypto::{HpkePublicKey, HpkeSealed, Info, Kem, SigningKey, SystemRandom, hkdf, sha256};
use bulla_protocol::Code;
use bulla_protocol::v1::{Answer, Challenge, Custody, Order, RootName, Selector, Statement};
use bulla_tee::{EvidenceKind, Tee};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::server::{Call, Reply, Server};

/// What someone in between sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Statement,
    Challenge,
    Order,
    Answer,
}

pub(crate) struct Provider {
    pub(crate) signing_key: SigningKey,
    pub(crate) statement: Statement,
    /// Secrets by root id.
    pub(crate) roots: HashMap<[u8; 16], [u8; 32]>,
    /// The connection that each challenge was given to.
    pub(crate) challenges: Mutex<HashMap<Vec<u8>, usize>>,
    /// Whether a challenge is good only once and on its own connection.
    pub(crate) strict_challenges: bool,
    /// How many connections, from the first, are closed after the challenge.
    pub(crate) close_after_challenge: usize,
    /// For how many seconds the challenges are good that it gives with statements and answers; `None` for none.
    pub(crate) offers: Option<u32>,
    /// The challenges of all orders that came.
    pub(crate) seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Added to the length of every key.
    pub(crate) longer: usize,
    /// Encrypts under another transcript.
    pub(crate) other_transcript: bool,
    /// Signs with another key than the one in the statement.
    pub(crate) forger: Option<SigningKey>,
    /// Who sits between client and provider.
    #[allow(clippy::type_complexity, reason = "one field, and an alias would only hide it")]
    pub(crate) edit: Box<dyn Fn(Message, &mut Value) + Send + Sync>,
}

impl Provider {
    /// A provider in `enclave`.
    pub(crate) fn new(enclave: &dyn Tee, authority: [u8; 32], root_id: [u8; 16]) -> Self {
        let signing_key = SigningKey::generate().unwrap();
        let mut statement = Statement {
            signing_key: *signing_key.verifying_key().as_bytes(),
            authority,
            policy_digest: [0x22; 32],
            policy_version: 1,
            custody: Custody::Keyring,
            roots: vec![RootName { epoch: 1, id: root_id, commitment: [0x44; 32] }],
            recovery: None,
            quote: Vec::new(),
        };
        let evidence = enclave.attest(&statement.report_data(), EvidenceKind::Quote).unwrap();
        statement.quote = evidence.bytes().to_vec();
        Self {
            signing_key,
            statement,
            roots: HashMap::from([(root_id, [0x33; 32])]),
            challenges: Mutex::new(HashMap::new()),
            strict_challenges: true,
            close_after_challenge: 0,
            offers: None,
            seen: Arc::default(),
            longer: 0,
            other_transcript: false,
            forger: None,
            edit: Box::new(|_, _| ()),
        }
    }

    /// With someone in between, who edits messages on the way.
    pub(crate) fn edited(self, edit: impl Fn(Message, &mut Value) + Send + Sync + 'static) -> Self {
        Self { edit: Box::new(edit), ..self }
    }

    pub(crate) fn serve(self) -> Server {
        Server::start(move |call| self.reply(call).unwrap_or_else(Reply::Problem))
    }

    pub(crate) fn reply(&self, call: &Call) -> Result<Reply, Code> {
        match call.line.as_str() {
            "GET /v1/provider" => Ok(self.offering(call, self.out(Message::Statement, &self.statement))),
            "GET /v1/challenge" => {
                let reply = self.out(Message::Challenge, &self.challenge(call, 60));
                match reply {
                    Reply::Json(body) if call.connection < self.close_after_challenge => {
                        Ok(Reply::JsonThenClose(body))
                    }
                    reply => Ok(reply),
                }
            }
            "POST /v1/keys" => {
                let order: Order = self.taken(Message::Order, &call.body)?;
                self.seen.lock().unwrap().push(order.request.challenge.clone());
                let given = self.challenges.lock().unwrap().remove(&order.request.challenge);
                if self.strict_challenges && given != Some(call.connection) {
                    return Err(Code::StaleChallenge);
                }
                Ok(self.offering(call, self.out(Message::Answer, &self.answer(&order)?)))
            }
            _ => Err(Code::NotFound),
        }
    }

    fn challenge(&self, call: &Call, expires_in: u32) -> Challenge {
        let challenge = SystemRandom.array::<48>().unwrap().to_vec();
        self.challenges.lock().unwrap().insert(challenge.clone(), call.connection);
        Challenge { challenge, expires_in }
    }

    /// With the next challenge.
    fn offering(&self, call: &Call, reply: Reply) -> Reply {
        match (reply, self.offers) {
            (Reply::Json(body), Some(expires_in)) => {
                let challenge = self.challenge(call, expires_in).to_field();
                let line = format!("{}: {}", Challenge::FIELD, String::from_utf8(challenge).unwrap());
                Reply::JsonWith(line, body)
            }
            (reply, _) => reply,
        }
    }

    fn answer(&self, order: &Order) -> Result<Answer, Code> {
        let Order { request, evidence, .. } = order;
        // Whatever the suite became on the way, the key is what it is.
        let kem = if request.public_key.len() == 32 { Kem::X25519 } else { Kem::XWing };
        let root = self.roots.get(&request.root_id).ok_or(Code::UnknownRoot)?;
        let key = HpkePublicKey::from_bytes(kem, &request.public_key).map_err(|_| Code::BadPublicKey)?;
        let transcript = order.transcript();
        let mut info = transcript.transport_info();
        if self.other_transcript {
            info = info.part("more", b"");
        }
        let keys: Vec<u8> = request.keys.iter().flat_map(|wanted| self.key(root, wanted, evidence)).collect();
        let (sealed, head) = (key.seal(&info, b"", &keys).unwrap(), [0x66; 32]);
        let signed = Answer::signed(&transcript, &self.statement.report_data(), &sealed, &head);
        let signature = self.forger.as_ref().unwrap_or(&self.signing_key).sign(&signed);
        let HpkeSealed { encapsulated_key, ciphertext } = sealed;
        Ok(Answer { encapsulated_key, ciphertext, head, signature })
    }

    /// A key of everything that it should depend on.
    fn key(&self, root: &[u8; 32], wanted: &Selector, evidence: &[u8]) -> Vec<u8> {
        // Attributes to RTMR3, in the body of a TDX quote of version 4.
        let guest = sha256(&[evidence.get(48 + 120..48 + 520).unwrap_or_default()]);
        let info = Info::new("test key")
            .part("guest", &guest)
            .part("path", wanted.path.as_bytes())
            .part("purpose", wanted.purpose.as_bytes())
            .part("length", &wanted.length.to_be_bytes());
        let length = usize::from(wanted.length) + self.longer;
        hkdf::<256>(root, b"", &info).expose()[..length].to_vec()
    }

    fn out(&self, message: Message, value: &impl Serialize) -> Reply {
        let mut json = serde_json::to_value(value).unwrap();
        (self.edit)(message, &mut json);
        Reply::Json(serde_json::to_vec(&json).unwrap())
    }

    fn taken<T: DeserializeOwned>(&self, message: Message, body: &[u8]) -> Result<T, Code> {
        let mut json = serde_json::from_slice(body).map_err(|_| Code::Malformed)?;
        (self.edit)(message, &mut json);
        serde_json::from_value(json).map_err(|_| Code::Malformed)
    }
}
