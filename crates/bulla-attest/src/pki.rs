//! Certificates and revocation lists: shapes, links, dates (RFC 5280).
//!
//! `dcap-qvl` walks the whole path itself; what is here names the reason of a refusal and refuses more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::{BitString, Sequence, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_NIST_HASH_SHA384, OID_PKCS1_RSASSAPSS, Oid};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AlgorithmIdentifier;

use crate::crypto::{is_signed, is_signed_rsa_pss};
use crate::error::{Item, ItemFault};
use crate::{Error, TrustAnchor};

/// The mask generation function of RSASSA-PSS (RFC 8017).
const MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);

/// What a certificate stands between (RFC 7468).
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The longest chain that is looked at (R31).
const CHAIN_LIMIT: usize = 8;

/// A certificate that parses; nothing of it is verified.
pub(crate) struct Certificate<'a> {
    der: &'a [u8],
    x509: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads exactly one certificate.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        (rest.is_empty() && names_its_algorithm_twice(der)).then_some(Self { der, x509 })
    }

    /// As [`Certificate::parse`], for a certificate of `item`.
    pub(crate) fn of(item: Item, der: &'a [u8]) -> Result<Self, Error> {
        Self::parse(der).ok_or_else(|| Error::item(item, ItemFault::Chain, "a certificate is malformed"))
    }

    pub(crate) const fn der(&self) -> &'a [u8] {
        self.der
    }

    pub(crate) fn serial(&self) -> &[u8] {
        self.x509.raw_serial()
    }

    /// For people: the subject's common name, or all of the subject.
    pub(crate) fn common_name(&self) -> String {
        let subject = self.x509.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        name.map_or_else(|| subject.to_string(), str::to_owned)
    }

    fn subject(&self) -> &[u8] {
        self.x509.subject().as_raw()
    }

    /// The issuer's common name, if it has one.
    pub(crate) fn issuer_name(&self) -> Option<&str> {
        self.x509.issuer().iter_common_name().next()?.as_str().ok()
    }

    fn issuer(&self) -> &[u8] {
        self.x509.issuer().as_raw()
    }

    /// The bits of the public key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.x509.public_key().subject_public_key.data
    }

    /// The content of an extension, if it is there; an error if it is there more than once.
    pub(crate) fn extension(&self, oid: &str) -> Result<Option<&'a [u8]>, ()> {
        let oid: Oid<'_> = oid.parse().map_err(|_| ())?;
        let extension = self.x509.get_extension_unique(&oid).map_err(|_| ())?;
        Ok(extension.map(|extension| extension.value))
    }

    fn is_signed_by(&self, issuer: &Certificate<'_>) -> bool {
        let Self { x509, .. } = self;
        let algorithms = (&x509.signature_algorithm, &x509.tbs_certificate.signature);
        let signature = Signature::of(algorithms, &x509.signature_value);
        signature.is_some_and(|signature| signature.is_by(issuer, x509.tbs_certificate.as_ref()))
    }

    /// Whether this certificate's key made a raw signature of r and s over `message`.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        crate::crypto::is_signed_raw(self.key(), message, signature)
    }

    /// Not before, not after.
    pub(crate) fn window(&self) -> (u64, u64) {
        let validity = self.x509.validity();
        (unix(validity.not_before), unix(validity.not_after))
    }
}

/// The certificates of a PEM text, which must hold certificates and line breaks and nothing else, but for the one NUL
/// that most quotes end their chain with.
pub(crate) fn decode_pem(item: Item, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fault = |detail: &str| Error::item(item, ItemFault::Chain, detail);
    let mut rest = behind_line_breaks(text.strip_suffix(b"\0").unwrap_or(text));
    let mut ders = Vec::new();
    while !rest.is_empty() {
        if ders.len() == CHAIN_LIMIT {
            return Err(fault(&format!("more than {CHAIN_LIMIT} certificates")));
        }
        let not_pem = || fault("the issuer chain is not PEM certificates and nothing else");
        let block = rest.strip_prefix(BEGIN).ok_or_else(not_pem)?;
        let end = block.iter().position(|byte| *byte == b'-').ok_or_else(not_pem)?;
        let (lines, after) = block.split_at(end);
        let digits = lines.split(is_line_break).collect::<Vec<_>>().concat();
        let der = BASE64.decode(digits).map_err(|_| not_pem())?;
        ders.push(CertificateDer::from(der));
        rest = behind_line_breaks(after.strip_prefix(END).ok_or_else(not_pem)?);
    }
    if ders.is_empty() {
        return Err(fault("there is no certificate in it"));
    }
    Ok(ders)
}

fn behind_line_breaks(text: &[u8]) -> &[u8] {
    let breaks = text.iter().take_while(|byte| is_line_break(byte)).count();
    text.split_at(breaks).1
}

const fn is_line_break(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// The root that everything must lead to. Where the trust anchor is known by its hash alone, its certificate is found
/// among those at hand.
pub(crate) struct Root<'a> {
    anchor: &'a TrustAnchor,
    certificate: Option<Certificate<'a>>,
}

impl<'a> Root<'a> {
    /// Looks for the trust anchor's certificate: its own, or one at hand that has its hash.
    pub(crate) fn find(anchor: &'a TrustAnchor, at_hand: impl Iterator<Item = &'a [u8]>) -> Self {
        let der = anchor.der().into_iter().chain(at_hand).find(|der| anchor.is(der));
        Self { anchor, certificate: der.and_then(Certificate::parse) }
    }

    /// The root's certificate.
    pub(crate) fn certificate(&self, item: Item) -> Result<&Certificate<'a>, Error> {
        self.certificate.as_ref().ok_or_else(|| {
            let detail = "neither the collateral nor the quote holds the certificate of the trust anchor";
            Error::item(item, ItemFault::UntrustedRoot, detail)
        })
    }
}

/// What a chain is for.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// How many certificates stand below the root.
    pub(crate) below: usize,
    /// Whether the first one is a CA.
    pub(crate) leaf_is_ca: bool,
}

/// Walks a chain: leaf first, each issued and signed by the next, the last by the root. The root may be left out; where
/// it is there, it must be the trust anchor. Returns the certificates below the root; their dates are not judged.
pub(crate) fn walk<'a>(
    item: Item,
    chain: &'a [CertificateDer<'static>],
    shape: Shape,
    root: &Root<'_>,
) -> Result<Vec<Certificate<'a>>, Error> {
    let fault = |fault, detail: &str| Error::item(item, fault, detail);
    // The root itself was read before, and stands there once.
    let (chain, ends_at_root) = match chain.split_last() {
        Some((last, below)) if root.certificate.as_ref().is_some_and(|root| root.der() == last.as_ref()) => {
            (below, true)
        }
        _ => (chain, false),
    };
    let mut certificates = Vec::new();
    for der in chain {
        let certificate = Certificate::parse(der);
        certificates.push(certificate.ok_or_else(|| fault(ItemFault::Chain, "a certificate is malformed"))?);
    }
    let last = certificates.pop_if(|last| !ends_at_root && last.issuer() == last.subject());
    let leaf_fits = certificates.first().is_some_and(|leaf| leaf.x509.is_ca() == shape.leaf_is_ca);
    let issuers_fit = certificates.iter().skip(1).all(|issuer| issuer.x509.is_ca());
    if certificates.len() != shape.below || !leaf_fits || !issuers_fit {
        let detail = format!("it must be {} of the right kinds below the root, leaf first", shape.below);
        return Err(fault(ItemFault::Chain, &detail));
    }
    if last.is_some_and(|last| !root.anchor.is(last.der())) {
        return Err(fault(ItemFault::UntrustedRoot, "the chain ends at a root that is not the trust anchor"));
    }
    let issuers = certificates.iter().skip(1).chain([root.certificate(item)?]);
    for (certificate, issuer) in certificates.iter().zip(issuers) {
        if !certificate.is_signed_by(issuer) {
            let detail =
                "a certificate is not signed by the next one: it was changed, or the chain was assembled";
            return Err(fault(ItemFault::ChainSignature, detail));
        }
        if certificate.issuer() != issuer.subject() {
            return Err(fault(
                ItemFault::Chain,
                "a certificate names another issuer than the one that signed it",
            ));
        }
    }
    Ok(certificates)
}

/// Whether `now` lies within the validity of all certificates.
pub(crate) fn check_validity(item: Item, certificates: &[Certificate<'_>], now: u64) -> Result<(), Error> {
    for (from, until) in certificates.iter().map(Certificate::window) {
        if !(from..until).contains(&now) {
            let detail =
                format!("a certificate is valid from {from} to {until} (Unix time), and it is {now}");
            return Err(Error::item(item, ItemFault::CertExpired, detail));
        }
    }
    Ok(())
}

/// Whether `now` lies between an item's issue and its next update; that second does not count, as in revocation lists.
pub(crate) fn check_window(item: Item, (from, until): (u64, u64), now: u64) -> Result<(), Error> {
    if now < from {
        let detail = format!("issued at {from} (Unix time), and it is {now}: check the clock");
        return Err(Error::item(item, ItemFault::NotYetValid, detail));
    }
    if now >= until {
        let detail = format!("good until {until} (Unix time), and it is {now}: fetch newer collateral");
        return Err(Error::item(item, ItemFault::Expired, detail));
    }
    Ok(())
}

/// A revocation list that parses.
#[derive(Debug)]
pub(crate) struct Crl {
    item: Item,
    issuer: Vec<u8>,
    issuer_name: String,
    window: (u64, u64),
    /// None where it is above 128 bits.
    number: Option<u128>,
    /// Serial numbers.
    revoked: Vec<Vec<u8>>,
    /// The signed part.
    signed: Vec<u8>,
    signature: Option<Signature>,
}

impl Crl {
    pub(crate) fn parse(item: Item, der: &[u8]) -> Result<Self, Error> {
        let list = match CertificateRevocationList::from_der(der) {
            Ok(([], list)) if names_its_algorithm_twice(der) => list,
            _ => return Err(Error::item(item, ItemFault::Parse, "not one revocation list in DER")),
        };
        let from = unix(list.last_update());
        let algorithms = (&list.signature_algorithm, &list.tbs_cert_list.signature);
        Ok(Self {
            item,
            issuer: list.issuer().as_raw().to_vec(),
            issuer_name: list.issuer().to_string(),
            window: (from, list.next_update().map_or(from, unix)),
            number: list.crl_number().map_or(Some(0), |number| number.try_into().ok()),
            revoked: list.iter_revoked_certificates().map(|entry| entry.raw_serial().to_vec()).collect(),
            signed: list.tbs_cert_list.as_ref().to_vec(),
            signature: Signature::of(algorithms, &list.signature_value),
        })
    }

    /// This update, next update. A list without a next update is never good (R28).
    pub(crate) const fn window(&self) -> (u64, u64) {
        self.window
    }

    /// Its number; zero where it has none.
    pub(crate) fn number(&self) -> Result<u128, Error> {
        let too_large = || Error::item(self.item, ItemFault::Parse, "its number is above 128 bits");
        self.number.ok_or_else(too_large)
    }

    /// Who issued it, for people.
    pub(crate) fn issuer_name(&self) -> &str {
        &self.issuer_name
    }

    /// How many certificates it revokes.
    pub(crate) const fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether `issuer` made this list.
    pub(crate) fn check_issuer(&self, issuer: &Certificate<'_>) -> Result<(), Error> {
        if self.issuer != issuer.subject() {
            let detail = "it is the list of another issuer";
            return Err(Error::item(self.item, ItemFault::WrongIssuer, detail));
        }
        if !self.signature.as_ref().is_some_and(|signature| signature.is_by(issuer, &self.signed)) {
            return Err(Error::item(self.item, ItemFault::Signature, "it is not signed by its issuer"));
        }
        Ok(())
    }

    /// Refuses a certificate that is on the list.
    pub(crate) fn check_revoked(
        &self,
        name: &'static str,
        certificate: &Certificate<'_>,
    ) -> Result<(), Error> {
        if self.revoked.iter().any(|serial| serial == certificate.serial()) {
            return Err(Error::Revoked(name));
        }
        Ok(())
    }
}

/// The signature of a certificate or list.
#[derive(Debug)]
struct Signature {
    is_signed: fn(&[u8], &[u8], &[u8]) -> bool,
    bytes: Vec<u8>,
}

impl Signature {
    /// None where the outer part, which no signature covers, disagrees with the inner one, or the algorithm is not known.
    fn of(
        (outer_algorithm, inner_algorithm): (&AlgorithmIdentifier<'_>, &AlgorithmIdentifier<'_>),
        signature: &BitString<'_>,
    ) -> Option<Self> {
        let is_signed = match outer_algorithm.algorithm == OID_PKCS1_RSASSAPSS {
            true if is_pss_with_sha384(outer_algorithm) => is_signed_rsa_pss,
            true => return None,
            false => is_signed,
        };
        let agrees = outer_algorithm == inner_algorithm && signature.unused_bits == 0;
        agrees.then(|| Self { is_signed, bytes: signature.data.to_vec() })
    }

    /// Whether `issuer` made it over the inner part.
    fn is_by(&self, issuer: &Certificate<'_>, inner: &[u8]) -> bool {
        (self.is_signed)(issuer.key(), inner, &self.bytes)
    }
}

/// Whether the algorithm outside of the signed part is, byte for byte, one that is inside: no signature covers it, and the
/// parser reads more than one encoding of it.
fn names_its_algorithm_twice(der: &[u8]) -> bool {
    let outer = || {
        let (_, whole) = Sequence::from_der(der).ok()?;
        let (rest, inner) = Sequence::from_der(&whole.content).ok()?;
        let (signature, _) = Sequence::from_der(rest).ok()?;
        let (algorithm, _) = rest.split_at_checked(rest.len() - signature.len())?;
        Some(inner.content.windows(algorithm.len()).any(|window| window == algorithm))
    };
    outer().unwrap_or(false)
}

/// AMD's algorithm: RSASSA-PSS, SHA-384 in both places, 48 bytes of salt.
fn is_pss_with_sha384(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let Ok(SignatureAlgorithm::RSASSA_PSS(params)) = SignatureAlgorithm::try_from(algorithm) else {
        return false;
    };
    *params.hash_algorithm_oid() == OID_NIST_HASH_SHA384
        && params.mask_gen_algorithm().is_ok_and(|mask| mask.mgf == MGF1 && mask.hash == OID_NIST_HASH_SHA384)
        && (params.salt_length(), params.trailer_field()) == (48, 1)
}

fn unix(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or(0)
}
