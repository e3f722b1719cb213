//! What a TPM proves to others: its registers, and that its attestation key is its own.

use bulla_crypto::{Secret, sha256};
use bulla_tee::ReportData;
use bulla_tee::tpm::{PcrSet, TpmQuote};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, NvIndexTpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    AttestInfo, Data, Digest, EccSignature, EncryptedSecret, IdObject, Nonce, Signature, SignatureScheme,
    SymmetricDefinition,
};
use tss_esapi::traits::Marshall;

use crate::connection::selected;
use crate::{Error, Tpm};

/// Where vendors keep the certificates of endorsement keys (TCG EK Credential Profile): on P-256 and on RSA.
const CERTIFICATES: [u32; 2] = [0x01C0_000A, 0x01C0_0002];

/// By which of its endorsement keys a TPM answers a verifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endorsement {
    /// The one on P-256, which counters are pinned to.
    #[default]
    Ecc,
    /// The one on RSA.
    Rsa,
}

/// How often a quote is tried again where a register was extended in between.
const TRIES: usize = 3;

/// A quote over every register, for these report data. Whoever verifies it needs nothing of the way to the TPM.
pub(crate) fn quote(tpm: &Tpm, data: &ReportData) -> Result<TpmQuote, Error> {
    let step = "quote";
    let (_turn, mut connection) = tpm.connect()?;
    let key = connection.attestation_key()?;
    let parent = connection.parent()?;
    let session = connection.session(&parent, SessionType::Hmac)?;
    let mut tries = 0;
    loop {
        let values = connection.identity(&parent, session)?.pcrs.concat();
        let data = Data::try_from(sha256(&[data.as_bytes()]).to_vec()).map_err(Error::step(step))?;
        let registers = selected(PcrSet::ALL)?;
        let quoted = connection.tpm.execute_with_session(Some(AuthSession::Password), |tpm| {
            tpm.quote(key.handle, data, SignatureScheme::Null, registers)
        });
        let (attest, signature) = quoted.map_err(Error::step(step))?;
        tries += 1;
        let about = match attest.attested() {
            AttestInfo::Quote { info } => info.pcr_digest().value().to_vec(),
            _ => return Err(Error::Unauthenticated(step)),
        };
        if about != sha256(&[&values]) && tries < TRIES {
            continue;
        }
        let Signature::EcDsa(signature) = signature else { return Err(Error::Unauthenticated(step)) };
        return Ok(TpmQuote {
            key: key.point,
            attest: attest.marshall().map_err(Error::step(step))?,
            signature: raw(&signature).ok_or(Error::Unauthenticated(step))?,
            pcrs: PcrSet::ALL.bits(),
            values,
        });
    }
}

/// A certificate says how long it is, and the memory that it is in may be longer.
fn without_padding(mut certificate: Vec<u8>) -> Vec<u8> {
    if let [0x30, 0x82, high, low, ..] = certificate.as_slice() {
        certificate.truncate(4 + usize::from(u16::from_be_bytes([*high, *low])));
    }
    certificate
}

/// r and s, each with the zeros that it may come without.
fn raw(signature: &EccSignature) -> Option<[u8; 64]> {
    let mut bytes = [0; 64];
    for (half, scalar) in bytes.chunks_mut(32).zip([signature.signature_r(), signature.signature_s()]) {
        let start = 32_usize.checked_sub(scalar.value().len())?;
        half.get_mut(start..)?.copy_from_slice(scalar.value());
    }
    Some(bytes)
}

impl Tpm {
    /// The points of the endorsement key and of the attestation key, x and y each: what a verifier asks [`Tpm::activate`] with.
    ///
    /// # Errors
    /// As [`Tpm::endorsement_key`].
    pub fn points(&self) -> Result<([u8; 64], [u8; 64]), Error> {
        let (_turn, mut connection) = self.connect()?;
        Ok((connection.endorsement_key()?.point, connection.attestation_key()?.point))
    }

    /// The certificates of its endorsement keys that the vendor left in the TPM (DER): on P-256, then on RSA. Nothing of them is verified.
    ///
    /// # Errors
    /// As [`Tpm::endorsement_key`].
    pub fn certificates(&self) -> Result<Vec<Vec<u8>>, Error> {
        let (_turn, mut connection) = self.connect()?;
        let mut found = Vec::new();
        for address in CERTIFICATES {
            let index = NvIndexTpmHandle::new(address).map_err(Error::step("read its memory"))?;
            found.extend(connection.memory(index)?.map(without_padding));
        }
        Ok(found)
    }

    /// Answers a verifier's credential (`bulla_attest::tpm::Activation`): only the TPM with that endorsement key can, and only
    /// where the attestation key that the credential names is its own.
    ///
    /// # Errors
    /// [`Error::Command`] where it is another TPM's or another key's.
    pub fn activate(&self, by: Endorsement, blob: &[u8], seed: &[u8]) -> Result<Secret<32>, Error> {
        let (_turn, mut connection) = self.connect()?;
        let endorsement = match by {
            Endorsement::Ecc => connection.endorsement_key()?.handle,
            Endorsement::Rsa => connection.rsa_endorsement_key()?,
        };
        let attestation = connection.attestation_key()?;
        let tpm = &mut connection.tpm;
        let answer = (|| {
            let started = tpm.start_auth_session(
                None,
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )?;
            let (password, none) = (Some(AuthSession::Password), Nonce::default());
            if let Some(session) = started {
                let policy = PolicySession::try_from(session)?;
                tpm.execute_with_session(password, |tpm| {
                    tpm.policy_secret(
                        policy,
                        AuthHandle::Endorsement,
                        none.clone(),
                        Digest::default(),
                        none,
                        None,
                    )
                })?;
            }
            let (blob, seed) = (IdObject::try_from(blob)?, EncryptedSecret::try_from(seed)?);
            tpm.execute_with_sessions((password, started, None), |tpm| {
                tpm.activate_credential(attestation.handle, endorsement, blob, seed)
            })
        })();
        let answer = answer.map_err(Error::step("activate a credential"))?;
        let answer =
            answer.value().try_into().map_err(|_| Error::Unauthenticated("activate a credential"))?;
        Ok(Secret::new(answer))
    }
}
