//! One connection to a TPM: the keys, sessions and reads that everything else is made of.

use bulla_crypto::sha256;
use bulla_tee::tpm::{PCRS, PcrSet, TpmIdentity};
use tss_esapi::Context;
use tss_esapi::abstraction::ek::create_ek_public_from_default_template_2;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, DefaultKey, nv};
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{KeyHandle, NvIndexTpmHandle};
use tss_esapi::interface_types::algorithm::{EccSchemeAlgorithm, HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{Hierarchy, NvAuth};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    EccPoint, EccScheme, KeyDerivationFunctionScheme, PcrSelectionList, PcrSelectionListBuilder, PcrSlot,
    Public, PublicBuilder, PublicEccParametersBuilder, SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::Marshall;

use crate::Error;

/// A connection. What it made in the TPM is flushed when it is dropped.
pub(crate) struct Connection {
    pub(crate) tpm: Context,
}

/// What of a command and its answer is protected. Both are always authenticated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Nothing more.
    Mac,
    /// The first parameter of the answer is encrypted.
    MacAndAnswer,
    /// The first parameter of both is encrypted.
    MacAndBoth,
    /// Nothing more, of a command that takes no authorisation.
    Audit,
}

/// A primary key, made again from the TPM's seed each time.
pub(crate) struct Primary {
    pub(crate) handle: KeyHandle,
    /// The digest of its Name.
    pub(crate) name: [u8; 32],
    /// Its point: x and y.
    pub(crate) point: [u8; 64],
}

impl Connection {
    pub(crate) fn open(address: &TctiNameConf) -> Result<Self, Error> {
        let tpm = Context::new(address.clone()).map_err(|error| {
            let reason = format!("nothing answers at {address:?} ({error}); name another by tpm:ADDRESS");
            bulla_tee::Error::Unavailable { machine: "TPM", reason }
        })?;
        Ok(Self { tpm })
    }

    /// The storage key that keys are sealed under.
    pub(crate) fn parent(&mut self) -> Result<Primary, Error> {
        let template = storage_key().map_err(Error::step("describe its storage key"))?;
        self.primary(Hierarchy::Owner, template, "make its storage key")
    }

    /// The endorsement key, as its vendor certified it (TCG EK Credential Profile, template L-2: ECC on P-256).
    pub(crate) fn endorsement_key(&mut self) -> Result<Primary, Error> {
        let selection = AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256);
        let template = create_ek_public_from_default_template_2(selection, DefaultKey)
            .map_err(Error::step("describe its endorsement key"))?;
        self.primary(Hierarchy::Endorsement, template, "make its endorsement key")
    }

    /// The endorsement key on RSA (template L-1), which some vendors certify alone.
    pub(crate) fn rsa_endorsement_key(&mut self) -> Result<KeyHandle, Error> {
        let step = "make its endorsement key on RSA";
        let made = create_ek_public_from_default_template_2(
            AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
            DefaultKey,
        )
        .and_then(|template| {
            self.tpm.execute_with_session(Some(AuthSession::Password), |tpm| {
                tpm.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
            })
        });
        Ok(made.map_err(Error::step(step))?.key_handle)
    }

    /// What is in the memory of the TPM at an address; none where nothing is.
    pub(crate) fn memory(&mut self, index: NvIndexTpmHandle) -> Result<Option<Vec<u8>>, Error> {
        let found = self.tpm.execute_without_session(|tpm| tpm.tr_from_tpm_public(index.into()));
        let Ok(handle) = found else { return Ok(None) };
        let read = self.tpm.execute_with_session(Some(AuthSession::Password), |tpm| {
            nv::read_full(tpm, NvAuth::NvIndex(handle.into()), index)
        });
        read.map(Some).map_err(Error::step("read its memory"))
    }

    /// The attestation key: restricted, so it signs only what the TPM made itself.
    pub(crate) fn attestation_key(&mut self) -> Result<Primary, Error> {
        let template = attestation_key().map_err(Error::step("describe its attestation key"))?;
        self.primary(Hierarchy::Endorsement, template, "make its attestation key")
    }

    fn primary(&mut self, of: Hierarchy, template: Public, step: &'static str) -> Result<Primary, Error> {
        let made = self.tpm.execute_with_session(Some(AuthSession::Password), |tpm| {
            tpm.create_primary(of, template, None, None, None, None)
        });
        let made = made.map_err(Error::step(step))?;
        let point = match &made.out_public {
            Public::Ecc { unique, .. } => point(unique),
            _ => None,
        };
        let point = point.ok_or(Error::Unauthenticated(step))?;
        Ok(Primary { handle: made.key_handle, name: name_of(&made.out_public)?, point })
    }

    /// A session whose secret only the holder of `key` can decrypt: answers in it are authenticated against fresh nonces, and
    /// the first parameter of command and answer is encrypted where that can be.
    pub(crate) fn session(&mut self, key: &Primary, kind: SessionType) -> Result<AuthSession, Error> {
        let started = self.tpm.start_auth_session(
            Some(key.handle),
            None,
            None,
            kind,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        );
        let session =
            started.map_err(Error::step("start a session"))?.ok_or(Error::Unauthenticated("session"))?;
        self.protect(session, Protection::MacAndBoth)?;
        Ok(session)
    }

    /// From here on, what of commands and answers in this session is protected.
    pub(crate) fn protect(&mut self, session: AuthSession, protection: Protection) -> Result<(), Error> {
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_decrypt(protection == Protection::MacAndBoth)
            .with_encrypt(matches!(protection, Protection::MacAndBoth | Protection::MacAndAnswer))
            .with_audit(protection == Protection::Audit)
            .with_continue_session(true)
            .build();
        self.tpm.tr_sess_set_attributes(session, attributes, mask).map_err(Error::step("protect a session"))
    }

    /// What the TPM says of itself, authenticated by its storage key.
    pub(crate) fn identity(&mut self, parent: &Primary, session: AuthSession) -> Result<TpmIdentity, Error> {
        self.protect(session, Protection::Audit)?;
        let mut pcrs = [[0; 32]; PCRS];
        for (start, registers) in (0..).step_by(8).zip(pcrs.chunks_mut(8)) {
            let step = "read its registers";
            let selection = selection(0xFF << start).map_err(Error::step(step))?;
            let read = self.tpm.execute_with_session(Some(session), |tpm| tpm.pcr_read(selection.clone()));
            let (_, given, values) = read.map_err(Error::step(step))?;
            let no_bank =
                || bulla_tee::Error::Unsupported { machine: "this TPM", what: "measure by SHA-256" };
            if given != selection || values.len() != registers.len() {
                return Err(no_bank().into());
            }
            for (register, value) in registers.iter_mut().zip(values.value()) {
                *register = value.value().try_into().map_err(|_| no_bank())?;
            }
        }
        self.protect(session, Protection::MacAndBoth)?;
        Ok(TpmIdentity { parent: parent.name, pcrs })
    }
}

/// The registers of the SHA-256 bank, by a bit for each.
pub(crate) fn selection(bits: u32) -> tss_esapi::Result<PcrSelectionList> {
    let slots: Vec<PcrSlot> = (0..PCRS)
        .filter(|register| bits >> register & 1 == 1)
        .map(|register| PcrSlot::try_from(1_u32 << register))
        .collect::<Result<_, _>>()?;
    PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &slots).build()
}

/// The same of a policy.
pub(crate) fn selected(pcrs: PcrSet) -> Result<PcrSelectionList, Error> {
    selection(pcrs.bits()).map_err(Error::step("select registers"))
}

/// The digest of a Name (TPM 2.0 Library, part 1, "Names").
pub(crate) fn name_of(public: &Public) -> Result<[u8; 32], Error> {
    Ok(sha256(&[&public.marshall().map_err(Error::step("describe a key"))?]))
}

/// x and y, each with the zeros that it may come without.
fn point(point: &EccPoint) -> Option<[u8; 64]> {
    let mut bytes = [0; 64];
    for (half, coordinate) in bytes.chunks_mut(32).zip([point.x().value(), point.y().value()]) {
        let start = 32_usize.checked_sub(coordinate.len())?;
        half.get_mut(start..)?.copy_from_slice(coordinate);
    }
    Some(bytes)
}

/// The attestation key: ECDSA on P-256. A verifier knows all of it but the point, so it is fixed.
fn attestation_key() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    let scheme = EccScheme::create(EccSchemeAlgorithm::EcDsa, Some(HashingAlgorithm::Sha256), None)?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(
            PublicEccParametersBuilder::new()
                .with_symmetric(SymmetricDefinitionObject::Null)
                .with_ecc_scheme(scheme)
                .with_curve(EccCurve::NistP256)
                .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                .with_is_signing_key(true)
                .with_restricted(true)
                .build()?,
        )
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// The storage key: ECC on P-256 (TCG TPM v2.0 Provisioning Guidance, SRK). Another template is another key, which opens nothing
/// that was sealed under this one.
fn storage_key() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(
            PublicEccParametersBuilder::new_restricted_decryption_key(
                SymmetricDefinitionObject::AES_128_CFB,
                EccCurve::NistP256,
            )
            .build()?,
        )
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
