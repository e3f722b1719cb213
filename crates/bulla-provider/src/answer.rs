//! Step `answer`: the walk itself, in the order of the steps. It blocks, so it runs off the asynchronous threads.

use bulla_attest::{Claims, CollateralId};
use bulla_protocol::v1::{Answer, EvidenceKind, FutureKey, Order, PublicKey, Request, Statement, Transcript};
use bulla_protocol::{Code, legacy};

use crate::audit::Mode;
use crate::custody::Root;
use crate::derive::Source;
use crate::own::Proof;
use crate::policy::usage::Way;
use crate::record::{Asked, Held};
use crate::refusal::Refusal;
use crate::regime::Regime;
use crate::verify::refusal;
use crate::{Provider, authorize, colocate, sign, wrap};

impl Provider {
    /// Who the provider is.
    pub(crate) fn statement(&self) -> Result<Statement, Refusal> {
        Ok(self.regime().own.proof()?.statement.clone())
    }

    /// One v1 order, whose challenge was redeemed under this regime. The answer leaves when its release is recorded.
    pub(crate) fn answer(
        &self,
        regime: &Regime,
        order: &Order,
        transcript: &Transcript,
    ) -> Result<Held<Answer>, Refusal> {
        let request = &order.request;
        let root = root(regime, &request.root_id)?;
        let to = authorize::recipient(&regime.policy, request)?;
        let proof = regime.own.proof()?;
        let claims = evidence(regime, &proof, order.kind, &order.evidence)?;
        let guest = authorize::guest(&claims, transcript)?;
        let now = regime.judge.now()?;
        authorize::usage(&regime.policy, &request.binding, &request.keys, guest, Way::Order, now)?;
        self.operation.limits.identity(guest, request.keys.len())?;
        let (manifest, log) = (order.manifest.as_ref(), order.event_log.as_deref());
        let bound = &authorize::bound(&regime.policy, &request.binding, guest, manifest, log)?;
        let authority = &regime.policy.authority;
        let source = Source { root, authority, bound, instance: request.instance.as_deref() };
        let sealed = wrap::hpke(&source.keys(&request.keys), &to, transcript)?;
        let ticket = self.record.release(regime, root, Asked::order(request, transcript), proof.stated())?;
        self.operation.metrics.released(Mode::V1, request.keys.len());
        let answer = sign::answer(&regime.own, &proof, transcript, sealed, *ticket.head());
        Ok(ticket.hold(answer))
    }

    /// The public half of a key of a described guest. It is public, so nobody is asked who they are; which keys there are, the
    /// usage rules say for it too.
    pub(crate) fn public_key(&self, wanted: &FutureKey) -> Result<PublicKey, Refusal> {
        let regime = self.regime();
        let root = root(&regime, &wanted.root_id)?;
        let proof = regime.own.proof()?;
        let bound = &authorize::described(&regime.policy, wanted)?;
        authorize::usage_described(&regime.policy, wanted, bound, regime.judge.now()?)?;
        let authority = &regime.policy.authority;
        let source = Source { root, authority, bound, instance: wanted.instance.as_deref() };
        let public_key = source.public_key(&wanted.key)?;
        Ok(sign::public_key(&regime.own, &proof, wanted, public_key.as_bytes()))
    }

    /// One legacy request: the whole response frame, which leaves when its release is recorded.
    pub(crate) fn answer_legacy(&self, quote: &[u8]) -> Result<Held<Vec<u8>>, Refusal> {
        let regime = self.regime();
        let proof = regime.own.proof()?;
        let claims = self::quote(&regime, &proof, quote)?;
        let guest = authorize::legacy_guest(&regime.policy, &claims)?;
        self.operation.limits.identity(guest, 1)?;
        let to = authorize::legacy_key(&claims)?;
        let root = regime.roots.first().ok_or(Refusal::new(Code::UnknownRoot, "root.first_retired"))?;
        let seal_key = root.legacy_seal_key();
        let key = legacy::derived_key(&seal_key, &guest.mrtd, &guest.rtmr);
        let sealed_box = wrap::sealed_box(&key, &to)?;
        let own_quote = sign::legacy_quote(&regime.own, &proof, &sealed_box)?;
        let ticket = self.record.release(&regime, root, Asked::quote(quote), proof.stated())?;
        self.operation.metrics.released(Mode::Legacy, 1);
        Ok(ticket.hold(legacy::response(&sealed_box, &own_quote)))
    }
}

/// What can be told of an order without any signature (R50).
pub(crate) fn order_is_ours(regime: &Regime, request: &Request) -> Result<(), Refusal> {
    if &request.provider_key != regime.own.verifying_key() {
        return Err(Refusal::new(Code::BindingMismatch, "binding.provider_key"));
    }
    root(regime, &request.root_id).map(drop)
}

/// Steps `verify` and `colocate`, for each kind of evidence.
pub(crate) fn evidence(
    regime: &Regime,
    proof: &Proof,
    kind: EvidenceKind,
    evidence: &[u8],
) -> Result<Claims, Refusal> {
    match kind {
        EvidenceKind::TdxQuote => quote(regime, proof, evidence),
        EvidenceKind::TdxReport => regime.own.neighbour(proof, evidence),
        // This is an SGX enclave, and no processor has both.
        EvidenceKind::SnpReport => Err(Refusal::new(Code::WrongPlatform, "platform.other_vendor")),
        _ => Err(Refusal::new(Code::Unsupported, "evidence.unknown")),
    }
}

/// A guest's quote: genuine, acceptable, and of this machine.
fn quote(regime: &Regime, proof: &Proof, quote: &[u8]) -> Result<Claims, Refusal> {
    let id = CollateralId::of_quote(quote).map_err(|error| refusal(&error))?;
    colocate::plausible(&proof.platform, &id)?;
    let claims = regime.judge.claims(quote, &id)?;
    colocate::one_machine(&proof.platform, &claims.platform)?;
    Ok(claims)
}

/// The root that a request names.
pub(crate) fn root<'a>(regime: &'a Regime, id: &[u8; 16]) -> Result<&'a Root, Refusal> {
    regime.roots.get(id).ok_or(Refusal::new(Code::UnknownRoot, "root.unknown"))
}
