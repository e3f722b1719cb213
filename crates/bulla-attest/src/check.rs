//! Our own checks of everything around a quote: each refuses with the reason that the verification library has no word for.

use std::sync::Arc;

use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use rustls_pki_types::CertificateDer;

use crate::collateral::{Chains, Read, pck_leaf, qe_identity, read_before, tcb_info};
use crate::crypto::is_signed_raw;
use crate::document::Head;
use crate::endorsement::Window;
use crate::error::{Item, ItemFault};
use crate::pki::{
    Certificate, Crl, Root, Shape, check_validity, check_window, decode_pem, walk as walk_chain, walk_on,
};
use crate::quote::Quote;
use crate::{Collateral, Error, IntelPlatform, PckCa, TeeKind, TrustAnchor};

/// TCB info and QE identity are signed by a certificate that the root issued.
pub(crate) const SIGNER: Shape = Shape { below: 1, leaf_is_ca: false };
/// The PCK CA, as issuer of a CRL.
const CRL_ISSUER: Shape = Shape { below: 1, leaf_is_ca: true };
/// A PCK certificate below the PCK CA.
pub(crate) const PCK: Shape = Shape { below: 2, leaf_is_ca: false };

/// What our own checks found, for the steps after them.
#[derive(Clone)]
pub(crate) struct Checked {
    /// DER.
    pub(crate) root: Vec<u8>,
    pub(crate) platform: IntelPlatform,
    pub(crate) tcb_info: Arc<TcbInfo>,
    pub(crate) qe_identity: Arc<QeIdentity>,
    /// When everything that was checked is good.
    pub(crate) window: Window,
}

impl Checked {
    /// Which recovery the verdict knows of: the lower number of the two documents.
    pub(crate) fn evaluation_number(&self) -> u32 {
        self.tcb_info.tcb_evaluation_data_number.min(self.qe_identity.tcb_evaluation_data_number)
    }
}

/// Our own checks of a quote and everything around it.
pub(crate) fn check(
    quote: &Quote<'_>,
    collateral: &Collateral,
    now: u64,
    anchor: &TrustAnchor,
) -> Result<Checked, Error> {
    let signed = |leaf: &Certificate<'_>| check_signatures(quote, leaf);
    check_platform(quote.pck_chain, quote.body.tee(), signed, collateral, now, anchor)
}

/// Our own checks of a platform by its PCK chain, in an order that lets each refusal be named by its cause: collateral
/// first (issuers, signatures, dates), then the chain, then what its leaf signs, then whether all of it belongs together.
pub(crate) fn check_platform(
    pck_chain: &[u8],
    tee: TeeKind,
    signed: impl FnOnce(&Certificate<'_>) -> Result<(), Error>,
    collateral: &Collateral,
    now: u64,
    anchor: &TrustAnchor,
) -> Result<Checked, Error> {
    let set = collateral.items()?;
    let pck_pem = decode_pem(Item::Pck, pck_chain)?;
    let read = collateral.read()?;
    let chains = read_before(&read.chains, || Chains::decode(set))?;
    let root = Root::find(anchor, chains.ders().chain(pck_pem.iter().map(CertificateDer::as_ref)));

    let mut dates = Dates { now, window: Window::ALWAYS };
    let documents = Documents::check(set, read, &chains, &root, &mut dates)?;

    let top = root.certificate(Item::RootCrl)?;
    dates.window.narrow(top.window());
    let root_crl = read_before(&read.root_crl, || Crl::parse(Item::RootCrl, &set.root_ca_crl))?;
    root_crl.check_issuer(top)?;
    dates.check(Item::RootCrl, root_crl.window())?;
    let pck_crl = read_before(&read.pck_crl, || Crl::parse(Item::PckCrl, &set.pck_crl))?;
    dates.check(Item::PckCrl, pck_crl.window())?;
    let crl_issuer = walk_chain(Item::PckCrl, &chains.pck_crl, CRL_ISSUER, &root)?;
    dates.check_certificates(Item::PckCrl, &crl_issuer)?;

    let pck = match pck_pem.split_first() {
        // As a rule the same authority, by the same chain.
        Some((leaf, above)) if *above == chains.pck_crl => walk_on(Item::Pck, leaf, crl_issuer)?,
        _ => walk_chain(Item::Pck, &pck_pem, PCK, &root)?,
    };
    dates.check_certificates(Item::Pck, &pck)?;
    let [leaf, ca] = pck.as_slice() else {
        return Err(Error::item(Item::Pck, ItemFault::Chain, "it must be two certificates below the root"));
    };
    pck_crl.check_issuer(ca)?;
    pck_crl.check_revoked("the platform's PCK certificate", leaf)?;
    root_crl.check_revoked("the authority that issued the PCK certificate", ca)?;
    documents.check_signers(&root_crl)?;

    signed(leaf)?;
    let platform = platform(leaf)?;
    check_belongs(tee, &documents.tcb_head, &documents.qe_head, &platform)?;
    let Documents { tcb_info, qe_identity, .. } = documents;
    Ok(Checked { root: top.der().to_vec(), platform, tcb_info, qe_identity, window: dates.window })
}

/// A set of collateral without a quote: all that [`check`] asks of it. Returns when all of it is good.
pub(crate) fn check_collateral(
    collateral: &Collateral,
    now: u64,
    anchor: &TrustAnchor,
) -> Result<Window, Error> {
    let set = collateral.items()?;
    let read = collateral.read()?;
    let chains = read_before(&read.chains, || Chains::decode(set))?;
    let root = Root::find(anchor, chains.ders());
    let mut dates = Dates { now, window: Window::ALWAYS };
    let documents = Documents::check(set, read, &chains, &root, &mut dates)?;

    let root_crl = read_before(&read.root_crl, || Crl::parse(Item::RootCrl, &set.root_ca_crl))?;
    let top = root.certificate(Item::RootCrl)?;
    dates.window.narrow(top.window());
    root_crl.check_issuer(top)?;
    dates.check(Item::RootCrl, root_crl.window())?;
    let pck_crl = read_before(&read.pck_crl, || Crl::parse(Item::PckCrl, &set.pck_crl))?;
    let crl_issuer = walk_chain(Item::PckCrl, &chains.pck_crl, CRL_ISSUER, &root)?;
    for issuer in &crl_issuer {
        pck_crl.check_issuer(issuer)?;
        root_crl.check_revoked("the authority that issues PCK certificates", issuer)?;
    }
    dates.check(Item::PckCrl, pck_crl.window())?;
    dates.check_certificates(Item::PckCrl, &crl_issuer)?;
    documents.check_signers(&root_crl)?;
    Ok(dates.window)
}

/// The two signed documents of a set, judged, and who signed them.
struct Documents<'a> {
    tcb_signer: Vec<Certificate<'a>>,
    /// Where it is another: as a rule one authority signs both.
    qe_signer: Option<Vec<Certificate<'a>>>,
    tcb_head: Arc<Head>,
    qe_head: Arc<Head>,
    tcb_info: Arc<TcbInfo>,
    qe_identity: Arc<QeIdentity>,
}

impl<'a> Documents<'a> {
    fn check(
        set: &QuoteCollateralV3,
        read: &Read,
        chains: &'a Chains,
        root: &Root<'_>,
        dates: &mut Dates,
    ) -> Result<Self, Error> {
        let (item, signature) = (Item::TcbInfo, &set.tcb_info_signature);
        let tcb_signer = walk_chain(item, &chains.tcb_info, SIGNER, root)?;
        let tcb_head = check_document(item, &tcb_signer, &set.tcb_info, signature, &read.tcb_head, dates)?;
        let (item, signature) = (Item::QeIdentity, &set.qe_identity_signature);
        let qe_signer = match chains.qe_identity == chains.tcb_info {
            true => None,
            false => Some(walk_chain(item, &chains.qe_identity, SIGNER, root)?),
        };
        let signer = qe_signer.as_ref().unwrap_or(&tcb_signer);
        let qe_head = check_document(item, signer, &set.qe_identity, signature, &read.qe_head, dates)?;
        let tcb_info = read_before(&read.tcb_info, || tcb_info(&set.tcb_info))?;
        let qe_identity = read_before(&read.qe_identity, || qe_identity(&set.qe_identity))?;
        Ok(Self { tcb_signer, qe_signer, tcb_head, qe_head, tcb_info, qe_identity })
    }

    fn check_signers(&self, root_crl: &Crl) -> Result<(), Error> {
        let mut signers = self.tcb_signer.iter().chain(self.qe_signer.iter().flatten());
        signers
            .try_for_each(|signer| root_crl.check_revoked("the authority that signed the collateral", signer))
    }
}

/// Judges dates, and keeps when all that it judged are good.
struct Dates {
    now: u64,
    window: Window,
}

impl Dates {
    fn check(&mut self, item: Item, window: (u64, u64)) -> Result<(), Error> {
        self.window.narrow(window);
        check_window(item, window, self.now)
    }

    fn check_certificates(&mut self, item: Item, certificates: &[Certificate<'_>]) -> Result<(), Error> {
        certificates.iter().for_each(|certificate| self.window.narrow(certificate.window()));
        check_validity(item, certificates, self.now)
    }
}

/// A signed document: its signature over the received bytes (R19), its form, its dates.
fn check_document(
    item: Item,
    signer: &[Certificate<'_>],
    text: &str,
    signature: &[u8],
    head: &Option<Arc<Head>>,
    dates: &mut Dates,
) -> Result<Arc<Head>, Error> {
    if !signer.first().is_some_and(|signer| signer.has_signed(text.as_bytes(), signature)) {
        return Err(Error::item(
            item,
            ItemFault::Signature,
            "it is not signed by its issuer: it was changed",
        ));
    }
    let head = read_before(head, || Head::parse(item, text))?;
    let known = if item == Item::TcbInfo { 3..=3 } else { 2..=3 };
    if !known.contains(&head.version) {
        let detail = format!(
            "version {}, which is not judged here: fetch it from version 4 of the service",
            head.version
        );
        return Err(Error::item(item, ItemFault::UnsupportedVersion, detail));
    }
    dates.check(item, head.window(item)?)?;
    dates.check_certificates(item, signer)?;
    Ok(head)
}

/// PCK key → QE report → attestation key → header and body.
fn check_signatures(quote: &Quote<'_>, leaf: &Certificate<'_>) -> Result<(), Error> {
    if !leaf.has_signed(quote.qe_report_bytes, quote.qe_report_signature) {
        return Err(Error::QeReportSignature);
    }
    let binding = bulla_crypto::sha256(&[quote.attestation_key, quote.qe_auth_data]);
    if quote.qe_report.report_data != *[binding, [0; 32]].as_flattened() {
        return Err(Error::QeReportBinding);
    }
    let point = [&[4], quote.attestation_key].concat();
    if !is_signed_raw(&point, quote.signed, quote.signature) {
        return Err(Error::QuoteSignature);
    }
    Ok(())
}

/// The documents are about this kind of TEE and this platform.
fn check_belongs(tee: TeeKind, tcb: &Head, qe: &Head, platform: &IntelPlatform) -> Result<(), Error> {
    let (tcb_id, qe_id) = match tee {
        TeeKind::Sgx => ("SGX", "QE"),
        TeeKind::Tdx => ("TDX", "TD_QE"),
    };
    let fmspc = hex::encode_upper(platform.fmspc);
    let pceid = hex::encode_upper(platform.pceid);
    let upper = str::to_ascii_uppercase;
    let comparisons = [
        (Item::TcbInfo, ItemFault::WrongId, tcb_id, tcb.id.clone()),
        (Item::QeIdentity, ItemFault::WrongId, qe_id, qe.id.clone()),
        (Item::TcbInfo, ItemFault::FmspcMismatch, &fmspc, upper(&tcb.fmspc)),
        (Item::TcbInfo, ItemFault::PceidMismatch, &pceid, upper(&tcb.pce_id)),
    ];
    for (item, fault, wanted, found) in comparisons {
        if found != wanted {
            let found: String = found.chars().take(32).collect();
            let detail =
                format!("it is for {found:?} and the platform needs {wanted:?}: fetch the right one");
            return Err(Error::item(item, fault, detail));
        }
    }
    Ok(())
}

/// The machine, from a PCK certificate whose chain was walked.
fn platform(leaf: &Certificate<'_>) -> Result<IntelPlatform, Error> {
    let malformed =
        || Error::item(Item::Pck, ItemFault::Chain, "the PCK certificate lacks Intel's SGX extension");
    let (extension, ca): (_, PckCa) = pck_leaf(leaf).ok_or_else(malformed)?;
    let fixed16 = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).map_err(|_| malformed());
    Ok(IntelPlatform {
        ppid: fixed16(&extension.ppid)?,
        fmspc: extension.fmspc,
        pceid: extension.pce_id.try_into().map_err(|_| malformed())?,
        ca,
        instance_id: extension.platform_instance_id.map(fixed16).transpose()?,
        cpusvn: extension.cpu_svn,
        pcesvn: extension.pce_svn,
    })
}
