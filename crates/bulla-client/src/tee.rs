//! A guest that asks a provider, as one more machine to seal on.

use bulla_protocol::Code;
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, GuestBinding, GuestRegisters, Identity, KeyRequest, Mismatch,
    PlatformState, Policy, ProviderRequest, ReportData, Tee, is_simulated,
};

use crate::client::{Grant, tdx};
use crate::exchange::Wanted;
use crate::{Client, Error as ClientError};

/// The path of the sealing key. [`Client::request`] does not give it out, so that no key that left this crate for another
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
}

impl ProviderTee {
    /// A machine out of the guest and the provider of `client`.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client, to ask for keys by name.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    fn ask(&self, root_id: Option<[u8; 16]>) -> Result<Grant, ClientError> {
        self.client.ask(&Wanted::new(PATH, PURPOSE, LENGTH, root_id)?)
    }

    /// Refuses what this machine does not write: the request is read from a header that nothing has authenticated yet, so
    /// it must not choose whom to ask for what.
    fn check(&self, recorded: &ProviderRequest) -> Result<(), Error> {
        if (recorded.path.as_str(), recorded.purpose.as_str()) != (PATH, PURPOSE) {
            return Err(Error::InvalidRequest("its path and purpose are not those of sealing"));
        }
        let pin = self.client.pin();
        let wanted = [
            ("provider MRENCLAVE", recorded.provider, pin.measurement),
            ("provider authority", recorded.authority, pin.authority),
        ];
        match wanted.into_iter().find(|(_, claimed, pinned)| claimed != pinned) {
            None => Ok(()),
            Some((register, claimed, pinned)) => {
                let (claimed, found) = (hex::encode(claimed), hex::encode(pinned));
                Err(Error::OtherIdentity(Mismatch { register, claimed, found }))
            }
        }
    }
}

impl Tee for ProviderTee {
    fn identity(&self) -> Result<Identity, Error> {
        self.client.guest().identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        policy.check()?;
        if *policy != Policy::measurement() {
            let what = "bind to anything but the measurement of the guest";
            return Err(Error::Unsupported { machine: "a TDX guest with a key provider", what });
        }
        let Grant { root_id, key, guest } = self.ask(None)?;
        let pin = self.client.pin();
        let request = KeyRequest::TdxProvider(Box::new(ProviderRequest {
            root_id,
            provider: pin.measurement,
            authority: pin.authority,
            path: PATH.into(),
            purpose: PURPOSE.into(),
            guest: GuestRegisters::from(guest.as_ref()),
            binding: GuestBinding::Measurement,
        }));
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
        match self.ask(Some(recorded.root_id)) {
            Ok(grant) => Ok(grant.key),
            // The provider on this machine is the right one and never had the root: it is of another machine.
            Err(ClientError::Refused(Code::UnknownRoot)) => Err(Error::OtherMachine),
            Err(error) => Err(error.into()),
        }
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        self.client.guest().attest(data, kind)
    }
}
