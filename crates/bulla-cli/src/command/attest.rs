//! `bulla attest`: evidence in, claims or a reason out.

mod claims;
pub(crate) mod collateral;
mod explain;
mod judge;
mod picture;
pub(crate) mod policy;
mod reason;
mod show;
pub(crate) mod tpm;

use bulla_attest::Error;
use serde_json::{Value, json};

use crate::args::Verify;
use crate::failure::Failure;
use crate::say;
use judge::{Accepted, Judged};

pub(crate) use claims::json as claims_json;
pub(crate) use explain::explain;
pub(crate) use judge::statuses;
pub(crate) use show::show;

/// Verifies and prints.
pub(crate) fn verify(options: &Verify) -> Result<(), Failure> {
    let evidence = judge::evidence(options)?;
    if tpm::is_quote(&evidence) {
        return tpm::verify(options, &evidence);
    }
    let Judged { verdict, .. } = judge::judge(options, evidence)?;
    if options.json {
        say::result(report(&verdict));
    } else if let Ok(accepted) = &verdict {
        accepted.lines().iter().for_each(|(name, value)| say::field(name, value));
    }
    verdict.map(drop).map_err(Failure::from)
}

fn report(verdict: &Result<Accepted, Error>) -> Value {
    verdict.as_ref().map_or_else(refusal, Accepted::json)
}

fn refusal(error: &Error) -> Value {
    json!({
        "verified": false,
        "code": error.code(),
        "message": error.to_string(),
        "reason": reason::json(&error.reason()),
        "remote": error.remote().code(),
        "tcb_status": error.tcb().map(|tcb| tcb.status.as_str()),
        "advisory_ids": error.tcb().map(claims::advisories),
    })
}
