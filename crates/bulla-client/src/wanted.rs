//! What is asked for, and what comes of it.

use bulla_crypto::SecretBytes;
use bulla_protocol::Signed;
use bulla_protocol::v1::{self, Algorithm, Binding, Selector};
use bulla_tee::GuestBinding;

use crate::Error;

/// Where bulla's own keys are.
const RESERVED: &str = "bulla/";

/// Keys that can be asked for, all bound to the same.
///
/// ```
/// use bulla_client::Wanted;
/// use bulla_protocol::v1::{Algorithm, Selector};
///
/// let log = Selector { path: "app/log".into(), purpose: "sign".into(), algorithm: Algorithm::X25519, length: 32 };
/// let wanted = Wanted::key("app/db", "disk", 32)?.and(log)?.for_instance("eu-1")?;
/// # Ok::<(), bulla_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Wanted {
    pub(crate) binding: Binding,
    pub(crate) instance: Option<String>,
    pub(crate) keys: Vec<Selector>,
    /// A recorded root, or the one that new keys come from.
    pub(crate) root_id: Option<[u8; 16]>,
    pub(crate) manifest: Option<Signed>,
    pub(crate) event_log: Option<Vec<u8>>,
}

impl Wanted {
    /// One key by HKDF-SHA-256, bound to this guest's measurement, from the root that new keys come from.
    ///
    /// The path is 1 to 256 printable ASCII characters, the purpose 1 to 64 lower-case letters, digits and hyphens, the
    /// length 16 to 64 bytes. Another path, purpose, algorithm or length gives an unrelated key (R11).
    ///
    /// # Errors
    /// [`Error::Selectors`]; [`Error::Reserved`] for a path that belongs to bulla itself.
    pub fn key(path: &str, purpose: &str, length: u16) -> Result<Self, Error> {
        let algorithm = Algorithm::HkdfSha256;
        Self::selector(Selector { path: path.into(), purpose: purpose.into(), algorithm, length })
    }

    /// One key, bound to this guest's measurement.
    ///
    /// # Errors
    /// As [`Wanted::key`].
    pub fn selector(key: Selector) -> Result<Self, Error> {
        Self::all(vec![key])
    }

    /// Keys, 1 to 256 of them, bound to this guest's measurement.
    ///
    /// # Errors
    /// As [`Wanted::key`].
    pub fn all(keys: Vec<Selector>) -> Result<Self, Error> {
        if keys.iter().any(|key| key.path.starts_with(RESERVED)) {
            return Err(Error::Reserved);
        }
        Self::any(keys)
    }

    /// Also those of bulla itself.
    pub(crate) fn any(keys: Vec<Selector>) -> Result<Self, Error> {
        let binding = Binding::Measurement;
        Self { binding, instance: None, keys, root_id: None, manifest: None, event_log: None }.checked()
    }

    /// One more key.
    ///
    /// # Errors
    /// As [`Wanted::key`].
    pub fn and(mut self, key: Selector) -> Result<Self, Error> {
        self.keys.push(key);
        let keys = Self::all(self.keys)?.keys;
        Ok(Self { keys, ..self })
    }

    /// Bound to something else than the measurement. An owner's binding needs [a manifest](Self::with_manifest) too.
    ///
    /// # Errors
    /// [`Error::Selectors`] for a name outside its bounds.
    pub fn bound_to(self, binding: &GuestBinding) -> Result<Self, Error> {
        let binding = match binding.clone() {
            GuestBinding::Measurement => Binding::Measurement,
            GuestBinding::Registers { name, version } => Binding::Registers { name, version },
            GuestBinding::Owner { owner, product, svn } => Binding::Owner { owner, product, svn },
        };
        Self { binding, ..self }.checked()
    }

    /// With what entitles this guest to its owner's keys.
    #[must_use]
    pub fn with_manifest(self, manifest: Signed) -> Self {
        Self { manifest: Some(manifest), ..self }
    }

    /// With what was measured into this guest's run-time registers, for register policies with a boundary.
    #[must_use]
    pub fn with_event_log(self, log: Vec<u8>) -> Self {
        Self { event_log: Some(log), ..self }
    }

    /// Separate from the keys of other instances that are bound to the same.
    ///
    /// # Errors
    /// [`Error::Selectors`] for a name that is not 1 to 64 letters, digits, `.`, `_` or `-`.
    pub fn for_instance(self, name: &str) -> Result<Self, Error> {
        Self { instance: Some(name.into()), ..self }.checked()
    }

    /// From a recorded root. A provider that does not have it refuses with
    /// [`UnknownRoot`](bulla_protocol::Code::UnknownRoot), for example that of another machine.
    #[must_use]
    pub fn from_root(self, root_id: [u8; 16]) -> Self {
        Self { root_id: Some(root_id), ..self }
    }

    /// What is missing to ask for it.
    pub(crate) fn ready(&self) -> Result<&Self, Error> {
        match (&self.binding, &self.manifest) {
            (Binding::Owner { .. }, None) => Err(Error::ManifestNeeded),
            _ => Ok(self),
        }
    }

    fn checked(self) -> Result<Self, Error> {
        v1::check(&self.binding, self.instance.as_deref(), &self.keys).map_err(|_| Error::Selectors)?;
        Ok(self)
    }
}

/// Keys, and what to keep of where they came from.
pub struct Keys {
    /// The root, by which [`Wanted::from_root`] gets the same keys again after the provider has added a newer one.
    pub root_id: [u8; 16],
    /// The keys, in the order in which they were asked for.
    pub keys: Vec<SecretBytes>,
    /// The head of the provider's audit chain after this release: who keeps heads can show that a log was cut (R100).
    pub head: [u8; 32],
}

impl Keys {
    /// The first key; there is always one.
    pub fn into_first(self) -> SecretBytes {
        self.keys.into_iter().next().expect("as many keys as selectors, of which there is one")
    }
}
