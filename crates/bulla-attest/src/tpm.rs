//! A TPM's quotes: from bytes to what they prove. Pure: nothing here talks to a TPM.
//!
//! A quote is signed by an attestation key, which a TPM never lets out and never lets sign anything that it did not make itself.
//! That a key is such a key of a known TPM is shown once, by [`Activation`], and its name is pinned from then on; that a TPM is known,
//! its owner says, or its vendor ([`verify_endorsement_certificate`]); what a
//! quote says is then judged by the registers' values alone, whatever events led to them.

mod activation;
mod attest;
mod certificate;
mod fault;
mod public;

pub use activation::{Activation, Credential, Pending};
pub use certificate::{EndorsementKey, verify_endorsement_certificate};
pub use fault::TpmFault;
pub use public::{attestation_key_name, endorsement_key_name};

use std::collections::BTreeMap;

use bulla_crypto::sha256;
use bulla_tee::tpm::{NAMES, PcrSet, TpmQuote};

use crate::Error;
use crate::crypto::is_signed_raw;
use attest::Attest;

/// Whose quotes are accepted, and in which states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TpmPolicy {
    /// The names of the attestation keys, as [`attestation_key_name`] computes them. [`Activation`] shows whose they are.
    pub attestation_keys: Vec<[u8; 32]>,
    /// Values of registers; one state must be met in every register that it names.
    pub states: Vec<BTreeMap<usize, [u8; 32]>>,
}

/// What a TPM's quote proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmClaims {
    /// The name of the attestation key.
    pub attestation_key: [u8; 32],
    /// The registers' values.
    pub pcrs: BTreeMap<usize, [u8; 32]>,
    /// How often the machine was restarted, since the TPM was last cleared. A quote of an earlier run is told by it.
    pub resets: u32,
    /// How often it was suspended since it was last restarted.
    pub restarts: u32,
    /// The TPM's firmware, as its vendor numbers it.
    pub firmware: u64,
}

/// What a quote proves, where it was made for `report_data` and the policy accepts it.
///
/// # Errors
/// `tpm_quote.parse` and `tpm_quote.signature` for one that was changed, `tpm_quote.registers` for values that are not those
/// that were signed, `tpm_quote.attestation_key` and `tpm_quote.state` for one that the policy does not accept,
/// `tpm_quote.policy` for a policy that would accept any state, `binding.report_data` for one that was made for something else.
pub fn verify_tpm_quote(
    evidence: &[u8],
    report_data: &[u8; 64],
    policy: &TpmPolicy,
) -> Result<TpmClaims, Error> {
    if policy.states.is_empty() || policy.states.iter().any(BTreeMap::is_empty) {
        return Err(Error::tpm(TpmFault::Policy, "it names no state, or one without registers"));
    }
    let malformed = |detail| Error::tpm(TpmFault::Parse, detail);
    let quote = TpmQuote::decode(evidence).map_err(|_| malformed("not its CBOR, or above 4 KiB"))?;
    let attestation_key = attestation_key_name(&quote.key);
    if !policy.attestation_keys.contains(&attestation_key) {
        let found = hex::encode(attestation_key);
        return Err(Error::tpm(
            TpmFault::AttestationKey,
            format!("the quote is by {found}, which is not pinned"),
        ));
    }
    let point = [&[4], &quote.key[..]].concat();
    if !is_signed_raw(&point, &quote.attest, &quote.signature) {
        return Err(Error::tpm(
            TpmFault::Signature,
            "it is not by the attestation key: the quote was changed",
        ));
    }
    let attest =
        Attest::parse(&quote.attest).ok_or_else(|| malformed("what is signed is no quote of a TPM"))?;
    if attest.extra_data != sha256(&[report_data]) {
        return Err(Error::ReportData);
    }
    let selected = PcrSet::ALL.iter().filter(|register| quote.pcrs >> register & 1 == 1);
    let (values, rest) = quote.values.as_chunks::<32>();
    let pcrs: BTreeMap<_, _> = selected.zip(values.iter().copied()).collect();
    if attest.pcrs != quote.pcrs
        || attest.digest != sha256(&[&quote.values])
        || !rest.is_empty()
        || pcrs.len() != values.len()
        || pcrs.len() != quote.pcrs.count_ones() as usize
    {
        return Err(Error::tpm(TpmFault::Registers, "the values are not those that were signed"));
    }
    accept(&policy.states, &pcrs)?;
    let Attest { resets, restarts, firmware, .. } = attest;
    Ok(TpmClaims { attestation_key, pcrs, resets, restarts, firmware })
}

/// One state is met; else the reason is that of the closest one.
fn accept(states: &[BTreeMap<usize, [u8; 32]>], pcrs: &BTreeMap<usize, [u8; 32]>) -> Result<(), Error> {
    let differing = |state: &BTreeMap<usize, [u8; 32]>| -> Vec<usize> {
        state
            .iter()
            .filter(|(register, value)| pcrs.get(register) != Some(value))
            .map(|(register, _)| *register)
            .collect()
    };
    let closest = states.iter().map(differing).min_by_key(Vec::len).unwrap_or_default();
    let Some(register) = closest.first() else { return Ok(()) };
    let name = NAMES.get(*register).copied().unwrap_or("a register that no TPM has");
    let found = pcrs.get(register).map_or("not in the quote".into(), hex::encode);
    Err(Error::tpm(TpmFault::State, format!("{name} is {found}, which is no accepted state")))
}
