//! A provider that has no roots yet, and is to get them from its predecessor or from a backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla::{Header, Opener, Recipient, Rewrap, Ring, Share, Unsealer};

use bulla_attest::{Claims, CollateralId, CollateralSource, TrustAnchor};
use bulla_crypto::sha256;
use bulla_tee::{Policy as KeyPolicy, Tee};

use super::ask::Ask;
pub use super::ask::Purpose;
use super::handover::{self, Grant};
use super::keyring;
use super::memory::Remembered;
use super::{Custody, CustodyError, Kind, Roots, holder};
use crate::policy::Policy;
use crate::provider::measurement;
use crate::refusal::Refusal;
use crate::verify::{Judge, Sources};
use crate::{Error, Settings, own, verify};

/// A provider that has no roots yet. It serves nobody; it asks ([`ask`](Self::ask)), and takes what it is given:
/// [`adopt`](Self::adopt) from its predecessor on this machine, [`recover`](Self::recover) from a backup. Then a start finds them.
pub struct Candidate {
    tee: Arc<dyn Tee>,
    judge: Judge,
    policy: Policy,
    state_dir: PathBuf,
}

/// What a drill has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drilled {
    /// The epochs in the backup, with the ids of their roots: those of the provider, if it is its backup and no older one.
    pub epochs: Vec<(u32, [u8; 16])>,
}

impl Candidate {
    /// A provider of the policy that the settings name.
    ///
    /// # Errors
    /// [`CustodyError::BoundToHardware`] where the policy keeps roots in the hardware; those of the settings.
    pub fn new(
        tee: Arc<dyn Tee>,
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        Self::under(Policy::of(settings)?, tee, collateral, anchor, settings)
    }

    pub(crate) fn under(
        policy: Policy,
        tee: Arc<dyn Tee>,
        collateral: Arc<dyn CollateralSource>,
        anchor: TrustAnchor,
        settings: &Settings,
    ) -> Result<Self, Error> {
        measurement(tee.as_ref(), &policy, settings)?;
        if policy.terms.custody == Kind::Hardware {
            return Err(CustodyError::BoundToHardware.into());
        }
        let sources = Sources::new(anchor, settings.collateral.open(collateral)?, None)?;
        let judge = Judge::new(Arc::new(sources), &policy);
        Ok(Self { tee, judge, policy, state_dir: settings.state_dir.clone() })
    }

    /// A request, to be shown to the predecessor or to the holders of shares, and a secret to be kept for later: the private key,
    /// sealed to this enclave. A recovery and a drill are of one `backup`.
    ///
    /// # Errors
    /// [`CustodyError::UpgradeDenied`] and [`CustodyError::RecoveryDenied`] where nobody would listen.
    pub fn ask(&self, purpose: Purpose, backup: Option<&[u8]>) -> Result<(Vec<u8>, Vec<u8>), Error> {
        if (purpose == Purpose::Handover) != backup.is_none() {
            let why = "a handover is of no backup, and all else is".into();
            return Err(CustodyError::Malformed { what: "request", why }.into());
        }
        let (mut ask, secret) = Ask::new(self.tee.as_ref(), &self.policy, purpose, backup)?;
        let (quote, claims) = self.own_quote(&ask)?;
        self.may_have_roots(&ask, &claims)?;
        ask.quote = quote;
        Ok((ask.to_json(), secret))
    }

    /// Takes over what the predecessor granted for `request`, into a state directory of its own. The predecessor is judged as
    /// strictly as it has judged: its quote verifies and is for exactly this, it is on this machine, and it is named by `[[upgrade]]`.
    ///
    /// # Errors
    /// [`CustodyError::UpgradeDenied`] saying why; [`CustodyError::Exists`]. The predecessor is as it was, whatever happens
    /// here, and this can be tried again.
    pub fn adopt(&self, request: &[u8], secret: &[u8], grant: &[u8]) -> Result<Vec<(u32, [u8; 16])>, Error> {
        let ask = Ask::from_json(request, Purpose::Handover)?;
        let key = self.key(&ask, secret)?;
        let grant = Grant::from_json(grant)?;
        let id = CollateralId::of_quote(&grant.quote).map_err(|error| verify::refusal(&error));
        let claims = id.and_then(|id| self.judge.own_claims(&grant.quote, &id)).map_err(handover::denied)?;
        if claims.report_data != *grant.report_data(&ask).as_bytes() {
            return Err(handover::refused("the predecessor's quote was made for something else"));
        }
        let (_, own) = self.own_quote(&ask)?;
        if !claims.platform.same_machine(&own.platform) {
            return Err(handover::refused("the predecessor is on another machine"));
        }
        handover::admit(&self.policy.terms.upgrades, &claims.identity, None)?;
        if grant.policy_version > self.policy.version {
            return Err(handover::refused("the predecessor runs under a later version of the policy"));
        }
        let unsealer = Unsealer::new(&keyring::context(&self.policy.authority)?).key(&key);
        let mut expected = self.holders();
        expected.push(key.recipient().clone());
        let unsealer = unsealer.expect_recipients(&expected);
        self.receive(&unsealer, &grant.ring, &grant.seen)
    }

    /// Recovers the roots of a backup from the shares that its holders gave for `request` ([`Holder::share`](crate::Holder::share)).
    /// They are put together here and nowhere else.
    ///
    /// # Errors
    /// [`CustodyError::RecoveryDenied`] where the policy does not name this machine or this enclave; those of opening with shares.
    pub fn recover(
        &self,
        request: &[u8],
        secret: &[u8],
        backup: &[u8],
        shares: &[Vec<u8>],
    ) -> Result<Vec<(u32, [u8; 16])>, Error> {
        let ask = Ask::from_json(request, Purpose::Recovery)?;
        let shares = self.shares(&ask, secret, backup, shares)?;
        let context = keyring::context(&self.policy.authority)?;
        let unsealer = shares.iter().fold(Unsealer::new(&context), Unsealer::share);
        let unsealer = unsealer.expect_recipients(&self.holders());
        self.receive(&unsealer, backup, &Remembered::default())
    }

    /// Shows that the shares open the backup. Nothing of it is kept, or said but what is public.
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub fn drill(
        &self,
        request: &[u8],
        secret: &[u8],
        backup: &Path,
        shares: &[Vec<u8>],
    ) -> Result<Drilled, Error> {
        let ask = Ask::from_json(request, Purpose::Drill)?;
        let bytes = keyring::read(&mut bulla::file::open_sealed(backup, keyring::LARGEST)?)?;
        let shares = self.shares(&ask, secret, &bytes, shares)?;
        let context = keyring::context(&self.policy.authority)?;
        let unsealer = shares.iter().fold(Unsealer::new(&context), Unsealer::share);
        let unsealer = unsealer.expect_recipients(&self.holders());
        let ring = Ring::open(backup, unsealer)?;
        let roots = keyring::roots_of(&ring, &self.policy.authority, self.policy.terms.recovery.clone());
        Ok(Drilled { epochs: epochs(&roots) })
    }

    /// The shares, opened. Only this enclave, on this machine, under this policy, can.
    fn shares(
        &self,
        ask: &Ask,
        secret: &[u8],
        backup: &[u8],
        sealed: &[Vec<u8>],
    ) -> Result<Vec<Share>, Error> {
        let key = self.key(ask, secret)?;
        if ask.backup != sha256(&[backup]) {
            let why = "the request is for another one".into();
            return Err(CustodyError::Malformed { what: "backup", why }.into());
        }
        let (_, claims) = self.own_quote(ask)?;
        self.may_have_roots(ask, &claims)?;
        let unsealer = Unsealer::new(&ask.share_context()).key(&key);
        let shares = sealed.iter().map(|sealed| {
            let (text, _) = unsealer.unseal(sealed)?;
            Ok(Share::from_text(str::from_utf8(text.expose()).unwrap_or_default())?)
        });
        shares.collect()
    }

    /// The one-time key, if the request was made under the policy of now.
    fn key(&self, ask: &Ask, secret: &[u8]) -> Result<bulla::RecipientKey, Error> {
        let made = (ask.authority, ask.policy_version, ask.policy_digest);
        if made != (self.policy.authority, self.policy.version, self.policy.digest) {
            let why = "it was made under another policy: ask again".into();
            return Err(CustodyError::Malformed { what: "request", why }.into());
        }
        ask.key(self.tee.as_ref(), secret)
    }

    /// Says early what others will say anyway, and is itself what keeps this enclave from putting shares together where it
    /// must not.
    fn may_have_roots(&self, ask: &Ask, own: &Claims) -> Result<(), Error> {
        match ask.purpose {
            Purpose::Handover => {
                let now = self.judge.now().map_err(handover::denied)?;
                handover::admit(&self.policy.terms.upgrades, &own.identity, Some(now))
            }
            Purpose::Recovery | Purpose::Drill => holder::admit(&self.policy, own),
        }
    }

    fn own_quote(&self, ask: &Ask) -> Result<(Vec<u8>, Claims), Error> {
        let denied = |refusal: Refusal| match ask.purpose {
            Purpose::Handover => handover::denied(refusal),
            Purpose::Recovery | Purpose::Drill => holder::denied(refusal),
        };
        own::quote(self.tee.as_ref(), &self.judge, self.policy.simulated, &ask.report_data()).map_err(denied)
    }

    fn holders(&self) -> Vec<Recipient> {
        self.policy.terms.recovery.iter().flat_map(|recovery| recovery.recipients.clone()).collect()
    }

    /// Writes the ring for this enclave alone, and the recovery recipients.
    fn receive(
        &self,
        unsealer: &Unsealer<'_>,
        ring: &[u8],
        seen: &Remembered,
    ) -> Result<Vec<(u32, [u8; 16])>, Error> {
        let header = Header::read(&mut &ring[..])?;
        let mut rewrap = Rewrap::new().machine(self.tee.as_ref(), KeyPolicy::measurement());
        for (index, slot) in header.slots().iter().enumerate() {
            if matches!(slot.opener(), Opener::Machine(_)) {
                rewrap = rewrap.drop(index);
            }
        }
        let rewrap = rewrap.drop_successors().vouch();
        let roots = Custody::receive(&self.tee, &self.state_dir, &self.policy, seen, |new| {
            rewrap.run(unsealer, ring, new)?;
            Ok(())
        })?;
        Ok(epochs(&roots))
    }
}

fn epochs(roots: &Roots) -> Vec<(u32, [u8; 16])> {
    roots.iter().map(|root| (root.epoch(), *root.id())).collect()
}
