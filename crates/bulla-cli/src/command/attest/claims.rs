//! Claims, line by line.

use bulla_attest::{Claims, Platform, Tcb};
use bulla_tee::Identity;
use serde_json::{Map, Value};

/// Claims as JSON.
pub(crate) fn json(claims: &Claims) -> Value {
    report(lines(claims).into_iter().map(|(name, value)| (name.to_owned(), value)))
}

/// What was verified, as JSON.
pub(super) fn report(lines: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut report: Map<String, Value> = lines.into_iter().collect();
    report.insert("verified".into(), true.into());
    report.into()
}

pub(super) fn advisories(tcb: &Tcb) -> Value {
    tcb.advisory_ids.clone().into()
}

pub(super) fn lines(claims: &Claims) -> Vec<(&'static str, Value)> {
    let tee = match &claims.identity {
        Identity::Sgx(_) => "sgx",
        Identity::Tdx(_) => "tdx",
        Identity::Snp(_) => "snp",
        _ => "unknown",
    };
    let mut lines: Vec<(&'static str, Value)> = vec![
        ("tee", tee.into()),
        ("tcb_status", claims.tcb.status.as_str().into()),
        ("advisory_ids", advisories(&claims.tcb)),
        ("evaluation", claims.tcb.evaluation_data_number.into()),
        ("simulated", claims.simulated.into()),
    ];
    lines.extend(platform(&claims.platform));
    lines.extend([
        ("judged_at", claims.basis.time.into()),
        ("valid_until", claims.valid_until.into()),
        ("report_data", hex::encode(claims.report_data).into()),
    ]);
    lines.extend(identity(&claims.identity));
    lines
}

/// What names and describes the machine.
fn platform(platform: &Platform) -> Vec<(&'static str, Value)> {
    match platform {
        Platform::Intel(platform) => {
            vec![("ppid", hex::encode(platform.ppid).into()), ("fmspc", hex::encode(platform.fmspc).into())]
        }
        Platform::Amd(platform) => vec![
            ("product", platform.product.as_str().into()),
            ("chip_id", platform.chip_id.map(hex::encode).into()),
            ("csp_id", platform.csp_id.clone().into()),
        ],
        _ => Vec::new(),
    }
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
        Identity::Snp(guest) => lines.extend([
            ("measurement", hex::encode(guest.measurement).into()),
            ("host_data", hex::encode(guest.host_data).into()),
            ("id_key_digest", hex::encode(guest.id_key_digest).into()),
            ("author_key_digest", hex::encode(guest.author_key_digest).into()),
            ("family_id", hex::encode(guest.family_id).into()),
            ("image_id", hex::encode(guest.image_id).into()),
            ("guest_svn", guest.guest_svn.into()),
            ("guest_policy", format!("{:#x}", guest.policy).into()),
            ("vmpl", guest.vmpl.into()),
            ("platform_info", format!("{:#x}", guest.platform_info).into()),
            ("reported_tcb", guest.reported_tcb.to_string().into()),
            ("committed_tcb", guest.committed_tcb.to_string().into()),
        ]),
        _ => {}
    }
    lines
}
