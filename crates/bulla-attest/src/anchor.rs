//! Where trust ends.

use std::fmt;

use crate::Error;
use crate::pki::Certificate;

/// SHA-256 of the DER of "Intel SGX Root CA" (serial 22650CD65A9D3489F383B49552BF501B392706AC, valid 2018 to 2049),
/// as published at <https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer>.
const INTEL_SGX_ROOT_CA: [u8; 32] = [
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35, 0x0e,
    0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
];

/// The root certificate that every chain must lead to (R27).
///
/// A root is known by the SHA-256 of its certificate. Intel's is pinned by hash alone: the certificate itself travels
/// in every issuer chain of the collateral, and one that has not this hash is not the root, whatever its name.
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
    }

    #[test]
    fn an_anchor_is_one_certificate() {
        for bad in [&b""[..], b"-----BEGIN CERTIFICATE-----", &[0x30, 0x03, 0x02, 0x01, 0x00]] {
            assert_eq!(TrustAnchor::from_der(bad).unwrap_err().code(), "usage.trust_anchor");
        }
    }
}
