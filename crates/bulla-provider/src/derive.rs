//! Step `derive`: the keys (`docs/spec/derivation.md`, frozen by `tests/vectors`).

use bulla_crypto::{
    HpkePrivateKey, HpkePublicKey, Info, Kem, Secret, SecretBytes, hkdf_bytes, hkdf_sha384_bytes,
};
use bulla_protocol::Code;
use bulla_protocol::v1::{Algorithm, Selector};
use bulla_tee::tdx::attributes;

use crate::custody::Root;
use crate::refusal::Refusal;
use crate::registers::RegisterPolicy;

/// The version of this derivation.
const VERSION: u8 = 1;
/// Which bits of TD ATTRIBUTES enter a key: those by which a host could look into the guest, or move it.
const ATTRIBUTES_MASK: u64 =
    attributes::TUD | attributes::SEPT_VE_DISABLE | attributes::MIGRATABLE | attributes::PERFMON;
/// No bit of XFAM enters a key: a wider register file is no reason to lose data (R4).
const XFAM_MASK: u64 = 0;

const _: () =
    assert!(ATTRIBUTES_MASK & attributes::DEBUG != 0, "a debugged guest never has the key of another");

/// What keys are bound to, as verified evidence or a description shows it.
pub(crate) struct Bound<'a> {
    pub(crate) to: BoundTo<'a>,
    /// TD ATTRIBUTES.
    pub(crate) attributes: u64,
    pub(crate) xfam: u64,
}

/// The part of it that tells one binding from another.
pub(crate) enum BoundTo<'a> {
    /// The values of a policy's registers; `kind` is that of the binding.
    Registers { kind: &'static str, policy: &'a RegisterPolicy, values: Vec<(&'static str, [u8; 48])> },
    /// An owner's product at an SVN.
    Owner { owner: &'a [u8; 32], product: &'a str, svn: u32 },
}

/// From where keys are derived: everything about them but the selector of each.
pub(crate) struct Source<'a> {
    pub(crate) root: &'a Root,
    pub(crate) authority: &'a [u8; 32],
    pub(crate) bound: &'a Bound<'a>,
    pub(crate) instance: Option<&'a str>,
}

impl Source<'_> {
    /// One key.
    pub(crate) fn key(&self, selector: &Selector) -> SecretBytes {
        let hkdf = match selector.algorithm {
            Algorithm::HkdfSha384 => hkdf_sha384_bytes,
            _ => hkdf_bytes,
        };
        hkdf(self.root.key().expose(), b"", &self.info(selector), selector.length.into())
            .expect("64 bytes are few")
    }

    /// All keys, one after the other.
    pub(crate) fn keys(&self, selectors: &[Selector]) -> SecretBytes {
        let length = selectors.iter().map(|selector| usize::from(selector.length)).sum();
        // Enough from the start, so that no part of a key is left behind where the bytes were before.
        let mut keys = Vec::with_capacity(length);
        selectors.iter().for_each(|selector| keys.extend_from_slice(self.key(selector).expose()));
        SecretBytes::new(keys)
    }

    /// The public half of one key, where it has one.
    pub(crate) fn public_key(&self, selector: &Selector) -> Result<HpkePublicKey, Refusal> {
        let kem = match selector.algorithm {
            Algorithm::X25519 => Kem::X25519,
            Algorithm::XWing => Kem::XWing,
            _ => return Err(Refusal::new(Code::Unsupported, "algorithm.no_public_key")),
        };
        let seed = self.key(selector);
        let seed = seed.expose().try_into().map_err(|_| Refusal::new(Code::Malformed, "algorithm.length"))?;
        Ok(HpkePrivateKey::from_seed(kem, Secret::new(seed)).public_key().clone())
    }

    /// Every input but the root, named and length-prefixed (R10, R11, R25, R26).
    fn info(&self, selector: &Selector) -> Info {
        let info = Info::new("bulla/derived-key/v1")
            .part("format version", &[VERSION])
            .part("algorithm", selector.algorithm.as_str().as_bytes())
            .part("length", &selector.length.to_be_bytes())
            .part("root id", self.root.id())
            .part("authority", self.authority);
        let info = self.bound.add_to(info);
        let info = self.instance.iter().fold(info, |info, name| info.part("instance", name.as_bytes()));
        info.part("path", selector.path.as_bytes()).part("purpose", selector.purpose.as_bytes())
    }
}

impl Bound<'_> {
    fn add_to(&self, info: Info) -> Info {
        self.to
            .add_to(info)
            .part("ATTRIBUTES mask", &ATTRIBUTES_MASK.to_be_bytes())
            .part("ATTRIBUTES", &(self.attributes & ATTRIBUTES_MASK).to_be_bytes())
            .part("XFAM mask", &XFAM_MASK.to_be_bytes())
            .part("XFAM", &(self.xfam & XFAM_MASK).to_be_bytes())
    }
}

impl BoundTo<'_> {
    fn add_to(&self, info: Info) -> Info {
        match self {
            Self::Registers { kind, policy, values } => {
                let info = info
                    .part("binding", kind.as_bytes())
                    .part("register policy", policy.name.as_bytes())
                    .part("register policy version", &policy.version.to_be_bytes());
                let info = policy.boundary.iter().fold(info, |info, boundary| {
                    info.part("boundary register", &[boundary.register])
                        .part("boundary event", boundary.event.as_bytes())
                });
                values.iter().fold(info, |info, (name, value)| info.part(name, value))
            }
            Self::Owner { owner, product, svn } => info
                .part("binding", b"owner")
                .part("owner", *owner)
                .part("product", product.as_bytes())
                .part("svn", &svn.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
