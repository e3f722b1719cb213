//! Quotes, and the certificates in them.

use std::sync::LazyLock;

use bulla_attest::{Claims, CollateralId, Error, Outline, Verifier};
use bulla_tee::Identity;

use super::pki::{By, content, extension};
use super::{Good, NOW, PKI, loosest, pki, refused, split, verifier, verify};
use crate::edits::Script;

/// It has seen all quotes before this one.
static REMEMBERING: LazyLock<Verifier> = LazyLock::new(verifier);

/// Judges a quote. The first byte says which, and what the rest is:
///
/// | byte / 3 | |
/// |---|---|
/// | 0 | the quote |
/// | 1 | edits to a good one |
/// | 2 | edits to header and report, signed |
/// | 3 | edits to the QE's report, signed |
/// | 4 | edits to the QE's authentication data, hashed and signed |
pub fn quote(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let (good, how) = split(which);
    let mut evidence = good.evidence.clone();
    let script = Script::new(rest);
    let quote = match how % 5 {
        0 => rest.to_vec(),
        1 => {
            let mut quote = evidence.quote(&PKI);
            script.edit(&mut quote);
            quote
        }
        part => {
            let part = match part {
                2 => &mut evidence.signed,
                3 => &mut evidence.qe_report,
                _ => &mut evidence.auth,
            };
            script.edit(part);
            if evidence.auth.len() > usize::from(u16::MAX) {
                return false;
            }
            evidence.quote(&PKI)
        }
    };
    let Some(claims) = judge(&quote, good) else { return false };
    assert_eq!(claims.platform, good.claims.platform, "another machine");
    if how % 5 == 2 {
        check_report(&claims, &evidence.signed);
    } else {
        assert_eq!((&claims.identity, claims.report_data), (&good.claims.identity, good.claims.report_data));
    }
    if how % 5 < 2 {
        assert_eq!(claims, good.claims, "a change that nobody signed");
    }
    true
}

/// Judges a quote with another PCK chain. The first byte says of which quote, and what the rest is:
///
/// | byte / 3 | |
/// |---|---|
/// | 0 | the chain |
/// | 1 | edits to a good one |
/// | 2 | edits to Intel's extension of the PCK certificate, signed |
/// | 3 | edits to the PCK certificate, signed |
/// | 4 | edits to the certificate of its authority, signed |
pub fn pck(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let (good, how) = split(which);
    let mut evidence = good.evidence.clone();
    let edited = |mut bytes: Vec<u8>| {
        Script::new(rest).edit(&mut bytes);
        bytes
    };
    let leaf = || PKI.leaf(extension());
    let mut certificate = Vec::new();
    evidence.chain = match how % 5 {
        0 => rest.to_vec(),
        1 => edited(evidence.chain),
        2 => {
            certificate = PKI.leaf(edited(extension()));
            PKI.chain(&certificate, &PKI.ca())
        }
        3 => {
            certificate = PKI.signed(&edited(content(&leaf()).to_vec()), By::Ca);
            PKI.chain(&certificate, &PKI.ca())
        }
        _ => PKI.chain(&leaf(), &PKI.signed(&edited(content(&PKI.ca()).to_vec()), By::Root)),
    };
    let Some(claims) = judge(&evidence.quote(&PKI), good) else { return false };
    let platform = claims.platform.intel().unwrap();
    assert_eq!(platform.fmspc, pki::FMSPC, "collateral for another platform");
    if certificate.is_empty() {
        assert_eq!(claims.platform, good.claims.platform, "another machine");
    } else {
        let names = [&platform.ppid[..], &platform.cpusvn];
        assert!(
            names.iter().all(|name| certificate.windows(16).any(|found| found == *name)),
            "out of nothing"
        );
    }
    assert_eq!((&claims.identity, claims.report_data), (&good.claims.identity, good.claims.report_data));
    true
}

/// The verdict, by everything that reads quotes.
fn judge(quote: &[u8], good: &Good) -> Option<Claims> {
    let verdict = verify(quote, &good.collateral);
    let remembered = REMEMBERING.verify(quote, &good.collateral, NOW, &loosest());
    assert_eq!(
        remembered.as_ref().map_err(Error::code),
        verdict.as_ref().map_err(Error::code),
        "by what is remembered"
    );
    let id = CollateralId::of_quote(quote);
    let outline = Outline::of(quote, Some(&good.collateral));
    for error in id.as_ref().err().into_iter().chain(outline.as_ref().err()) {
        refused(error);
    }
    match verdict {
        Ok(claims) => {
            assert!(id.is_ok() && outline.is_ok(), "verified, and not to be read");
            Some(claims)
        }
        Err(error) => {
            refused(&error);
            None
        }
    }
}

/// What the claims say is what the bytes say, and nothing that no policy takes.
fn check_report(claims: &Claims, signed: &[u8]) {
    let body = &signed[if signed[0] == 5 { 54 } else { 48 }..];
    match &claims.identity {
        Identity::Sgx(enclave) => {
            assert_eq!(body.len(), 384);
            assert_eq!(enclave.mrenclave, body[64..96]);
            assert_eq!(enclave.mrsigner, body[128..160]);
            assert_eq!(enclave.isv_svn.to_le_bytes(), body[258..260]);
            assert_eq!(claims.report_data, body[320..]);
            assert_eq!(body[48] & 2, 0, "debug");
        }
        Identity::Tdx(guest) => {
            // The body type of a quote of version 5 is signed, and can be that of TD report 1.0.
            assert!(matches!((signed[0], body.len()), (4 | 5, 584) | (5, 648)));
            assert_eq!(guest.mrtd, body[136..184]);
            assert_eq!(guest.rtmr.concat(), body[328..520]);
            assert_eq!(guest.mrconfigid, body[184..232]);
            assert_eq!(guest.attributes.to_le_bytes(), body[120..128]);
            assert_eq!(claims.report_data, body[520..584]);
            assert_eq!(body[120], 0, "debug");
            assert_eq!(body[123] & 0x30, 0x10, "pages can vanish, or the guest move");
        }
        other => panic!("{other:?}"),
    }
}
