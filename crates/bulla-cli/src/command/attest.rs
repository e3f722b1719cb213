//! `bulla attest verify`: a quote, collateral and a time in; claims or a reason out.

use bulla_attest::{Claims, Collateral, Error, Policy, Tcb, TcbStatus, TrustAnchor, Verifier};
use bulla_tee::Identity;
use serde_json::{Map, Value, json};

use crate::args::Verify;
use crate::failure::Failure;
use crate::{files, machine, say};

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
        lines(claims).iter().for_each(|(name, value)| say::field(name, value));
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
        Ok(claims) => accepted(claims),
        Err(error) => json!({
            "verified": false,
            "code": error.code(),
            "message": error.to_string(),
            "tcb_status": error.tcb().map(|tcb| tcb.status.as_str()),
            "advisory_ids": error.tcb().map(advisories),
        }),
    }
}

/// Claims as JSON.
pub(crate) fn accepted(claims: &Claims) -> Value {
    let mut report: Map<String, Value> =
        lines(claims).into_iter().map(|(name, value)| (name.into(), value)).collect();
    report.insert("verified".into(), true.into());
    report.into()
}

fn advisories(tcb: &Tcb) -> Value {
    tcb.advisory_ids.clone().into()
}

fn lines(claims: &Claims) -> Vec<(&'static str, Value)> {
    let tee = if matches!(claims.identity, Identity::Sgx(_)) { "sgx" } else { "tdx" };
    let mut lines = vec![
        ("tee", tee.into()),
        ("tcb_status", claims.tcb.status.as_str().into()),
        ("advisory_ids", advisories(&claims.tcb)),
        ("evaluation", claims.tcb.evaluation_data_number.into()),
        ("simulated", claims.simulated.into()),
        ("ppid", hex::encode(claims.platform.ppid).into()),
        ("fmspc", hex::encode(claims.platform.fmspc).into()),
        ("valid_until", claims.valid_until.into()),
        ("report_data", hex::encode(claims.report_data).into()),
    ];
    match &claims.identity {
        Identity::Sgx(enclave) => lines.extend([
            ("mrenclave", hex::encode(enclave.mrenclave).into()),
            ("mrsigner", hex::encode(enclave.mrsigner).into()),
            ("isv_prod_id", enclave.isv_prod_id.into()),
            ("isv_svn", enclave.isv_svn.into()),
        ]),
        Identity::Tdx(guest) => {
            lines.push(("mrtd", hex::encode(guest.mrtd).into()));
            lines.extend(
                ["rtmr0", "rtmr1", "rtmr2", "rtmr3"]
                    .into_iter()
                    .zip(guest.rtmr.map(|value| hex::encode(value).into())),
            );
            lines.extend([
                ("mrconfigid", hex::encode(guest.mrconfigid).into()),
                ("mrowner", hex::encode(guest.mrowner).into()),
                ("mrownerconfig", hex::encode(guest.mrownerconfig).into()),
                ("mrservicetd", hex::encode(guest.mrservicetd).into()),
            ]);
        }
        _ => {}
    }
    lines
}
