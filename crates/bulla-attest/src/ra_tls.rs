//! Evidence in TLS: in the certificate, and after the handshake (R42). Functions over bytes; no TLS is in here.
//!
//! # In the certificate
//!
//! An RA-TLS certificate carries a quote in an extension, and the quote's report data binds the certificate's key. The
//! interoperable format (Confidential Computing Consortium, "Interoperable RA-TLS") is the TCG DICE extension
//! 2.23.133.5.4.9 around the CBOR `60000([quote, claims])`. The claims are the CBOR of a map: `pubkey-hash`, the hash of
//! the certificate's SubjectPublicKeyInfo, and where the verifier gave one before, `nonce`. The report data is the SHA-256
//! of the claims, then zero bytes.
//!
//! 1. [`RaTls::from_certificate`] reads a certificate. Nothing of it is believed yet.
//! 2. The quote is verified like any other: [`Verifier`](crate::Verifier).
//! 3. [`RaTls::require_binding`] compares the verified report data with the claims and the key of the certificate.
//!
//! The other way round, [`CertificateClaims`] are made for a key: their report data goes into a quote, and their
//! extension goes into the certificate. The DICE specification wants it critical, and TLS libraries refuse critical
//! extensions that they do not know, so write it uncritical. It is read either way.
//!
//! These functions leave it to TLS that the peer holds the certificate's key. They do not look at the certificate's
//! signature, names and dates, which mean nothing unless an authority that you trust signed them.
//!
//! # After the handshake
//!
//! A certificate shows that its key was made in the quoted machine, some time ago. It does not show that this machine is
//! at the other end now: whoever gets hold of the key can answer from elsewhere. So both sides send evidence made *after*
//! the handshake, whose report data is a hash of the connection's exporter value: [`TlsSide`]. No two connections have the
//! same one, so evidence that is relayed from one connection into another is refused.

use bulla_crypto::sha256;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::X509Extension;
use x509_parser::prelude::FromDer;

use crate::{Claims, Error};

mod claims;
mod exporter;
mod fault;
mod oid;

pub use claims::CertificateClaims;
pub use exporter::TlsSide;
pub use fault::RaTlsFault;
pub use oid::RA_TLS_OID;

/// The largest certificate that is read (R31). One with two quotes has 10 KB.
const LIMIT: usize = 64 * 1024;

/// What an RA-TLS certificate carries. Nothing in it is believed before its quote is verified and
/// [`RaTls::require_binding`] has compared.
///
/// ```no_run
/// use bulla_attest::{Claims, Collateral, Error, Policy, RaTls, TrustAnchor, Verifier};
///
/// # fn example(certificate: &[u8], collateral: &Collateral, now: u64) -> Result<Claims, Error> {
/// let peer = RaTls::from_certificate(certificate)?;
/// let claims = Verifier::new(TrustAnchor::intel()).verify(peer.quote(), collateral, now, &Policy::strict())?;
/// peer.require_binding(&claims)?;
/// # Ok(claims)
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaTls {
    quote: Vec<u8>,
    binding: Binding,
    /// SubjectPublicKeyInfo, DER.
    key: Vec<u8>,
}

/// Which extension the evidence came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaTlsFormat {
    /// The DICE extension with tagged evidence.
    Interoperable,
    /// Gramine's own: the bare quote, whose report data is the SHA-256 of the key. For reading only, and only where there
    /// is no interoperable one.
    Gramine,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Binding {
    Claims(CertificateClaims),
    Key,
}

impl RaTls {
    /// Reads the evidence of one certificate (DER). Its interoperable extension counts; a Gramine one is read where there
    /// is none. An extension that is there and malformed is never passed over for another.
    ///
    /// # Errors
    /// `ra_tls.too_large` above 64 KiB; `ra_tls.certificate`, `ra_tls.no_evidence`, `ra_tls.duplicate`, `ra_tls.parse`;
    /// `ra_tls.unsupported`, which names what the certificate has instead.
    pub fn from_certificate(der: &[u8]) -> Result<Self, Error> {
        if der.len() > LIMIT {
            let detail = format!("the certificate has {} bytes, and the limit is {LIMIT}", der.len());
            return Err(Error::ra_tls(RaTlsFault::TooLarge, detail));
        }
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return Err(Error::ra_tls(RaTlsFault::Certificate, "this is not one X.509 certificate in DER"));
        };
        let key = certificate.public_key().raw.to_vec();
        if let Some(extension) = only(&certificate, oid::DICE_EVIDENCE)? {
            let (quote, claims) = claims::read_extension(extension.value)?;
            return Ok(Self { quote, binding: Binding::Claims(claims), key });
        }
        if let Some(extension) = only(&certificate, oid::GRAMINE)? {
            return Ok(Self { quote: extension.value.to_vec(), binding: Binding::Key, key });
        }
        match certificate.extensions().iter().find_map(|extension| oid::name(extension.oid.as_bytes())) {
            Some(name) => {
                let detail = format!(
                    "the certificate has its evidence in the extension of {name}, which is not read: let the peer send the \
                     interoperable extension, 2.23.133.5.4.9"
                );
                Err(Error::ra_tls(RaTlsFault::Unsupported, detail))
            }
            None => Err(Error::ra_tls(RaTlsFault::NoEvidence, "the certificate carries no evidence")),
        }
    }

    /// The quote, to be verified like any other.
    pub fn quote(&self) -> &[u8] {
        &self.quote
    }

    /// Which extension it came in.
    pub fn format(&self) -> RaTlsFormat {
        match self.binding {
            Binding::Claims(_) => RaTlsFormat::Interoperable,
            Binding::Key => RaTlsFormat::Gramine,
        }
    }

    /// What the certificate says about its key; `None` in Gramine's format.
    pub fn claims(&self) -> Option<&CertificateClaims> {
        match &self.binding {
            Binding::Claims(claims) => Some(claims),
            Binding::Key => None,
        }
    }

    /// Whether the evidence, now verified, was made for this certificate: the report data is the hash of the claims, and
    /// these have the hash of the certificate's key.
    ///
    /// # Errors
    /// `binding.ra_tls_claims` where the evidence was made for other claims; `binding.ra_tls_key` where it was made for
    /// another certificate's key.
    pub fn require_binding(&self, verified: &Claims) -> Result<(), Error> {
        let key_fault = || {
            let detail =
                "the evidence was made for the key of another certificate: somebody put them together";
            Err(Error::ra_tls(RaTlsFault::OtherKey, detail))
        };
        match &self.binding {
            Binding::Claims(claims) => {
                if verified.report_data != *claims.report_data().as_bytes() {
                    let detail = "the evidence was made for other claims than the certificate has";
                    return Err(Error::ra_tls(RaTlsFault::OtherClaims, detail));
                }
                if !claims.is_for(&self.key) {
                    return key_fault();
                }
            }
            Binding::Key => {
                let (hash, zeros) = verified.report_data.split_at(32);
                if hash != sha256(&[&self.key]) || zeros != [0; 32] {
                    return key_fault();
                }
            }
        }
        Ok(())
    }

    /// Whether the certificate was made in answer to `nonce`. Without one, nothing says when it was made.
    ///
    /// # Errors
    /// `binding.ra_tls_nonce`.
    pub fn require_nonce(&self, nonce: &[u8]) -> Result<(), Error> {
        if self.claims().and_then(CertificateClaims::nonce) == Some(nonce) {
            return Ok(());
        }
        let detail = "the certificate does not have the nonce of this verifier: it is an old one, or another verifier's";
        Err(Error::ra_tls(RaTlsFault::OtherNonce, detail))
    }
}

/// The extension of that number, which may be there once.
fn only<'a>(
    certificate: &'a X509Certificate<'_>,
    oid: &[u8],
) -> Result<Option<&'a X509Extension<'a>>, Error> {
    let mut found = certificate.extensions().iter().filter(|extension| extension.oid.as_bytes() == oid);
    let first = found.next();
    match found.next() {
        None => Ok(first),
        Some(_) => Err(Error::ra_tls(
            RaTlsFault::Duplicate,
            "the certificate has two extensions for evidence of one kind",
        )),
    }
}
