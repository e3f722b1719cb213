//! SEV-SNP reports: from bytes, certificates and a revocation list to what they prove.
//!
//! A report is signed by a key of the machine's processor. The key is derived from secrets of the chip and from the TCB
//! that the machine reports, so firmware below that TCB never had it, and AMD certifies it for chip and TCB (VCEK). A
//! cloud provider can have a key of its own loaded into its machines instead (VLEK): that one is certified for the provider
//! and TCB, and names no machine.
//!
//! ```text
//! ARK (pinned) ── ASK  ── VCEK ── report      ARK signs the revocation list too,
//!             └─ ASVK ── VLEK ── report      of what it issued itself: ASK and ASVK
//! ```
//!
//! AMD gives every VCEK the serial number 0 and publishes no list of revoked ones: a chip is kept out by the policy's list
//! of machines, and old firmware by its floor.

pub(crate) mod appraise;
mod chain;
mod collateral;
mod report;
mod table;

pub use collateral::{AmdCollateralId, SnpSigner};
pub(crate) use collateral::{SnpSet, looks_like_report};

use std::collections::BTreeMap;

use bulla_tee::{Identity, SnpIdentity, is_simulated_chip};

use chain::{Endorsed, Key};
pub(crate) use report::SnpReport;

use crate::error::{Item, ItemFault};
use crate::{AmdPlatform, AmdProduct, Basis, Claims, Error, Platform, Policy, Tcb, TrustAnchor};

/// The roots of the processor families, each with its own.
pub(crate) type Roots = BTreeMap<AmdProduct, TrustAnchor>;

/// What a report proves, where the policy accepts it.
pub(crate) fn verify(
    bytes: &[u8],
    set: &SnpSet,
    now: u64,
    roots: &Roots,
    policy: &Policy,
) -> Result<Claims, Error> {
    let report = SnpReport::parse(bytes)?;
    let chain = set.chain()?;
    let endorsed = Endorsed::verify(&chain, set.crl(), now, roots)?;
    if !endorsed.has_signed(&report) {
        let detail =
            "its signature is not by the key of the certificate: it was changed, or another one is needed";
        return Err(Error::item(Item::SnpReport, ItemFault::Signature, detail));
    }
    let identity = report.identity(endorsed.product)?;
    // Where the machine hides its chip, the certificate still names it.
    let certified = match endorsed.key {
        Key::Vcek { chip_id, .. } => is_simulated_chip(&chip_id),
        Key::Vlek { .. } => false,
    };
    let simulated = certified || is_simulated_chip(&identity.chip_id);
    let platform = platform(&identity, report.signer, endorsed.key, endorsed.product, set.crl().is_some())?;
    let claims = Claims {
        report_data: report.raw.report_data,
        identity: Identity::Snp(Box::new(identity)),
        platform: Platform::Amd(platform),
        tcb: Tcb::UNLISTED,
        valid_until: endorsed.valid_until,
        simulated,
        local: false,
        basis: Basis { time: now, issued: set.issued()?, floor: None },
    };
    policy.appraise(&claims, now)?;
    Ok(claims)
}

/// A set without a report: that AMD vouches for the key, and that it is the one that was asked for. Returns the product.
pub(crate) fn check_set(
    id: &AmdCollateralId,
    set: &SnpSet,
    now: u64,
    roots: &Roots,
) -> Result<AmdProduct, Error> {
    let endorsed = Endorsed::verify(&set.chain()?, set.crl(), now, roots)?;
    let wrong = |fault, detail: &str| Err(Error::item(Item::SnpChain, fault, detail));
    if endorsed.key.signer() != id.signer {
        return wrong(ItemFault::SignerMismatch, "it is for the other kind of key than was asked for");
    }
    if endorsed.key.tcb() != id.tcb(endorsed.product)? {
        return wrong(ItemFault::TcbMismatch, "it is for another TCB than was asked for");
    }
    match endorsed.key {
        Key::Vcek { chip_id, .. } if id.chip_id != [0; 64] && chip_id != id.chip_id => {
            wrong(ItemFault::ChipMismatch, "it is for another chip than was asked for")
        }
        _ => Ok(endorsed.product),
    }
}

/// The certificate is for the key, the TCB and the chip that the report names.
fn platform(
    report: &SnpIdentity,
    signer: SnpSigner,
    key: Key,
    product: AmdProduct,
    revocation_checked: bool,
) -> Result<AmdPlatform, Error> {
    let differs = |fault, detail: String| Err(Error::item(Item::SnpReport, fault, detail));
    if signer != key.signer() {
        let detail = format!(
            "it says that its key is a {}, and the certificate is that of a {}",
            signer.as_str(),
            key.signer().as_str()
        );
        return differs(ItemFault::SignerMismatch, detail);
    }
    let certified = key.tcb();
    if report.reported_tcb != certified {
        let detail = format!(
            "it reports TCB {}, and the certificate is for {certified}: fetch the right one",
            report.reported_tcb
        );
        return differs(ItemFault::TcbMismatch, detail);
    }
    let hidden = report.chip_id == [0; 64];
    let (chip_id, csp_id) = match key {
        Key::Vcek { chip_id, .. } if hidden || report.chip_id == chip_id => {
            ((!hidden).then_some(chip_id), None)
        }
        Key::Vlek { csp_id, .. } if hidden => (None, Some(csp_id)),
        Key::Vcek { .. } => {
            return differs(ItemFault::ChipMismatch, "the certificate is for another chip".into());
        }
        Key::Vlek { .. } => {
            return differs(
                ItemFault::ChipMismatch,
                "it names a chip, and a provider's key names none".into(),
            );
        }
    };
    Ok(AmdPlatform { chip_id, product, csp_id, revocation_checked })
}
