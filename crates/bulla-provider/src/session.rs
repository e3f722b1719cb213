//! Sessions: evidence once for a TLS connection, then keys inside it, as often as the policy allows (R42).
//!
//! What was judged when the session began is a snapshot. So it ends with the connection, with the regime that it began
//! under, when collateral or its floor have moved on, and after the policy's bounds; and what depends on more than the
//! snapshot, as a register policy with a boundary does, is not given in sessions.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use bulla_attest::TlsSide;
use bulla_attest::collateral::Floor;
use bulla_crypto::{Secret, sha256};
use bulla_protocol::v1::{Binding, SessionAnswer, SessionKeys, SessionOrder, SessionRequest};
use bulla_protocol::{Code, Signed};
use bulla_tee::{Identity, ReportData, TdxIdentity};

use crate::answer::{evidence, root};
use crate::audit::Mode;
use crate::derive::Source;
use crate::own::Proof;
use crate::policy::usage::Way;
use crate::record::{Asked, Held};
use crate::refusal::Refusal;
use crate::regime::Regime;
use crate::{Provider, authorize};

/// One TLS connection, as the evidence of its two sides names it. Taken after the handshake, from this end.
#[derive(Clone)]
pub(crate) struct Channel {
    client: ReportData,
    server: ReportData,
}

impl Channel {
    /// `export` takes 32 bytes from TLS under a label.
    pub(crate) fn of<E>(export: impl Fn(&str) -> Result<[u8; 32], E>) -> Result<Self, E> {
        let data = |side: TlsSide| Ok(side.report_data(&Secret::new(export(side.exporter_label())?)));
        Ok(Self { client: data(TlsSide::Client)?, server: data(TlsSide::Server)? })
    }
}

/// What an attested connection may have.
pub(crate) struct Session {
    regime: Arc<Regime>,
    proof: Arc<Proof>,
    guest: TdxIdentity,
    /// SHA-256 of the guest's evidence.
    evidence: [u8; 32],
    bounds: Bounds,
    /// How many keys it has given.
    given: u32,
    /// The last binding that was granted, and by which manifest: the next key asks for the same.
    granted: Option<(Binding, Option<Signed>)>,
}

/// How far a session goes.
struct Bounds {
    /// The regime that it began under.
    regime: u64,
    /// What collateral had to be at least when the evidence was judged.
    floor: Arc<Floor>,
    /// Until when the verdicts are good, in Unix seconds.
    valid_until: u64,
    /// Until when the policy allows it.
    until: Instant,
    /// How many keys the policy allows.
    keys: u32,
}

/// What a session may have gone beyond.
struct Moment {
    regime: u64,
    floor: Arc<Floor>,
    /// Unix seconds, as far as the host's clock is believed.
    unix: u64,
    now: Instant,
    /// With those that are wanted.
    keys: usize,
}

impl Bounds {
    fn hold(&self, at: &Moment) -> Result<(), Refusal> {
        let beyond = [
            (at.regime != self.regime, "session.regime"),
            (!Arc::ptr_eq(&at.floor, &self.floor), "session.floor"),
            (at.unix >= self.valid_until, "session.collateral"),
            (at.now >= self.until, "session.time"),
            (at.keys > self.keys as usize, "session.keys"),
        ];
        match beyond.into_iter().find(|(beyond, _)| *beyond) {
            Some((_, cause)) => Err(Refusal::new(Code::SessionEnded, cause)),
            None => Ok(()),
        }
    }
}

impl Provider {
    /// Both sides' evidence for one connection. Blocks.
    pub(crate) fn open_session(
        &self,
        order: &SessionOrder,
        channel: &Channel,
    ) -> Result<(Session, SessionAnswer), Refusal> {
        let regime = self.regime();
        let proof = regime.own.proof()?;
        let mut floor = regime.judge.floor();
        let mut claims = evidence(&regime, &proof, order.kind, &order.evidence)?;
        // What was fetched to judge it can have raised the floor.
        if !Arc::ptr_eq(&floor, &regime.judge.floor()) {
            floor = regime.judge.floor();
            claims = evidence(&regime, &proof, order.kind, &order.evidence)?;
        }
        if claims.report_data != *channel.client.as_bytes() {
            return Err(Refusal::new(Code::BindingMismatch, "binding.tls_exporter"));
        }
        let Identity::Tdx(guest) = claims.identity else {
            return Err(Refusal::new(Code::Unsupported, "evidence.not_tdx"));
        };
        let (own_quote, own) = regime.own.quote(&channel.server)?;
        if !own.platform.same_machine(&proof.platform) {
            return Err(regime.own.distrust("self.other_machine"));
        }
        let bounds = regime.policy.session;
        let (expires_in, keys) = (bounds.seconds, bounds.keys);
        let mut answer = SessionAnswer { quote: own_quote, expires_in, keys, signature: [0; 64] };
        let signed = answer.signed(&channel.client, &channel.server, &order.evidence, &proof.statement);
        answer.signature = regime.own.sign(&signed);
        let session = Session {
            guest: *guest,
            evidence: sha256(&[&order.evidence]),
            bounds: Bounds {
                regime: regime.number,
                floor,
                valid_until: claims.valid_until.min(own.valid_until).min(proof.valid_until),
                until: Instant::now() + Duration::from_secs(expires_in.into()),
                keys,
            },
            given: 0,
            granted: None,
            regime,
            proof,
        };
        Ok((session, answer))
    }
}

impl Session {
    /// Keys for the guest of the session. They leave when their release is recorded. It computes, and waits for nothing, so it
    /// may be called where nothing blocks.
    pub(crate) fn keys(
        &mut self,
        provider: &Provider,
        request: &SessionRequest,
    ) -> Result<Held<SessionKeys>, Refusal> {
        let now = self.require_standing(provider, request.keys.len())?;
        let (policy, root) = (&self.regime.policy, root(&self.regime, &request.root_id)?);
        authorize::usage(
            policy,
            &request.binding,
            &request.keys,
            &self.guest,
            Way::Session(self.given),
            now,
        )?;
        provider.operation.limits.identity(&self.guest, request.keys.len())?;
        let asked = (&request.binding, &request.manifest);
        let known = self.granted.as_ref().is_some_and(|(binding, manifest)| asked == (binding, manifest));
        let bound = &match known {
            true => authorize::bound_again(policy, &request.binding, &self.guest)?,
            false => {
                authorize::bound(policy, &request.binding, &self.guest, request.manifest.as_ref(), None)?
            }
        };
        if !known {
            self.granted = Some((request.binding.clone(), request.manifest.clone()));
        }
        let source =
            Source { root, authority: &policy.authority, bound, instance: request.instance.as_deref() };
        let keys = source.keys(&request.keys);
        let asked = Asked::session(request, self.evidence);
        let ticket = provider.record.release(&self.regime, root, asked, self.proof.stated())?;
        provider.operation.metrics.released(Mode::V1, request.keys.len());
        self.given += u32::try_from(request.keys.len()).unwrap_or(u32::MAX - self.given);
        let keys = SessionKeys { keys, head: *ticket.head() };
        Ok(ticket.hold(keys))
    }

    /// Whether everything still is as it was judged; the time, if so.
    fn require_standing(&self, provider: &Provider, keys: usize) -> Result<u64, Refusal> {
        let regime = provider.regime();
        let unix = regime.judge.now()?;
        let keys = keys.saturating_add(self.given as usize);
        let (number, floor) = (regime.number, regime.judge.floor());
        self.bounds.hold(&Moment { regime: number, floor, unix, now: Instant::now(), keys })?;
        Ok(unix)
    }
}

#[cfg(test)]
mod tests {
    use bulla_attest::collateral::{Minimum, Store};
    use bulla_attest::{TrustAnchor, Verifier};

    use super::*;

    fn floor() -> Arc<Floor> {
        let anchor = TrustAnchor::intel();
        let minimum = Minimum::release(&anchor);
        Store::in_memory(Verifier::new(anchor), minimum).floor()
    }

    /// R42, R81: what was judged is a snapshot, and every change of what it was judged by ends the session, to the second and
    /// to the key.
    #[test]
    fn r42_a_session_goes_no_further_than_its_bounds() {
        let (known, start) = (floor(), Instant::now());
        let bounds = Bounds {
            regime: 7,
            floor: Arc::clone(&known),
            valid_until: 1_000,
            until: start + Duration::from_secs(60),
            keys: 100,
        };
        type Edit = fn(&mut Moment);
        let cause = |edit: Edit| {
            let now = start + Duration::from_secs(59);
            let mut at = Moment { regime: 7, floor: Arc::clone(&known), unix: 999, now, keys: 100 };
            edit(&mut at);
            bounds.hold(&at).map_or_else(
                |refusal| {
                    assert_eq!(refusal.code, Code::SessionEnded);
                    refusal.cause
                },
                |()| "holds",
            )
        };
        assert_eq!(cause(|_| {}), "holds");
        assert_eq!(cause(|at| at.regime = 8), "session.regime");
        assert_eq!(cause(|at| at.floor = floor()), "session.floor");
        assert_eq!(cause(|at| at.unix = 1_000), "session.collateral");
        assert_eq!(cause(|at| at.now += Duration::from_secs(1)), "session.time");
        assert_eq!(cause(|at| at.keys = 101), "session.keys");
    }
}
