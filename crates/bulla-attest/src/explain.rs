//! Why the walk refused a quote that passed all of our own checks.

use bulla_tee::Identity;

use crate::check::Checked;
use crate::error::{Item, ItemFault};
use crate::levels::{self, TdxModule, enclave_level, guest_level, qe_level};
use crate::quote::{Body, Quote};
use crate::shortfall::{Names, Versions, shortfalls};
use crate::{Collateral, Error, Policy, Shortfall, Tcb, TcbStatus, TeeKind};

/// Names the reason for which the walk refused. It never accepts: whatever it finds in order, the walk's refusal stands.
pub(crate) fn explain(
    quote: &Quote<'_>,
    checked: &Checked,
    collateral: &Collateral,
    identity: &Identity,
    simulated: bool,
    policy: &Policy,
    refusal: String,
) -> Error {
    let missing = || missing(quote, checked, collateral);
    let tcb = match tcb(quote, checked) {
        Ok(tcb) => Tcb { shortfalls: missing(), ..tcb },
        Err(Error::NoMatchingLevel(_)) => return Error::NoMatchingLevel(missing()),
        Err(error) => return error,
    };
    if tcb.status == TcbStatus::Revoked {
        return Error::TcbRevoked(Box::new(tcb));
    }
    match policy.appraise_kind(identity, simulated, &tcb) {
        Err(error) => error,
        Ok(()) => Error::Unverified(refusal),
    }
}

/// What keeps a quote's platform from the best level.
pub(crate) fn missing(quote: &Quote<'_>, checked: &Checked, collateral: &Collateral) -> Vec<Shortfall> {
    let tee_tcb_svn = match &quote.body {
        Body::Sgx(_) => None,
        Body::Tdx { td, .. } => Some(&td.tee_tcb_svn),
    };
    let versions =
        Versions { platform: &checked.platform, tee_tcb_svn, qe_isvsvn: Some(quote.qe_report.isv_svn) };
    let names = || Names::read(collateral.items().map_or("", |set| &set.tcb_info));
    shortfalls(&versions, &checked.tcb_info, names, &checked.qe_identity)
}

/// How a quote's platform stands by the levels, without its shortfalls. A refused one's may be revoked.
pub(crate) fn tcb(quote: &Quote<'_>, checked: &Checked) -> Result<Tcb, Error> {
    let Checked { platform, tcb_info, qe_identity, .. } = checked;
    if quote.body.tee() == TeeKind::Sgx && qe_identity.version != 2 {
        let detail = format!("version {}, and QE has version 2", qe_identity.version);
        return Err(Error::item(Item::QeIdentity, ItemFault::UnsupportedVersion, detail));
    }
    let qe = qe_level(&quote.qe_report, qe_identity)?;
    let found = match &quote.body {
        Body::Sgx(_) => enclave_level(platform, &qe, tcb_info)?,
        Body::Tdx { td, tee_tcb_svn2, .. } => {
            let module = TdxModule {
                tee_tcb_svn: &td.tee_tcb_svn,
                mrsigner: &td.mrsignerseam,
                attributes: &td.seam_attributes,
                running: tee_tcb_svn2.as_ref(),
                excused: true,
            };
            guest_level(platform, &module, &qe, tcb_info)?
        }
    };
    Ok(levels::tcb(found, &qe, tcb_info, qe_identity))
}
