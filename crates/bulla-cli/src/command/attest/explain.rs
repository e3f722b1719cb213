//! `bulla attest explain`: a verdict with everything that led to it.

use bulla_attest::Outline;
use serde_json::json;

use super::judge::{Judged, evidence, judge};
use super::{picture, policy, reason, report, tpm};
use crate::args::Verify;
use crate::failure::Failure;
use crate::say;

pub(crate) fn explain(options: &Verify) -> Result<(), Failure> {
    let evidence = evidence(options)?;
    if tpm::is_quote(&evidence) {
        return tpm::explain(options, &evidence);
    }
    let Judged { quote, collateral, policy, verdict } = judge(options, evidence)?;
    // What cannot be outlined was refused for the same reason.
    let outline = Outline::of(&quote, collateral.as_ref()).ok();
    let signers = outline.map(|outline| outline.signers).unwrap_or_default();
    if options.json {
        say::result(json!({
            "verdict": report(&verdict),
            "policy": { "name": policy.name(), "revision": policy.revision(), "rules": policy.explain() },
            "signers": signers.iter().map(picture::json).collect::<Vec<_>>(),
        }));
        return verdict.map(drop).map_err(Failure::from);
    }
    policy::title(&policy);
    policy::sentences(&policy);
    say::result("");
    picture::lines(&signers).iter().for_each(say::result);
    say::result("");
    match &verdict {
        Ok(accepted) => {
            say::result("accepted");
            accepted.lines().iter().for_each(|(name, value)| say::field(name, value));
        }
        Err(error) => reason::print(error),
    }
    verdict.map(drop).map_err(Failure::from)
}
