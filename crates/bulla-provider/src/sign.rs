//! Step `sign`: the answer is this provider's, and for this order (R39).

use bulla_crypto::{HpkeSealed, RoleHash};
use bulla_protocol::v1::{Answer, FutureKey, PublicKey, Transcript};

use crate::own::{Own, Proof};
use crate::refusal::Refusal;

/// Signs a v1 answer, and the head of the audit chain with it, with the key that the provider's quote covers.
pub(crate) fn answer(
    own: &Own,
    proof: &Proof,
    order: &Transcript,
    sealed: HpkeSealed,
    head: [u8; 32],
) -> Answer {
    let signed = Answer::signed(order, &proof.data, &sealed, &head);
    let signature = own.sign(&signed);
    let HpkeSealed { encapsulated_key, ciphertext } = sealed;
    Answer { encapsulated_key, ciphertext, head, signature }
}

/// Signs the public key of a described guest.
pub(crate) fn public_key(own: &Own, proof: &Proof, wanted: &FutureKey, public_key: &[u8]) -> PublicKey {
    let signature = own.sign(&PublicKey::signed(wanted, &proof.statement, public_key));
    PublicKey { public_key: public_key.into(), signature }
}

/// The provider's quote over a legacy answer, which is all the proof that the existing clients know. It is verified as
/// our own, and of the machine that the guest was compared with, before it is sent.
pub(crate) fn legacy_quote(own: &Own, proof: &Proof, sealed_box: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (quote, claims) = own.quote(&RoleHash::legacy_answer(sealed_box))?;
    if !claims.platform.same_machine(&proof.platform) {
        return Err(own.distrust("self.other_machine"));
    }
    Ok(quote)
}
