//! Slots: each wraps the file key for one opener.

use minicbor::{Decode, Encode};

use bulla_crypto::{Info, Secret, SystemRandom, hkdf, sha256};
use bulla_tee::{DerivedKey, Identity, KeyRequest, Policy, Tee};

use crate::Error;
use crate::file_key::{FileKey, WRAPPED_LEN};
use crate::header::{Header, Meta};

/// One opener of an envelope, and the file key wrapped for it.
#[derive(Clone, Debug)]
pub struct Slot {
    request: KeyRequest,
    salt: [u8; 32],
    wrapped: [u8; WRAPPED_LEN],
}

#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct SlotCbor<'a> {
    #[b(0)]
    kind: &'a str,
    #[cbor(n(1), with = "minicbor::bytes")]
    salt: [u8; 32],
    #[cbor(b(2), with = "minicbor::bytes")]
    opener: &'a [u8],
    #[cbor(n(3), with = "minicbor::bytes")]
    wrapped: [u8; WRAPPED_LEN],
}

impl Slot {
    /// Which kind of machine it is for: `sgx`, `tdx-provider` or `sim`.
    pub fn kind(&self) -> &'static str {
        self.request.kind()
    }

    /// What that machine is asked for, and the identity it is bound to. A claim until the envelope has been opened.
    pub fn request(&self) -> &KeyRequest {
        &self.request
    }

    /// A slot for what runs here: a machine-bound slot can be written only by the machine it is bound to.
    pub(crate) fn for_machine(tee: &dyn Tee, meta: &Meta, file_key: &FileKey) -> Result<Self, Error> {
        let (request, key) = tee.bind(&Policy::Measurement)?;
        let salt = SystemRandom.array()?;
        let wrapped = file_key.wrap(&wrapping_key(&key, &salt, &request, meta));
        Ok(Self { request, salt, wrapped })
    }

    pub(crate) fn from_cbor(cbor: &SlotCbor<'_>) -> Result<Self, Error> {
        let request = KeyRequest::decode(cbor.kind, cbor.opener)?;
        Ok(Self { request, salt: cbor.salt, wrapped: cbor.wrapped })
    }

    pub(crate) fn to_cbor<'a>(&'a self, opener: &'a [u8]) -> SlotCbor<'a> {
        SlotCbor { kind: self.kind(), salt: self.salt, opener, wrapped: self.wrapped }
    }

    /// The registers decide first, since they give the precise reason; then the machine; then the cryptography.
    fn open(&self, tee: &dyn Tee, identity: &Identity, meta: &Meta) -> Result<FileKey, Error> {
        self.request.opens_under(identity)?;
        let key = tee.derive(&self.request)?;
        let wrapping_key = wrapping_key(&key, &self.salt, &self.request, meta);
        FileKey::unwrap(&self.wrapped, &wrapping_key).map_err(|_| Error::HeaderChanged)
    }
}

/// The file key from the first slot that this machine can open, once the whole header has authenticated under it (R56, R58).
///
/// Where none opens, the reason is that of the slot that came closest.
pub(crate) fn open(tee: &dyn Tee, header: &Header, mac: &[u8; 32]) -> Result<FileKey, Error> {
    let identity = tee.identity()?;
    let mut reasons = Vec::new();
    for slot in header.slots() {
        let opened = slot.open(tee, &identity, header.meta()).and_then(|file_key| {
            if !file_key.authenticates(header, mac) {
                return Err(Error::HeaderChanged);
            }
            Ok(file_key)
        });
        match opened {
            Ok(file_key) => return Ok(file_key),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.into_iter().max_by_key(closeness).unwrap_or(Error::Malformed("it has no slot")))
}

/// How close to opening a slot came that failed for this reason.
fn closeness(reason: &Error) -> u8 {
    match reason {
        Error::Machine(bulla_tee::Error::WrongBackend { .. }) => 0,
        Error::Machine(bulla_tee::Error::OtherIdentity(_)) => 1,
        Error::Machine(bulla_tee::Error::OtherMachine) => 2,
        Error::Machine(bulla_tee::Error::TcbTooOld { .. }) => 3,
        Error::HeaderChanged => 4,
        // The machine itself failed: once it works again, this slot may open.
        _ => 5,
    }
}

fn wrapping_key(key: &DerivedKey, salt: &[u8; 32], request: &KeyRequest, meta: &Meta) -> Secret<32> {
    let info = Info::new("bulla/envelope/wrap/v0")
        .part("suite", &meta.suite().id().to_be_bytes())
        .part("kind", request.kind().as_bytes())
        .part("opener", &request.encode())
        .part("envelope id", meta.envelope_id())
        .part("context hash", &sha256(&[meta.context().as_bytes()]));
    hkdf(key.expose(), salt, &info)
}
