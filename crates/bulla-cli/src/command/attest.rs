//! `bulla attest`: evidence in, claims or a reason out.

mod claims;
mod picture;
mod show;

use bulla_attest::{Claims, Collateral, Error, Policy, TcbStatus, TrustAnchor, Verifier};
use serde_json::{Value, json};

use crate::args::Verify;
use crate::failure::Failure;
use crate::{files, machine, say};

pub(crate) use claims::json as claims_json;
pub(crate) use show::show;

/// Verifies and prints.
pub(crate) fn verify(options: &Verify) -> Result<(), Failure> {
    // One byte beyond the limit is enough to be refused for it, by the verifier like everything else.
    let quote = files::beginning(&options.quote, bulla_protocol::QUOTE_MAX as u64 + 1)?;
    let collateral = files::beginning(&options.collateral, Collateral::LIMIT as u64 + 1)?;
    let mut policy = Policy::strict().allow_statuses(&statuses(&options.tcb)?);
    let anchor = match &options.root {
        None => TrustAnchor::intel(),
        Some(path) => {
            policy = policy.allow_simulated();
            TrustAnchor::from_der(&files::read(path, 64 * 1024)?)?
        }
    };
    let now = options.at.unwrap_or_else(machine::now);
    let verdict = Collateral::from_json(&collateral)
        .and_then(|collateral| Verifier::new(anchor).verify(&quote, &collateral, now, &policy));
    if options.json {
        say::result(report(&verdict));
    } else if let Ok(claims) = &verdict {
        claims::lines(claims).iter().for_each(|(name, value)| say::field(name, value));
    }
    verdict.map(drop).map_err(Failure::from)
}

/// TCB statuses by their names.
pub(crate) fn statuses(names: &[String]) -> Result<Vec<TcbStatus>, Failure> {
    names
        .iter()
        .map(|name| name.parse().map_err(|_| Failure::usage(format!("`{name}` is not a TCB status"))))
        .collect()
}

fn report(verdict: &Result<Claims, Error>) -> Value {
    match verdict {
        Ok(claims) => claims::json(claims),
        Err(error) => json!({
            "verified": false,
            "code": error.code(),
            "message": error.to_string(),
            "tcb_status": error.tcb().map(|tcb| tcb.status.as_str()),
            "advisory_ids": error.tcb().map(claims::advisories),
        }),
    }
}
