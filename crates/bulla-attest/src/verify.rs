//! From a quote to claims.
//!
//! Four steps, each on the actual bytes: structure ([`Quote::parse`]), our own checks ([`check`](mod@crate::check)), the verification
//! library's walk over the whole path ([`walk`]), and the policy. Only the walk can accept; the steps around it refuse,
//! and name the reason where the library has but a sentence.

use bulla_tee::{Identity, SgxIdentity, TdxIdentity, is_simulated};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy};

use crate::check::check;
use crate::crypto::Engine;
use crate::explain::explain;
use crate::quote::{Body, Quote};
use crate::{Claims, Collateral, Error, IntelPlatform, Platform, Policy, Tcb, TrustAnchor};

/// Judges quotes against one trust anchor. It keeps no state and reads no clock.
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
#[derive(Clone, Debug)]
pub struct Verifier {
    anchor: TrustAnchor,
}

impl Verifier {
    /// A verifier for evidence that leads to `anchor`.
    pub const fn new(anchor: TrustAnchor) -> Self {
        Self { anchor }
    }

    /// Verifies an SGX quote (version 3) or a TDX quote (version 4 or 5) with its collateral at a time, and appraises it.
    ///
    /// Zero bytes after the quote's end are taken for a guest's padding; everything else must be exactly a quote.
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
        let quote = Quote::parse(quote)?;
        let checked = check(&quote, collateral, now_unix, &self.anchor)?;
        let identity = identity(&quote.body);
        let simulated = claims_simulated(&quote, &checked.platform);
        let verified = match walk(&quote, collateral, now_unix, &checked.root) {
            Ok(verified) => verified,
            Err(refusal) => return Err(explain(&quote, &checked, &identity, simulated, policy, refusal)),
        };
        let claims = Claims {
            report_data: report_data(&quote.body),
            tcb: Tcb {
                status: verified.tcb.status.into(),
                advisory_ids: verified.tcb.advisory_ids,
                evaluation_data_number: verified.tcb.eval_data_number,
                qe_status: verified.qe.tcb_level.tcb_status.into(),
            },
            valid_until: verified.earliest_expiration_date,
            platform: Platform::Intel(checked.platform),
            identity,
            simulated,
        };
        policy.appraise(&claims.identity, claims.simulated, &claims.tcb)?;
        Ok(claims)
    }
}

/// The library's walk over the whole path: certificates, revocation, documents, QE report, quote, TCB levels. It refuses
/// debug, migration, service TDs, reserved attributes and a cleared SEPT_VE_DISABLE by itself, as our policy does.
fn walk(quote: &Quote<'_>, collateral: &Collateral, now: u64, root: &[u8]) -> Result<QuoteClaims, String> {
    // Its own policy passes everything, because ours is applied to what it found.
    let pass = QuotePolicy::claims_only(now);
    QuoteVerifier::<Engine>::new_with_config(root.to_vec())
        .verify_with_policy(quote.bytes, collateral.items(), now, &pass)
        .map_err(|error| format!("{error:#}"))
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
