//! Whom to believe.

use std::sync::Arc;

use bulla_attest::{Claims, CollateralId, CollateralSource, Policy, TrustAnchor, Verifier};

/// Which provider to accept (R40). The values come from the provider's operator by a way that the host does not control,
/// for example in the guest's measured image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// MRENCLAVE of the provider.
    pub measurement: [u8; 32],
    /// The hash of the provider authority's key.
    pub authority: [u8; 32],
    /// The root that new keys come from. `None` accepts any root of this provider; a key request that was recorded names
    /// its own root, which may be an older one.
    pub root_id: Option<[u8; 16]>,
}

/// What evidence is judged with, the provider's and the guest's own alike.
pub struct Judge {
    verifier: Verifier,
    collateral: Arc<dyn CollateralSource>,
    policy: Policy,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Judge {
    /// Judges evidence that leads to `anchor`, with what `collateral` delivers, under `policy`, at the time that `now`
    /// tells in Unix seconds.
    ///
    /// In a guest both collateral and time come from the host in the end: the collateral is signed, and the time is a hint
    /// (R30).
    pub fn new(
        anchor: TrustAnchor,
        collateral: Arc<dyn CollateralSource>,
        policy: Policy,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { verifier: Verifier::new(anchor), collateral, policy, now: Box::new(now) }
    }

    pub(crate) fn claims(&self, quote: &[u8]) -> Result<Claims, bulla_attest::Error> {
        let collateral = self.collateral.collateral(&CollateralId::of_quote(quote)?)?;
        self.verifier.verify(quote, &collateral, (self.now)(), &self.policy)
    }
}
