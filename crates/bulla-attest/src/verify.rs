//! From evidence to claims.
//!
//! Four steps: structure ([`Quote::parse`]), the platform's [endorsement](crate::endorsement), which may be remembered, the
//! signature over header and body, and the policy. All but the second are taken on the actual bytes every time.
//!
//! An endorsement that is not remembered comes from our own checks ([`check`](mod@crate::check)) and the walk over the whole path
//! ([`walk`](mod@crate::walk)). Only the walk can accept; the checks refuse, and name the reason where the library has but a
//! sentence.

use std::fmt;
use std::sync::Arc;

use bulla_tee::{Identity, SgxIdentity, TdxIdentity, is_simulated};

use crate::check::{check, check_collateral};
use crate::collateral::{Facts, Floor};
use crate::crypto::{VerifyingKey, walking};
use crate::endorsement::{Endorsement, Key};
use crate::explain::{explain, missing};
use crate::memory::{Memory, Remembered};
use crate::quote::{Body, Quote};
use crate::snp::{self, Roots};
use crate::walk::walk;
use crate::{
    AmdCollateralId, AmdProduct, AtBoundary, Basis, Boundary, Claims, Collateral, CollateralId, Error,
    EventLog, EventLogFault, IntelPlatform, Platform, Policy, Tcb, TrustAnchor,
};

/// Judges quotes against one trust anchor. It reads no clock.
///
/// It remembers what it found good about platforms, so that the next quote of one costs one signature; clones share that, and
/// threads may. What is remembered changes no verdict: it spares the walk over certificates and collateral while all
/// of these are the same and in their time, and nothing else. It is bounded ([`Remembered`]), and a verifier that is used
/// once gains and loses nothing by it.
///
/// ```
/// use bulla_attest::{Collateral, Policy, TrustAnchor, Verifier};
///
/// fn judge(quote: &[u8], collateral: &[u8], now_unix: u64) -> Result<(), bulla_attest::Error> {
///     let verifier = Verifier::new(TrustAnchor::intel());
///     let collateral = Collateral::from_json(collateral)?;
///     let claims = verifier.verify(quote, &collateral, now_unix, &Policy::strict())?;
///     println!("{:?} on {:02x?}", claims.identity, claims.platform.id());
///     Ok(())
/// }
/// assert_eq!(judge(b"", b"{}", 0).unwrap_err().code(), "collateral.incomplete");
/// ```
#[derive(Clone)]
pub struct Verifier {
    pub(crate) anchor: TrustAnchor,
    memory: Arc<Memory>,
    amd: Roots,
    pub(crate) floor: Option<Arc<Floor>>,
}

impl Verifier {
    /// A verifier for SGX and TDX quotes that lead to `anchor`, and for nothing else.
    pub fn new(anchor: TrustAnchor) -> Self {
        Self { anchor, memory: Arc::default(), amd: Roots::new(), floor: None }
    }

    /// A verifier for all evidence that leads to a root of its vendor: Intel's, or AMD's for each family of processors.
    pub fn vendors() -> Self {
        let with = |verifier: Self, product| verifier.with_amd(product, TrustAnchor::amd(product));
        AmdProduct::ALL.into_iter().fold(Self::new(TrustAnchor::intel()), with)
    }

    /// The same, also for SEV-SNP reports of a family of processors that lead to `anchor`.
    #[must_use]
    pub fn with_amd(mut self, product: AmdProduct, anchor: TrustAnchor) -> Self {
        self.amd.insert(product, anchor);
        self
    }

    /// What this verifier and its clones remember.
    pub fn remembered(&self) -> Remembered {
        self.memory.remembered()
    }

    /// The same, above a floor: a time or an item of collateral below it is refused (R29, R30). Without one, what is judged
    /// may be as old as the caller's collateral and time are.
    #[must_use]
    pub fn with_floor(self, floor: impl Into<Arc<Floor>>) -> Self {
        Self { floor: Some(floor.into()), ..self }
    }

    /// Verifies a set of collateral for `id` at a time, without evidence: that all of it is genuine, current, belongs
    /// together, and is what was asked for.
    ///
    /// # Errors
    /// `tcb_info.*`, `qe_identity.*`, `pck_crl.*`, `root_crl.*`, `snp_chain.*`, `snp_crl.*`, `revoked`,
    /// `collateral.wrong_kind`; above a floor also `clock.below_floor` and `collateral.rollback`.
    pub fn check_collateral(
        &self,
        id: &CollateralId,
        collateral: &Collateral,
        now_unix: u64,
    ) -> Result<Facts, Error> {
        self.check_time(now_unix)?;
        let facts = match (id, collateral.snp_set()) {
            (CollateralId::Intel(id), _) => {
                let window = check_collateral(collateral, now_unix, &self.anchor)?;
                let facts = collateral.facts()?;
                facts.require(id)?;
                facts.until(window.until)
            }
            (CollateralId::Amd(id), Some(set)) => {
                let product = snp::check_set(id, set, now_unix, &self.amd)?;
                Facts::of_amd(collateral, *id, product)?
            }
            (CollateralId::Amd(_), None) => {
                return Err(Error::CollateralKind { wanted: "a SEV-SNP report", found: "a quote" });
            }
        };
        self.check_floor(&facts)?;
        Ok(facts)
    }

    fn check_time(&self, now: u64) -> Result<(), Error> {
        self.floor.as_ref().map_or(Ok(()), |floor| floor.check_time(now))
    }

    pub(crate) fn check_floor(&self, facts: &Facts) -> Result<(), Error> {
        self.floor.as_ref().map_or(Ok(()), |floor| floor.check(facts))
    }

    pub(crate) fn basis(&self, time: u64, issued: Option<u64>) -> Basis {
        Basis { time, issued, floor: self.floor.as_ref().map(|floor| floor.time()) }
    }

    /// Verifies evidence with its collateral at a time, and appraises it: an SGX quote (version 3, 4 or 5), a TDX quote
    /// (version 4 or 5) or, where the collateral is for one, a SEV-SNP report (version 2, 3 or 5).
    ///
    /// Zero bytes after a quote's end are taken for a guest's padding; everything else must be exactly a quote or a report.
    ///
    /// # Errors
    /// Every code in the table of the crate's documentation but `platform.mismatch`, `binding.report_data` and `usage.*`.
    /// A refusal by policy carries the TCB that was found ([`Error::tcb`]).
    pub fn verify(
        &self,
        quote: &[u8],
        collateral: &Collateral,
        now_unix: u64,
        policy: &Policy,
    ) -> Result<Claims, Error> {
        if let Some(set) = collateral.snp_set() {
            self.check_time(now_unix)?;
            let claims = snp::verify(quote, set, now_unix, &self.amd, policy)?;
            if let (Some(_), Platform::Amd(platform)) = (&self.floor, &claims.platform) {
                let id = AmdCollateralId::of_report(quote)?;
                self.check_floor(&Facts::of_amd(collateral, id, platform.product)?)?;
            }
            return Ok(Claims { basis: self.basis(now_unix, claims.basis.issued), ..claims });
        }
        let claims = self.claims(quote, collateral, now_unix, policy)?;
        policy.appraise(&claims, now_unix)?;
        Ok(claims)
    }

    /// As [`verify`](Self::verify), for a TDX guest whose event log is at hand: the policy's rules for RTMRs are about what they held
    /// right after the boundary event (R26), which is returned beside the claims, whose own registers are those of the quote.
    ///
    /// ```
    /// use bulla_attest::{Boundary, Collateral, Error, EventLog, Policy, Verifier};
    ///
    /// fn app(quote: &[u8], log: &[u8], collateral: &Collateral, now_unix: u64) -> Result<[u8; 48], Error> {
    ///     let (log, boundary) = (EventLog::from_json(log)?, Boundary { register: 3, event: "system-ready" });
    ///     let verifier = Verifier::vendors();
    ///     let (_, at) = verifier.verify_at(quote, &log, boundary, collateral, now_unix, &Policy::strict())?;
    ///     let [.., app] = at.registers;
    ///     Ok(app)
    /// }
    /// ```
    ///
    /// # Errors
    /// As `verify`; `event_log.*` for a log that is not this guest's or has not that boundary, and for evidence of another kind.
    pub fn verify_at<'l>(
        &self,
        quote: &[u8],
        log: &'l EventLog,
        boundary: Boundary<'_>,
        collateral: &Collateral,
        now_unix: u64,
        policy: &Policy,
    ) -> Result<(Claims, AtBoundary<'l>), Error> {
        let claims = self.claims(quote, collateral, now_unix, policy)?;
        let Identity::Tdx(guest) = &claims.identity else {
            let detail =
                "the evidence is not a TDX guest's, and no other has these registers: judge it without a log";
            return Err(Error::event_log(EventLogFault::NotTdx, detail));
        };
        let at = log.matches(guest)?.at(boundary)?;
        let then = TdxIdentity { rtmr: at.registers, ..TdxIdentity::clone(guest) };
        policy.appraise(&Claims { identity: Identity::Tdx(Box::new(then)), ..claims.clone() }, now_unix)?;
        Ok((claims, at))
    }

    /// What a quote proves, whatever the policy says of it.
    fn claims(
        &self,
        quote: &[u8],
        collateral: &Collateral,
        now: u64,
        policy: &Policy,
    ) -> Result<Claims, Error> {
        self.check_time(now)?;
        let quote = Quote::parse(quote)?;
        let endorsement = self.endorsement(&quote, collateral, now, policy)?;
        // What was found good may be below the floor since.
        let facts = collateral.facts()?;
        self.check_floor(facts)?;
        Ok(Claims {
            identity: identity(&quote.body),
            report_data: report_data(&quote.body),
            platform: Platform::Intel(endorsement.platform.clone()),
            tcb: endorsement.tcb.clone(),
            valid_until: endorsement.window.until,
            simulated: endorsement.simulated,
            local: false,
            basis: self.basis(now, Some(facts.issued())),
        })
    }

    /// The endorsement of the platform that signed this quote: of a known one after verifying the one signature, of another
    /// after verifying everything.
    fn endorsement(
        &self,
        quote: &Quote<'_>,
        collateral: &Collateral,
        now: u64,
        policy: &Policy,
    ) -> Result<Arc<Endorsement>, Error> {
        let digest = collateral.digest()?;
        let key = Key::of(quote, digest, &self.anchor, policy.floor());
        if let Some(known) = self.memory.recall(&key, now) {
            known.check_signature(quote)?;
            return Ok(known);
        }
        let found = Arc::new(walking(|| endorse(quote, collateral, now, &self.anchor, policy))?);
        self.memory.remember(key, &found, quote.body.tee(), digest, now);
        Ok(found)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("anchor", &self.anchor)
            .field("remembered", &self.remembered())
            .finish()
    }
}

/// Everything around a quote, and its signature. The policy has no part in it but to name the walk's reason.
fn endorse(
    quote: &Quote<'_>,
    collateral: &Collateral,
    now: u64,
    anchor: &TrustAnchor,
    policy: &Policy,
) -> Result<Endorsement, Error> {
    let checked = check(quote, collateral, now, anchor)?;
    let simulated = claims_simulated(quote, &checked.platform);
    let tcb = walk(quote, &checked, collateral, now).map_err(|refusal| {
        explain(quote, &checked, collateral, &identity(&quote.body), simulated, policy, refusal)
    })?;
    let shortfalls = missing(quote, &checked, collateral);
    Ok(Endorsement {
        platform: checked.platform,
        tcb: Tcb { shortfalls, ..tcb },
        simulated,
        window: checked.window,
        attestation_key: VerifyingKey::new(quote.attestation_key).ok_or(Error::QuoteSignature)?,
    })
}

pub(crate) fn identity(body: &Body) -> Identity {
    match body {
        Body::Sgx(report) => Identity::Sgx(Box::new(SgxIdentity::from(report.as_ref()))),
        Body::Tdx { td, mrservicetd, .. } => Identity::Tdx(Box::new(TdxIdentity {
            mrtd: td.mrtd,
            rtmr: td.rtmr,
            mrconfigid: td.mrconfigid,
            mrowner: td.mrowner,
            mrownerconfig: td.mrownerconfig,
            mrservicetd: *mrservicetd,
            attributes: td.attributes.get(),
            xfam: td.xfam.get(),
            tee_tcb_svn: td.tee_tcb_svn,
            mrseam: td.mrseam,
        })),
    }
}

pub(crate) fn report_data(body: &Body) -> [u8; 64] {
    match body {
        Body::Sgx(report) => report.report_data,
        Body::Tdx { td, .. } => td.report_data,
    }
}

/// Whether any security version in the evidence carries the simulator's marker.
fn claims_simulated(quote: &Quote<'_>, platform: &IntelPlatform) -> bool {
    let own = match &quote.body {
        Body::Sgx(report) => is_simulated(&report.cpusvn),
        Body::Tdx { td, tee_tcb_svn2, .. } => {
            is_simulated(&td.tee_tcb_svn) || tee_tcb_svn2.as_ref().is_some_and(is_simulated)
        }
    };
    own || is_simulated(&quote.qe_report.cpusvn) || is_simulated(&platform.cpusvn)
}
