//! Certificates with evidence in them.

use std::sync::LazyLock;

use bulla_attest::{CertificateClaims, Claims, RA_TLS_OID, RaTls, RaTlsFormat};
use bulla_crypto::sha256;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{GOOD, refused};
use crate::edits::Script;

/// The number as parsers see it.
const GRAMINE: [u64; 8] = [0, 6, 9, 42, 840, 113_741, 1337, 6];

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

/// Reads a certificate. The first byte says what the rest is: 0 the certificate, 1 the content of the interoperable extension of
/// one, 2 of Gramine's, 3 edits to a good one.
pub fn ra_tls(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let der = match which % 4 {
        0 => rest.to_vec(),
        1 => with_extension(&RA_TLS_OID, rest),
        2 => with_extension(&GRAMINE, rest),
        _ => {
            let claims = CertificateClaims::new(&KEY.subject_public_key_info(), Some(b"nonce"));
            let mut der = with_extension(&RA_TLS_OID, &claims.extension(&[3; 64]));
            Script::new(rest).edit(&mut der);
            der
        }
    };
    let peer = match RaTls::from_certificate(&der) {
        Ok(peer) => peer,
        Err(error) => return refused(&error),
    };
    let is_in = |part: &[u8]| part.is_empty() || der.windows(part.len()).any(|found| found == part);
    assert!(is_in(peer.quote()));
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let key = certificate.public_key().raw;
    let with = |report_data| Claims { report_data, ..GOOD[0].claims.clone() };
    refused(&peer.require_binding(&with([1; 64])).unwrap_err());
    match (peer.format(), peer.claims()) {
        (RaTlsFormat::Interoperable, Some(claims)) => {
            assert!(claims.nonce().is_none_or(is_in));
            // Its key's hash is in it, or it is of another key.
            let bound = peer.require_binding(&with(*claims.report_data().as_bytes()));
            bound.map_or_else(|error| refused(&error), |()| true)
        }
        (RaTlsFormat::Gramine, None) => {
            let mut wanted = [0; 64];
            wanted[..32].copy_from_slice(&sha256(&[key]));
            peer.require_binding(&with(wanted)).is_ok()
        }
        other => panic!("{other:?}"),
    }
}

fn with_extension(oid: &[u64], content: &[u8]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![CustomExtension::from_oid_content(oid, content.to_vec())];
    params.self_signed(&*KEY).unwrap().der().to_vec()
}
