//! Certificates of endorsement keys (TCG EK Credential Profile for TPM Family 2.0), judged by roots that the caller gives: there are
//! many vendors, and whom to trust is not for a library to say.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs as algorithms};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TpmFault;
use crate::Error;

/// No certificate is longer (R31): it is in memory of the TPM's.
const LIMIT: usize = 8192;
/// How many roots and issuers are looked at (R31).
const ISSUERS: usize = 64;
/// tcg-kp-EKCertificate, 2.23.133.8.1.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// An endorsement key that somebody vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndorsementKey {
    /// On P-256: x and y.
    Ecc([u8; 64]),
    /// RSA with 2048 bits: the public key as its certificate has it (SubjectPublicKeyInfo, DER).
    Rsa(Vec<u8>),
}

/// The endorsement key in a certificate (DER) that leads to one of `roots` (DER) at the time `now`, in Unix seconds. Whatever is among
/// the roots is trusted, the issuer of the certificate alone too. Whether the certificate was revoked is not asked.
///
/// # Errors
/// `tpm_endorsement.certificate` where it does not, or is no certificate of an endorsement key.
pub fn verify_endorsement_certificate(
    certificate: &[u8],
    roots: &[Vec<u8>],
    now: u64,
) -> Result<EndorsementKey, Error> {
    let refused = |detail: String| Error::tpm(TpmFault::Endorsement, detail);
    if certificate.len() > LIMIT || roots.len() > ISSUERS {
        return Err(refused("more than 8 KiB, or more than 64 roots".into()));
    }
    let roots: Vec<_> = roots.iter().map(|root| CertificateDer::from(root.as_slice())).collect();
    let anchors: Vec<TrustAnchor<'_>> = roots
        .iter()
        .map(|root| {
            anchor_from_trusted_cert(root)
                .map_err(|error| refused(format!("a root is no certificate: {error:?}")))
        })
        .collect::<Result<_, _>>()?;
    let leaf = CertificateDer::from(certificate);
    let malformed = |error| refused(format!("the certificate is malformed: {error:?}"));
    EndEntityCert::try_from(&leaf)
        .map_err(malformed)?
        .verify_for_usage(
            ALGORITHMS,
            &anchors,
            &roots,
            UnixTime::since_unix_epoch(Duration::from_secs(now)),
            KeyUsage::required_if_present(EK_CERTIFICATE),
            None,
            None,
        )
        .map_err(|error| {
            refused(format!("the certificate does not lead to one of the given roots: {error:?}"))
        })?;
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| refused("the certificate is malformed".into()))?;
    // Issuers have none, the certificate of an endorsement key has.
    let usage = parsed.extended_key_usage().ok().flatten();
    let is_for_it =
        usage.is_some_and(|usage| usage.value.other.iter().any(|oid| oid.as_bytes() == EK_CERTIFICATE));
    if !rest.is_empty() || !is_for_it {
        return Err(refused("the certificate is not one of an endorsement key".into()));
    }
    let key = parsed.public_key();
    let (algorithm, bytes) = (&key.algorithm, key.subject_public_key.data.as_ref());
    let on_p256 = algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()) == Some(OID_EC_P256);
    if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && on_p256 {
        let point = bytes.strip_prefix(&[4]).and_then(|point| point.try_into().ok());
        return point.map(EndorsementKey::Ecc).ok_or_else(|| refused("its key is no point".into()));
    }
    if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        return Ok(EndorsementKey::Rsa(key.raw.to_vec()));
    }
    Err(refused("its key is neither on P-256 nor RSA".into()))
}
