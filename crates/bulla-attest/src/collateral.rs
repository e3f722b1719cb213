//! What a verifier needs besides the evidence. For a quote: TCB info, QE identity and revocation lists, with their issuers.
//! For a SEV-SNP report: the certificates of its key, and a revocation list.
//!
//! A [`Collateral`] is a set of items for one kind of platform ([`CollateralId`]). What a set that verified says about
//! itself is in its [`Facts`], and a [`Floor`] holds the newest editions that were seen, below which nothing is accepted
//! any more. A [`Bundle`] carries sets to where no service can be reached.

mod bundle;
mod chain;
mod facts;
mod floor;
mod item;
mod pck;
mod piece;
#[cfg(feature = "pcs")]
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::json;

use crate::Error;
use crate::document::Head;
use crate::error::{Item, ItemFault};
use crate::levels::highest_first;
use crate::pki::{Certificate, Crl, decode_pem};
use crate::quote::Quote;
use crate::snp::{AmdCollateralId, SnpSet, looks_like_report};

pub use bundle::Bundle;
use chain::Asked;
pub use facts::{Facts, ItemFacts};
pub use floor::{Floor, Minimum};
#[cfg(feature = "pcs")]
pub(crate) use item::lower;
pub use item::{Edition, ItemId, UnknownItem};
pub(crate) use pck::PckExtension;
pub(crate) use piece::Piece;
#[cfg(feature = "pcs")]
pub use store::{Directory, Failure, FloorMemory, Imported, ItemStatus, SetStatus, Status, Store};

/// One set of collateral, complete but not verified: [`Verifier::verify`](crate::Verifier::verify) does that.
///
/// ```
/// let error = bulla_attest::Collateral::from_json(b"{}").unwrap_err();
/// assert_eq!(error.code(), "collateral.incomplete");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collateral(Set);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    Intel(Box<IntelSet>),
    Amd(SnpSet),
}

#[derive(Clone, Debug)]
struct IntelSet {
    items: QuoteCollateralV3,
    digest: [u8; 32],
    /// When it is first needed.
    read: OnceLock<Read>,
    facts: OnceLock<Option<Facts>>,
}

impl PartialEq for IntelSet {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl Eq for IntelSet {}

impl Collateral {
    /// The largest set that is read, in bytes of JSON (R31). Real sets have 14 to 24 KiB.
    pub const LIMIT: usize = 1 << 20;

    /// Reads the layout of `dcap-qvl`: one object with `tcb_info` and `qe_identity` (the exact signed text), their
    /// `…_signature` (64 bytes, hex) and `…_issuer_chain` (PEM, leaf first), `pck_crl` and `root_ca_crl` (DER, hex) and
    /// `pck_crl_issuer_chain`. A `pck_certificate_chain` is allowed and dropped: the chain in the quote is judged.
    ///
    /// For a SEV-SNP report, the object has `snp_leaf` (the VCEK or VLEK; DER, hex), `snp_issuer_chain` (PEM: ASK or ASVK, then
    /// ARK) and `snp_crl` (DER, hex), and nothing else. The list may be left out; then only a policy that says so accepts.
    ///
    /// # Errors
    /// `collateral.too_large`, `collateral.parse` (also for unknown and for duplicate keys, R19) and
    /// `collateral.incomplete` (R17).
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        if json.len() > Self::LIMIT {
            return Err(Error::CollateralTooLarge(json.len()));
        }
        let layout: Layout =
            serde_json::from_slice(json).map_err(|e| Error::collateral_parse(e.to_string()))?;
        let text = |name, item: Option<String>| item.ok_or(Error::CollateralIncomplete(name));
        let bytes = |name, item| {
            let not_hex = |e| Error::CollateralParse(format!("{name} is not hex: {e}"));
            text(name, item).and_then(|digits| hex::decode(digits).map_err(not_hex))
        };
        let snp = (&layout.snp_leaf, &layout.snp_issuer_chain, &layout.snp_crl);
        if !matches!(snp, (None, None, None)) {
            return layout.snp();
        }
        Ok(Self::intel(QuoteCollateralV3 {
            pck_crl_issuer_chain: text("pck_crl_issuer_chain", layout.pck_crl_issuer_chain)?,
            root_ca_crl: bytes("root_ca_crl", layout.root_ca_crl)?,
            pck_crl: bytes("pck_crl", layout.pck_crl)?,
            tcb_info_issuer_chain: text("tcb_info_issuer_chain", layout.tcb_info_issuer_chain)?,
            tcb_info: text("tcb_info", layout.tcb_info)?,
            tcb_info_signature: bytes("tcb_info_signature", layout.tcb_info_signature)?,
            qe_identity_issuer_chain: text("qe_identity_issuer_chain", layout.qe_identity_issuer_chain)?,
            qe_identity: text("qe_identity", layout.qe_identity)?,
            qe_identity_signature: bytes("qe_identity_signature", layout.qe_identity_signature)?,
            pck_certificate_chain: None,
        }))
    }

    /// A set for a SEV-SNP report: the DER of its VCEK or VLEK, the PEM of ASK or ASVK and ARK as the key distribution service
    /// returns it, and the DER of the revocation list.
    pub fn snp(leaf: Vec<u8>, issuer_chain: String, crl: Option<Vec<u8>>) -> Self {
        Self(Set::Amd(SnpSet { leaf, issuer_chain, crl }))
    }

    /// A set for a SEV-SNP report from the certificate table that the machine's host hands to its guest with the report (an
    /// extended report, or `auxblob` of configfs-tsm): so does a VLEK travel, which nobody else gives out.
    ///
    /// # Errors
    /// `collateral.too_large`, `collateral.parse`, and `collateral.incomplete` without VCEK or VLEK, ASK or ASVK, or ARK.
    pub fn from_certificate_table(table: &[u8]) -> Result<Self, Error> {
        Ok(Self(Set::Amd(SnpSet::from_table(table)?)))
    }

    /// The same layout again.
    pub fn to_json(&self) -> String {
        let json = match &self.0 {
            Set::Intel(set) => serde_json::to_string(&set.items),
            Set::Amd(set) => serde_json::to_string(&json!({
                "snp_leaf": hex::encode(&set.leaf),
                "snp_issuer_chain": set.issuer_chain,
                "snp_crl": set.crl.as_ref().map(hex::encode),
            })),
        };
        json.expect("text and hex are JSON")
    }

    /// The latest issue of any item or certificate, in Unix seconds: before it the set does not verify.
    /// Read from unverified bytes.
    ///
    /// # Errors
    /// `….parse` or `….chain` if an item cannot be read.
    pub fn valid_from(&self) -> Result<u64, Error> {
        Ok(self.windows()?.into_iter().map(|(from, _)| from).max().unwrap_or(u64::MAX))
    }

    /// The earliest next update or end of any item or certificate, in Unix seconds: from then on the set does not
    /// verify, so it is how long to keep the set. Read from unverified bytes.
    ///
    /// # Errors
    /// As [`Collateral::valid_from`].
    pub fn valid_until(&self) -> Result<u64, Error> {
        Ok(self.windows()?.into_iter().map(|(_, until)| until).min().unwrap_or(0))
    }

    /// For which kind of quotes a set says it is. Nothing of it is verified.
    ///
    /// # Errors
    /// `tcb_info.*`, `qe_identity.*` and `pck_crl.*` if it cannot be read; `collateral.wrong_kind` for a SEV-SNP report's set.
    pub fn intel_id(&self) -> Result<CollateralId, Error> {
        Ok(*self.facts()?.id())
    }

    /// A set for a quote, put together from its items.
    pub(crate) fn intel(items: QuoteCollateralV3) -> Self {
        let parts: [&[u8]; 9] = [
            items.pck_crl_issuer_chain.as_bytes(),
            &items.root_ca_crl,
            &items.pck_crl,
            items.tcb_info_issuer_chain.as_bytes(),
            items.tcb_info.as_bytes(),
            &items.tcb_info_signature,
            items.qe_identity_issuer_chain.as_bytes(),
            items.qe_identity.as_bytes(),
            &items.qe_identity_signature,
        ];
        let mut hasher = bulla_crypto::Sha256::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(Set::Intel(Box::new(IntelSet {
            items,
            digest: hasher.finish(),
            read: OnceLock::new(),
            facts: OnceLock::new(),
        })))
    }

    /// The set for a quote.
    pub(crate) fn items(&self) -> Result<&QuoteCollateralV3, Error> {
        self.intel_set().map(|set| &set.items)
    }

    /// What was read from the set for a quote.
    pub(crate) fn read(&self) -> Result<&Read, Error> {
        self.intel_set().map(|set| set.read.get_or_init(|| Read::new(&set.items)))
    }

    /// What the set for a quote says about itself.
    pub(crate) fn facts(&self) -> Result<&Facts, Error> {
        match self.intel_set()?.facts.get_or_init(|| Facts::of_intel(self).ok()) {
            Some(facts) => Ok(facts),
            None => {
                Err(Facts::of_intel(self).err().unwrap_or(Error::CollateralIncomplete("a readable item")))
            }
        }
    }

    /// SHA-256 over every item of the set for a quote, with its length: equal for equal sets, and for no others.
    pub(crate) fn digest(&self) -> Result<&[u8; 32], Error> {
        self.intel_set().map(|set| &set.digest)
    }

    fn intel_set(&self) -> Result<&IntelSet, Error> {
        match &self.0 {
            Set::Intel(set) => Ok(set),
            Set::Amd(_) => Err(Error::CollateralKind { wanted: "a quote", found: "a SEV-SNP report" }),
        }
    }

    /// The set for a SEV-SNP report, if it is one.
    pub(crate) fn snp_set(&self) -> Option<&SnpSet> {
        match &self.0 {
            Set::Intel(_) => None,
            Set::Amd(set) => Some(set),
        }
    }

    fn windows(&self) -> Result<Vec<(u64, u64)>, Error> {
        let set = match &self.0 {
            Set::Intel(set) => &set.items,
            Set::Amd(set) => return set.windows(),
        };
        let read = self.read()?;
        let document = |item, head: &_, text: &str| {
            read_before(head, || Head::parse(item, text)).and_then(|head| head.window(item))
        };
        let mut windows = vec![
            document(Item::TcbInfo, &read.tcb_head, &set.tcb_info)?,
            document(Item::QeIdentity, &read.qe_head, &set.qe_identity)?,
            read_before(&read.pck_crl, || Crl::parse(Item::PckCrl, &set.pck_crl))?.window(),
            read_before(&read.root_crl, || Crl::parse(Item::RootCrl, &set.root_ca_crl))?.window(),
        ];
        windows.extend(self.issuers_windows()?);
        Ok(windows)
    }

    /// Of the certificates in the set for a quote.
    fn issuers_windows(&self) -> Result<Vec<(u64, u64)>, Error> {
        let chains = read_before(&self.read()?.chains, || Chains::decode(self.items()?))?;
        let Chains { tcb_info, qe_identity, pck_crl } = chains.as_ref();
        let chains = [(Item::TcbInfo, tcb_info), (Item::QeIdentity, qe_identity), (Item::PckCrl, pck_crl)];
        // Mostly the same ones.
        let mut certificates = BTreeMap::new();
        for (item, chain) in chains {
            certificates.extend(chain.iter().map(|der| (der.as_ref(), item)));
        }
        let window = |(der, item)| Ok(Certificate::of(item, der)?.window());
        certificates.into_iter().map(window).collect()
    }
}

/// What can be read from a set without judging it, once for all quotes that it judges; nothing where it is malformed, which is
/// for whoever needs it to say.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) chains: Option<Arc<Chains>>,
    pub(crate) tcb_head: Option<Arc<Head>>,
    pub(crate) qe_head: Option<Arc<Head>>,
    pub(crate) tcb_info: Option<Arc<TcbInfo>>,
    pub(crate) qe_identity: Option<Arc<QeIdentity>>,
    pub(crate) pck_crl: Option<Arc<Crl>>,
    pub(crate) root_crl: Option<Arc<Crl>>,
}

impl Read {
    fn new(set: &QuoteCollateralV3) -> Self {
        let tcb_info = tcb_info(&set.tcb_info).ok();
        let tcb_head = tcb_info.as_ref().and_then(|whole| Head::of_tcb_info(whole, &set.tcb_info).ok());
        let qe_identity = qe_identity(&set.qe_identity).ok();
        let qe_head =
            qe_identity.as_ref().and_then(|whole| Head::of_qe_identity(whole, &set.qe_identity).ok());
        Self {
            chains: Chains::decode(set).ok().map(Arc::new),
            tcb_head: tcb_head.map(Arc::new),
            qe_head: qe_head.map(Arc::new),
            tcb_info: tcb_info.map(Arc::new),
            qe_identity: qe_identity.map(Arc::new),
            pck_crl: Crl::parse(Item::PckCrl, &set.pck_crl).ok().map(Arc::new),
            root_crl: Crl::parse(Item::RootCrl, &set.root_ca_crl).ok().map(Arc::new),
        }
    }
}

/// What was read before; where that failed, the reason is found by reading again.
pub(crate) fn read_before<T>(
    before: &Option<Arc<T>>,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<Arc<T>, Error> {
    before.as_ref().map_or_else(|| read().map(Arc::new), |before| Ok(before.clone()))
}

/// The whole document, as the library will read it, with the highest level first.
pub(crate) fn tcb_info(text: &str) -> Result<TcbInfo, Error> {
    let mut tcb_info = typed::<TcbInfo>(Item::TcbInfo, text)?;
    highest_first(&mut tcb_info);
    Ok(tcb_info)
}

/// The whole document, as the library will read it.
pub(crate) fn qe_identity(text: &str) -> Result<QeIdentity, Error> {
    typed(Item::QeIdentity, text)
}

fn typed<T: serde::de::DeserializeOwned>(item: Item, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::item(item, ItemFault::Parse, error.to_string()))
}

/// The three issuer chains, decoded.
#[derive(Debug)]
pub(crate) struct Chains {
    pub(crate) tcb_info: Vec<CertificateDer<'static>>,
    pub(crate) qe_identity: Vec<CertificateDer<'static>>,
    pub(crate) pck_crl: Vec<CertificateDer<'static>>,
}

impl Chains {
    pub(crate) fn decode(set: &QuoteCollateralV3) -> Result<Self, Error> {
        let tcb_info = decode_pem(Item::TcbInfo, set.tcb_info_issuer_chain.as_bytes())?;
        // As a rule one authority signs both.
        let qe_identity = match set.qe_identity_issuer_chain == set.tcb_info_issuer_chain {
            true => tcb_info.clone(),
            false => decode_pem(Item::QeIdentity, set.qe_identity_issuer_chain.as_bytes())?,
        };
        Ok(Self {
            tcb_info,
            qe_identity,
            pck_crl: decode_pem(Item::PckCrl, set.pck_crl_issuer_chain.as_bytes())?,
        })
    }

    pub(crate) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        [&self.tcb_info, &self.qe_identity, &self.pck_crl].into_iter().flatten().map(CertificateDer::as_ref)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    pck_crl_issuer_chain: Option<String>,
    root_ca_crl: Option<String>,
    pck_crl: Option<String>,
    tcb_info_issuer_chain: Option<String>,
    tcb_info: Option<String>,
    tcb_info_signature: Option<String>,
    qe_identity_issuer_chain: Option<String>,
    qe_identity: Option<String>,
    qe_identity_signature: Option<String>,
    pck_certificate_chain: Option<String>,
    snp_leaf: Option<String>,
    snp_issuer_chain: Option<String>,
    snp_crl: Option<String>,
}

impl Layout {
    fn snp(self) -> Result<Collateral, Error> {
        let foreign = [
            &self.pck_crl_issuer_chain,
            &self.root_ca_crl,
            &self.pck_crl,
            &self.tcb_info_issuer_chain,
            &self.tcb_info,
            &self.tcb_info_signature,
            &self.qe_identity_issuer_chain,
            &self.qe_identity,
            &self.qe_identity_signature,
            &self.pck_certificate_chain,
        ];
        if foreign.into_iter().any(Option::is_some) {
            return Err(Error::CollateralParse(
                "items for a quote and for a SEV-SNP report are mixed".into(),
            ));
        }
        let bytes = |name: &'static str, digits: String| {
            hex::decode(digits).map_err(|e| Error::CollateralParse(format!("{name} is not hex: {e}")))
        };
        let leaf = bytes("snp_leaf", self.snp_leaf.ok_or(Error::CollateralIncomplete("snp_leaf"))?)?;
        let issuer_chain = self.snp_issuer_chain.ok_or(Error::CollateralIncomplete("snp_issuer_chain"))?;
        let crl = self.snp_crl.map(|digits| bytes("snp_crl", digits)).transpose()?;
        Ok(Collateral::snp(leaf, issuer_chain, crl))
    }
}

/// Which trusted execution environment made a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TeeKind {
    /// An SGX enclave.
    Sgx,
    /// A TDX guest.
    Tdx,
}

impl TeeKind {
    /// Its name, for example `SGX`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
        }
    }
}

/// Which of Intel's authorities issued a PCK certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PckCa {
    /// For machines with one processor package.
    Processor,
    /// For machines that can have several.
    Platform,
}

impl PckCa {
    /// The name in the addresses of Intel's service, for example `processor`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }
}

/// What to ask a source of collateral for.
///
/// Read from a quote of which nothing is verified yet: a hint that selects documents and decides nothing. Verification
/// compares the documents with the verified certificate again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CollateralId {
    /// For an SGX or a TDX quote.
    Intel(IntelCollateralId),
    /// For a SEV-SNP report.
    Amd(AmdCollateralId),
}

/// What to ask Intel's provisioning certification service for; see [`CollateralId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntelCollateralId {
    /// For TCB info and QE identity.
    pub tee: TeeKind,
    /// Processor family, model, stepping and more, for the TCB info.
    pub fmspc: [u8; 6],
    /// For the PCK CRL.
    pub ca: PckCa,
}

impl CollateralId {
    /// What verifying this quote or SEV-SNP report needs.
    ///
    /// # Errors
    /// `parse.*` and `pck.no_chain` as in verification; `pck.chain` if the first certificate is not a PCK certificate;
    /// for a report `snp.*`.
    pub fn of_quote(quote: &[u8]) -> Result<Self, Error> {
        if looks_like_report(quote) {
            return AmdCollateralId::of_report(quote).map(Self::Amd);
        }
        let quote = Quote::parse(quote)?;
        let Asked { fmspc, ca } = chain::asks(quote.pck_chain)?;
        Ok(Self::Intel(IntelCollateralId { tee: quote.body.tee(), fmspc, ca }))
    }

    /// What to ask Intel for.
    pub const fn intel(&self) -> Option<&IntelCollateralId> {
        match self {
            Self::Intel(id) => Some(id),
            Self::Amd(_) => None,
        }
    }

    /// What to ask AMD for.
    pub const fn amd(&self) -> Option<&AmdCollateralId> {
        match self {
            Self::Intel(_) => None,
            Self::Amd(id) => Some(id),
        }
    }
}

/// Intel's extension in a PCK certificate, and its issuer.
pub(crate) fn pck_leaf<'a>(leaf: &Certificate<'a>) -> Option<(PckExtension<'a>, PckCa)> {
    let issuer = leaf.issuer_name()?;
    let ca = if issuer.contains("Processor") {
        PckCa::Processor
    } else if issuer.contains("Platform") {
        PckCa::Platform
    } else {
        return None;
    };
    Some((PckExtension::of(leaf)?, ca))
}

/// Gets collateral: from Intel's service, a cache, a file, or a simulated machine.
///
/// What it returns is verified by whoever uses it, so a source need not be trusted.
pub trait CollateralSource: Send + Sync {
    /// A current set for `id`.
    ///
    /// # Errors
    /// [`Error::CollateralUnavailable`] if it cannot be had, or what [`Collateral::from_json`] says of it.
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] = [
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    ];

    fn json(names: &[&str]) -> Vec<u8> {
        let items: Vec<_> = names.iter().map(|name| format!("{name:?}:\"00\"")).collect();
        format!("{{{}}}", items.join(",")).into_bytes()
    }

    fn code(json: &[u8]) -> &'static str {
        Collateral::from_json(json).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn r17_every_item_is_required() {
        assert_eq!(code(&json(&NAMES)), "ok");
        for missing in NAMES {
            let rest: Vec<_> = NAMES.into_iter().filter(|name| *name != missing).collect();
            assert_eq!(code(&json(&rest)), "collateral.incomplete", "{missing}");
            let null =
                [json(&rest).split_last().unwrap().1, format!(",{missing:?}:null}}").as_bytes()].concat();
            assert_eq!(code(&null), "collateral.incomplete", "{missing}");
        }
    }

    #[test]
    fn r19_unknown_duplicate_and_trailing_data_are_refused() {
        assert_eq!(code(&json(&[&NAMES[..], &["pck_certificate_chain"]].concat())), "ok");
        for more in ["tcb_info", "pck_crl", "x"] {
            assert_eq!(code(&json(&[&NAMES[..], &[more]].concat())), "collateral.parse", "{more}");
        }
        assert_eq!(code(&[&json(&NAMES)[..], b"{}"].concat()), "collateral.parse");
        assert_eq!(code(b""), "collateral.parse");
        assert_eq!(code(&vec![b'['; 100_000]), "collateral.parse");
        assert_eq!(code(&vec![b' '; Collateral::LIMIT + 1]), "collateral.too_large");
    }

    #[test]
    fn every_item_changes_the_digest() {
        let text = String::from_utf8(json(&NAMES)).unwrap();
        let digest = |text: &str| *Collateral::from_json(text.as_bytes()).unwrap().digest().unwrap();
        let mut digests = vec![digest(&text)];
        digests.extend(
            NAMES.map(|name| digest(&text.replace(&format!("{name:?}:\"00"), &format!("{name:?}:\"01")))),
        );
        // A byte that moves from one item to the next.
        digests.push(digest(&text.replace("\"root_ca_crl\":\"00", "\"root_ca_crl\":\"0000")));
        digests.push(digest(&text.replace("\"pck_crl\":\"00", "\"pck_crl\":\"0000")));
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn the_layout_is_written_as_it_is_read() {
        let set = Collateral::from_json(&json(&NAMES)).unwrap();
        assert_eq!(Collateral::from_json(set.to_json().as_bytes()).unwrap(), set);
    }
}
