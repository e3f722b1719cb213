//! Quotes of TPMs.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bulla_attest::tpm::{TpmClaims, TpmPolicy, attestation_key_name, verify_tpm_quote};
use bulla_crypto::sha256;
use bulla_tee::tpm::TpmQuote;

use super::refused;
use crate::cbor::is_canonical;
use crate::edits::Script;

const REPORT_DATA: [u8; 64] = [0x5A; 64];
const PCR: [u8; 32] = [0xC4; 32];

/// Evidence in order, the key that signed it, whom and what is accepted, and the verdict.
struct Good {
    key: EcdsaKeyPair,
    quote: TpmQuote,
    policy: TpmPolicy,
    claims: TpmClaims,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public: [u8; 64] = key.public_key().as_ref()[1..].try_into().unwrap();
    let values = [PCR, [7; 32]].concat();
    let attest = [
        // TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE, the signer's Name, extra data.
        &hex::decode("ff54434780180022000b").unwrap()[..],
        &[0xAA; 32],
        &[0, 32],
        &sha256(&[&REPORT_DATA]),
        // Clock, resets, restarts, safe, firmware.
        &hex::decode("0000000000001000000000050000000201").unwrap(),
        &[1, 2, 3, 4, 5, 6, 7, 8],
        // One selection of SHA-256: PCR 4 and 7.
        &hex::decode("00000001000b03900000").unwrap(),
        &[0, 32],
        &sha256(&[&values]),
    ]
    .concat();
    let policy = TpmPolicy {
        attestation_keys: vec![attestation_key_name(&public)],
        states: vec![BTreeMap::from([(4, PCR)])],
    };
    let quote =
        signed(&key, TpmQuote { key: public, attest, signature: [0; 64], pcrs: 1 << 4 | 1 << 7, values });
    let claims = verify_tpm_quote(&quote.encode(), &REPORT_DATA, &policy).unwrap();
    Good { key, quote, policy, claims }
});

fn signed(key: &EcdsaKeyPair, mut quote: TpmQuote) -> TpmQuote {
    let signature = key.sign(&SystemRandom::new(), &quote.attest).unwrap();
    quote.signature.copy_from_slice(signature.as_ref());
    quote
}

/// Judges a TPM's quote. The first byte says what the rest is: 0 the quote; 1 edits to a good one; 2 edits to what is signed, signed;
/// 3 edits to the registers' values.
pub fn tpm_quote(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let good = &*GOOD;
    let edited = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        Script::new(rest).edit(&mut bytes);
        bytes
    };
    let how = which % 4;
    let evidence = match how {
        0 => rest.to_vec(),
        1 => edited(&good.quote.encode()),
        2 => {
            let attest = edited(&good.quote.attest);
            signed(&good.key, TpmQuote { attest, ..good.quote.clone() }).encode()
        }
        _ => TpmQuote { values: edited(&good.quote.values), ..good.quote.clone() }.encode(),
    };
    let claims = match verify_tpm_quote(&evidence, &REPORT_DATA, &good.policy) {
        Ok(claims) => claims,
        Err(error) => return refused(&error),
    };
    assert!(is_canonical(&evidence), "a quote in another encoding was taken");
    if how != 2 {
        assert_eq!(claims, good.claims, "a change that nobody signed");
        return true;
    }
    let quote = TpmQuote::decode(&evidence).unwrap();
    assert_eq!(claims.attestation_key, attestation_key_name(&quote.key));
    assert_eq!(claims.pcrs, good.claims.pcrs, "values that were not signed");
    assert_eq!(quote.attest.len(), good.quote.attest.len());
    assert_eq!(claims.resets.to_be_bytes(), quote.attest[84..88]);
    assert_eq!(claims.restarts.to_be_bytes(), quote.attest[88..92]);
    assert_eq!(claims.firmware.to_be_bytes(), quote.attest[93..101]);
    for other in [[0; 64], [0x5B; 64]] {
        assert!(verify_tpm_quote(&evidence, &other, &good.policy).is_err(), "made for anything");
    }
    true
}
