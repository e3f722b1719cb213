//! Why the verification library refused a quote that passed all of our own checks.

use bulla_tee::Identity;

use crate::check::Checked;
use crate::levels::{TdxModule, converge, platform_level, qe_level};
use crate::quote::{Body, Quote};
use crate::{Error, Policy, Tcb, TcbStatus};

/// Names the reason for which the library refused. It never accepts: whatever it finds in order, the library's refusal stands.
pub(crate) fn explain(
    quote: &Quote<'_>,
    checked: &Checked,
    identity: &Identity,
    simulated: bool,
    policy: &Policy,
    refusal: String,
) -> Error {
    let tcb = match tcb(quote, checked) {
        Ok(tcb) => tcb,
        Err(error) => return error,
    };
    if tcb.status == TcbStatus::Revoked {
        return Error::TcbRevoked(Box::new(tcb));
    }
    match policy.appraise_identity(identity, simulated, &tcb) {
        Err(error) => error,
        Ok(()) => Error::Unverified(refusal),
    }
}

fn tcb(quote: &Quote<'_>, checked: &Checked) -> Result<Tcb, Error> {
    let qe = qe_level(&quote.qe_report, &checked.qe_identity)?;
    let module = match &quote.body {
        Body::Sgx(_) => None,
        Body::Tdx { td, .. } => Some(TdxModule {
            tee_tcb_svn: &td.tee_tcb_svn,
            mrsigner: &td.mrsignerseam,
            attributes: &td.seam_attributes,
        }),
    };
    let platform = platform_level(&checked.platform, module.as_ref(), &checked.tcb_info)?;
    Ok(converge(platform, &qe, &checked.tcb_info, &checked.qe_identity))
}
