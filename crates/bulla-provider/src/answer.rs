//! Step `answer`: the walk itself, in the order of the steps. It blocks, so it runs off the asynchronous threads.

use bulla_attest::CollateralId;
use bulla_protocol::v1::{Answer, Order, Request, Statement};
use bulla_protocol::{Code, legacy};

use crate::custody::Root;
use crate::record::Mode;
use crate::refusal::Refusal;
use crate::regime::Regime;
use crate::verify::refusal;
use crate::{Provider, authorize, colocate, derive, sign, wrap};

impl Provider {
    /// Who the provider is.
    pub(crate) fn statement(&self) -> Result<Statement, Refusal> {
        Ok(self.regime().own.proof()?.statement.clone())
    }

    /// What can be told of an order without any signature (R50).
    pub(crate) fn order_is_ours(&self, request: &Request) -> Result<(), Refusal> {
        let regime = self.regime();
        if &request.provider_key != regime.own.verifying_key() {
            return Err(Refusal::new(Code::BindingMismatch, "binding.provider_key"));
        }
        root(&regime, request).map(drop)
    }

    /// One v1 order, whose challenge was redeemed.
    pub(crate) fn answer(&self, order: &Order) -> Result<Answer, Refusal> {
        let regime = self.regime();
        let root = root(&regime, &order.request)?;
        let to = authorize::public_key(order.request.public_key)?;
        let proof = regime.own.proof()?;
        let id = CollateralId::of_quote(&order.evidence).map_err(|error| refusal(&error))?;
        colocate::plausible(&proof.platform, &id)?;
        let claims = regime.judge.claims(&order.evidence, &id)?;
        colocate::one_machine(&proof.platform, &claims.platform)?;
        let guest = authorize::guest(&claims, &order.request)?;
        let key = derive::key(root, &regime.policy, &order.request, guest);
        let sealed = wrap::hpke(&key, &to, &order.request)?;
        let answer = sign::answer(&regime.own, &proof, order, sealed);
        self.record.release(Mode::V1, &order.evidence, Some(&order.request))?;
        Ok(answer)
    }

    /// One legacy request: the whole response frame.
    pub(crate) fn answer_legacy(&self, quote: &[u8]) -> Result<Vec<u8>, Refusal> {
        let regime = self.regime();
        let proof = regime.own.proof()?;
        let id = CollateralId::of_quote(quote).map_err(|error| refusal(&error))?;
        colocate::plausible(&proof.platform, &id)?;
        let claims = regime.judge.claims(quote, &id)?;
        colocate::one_machine(&proof.platform, &claims.platform)?;
        let guest = authorize::legacy_guest(&claims)?;
        let to = authorize::legacy_key(&claims)?;
        let root = regime.roots.first().ok_or(Refusal::new(Code::UnknownRoot, "root.first_retired"))?;
        let seal_key = root.legacy_seal_key();
        let key = legacy::derived_key(&seal_key, &guest.mrtd, &guest.rtmr);
        let sealed_box = wrap::sealed_box(&key, &to)?;
        let own_quote = sign::legacy_quote(&regime.own, &proof, &sealed_box)?;
        self.record.release(Mode::Legacy, quote, None)?;
        Ok(legacy::response(&sealed_box, &own_quote))
    }
}

/// The root that a request names.
fn root<'a>(regime: &'a Regime, request: &Request) -> Result<&'a Root, Refusal> {
    regime.roots.get(&request.root_id).ok_or(Refusal::new(Code::UnknownRoot, "root.unknown"))
}
