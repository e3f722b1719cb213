//! Whom to believe.

use std::sync::Arc;

use bulla_attest::{Claims, CollateralId, CollateralSource, Policy, TrustAnchor, Verifier};
use bulla_tee::SgxIdentity;

use crate::{Clause, Error};

/// Which provider to accept (R40). The values come from the provider's operator by a way that the host does not control,
/// for example in the guest's measured image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which enclave.
    pub enclave: PinnedEnclave,
    /// The id of the provider authority.
    pub authority: [u8; 32],
    /// The root that new keys come from. `None` accepts any root of this provider; a key request that was recorded names
    /// its own root, which may be an older one.
    pub root_id: Option<[u8; 16]>,
}

/// Which enclave a provider has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedEnclave {
    /// Exactly this one, by MRENCLAVE.
    Measurement([u8; 32]),
    /// Whatever its signer has released of a product since a version.
    Signer {
        /// MRSIGNER.
        signer: [u8; 32],
        /// ISVPRODID.
        product: u16,
        /// The lowest ISVSVN.
        min_svn: u16,
    },
}

impl PinnedEnclave {
    /// Whether it is this enclave.
    pub(crate) fn require(&self, enclave: &SgxIdentity) -> Result<(), Error> {
        match self {
            Self::Measurement(measurement) => require(Clause::Measurement, measurement, &enclave.mrenclave),
            Self::Signer { signer, product, min_svn } => {
                require(Clause::Signer, signer, &enclave.mrsigner)?;
                let (wanted, found) = (*product, enclave.isv_prod_id);
                require_number(Clause::Product, wanted, found, wanted == found)?;
                let (wanted, found) = (*min_svn, enclave.isv_svn);
                require_number(Clause::Svn, wanted, found, wanted <= found)
            }
        }
    }
}

/// Whether a provider's value is the pinned one.
pub(crate) fn require(clause: Clause, wanted: &[u8], found: &[u8]) -> Result<(), Error> {
    if wanted == found {
        return Ok(());
    }
    Err(Error::UntrustedProvider { clause, wanted: hex::encode(wanted), found: hex::encode(found) })
}

fn require_number(clause: Clause, wanted: u16, found: u16, good: bool) -> Result<(), Error> {
    if good {
        return Ok(());
    }
    Err(Error::UntrustedProvider { clause, wanted: wanted.to_string(), found: found.to_string() })
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
