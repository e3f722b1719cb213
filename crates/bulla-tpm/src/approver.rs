//! Who approves of states of the registers: the holder of a private key on P-256.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use bulla_crypto::{EntropyFailure, SecretBytes};
use bulla_tee::tpm::{Authority, PcrSet};

use crate::{Approval, Error};

/// The private key of an [`Authority`]. It never goes to a TPM.
///
/// ```
/// use bulla_tee::tpm::PcrSet;
/// use bulla_tpm::Approver;
///
/// let kept = Approver::new_key()?; // PEM, to be kept offline
/// let approver = Approver::from_pem(&kept)?;
/// let approval = approver.approve("wallet", PcrSet::new(1 << 7)?, &[0xEE; 32])?;
/// assert!(approval.is_by(&approver.public()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Approver(EcdsaKeyPair);

impl Approver {
    /// A fresh private key, as PKCS #8 in PEM: what `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes.
    ///
    /// # Errors
    /// [`bulla_tee::Error::Entropy`].
    pub fn new_key() -> Result<SecretBytes, Error> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| bulla_tee::Error::from(EntropyFailure))?;
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref()));
        Ok(SecretBytes::new(text.into_bytes()))
    }

    /// The key in a PEM file, as PKCS #8 or as `EC PRIVATE KEY`.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is none on P-256.
    pub fn from_pem(text: &SecretBytes) -> Result<Self, Error> {
        let none = || Error::Damaged { what: "the approver's key", why: "no private key on P-256 in PEM" };
        let blocks = pem::parse_many(text.expose()).map_err(|_| none())?;
        let blocks: Vec<_> = blocks
            .into_iter()
            .map(|block| (block.tag().to_owned(), SecretBytes::new(block.into_contents())))
            .collect();
        let key = blocks.iter().find(|(tag, _)| tag.ends_with("PRIVATE KEY")).ok_or_else(none)?;
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.1.expose())
            .map(Self)
            .map_err(|_| none())
    }

    /// The public key, x and y: what a policy names as its [`Authority`].
    pub fn public(&self) -> [u8; 64] {
        let mut public = [0; 64];
        let point = self.0.public_key().as_ref().iter().skip(1);
        public.iter_mut().zip(point).for_each(|(to, from)| *to = *from);
        public
    }

    /// Approves of a state: `state` holds the registers' values, ascending, 32 bytes each.
    ///
    /// # Errors
    /// [`bulla_tee::Error::InvalidPolicy`] for a label that no policy has or a state of another length,
    /// [`bulla_tee::Error::Entropy`].
    pub fn approve(&self, label: &str, pcrs: PcrSet, state: &[u8]) -> Result<Approval, Error> {
        Authority { key: self.public(), label: label.into() }.check()?;
        if state.len() != 32 * pcrs.iter().count() {
            let rule = "a state has 32 bytes for each register".into();
            return Err(bulla_tee::Error::InvalidPolicy(rule).into());
        }
        let message = Approval::message(label, pcrs, state);
        let signed = self.0.sign(&SystemRandom::new(), &message);
        let signed = signed.map_err(|_| bulla_tee::Error::from(EntropyFailure))?;
        let mut signature = [0; 64];
        signature.iter_mut().zip(signed.as_ref()).for_each(|(to, from)| *to = *from);
        Ok(Approval { label: label.into(), pcrs: pcrs.bits(), state: state.into(), signature })
    }
}

impl Approval {
    /// Whether the holder of this public key (x and y) signed it.
    pub fn is_by(&self, public: &[u8; 64]) -> bool {
        let Ok(pcrs) = PcrSet::new(self.pcrs) else { return false };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], &public[..]].concat());
        key.verify(&Self::message(&self.label, pcrs, &self.state), &self.signature).is_ok()
    }
}
