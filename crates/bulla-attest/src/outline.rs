//! What evidence claims, before anything of it is verified: for people who want to see what they have.

use bulla_tee::Identity;
use rustls_pki_types::CertificateDer;

use crate::collateral::{Chains, pck_leaf};
use crate::document::Head;
use crate::error::{Item, ItemFault};
use crate::pki::{Certificate, Crl, decode_pem};
use crate::quote::Quote;
use crate::snp::{SnpReport, looks_like_report};
use crate::verify::{identity, report_data};
use crate::{Collateral, Error};

/// What evidence claims, and who it says signed what. **Nothing of it is verified**: whoever made the bytes chose them.
///
/// ```
/// use bulla_attest::Outline;
///
/// assert_eq!(Outline::of(b"", None).unwrap_err().code(), "parse.truncated");
/// ```
#[derive(Clone, Debug)]
pub struct Outline {
    /// What kind of evidence it is, for example `TDX quote`.
    pub kind: String,
    /// The version of its format.
    pub version: u32,
    /// Who is said to run; none for a SEV-SNP report that does not say of which processor family it is.
    pub identity: Option<Identity>,
    /// What it is said to be made for.
    pub report_data: [u8; 64],
    /// The QE ID of a quote's header, which the host chooses.
    pub qe_id: Option<[u8; 16]>,
    /// Who is said to have signed what: a tree for each root that is named, of which there should be one.
    pub signers: Vec<Signer>,
}

/// Something that is signed, and what it signs in turn.
#[derive(Clone, Debug)]
pub struct Signer {
    /// A certificate's common name, or what kind of thing it is.
    pub name: String,
    /// What tells it from others of its name.
    pub detail: String,
    /// From when and until when it is said to be good, in Unix seconds.
    pub window: Option<(u64, u64)>,
    /// What it is said to have signed.
    pub signs: Vec<Self>,
    /// SHA-256 of its bytes: the same thing is named in several chains.
    id: [u8; 32],
}

impl Outline {
    /// Reads a quote or a SEV-SNP report, and what belongs to it if that is at hand.
    ///
    /// # Errors
    /// `parse.*`, `snp.*` and `pck.no_chain` as in verification; `….chain` and `….parse` for a certificate, list or document that
    /// cannot be read; `collateral.wrong_kind` for that of the other vendor.
    pub fn of(evidence: &[u8], collateral: Option<&Collateral>) -> Result<Self, Error> {
        if looks_like_report(evidence) {
            Self::of_report(evidence, collateral)
        } else {
            Self::of_quote(evidence, collateral)
        }
    }

    fn of_quote(quote: &[u8], collateral: Option<&Collateral>) -> Result<Self, Error> {
        let quote = Quote::parse(quote)?;
        let version = quote.version();
        let mut signers = Vec::new();
        graft(&mut signers, quote_path(&quote, version)?);
        for path in collateral.map(collateral_paths).transpose()?.into_iter().flatten() {
            graft(&mut signers, path);
        }
        Ok(Self {
            kind: format!("{} quote", quote.body.tee().name()),
            version: version.into(),
            identity: Some(identity(&quote.body)),
            report_data: report_data(&quote.body),
            qe_id: quote.header.user_data.first_chunk().copied(),
            signers,
        })
    }

    fn of_report(report: &[u8], collateral: Option<&Collateral>) -> Result<Self, Error> {
        let bytes = report;
        let report = SnpReport::parse(bytes)?;
        let of_reports = |collateral: &'_ Collateral| {
            collateral
                .snp_set()
                .cloned()
                .ok_or(Error::CollateralKind { wanted: "a SEV-SNP report", found: "a quote" })
        };
        let set = collateral.map(of_reports).transpose()?;
        let (kind, version) = ("SEV-SNP report", report.raw.version.get());
        let mut path = match &set {
            Some(set) => certificates(Item::SnpChain, &set.chain()?)?,
            None => vec![Signer::new(report.signer.as_str(), "its certificate is collateral", None, b"")],
        };
        let root = path.first().cloned();
        path.push(Signer::new(kind, format!("version {version}"), None, bytes));
        let mut signers = Vec::new();
        graft(&mut signers, path);
        if let Some(crl) = set.as_ref().and_then(|set| set.crl()) {
            graft(&mut signers, root.into_iter().chain([list(Item::SnpCrl, crl)?]).collect());
        }
        let identity = report.product().map(|product| report.identity(product)).transpose()?;
        Ok(Self {
            kind: kind.into(),
            version,
            identity: identity.map(|identity| Identity::Snp(Box::new(identity))),
            report_data: report.raw.report_data,
            qe_id: None,
            signers,
        })
    }
}

impl Signer {
    fn new(
        name: impl Into<String>,
        detail: impl Into<String>,
        window: Option<(u64, u64)>,
        bytes: &[u8],
    ) -> Self {
        let id = bulla_crypto::sha256(&[bytes]);
        Self { name: name.into(), detail: detail.into(), window, signs: Vec::new(), id }
    }
}

/// Puts a path, root first, where it belongs.
fn graft(signers: &mut Vec<Signer>, path: Vec<Signer>) {
    let mut place = signers;
    for signer in path {
        let index = place.iter().position(|known| known.id == signer.id).unwrap_or_else(|| {
            place.push(signer);
            place.len() - 1
        });
        let Some(known) = place.get_mut(index) else { return };
        place = &mut known.signs;
    }
}

/// Root, PCK CA, PCK certificate, quoting enclave, attestation key, quote.
fn quote_path(quote: &Quote<'_>, version: u16) -> Result<Vec<Signer>, Error> {
    let mut path = certificates(Item::Pck, &decode_pem(Item::Pck, quote.pck_chain)?)?;
    let qe = &quote.qe_report;
    let key = format!("SHA-256 {}", hex::encode(bulla_crypto::sha256(&[quote.attestation_key])));
    let detail = format!("MRSIGNER {}, ISVSVN {}", hex::encode(qe.mrsigner), qe.isv_svn);
    path.push(Signer::new("quoting enclave", detail, None, quote.qe_report_bytes));
    path.push(Signer::new("attestation key", key, None, quote.attestation_key));
    let name = format!("{} quote", quote.body.tee().name());
    path.push(Signer::new(name, format!("version {version}"), None, quote.signed));
    Ok(path)
}

fn collateral_paths(collateral: &Collateral) -> Result<Vec<Vec<Signer>>, Error> {
    let set = collateral.items()?;
    let chains = Chains::decode(set)?;
    let mut paths = Vec::new();
    for (item, chain, text) in [
        (Item::TcbInfo, &chains.tcb_info, &set.tcb_info),
        (Item::QeIdentity, &chains.qe_identity, &set.qe_identity),
    ] {
        let head = Head::parse(item, text)?;
        let mut path = certificates(item, chain)?;
        let detail = [head.id.as_str(), &head.fmspc].join(" ").trim_end().to_owned();
        path.push(Signer::new(item.to_string(), detail, Some(head.window(item)?), text.as_bytes()));
        paths.push(path);
    }
    let mut path = certificates(Item::PckCrl, &chains.pck_crl)?;
    let root = path.first().cloned();
    path.push(list(Item::PckCrl, &set.pck_crl)?);
    paths.push(path);
    paths.push(root.into_iter().chain([list(Item::RootCrl, &set.root_ca_crl)?]).collect());
    Ok(paths)
}

/// The certificates of a chain, root first.
fn certificates(item: Item, chain: &[CertificateDer<'static>]) -> Result<Vec<Signer>, Error> {
    let malformed = || Error::item(item, ItemFault::Chain, "a certificate is malformed");
    let certificate = |der: &CertificateDer<'static>| {
        let certificate = Certificate::parse(der).ok_or_else(malformed)?;
        let detail = match pck_leaf(&certificate) {
            Some((pck, _)) => format!("PPID {}, FMSPC {}", hex::encode(&pck.ppid), hex::encode(pck.fmspc)),
            None => format!("serial {}", hex::encode(certificate.serial())),
        };
        Ok(Signer::new(certificate.common_name(), detail, Some(certificate.window()), der))
    };
    chain.iter().rev().map(certificate).collect()
}

fn list(item: Item, der: &[u8]) -> Result<Signer, Error> {
    let list = Crl::parse(item, der)?;
    let detail = format!("{} certificates revoked", list.len());
    Ok(Signer::new(item.to_string(), detail, Some(list.window()), der))
}
