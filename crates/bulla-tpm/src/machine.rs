//! A machine with a TPM, as one that keys are bound to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bulla_crypto::{RandomSource, SystemRandom};
use bulla_tee::tpm::Authority;
use bulla_tee::{
    DerivedKey, Error as TeeError, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee,
    TpmIdentity, TpmRequest,
};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind;
use tss_esapi::handles::ObjectHandle;
use tss_esapi::interface_types::algorithm::{EccSchemeAlgorithm, HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Digest, DigestList, EccParameter, EccPoint, EccScheme, EccSignature, KeyedHashScheme, Nonce, Private,
    Public, PublicBuilder, PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData, Signature,
    VerifiedTicket,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::{Marshall, UnMarshall};

use crate::connection::{Connection, Primary, name_of, selected};
use crate::{Approval, Error, digest, evidence};

/// How much a TPM seals (TPM 2.0 Library, part 2, MAX_SYM_DATA) is more than this: it is given a key, never data.
const KEY: usize = 32;

/// A machine with a TPM.
///
/// ```no_run
/// use bulla_tee::{Policy, Tee};
/// use bulla_tpm::Tpm;
///
/// let tpm = Tpm::open("device:/dev/tpmrm0")?;
/// let (request, key) = tpm.bind(&"pcr:4+7+11".parse::<Policy>()?)?;
/// assert!(tpm.derive(&request)?.ct_eq(&key)); // until one of the registers is extended
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tpm {
    address: TctiNameConf,
    approvals: Vec<Approval>,
    /// A TPM without a resource manager takes one connection at a time.
    turn: Mutex<()>,
}

impl Tpm {
    /// The TPM at an address, as the TPM software stack writes them: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`,
    /// `tabrmd:bus_type=system`. Nothing is sent to it yet.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn open(address: &str) -> Result<Self, Error> {
        let parsed = address.parse().map_err(|_| Error::Address(address.into()))?;
        Ok(Self { address: parsed, approvals: Vec::new(), turn: Mutex::new(()) })
    }

    /// The same, with what authorities approved of.
    #[must_use]
    pub fn with_approvals(mut self, approvals: Vec<Approval>) -> Self {
        self.approvals = approvals;
        self
    }

    /// The SHA-256 digest of the Name of the endorsement key, which its vendor certifies. It names the TPM for its life.
    ///
    /// # Errors
    /// [`TeeError::Unavailable`] where it does not answer, [`Error::Command`].
    pub fn endorsement_key(&self) -> Result<[u8; 32], Error> {
        Ok(self.connect()?.1.endorsement_key()?.name)
    }

    pub(crate) fn connect(&self) -> Result<(MutexGuard<'_, ()>, Connection), Error> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((turn, Connection::open(&self.address)?))
    }

    fn seal(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        let (_turn, mut connection) = self.connect()?;
        let parent = connection.parent()?;
        let session = connection.session(&parent, SessionType::Hmac)?;
        let identity = connection.identity(&parent, session)?;
        let (policy, states) = TpmRequest::states(policy, &identity)?;
        let mut request = TpmRequest {
            parent: parent.name,
            public: Vec::new(),
            private: Vec::new(),
            pcrs: policy.pcrs.bits(),
            states: states.into_iter().map(Into::into).collect(),
            authority: policy.authority,
        };
        let (key, ()) =
            DerivedKey::fill_with(KEY, |bytes| SystemRandom.fill(bytes)).map_err(TeeError::from)?;
        let step = "seal a key";
        let template = sealed_object(&request, Digest::default())?;
        let secret = SensitiveData::try_from(key.expose()).map_err(Error::step(step))?;
        let sealed = connection.tpm.execute_with_session(Some(session), |tpm| {
            tpm.create(parent.handle, template, None, Some(secret), None, None)
        });
        let sealed = sealed.map_err(Error::step(step))?;
        request.public = sealed.out_public.marshall().map_err(Error::step(step))?;
        request.private = sealed.out_private.value().to_vec();
        Ok((KeyRequest::Tpm(Box::new(request)), key))
    }

    fn unseal(&self, request: &TpmRequest) -> Result<DerivedKey, Error> {
        let (_turn, mut connection) = self.connect()?;
        let parent = connection.parent()?;
        if parent.name != request.parent {
            return Err(TeeError::OtherMachine.into());
        }
        let session = connection.session(&parent, SessionType::Hmac)?;
        let identity = connection.identity(&parent, session)?;
        let public = sealed_as_recorded(request)?;
        let way = self.way(request, &identity)?;
        let ticket = way.ticket(&mut connection, request)?;

        let private = Private::try_from(request.private.clone()).map_err(Error::step("take a sealed key"))?;
        let object = connection
            .tpm
            .execute_with_session(Some(session), |tpm| tpm.load(parent.handle, private, public))
            .map_err(Error::step("load a sealed key"))
            .map_err(|error| match error.is(Tss2ResponseCodeKind::Integrity) {
                true => TeeError::OtherMachine.into(),
                false => error,
            })?;
        let opened = way.open(&mut connection, &parent, request, ticket, object.into());
        let key = opened.or_else(|error| {
            if !error.is(Tss2ResponseCodeKind::PolicyFail) && !error.is(Tss2ResponseCodeKind::Value) {
                return Err(error);
            }
            // The registers may have been extended in the meantime; if so, that is the reason.
            let identity = connection.identity(&parent, session)?;
            self.way(request, &identity)?;
            Err(error)
        })?;
        if key.expose().len() != KEY {
            return Err(TeeError::InvalidRequest("what the TPM sealed is no key").into());
        }
        if key.is_zero() {
            return Err(TeeError::Zero("key").into());
        }
        Ok(key)
    }

    /// By what the key opens with the registers as they are.
    fn way(&self, request: &TpmRequest, identity: &TpmIdentity) -> Result<Way<'_>, TeeError> {
        if let Some(number) = request.state_of(identity) {
            let state = request.states.get(number).map(|state| state.to_vec()).unwrap_or_default();
            return Ok(Way { state, approval: None });
        }
        let (pcrs, authority) = (request.selection(), request.authority.as_ref());
        let here: Vec<u8> =
            pcrs.iter().filter_map(|register| identity.pcrs.get(register)).flatten().copied().collect();
        let approval = authority.and_then(|authority| {
            let mut fitting: Vec<_> =
                self.approvals.iter().filter(|approval| approval.is_for(authority, pcrs, &here)).collect();
            // Of those of strangers the first is kept, so that the TPM says what is wrong with it.
            let by_the_authority = fitting.iter().position(|approval| approval.is_by(&authority.key));
            (!fitting.is_empty()).then(|| fitting.swap_remove(by_the_authority.unwrap_or(0)))
        });
        match approval {
            Some(approval) => Ok(Way { state: here, approval: Some(approval) }),
            None => Err(request.in_a_recorded_state(identity).err().unwrap_or(TeeError::OtherMachine)),
        }
    }
}

impl Tee for Tpm {
    fn identity(&self) -> Result<Identity, TeeError> {
        let (_turn, mut connection) = self.connect()?;
        let parent = connection.parent()?;
        let session = connection.session(&parent, SessionType::Hmac)?;
        Ok(Identity::Tpm(Box::new(connection.identity(&parent, session)?)))
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), TeeError> {
        Ok(self.seal(policy)?)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, TeeError> {
        match request {
            KeyRequest::Tpm(request) => Ok(self.unseal(request)?),
            request => Err(TeeError::WrongBackend { wanted: request.kind(), found: "tpm" }),
        }
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, TeeError> {
        match kind {
            EvidenceKind::Quote => Ok(Evidence::TpmQuote(evidence::quote(self, data)?.encode())),
            _ => Err(TeeError::Unsupported { machine: "a TPM", what: "give evidence of this kind" }),
        }
    }
}

/// By what a sealed key opens: a state of the registers, and who approved of it where it is none of those recorded.
struct Way<'a> {
    state: Vec<u8>,
    approval: Option<&'a Approval>,
}

impl Way<'_> {
    /// The TPM's word that the authority made the approval, if it takes one.
    fn ticket(
        &self,
        connection: &mut Connection,
        request: &TpmRequest,
    ) -> Result<Option<VerifiedTicket>, Error> {
        let (Some(approval), Some(authority)) = (self.approval, &request.authority) else { return Ok(None) };
        let step = "verify the authority's approval";
        let (r, s) = approval.signature.split_at(32);
        let verified = (|| {
            let r = EccParameter::try_from(r)?;
            let s = EccParameter::try_from(s)?;
            let signature = Signature::EcDsa(EccSignature::create(HashingAlgorithm::Sha256, r, s)?);
            let signed = Digest::try_from(approval.signed(request.selection()).to_vec())?;
            let key = connection.tpm.load_external_public(authority_key(authority)?, Hierarchy::Owner)?;
            let verified = connection.tpm.verify_signature(key, signed, signature);
            connection.tpm.flush_context(key.into())?;
            verified
        })();
        verified.map(Some).map_err(Error::step(step)).map_err(|error| {
            match error.is(Tss2ResponseCodeKind::Signature) {
                true => Error::Damaged { what: "the approval", why: "its signature is not the authority's" },
                false => error,
            }
        })
    }

    fn open(
        &self,
        connection: &mut Connection,
        parent: &Primary,
        request: &TpmRequest,
        ticket: Option<VerifiedTicket>,
        object: ObjectHandle,
    ) -> Result<DerivedKey, Error> {
        let session = connection.session(parent, SessionType::Policy)?;
        let pcrs = selected(request.selection())?;
        let branches = branches(request)?;
        let opened = (|| {
            let policy = PolicySession::try_from(session)?;
            let values = Digest::try_from(bulla_crypto::sha256(&[&self.state]).to_vec())?;
            connection.tpm.policy_pcr(policy, values, pcrs)?;
            if let (Some(ticket), Some(authority)) = (ticket, &request.authority) {
                let approved = digest::of_state(request.selection(), &self.state);
                let label = Nonce::try_from(authority.label.as_bytes())?;
                let key = connection.tpm.load_external_public(authority_key(authority)?, Hierarchy::Owner)?;
                let name = connection.tpm.tr_get_name(key.into());
                connection.tpm.flush_context(key.into())?;
                let approved = Digest::try_from(approved.to_vec())?;
                connection.tpm.policy_authorize(policy, approved, label, &name?, ticket)?;
            }
            if branches.len() > 1 {
                let mut list = DigestList::new();
                for branch in branches {
                    list.add(Digest::try_from(branch.to_vec())?)?;
                }
                connection.tpm.policy_or(policy, list)?;
            }
            connection.tpm.execute_with_session(Some(session), |tpm| tpm.unseal(object))
        })();
        Ok(DerivedKey::new(opened.map_err(Error::step("unseal a key"))?.value().to_vec()))
    }
}

/// The digest of each state, and of the authority's approval.
fn branches(request: &TpmRequest) -> Result<Vec<[u8; 32]>, Error> {
    let pcrs = request.selection();
    let mut branches: Vec<_> = request.states.iter().map(|state| digest::of_state(pcrs, state)).collect();
    if let Some(authority) = &request.authority {
        let key = authority_key(authority).map_err(Error::step("describe the authority's key"))?;
        branches.push(digest::of_authority(authority, &name_of(&key)?));
    }
    Ok(branches)
}

/// A sealed object that opens by the policy alone: there is no password that could stand for it.
fn sealed_object(request: &TpmRequest, unique: Digest) -> Result<Public, Error> {
    let policy = digest::of_branches(&branches(request)?);
    let described = (|| {
        let attributes = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_admin_with_policy(true)
            .with_no_da(true)
            .build()?;
        PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes)
            .with_auth_policy(Digest::try_from(policy.to_vec())?)
            .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
            .with_keyed_hash_unique_identifier(unique)
            .build()
    })();
    described.map_err(Error::step("describe a sealed key"))
}

/// The recorded object, where it is one that opens as the request says: by no password, and by no other policy (R14, R16).
fn sealed_as_recorded(request: &TpmRequest) -> Result<Public, Error> {
    let other =
        || Error::from(TeeError::InvalidRequest("the sealed object does not open as the request says"));
    let public = Public::unmarshall(&request.public).map_err(|_| other())?;
    let Public::KeyedHash { unique, .. } = &public else { return Err(other()) };
    let as_recorded = sealed_object(request, unique.clone())?;
    let bytes = as_recorded.marshall().map_err(Error::step("describe a sealed key"))?;
    if bytes == request.public { Ok(public) } else { Err(other()) }
}

/// An authority's key, as the TPM loads it to verify.
fn authority_key(authority: &Authority) -> tss_esapi::Result<Public> {
    let attributes =
        ObjectAttributesBuilder::new().with_user_with_auth(true).with_sign_encrypt(true).build()?;
    let (x, y) = authority.key.split_at(32);
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(
            PublicEccParametersBuilder::new_unrestricted_signing_key(
                EccScheme::create(EccSchemeAlgorithm::EcDsa, Some(HashingAlgorithm::Sha256), None)?,
                EccCurve::NistP256,
            )
            .build()?,
        )
        .with_ecc_unique_identifier(EccPoint::new(EccParameter::try_from(x)?, EccParameter::try_from(y)?))
        .build()
}
