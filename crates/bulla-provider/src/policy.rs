//! The policy that is compiled in, and the authority it stands under.
//!
//! Settings come from the host; this does not. The authority enters every key, so a provider under another authority gives
//! other keys instead of the same keys more freely; that of the same authority gives the same keys by its later rules.

use bulla_crypto::sha256;

use crate::custody::Terms;
use crate::registers::RegisterPolicy;
use crate::{Error, Settings};

/// The authority of every provider on a simulated machine: the SHA-256 of `bulla development authority`, so that nobody
/// holds its key. Real machines have authorities of their own.
pub const DEVELOPMENT_AUTHORITY: [u8; 32] = [
    0x5b, 0xa1, 0xd7, 0x4a, 0x89, 0x98, 0x4e, 0x5f, 0x2e, 0x8f, 0x6a, 0x6c, 0xa2, 0xef, 0xab, 0x6b, 0xfc,
    0x7d, 0x37, 0x91, 0xbb, 0xe3, 0xf3, 0xb4, 0x7a, 0x12, 0x75, 0x8c, 0x21, 0xd1, 0xf5, 0xe1,
];

/// What the digest of the policy covers.
const TEXT: &str = "\
bulla provider policy
name: strict
version: 1
authority: development, on simulated machines only
custody: hardware
evidence: TDX quote
tcb: UpToDate without advisories
debug: refused
guest and provider on one machine: required
";

/// Under which policy keys are released.
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) digest: [u8; 32],
    pub(crate) authority: [u8; 32],
    /// The register policy of the binding `measurement`.
    pub(crate) measurement: RegisterPolicy,
    /// The others, which the binding `registers` names.
    pub(crate) registers: Vec<RegisterPolicy>,
    /// Whether suite 1, which falls to quantum computers, is allowed.
    pub(crate) classical: bool,
    /// How evidence is judged, that of guests and the provider's own.
    pub(crate) appraisal: bulla_attest::Policy,
    /// Whether evidence must be that of a simulated machine, or must not.
    pub(crate) simulated: bool,
    /// Where roots are kept, and who may have them.
    pub(crate) terms: Terms,
}

impl Policy {
    /// The policy that the settings name.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Error> {
        match &settings.policy {
            None => Ok(Self::development()),
            // A setting that is not obeyed would be worse than one that is refused.
            Some(_) => Err(Error::setting("policy", "this version does not read policies")),
        }
    }

    /// The policy of simulated machines.
    pub(crate) fn development() -> Self {
        Self {
            name: "strict".into(),
            version: 1,
            digest: sha256(&[TEXT.as_bytes()]),
            authority: DEVELOPMENT_AUTHORITY,
            measurement: RegisterPolicy::measurement(),
            registers: Vec::new(),
            classical: false,
            appraisal: bulla_attest::Policy::strict().allow_simulated(),
            simulated: true,
            terms: Terms::hardware(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_the_key_of_the_development_authority() {
        assert_eq!(DEVELOPMENT_AUTHORITY, sha256(&[b"bulla development authority"]));
    }
}
