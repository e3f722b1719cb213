//! Where trust ends.

use std::fmt;

use crate::pki::Certificate;
use crate::{AmdProduct, Error};

/// SHA-256 of the DER of "Intel SGX Root CA" (serial 22650CD65A9D3489F383B49552BF501B392706AC, valid 2018 to 2049),
/// as published at <https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer>.
const INTEL_SGX_ROOT_CA: [u8; 32] = [
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35, 0x0e,
    0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
];

/// SHA-256 of the DER of "ARK-Milan" (serial 010000, valid 2020 to 2045), as published at
/// <https://kdsintf.amd.com/vcek/v1/Milan/cert_chain>. Taken from copies in three public repositories, which agree.
const ARK_MILAN: [u8; 32] = [
    0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a, 0x2e, 0x94, 0xe1, 0xf4, 0x21, 0x0d, 0xe4, 0x9e, 0xf5,
    0x55, 0x30, 0x82, 0x87, 0xd4, 0xc1, 0x74, 0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd,
];

/// SHA-256 of the DER of "ARK-Genoa" (serial 020000, valid 2022 to 2047), as published at
/// <https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain>. Taken as ARK-Milan.
const ARK_GENOA: [u8; 32] = [
    0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c, 0x5d, 0xfd, 0x4a, 0x7d, 0x33, 0x5f, 0x67, 0x4e, 0x5b,
    0xfe, 0x1d, 0x8f, 0x80, 0x0c, 0xea, 0x2c, 0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1,
];

/// SHA-256 of the DER of "ARK-Turin" (serial 030000, valid 2023 to 2048), as published at
/// <https://kdsintf.amd.com/vcek/v1/Turin/cert_chain>. Taken from the copies in `virtee/sev` (src/certs/snp/builtin/turin,
/// commit 9cf2adbffa) and in another public repository, which agree; a genuine Turin VCEK in `virtee/sev` leads to it.
const ARK_TURIN: [u8; 32] = [
    0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9, 0x37, 0x78, 0xa9, 0x04, 0x87, 0x7d, 0x48, 0x19, 0xca,
    0xfa, 0x5d, 0x05, 0xef, 0x41, 0x93, 0xb2, 0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a,
];

/// The root certificate that every chain must lead to (R27).
///
/// A root is known by the SHA-256 of its certificate. Intel's and AMD's are pinned by hash alone: the certificate itself
/// travels in the issuer chains of the collateral, and one that has not this hash is not the root, whatever its name.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    fingerprint: [u8; 32],
    der: Option<Vec<u8>>,
}

impl TrustAnchor {
    /// The Intel SGX Root CA.
    pub const fn intel() -> Self {
        Self { fingerprint: INTEL_SGX_ROOT_CA, der: None }
    }

    /// AMD's root for a family of processors (ARK).
    pub const fn amd(product: AmdProduct) -> Self {
        let fingerprint = match product {
            AmdProduct::Milan => ARK_MILAN,
            AmdProduct::Genoa => ARK_GENOA,
            AmdProduct::Turin => ARK_TURIN,
        };
        Self { fingerprint, der: None }
    }

    /// Another root, for example a simulated machine's: one self-issued certificate in DER.
    ///
    /// # Errors
    /// `usage.trust_anchor` if it is not one certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        Certificate::parse(der).ok_or(Error::Anchor)?;
        Ok(Self { fingerprint: bulla_crypto::sha256(&[der]), der: Some(der.to_vec()) })
    }

    /// SHA-256 of the root's certificate.
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    pub(crate) fn der(&self) -> Option<&[u8]> {
        self.der.as_deref()
    }

    /// Whether a certificate is this root.
    pub(crate) fn is(&self, der: &[u8]) -> bool {
        bulla_crypto::sha256(&[der]) == self.fingerprint
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchor({})", hex::encode(self.fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r27_the_pin_is_the_published_one() {
        let published = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";
        assert_eq!(hex::encode(TrustAnchor::intel().fingerprint()), published);
        for (product, published) in [
            (AmdProduct::Milan, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
            (AmdProduct::Genoa, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
            (AmdProduct::Turin, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
        ] {
            assert_eq!(hex::encode(TrustAnchor::amd(product).fingerprint()), published);
        }
    }

    #[test]
    fn an_anchor_is_one_certificate() {
        for bad in [&b""[..], b"-----BEGIN CERTIFICATE-----", &[0x30, 0x03, 0x02, 0x01, 0x00]] {
            assert_eq!(TrustAnchor::from_der(bad).unwrap_err().code(), "usage.trust_anchor");
        }
    }
}
