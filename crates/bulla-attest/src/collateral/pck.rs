//! Intel's extension in a PCK certificate (Intel SGX PCK Certificate and Certificate Revocation List Profile
//! Specification, section 1.3.5).

use x509_parser::asn1_rs::{Oid, oid};

use crate::der::{NAME, SEQUENCE, value};
use crate::pki::Certificate;

/// The extension; the names of all that is in it begin with this one.
const SGX: &str = "1.2.840.113741.1.13.1";
const PPID: Oid<'static> = oid!(1.2.840.113741.1.13.1.1);
const TCB: Oid<'static> = oid!(1.2.840.113741.1.13.1.2);
const PCEID: Oid<'static> = oid!(1.2.840.113741.1.13.1.3);
const FMSPC: Oid<'static> = oid!(1.2.840.113741.1.13.1.4);
const SGX_TYPE: Oid<'static> = oid!(1.2.840.113741.1.13.1.5);
const PLATFORM_INSTANCE_ID: Oid<'static> = oid!(1.2.840.113741.1.13.1.6);
const CONFIGURATION: Oid<'static> = oid!(1.2.840.113741.1.13.1.7);
const FLAGS: [Oid<'static>; 3] =
    [oid!(1.2.840.113741.1.13.1.7.1), oid!(1.2.840.113741.1.13.1.7.2), oid!(1.2.840.113741.1.13.1.7.3)];
const PCESVN: Oid<'static> = oid!(1.2.840.113741.1.13.1.2.17);
const CPUSVN: Oid<'static> = oid!(1.2.840.113741.1.13.1.2.18);

/// What the extension says of the platform.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PckExtension<'a> {
    pub(crate) ppid: Vec<u8>,
    pub(crate) cpu_svn: [u8; 16],
    pub(crate) pce_svn: u16,
    pub(crate) pce_id: &'a [u8],
    pub(crate) fmspc: [u8; 6],
    pub(crate) platform_instance_id: Option<&'a [u8]>,
}

impl<'a> PckExtension<'a> {
    /// Reads the extension of a certificate; none where it is missing or malformed.
    pub(crate) fn of(certificate: &Certificate<'a>) -> Option<Self> {
        let (SEQUENCE, content, []) = value(certificate.extension(SGX).ok()??)? else {
            return None;
        };
        let all = entries(content)?;
        let (tcb, configuration) = (inner(&all, &TCB)?, inner(&all, &CONFIGURATION)?);
        let is_flag = |name| find(&configuration, name).is_none_or(|value| value.len() == 1);
        if !FLAGS.iter().all(is_flag) {
            return None;
        }
        small(find(&all, &SGX_TYPE)?)?;
        Some(Self {
            ppid: find(&all, &PPID)?.to_vec(),
            cpu_svn: find(&tcb, &CPUSVN)?.try_into().ok()?,
            pce_svn: small(find(&tcb, &PCESVN)?)?,
            pce_id: find(&all, &PCEID)?,
            fmspc: find(&all, &FMSPC)?.try_into().ok()?,
            platform_instance_id: find(&all, &PLATFORM_INSTANCE_ID),
        })
    }
}

/// A name, and the tag and the content of its value.
struct Entry<'a> {
    name: &'a [u8],
    tag: u8,
    value: &'a [u8],
}

/// A sequence of sequences, each of a name and a value; this is the content of the outer one.
fn entries(mut content: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !content.is_empty() {
        let (SEQUENCE, entry, rest) = value(content)? else { return None };
        let (NAME, name, after) = value(entry)? else { return None };
        let (tag, value, []) = value(after)? else { return None };
        entries.push(Entry { name, tag, value });
        content = rest;
    }
    Some(entries)
}

fn find<'a>(entries: &[Entry<'a>], name: &Oid<'_>) -> Option<&'a [u8]> {
    entries.iter().find(|entry| entry.name == name.as_bytes()).map(|entry| entry.value)
}

/// A sequence among the values; none where it is something else, and empty where it is not there.
fn inner<'a>(entries: &[Entry<'a>], name: &Oid<'_>) -> Option<Vec<Entry<'a>>> {
    match entries.iter().find(|entry| entry.name == name.as_bytes()) {
        Some(Entry { tag: SEQUENCE, value, .. }) => self::entries(value),
        Some(_) => None,
        None => Some(Vec::new()),
    }
}

/// A number of one byte or two.
fn small(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [low] => Some(low.into()),
        [high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Engine;
    use crate::error::Item;
    use crate::pki::decode_pem;
    use crate::quote::Quote;
    use crate::samples::quotes_and_sets;

    fn of_library(der: &[u8]) -> Option<dcap_qvl::intel::PckExtension> {
        dcap_qvl::intel::parse_pck_extension_with::<Engine>(der).ok()
    }

    fn agrees(own: &PckExtension<'_>, library: &dcap_qvl::intel::PckExtension) -> bool {
        own.ppid == library.ppid
            && own.cpu_svn == library.cpu_svn
            && own.pce_svn == library.pce_svn
            && own.pce_id == library.pce_id
            && own.fmspc == library.fmspc
            && own.platform_instance_id == library.platform_instance_id.as_deref()
    }

    #[test]
    fn it_is_read_as_the_verification_library_reads_it_and_no_more_leniently() {
        for bytes in quotes_and_sets().0 {
            let Ok(quote) = Quote::parse(&bytes) else { continue };
            let chain = decode_pem(Item::Pck, quote.pck_chain).unwrap();
            let leaf = Certificate::parse(&chain[0]).unwrap();
            let own = PckExtension::of(&leaf).unwrap();
            assert!(agrees(&own, &of_library(leaf.der()).unwrap()));

            let extension = leaf.extension(SGX).unwrap().unwrap();
            let from = extension.as_ptr().addr() - leaf.der().as_ptr().addr();
            for (at, bit) in
                (from..from + extension.len()).flat_map(|at| [1, 2, 32, 128].map(|bit| (at, bit)))
            {
                let mut changed = leaf.der().to_vec();
                changed[at] ^= bit;
                let changed = Certificate::parse(&changed);
                let Some(own) = changed.as_ref().and_then(PckExtension::of) else { continue };
                let library = of_library(changed.as_ref().unwrap().der());
                assert!(library.is_some_and(|library| agrees(&own, &library)), "byte {at}, bit {bit}");
            }
        }
    }
}
