//! The digests of policies and names, as every TPM computes them (TPM 2.0 Library, part 3).

use bulla_crypto::sha256;
use bulla_tee::tpm::{Authority, PcrSet};

const POLICY_OR: [u8; 4] = 0x171_u32.to_be_bytes();
const POLICY_AUTHORIZE: [u8; 4] = 0x16A_u32.to_be_bytes();
const POLICY_PCR: [u8; 4] = 0x17F_u32.to_be_bytes();
const SHA256: [u8; 2] = 0x000B_u16.to_be_bytes();
const START: [u8; 32] = [0; 32];

/// That the registers hold these values (TPM2_PolicyPCR).
pub(crate) fn of_state(pcrs: PcrSet, state: &[u8]) -> [u8; 32] {
    let [low, middle, high, _] = pcrs.bits().to_le_bytes();
    let selection = [&1_u32.to_be_bytes()[..], &SHA256, &[3, low, middle, high]].concat();
    sha256(&[&START, &POLICY_PCR, &selection, &sha256(&[state])])
}

/// That the authority approved of what is so far (TPM2_PolicyAuthorize).
pub(crate) fn of_authority(authority: &Authority, key_name: &[u8; 32]) -> [u8; 32] {
    let approved = sha256(&[&START, &POLICY_AUTHORIZE, &SHA256, key_name]);
    sha256(&[&approved, authority.label.as_bytes()])
}

/// One of them (TPM2_PolicyOR); where there is one, that one.
pub(crate) fn of_branches(branches: &[[u8; 32]]) -> [u8; 32] {
    match branches {
        [only] => *only,
        branches => sha256(&[&START[..], &POLICY_OR, &branches.concat()]),
    }
}
