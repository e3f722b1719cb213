//! The public key of an identity that need not run yet: whoever has it can seal to that identity.

use bulla_crypto::{Info, sha256};
use serde::{Deserialize, Serialize};

use super::selector::{self, Binding, Selector};
use super::{Statement, read};
use crate::{Code, b64};

/// The body of `POST /v1/public-key`: a described identity, and one key of it. It needs no evidence, because what it gets
/// is public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FutureKey {
    /// What the key is bound to.
    pub binding: Binding,
    /// The registers that the binding takes from the guest, all of them and no others; none for an owner's binding.
    pub registers: Vec<Register>,
    /// The guest's TD ATTRIBUTES, big-endian. Only the bits that enter a key count.
    #[serde(with = "b64")]
    pub attributes: [u8; 8],
    /// The root that the key comes from.
    #[serde(with = "b64")]
    pub root_id: [u8; 16],
    /// As in a [`Request`](super::Request).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::present")]
    pub instance: Option<String>,
    /// The key. Its algorithm is one that has a public half.
    pub key: Selector,
}

/// One register of a described guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its name, for example `MRTD`.
    pub name: String,
    /// What it holds.
    #[serde(with = "b64")]
    pub value: [u8; 48],
}

/// The answer to a [`FutureKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// The HPKE public key.
    #[serde(with = "b64")]
    pub public_key: Vec<u8>,
    /// Ed25519 signature over [`PublicKey::signed`] by the key of the provider's [`Statement`].
    #[serde(with = "b64")]
    pub signature: [u8; 64],
}

impl FutureKey {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// As [`Order::from_json`](super::Order::from_json); [`Code::Unsupported`] for an algorithm whose keys have no public
    /// half.
    pub fn from_json(body: &[u8]) -> Result<Self, Code> {
        let wanted: Self = read(body)?;
        selector::check(&wanted.binding, wanted.instance.as_deref(), std::slice::from_ref(&wanted.key))?;
        if wanted.key.algorithm.is_seed() { Ok(wanted) } else { Err(Code::Unsupported) }
    }
}

impl PublicKey {
    /// What the provider signs: the whole description, its own statement and the key.
    pub fn signed(wanted: &FutureKey, statement: &Statement, public_key: &[u8]) -> Info {
        let registers = wanted.registers.iter();
        let registers = registers
            .fold(Info::new("registers"), |info, register| info.part(&register.name, &register.value));
        let instance = wanted.instance.iter();
        let instance = instance.fold(Info::new("instance"), |info, name| info.part("name", name.as_bytes()));
        Info::new("bulla/public-key/v1")
            .part("binding", wanted.binding.info().as_bytes())
            .part("registers", registers.as_bytes())
            .part("attributes", &wanted.attributes)
            .part("root id", &wanted.root_id)
            .part("instance", instance.as_bytes())
            .part("key", wanted.key.info().as_bytes())
            .part("provider", statement.report_data().as_bytes())
            .part("public key", &sha256(&[public_key]))
    }
}
