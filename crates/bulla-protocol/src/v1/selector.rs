//! What a key is bound to, and which one it is.

use bulla_crypto::Info;
use serde::{Deserialize, Serialize};

use crate::text::is_name;
use crate::{Code, b64};

/// The longest path, in bytes.
pub const PATH_MAX: usize = 256;
/// The longest purpose, in bytes.
pub const PURPOSE_MAX: usize = 64;
/// The shortest and the longest key, in bytes.
pub const KEY_LENGTHS: std::ops::RangeInclusive<u16> = 16..=64;
/// The most keys in one request.
pub const KEYS_MAX: usize = 256;

/// What a key is bound to, beside the attributes by which a host could look into a guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Binding {
    /// All measurement registers of the guest.
    Measurement,
    /// The registers that a policy of the provider names.
    Registers {
        /// The register policy's name; 1 to 64 letters, digits, `.`, `_` or `-`.
        name: String,
        /// Its version.
        version: u32,
    },
    /// Whoever an owner entitles: MRSIGNER for TDX. Every image with a manifest for this product and this or a higher SVN
    /// gets the same key.
    Owner {
        /// The id of the owner's descriptor. It comes from the guest's measured image, never from the host.
        #[serde(with = "b64")]
        owner: [u8; 32],
        /// The owner's product; 1 to 64 letters, digits, `.`, `_` or `-`.
        product: String,
        /// The SVN that the key is for: at most that of the guest's manifest.
        svn: u32,
    },
}

impl Binding {
    /// The binding's kind, as it stands on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Measurement => "measurement",
            Self::Registers { .. } => "registers",
            Self::Owner { .. } => "owner",
        }
    }

    fn check(&self) -> Result<(), Code> {
        match self {
            Self::Measurement => Ok(()),
            Self::Registers { name, .. } => required(is_name(name)),
            Self::Owner { product, .. } => required(is_name(product)),
        }
    }

    /// Every field, as it enters transcripts.
    pub(super) fn info(&self) -> Info {
        let info = Info::new(self.kind());
        match self {
            Self::Measurement => info,
            Self::Registers { name, version } => {
                info.part("name", name.as_bytes()).part("version", &version.to_be_bytes())
            }
            Self::Owner { owner, product, svn } => {
                info.part("owner", owner).part("product", product.as_bytes()).part("svn", &svn.to_be_bytes())
            }
        }
    }
}

/// How a key is derived. Each gives an unrelated key (R11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Algorithm {
    /// HKDF-SHA-256, to bytes for any use.
    HkdfSha256,
    /// HKDF-SHA-384, to bytes for any use.
    HkdfSha384,
    /// The 32-byte seed of an HPKE private key, DHKEM(X25519, HKDF-SHA256).
    X25519,
    /// The 32-byte seed of an HPKE private key, X-Wing.
    XWing,
}

impl Algorithm {
    /// The algorithm's name, as it stands on the wire and enters derivations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HkdfSha256 => "hkdf-sha256",
            Self::HkdfSha384 => "hkdf-sha384",
            Self::X25519 => "x25519",
            Self::XWing => "x-wing",
        }
    }

    /// Whether the key is the seed of a private key, which has a public half.
    pub const fn is_seed(self) -> bool {
        matches!(self, Self::X25519 | Self::XWing)
    }
}

/// One wanted key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Names the key; 1 to [`PATH_MAX`] printable ASCII characters. No key is the parent of another.
    pub path: String,
    /// What the key is for; 1 to [`PURPOSE_MAX`] lower-case letters, digits and hyphens.
    pub purpose: String,
    /// How the key is derived.
    pub algorithm: Algorithm,
    /// Bytes of the key, within [`KEY_LENGTHS`]; 32 for the seed of a private key.
    pub length: u16,
}

impl Selector {
    fn check(&self) -> Result<(), Code> {
        let path = (1..=PATH_MAX).contains(&self.path.len())
            && self.path.bytes().all(|byte| byte.is_ascii_graphic());
        let purpose = (1..=PURPOSE_MAX).contains(&self.purpose.len())
            && self.purpose.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let length = match self.algorithm.is_seed() {
            true => self.length == 32,
            false => KEY_LENGTHS.contains(&self.length),
        };
        required(path && purpose && length)
    }

    /// Every field, as it enters transcripts.
    pub(super) fn info(&self) -> Info {
        Info::new(self.algorithm.as_str())
            .part("path", self.path.as_bytes())
            .part("purpose", self.purpose.as_bytes())
            .part("length", &self.length.to_be_bytes())
    }
}

/// Whether what is wanted exists in this version: the bounds of [`Binding`], instance and [`Selector`]s.
///
/// # Errors
/// [`Code::Malformed`] for no key at all and for a text or length outside its bounds, [`Code::TooLarge`] for more than
/// [`KEYS_MAX`] keys.
pub fn check(binding: &Binding, instance: Option<&str>, keys: &[Selector]) -> Result<(), Code> {
    binding.check()?;
    required(instance.is_none_or(is_name))?;
    match keys.len() {
        0 => Err(Code::Malformed),
        1..=KEYS_MAX => keys.iter().try_for_each(Selector::check),
        _ => Err(Code::TooLarge),
    }
}

fn required(good: bool) -> Result<(), Code> {
    if good { Ok(()) } else { Err(Code::Malformed) }
}
