//! Claims, line by line.

use bulla_attest::{Claims, Tcb};
use bulla_tee::Identity;
use serde_json::{Map, Value};

/// Claims as JSON.
pub(crate) fn json(claims: &Claims) -> Value {
    let mut report: Map<String, Value> =
        lines(claims).into_iter().map(|(name, value)| (name.into(), value)).collect();
    report.insert("verified".into(), true.into());
    report.into()
}

pub(super) fn advisories(tcb: &Tcb) -> Value {
    tcb.advisory_ids.clone().into()
}

pub(super) fn lines(claims: &Claims) -> Vec<(&'static str, Value)> {
    let tee = if matches!(claims.identity, Identity::Sgx(_)) { "sgx" } else { "tdx" };
    let mut lines: Vec<(&'static str, Value)> = vec![
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
    lines.extend(identity(&claims.identity));
    lines
}

/// The registers of who runs.
pub(super) fn identity(identity: &Identity) -> Vec<(&'static str, Value)> {
    let mut lines = Vec::new();
    match identity {
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
