//! Who a provider is.

use bulla_crypto::{Info, Role, RoleHash};
use bulla_tee::ReportData;
use serde::{Deserialize, Serialize};

use crate::b64;

/// Who a provider is: its signing key, the authority and policy it works under, its roots, and a quote that covers all of
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Ed25519 key that signs answers, made when the provider started.
    #[serde(with = "b64")]
    pub signing_key: [u8; 32],
    /// The id of the provider authority; an input of every derived key.
    #[serde(with = "b64")]
    pub authority: [u8; 32],
    /// Hash of the policy document.
    #[serde(with = "b64")]
    pub policy_digest: [u8; 32],
    /// The policy's version.
    pub policy_version: u32,
    /// How the roots are kept.
    pub custody: Custody,
    /// The roots that keys can be asked from, oldest first. New keys come from the last.
    pub roots: Vec<RootName>,
    /// Who can recover the roots on another machine; nobody, if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub recovery: Option<Recovery>,
    /// SGX quote of the provider over [`Statement::report_data`].
    #[serde(with = "b64")]
    pub quote: Vec<u8>,
}

/// How roots are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Custody {
    /// The processor derives them for this enclave alone.
    Hardware,
    /// They are random, sealed, and can be handed to a successor of the enclave.
    Keyring,
}

impl Custody {
    /// The custody's name, as it stands on the wire and enters derivations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Keyring => "keyring",
        }
    }
}

/// The public names of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootName {
    /// Counts the roots of this provider.
    pub epoch: u32,
    /// Names the root in requests, and enters every key.
    #[serde(with = "b64")]
    pub id: [u8; 16],
    /// Commits to the root's bytes.
    #[serde(with = "b64")]
    pub commitment: [u8; 32],
}

/// Who can recover the roots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// How many recipients it takes.
    pub threshold: u8,
    /// The ids of the recipients' public keys.
    pub recipients: Vec<Recipient>,
}

/// One who holds a share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// SHA-256 of the HPKE public key.
    #[serde(with = "b64")]
    pub id: [u8; 32],
}

impl Statement {
    /// The root that new keys come from. `None` in a statement without any, which no provider makes.
    pub fn current_root(&self) -> Option<&RootName> {
        self.roots.last()
    }

    /// The root of this id.
    pub fn root(&self, id: &[u8; 16]) -> Option<&RootName> {
        self.roots.iter().find(|root| root.id == *id)
    }

    /// The report data of the provider's quote.
    pub fn report_data(&self) -> ReportData {
        let roots = self.roots.iter().fold(Info::new("roots"), |info, root| {
            info.part("epoch", &root.epoch.to_be_bytes())
                .part("id", &root.id)
                .part("commitment", &root.commitment)
        });
        let recovery = self.recovery.iter().fold(Info::new("recovery"), |info, recovery| {
            let info = info.part("threshold", &[recovery.threshold]);
            recovery.recipients.iter().fold(info, |info, recipient| info.part("recipient", &recipient.id))
        });
        RoleHash::new(
            Role::ProviderKey,
            &[
                ("signing key", &self.signing_key),
                ("authority", &self.authority),
                ("policy digest", &self.policy_digest),
                ("policy version", &self.policy_version.to_be_bytes()),
                ("custody", self.custody.as_str().as_bytes()),
                ("roots", roots.as_bytes()),
                ("recovery", recovery.as_bytes()),
            ],
        )
    }
}
