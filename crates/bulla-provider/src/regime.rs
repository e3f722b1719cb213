//! Under what the provider answers at one moment: policy, roots, and its own statement about both.

use std::sync::Arc;

use bulla_crypto::SigningKey;
use bulla_tee::Tee;

use crate::custody::Roots;
use crate::own::Own;
use crate::policy::Policy;
use crate::verify::{Judge, Sources};

/// Under what the provider answers. It is never changed: a new policy or a new root is a new regime, and a walk ends under
/// the one that it began under.
pub(crate) struct Regime {
    /// 0 at the start, and one more with each that follows.
    pub(crate) number: u64,
    pub(crate) policy: Arc<Policy>,
    pub(crate) roots: Roots,
    pub(crate) judge: Arc<Judge>,
    pub(crate) own: Own,
}

impl Regime {
    pub(crate) fn new(
        number: u64,
        tee: Arc<dyn Tee>,
        sources: Arc<Sources>,
        key: Arc<SigningKey>,
        policy: Arc<Policy>,
        roots: Roots,
    ) -> Self {
        let judge = Arc::new(Judge::new(sources, &policy));
        let own = Own::new(tee, Arc::clone(&judge), key, &policy, &roots);
        Self { number, policy, roots, judge, own }
    }
}
