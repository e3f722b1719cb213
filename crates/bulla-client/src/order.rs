//! Keys in one order, each with evidence of its own: the way of the crate's documentation, step by step.

use std::sync::Arc;

use bulla_crypto::SecretBytes;
use bulla_protocol::Code;

use crate::client::{Core, Grant, OwnQuote};
use crate::exchange::{Draft, Pending, Provider};
use crate::http::Ask;
use crate::tls::Channel;
use crate::walk::{Step, Walk};
use crate::{Error, Wanted};

/// One order on its way.
pub(crate) struct OrderWalk {
    core: Arc<Core>,
    wanted: Wanted,
    /// Once it was judged.
    provider: Option<Arc<Provider>>,
    state: State,
}

enum State {
    /// Nothing was answered yet, or what was is used up.
    Idle,
    Statement(SecretBytes),
    Drafted(Box<Draft>),
    Sent(Box<Pending>, OwnQuote),
}

impl OrderWalk {
    pub(crate) fn new(core: &Arc<Core>, wanted: &Wanted) -> Self {
        Self { core: Arc::clone(core), wanted: wanted.clone(), provider: None, state: State::Idle }
    }
}

impl Walk for OrderWalk {
    type Done = Grant;

    fn begin(&mut self) -> Result<Step<Grant>, Error> {
        self.state = State::Idle;
        let path = if self.provider.is_none() { "/v1/provider" } else { "/v1/challenge" };
        Ok(Step::Ask(Ask::get(path)))
    }

    fn reply(&mut self, body: SecretBytes, _: Option<Channel>) -> Result<Step<Grant>, Error> {
        match (std::mem::replace(&mut self.state, State::Idle), &self.provider) {
            (State::Sent(pending, own), Some(provider)) => {
                let (keys, enclave) = (pending.open(body.expose())?, provider.measurement);
                Ok(Step::Done(Grant { keys, enclave, guest: own.guest }))
            }
            (_, None) => {
                self.state = State::Statement(body);
                Ok(Step::Block)
            }
            (_, Some(provider)) => {
                self.state = State::Drafted(Box::new(Draft::new(&self.wanted, provider, body.expose())?));
                Ok(Step::Block)
            }
        }
    }

    fn here(&mut self) -> Result<Step<Grant>, Error> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Statement(body) => {
                let provider = Provider::judge(body.expose(), &self.core.judge, &self.core.pin)?;
                self.provider = Some(Arc::new(provider));
                Ok(Step::Ask(Ask::get("/v1/challenge")))
            }
            State::Drafted(draft) => {
                let mut own = self.core.own_quote(&draft.report_data())?;
                draft.provider().require_machine(&own.platform)?;
                let pending = draft.with_evidence(std::mem::take(&mut own.quote));
                let ask = Ask::post("/v1/keys", pending.body()).on_the_same_connection();
                self.state = State::Sent(Box::new(pending), own);
                Ok(Step::Ask(ask))
            }
            State::Idle | State::Sent(..) => self.begin(),
        }
    }

    fn forgets(&mut self, code: Code) -> bool {
        // The provider was started anew, or came under another policy, since its statement was read.
        if code == Code::BindingMismatch {
            self.provider = None;
        }
        matches!(code, Code::StaleChallenge | Code::BindingMismatch)
    }
}
