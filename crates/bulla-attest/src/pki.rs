//! Certificates and revocation lists: shapes, links, dates (RFC 5280).
//!
//! `dcap-qvl` walks the whole path itself; what is here names the reason of a refusal and refuses more.

mod certificate;

use std::iter;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::oid;
use x509_parser::oid_registry::{OID_NIST_HASH_SHA384, OID_PKCS1_RSASSAPSS, Oid};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Extension};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AlgorithmIdentifier, X509Name};

use crate::crypto::{is_signed, is_signed_rsa_pss};
use crate::der::{BIT_STRING, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, tagged, value};
use crate::error::{Item, ItemFault};
use crate::{Error, TrustAnchor};

pub(crate) use certificate::Certificate;

/// The mask generation function of RSASSA-PSS (RFC 8017).
const MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);

/// The tag of a list's extensions.
const EXTENSIONS: u8 = 0xa0;

/// What a certificate stands between (RFC 7468).
pub(crate) const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
pub(crate) const END: &str = "-----END CERTIFICATE-----";
const LINE_BREAKS: [char; 2] = ['\r', '\n'];

/// The longest chain that is looked at (R31).
const CHAIN_LIMIT: usize = 8;

/// The certificates of a PEM text, which must hold certificates and line breaks and nothing else, but for the one NUL
/// that most quotes end their chain with.
pub(crate) fn decode_pem(item: Item, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fault = |detail: &str| Error::item(item, ItemFault::Chain, detail);
    let not_pem = || fault("the issuer chain is not PEM certificates and nothing else");
    let text = str::from_utf8(text.strip_suffix(b"\0").unwrap_or(text)).map_err(|_| not_pem())?;
    let mut rest = text.trim_start_matches(LINE_BREAKS);
    let mut ders = Vec::new();
    while !rest.is_empty() {
        if ders.len() == CHAIN_LIMIT {
            return Err(fault(&format!("more than {CHAIN_LIMIT} certificates")));
        }
        let block = rest.strip_prefix(BEGIN).ok_or_else(not_pem)?;
        let (lines, after) = block.split_at(block.find('-').ok_or_else(not_pem)?);
        // One character at a time is found sooner than either of two.
        let mut digits = String::with_capacity(lines.len());
        digits.extend(lines.split('\n').flat_map(|line| line.split('\r')));
        let der = BASE64.decode(digits).map_err(|_| not_pem())?;
        ders.push(CertificateDer::from(der));
        rest = after.strip_prefix(END).ok_or_else(not_pem)?.trim_start_matches(LINE_BREAKS);
    }
    if ders.is_empty() {
        return Err(fault("there is no certificate in it"));
    }
    Ok(ders)
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
    let leaf_fits = certificates.first().is_some_and(|leaf| leaf.is_ca() == shape.leaf_is_ca);
    let issuers_fit = certificates.iter().skip(1).all(Certificate::is_ca);
    if certificates.len() != shape.below || !leaf_fits || !issuers_fit {
        return Err(misshapen(item, shape.below));
    }
    if last.is_some_and(|last| !root.anchor.is(last.der())) {
        return Err(fault(ItemFault::UntrustedRoot, "the chain ends at a root that is not the trust anchor"));
    }
    let issuers = certificates.iter().skip(1).chain([root.certificate(item)?]);
    for (certificate, issuer) in certificates.iter().zip(issuers) {
        check_issued(item, certificate, issuer)?;
    }
    Ok(certificates)
}

/// The same for a leaf whose issuers were walked before.
pub(crate) fn walk_on<'a>(
    item: Item,
    leaf: &'a CertificateDer<'static>,
    issuers: Vec<Certificate<'a>>,
) -> Result<Vec<Certificate<'a>>, Error> {
    let leaf = Certificate::of(item, leaf)?;
    match issuers.first() {
        Some(issuer) if !leaf.is_ca() => check_issued(item, &leaf, issuer)?,
        _ => return Err(misshapen(item, 1 + issuers.len())),
    }
    Ok([leaf].into_iter().chain(issuers).collect())
}

fn misshapen(item: Item, below: usize) -> Error {
    let detail = format!("it must be {below} of the right kinds below the root, leaf first");
    Error::item(item, ItemFault::Chain, detail)
}

fn check_issued(item: Item, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<(), Error> {
    if !certificate.is_signed_by(issuer) {
        let detail =
            "a certificate is not signed by the next one: it was changed, or the chain was assembled";
        return Err(Error::item(item, ItemFault::ChainSignature, detail));
    }
    if certificate.issuer() != issuer.subject() {
        let detail = "a certificate names another issuer than the one that signed it";
        return Err(Error::item(item, ItemFault::Chain, detail));
    }
    Ok(())
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
    window: (u64, u64),
    /// None where it is above 128 bits.
    number: Option<u128>,
    /// The certificates that it revokes, well-formed.
    entries: Vec<u8>,
    /// How many they are.
    length: usize,
    /// The signed part.
    signed: Vec<u8>,
    signature: Option<Signature>,
}

impl Crl {
    /// Reads exactly one list.
    pub(crate) fn parse(item: Item, der: &[u8]) -> Result<Self, Error> {
        Self::read(item, der)
            .ok_or_else(|| Error::item(item, ItemFault::Parse, "not one revocation list in DER"))
    }

    /// RFC 5280, section 5.1. A parser of whole lists looks into what each entry says beside its serial number, which takes
    /// longer than all else.
    fn read(item: Item, der: &[u8]) -> Option<Self> {
        let (_, list, []) = tagged(SEQUENCE, der)? else { return None };
        let (signed, inner, rest) = tagged(SEQUENCE, list)?;
        let (outer_algorithm, _, rest) = tagged(SEQUENCE, rest)?;
        let (_, [0, signature @ ..], []) = tagged(BIT_STRING, rest)? else { return None };

        let (_, [1], rest) = tagged(INTEGER, inner)? else { return None };
        let (algorithm, _, rest) = tagged(SEQUENCE, rest)?;
        // No signature covers the algorithm outside of the signed part.
        (algorithm == outer_algorithm).then_some(())?;
        let (rest, issuer) = X509Name::from_der(rest).ok()?;
        let (rest, this_update) = ASN1Time::from_der(rest).ok()?;
        let (rest, next_update) = ASN1Time::from_der(rest).unwrap_or((rest, this_update));
        let (entries, rest) = match value(rest) {
            Some((SEQUENCE, entries, rest)) => (entries, rest),
            _ => (&[][..], rest),
        };
        Some(Self {
            item,
            issuer: issuer.as_raw().to_vec(),
            window: (unix(this_update), unix(next_update)),
            number: number(rest)?,
            entries: entries.to_vec(),
            length: serials(entries).try_fold(0, |length, serial| serial.map(|_| length + 1))?,
            signed: signed.to_vec(),
            signature: Signature::of(algorithm, signature),
        })
    }

    /// This update, next update: the same where it has none, so that it is never good (R28).
    pub(crate) const fn window(&self) -> (u64, u64) {
        self.window
    }

    /// Its number; zero where it has none.
    pub(crate) fn number(&self) -> Result<u128, Error> {
        let too_large = || Error::item(self.item, ItemFault::Parse, "its number is above 128 bits");
        self.number.ok_or_else(too_large)
    }

    /// Who issued it, for people.
    pub(crate) fn issuer_name(&self) -> String {
        X509Name::from_der(&self.issuer).map(|(_, name)| name.to_string()).unwrap_or_default()
    }

    /// How many certificates it revokes.
    pub(crate) const fn len(&self) -> usize {
        self.length
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
        if serials(&self.entries).flatten().any(|serial| serial == certificate.serial()) {
            return Err(Error::Revoked(name));
        }
        Ok(())
    }
}

/// The serial numbers in a list's entries; none where an entry is malformed, and nothing after it.
fn serials(mut entries: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    iter::from_fn(move || {
        if entries.is_empty() {
            return None;
        }
        let first = first_serial(entries);
        entries = first.map_or(&[], |(_, rest)| rest);
        Some(first.map(|(serial, _)| serial))
    })
}

/// The serial number in the first entry, and the entries behind it.
fn first_serial(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    let (SEQUENCE, entry, rest) = value(entries)? else { return None };
    let (INTEGER, serial, entry) = value(entry)? else { return None };
    let (UTC_TIME | GENERALIZED_TIME, _, extensions) = value(entry)? else { return None };
    let ends = extensions.is_empty() || matches!(value(extensions), Some((SEQUENCE, _, [])));
    ends.then_some((serial, rest))
}

/// The number in a list's extensions: zero where it has none, and none inside where it is above 128 bits.
fn number(extensions: &[u8]) -> Option<Option<u128>> {
    if extensions.is_empty() {
        return Some(Some(0));
    }
    let (EXTENSIONS, tagged, []) = value(extensions)? else { return None };
    let (SEQUENCE, mut rest, []) = value(tagged)? else { return None };
    let mut number = None;
    while !rest.is_empty() {
        let (after, extension) = X509Extension::from_der(rest).ok()?;
        if let ParsedExtension::CRLNumber(found) = extension.parsed_extension() {
            number.get_or_insert(found.try_into().ok());
        }
        rest = after;
    }
    Some(number.unwrap_or(Some(0)))
}

/// The signature of a certificate or list.
#[derive(Debug)]
struct Signature {
    is_signed: fn(&[u8], &[u8], &[u8]) -> bool,
    bytes: Vec<u8>,
}

impl Signature {
    /// None where the algorithm is not known.
    fn of(algorithm: &[u8], bytes: &[u8]) -> Option<Self> {
        let ([], algorithm) = AlgorithmIdentifier::from_der(algorithm).ok()? else { return None };
        let is_signed = match algorithm.algorithm == OID_PKCS1_RSASSAPSS {
            true if is_pss_with_sha384(&algorithm) => is_signed_rsa_pss,
            true => return None,
            false => is_signed,
        };
        Some(Self { is_signed, bytes: bytes.to_vec() })
    }

    /// Whether `issuer` made it over the inner part.
    fn is_by(&self, issuer: &Certificate<'_>, inner: &[u8]) -> bool {
        (self.is_signed)(issuer.key(), inner, &self.bytes)
    }
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

#[cfg(test)]
mod tests {
    use x509_parser::revocation_list::CertificateRevocationList;

    use super::*;
    use crate::samples::quotes_and_sets;

    /// Each list once.
    fn lists() -> Vec<Vec<u8>> {
        let (_, sets) = quotes_and_sets();
        let sets = sets.iter().filter_map(|set| set.items().ok());
        let mut lists: Vec<_> = sets.flat_map(|set| [set.pck_crl.clone(), set.root_ca_crl.clone()]).collect();
        lists.sort();
        lists.dedup();
        lists
    }

    fn agrees(own: &Crl, list: &CertificateRevocationList<'_>) -> bool {
        let from = unix(list.last_update());
        let number = list.crl_number().map_or(Some(0), |number| number.try_into().ok());
        let revoked = || list.iter_revoked_certificates().map(|entry| Some(entry.raw_serial()));
        own.issuer == list.issuer().as_raw()
            && own.window == (from, list.next_update().map_or(from, unix))
            && own.number == number
            && serials(&own.entries).eq(revoked())
            && own.length == revoked().count()
            && own.signed == list.tbs_cert_list.as_ref()
    }

    #[test]
    fn an_entry_is_a_serial_number_a_date_and_at_most_extensions() {
        let date = [&[UTC_TIME, 13], &b"260101000000Z"[..]].concat();
        let entry = |parts: &[&[u8]]| {
            let content = parts.concat();
            [&[SEQUENCE, content.len() as u8], content.as_slice()].concat()
        };
        let serial = [INTEGER, 1, 7];
        let read = |entries: &[u8]| serials(entries).collect::<Option<Vec<_>>>().map(|found| found.len());
        let [bare, extended] = [entry(&[&serial, &date]), entry(&[&serial, &date, &[SEQUENCE, 0]])];
        assert_eq!(read(&[bare.clone(), extended].concat()), Some(2));
        let malformed: [&[&[u8]]; 5] = [
            &[&serial],
            &[&date, &serial],
            &[&serial, &serial],
            &[&serial, &date, &[INTEGER, 0]],
            &[&serial, &date, &[SEQUENCE, 0, SEQUENCE, 0]],
        ];
        for parts in malformed {
            assert_eq!(read(&[bare.clone(), entry(parts)].concat()), None, "{parts:02x?}");
        }
        assert_eq!(read(&bare[..bare.len() - 1]), None);
    }

    #[test]
    fn a_list_is_read_as_the_parser_of_whole_lists_reads_it_and_no_more_leniently() {
        let lists = lists();
        for der in &lists {
            let own = Crl::parse(Item::PckCrl, der).unwrap();
            let (_, whole) = CertificateRevocationList::from_der(der).unwrap();
            assert!(agrees(&own, &whole));
            assert!((0..der.len()).all(|end| Crl::parse(Item::PckCrl, &der[..end]).is_err()));
            assert!(Crl::parse(Item::PckCrl, &[der, &[0][..]].concat()).is_err());
        }
        // The shortest lists, and the longest one: most of it are entries.
        let longest = lists.iter().max_by_key(|der| der.len());
        for der in lists.iter().filter(|der| der.len() < 400).chain(longest) {
            let entries = Crl::parse(Item::PckCrl, der).unwrap().entries;
            let from = der.windows(entries.len().max(1)).position(|window| window == entries).unwrap_or(0);
            for (at, bit) in (0..der.len()).flat_map(|at| [1, 2, 32, 128].map(|bit| (at, bit))) {
                let mut changed = der.clone();
                changed[at] ^= bit;
                let Ok(own) = Crl::parse(Item::PckCrl, &changed) else { continue };
                match CertificateRevocationList::from_der(&changed) {
                    Ok((_, whole)) => assert!(agrees(&own, &whole), "byte {at}, bit {bit}"),
                    // Dates of entries, and what they say beside.
                    Err(_) => assert!((from..from + entries.len()).contains(&at), "byte {at}, bit {bit}"),
                }
            }
        }
    }
}
