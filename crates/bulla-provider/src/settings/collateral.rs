//! Where collateral comes from. Whoever delivers it cannot forge it, so nothing here widens a decision (R51, R108).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_attest::CollateralSource;
use bulla_attest::collateral::Bundle;
use bulla_attest::pcs::{PcsClient, PcsSettings};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The largest file of authorities that is read, in bytes.
const AUTHORITIES_MAX: u64 = 1 << 20;
/// Hours in a month: collateral is hardly good for longer.
const AGE_MAX: u32 = 31 * 24;

/// Where collateral comes from. Without any of it: from the vendor's own service, or from the simulated machine itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CollateralSettings {
    /// The address of a caching service.
    pub pccs: Option<String>,
    /// The authorities, in PEM, that vouch for the caching service instead of those of the web.
    pub authorities: Option<PathBuf>,
    /// Collateral from a file. Without `pccs` nobody else is asked.
    pub bundle: Option<PathBuf>,
    /// How many hours after it was fetched a set is fetched again, however long it is good; 24 if absent.
    pub max_age_hours: Option<u32>,
}

/// What the settings of collateral lead to.
pub(crate) struct Collateral {
    pub(crate) source: Option<Arc<dyn CollateralSource>>,
    pub(crate) bundle: Option<Bundle>,
    /// In seconds.
    pub(crate) max_age: Option<u64>,
}

impl CollateralSettings {
    /// Opens what is named; `native` is what else is asked.
    pub(crate) fn open(&self, native: Arc<dyn CollateralSource>) -> Result<Collateral, Error> {
        let bundle = self.read_bundle()?;
        let source: Option<Arc<dyn CollateralSource>> = match self.service()? {
            Some(service) => Some(Arc::new(PcsClient::new(service))),
            None => bundle.is_none().then_some(native),
        };
        let max_age = self.max_age_hours.map(|hours| u64::from(hours) * 3600);
        Ok(Collateral { source, bundle, max_age })
    }

    /// The bundle as it is now.
    pub(crate) fn read_bundle(&self) -> Result<Option<Bundle>, Error> {
        self.bundle.as_deref().map(bundle).transpose()
    }

    /// What is wrong with what is named.
    pub(super) fn check(&self) -> Vec<Error> {
        let bundle = self.read_bundle().err();
        bundle.into_iter().chain(self.service().err()).collect()
    }

    /// The rules that a form does not express.
    pub(super) fn require(&self) -> Result<(), Error> {
        if self.max_age_hours.is_some_and(|hours| hours == 0 || hours > AGE_MAX) {
            return Err(Error::setting(
                "collateral.max_age_hours",
                format!("is not between 1 and {AGE_MAX}"),
            ));
        }
        match &self.pccs {
            Some(address) => pccs(address).map(drop),
            None if self.authorities.is_some() => {
                Err(Error::setting("collateral.authorities", "vouches for pccs, which is not there"))
            }
            None => Ok(()),
        }
    }

    fn service(&self) -> Result<Option<PcsSettings>, Error> {
        let Some(address) = &self.pccs else {
            return Ok(None);
        };
        let service = pccs(address)?;
        let Some(path) = &self.authorities else {
            return Ok(Some(service));
        };
        let pem = beginning("collateral.authorities", path, AUTHORITIES_MAX)?;
        let wrong = |error: bulla_attest::Error| Error::setting("collateral.authorities", error.to_string());
        service.with_authorities(&pem).map(Some).map_err(wrong)
    }
}

fn pccs(address: &str) -> Result<PcsSettings, Error> {
    PcsSettings::pccs(address).map_err(|error| Error::setting("collateral.pccs", error.to_string()))
}

fn bundle(path: &Path) -> Result<Bundle, Error> {
    let json = beginning("collateral.bundle", path, Bundle::LIMIT as u64 + 1)?;
    Bundle::from_json(&json).map_err(|error| Error::setting("collateral.bundle", error.to_string()))
}

/// The first bytes of a file that a setting names.
fn beginning(key: &str, path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let wrong = |error: std::io::Error| Error::setting(key, format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).map_err(wrong)?.take(most).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}
