//! From a quote to claims.
//!
//! Four steps, each on the actual bytes: structure ([`Quote::parse`]), our own checks ([`check`]), the verification
//! library's walk over the whole path ([`walk`]), and the policy. Only the walk can accept; the steps around it refuse,
//! and name the reason where the library has but a sentence.

use bulla_tee::{Identity, SgxIdentity, TdxIdentity, is_simulated};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QeIdentity, QuoteClaims, QuotePolicy, TcbInfo, TcbStatusWithAdvisory};
use rustls_pki_types::CertificateDer;

use crate::collateral::{Chains, pck_leaf};
use crate::crypto::{Engine, is_signed_raw};
use crate::document::Head;
use crate::error::{Item, ItemFault};
use crate::pki::{
    Certificate, Crl, Root, Shape, check_validity, check_window, decode_pem, walk as walk_chain,
};
use crate::quote::{Body, Quote};
use crate::{Claims, Collateral, Error, PckCa, Platform, Policy, Tcb, TcbStatus, TeeKind, TrustAnchor};

/// TCB info and QE identity are signed by a certificate that the root issued.
const SIGNER: Shape = Shape { below: 1, leaf_is_ca: false };
/// The PCK CA, as issuer of a CRL.
const CRL_ISSUER: Shape = Shape { below: 1, leaf_is_ca: true };
/// A PCK certificate below the PCK CA.
const PCK: Shape = Shape { below: 2, leaf_is_ca: false };

/// Judges quotes against one trust anchor. It keeps no state and reads no clock.
///
/// ```
/// use bulla_attest::{Collateral, Policy, TrustAnchor, Verifier};
///
/// fn judge(quote: &[u8], collateral: &[u8], now_unix: u64) -> Result<(), bulla_attest::Error> {
///     let verifier = Verifier::new(TrustAnchor::intel());
///     let collateral = Collateral::from_json(collateral)?;
///     let claims = verifier.verify(quote, &collateral, now_unix, &Policy::strict())?;
///     println!("{:?} on {:02x?}", claims.identity, claims.platform.ppid);
///     Ok(())
/// }
/// assert_eq!(judge(b"", b"{}", 0).unwrap_err().code(), "collateral.incomplete");
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    anchor: TrustAnchor,
}

impl Verifier {
    /// A verifier for evidence that leads to `anchor`.
    pub const fn new(anchor: TrustAnchor) -> Self {
        Self { anchor }
    }

    /// Verifies an SGX quote (version 3) or a TDX quote (version 4 or 5) with its collateral at a time, and appraises it.
    ///
    /// Zero bytes after the quote's end are taken for a guest's padding; everything else must be exactly a quote.
    ///
    /// # Errors
    /// Every code in the table of the crate's documentation but `platform.mismatch`, `binding.report_data` and `usage.*`.
    /// A refusal by policy carries the TCB that was found ([`Error::tcb`]).
    pub fn verify(
        &self,
        quote: &[u8],
        collateral: &Collateral,
        now_unix: u64,
        policy: &Policy,
    ) -> Result<Claims, Error> {
        let quote = Quote::parse(quote)?;
        let checked = check(&quote, collateral, now_unix, &self.anchor)?;
        let identity = identity(&quote.body);
        let simulated = claims_simulated(&quote, &checked.platform);
        let verified = match walk(&quote, collateral, now_unix, &checked.root) {
            Ok(verified) => verified,
            Err(refusal) => return Err(explain(&quote, &checked, &identity, simulated, policy, refusal)),
        };
        let claims = Claims {
            report_data: report_data(&quote.body),
            tcb: Tcb {
                status: verified.tcb.status.into(),
                advisory_ids: verified.tcb.advisory_ids,
                evaluation_data_number: verified.tcb.eval_data_number,
                qe_status: verified.qe.tcb_level.tcb_status.into(),
            },
            valid_until: verified.earliest_expiration_date,
            qe_id: *quote.header.user_data.first_chunk().expect("user data is 20 bytes"),
            platform: checked.platform,
            identity,
            simulated,
        };
        policy.appraise(&claims.identity, claims.simulated, &claims.tcb)?;
        Ok(claims)
    }
}

/// The library's walk over the whole path: certificates, revocation, documents, QE report, quote, TCB levels. It refuses
/// debug, migration, service TDs, reserved attributes and a cleared SEPT_VE_DISABLE by itself, as our policy does.
fn walk(quote: &Quote<'_>, collateral: &Collateral, now: u64, root: &[u8]) -> Result<QuoteClaims, String> {
    // Its own policy passes everything, because ours is applied to what it found.
    let pass = QuotePolicy::claims_only(now);
    QuoteVerifier::<Engine>::new_with_config(root.to_vec())
        .verify_with_policy(quote.bytes, collateral.items(), now, &pass)
        .map_err(|error| format!("{error:#}"))
}

/// What our own checks found, for the steps after them.
struct Checked {
    root: Vec<u8>,
    platform: Platform,
    tcb_info: TcbInfo,
    qe_identity: QeIdentity,
}

/// Our own checks, in an order that lets each refusal be named by its cause: collateral first (issuers, signatures,
/// dates), then the PCK chain, then what the chain signs, then whether all of it belongs together.
fn check(
    quote: &Quote<'_>,
    collateral: &Collateral,
    now: u64,
    anchor: &TrustAnchor,
) -> Result<Checked, Error> {
    let set = collateral.items();
    let pck_pem = decode_pem(Item::Pck, quote.pck_chain)?;
    let chains = Chains::decode(set)?;
    let root = Root::find(anchor, chains.ders().chain(pck_pem.iter().map(CertificateDer::as_ref)));

    let tcb_head =
        check_document(Item::TcbInfo, &chains.tcb_info, &set.tcb_info, &set.tcb_info_signature, &root, now)?;
    let (item, signature) = (Item::QeIdentity, &set.qe_identity_signature);
    let qe_head = check_document(item, &chains.qe_identity, &set.qe_identity, signature, &root, now)?;
    let tcb_info = typed::<TcbInfo>(Item::TcbInfo, &set.tcb_info)?;
    let qe_identity = typed::<QeIdentity>(Item::QeIdentity, &set.qe_identity)?;

    let top = root.certificate(Item::RootCrl)?;
    let root_crl = Crl::parse(Item::RootCrl, &set.root_ca_crl)?;
    root_crl.check_issuer(top)?;
    check_window(Item::RootCrl, root_crl.window(), now)?;
    let pck_crl = Crl::parse(Item::PckCrl, &set.pck_crl)?;
    check_window(Item::PckCrl, pck_crl.window(), now)?;
    let crl_issuer = walk_chain(Item::PckCrl, &chains.pck_crl, CRL_ISSUER, &root)?;
    check_validity(Item::PckCrl, &crl_issuer, now)?;

    let pck = walk_chain(Item::Pck, &pck_pem, PCK, &root)?;
    check_validity(Item::Pck, &pck, now)?;
    let [leaf, ca] = pck.as_slice() else {
        return Err(Error::item(Item::Pck, ItemFault::Chain, "it must be two certificates below the root"));
    };
    pck_crl.check_issuer(ca)?;
    pck_crl.check_revoked("the platform's PCK certificate", leaf)?;
    root_crl.check_revoked("the authority that issued the PCK certificate", ca)?;
    for (item, chain) in [(Item::TcbInfo, &chains.tcb_info), (Item::QeIdentity, &chains.qe_identity)] {
        for signer in walk_chain(item, chain, SIGNER, &root)? {
            root_crl.check_revoked("the authority that signed the collateral", &signer)?;
        }
    }

    check_signatures(quote, leaf)?;
    let platform = platform(leaf)?;
    check_belongs(quote.body.tee(), &tcb_head, &qe_head, &platform)?;
    Ok(Checked { root: top.der().to_vec(), platform, tcb_info, qe_identity })
}

/// A signed document: its issuer, its signature over the received bytes (R19), its form, its dates.
fn check_document(
    item: Item,
    chain: &[CertificateDer<'static>],
    text: &str,
    signature: &[u8],
    root: &Root<'_>,
    now: u64,
) -> Result<Head, Error> {
    let signer = walk_chain(item, chain, SIGNER, root)?;
    if !signer.first().is_some_and(|signer| signer.has_signed(text.as_bytes(), signature)) {
        return Err(Error::item(
            item,
            ItemFault::Signature,
            "it is not signed by its issuer: it was changed",
        ));
    }
    let head = Head::parse(item, text)?;
    let known = if item == Item::TcbInfo { 3..=3 } else { 2..=3 };
    if !known.contains(&head.version) {
        let detail = format!(
            "version {}, which is not judged here: fetch it from version 4 of the service",
            head.version
        );
        return Err(Error::item(item, ItemFault::UnsupportedVersion, detail));
    }
    check_window(item, head.window(item)?, now)?;
    check_validity(item, &signer, now)?;
    Ok(head)
}

/// The whole document, as the library will read it.
fn typed<T: serde::de::DeserializeOwned>(item: Item, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::item(item, ItemFault::Parse, error.to_string()))
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
fn check_belongs(tee: TeeKind, tcb: &Head, qe: &Head, platform: &Platform) -> Result<(), Error> {
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
            let detail = format!("it is for {found:?} and the quote needs {wanted:?}: fetch the right one");
            return Err(Error::item(item, fault, detail));
        }
    }
    Ok(())
}

/// The machine, from a PCK certificate whose chain was walked.
fn platform(leaf: &Certificate<'_>) -> Result<Platform, Error> {
    let malformed =
        || Error::item(Item::Pck, ItemFault::Chain, "the PCK certificate lacks Intel's SGX extension");
    let (extension, ca): (_, PckCa) = pck_leaf(leaf.der()).ok_or_else(malformed)?;
    let fixed16 = |bytes: &Vec<u8>| <[u8; 16]>::try_from(bytes.as_slice()).map_err(|_| malformed());
    Ok(Platform {
        ppid: fixed16(&extension.ppid)?,
        fmspc: extension.fmspc,
        pceid: extension.pce_id.as_slice().try_into().map_err(|_| malformed())?,
        ca,
        instance_id: extension.platform_instance_id.as_ref().map(fixed16).transpose()?,
        cpusvn: extension.cpu_svn,
        pcesvn: extension.pce_svn,
    })
}

fn identity(body: &Body) -> Identity {
    match body {
        Body::Sgx(report) => Identity::Sgx(Box::new(SgxIdentity::from(report.as_ref()))),
        Body::Tdx { td, mrservicetd, .. } => Identity::Tdx(Box::new(TdxIdentity {
            mrtd: td.mrtd,
            rtmr: td.rtmr,
            mrconfigid: td.mrconfigid,
            mrowner: td.mrowner,
            mrownerconfig: td.mrownerconfig,
            mrservicetd: *mrservicetd,
            attributes: td.attributes.get(),
            xfam: td.xfam.get(),
            tee_tcb_svn: td.tee_tcb_svn,
            mrseam: td.mrseam,
        })),
    }
}

fn report_data(body: &Body) -> [u8; 64] {
    match body {
        Body::Sgx(report) => report.report_data,
        Body::Tdx { td, .. } => td.report_data,
    }
}

/// Whether any security version in the evidence carries the simulator's marker.
fn claims_simulated(quote: &Quote<'_>, platform: &Platform) -> bool {
    let own = match &quote.body {
        Body::Sgx(report) => is_simulated(&report.cpusvn),
        Body::Tdx { td, tee_tcb_svn2, .. } => {
            is_simulated(&td.tee_tcb_svn) || tee_tcb_svn2.as_ref().is_some_and(is_simulated)
        }
    };
    own || is_simulated(&quote.qe_report.cpusvn) || is_simulated(&platform.cpusvn)
}

/// Names the reason for which the library refused, after all of our own checks passed. It never accepts: whatever it
/// finds in order, the library's refusal stands.
fn explain(
    quote: &Quote<'_>,
    checked: &Checked,
    identity: &Identity,
    simulated: bool,
    policy: &Policy,
    refusal: String,
) -> Error {
    let qe_level = match explain_qe(quote, &checked.qe_identity) {
        Ok(level) => level,
        Err(error) => return error,
    };
    let Platform { cpusvn, pcesvn, .. } = &checked.platform;
    let svn = match &quote.body {
        Body::Sgx(_) => None,
        Body::Tdx { td, .. } => Some(&td.tee_tcb_svn),
    };
    let levels = &checked.tcb_info.tcb_levels;
    let met = |level: &&dcap_qvl::TcbLevel| {
        level.shortfalls(cpusvn, *pcesvn, svn).is_ok_and(|short| short.is_empty())
    };
    let Some(level) = levels.iter().find(met) else {
        return Error::NoMatchingLevel;
    };
    let mut found = TcbStatusWithAdvisory::new(level.tcb_status, level.advisory_ids.clone());
    if let Body::Tdx { td, .. } = &quote.body {
        match explain_module(&checked.tcb_info, &td.tee_tcb_svn, &td.mrsignerseam, &td.seam_attributes) {
            Ok(Some(module)) => found = found.merge(&module),
            Ok(None) => {}
            Err(error) => return error,
        }
    }
    let found = found.merge(&qe_level);
    let numbers =
        [checked.tcb_info.tcb_evaluation_data_number, checked.qe_identity.tcb_evaluation_data_number];
    let tcb = Tcb {
        status: found.status.into(),
        advisory_ids: found.advisory_ids,
        evaluation_data_number: numbers.into_iter().min().unwrap_or_default(),
        qe_status: qe_level.status.into(),
    };
    if tcb.status == TcbStatus::Revoked {
        return Error::TcbRevoked(Box::new(tcb));
    }
    match policy.appraise_identity(identity, simulated, &tcb) {
        Err(error) => error,
        Ok(()) => Error::Unverified(refusal),
    }
}

/// The quoting enclave's level in its identity (R18).
fn explain_qe(quote: &Quote<'_>, wanted: &QeIdentity) -> Result<TcbStatusWithAdvisory, Error> {
    let found = &quote.qe_report;
    let attributes = [found.attributes.flags.to_le_bytes(), found.attributes.xfrm.to_le_bytes()];
    let masked = |wanted: &[u8], mask: &[u8], found: &[u8]| {
        wanted.iter().zip(mask).zip(found).all(|((wanted, mask), found)| wanted & mask == found & mask)
    };
    let differing = if found.mrsigner != wanted.mrsigner {
        Some("signer")
    } else if found.isv_prod_id != wanted.isvprodid {
        Some("product id")
    } else if !masked(&wanted.miscselect, &wanted.miscselect_mask, &found.misc_select.to_le_bytes()) {
        Some("MISCSELECT")
    } else if !masked(&wanted.attributes, &wanted.attributes_mask, attributes.as_flattened()) {
        Some("attributes")
    } else {
        None
    };
    if let Some(what) = differing {
        let detail = format!("the quoting enclave is not the one described: its {what} differ");
        return Err(Error::item(Item::QeIdentity, ItemFault::Mismatch, detail));
    }
    let level =
        wanted.tcb_levels.iter().find(|level| found.isv_svn >= level.tcb.isvsvn).ok_or_else(|| {
            let detail =
                format!("the quoting enclave's SVN {} is below every listed level: update it", found.isv_svn);
            Error::item(Item::QeIdentity, ItemFault::NoMatchingLevel, detail)
        })?;
    Ok(TcbStatusWithAdvisory::new(level.tcb_status, level.advisory_ids.clone()))
}

/// The TDX module's signer, attributes and level (R21); no level for modules before version 1.
fn explain_module(
    tcb_info: &TcbInfo,
    tee_tcb_svn: &[u8; 16],
    mrsigner: &[u8; 48],
    attributes: &[u8; 8],
) -> Result<Option<TcbStatusWithAdvisory>, Error> {
    let base = tcb_info.tdx_module.as_ref().ok_or(Error::TdxModule("it describes none"))?;
    let unknown = |_| Error::TdxModule("its version is not listed");
    let identity = tcb_info.tdx_module_identity(tee_tcb_svn).map_err(unknown)?;
    let (signer, wanted) =
        identity.map_or((&base.mrsigner, &base.attributes), |module| (&module.mrsigner, &module.attributes));
    if !signer.eq_ignore_ascii_case(&hex::encode(mrsigner)) {
        return Err(Error::TdxModule("its signer differs"));
    }
    if !wanted.eq_ignore_ascii_case(&hex::encode(attributes)) {
        return Err(Error::TdxModule("its attributes differ"));
    }
    let Some(identity) = identity else {
        return Ok(None);
    };
    let met = identity.tcb_levels.iter().find(|level| level.shortfall(tee_tcb_svn).is_none());
    let level = met.ok_or(Error::NoMatchingLevel)?;
    Ok(Some(TcbStatusWithAdvisory::new(level.tcb_status, level.advisory_ids.clone())))
}
