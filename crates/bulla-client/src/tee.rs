//! A guest that asks a provider, as one more machine to seal on.

use bulla_protocol::v1::{Algorithm, Selector};
use bulla_protocol::{Code, Signed};
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, GuestBinding, GuestRegisters, Identity, KeyRequest, Mismatch,
    PlatformState, Policy, ProviderRequest, ReportData, Tee, is_simulated,
};

use crate::client::{Grant, tdx};
use crate::{Client, Error as ClientError, Wanted};

/// The path of the sealing key. [`Wanted`] does not give it out, so that no key that left this crate for another
/// use ever opens an envelope.
const PATH: &str = "bulla/envelope";
const PURPOSE: &str = "sealing";
const LENGTH: u16 = 32;

/// What this machine calls itself in errors.
const KIND: &str = "tdx-provider";

/// A TDX guest with a key provider: a [`Tee`] whose keys come from the provider.
///
/// A key request records root, provider, authority and the guest's registers, as the accepted evidence showed them. All
/// keys that one root gives one guest for sealing are the same 32 bytes: they are only ever input to a derivation with a
/// fresh salt.
///
/// Requests of a simulated guest are tagged as such, and neither kind opens the other (R15).
pub struct ProviderTee {
    client: Client,
    entitled: Option<Entitled>,
}

/// To whose keys this guest is entitled.
struct Entitled {
    owner: [u8; 32],
    manifest: Signed,
}

impl ProviderTee {
    /// A machine out of the guest and the provider of `client`.
    pub const fn new(client: Client) -> Self {
        Self { client, entitled: None }
    }

    /// Also for keys of this owner's products, to which `manifest` entitles the guest: then
    /// [`Policy::guest`] with an owner seals to every image that the owner entitles, now and later, at the SVN that it
    /// names or above, and opening asks for the SVN that was recorded.
    ///
    /// The owner's id comes from the guest's own measured image. What opens for another owner's images could have been
    /// sealed by them.
    #[must_use]
    pub fn entitled(self, owner: [u8; 32], manifest: Signed) -> Self {
        Self { entitled: Some(Entitled { owner, manifest }), ..self }
    }

    /// The client, to ask for keys by name.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    fn ask(&self, binding: &GuestBinding, root_id: Option<[u8; 16]>) -> Result<Grant, Error> {
        let (path, purpose, algorithm) = (PATH.into(), PURPOSE.into(), Algorithm::HkdfSha256);
        let key = Selector { path, purpose, algorithm, length: LENGTH };
        let mut wanted = Wanted::any(vec![key])?.bound_to(binding)?;
        wanted.root_id = root_id;
        if let GuestBinding::Owner { owner, .. } = binding {
            let entitled = self.entitled.as_ref().ok_or(ClientError::ManifestNeeded)?;
            if entitled.owner != *owner {
                let (claimed, found) = (hex::encode(owner), hex::encode(entitled.owner));
                return Err(Error::OtherIdentity(Mismatch { register: "owner", claimed, found }));
            }
            wanted = wanted.with_manifest(entitled.manifest.clone());
        }
        match self.client.ask(&wanted) {
            // The provider on this machine is the right one and never had the root: it is of another machine.
            Err(ClientError::Refused(Code::UnknownRoot)) if root_id.is_some() => Err(Error::OtherMachine),
            result => Ok(result?),
        }
    }

    /// Refuses what this machine does not write: the request is read from a header that nothing has authenticated yet, so
    /// it must not choose whom to ask for what.
    fn check(&self, recorded: &ProviderRequest) -> Result<(), Error> {
        if (recorded.path.as_str(), recorded.purpose.as_str()) != (PATH, PURPOSE) {
            return Err(Error::InvalidRequest("its path and purpose are not those of sealing"));
        }
        let pinned = self.client.pin().authority;
        if recorded.authority != pinned {
            let (claimed, found) = (hex::encode(recorded.authority), hex::encode(pinned));
            let register = "provider authority";
            return Err(Error::OtherIdentity(Mismatch { register, claimed, found }));
        }
        Ok(())
    }
}

impl Tee for ProviderTee {
    fn identity(&self) -> Result<Identity, Error> {
        self.client.guest().identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        policy.check()?;
        let Some(binding) = policy.guest_binding() else {
            let what = "bind to anything but the guest's measurement, its owner or a register policy";
            return Err(Error::Unsupported { machine: "a TDX guest with a key provider", what });
        };
        let Grant { keys, enclave, guest, .. } = self.ask(binding, None)?;
        let request = KeyRequest::TdxProvider(Box::new(ProviderRequest {
            root_id: keys.root_id,
            provider: enclave,
            authority: self.client.pin().authority,
            path: PATH.into(),
            purpose: PURPOSE.into(),
            guest: GuestRegisters::from(guest.as_ref()),
            binding: binding.clone(),
        }));
        let key = keys.into_first();
        if is_simulated(&guest.tee_tcb_svn) {
            return Ok((KeyRequest::Simulated(Box::new(request)), key));
        }
        Ok((request, key))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        let identity = self.identity()?;
        let simulated = is_simulated(&tdx(identity.clone())?.tee_tcb_svn);
        let recorded = match (request, simulated) {
            (KeyRequest::Simulated(inner), true) => match inner.as_ref() {
                KeyRequest::TdxProvider(recorded) => recorded,
                other => return Err(Error::WrongBackend { wanted: other.kind(), found: KIND }),
            },
            (KeyRequest::TdxProvider(recorded), false) => recorded,
            (other, true) => return Err(Error::WrongBackend { wanted: other.kind(), found: "sim" }),
            (other, false) => return Err(Error::WrongBackend { wanted: other.kind(), found: KIND }),
        };
        request.opens_under(&identity, &PlatformState::here(&identity)).into_result()?;
        self.check(recorded)?;
        Ok(self.ask(&recorded.binding, Some(recorded.root_id))?.keys.into_first())
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        self.client.guest().attest(data, kind)
    }
}
