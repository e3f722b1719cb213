//! What an authority approves of: a state of registers that was not known when sealing.

use bulla_crypto::sha256;
use bulla_tee::tpm::{Authority, PcrSet};
use minicbor::{Decode, Encode};

use crate::{Error, digest};

/// That an authority approves of a state of registers. It is no secret, and it holds for ever: keys that are sealed under the same
/// authority and label open in that state.
///
/// ```
/// use bulla_tpm::Approval;
/// use bulla_tee::tpm::PcrSet;
///
/// let next = [0xEE; 32]; // what PCR 7 is going to be
/// let message = Approval::message("wallet", PcrSet::new(1 << 7)?, &next);
/// // The authority signs the message: ECDSA on P-256 with SHA-256, for example `openssl dgst -sha256 -sign`.
/// # let signature = [1; 64];
/// let approval = Approval { label: "wallet".into(), pcrs: 1 << 7, state: next.into(), signature };
/// assert_eq!(Approval::decode(&approval.encode())?, approval);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Approval {
    /// The label of the keys that it is for.
    #[n(0)]
    pub label: String,
    /// The registers, by a bit for each: those of the keys that it is for.
    #[n(1)]
    pub pcrs: u32,
    /// Their values, ascending by register, 32 bytes each.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub state: Vec<u8>,
    /// The authority's signature over [`Approval::message`]: r and s, 32 bytes each.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl Approval {
    /// What the authority signs: the digest of the policy that it approves of, then the label (TPM 2.0 Library, part 3,
    /// TPM2_PolicyAuthorize). `state` holds the registers' values, ascending, 32 bytes each.
    pub fn message(label: &str, pcrs: PcrSet, state: &[u8]) -> Vec<u8> {
        [&digest::of_state(pcrs, state)[..], label.as_bytes()].concat()
    }

    /// The encoding: deterministic CBOR, an array of four.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |why| Error::Damaged { what: "the approval", why };
        let approval: Self = minicbor::decode(bytes).map_err(|_| damaged("not its CBOR"))?;
        if approval.encode() != bytes {
            return Err(damaged("not in its canonical encoding"));
        }
        Ok(approval)
    }

    /// Whether it is about these registers in this state, for keys under this label. Whose it is, the TPM says.
    pub(crate) fn is_for(&self, authority: &Authority, pcrs: PcrSet, state: &[u8]) -> bool {
        self.label == authority.label && self.pcrs == pcrs.bits() && self.state == state
    }

    /// The digest that is signed.
    pub(crate) fn signed(&self, pcrs: PcrSet) -> [u8; 32] {
        sha256(&[&Self::message(&self.label, pcrs, &self.state)])
    }
}
