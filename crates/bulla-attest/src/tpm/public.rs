//! The public areas of the two keys that vouch for a TPM (TPM 2.0 Library, part 2, TPMT_PUBLIC). All but the point is fixed, so
//! a Name says that a key is restricted, and that no TPM lets it out.

use bulla_crypto::sha256;

/// ECC, a SHA-256 Name.
const ECC: [u8; 4] = [0x00, 0x23, 0x00, 0x0B];
/// fixedTPM, fixedParent, sensitiveDataOrigin, restricted.
const KEPT: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16;
/// userWithAuth, noDA, sign.
const SIGNS: u32 = KEPT | 1 << 6 | 1 << 10 | 1 << 18;
/// adminWithPolicy, decrypt.
const DECRYPTS: u32 = KEPT | 1 << 7 | 1 << 17;
/// PolicySecret of the endorsement hierarchy (TCG EK Credential Profile, PolicyA).
const POLICY_A: [u8; 34] = [
    0x00, 0x20, 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7,
    0x24, 0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
];
/// No policy; no cipher, ECDSA with SHA-256, P-256, no key derivation.
const ECDSA: [u8; 12] = [0, 0, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0B, 0x00, 0x03, 0x00, 0x10];
/// AES, 128 bits, CFB; no scheme, P-256, no key derivation.
const AES: [u8; 12] = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10];

/// The digest of the Name of an attestation key on P-256 (x and y): restricted, signs by ECDSA with SHA-256.
pub fn attestation_key_name(key: &[u8; 64]) -> [u8; 32] {
    name(SIGNS, &ECDSA, key)
}

/// The digest of the Name of an endorsement key on P-256 (x and y), of the template L-2 (TCG EK Credential Profile). Its vendor
/// certifies the key.
pub fn endorsement_key_name(key: &[u8; 64]) -> [u8; 32] {
    name(DECRYPTS, &[&POLICY_A[..], &AES].concat(), key)
}

fn name(attributes: u32, rest: &[u8], key: &[u8; 64]) -> [u8; 32] {
    let (x, y) = key.split_at(32);
    let size = 32_u16.to_be_bytes();
    sha256(&[&ECC, &attributes.to_be_bytes(), rest, &size, x, &size, y])
}
