//! Policy: under which conditions keys are released, and what may become of the roots.
//!
//! Settings come from the host; this does not. A policy is a document ([`form`]) that the provider authority has signed, and
//! the authority enters every key: a host that signs a policy of its own gets other keys, not the same ones more freely.
//! Each field is read by the step that it concerns; [`usage`] judges every single key.

mod check;
mod error;
mod explain;
mod form;
mod legacy;
#[cfg(test)]
mod tests;
pub(crate) mod usage;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bulla_crypto::sha256;
use bulla_protocol::{DocumentRole, Signed};

pub use check::Warning;
pub use error::PolicyError;

pub(crate) use self::legacy::Legacy;
use self::usage::Rule;
use crate::custody::Terms;
use crate::registers::RegisterPolicy;
use crate::{Error, Settings};

/// The authority of every provider on a simulated machine that has no policy of its own: the SHA-256 of `bulla development
/// authority`, so that nobody holds its key.
pub const DEVELOPMENT_AUTHORITY: [u8; 32] = [
    0x5b, 0xa1, 0xd7, 0x4a, 0x89, 0x98, 0x4e, 0x5f, 0x2e, 0x8f, 0x6a, 0x6c, 0xa2, 0xef, 0xab, 0x6b, 0xfc,
    0x7d, 0x37, 0x91, 0xbb, 0xe3, 0xf3, 0xb4, 0x7a, 0x12, 0x75, 0x8c, 0x21, 0xd1, 0xf5, 0xe1,
];

/// The document that [`DEVELOPMENT_AUTHORITY`] would have signed.
const DEVELOPMENT: &str = include_str!("development.toml");

/// Under which conditions a provider releases keys, and what may become of its roots.
///
/// ```
/// use bulla_crypto::SigningKey;
/// use bulla_protocol::{Descriptor, DocumentRole, Signed};
/// use bulla_provider::Policy;
///
/// let key = SigningKey::generate()?;
/// let authority = Descriptor::new("acme-platform", 1, &[key.verifying_key()])?;
/// let mut signed = Signed::new(&authority, "version = 7\nname = \"acme-production\"\ncustody = \"hardware\"\n");
/// signed.sign(DocumentRole::Policy, &key)?;
///
/// let policy = Policy::from_signed(&signed)?;
/// assert_eq!((policy.name(), policy.version()), ("acme-production", 7));
/// assert_eq!(policy.authority(), &authority.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) name: String,
    /// Rises with every change of the document (R83).
    pub(crate) version: u32,
    /// SHA-256 of the document, to the byte.
    pub(crate) digest: [u8; 32],
    /// The id of the descriptor whose keys signed.
    pub(crate) authority: [u8; 32],
    /// Whether evidence must be that of a simulated machine, or must not.
    pub(crate) simulated: bool,
    /// How evidence of guests is judged.
    pub(crate) guests: bulla_attest::Policy,
    /// How the provider's own evidence is judged.
    pub(crate) own: bulla_attest::Policy,
    /// The lowest tcbEvaluationDataNumber; both appraisals have it too.
    pub(crate) evaluation_number: u32,
    /// What legacy clients get, if anything.
    pub(crate) legacy: Option<Legacy>,
    /// Whether keys may travel under X25519 alone.
    pub(crate) classical: bool,
    /// The register policy of the binding `measurement`.
    pub(crate) measurement: RegisterPolicy,
    /// The others, which the binding `registers` names.
    pub(crate) registers: Vec<RegisterPolicy>,
    /// Which keys there are. Everything where there is no rule; with rules, only what one of them names.
    pub(crate) usage: Vec<Rule>,
    /// How long a session lasts.
    pub(crate) session: SessionBounds,
    /// What may become of the roots.
    pub(crate) terms: Terms,
}

/// After what a session ends, besides every change of regime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionBounds {
    /// 1 to 86,400.
    pub(crate) seconds: u32,
    /// At least 1.
    pub(crate) keys: u32,
}

impl Default for SessionBounds {
    fn default() -> Self {
        Self { seconds: 3600, keys: 1_000_000 }
    }
}

impl Policy {
    /// The policy that settings name; on a simulated machine that names none, the development policy.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub(crate) fn of(settings: &Settings) -> Result<Self, Error> {
        settings.policy.as_deref().map_or_else(|| Ok(Self::development()), Self::load)
    }

    /// Reads a signed policy from a file.
    ///
    /// # Errors
    /// [`Error::Io`]; as [`Policy::from_signed`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let mut json = Vec::new();
        File::open(path)
            .and_then(|file| file.take(Signed::LIMIT as u64 + 1).read_to_end(&mut json))
            .map_err(Error::io(format!("reading {}", path.display())))?;
        let signed = Signed::from_json(&json).map_err(PolicyError::from)?;
        Ok(Self::from_signed(&signed)?)
    }

    /// The policy in a signed document.
    ///
    /// # Errors
    /// [`PolicyError::Signed`] if it is not signed as a policy by enough of its descriptor's keys; [`PolicyError::Invalid`]
    /// for anything unknown, missing, duplicate, out of bounds or contradictory (R108, B44).
    pub fn from_signed(signed: &Signed) -> Result<Self, PolicyError> {
        let verified = signed.verify(DocumentRole::Policy)?;
        form::read(verified.document, verified.id)
    }

    /// What a provider on a simulated machine runs under where nobody has signed one.
    pub(crate) fn development() -> Self {
        form::read(DEVELOPMENT, DEVELOPMENT_AUTHORITY).expect("the development policy is one")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number among those of its authority.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// SHA-256 of the document.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The [id](bulla_protocol::Descriptor::id) of the authority that signed it.
    pub const fn authority(&self) -> &[u8; 32] {
        &self.authority
    }

    /// The policy in plain sentences: what is released to whom, and what each loosening risks.
    pub fn explain(&self) -> Vec<String> {
        explain::sentences(self)
    }

    /// What its author may not have meant, at a time in Unix seconds. None of it makes a policy invalid.
    pub fn check(&self, now_unix: u64) -> Vec<Warning> {
        check::warnings(self, now_unix)
    }

    /// Whether it belongs on a machine that is or is not simulated (R15, R110).
    pub(crate) const fn belongs(&self, simulated: bool) -> Result<(), PolicyError> {
        match (self.simulated, simulated) {
            (true, false) => Err(PolicyError::ForSimulated),
            (false, true) => Err(PolicyError::ForReal),
            _ => Ok(()),
        }
    }

    /// Whether it may take the place of `before` in a running provider. What has risen stays risen (R83), and what makes
    /// other roots or other keys is no reload.
    ///
    /// # Errors
    /// [`PolicyError::Lowered`]; [`PolicyError::SameVersion`] for two documents of one version; [`PolicyError::Fixed`] for another
    /// authority, custody, recovery or kind of machine, and for a name and version of registers that stand for others now.
    pub fn may_follow(&self, before: &Self) -> Result<(), PolicyError> {
        let fixed = [
            ("the authority", self.authority == before.authority),
            ("simulated", self.simulated == before.simulated),
            ("custody", self.terms.custody == before.terms.custody),
            ("[recovery]", self.terms.recovery == before.terms.recovery),
        ];
        if let Some((what, _)) = fixed.into_iter().find(|(_, same)| !same) {
            return Err(PolicyError::Fixed(what));
        }
        let rising = [
            ("version", self.version, before.version),
            ("epochs.minimum", self.terms.minimum_epoch, before.terms.minimum_epoch),
            ("collateral.min_tcb_evaluation_data_number", self.evaluation_number, before.evaluation_number),
        ];
        if let Some((what, found, floor)) = rising.into_iter().find(|(_, found, floor)| found < floor) {
            return Err(PolicyError::Lowered { what, found, floor });
        }
        if self.version == before.version && self.digest != before.digest {
            return Err(PolicyError::SameVersion(self.version));
        }
        let other = |old: &RegisterPolicy| {
            self.registers
                .iter()
                .any(|new| (&new.name, new.version) == (&old.name, old.version) && new != old)
        };
        if before.registers.iter().any(other) {
            return Err(PolicyError::Fixed("what a name and version in [[registers]] stand for"));
        }
        Ok(())
    }
}

/// What a document would mean if it were signed: for its author, to read before signing.
pub struct Draft(Policy);

impl Draft {
    /// Reads a document.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`].
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        form::read(text, [0; 32]).map(Self)
    }

    /// As [`Policy::name`].
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// As [`Policy::version`].
    pub const fn version(&self) -> u32 {
        self.0.version()
    }

    /// As [`Policy::digest`].
    pub const fn digest(&self) -> &[u8; 32] {
        self.0.digest()
    }

    /// Each register policy as `NAME/VERSION`, the built-in `measurement` not among them, and the names of its registers.
    pub fn register_policies(&self) -> impl Iterator<Item = (String, Vec<&'static str>)> {
        self.0
            .registers
            .iter()
            .map(|policy| (format!("{}/{}", policy.name, policy.version), policy.bind.clone()))
    }

    /// As [`Policy::explain`].
    pub fn explain(&self) -> Vec<String> {
        self.0.explain()
    }

    /// As [`Policy::check`].
    pub fn check(&self, now_unix: u64) -> Vec<Warning> {
        self.0.check(now_unix)
    }
}

fn digest(document: &str) -> [u8; 32] {
    sha256(&[document.as_bytes()])
}
