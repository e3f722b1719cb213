//! Certificates and revocation lists for SEV-SNP reports, from AMD's key distribution service (AMD publication 57230).

use std::fmt;
use std::time::Duration;

use bulla_tee::SnpTcb;

use super::decode::crl;
use super::fetch::{Fetcher, Session, Wanted, fault};
use super::settings::{Reach, address_of, authorities};
use crate::error::{Item, ServiceFault};
use crate::pki::Certificate;
use crate::{AmdCollateralId, AmdProduct, Collateral, CollateralId, CollateralSource, Error, SnpSigner};

const AMD: &str = "https://kdsintf.amd.com";
/// The largest certificate, chain or list, in bytes (R31); real ones have up to 5 KiB.
const LIMIT: usize = 64 << 10;

/// Gets collateral for SEV-SNP reports that a chip's own key signed (VCEK).
///
/// AMD's service answers few requests a minute: keep what it answers, which is good for years.
///
/// ```no_run
/// use bulla_attest::pcs::KdsClient;
/// use bulla_attest::{CollateralId, CollateralSource};
///
/// # fn get(report: &[u8]) -> Result<(), bulla_attest::Error> {
/// let collateral = KdsClient::amd().collateral(&CollateralId::of_quote(report)?)?;
/// # Ok(())
/// # }
/// ```
pub struct KdsClient {
    base: String,
    reach: Reach,
    fetcher: Fetcher,
}

impl KdsClient {
    /// AMD's own service.
    pub fn amd() -> Self {
        Self::with(AMD.into(), Reach::default())
    }

    /// A service with AMD's API elsewhere, and the authorities, in PEM, that may vouch for it instead of those of the web.
    ///
    /// # Errors
    /// `usage.collateral` if the address is not an `https://` address, or an `http://` address of this machine, or the
    /// authorities are not certificates.
    pub fn service(address: &str, authorities_pem: Option<&[u8]>) -> Result<Self, Error> {
        let roots = authorities_pem.map(authorities).transpose()?.unwrap_or_default();
        Ok(Self::with(address_of(address)?, Reach { roots, ..Reach::default() }))
    }

    /// How long connecting may take, and a whole set with all waiting; 5 and 30 seconds if not said.
    #[must_use]
    pub fn with_deadlines(self, connect: Duration, total: Duration) -> Self {
        Self::with(self.base, Reach { connect, total, ..self.reach })
    }

    fn with(base: String, reach: Reach) -> Self {
        let fetcher = Fetcher::new(&reach);
        Self { base, reach, fetcher }
    }

    #[cfg(test)]
    pub(super) fn over(fetcher: Fetcher) -> Self {
        Self { base: AMD.into(), reach: Reach::default(), fetcher }
    }

    /// The certificate of a chip's key at a TCB, in DER.
    ///
    /// # Errors
    /// `collateral.service.*`.
    pub fn vcek(&self, product: AmdProduct, chip_id: &[u8; 64], tcb: &SnpTcb) -> Result<Vec<u8>, Error> {
        self.fetch_vcek(&self.fetcher.session(), product, chip_id, tcb)
    }

    /// The issuers of a key: ASK or ASVK, then ARK, in PEM as the service has them.
    ///
    /// # Errors
    /// `collateral.service.*`.
    pub fn issuers(&self, product: AmdProduct, signer: SnpSigner) -> Result<String, Error> {
        self.fetch_issuers(&self.fetcher.session(), product, signer)
    }

    /// The root's revocation list, in DER.
    ///
    /// # Errors
    /// `collateral.service.*`.
    pub fn crl(&self, product: AmdProduct, signer: SnpSigner) -> Result<Vec<u8>, Error> {
        self.fetch_crl(&self.fetcher.session(), product, signer)
    }

    fn set(&self, id: &AmdCollateralId) -> Result<Collateral, Error> {
        let unavailable = |why: &str| Err(Error::CollateralUnavailable(why.into()));
        if id.signer == SnpSigner::Vlek {
            return unavailable(
                "AMD gives a provider's key (VLEK) to the provider: it comes with the report",
            );
        }
        if id.chip_id == [0; 64] {
            return unavailable(
                "the report hides its chip, by which AMD knows the key: it must come with the report",
            );
        }
        let session = self.fetcher.session();
        // Old reports do not name their product, and a chip is of one.
        let products = id.product.map_or(vec![AmdProduct::Milan, AmdProduct::Genoa], |product| vec![product]);
        let mut refusal = None;
        for product in products {
            match self.fetch_vcek(&session, product, &id.chip_id, &id.tcb(product)?) {
                Ok(leaf) => {
                    let issuers = self.fetch_issuers(&session, product, id.signer)?;
                    let crl = self.fetch_crl(&session, product, id.signer)?;
                    return Ok(Collateral::snp(leaf, issuers, Some(crl)));
                }
                Err(error @ Error::Service { fault: ServiceFault::Unknown, .. }) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        refusal.map_or_else(|| unavailable("no product is known"), Err)
    }

    fn fetch_vcek(
        &self,
        session: &Session<'_>,
        product: AmdProduct,
        chip_id: &[u8; 64],
        tcb: &SnpTcb,
    ) -> Result<Vec<u8>, Error> {
        let is_turin = product == AmdProduct::Turin;
        let hwid = hex::encode(chip_id.get(..if is_turin { 8 } else { 64 }).unwrap_or_default());
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = tcb;
        let fmc = if is_turin { format!("fmcSPL={fmc:02}&") } else { String::new() };
        let url = format!(
            "{}/vcek/v1/{}/{hwid}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
            self.base,
            product.as_str()
        );
        let wanted = Wanted { what: "VCEK certificate", url: &url, headers: &[], limit: LIMIT };
        let answer = session.get(&wanted)?;
        if Certificate::of(Item::SnpChain, &answer.body).is_err() {
            return Err(fault(
                &wanted,
                ServiceFault::Malformed,
                "it does not answer with a certificate in DER",
            ));
        }
        Ok(answer.body)
    }

    fn fetch_issuers(
        &self,
        session: &Session<'_>,
        product: AmdProduct,
        signer: SnpSigner,
    ) -> Result<String, Error> {
        let url = self.url(product, signer, "cert_chain");
        let wanted = Wanted { what: "VCEK's issuers", url: &url, headers: &[], limit: LIMIT };
        let answer = session.get(&wanted)?;
        let not_text =
            |_| fault(&wanted, ServiceFault::Malformed, "it does not answer with certificates in PEM");
        String::from_utf8(answer.body).map_err(not_text)
    }

    fn fetch_crl(
        &self,
        session: &Session<'_>,
        product: AmdProduct,
        signer: SnpSigner,
    ) -> Result<Vec<u8>, Error> {
        let url = self.url(product, signer, "crl");
        let wanted = Wanted { what: "CRL of its root", url: &url, headers: &[], limit: LIMIT };
        crl(&wanted, &session.get(&wanted)?)
    }

    fn url(&self, product: AmdProduct, signer: SnpSigner, document: &str) -> String {
        let signer = signer.as_str().to_ascii_lowercase();
        format!("{}/{signer}/v1/{}/{document}", self.base, product.as_str())
    }
}

impl CollateralSource for KdsClient {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, Error> {
        match id {
            CollateralId::Amd(id) => self.set(id),
            CollateralId::Intel(_) => {
                let why = "AMD's service has none for SGX and TDX quotes: ask Intel's";
                Err(Error::CollateralUnavailable(why.into()))
            }
        }
    }
}

impl fmt::Debug for KdsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KdsClient").field("base", &self.base).finish_non_exhaustive()
    }
}
