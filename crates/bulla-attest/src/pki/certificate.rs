//! Certificates (RFC 5280, section 4.1).

use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::OID_X509_EXT_BASIC_CONSTRAINTS;
use x509_parser::prelude::{BasicConstraints, FromDer};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use super::{Signature, unix};
use crate::Error;
use crate::der::{BIT_STRING, BOOLEAN, INTEGER, NAME, OCTET_STRING, SEQUENCE, SET, tagged, value};
use crate::error::{Item, ItemFault};

/// The tag and the content of the only version that has extensions.
const VERSION: u8 = 0xa0;
const THIRD: &[u8] = &[INTEGER, 1, 2];

/// The tag of a certificate's extensions.
const EXTENSIONS: u8 = 0xa3;

/// In a tag, that the value is made of others.
const CONSTRUCTED: u8 = 0x20;

/// A certificate that parses; nothing of it is verified.
pub(crate) struct Certificate<'a> {
    der: &'a [u8],
    /// The signed part.
    signed: &'a [u8],
    signature: Option<Signature>,
    serial: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    window: (u64, u64),
    key: &'a [u8],
    extensions: Vec<Extension<'a>>,
}

struct Extension<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads exactly one certificate. What a parser of certificates tells of names and extensions is not asked for here, and
    /// takes longer than all else.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let (_, whole, []) = tagged(SEQUENCE, der)? else { return None };
        let (signed, inner, rest) = tagged(SEQUENCE, whole)?;
        let (outer_algorithm, rest) = algorithm(rest)?;
        let (_, [0, signature @ ..], []) = tagged(BIT_STRING, rest)? else { return None };

        let (_, THIRD, rest) = tagged(VERSION, inner)? else { return None };
        let (_, serial, rest) = tagged(INTEGER, rest)?;
        let (inner_algorithm, rest) = algorithm(rest)?;
        let (issuer, rest) = name(rest)?;
        let (_, validity, rest) = tagged(SEQUENCE, rest)?;
        let (until, from) = ASN1Time::from_der(validity).ok()?;
        let ([], until) = ASN1Time::from_der(until).ok()? else { return None };
        let (subject, rest) = name(rest)?;
        let (_, key, rest) = tagged(SEQUENCE, rest)?;
        let (_, key) = algorithm(key)?;
        let (_, [0, key @ ..], []) = tagged(BIT_STRING, key)? else { return None };
        // No signature covers the algorithm outside of the signed part.
        (inner_algorithm == outer_algorithm).then_some(())?;
        Some(Self {
            der,
            signed,
            signature: Signature::of(inner_algorithm, signature),
            serial,
            issuer,
            subject,
            window: (unix(from), unix(until)),
            key,
            extensions: extensions(rest)?,
        })
    }

    /// As [`Certificate::parse`], for a certificate of `item`.
    pub(crate) fn of(item: Item, der: &'a [u8]) -> Result<Self, Error> {
        Self::parse(der).ok_or_else(|| Error::item(item, ItemFault::Chain, "a certificate is malformed"))
    }

    pub(crate) const fn der(&self) -> &'a [u8] {
        self.der
    }

    pub(crate) const fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// For people: the subject's common name, or all of the subject.
    pub(crate) fn common_name(&self) -> String {
        let subject = || X509Name::from_der(self.subject).map(|(_, name)| name.to_string());
        common_name(self.subject).or_else(|| subject().ok()).unwrap_or_default()
    }

    pub(super) const fn subject(&self) -> &'a [u8] {
        self.subject
    }

    /// The issuer's common name, if it has one.
    pub(crate) fn issuer_name(&self) -> Option<String> {
        common_name(self.issuer)
    }

    pub(super) const fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// The bits of the public key.
    pub(crate) const fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The content of an extension, if it is there; an error if it is there more than once.
    pub(crate) fn extension(&self, oid: &str) -> Result<Option<&'a [u8]>, ()> {
        self.unique(&oid.parse().map_err(|_| ())?)
    }

    fn unique(&self, oid: &Oid<'_>) -> Result<Option<&'a [u8]>, ()> {
        let mut found = self.extensions.iter().filter(|extension| extension.name == oid.as_bytes());
        match (found.next(), found.next()) {
            (found, None) => Ok(found.map(|extension| extension.value)),
            _ => Err(()),
        }
    }

    pub(super) fn is_ca(&self) -> bool {
        let constraints = self.unique(&OID_X509_EXT_BASIC_CONSTRAINTS).ok().flatten();
        constraints.is_some_and(|found| {
            BasicConstraints::from_der(found).is_ok_and(|(rest, found)| rest.is_empty() && found.ca)
        })
    }

    pub(super) fn is_signed_by(&self, issuer: &Certificate<'_>) -> bool {
        self.signature.as_ref().is_some_and(|signature| signature.is_by(issuer, self.signed))
    }

    /// Whether this certificate's key made a raw signature of r and s over `message`.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        crate::crypto::is_signed_raw(self.key, message, signature)
    }

    /// Not before, not after.
    pub(crate) const fn window(&self) -> (u64, u64) {
        self.window
    }
}

/// The identifier of an algorithm with its header, and what follows: a name and at most one parameter.
fn algorithm(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, identifier, rest) = tagged(SEQUENCE, der)?;
    let (_, _, parameter) = tagged(NAME, identifier)?;
    let fits = parameter.is_empty() || matches!(value(parameter), Some((_, _, [])));
    fits.then_some((whole, rest))
}

/// A distinguished name with its header, and what follows: a sequence of sets of attributes.
fn name(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, mut sets, rest) = tagged(SEQUENCE, der)?;
    while !sets.is_empty() {
        let (_, mut attributes, after) = tagged(SET, sets)?;
        while !attributes.is_empty() {
            let (_, attribute, next) = tagged(SEQUENCE, attributes)?;
            let (_, _, content) = tagged(NAME, attribute)?;
            let (tag, _, []) = value(content)? else { return None };
            (tag & CONSTRUCTED == 0).then_some(())?;
            attributes = next;
        }
        sets = after;
    }
    Some((whole, rest))
}

fn common_name(name: &[u8]) -> Option<String> {
    let (_, name) = X509Name::from_der(name).ok()?;
    Some(name.iter_common_name().next()?.as_str().ok()?.to_owned())
}

/// The last part of what is signed; it may be missing.
fn extensions(der: &[u8]) -> Option<Vec<Extension<'_>>> {
    if der.is_empty() {
        return Some(Vec::new());
    }
    let (_, sequence, []) = tagged(EXTENSIONS, der)? else { return None };
    let (_, mut rest, []) = tagged(SEQUENCE, sequence)? else { return None };
    let mut extensions = Vec::new();
    while !rest.is_empty() {
        let (_, extension, next) = tagged(SEQUENCE, rest)?;
        let (_, name, content) = tagged(NAME, extension)?;
        let content = match tagged(BOOLEAN, content) {
            Some((_, [_], content)) => content,
            Some(_) => return None,
            None => content,
        };
        let (_, value, []) = tagged(OCTET_STRING, content)? else { return None };
        extensions.push(Extension { name, value });
        rest = next;
    }
    Some(extensions)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use x509_parser::certificate::X509Certificate;

    use super::*;
    use crate::Collateral;
    use crate::pki::decode_pem;
    use crate::quote::Quote;
    use crate::samples::quotes_and_sets;

    /// Each certificate once.
    fn certificates() -> Vec<CertificateDer<'static>> {
        let (quotes, sets) = quotes_and_sets();
        let of_quote = |quote: &Vec<u8>| Some(Quote::parse(quote).ok()?.pck_chain.to_vec());
        let of_set = |set: &Collateral| {
            let set = set.items().unwrap();
            [&set.pck_crl_issuer_chain, &set.tcb_info_issuer_chain].map(|chain| chain.clone().into_bytes())
        };
        let chains = quotes.iter().filter_map(of_quote).chain(sets.iter().flat_map(of_set));
        let mut ders: Vec<_> = chains.flat_map(|chain| decode_pem(Item::Pck, &chain).unwrap()).collect();
        ders.sort_by(|a, b| a.as_ref().cmp(b));
        ders.dedup();
        ders
    }

    fn agrees(own: &Certificate<'_>, whole: &X509Certificate<'_>) -> bool {
        let [from, until] = [whole.validity().not_before, whole.validity().not_after];
        let extensions = || whole.extensions().iter();
        own.signed == whole.tbs_certificate.as_ref()
            && own.serial == whole.raw_serial()
            && own.issuer == whole.issuer().as_raw()
            && own.subject == whole.subject().as_raw()
            && own.window == (unix(from), unix(until))
            && own.key == whole.public_key().subject_public_key.data.as_ref()
            && own.extensions.len() == extensions().count()
            && own
                .extensions
                .iter()
                .zip(extensions())
                .all(|(own, extension)| own.name == extension.oid.as_bytes() && own.value == extension.value)
            && own.is_ca() == whole.is_ca()
            && whole.signature_algorithm == whole.tbs_certificate.signature
            && own
                .signature
                .as_ref()
                .is_none_or(|signature| signature.bytes == whole.signature_value.data.as_ref())
    }

    #[test]
    fn a_certificate_is_read_as_the_parser_of_certificates_reads_it_and_no_more_leniently() {
        let ders = certificates();
        assert!(ders.len() >= 4);
        for der in &ders {
            let own = Certificate::parse(der).unwrap();
            assert!(own.signature.is_some() && agrees(&own, &X509Certificate::from_der(der).unwrap().1));
            assert!((0..der.len()).all(|end| Certificate::parse(&der[..end]).is_none()));
            assert!(Certificate::parse(&[der, &[0][..]].concat()).is_none());
            for (at, bit) in (0..der.len()).flat_map(|at| [1, 2, 32, 128].map(|bit| (at, bit))) {
                let mut changed = der.to_vec();
                changed[at] ^= bit;
                let Some(own) = Certificate::parse(&changed) else { continue };
                let whole = X509Certificate::from_der(&changed);
                assert!(whole.is_ok_and(|(_, whole)| agrees(&own, &whole)), "byte {at}, bit {bit}");
            }
        }
    }

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        match u8::try_from(content.len()).unwrap() {
            short @ ..0x80 => [&[tag, short], content.as_slice()].concat(),
            length => [&[tag, 0x81, length], content.as_slice()].concat(),
        }
    }

    /// A certificate of this name with these extensions.
    fn certificate(name: &[u8], extensions: &[u8]) -> Vec<u8> {
        let algorithm = der(SEQUENCE, &[&[NAME, 1, 42]]);
        let date = [&[0x17, 13], &b"260101000000Z"[..]].concat();
        let bits = [BIT_STRING, 2, 0, 7];
        let inner = der(
            SEQUENCE,
            &[
                &der(VERSION, &[THIRD]),
                &[INTEGER, 1, 9],
                &algorithm,
                name,
                &der(SEQUENCE, &[&date, &date]),
                name,
                &der(SEQUENCE, &[&algorithm, &bits]),
                extensions,
            ],
        );
        der(SEQUENCE, &[&inner, &algorithm, &bits])
    }

    #[test]
    fn names_and_extensions_have_their_parts_and_nothing_else() {
        let [oid, text, critical, value] =
            [&[NAME, 1, 42][..], &[0x0c, 1, b'x'], &[BOOLEAN, 1, 0xff], &[OCTET_STRING, 1, 5]];
        let name = |attribute: &[&[u8]]| der(SEQUENCE, &[&der(SET, &[&der(SEQUENCE, attribute)])]);
        let extension = |parts: &[&[u8]]| der(SEQUENCE, parts);
        let all = |extensions: &[&[u8]]| der(EXTENSIONS, &[&der(SEQUENCE, extensions)]);
        let [good_name, plain] = [name(&[oid, text]), extension(&[oid, value])];

        let found = |extensions: &[&[u8]]| {
            let der = certificate(&good_name, &all(extensions));
            Certificate::parse(&der).unwrap().extension("1.2").map(|found| found.map(<[u8]>::to_vec))
        };
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[&plain]), Ok(Some(vec![5])));
        assert_eq!(found(&[&extension(&[oid, critical, value])]), Ok(Some(vec![5])));
        assert_eq!(found(&[&plain, &plain]), Err(()));
        assert!(Certificate::parse(&certificate(&good_name, &[])).is_some());

        let names: [&[&[u8]]; 4] = [&[oid], &[oid, text, text], &[text, oid], &[oid, &[0x2c, 0]]];
        for attribute in names {
            assert!(Certificate::parse(&certificate(&name(attribute), &[])).is_none(), "{attribute:02x?}");
        }
        let extensions: [&[&[u8]]; 6] = [
            &[oid],
            &[oid, critical],
            &[oid, &[BOOLEAN, 0], value],
            &[oid, &[BOOLEAN, 2, 0, 0], value],
            &[oid, value, value],
            &[value, oid],
        ];
        for parts in extensions {
            let der = certificate(&good_name, &all(&[&extension(parts)]));
            assert!(Certificate::parse(&der).is_none(), "{parts:02x?}");
        }
        for beside in
            [[all(&[&plain]), all(&[&plain])].concat(), der(EXTENSIONS, &[&der(SEQUENCE, &[]), &plain])]
        {
            assert!(Certificate::parse(&certificate(&good_name, &beside)).is_none(), "{beside:02x?}");
        }
    }
}
