//! A holder of a share: whoever recovers proves to each of them who it is (R45, R87).

use std::sync::Arc;

use bulla::{Header, RecipientKey, Sealer, Share};

use bulla_attest::{Claims, CollateralId, CollateralSource, TrustAnchor};
use bulla_crypto::sha256;

use super::ask::{Ask, Purpose};
use super::{CustodyError, handover};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::verify::{Judge, Sources};
use crate::{Error, Settings, verify};

/// A holder of a share of backups. It needs no machine: it judges the provider that recovers, and gives its share to no other.
pub struct Holder {
    judge: Judge,
    policy: Policy,
}

impl Holder {
    /// A holder who knows the policy that the settings name. Whether that is the policy of the right authority is for the holder to
    /// say, who knows its id.
    ///
    /// # Errors
    /// Those of the settings; [`CustodyError::RecoveryDenied`] for another authority.
    pub fn new(
        authority: &[u8; 32],
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let policy = Policy::of(settings)?;
        if policy.authority != *authority {
            return Err(refused("the policy is of another authority"));
        }
        Self::under(policy, collateral, anchor, settings)
    }

    pub(crate) fn under(
        policy: Policy,
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let sources = Sources::new(anchor, settings.collateral.open(collateral)?, None)?;
        Ok(Self { judge: Judge::new(Arc::new(sources), &policy), policy })
    }

    /// This holder's share of `backup`, sealed to the provider that made `request`, if that is an enclave and a machine that the policy
    /// names for it, and runs under this very policy. A share for a drill is none for a recovery.
    ///
    /// # Errors
    /// [`CustodyError::RecoveryDenied`] saying why; [`CustodyError::Malformed`]; those of
    /// [`Share::take`], for a backup that has no share for `key`.
    pub fn share(
        &self,
        purpose: Purpose,
        request: &[u8],
        backup: &[u8],
        key: &RecipientKey,
    ) -> Result<Vec<u8>, Error> {
        let ask = Ask::from_json(request, purpose)?;
        let policy = (self.policy.authority, self.policy.version, self.policy.digest);
        if (ask.authority, ask.policy_version, ask.policy_digest) != policy {
            return Err(refused("it runs under another policy"));
        }
        if ask.backup != sha256(&[backup]) {
            return Err(refused("it asks for another backup"));
        }
        let id = CollateralId::of_quote(&ask.quote).map_err(|error| verify::refusal(&error));
        let claims = id.and_then(|id| self.judge.own_claims(&ask.quote, &id)).map_err(denied)?;
        if claims.report_data != *ask.report_data().as_bytes() {
            return Err(refused("its quote was made for another request"));
        }
        admit(&self.policy, &claims)?;
        let share = Share::take(&Header::read(&mut &backup[..])?, key)?;
        let sealer = Sealer::new(&ask.share_context()).recovery(&ask.recipient()?);
        Ok(sealer.seal(share.to_text().expose())?)
    }
}

/// Whether roots may be put together by this enclave, on this machine.
pub(super) fn admit(policy: &Policy, shown: &Claims) -> Result<(), Error> {
    let ppid = shown.platform.intel().map(|platform| platform.ppid);
    if !ppid.is_some_and(|ppid| policy.terms.migration.contains(&ppid)) {
        return Err(refused("the policy does not name this machine ([[migration]])"));
    }
    handover::admit(&policy.terms.upgrades, &shown.identity, None).map_err(|error| match error {
        Error::Custody(CustodyError::UpgradeDenied(why)) => refused(why),
        error => error,
    })
}

pub(super) fn refused(why: impl Into<String>) -> Error {
    CustodyError::RecoveryDenied(why.into()).into()
}

pub(super) fn denied(refusal: Refusal) -> Error {
    refused(refusal.cause)
}
