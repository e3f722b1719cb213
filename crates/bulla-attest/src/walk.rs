//! The walk over a quote's whole path, which alone accepts: certificates, revocation, documents, QE report, quote, levels.
//!
//! The verification library walks SGX quotes of version 3 and TDX quotes. It refuses SGX quotes of versions 4 and 5 by their
//! version alone, though what they say and who signs it are the same. Those are walked here in its place. Our own checks
//! came before, with all signatures, dates and what belongs together; what is left of its walk are the paths, by the same
//! path builder, and what it judges of quoting enclave, levels and enclave. The tests compare the versions with each other.

use std::time::Duration;

use bulla_tee::sgx::arch::{ReportBody, flags};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::CryptoProvider;
use dcap_qvl::verify::QuoteVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use crate::check::{Checked, PCK, SIGNER};
use crate::collateral::{Chains, read_before};
use crate::crypto::Engine;
use crate::error::Item;
use crate::explain;
use crate::pki::{BEGIN, Certificate, Crl, END, Shape, decode_pem};
use crate::quote::{Body, Quote};
use crate::{Collateral, Tcb, TcbStatus};

/// How many bytes a quoting enclave vouches for beside its key (Intel SGX ECDSA QuoteLibReference).
const AUTH_DATA: usize = 32;

/// How a certificate begins, with a header that means nothing (RFC 1421, section 4.4).
const HEADED: &str = "-----BEGIN CERTIFICATE-----\nHeaders: 1\n\n";

/// What a platform's TCB is, of a quote that passed our own checks; its shortfalls are left to the caller. Where it is refused,
/// the library's sentence or one like it, for who finds no better reason.
pub(crate) fn walk(
    quote: &Quote<'_>,
    checked: &Checked,
    collateral: &Collateral,
    now: u64,
) -> Result<Tcb, String> {
    match (&quote.body, quote.version()) {
        (Body::Sgx(enclave), 4 | 5) => {
            check_paths(quote, checked, collateral, now)?;
            in_parts(quote, checked, enclave)
        }
        _ => by_library(quote, checked, collateral, now),
    }
}

/// The library refuses debug, migration, reserved attributes and a cleared SEPT_VE_DISABLE by itself, as our policy does;
/// service TDs are left to our policy, which knows their hashes.
fn by_library(
    quote: &Quote<'_>,
    checked: &Checked,
    collateral: &Collateral,
    now: u64,
) -> Result<Tcb, String> {
    let set = collateral.items().map_err(text)?;
    let pck_chain = str::from_utf8(quote.pck_chain).map_err(text)?;
    // It knows the root, and takes long over every certificate in PEM.
    let set = QuoteCollateralV3 {
        tcb_info_issuer_chain: below_root(&set.tcb_info_issuer_chain, SIGNER),
        qe_identity_issuer_chain: below_root(&set.qe_identity_issuer_chain, SIGNER),
        pck_certificate_chain: Some(below_root(pck_chain, PCK)),
        ..set.clone()
    };
    let verified = QuoteVerifier::<Engine>::new_with_config(checked.root.clone())
        .allow_service_td(true)
        .verify(quote.bytes, &set, now)
        .map_err(|error| format!("{error:#}"))?;
    Ok(Tcb {
        status: verified.status.parse().map_err(text)?,
        advisory_ids: verified.advisory_ids,
        evaluation_data_number: checked.evaluation_number(),
        qe_status: verified.qe_status.status.into(),
        shortfalls: Vec::new(),
    })
}

/// The text of a chain that was walked as one of this shape, without its root. Each certificate has a header, because the
/// library looks for the end of headers up to the end of a certificate that has none, twice.
fn below_root(chain: &str, shape: Shape) -> String {
    let below: String = chain.split_inclusive(END).take(shape.below).collect();
    let has_headers = below.contains("\n\n") || below.contains("\r\n\r\n");
    if has_headers { below } else { below.replace(BEGIN, HEADED) }
}

/// What the library's walk asks of quoting enclave, levels and enclave.
fn in_parts(quote: &Quote<'_>, checked: &Checked, enclave: &ReportBody) -> Result<Tcb, String> {
    if quote.qe_auth_data.len() != AUTH_DATA {
        return Err(format!("the quoting enclave vouches for other than {AUTH_DATA} bytes beside the key"));
    }
    let tcb = explain::tcb(quote, checked).map_err(text)?;
    if tcb.status == TcbStatus::Revoked {
        return Err("the platform's TCB is revoked".into());
    }
    if enclave.attributes.flags & flags::DEBUG != 0 {
        return Err("the enclave was started for debugging".into());
    }
    Ok(tcb)
}

/// The paths from both signers and from the PCK to the root, by the library's rules for certificates and lists (RFC 5280):
/// extensions, uses, lengths and revocation along the whole path, of which our own checks know less.
fn check_paths(
    quote: &Quote<'_>,
    checked: &Checked,
    collateral: &Collateral,
    now: u64,
) -> Result<(), String> {
    let set = collateral.items().map_err(text)?;
    let read = collateral.read().map_err(text)?;
    let root = CertificateDer::from_slice(&checked.root);
    let own = Certificate::of(Item::RootCrl, &checked.root).map_err(text)?;
    let root_crl =
        read_before(&read.root_crl, || Crl::parse(Item::RootCrl, &set.root_ca_crl)).map_err(text)?;
    root_crl.check_revoked("the root", &own).map_err(text)?;

    let crl = |der| OwnedCertRevocationList::from_der(der).map(CertRevocationList::from).map_err(text);
    let lists = [crl(&set.root_ca_crl)?, crl(&set.pck_crl)?];
    let lists = lists.each_ref();
    let anchor = [anchor_from_trusted_cert(&root).map_err(text)?];
    let chains = read_before(&read.chains, || Chains::decode(set)).map_err(text)?;
    let pck = decode_pem(Item::Pck, quote.pck_chain).map_err(text)?;
    for chain in [&chains.tcb_info, &chains.qe_identity, &pck] {
        let (leaf, above) = chain.split_first().ok_or("a chain is empty")?;
        let revocation = RevocationOptionsBuilder::new(&lists)
            .expect("there are lists")
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
                let (algorithm, usage) = (Engine::sig_algo(), KeyUsage::server_auth());
                leaf.verify_for_usage(&[algorithm], &anchor, above, now, usage, Some(revocation), None)
                    .map(drop)
            })
            .map_err(text)?;
    }
    Ok(())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_given_a_header_where_what_it_has_is_not_taken_for_one() {
        let chain = |breaks: &str| {
            ["A", "B", "C"].map(|text| [BEGIN, "\n", text, breaks, END, "\n"].concat()).concat()
        };
        let headed = "-----BEGIN CERTIFICATE-----\nHeaders: 1\n\n\nA\n-----END CERTIFICATE-----";
        assert_eq!(below_root(&chain("\n"), SIGNER), headed);
        let headed = below_root(&chain("\n"), PCK);
        assert_eq!([headed.matches(HEADED).count(), headed.matches(END).count()], [2, 2]);
        for breaks in ["\n\n", "\r\n\r\n"] {
            let below = below_root(&chain(breaks), PCK);
            assert!(chain(breaks).starts_with(&below) && below.matches(END).count() == 2, "{breaks:?}");
        }
    }
}
