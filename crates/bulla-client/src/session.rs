//! Many keys in one session: evidence of both sides for a TLS connection, then keys inside it (R42).

use std::sync::Arc;

use bulla_crypto::{SecretBytes, VerifyingKey};
use bulla_protocol::Code;
use bulla_protocol::v1::{SessionAnswer, SessionKeys, SessionOrder, SessionRequest, VERSION};
use bulla_tee::Identity;

use crate::client::{Core, OwnEvidence};
use crate::connection::Road;
use crate::exchange::{Provider, split};
use crate::http::{Ask, Reply};
use crate::tls::Channel;
use crate::walk::{Patient, Step, Walk};
use crate::{Client, Error, Keys, Wanted};

/// A session with a provider: one TLS connection, to which both sides have bound evidence.
///
/// It begins with the first keys that are asked for, and begins anew, with new evidence, when the provider has ended it or the
/// connection is gone. Each key is for the guest as it was when the session began: what a guest has measured since does not
/// count, and policies that rely on it refuse sessions.
pub struct Session<'a> {
    client: &'a Client,
    road: Road,
    established: Option<Established>,
}

impl Client {
    /// A session. It connects when asked for keys.
    ///
    /// # Errors
    /// [`Error::SessionNeedsTls`] for a provider that is not at an `https://` address.
    pub fn session(&self) -> Result<Session<'_>, Error> {
        if !self.core().address.is_tls() {
            return Err(Error::SessionNeedsTls);
        }
        Ok(Session { client: self, road: Road::default(), established: None })
    }
}

impl Session<'_> {
    /// Keys, in one message with its answer once the session stands.
    ///
    /// # Errors
    /// As [`Client::keys`].
    pub fn keys(&mut self, wanted: &Wanted) -> Result<Keys, Error> {
        let core = self.client.core();
        let mut walk = Patient::new(SessionWalk::new(core, wanted.ready()?, self.established.take()));
        let keys = self.road.go(core, &mut walk, self.client.wait());
        self.established = walk.into_inner().established;
        keys
    }
}

/// A session that stands, on the one connection that its evidence names.
pub(crate) struct Established {
    provider: Arc<Provider>,
    channel: Channel,
}

/// One request in a session, and what it takes to have one.
pub(crate) struct SessionWalk {
    core: Arc<Core>,
    wanted: Wanted,
    pub(crate) established: Option<Established>,
    state: State,
}

enum State {
    Idle,
    Statement(SecretBytes, Channel),
    Opening(Box<Opening>),
    Opened(Box<Opening>, SecretBytes),
    Asked,
}

/// A session of which this side has shown its evidence.
struct Opening {
    provider: Arc<Provider>,
    channel: Channel,
    own: OwnEvidence,
}

impl SessionWalk {
    pub(crate) fn new(core: &Arc<Core>, wanted: &Wanted, established: Option<Established>) -> Self {
        Self { core: Arc::clone(core), wanted: wanted.clone(), established, state: State::Idle }
    }

    fn ask(&mut self, provider: &Provider) -> Ask {
        let Wanted { binding, instance, keys, root_id, manifest, .. } = &self.wanted;
        let request = SessionRequest {
            binding: binding.clone(),
            root_id: root_id.unwrap_or(provider.current_root),
            instance: instance.clone(),
            manifest: manifest.clone(),
            keys: keys.clone(),
        };
        self.state = State::Asked;
        Ask::post("/v1/session/keys", json(&request)).on_the_same_connection()
    }

    /// The provider's evidence is for this connection, of the pinned enclave on this machine, and of the very provider whose
    /// statement was judged (R39, R40, R42).
    fn judge(&self, opening: &Opening, body: &[u8]) -> Result<(), Error> {
        let Opening { provider, channel, own } = opening;
        let answer: SessionAnswer =
            serde_json::from_slice(body).map_err(|_| Error::Malformed("an answer to a session"))?;
        let signed = answer.signed(&channel.client, &channel.server, &own.bytes, &provider.statement);
        VerifyingKey::from_bytes(provider.statement.signing_key)
            .verify(&signed, &answer.signature)
            .map_err(|_| Error::BadAnswer("the provider did not sign it for this connection"))?;
        let claims = self.core.judge.claims(&answer.quote).map_err(Error::ProviderEvidence)?;
        let Identity::Sgx(enclave) = &claims.identity else {
            return Err(Error::NoEnclave);
        };
        self.core.pin.enclave.require(enclave)?;
        if claims.report_data != *channel.server.as_bytes() {
            return Err(Error::OtherConnection);
        }
        let own = own.platform.as_ref();
        own.unwrap_or(&provider.platform).require_same_machine(&claims.platform).map_err(Error::OtherMachine)
    }
}

impl Walk for SessionWalk {
    type Done = Keys;

    fn begin(&mut self) -> Result<Step<Keys>, Error> {
        self.state = State::Idle;
        match &self.established {
            None => Ok(Step::Ask(Ask::get("/v1/provider"))),
            Some(established) => {
                let provider = Arc::clone(&established.provider);
                Ok(Step::Ask(self.ask(&provider)))
            }
        }
    }

    fn reply(&mut self, reply: Reply, channel: Option<Channel>) -> Result<Step<Keys>, Error> {
        let body = reply.body;
        let channel = channel.ok_or(Error::SessionNeedsTls)?;
        match (std::mem::replace(&mut self.state, State::Idle), &self.established) {
            (State::Opening(opening), _) if opening.channel == channel => {
                self.state = State::Opened(opening, body);
                Ok(Step::Block)
            }
            // What another connection says is nobody's word.
            (State::Asked, Some(established)) if established.channel == channel => {
                let keys: SessionKeys = serde_json::from_slice(body.expose())
                    .map_err(|_| Error::Malformed("keys of a session"))?;
                let root_id = self.wanted.root_id.unwrap_or(established.provider.current_root);
                let found = split(keys.keys.expose(), &self.wanted.keys)
                    .ok_or(Error::BadAnswer("the keys in it have not the lengths that were asked for"))?;
                Ok(Step::Done(Keys { root_id, keys: found, head: keys.head }))
            }
            (State::Idle, _) => {
                self.state = State::Statement(body, channel);
                Ok(Step::Block)
            }
            _ => Err(Error::OtherConnection),
        }
    }

    fn here(&mut self) -> Result<Step<Keys>, Error> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Statement(body, channel) => {
                let provider = Arc::new(Provider::judge(body.expose(), &self.core.judge, &self.core.pin)?);
                let own = self.core.own_evidence(&channel.client)?;
                provider.require_machine(&own)?;
                let order = SessionOrder { version: VERSION, kind: own.kind, evidence: own.bytes.clone() };
                self.state = State::Opening(Box::new(Opening { provider, channel, own }));
                Ok(Step::Ask(Ask::post("/v1/session", json(&order)).on_the_same_connection()))
            }
            State::Opened(opening, body) => {
                self.judge(&opening, body.expose())?;
                let Opening { provider, channel, .. } = *opening;
                let ask = self.ask(&provider);
                self.established = Some(Established { provider, channel });
                Ok(Step::Ask(ask))
            }
            State::Idle | State::Opening(_) | State::Asked => self.begin(),
        }
    }

    fn forgets(&mut self, code: Code) -> bool {
        let ended = code == Code::SessionEnded;
        if ended {
            self.lost();
        }
        ended
    }

    fn lost(&mut self) {
        self.established = None;
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("text, numbers and base64 are JSON")
}
