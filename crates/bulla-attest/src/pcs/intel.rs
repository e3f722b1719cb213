//! TCB info, QE identity and revocation lists, from Intel's service or a cache of it.

use std::fmt;

use dcap_qvl::QuoteCollateralV3;

use super::decode::{Document, crl, document, issuers};
use super::fetch::{Fetcher, Session, Wanted, fault};
use super::settings::{Channel, PcsSettings};
use crate::collateral::lower;
use crate::document::Head;
use crate::error::{Item, ServiceFault};
use crate::{Collateral, CollateralId, CollateralSource, Error, IntelCollateralId};

/// The largest TCB info or QE identity, in bytes (R31); real ones have up to 20 KiB.
const DOCUMENT_MAX: usize = 256 << 10;
/// The largest CRL in any form, in bytes; real ones have up to 3 KiB of DER.
const CRL_MAX: usize = 256 << 10;

/// Gets collateral for SGX and TDX quotes.
///
/// ```no_run
/// use bulla_attest::pcs::{PcsClient, PcsSettings};
/// use bulla_attest::{CollateralId, CollateralSource};
///
/// # fn get(quote: &[u8]) -> Result<(), bulla_attest::Error> {
/// let client = PcsClient::new(PcsSettings::intel());
/// let collateral = client.collateral(&CollateralId::of_quote(quote)?)?;
/// # Ok(())
/// # }
/// ```
pub struct PcsClient {
    settings: PcsSettings,
    fetcher: Fetcher,
}

impl PcsClient {
    /// A client of one service. It connects when it is asked, and keeps the connection for a while.
    pub fn new(settings: PcsSettings) -> Self {
        let fetcher = Fetcher::new(&settings.reach);
        Self { settings, fetcher }
    }

    #[cfg(test)]
    pub(super) fn over(settings: PcsSettings, fetcher: Fetcher) -> Self {
        Self { settings, fetcher }
    }

    fn set(&self, id: &IntelCollateralId) -> Result<Collateral, Error> {
        let session = self.fetcher.session();
        let (tee, fmspc) = (lower(id.tee), hex::encode_upper(id.fmspc));
        let of_platform = [("fmspc", fmspc.as_str())];
        let (tcb_info, tcb_info_issuer_chain) = self.tcb_info(&session, tee, &of_platform)?;
        let (qe_identity, qe_identity_issuer_chain) = self.qe_identity(&session, tee)?;
        let (pck_crl, pck_crl_issuer_chain) = self.pck_crl(&session, id.ca.as_str())?;
        let collateral = Collateral::intel(QuoteCollateralV3 {
            pck_crl_issuer_chain,
            root_ca_crl: self.root_crl(&session)?,
            pck_crl,
            tcb_info_issuer_chain,
            tcb_info: tcb_info.text,
            tcb_info_signature: tcb_info.signature,
            qe_identity_issuer_chain,
            qe_identity: qe_identity.text,
            qe_identity_signature: qe_identity.signature,
            pck_certificate_chain: None,
        });
        // Each part is bounded above; together they must be readable again.
        match collateral.to_json().len() {
            length if length > Collateral::LIMIT => Err(Error::CollateralTooLarge(length)),
            _ => Ok(collateral),
        }
    }

    fn tcb_info(
        &self,
        session: &Session<'_>,
        tee: &str,
        of_platform: &[(&str, &str)],
    ) -> Result<(Document, String), Error> {
        let url = self.url(tee, "tcb", of_platform, self.settings.channel);
        let headers = self.headers();
        let wanted = Wanted { what: "TCB info", url: &url, headers: &headers, limit: DOCUMENT_MAX };
        let answer = session.get(&wanted)?;
        let document = document(&wanted, &answer)?;
        if let Channel::Number(number) = self.settings.channel {
            // A cache may know nothing of the parameter and answer with what it has.
            let found = Head::parse(Item::TcbInfo, &document.text)?.tcb_evaluation_data_number;
            if found != number {
                let why = format!("it answers with TCB evaluation number {found} instead of {number}");
                return Err(fault(&wanted, ServiceFault::Malformed, &why));
            }
        }
        let names = ["tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"];
        let issuers = issuers(&wanted, &answer, &names)?;
        Ok((document, issuers))
    }

    fn qe_identity(&self, session: &Session<'_>, tee: &str) -> Result<(Document, String), Error> {
        let ask = |channel| {
            let url = self.url(tee, "qe/identity", &[], channel);
            let headers = self.headers();
            let wanted = Wanted { what: "QE identity", url: &url, headers: &headers, limit: DOCUMENT_MAX };
            let answer = session.get(&wanted)?;
            let names = ["sgx-enclave-identity-issuer-chain", "enclave-identity-issuer-chain"];
            Ok((document(&wanted, &answer)?, issuers(&wanted, &answer, &names)?))
        };
        match ask(self.settings.channel) {
            // Identities change more seldom than TCB infos: not every number has one.
            Err(Error::Service { fault: ServiceFault::Unknown, .. })
                if matches!(self.settings.channel, Channel::Number(_)) =>
            {
                ask(Channel::Standard)
            }
            asked => asked,
        }
    }

    fn pck_crl(&self, session: &Session<'_>, ca: &str) -> Result<(Vec<u8>, String), Error> {
        let url = self.url("sgx", "pckcrl", &[("ca", ca), ("encoding", "der")], Channel::Standard);
        let headers = self.headers();
        let wanted = Wanted { what: "PCK CRL", url: &url, headers: &headers, limit: CRL_MAX };
        let answer = session.get(&wanted)?;
        Ok((crl(&wanted, &answer)?, issuers(&wanted, &answer, &["sgx-pck-crl-issuer-chain"])?))
    }

    fn root_crl(&self, session: &Session<'_>) -> Result<Vec<u8>, Error> {
        let url = &self.settings.root_crl;
        let wanted = Wanted { what: "root CA CRL", url, headers: &[], limit: CRL_MAX };
        crl(&wanted, &session.get(&wanted)?)
    }

    fn url(&self, tee: &str, document: &str, parameters: &[(&str, &str)], channel: Channel) -> String {
        let mut url = format!("{}/{tee}/certification/v4/{document}", self.settings.base);
        let number;
        let channel = match channel {
            Channel::Standard => None,
            Channel::Early => Some(("update", "early")),
            Channel::Number(wanted) => {
                number = wanted.to_string();
                Some(("tcbEvaluationDataNumber", number.as_str()))
            }
        };
        for (index, (name, value)) in parameters.iter().copied().chain(channel).enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.extend([name, "=", value]);
        }
        url
    }

    fn headers(&self) -> Vec<(&'static str, &str)> {
        let key = self.settings.subscription_key.as_ref();
        let key = key.and_then(|key| str::from_utf8(key.expose()).ok());
        key.map(|key| ("Ocp-Apim-Subscription-Key", key)).into_iter().collect()
    }
}

impl CollateralSource for PcsClient {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, Error> {
        match id {
            CollateralId::Intel(id) => self.set(id),
            CollateralId::Amd(_) => {
                let why = "Intel's service has none for SEV-SNP reports: ask AMD's";
                Err(Error::CollateralUnavailable(why.into()))
            }
        }
    }
}

impl fmt::Debug for PcsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcsClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}
