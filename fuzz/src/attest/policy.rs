//! Policies.

use std::sync::LazyLock;

use bulla_attest::Policy;

use super::{GOOD, Good, NOW, PKI, verifier};

/// Quotes whose guest and enclave can be debugged.
static DEBUGGED: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    // ATTRIBUTES of an enclave, and of a guest behind a header without and with a body descriptor.
    let places = [(48 + 48, 2), (48 + 120, 1), (54 + 120, 1)];
    [0, 1, 2].map(|which: usize| {
        let mut evidence = GOOD[which].evidence.clone();
        let (at, bit) = places[which];
        evidence.signed[at] |= bit;
        evidence.quote(&PKI)
    })
});

/// Reads the bytes as a policy, and judges evidence by it.
pub fn policy(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let policy = match Policy::from_toml(text) {
        Ok(policy) => policy,
        Err(error) => {
            assert_eq!(error.code(), "usage.policy");
            return false;
        }
    };
    let written = policy.to_toml();
    let again = Policy::from_toml(&written).unwrap();
    assert_eq!(
        (again.to_toml(), again.digest()),
        (written, policy.digest()),
        "another policy after it was written"
    );
    assert!(!policy.explain().is_empty());
    policy.check(NOW);

    for (Good { evidence, collateral, claims }, debugged) in GOOD.iter().zip(&*DEBUGGED) {
        let refused = verifier().verify(debugged, collateral, NOW, &policy).unwrap_err();
        assert_eq!(refused.code(), "policy.debug");
        match verifier().verify(&evidence.quote(&PKI), collateral, NOW, &policy) {
            Ok(verdict) => assert_eq!(&verdict, claims),
            Err(error) => assert!(error.code().starts_with("policy."), "{error}"),
        }
    }
    true
}
