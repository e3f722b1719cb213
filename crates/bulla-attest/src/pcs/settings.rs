//! Which service, and how patiently.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bulla_crypto::SecretBytes;
use ureq::http::Uri;

use crate::Error;

const INTEL: &str = "https://api.trustedservices.intel.com";
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// What operators copy from `sgx_default_qcnl.conf` ends with it.
const API: &str = "/sgx/certification/v4";
/// The PCCS answers the root CRL itself.
const PCCS_ROOT_CRL: &str = "/sgx/certification/v4/rootcacrl";

/// Which collateral to ask for. A TCB recovery is first published on the early channel, some time before machines must
/// have it; the standard channel follows when they must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// What Intel asks machines to meet now.
    #[default]
    Standard,
    /// What Intel will ask machines to meet.
    Early,
    /// One TCB evaluation number, for as long as Intel has it. QE identities are numbered on their own: where there is none
    /// of this number, the standard channel's is taken.
    Number(u32),
}

/// Where collateral for quotes comes from.
///
/// ```
/// use bulla_attest::pcs::{Channel, PcsSettings};
///
/// let intel = PcsSettings::intel().with_channel(Channel::Early);
/// let cache = PcsSettings::pccs("https://pccs.example.com:8081/sgx/certification/v4/")?;
/// assert_eq!(PcsSettings::pccs("http://pccs.example.com").unwrap_err().code(), "usage.collateral");
/// # Ok::<(), bulla_attest::Error>(())
/// ```
pub struct PcsSettings {
    pub(super) base: String,
    pub(super) root_crl: String,
    pub(super) channel: Channel,
    pub(super) subscription_key: Option<SecretBytes>,
    pub(super) reach: Reach,
}

/// How a service is reached.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// DER. Without any, the roots of the web.
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) connect: Duration,
    pub(super) total: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self { roots: Vec::new(), connect: Duration::from_secs(5), total: Duration::from_secs(30) }
    }
}

impl PcsSettings {
    /// Intel's own service.
    pub fn intel() -> Self {
        Self::with(INTEL.into(), INTEL_ROOT_CRL.into())
    }

    /// A caching service at an address such as `https://localhost:8081`, with or without `/sgx/certification/v4/`.
    ///
    /// # Errors
    /// `usage.collateral` if it is not an `https://` address, or an `http://` address of this machine.
    pub fn pccs(address: &str) -> Result<Self, Error> {
        let base = address_of(address)?;
        let root_crl = format!("{base}{PCCS_ROOT_CRL}");
        Ok(Self::with(base, root_crl))
    }

    /// A service with Intel's API elsewhere, and the address of the root CRL, which Intel has on another host.
    ///
    /// # Errors
    /// As [`PcsSettings::pccs`].
    pub fn service(address: &str, root_crl: &str) -> Result<Self, Error> {
        Ok(Self::with(address_of(address)?, address_of(root_crl)?))
    }

    fn with(base: String, root_crl: String) -> Self {
        let (channel, reach) = (Channel::default(), Reach::default());
        Self { base, root_crl, channel, subscription_key: None, reach }
    }

    /// Which collateral to ask for; the standard channel if not said.
    #[must_use]
    pub fn with_channel(self, channel: Channel) -> Self {
        Self { channel, ..self }
    }

    /// The authorities, in PEM, that may vouch for the service instead of those of the web. A caching service's self-signed
    /// certificate is not an authority: give it one that is signed by an authority of your own.
    ///
    /// # Errors
    /// `usage.collateral` if there is no certificate in it, or something else.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.reach.roots = authorities(pem)?;
        Ok(self)
    }

    /// A key of Intel's API portal, sent as `Ocp-Apim-Subscription-Key` to the service and to nobody else. Public documents
    /// need none.
    ///
    /// # Errors
    /// `usage.collateral` if it cannot be in a header.
    pub fn with_subscription_key(self, key: SecretBytes) -> Result<Self, Error> {
        if key.expose().is_empty() || !key.expose().iter().all(u8::is_ascii_graphic) {
            return Err(Error::Setting("a subscription key is printable text without spaces".into()));
        }
        Ok(Self { subscription_key: Some(key), ..self })
    }

    /// How long connecting may take, and a whole set with all waiting; 5 and 30 seconds if not said.
    #[must_use]
    pub fn with_deadlines(mut self, connect: Duration, total: Duration) -> Self {
        (self.reach.connect, self.reach.total) = (connect, total);
        self
    }
}

impl fmt::Debug for PcsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcsSettings")
            .field("base", &self.base)
            .field("root_crl", &self.root_crl)
            .field("channel", &self.channel)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

pub(super) fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let wrong = |why: String| Error::Setting(format!("the file of authorities {why}"));
    let blocks = pem::parse_many(pem).map_err(|error| wrong(format!("is not PEM: {error}")))?;
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        return Err(wrong("must hold certificates and nothing else".into()));
    }
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}

/// An address without what is added to it.
pub(super) fn address_of(text: &str) -> Result<String, Error> {
    let wrong = |why: &str| Error::Setting(format!("the address {text:?} of the collateral service {why}"));
    let uri: Uri = text.parse().map_err(|_| wrong("is not one: write https://host"))?;
    let authority = uri.authority().ok_or_else(|| wrong("is not one: write https://host"))?;
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(wrong("must have no user and no query"));
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(authority.host()) => {}
        Some("http") => return Err(wrong("is http:// of another machine: use https://")),
        _ => return Err(wrong("does not begin with https://")),
    }
    let text = text.trim_end_matches('/');
    let base = text.strip_suffix(API).unwrap_or(text).trim_end_matches('/');
    if base.ends_with("/certification/v3") {
        return Err(wrong("is of version 3 of the API: use version 4"));
    }
    Ok(base.to_owned())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
