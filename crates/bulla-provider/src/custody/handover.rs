//! Handover: a running provider gives its roots to the next enclave on the same machine, which has proved itself (R78, R79).
//!
//! Nothing of the giver changes, so whatever stops in between leaves it as it was. Both serve until somebody ends the old one.

use std::sync::atomic::Ordering;

use bulla::{Opener, Rewrap};
use serde::{Deserialize, Serialize};

use bulla_attest::CollateralId;
use bulla_crypto::{Role, RoleHash, sha256};
use bulla_tee::{Identity, ReportData};

use super::ask::{Ask, Purpose};
use super::memory::Remembered;
use super::{CustodyError, Target};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::{Error, Provider, verify};

const VERSION: u8 = 1;
/// The longest JSON form, in bytes: a ring and a memory, in hexadecimal.
const LIMIT: usize = 8 * 1024 * 1024;

/// What the successor gets. Only the ring in it is secret, and opens only for the successor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    version: u8,
    /// The giver's; the successor's is the same or later.
    pub(super) policy_version: u32,
    #[serde(with = "hex")]
    pub(super) ring: Vec<u8>,
    pub(super) seen: Remembered,
    #[serde(with = "hex")]
    pub(super) quote: Vec<u8>,
}

impl Grant {
    /// What the giver's quote has to carry.
    pub(super) fn report_data(&self, ask: &Ask) -> ReportData {
        let seen = serde_json::to_vec(&self.seen).expect("texts and numbers are JSON");
        RoleHash::new(
            Role::ProviderGrant,
            &[
                ("request", &ask.digest()),
                ("authority", &ask.authority),
                ("policy version", &self.policy_version.to_be_bytes()),
                ("ring", &sha256(&[&self.ring])),
                ("memory", &sha256(&[&seen])),
            ],
        )
    }

    pub(super) fn from_json(json: &[u8]) -> Result<Self, Error> {
        let malformed = |why: String| CustodyError::Malformed { what: "grant", why };
        if json.len() > LIMIT {
            return Err(malformed("it is longer than one can be".into()).into());
        }
        let grant: Self = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        if grant.version != VERSION {
            return Err(malformed(format!("version {}, and {VERSION} is known", grant.version)).into());
        }
        Ok(grant)
    }
}

impl Provider {
    /// The roots, for the enclave that made `request` ([`Candidate::ask`](crate::Candidate::ask)), if the policy lets them go there:
    /// its quote verifies like this provider's own, it is on this machine, it is named by `[[upgrade]]` and in time, and it
    /// runs under the same authority's policy of this version or a later one.
    ///
    /// This provider goes on serving, and makes no new epochs any more unless it is started again: one that the successor does not
    /// have would be lost with this provider.
    ///
    /// # Errors
    /// [`CustodyError::UpgradeDenied`] saying why; [`CustodyError::BoundToHardware`]; [`CustodyError::Malformed`]. Nothing has
    /// changed then.
    pub fn hand_over(&self, request: &[u8]) -> Result<Vec<u8>, Error> {
        let regime = self.regime();
        let policy = &regime.policy;
        let keyring = self.custody.keyring()?;
        let ask = Ask::from_json(request, Purpose::Handover)?;
        same_policy(&ask, policy)?;
        let id = CollateralId::of_quote(&ask.quote).map_err(|error| verify::refusal(&error));
        let claims = id.and_then(|id| regime.judge.own_claims(&ask.quote, &id)).map_err(denied)?;
        if claims.report_data != *ask.report_data().as_bytes() {
            return Err(refused("its quote was made for another request"));
        }
        let proof = regime.own.proof().map_err(denied)?;
        if !claims.platform.same_machine(&proof.platform) {
            return Err(refused("it is on another machine"));
        }
        let now = self.sources.now().map_err(denied)?;
        admit(&policy.terms.upgrades, &claims.identity, Some(now))?;

        let _one = self.custody.one_change();
        let (bytes, opened) = keyring.bytes()?;
        let recipient = ask.recipient()?;
        let mut rewrap = Rewrap::new().successor(&recipient);
        for (index, slot) in opened.header.slots().iter().enumerate() {
            if matches!(slot.opener(), Opener::Machine(_)) {
                rewrap = rewrap.drop(index);
            }
        }
        let mut ring = Vec::new();
        rewrap.run(&keyring.unsealer(), bytes.as_slice(), &mut ring)?;
        let seen = self.custody.memory().remembered();
        let mut grant =
            Grant { version: VERSION, policy_version: policy.version, ring, seen, quote: Vec::new() };
        (grant.quote, _) = regime.own.quote(&grant.report_data(&ask)).map_err(denied)?;
        self.custody.given.store(true, Ordering::Release);
        tracing::warn!("handed the roots over to a successor");
        Ok(serde_json::to_vec_pretty(&grant).expect("texts and numbers are JSON"))
    }
}

/// Whether the enclave is one of those between which roots may go. Whoever is to get them has to be in time, too.
pub(super) fn admit(targets: &[Target], shown: &Identity, now: Option<u64>) -> Result<(), Error> {
    let mut reason = "the policy names no enclave to hand over to or from ([[upgrade]])".to_owned();
    for target in targets {
        match (target.enclave.admits(shown), target.not_after, now) {
            (Err(error), ..) => reason = error.to_string(),
            (Ok(()), Some(end), Some(now)) if now > end => {
                reason = format!("the policy lets it in until {end} only, in Unix seconds");
            }
            (Ok(()), ..) => return Ok(()),
        }
    }
    Err(refused(reason))
}

/// Whether the request was made under this authority's policy, this version of it or a later one.
fn same_policy(ask: &Ask, policy: &Policy) -> Result<(), Error> {
    if ask.authority != policy.authority {
        return Err(refused("it runs under the policy of another authority"));
    }
    if ask.policy_version < policy.version {
        let (theirs, ours) = (ask.policy_version, policy.version);
        return Err(refused(format!("it runs under version {theirs} of the policy, and {ours} is in force")));
    }
    if ask.policy_version == policy.version && ask.policy_digest != policy.digest {
        return Err(refused("it runs under another policy of the same version"));
    }
    Ok(())
}

pub(super) fn refused(why: impl Into<String>) -> Error {
    CustodyError::UpgradeDenied(why.into()).into()
}

pub(super) fn denied(refusal: Refusal) -> Error {
    refused(refusal.cause)
}
