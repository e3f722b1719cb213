//! What `verify` and `explain` begin with.

use bulla_attest::{Claims, Collateral, Error, Policy, TcbStatus, TrustAnchor, Verifier};

use super::policy;
use crate::args::Verify;
use crate::failure::Failure;
use crate::{files, machine};

/// Evidence, what it was judged by, and the verdict.
pub(super) struct Judged {
    pub(super) quote: Vec<u8>,
    pub(super) collateral: Option<Collateral>,
    pub(super) policy: Policy,
    pub(super) verdict: Result<Claims, Error>,
}

pub(super) fn judge(options: &Verify) -> Result<Judged, Failure> {
    // One byte beyond the limit is enough to be refused for it, by the verifier like everything else.
    let quote = files::beginning(&options.quote, bulla_protocol::QUOTE_MAX as u64 + 1)?;
    let json = files::beginning(&options.collateral, Collateral::LIMIT as u64 + 1)?;
    let mut policy = match &options.policy {
        Some(file) => policy::read(file)?,
        None => Policy::strict().allow_statuses(&statuses(&options.tcb)?),
    };
    let verifier = match &options.root {
        None => Verifier::vendors(),
        Some(path) => {
            policy = policy.allow_simulated();
            Verifier::new(TrustAnchor::from_der(&files::read(path, 64 * 1024)?)?)
        }
    };
    let now = options.at.unwrap_or_else(machine::now);
    let (collateral, verdict) = match Collateral::from_json(&json) {
        Ok(collateral) => {
            let verdict = verifier.verify(&quote, &collateral, now, &policy);
            (Some(collateral), verdict)
        }
        Err(error) => (None, Err(error)),
    };
    Ok(Judged { quote, collateral, policy, verdict })
}

/// TCB statuses by their names.
pub(crate) fn statuses(names: &[String]) -> Result<Vec<TcbStatus>, Failure> {
    names
        .iter()
        .map(|name| name.parse().map_err(|_| Failure::usage(format!("`{name}` is not a TCB status"))))
        .collect()
}
