//! How a platform, its TDX module and its quoting enclave stand by the levels that the vendor published.
//!
//! The verification library judges the quotes that it walks; this judges the others, what the library has only a sentence
//! for, and what is no quote.

use bulla_tee::sgx::arch::{ReportBody, flags};
use dcap_qvl::TcbStatus::{self, *};
use dcap_qvl::tcb_info::TdxModuleIdentity;
use dcap_qvl::{QeIdentity, TcbInfo, TcbLevel, TcbStatusWithAdvisory};

use crate::error::{Item, ItemFault};
use crate::{Error, IntelPlatform, Tcb};

/// What a TCB info says of a platform, and of a TDX module. The other statuses are computed, or of nobody.
const OF_PLATFORMS: [TcbStatus; 7] = [
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked,
];
const OF_MODULES: [TcbStatus; 3] = [UpToDate, OutOfDate, Revoked];
const OF_QUOTING_ENCLAVES: [TcbStatus; 5] =
    [UpToDate, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked];

/// Brings the levels into the order in which they are looked through, whatever order they were published in (R20): by the
/// platform's components, then the PCE, then the TDX module, as Intel's verification library does.
pub(crate) fn highest_first(tcb_info: &mut TcbInfo) {
    fn key(level: &TcbLevel) -> impl Ord {
        (&level.tcb.sgx_components, level.tcb.pce_svn, &level.tcb.tdx_components)
    }
    tcb_info.tcb_levels.sort_by(|a, b| key(b).cmp(&key(a)));
}

/// The TDX module that a guest was started under, as the guest's evidence names it, and the one that runs now.
pub(crate) struct TdxModule<'a> {
    pub(crate) tee_tcb_svn: &'a [u8; 16],
    pub(crate) mrsigner: &'a [u8; 48],
    pub(crate) attributes: &'a [u8; 8],
    /// TEE_TCB_SVN2, where the evidence has it.
    pub(crate) running: Option<&'a [u8; 16]>,
    /// Whether a newer one that runs now excuses an old one at launch ([`relaunch`]).
    pub(crate) excused: bool,
}

/// The verdict on an enclave's platform and its quoting enclave.
pub(crate) fn enclave_level(
    platform: &IntelPlatform,
    qe: &TcbStatusWithAdvisory,
    tcb_info: &TcbInfo,
) -> Result<TcbStatusWithAdvisory, Error> {
    Ok(platform_level(platform, None, tcb_info)?.merge(qe))
}

/// The verdict on a guest's platform, its TDX module, and the quoting enclave.
pub(crate) fn guest_level(
    platform: &IntelPlatform,
    module: &TdxModule<'_>,
    qe: &TcbStatusWithAdvisory,
    tcb_info: &TcbInfo,
) -> Result<TcbStatusWithAdvisory, Error> {
    let level = |svn| Ok::<_, Error>(platform_level(platform, Some(svn), tcb_info)?.merge(qe));
    let mut found = level(module.tee_tcb_svn)?;
    check_module(module, tcb_info)?;
    if let Some(running) = module.running {
        let running = level(running)?.status;
        if running == Revoked {
            found.status = Revoked;
        } else if module.excused {
            found.status = relaunch(found.status, running);
        }
    }
    Ok(found)
}

/// The verdict on a platform and, for a guest, a TDX module with these versions.
fn platform_level(
    platform: &IntelPlatform,
    tee_tcb_svn: Option<&[u8; 16]>,
    tcb_info: &TcbInfo,
) -> Result<TcbStatusWithAdvisory, Error> {
    let mut found = None;
    for level in &tcb_info.tcb_levels {
        let short = level.shortfalls(&platform.cpusvn, platform.pcesvn, tee_tcb_svn).map_err(malformed)?;
        if short.is_empty() {
            found = Some(verdict(Item::TcbInfo, level.tcb_status, &level.advisory_ids, &OF_PLATFORMS)?);
            break;
        }
    }
    let found = found.ok_or_else(|| Error::NoMatchingLevel(Vec::new()))?;
    let module = tee_tcb_svn.map(|svn| module_level(svn, tcb_info)).transpose()?.flatten();
    Ok(match module {
        Some(module) => found.merge(&module),
        None => found,
    })
}

/// The status of a guest that was started under one TDX module and runs under a newer one (TDX 1.5), as Intel's verification
/// library finds it: what was out of date at launch is put right by starting the guest again, where what runs now is not.
const fn relaunch(launched: TcbStatus, running: TcbStatus) -> TcbStatus {
    match (launched, running) {
        (OutOfDate, UpToDate | SWHardeningNeeded) => TDRelaunchAdvised,
        (
            OutOfDate | OutOfDateConfigurationNeeded,
            ConfigurationNeeded | ConfigurationAndSWHardeningNeeded,
        )
        | (OutOfDateConfigurationNeeded, UpToDate | SWHardeningNeeded) => {
            TDRelaunchAdvisedConfigurationNeeded
        }
        _ => launched,
    }
}

/// A verdict in claims.
pub(crate) fn tcb(
    found: TcbStatusWithAdvisory,
    qe: &TcbStatusWithAdvisory,
    tcb_info: &TcbInfo,
    qe_identity: &QeIdentity,
) -> Tcb {
    Tcb {
        status: found.status.into(),
        advisory_ids: found.advisory_ids,
        evaluation_data_number: tcb_info
            .tcb_evaluation_data_number
            .min(qe_identity.tcb_evaluation_data_number),
        qe_status: qe.status.into(),
        shortfalls: Vec::new(),
    }
}

/// The quoting enclave's level in its identity (R18).
pub(crate) fn qe_level(found: &ReportBody, wanted: &QeIdentity) -> Result<TcbStatusWithAdvisory, Error> {
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
    } else if found.attributes.flags & flags::DEBUG != 0 {
        Some("attributes (debug)")
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
    verdict(Item::QeIdentity, level.tcb_status, &level.advisory_ids, &OF_QUOTING_ENCLAVES)
}

/// The TDX module's signer and attributes (R21).
fn check_module(found: &TdxModule<'_>, tcb_info: &TcbInfo) -> Result<(), Error> {
    let base = tcb_info.tdx_module.as_ref().ok_or(Error::TdxModule("it describes none"))?;
    let mut wanted = expected(&base.mrsigner, &base.attributes, &base.attributes_mask)?;
    if let Some(module) = module(found.tee_tcb_svn, tcb_info)? {
        wanted = expected(&module.mrsigner, &module.attributes, &module.attributes_mask)?;
    }
    let (signer, attributes) = wanted;
    if signer != *found.mrsigner {
        return Err(Error::TdxModule("its signer differs"));
    }
    if attributes != u64::from_le_bytes(*found.attributes) {
        return Err(Error::TdxModule("its attributes differ"));
    }
    Ok(())
}

/// The TDX module's level; none for modules before version 1.
fn module_level(tee_tcb_svn: &[u8; 16], tcb_info: &TcbInfo) -> Result<Option<TcbStatusWithAdvisory>, Error> {
    let Some(module) = module(tee_tcb_svn, tcb_info)? else {
        return Ok(None);
    };
    let met = module.tcb_levels.iter().find(|level| level.shortfall(tee_tcb_svn).is_none());
    let level = met.ok_or_else(|| Error::NoMatchingLevel(Vec::new()))?;
    verdict(Item::TcbInfo, level.tcb_status, &level.advisory_ids, &OF_MODULES).map(Some)
}

fn module<'a>(tee_tcb_svn: &[u8; 16], tcb_info: &'a TcbInfo) -> Result<Option<&'a TdxModuleIdentity>, Error> {
    let unknown = |_| Error::TdxModule("its version is not listed");
    tcb_info.tdx_module_identity(tee_tcb_svn).map_err(unknown)
}

fn verdict(
    item: Item,
    status: TcbStatus,
    advisories: &[String],
    known: &[TcbStatus],
) -> Result<TcbStatusWithAdvisory, Error> {
    if known.contains(&status) {
        Ok(TcbStatusWithAdvisory::new(status, advisories.to_vec()))
    } else {
        let detail = format!("a level has the status {status}, which it cannot have");
        Err(Error::item(item, ItemFault::Parse, detail))
    }
}

/// The signer and the attributes of a module; attributes that the mask leaves open must be zero.
fn expected(signer: &str, attributes: &str, mask: &str) -> Result<([u8; 48], u64), Error> {
    let [attributes, mask] = [octets(attributes)?, octets(mask)?].map(u64::from_le_bytes);
    Ok((octets(signer)?, attributes & mask))
}

fn octets<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    hex::decode_to_slice(text, &mut octets).map_err(malformed)?;
    Ok(octets)
}

fn malformed(detail: impl ToString) -> Error {
    Error::item(Item::TcbInfo, ItemFault::Parse, detail.to_string())
}
