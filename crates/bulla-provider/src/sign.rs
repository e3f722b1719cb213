//! Step `sign`: the answer is this provider's, and for this order (R39).

use bulla_crypto::{HpkeSealed, RoleHash};
use bulla_protocol::v1::{Answer, Order};

use crate::own::{Own, Proof};
use crate::refusal::Refusal;

/// Signs a v1 answer with the key that the provider's quote covers.
pub(crate) fn answer(own: &Own, proof: &Proof, order: &Order, sealed: HpkeSealed) -> Answer {
    let signature = own.sign(&Answer::signed(&order.request, &order.evidence, &proof.statement, &sealed));
    let encapsulated_key = sealed.encapsulated_key.try_into().expect("X25519 encapsulates to 32 bytes");
    Answer { encapsulated_key, ciphertext: sealed.ciphertext, signature }
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
