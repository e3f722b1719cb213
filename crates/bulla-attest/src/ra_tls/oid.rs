//! The numbers of the extensions that evidence was put in over the years, as the content bytes of their DER.

/// The number of the interoperable extension, for whoever writes a certificate: TCG DICE tagged evidence.
pub const RA_TLS_OID: [u64; 6] = [2, 23, 133, 5, 4, 9];

/// [`RA_TLS_OID`].
pub(super) const DICE_EVIDENCE: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x09];

/// Gramine's. It was meant to be 1.2.840.113741.1337.6, but the whole DER of that number was written where its content
/// belongs, so parsers see 0.6.9.42.840.113741.1337.6.
pub(super) const GRAMINE: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06];

const OTHERS: [(&[u8], &str); 8] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06],
        "Gramine under the number it meant (1.2.840.113741.1337.6)",
    ),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01], "the Intel SGX SDK (1.2.840.113741.1.13.1)"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x14, 0x0a, 0x01, 0x01],
        "old Open Enclave reports (1.2.840.113556.10.1.1)",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x14, 0x0a, 0x01, 0x02],
        "old Open Enclave evidence (1.2.840.113556.10.1.2)",
    ),
    (&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x69, 0x01], "Open Enclave reports (1.3.6.1.4.1.311.105.1)"),
    (
        &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x69, 0x02],
        "Open Enclave evidence (1.3.6.1.4.1.311.105.2)",
    ),
    (&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x23], "conceptual message wrappers (1.3.6.1.5.5.7.1.35)"),
    (RATS_TLS, "old rats-tls (1.2.840.113741.1337.1)"),
];

/// 1.2.840.113741.1337.1, with one more number for each part of the evidence.
const RATS_TLS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x01];

/// Whose extension it is that we do not read.
pub(super) fn name(oid: &[u8]) -> Option<&'static str> {
    let is = |known: &[u8]| oid == known || known == RATS_TLS && oid.starts_with(known);
    OTHERS.iter().find(|(known, _)| is(known)).map(|(_, name)| *name)
}
