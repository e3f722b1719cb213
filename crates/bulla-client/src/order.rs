//! Keys in one order, each with evidence of its own: the way of the crate's documentation, step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_crypto::SecretBytes;
use bulla_protocol::Code;
use bulla_protocol::v1::Challenge;

use crate::client::{Core, Grant, OwnEvidence};
use crate::exchange::{Draft, Pending, Provider};
use crate::http::{Ask, Reply};
use crate::tls::Channel;
use crate::walk::{Step, Walk};
use crate::{Error, Wanted};

/// One order on its way.
pub(crate) struct OrderWalk {
    core: Arc<Core>,
    wanted: Wanted,
    /// What the order before has left.
    left: Option<Left>,
    /// Whether that is what it goes on from.
    resumes: bool,
    /// Once it was judged, with the bytes that it was judged by.
    provider: Option<(Arc<Provider>, SecretBytes)>,
    state: State,
}

/// What an order leaves for the next one on the same connection, which takes it before it uses it: nothing is used twice.
pub(crate) struct Left {
    /// The body of `GET /v1/provider`. It is judged again, as of then.
    statement: SecretBytes,
    challenge: Challenge,
    until: Instant,
}

impl Left {
    fn good_at(self, now: Instant) -> Option<Self> {
        (now < self.until).then_some(self)
    }
}

enum State {
    /// Nothing was answered yet, or what was is used up.
    Idle,
    /// To be judged, and a challenge for the order after it, if there is one.
    Statement(SecretBytes, Option<Challenge>),
    Drafted(Box<Draft>),
    Sent(Box<Pending>, OwnEvidence),
}

impl OrderWalk {
    /// `left` is of the connection that the order goes to.
    pub(crate) fn new(core: &Arc<Core>, wanted: &Wanted, left: Option<Left>) -> Self {
        let (core, wanted) = (Arc::clone(core), wanted.clone());
        Self { core, wanted, left, resumes: false, provider: None, state: State::Idle }
    }

    /// Judges a statement, and goes on with the challenge that came with it.
    fn judge(&mut self, body: SecretBytes, challenge: Option<Challenge>) -> Result<Step<Grant>, Error> {
        let provider = Arc::new(Provider::judge(body.expose(), &self.core.judge, &self.core.pin)?);
        self.provider = Some((Arc::clone(&provider), body));
        match challenge {
            Some(challenge) => self.order(Draft::new(self.core.kem, &self.wanted, &provider, challenge)?),
            None => Ok(Step::Ask(Ask::get("/v1/challenge"))),
        }
    }

    /// Makes the evidence, and sends the order.
    fn order(&mut self, draft: Draft) -> Result<Step<Grant>, Error> {
        let mut own = self.core.own_evidence(&draft.report_data())?;
        draft.provider().require_machine(&own)?;
        let pending = draft.with_evidence(own.kind, std::mem::take(&mut own.bytes));
        let ask = Ask::post("/v1/keys", pending.body()).on_the_same_connection();
        self.state = State::Sent(Box::new(pending), own);
        Ok(Step::Ask(ask))
    }

    /// What the next order can begin with.
    fn leave(&mut self, challenge: Option<Challenge>) -> Option<Left> {
        let challenge = challenge?;
        let until = Instant::now().checked_add(Duration::from_secs(challenge.expires_in.into()))?;
        let (_, statement) = self.provider.take()?;
        Some(Left { statement, challenge, until })
    }
}

impl Walk for OrderWalk {
    type Done = Grant;

    fn begin(&mut self) -> Result<Step<Grant>, Error> {
        let left = self.left.take().and_then(|left| left.good_at(Instant::now()));
        self.resumes = left.is_some();
        // Whoever begins again reads the statement again: the provider may have been started anew, or come under another policy
        // or root. It brings a challenge along, so that this costs no more than to ask for one.
        self.provider = None;
        if let Some(Left { statement, challenge, .. }) = left {
            self.state = State::Statement(statement, Some(challenge));
            return Ok(Step::Block);
        }
        self.state = State::Idle;
        Ok(Step::Ask(Ask::get("/v1/provider")))
    }

    fn reply(&mut self, reply: Reply, _: Option<Channel>) -> Result<Step<Grant>, Error> {
        let Reply { body, challenge, .. } = reply;
        match (std::mem::replace(&mut self.state, State::Idle), &self.provider) {
            (State::Sent(pending, own), Some((provider, _))) => {
                let (keys, enclave) = (pending.open(body.expose())?, provider.measurement);
                Ok(Step::Done(Grant { keys, enclave, guest: own.guest, left: self.leave(challenge) }))
            }
            (_, None) => {
                self.state = State::Statement(body, challenge);
                Ok(Step::Block)
            }
            (_, Some((provider, _))) => {
                let challenge = serde_json::from_slice(body.expose());
                let challenge = challenge.map_err(|_| Error::Malformed("a challenge"))?;
                self.state =
                    State::Drafted(Box::new(Draft::new(self.core.kem, &self.wanted, provider, challenge)?));
                Ok(Step::Block)
            }
        }
    }

    fn here(&mut self) -> Result<Step<Grant>, Error> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Statement(body, challenge) => match self.judge(body, challenge) {
                // What was good for the order before is not good for this one: it may be read anew.
                Err(_) if self.resumes && self.provider.is_none() => self.begin(),
                judged => judged,
            },
            State::Drafted(draft) => self.order(*draft),
            State::Idle | State::Sent(..) => self.begin(),
        }
    }

    fn forgets(&mut self, code: Code) -> bool {
        matches!(code, Code::StaleChallenge | Code::BindingMismatch)
    }

    fn resumes(&self) -> bool {
        self.resumes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_not_used() {
        let until = Instant::now();
        let left = || {
            let challenge = Challenge { challenge: vec![1], expires_in: 1 };
            Left { statement: SecretBytes::new(Vec::new()), challenge, until }
        };
        assert!(left().good_at(until - Duration::from_secs(1)).is_some());
        assert!(left().good_at(until).is_none());
    }
}
