//! How a platform, its TDX module and its quoting enclave stand by the levels that the vendor published.
//!
//! Quotes are judged by the verification library; this judges what the library has only a sentence for, and what is no quote.

use bulla_tee::sgx::arch::ReportBody;
use dcap_qvl::{QeIdentity, TcbInfo, TcbStatusWithAdvisory};

use crate::error::{Item, ItemFault};
use crate::{Error, IntelPlatform, Tcb};

/// What a TDX module says of itself.
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
    let met = |level: &&dcap_qvl::TcbLevel| {
        level.shortfalls(&platform.cpusvn, platform.pcesvn, svn).is_ok_and(|short| short.is_empty())
    };
    let level = tcb_info.tcb_levels.iter().find(met).ok_or(Error::NoMatchingLevel)?;
    let found = TcbStatusWithAdvisory::new(level.tcb_status, level.advisory_ids.clone());
    let module = module.map(|module| module_level(tcb_info, module)).transpose()?.flatten();
    Ok(match module {
        Some(module) => found.merge(&module),
        None => found,
    })
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
    let (signer, wanted) =
        identity.map_or((&base.mrsigner, &base.attributes), |module| (&module.mrsigner, &module.attributes));
    if !signer.eq_ignore_ascii_case(&hex::encode(found.mrsigner)) {
        return Err(Error::TdxModule("its signer differs"));
    }
    if !wanted.eq_ignore_ascii_case(&hex::encode(found.attributes)) {
        return Err(Error::TdxModule("its attributes differ"));
    }
    let Some(identity) = identity else {
        return Ok(None);
    };
    let met = identity.tcb_levels.iter().find(|level| level.shortfall(found.tee_tcb_svn).is_none());
    let level = met.ok_or(Error::NoMatchingLevel)?;
    Ok(Some(TcbStatusWithAdvisory::new(level.tcb_status, level.advisory_ids.clone())))
}
