//! How a platform, its TDX module and its quoting enclave stand by the levels that the vendor published.
//!
//! Quotes are judged by the verification library; this judges what the library has only a sentence for, and what is no quote.

use bulla_tee::sgx::arch::ReportBody;
use dcap_qvl::TcbStatus::{self, *};
use dcap_qvl::{QeIdentity, TcbInfo, TcbStatusWithAdvisory};

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

/// Brings the levels into the order in which they are looked through, whatever order they were published in (R20): by the
/// platform's components, then the PCE, then the TDX module, as Intel's verification library does.
pub(crate) fn highest_first(tcb_info: &mut TcbInfo) {
    tcb_info.tcb_levels.sort_by(|a, b| {
        let key = |level: &dcap_qvl::TcbLevel| {
            (level.tcb.sgx_components.clone(), level.tcb.pce_svn, level.tcb.tdx_components.clone())
        };
        key(b).cmp(&key(a))
    });
}

/// What a TDX module says of itself.
#[derive(Clone, Copy)]
pub(crate) struct TdxModule<'a> {
    pub(crate) tee_tcb_svn: &'a [u8; 16],
    pub(crate) mrsigner: &'a [u8; 48],
    pub(crate) attributes: &'a [u8; 8],
}

/// The verdict on a platform and, for a guest, its TDX module; without the quoting enclave.
pub(crate) fn platform_level(
    platform: &IntelPlatform,
    module: Option<&TdxModule<'_>>,
    tcb_info: &TcbInfo,
) -> Result<TcbStatusWithAdvisory, Error> {
    let svn = module.map(|module| module.tee_tcb_svn);
    let mut found = None;
    for level in &tcb_info.tcb_levels {
        let short = level.shortfalls(&platform.cpusvn, platform.pcesvn, svn).map_err(malformed)?;
        if short.is_empty() {
            found = Some(verdict(level.tcb_status, &level.advisory_ids, &OF_PLATFORMS)?);
            break;
        }
    }
    let found = found.ok_or_else(|| Error::NoMatchingLevel(Vec::new()))?;
    let module = module.map(|module| module_level(tcb_info, module)).transpose()?.flatten();
    Ok(match module {
        Some(module) => found.merge(&module),
        None => found,
    })
}

/// The status of a guest that was started under one TDX module and runs under a newer one (TDX 1.5), as Intel's verification
/// library finds it: what was out of date at launch is put right by starting the guest again, where what runs now is not.
pub(crate) const fn relaunch(launched: TcbStatus, running: TcbStatus) -> TcbStatus {
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

/// The verdict on a platform and its quoting enclave together.
pub(crate) fn converge(
    platform: TcbStatusWithAdvisory,
    qe: &TcbStatusWithAdvisory,
    tcb_info: &TcbInfo,
    qe_identity: &QeIdentity,
) -> Tcb {
    let found = platform.merge(qe);
    let numbers = [tcb_info.tcb_evaluation_data_number, qe_identity.tcb_evaluation_data_number];
    Tcb {
        status: found.status.into(),
        advisory_ids: found.advisory_ids,
        evaluation_data_number: numbers.into_iter().min().unwrap_or_default(),
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
fn module_level(tcb_info: &TcbInfo, found: &TdxModule<'_>) -> Result<Option<TcbStatusWithAdvisory>, Error> {
    let base = tcb_info.tdx_module.as_ref().ok_or(Error::TdxModule("it describes none"))?;
    let unknown = |_| Error::TdxModule("its version is not listed");
    let identity = tcb_info.tdx_module_identity(found.tee_tcb_svn).map_err(unknown)?;
    let mut wanted = expected(&base.mrsigner, &base.attributes, &base.attributes_mask)?;
    if let Some(module) = identity {
        wanted = expected(&module.mrsigner, &module.attributes, &module.attributes_mask)?;
    }
    let (signer, attributes) = wanted;
    if signer != *found.mrsigner {
        return Err(Error::TdxModule("its signer differs"));
    }
    if attributes != u64::from_le_bytes(*found.attributes) {
        return Err(Error::TdxModule("its attributes differ"));
    }
    let Some(identity) = identity else {
        return Ok(None);
    };
    let met = identity.tcb_levels.iter().find(|level| level.shortfall(found.tee_tcb_svn).is_none());
    let level = met.ok_or_else(|| Error::NoMatchingLevel(Vec::new()))?;
    verdict(level.tcb_status, &level.advisory_ids, &OF_MODULES).map(Some)
}

fn verdict(
    status: TcbStatus,
    advisories: &[String],
    known: &[TcbStatus],
) -> Result<TcbStatusWithAdvisory, Error> {
    if known.contains(&status) {
        Ok(TcbStatusWithAdvisory::new(status, advisories.to_vec()))
    } else {
        Err(malformed(format_args!("a level has the status {status}, which it cannot have")))
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
