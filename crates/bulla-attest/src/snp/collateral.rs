//! What verifying a report needs: the certificate of its key, those of the issuers, and the root's revocation list.

use rustls_pki_types::CertificateDer;

use super::report::SnpReport;
use crate::error::Item;
use crate::pki::{Certificate, Crl, decode_pem};
use crate::{AmdProduct, Error};

/// A set of collateral for a report, not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnpSet {
    /// DER of the VCEK or VLEK.
    pub(crate) leaf: Vec<u8>,
    /// PEM of ASK or ASVK, then ARK.
    pub(crate) issuer_chain: String,
    /// DER of the ARK's list, where there is one.
    pub(crate) crl: Option<Vec<u8>>,
}

impl SnpSet {
    /// All certificates, leaf first.
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let issuers = decode_pem(Item::SnpChain, self.issuer_chain.as_bytes())?;
        Ok([CertificateDer::from(self.leaf.clone())].into_iter().chain(issuers).collect())
    }

    pub(crate) fn crl(&self) -> Option<&[u8]> {
        self.crl.as_deref()
    }

    /// When the list was issued, where there is one.
    pub(crate) fn issued(&self) -> Result<Option<u64>, Error> {
        let window = |crl: &Vec<u8>| Ok(Crl::parse(Item::SnpCrl, crl)?.window().0);
        self.crl.as_ref().map(window).transpose()
    }

    /// From when and until when each part says that it is good.
    pub(crate) fn windows(&self) -> Result<Vec<(u64, u64)>, Error> {
        let mut windows = Vec::new();
        for der in &self.chain()? {
            windows.push(Certificate::of(Item::SnpChain, der)?.window());
        }
        if let Some(crl) = &self.crl {
            windows.push(Crl::parse(Item::SnpCrl, crl)?.window());
        }
        Ok(windows)
    }
}

/// Whose key signs a SEV-SNP report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnpSigner {
    /// The chip's (versioned chip endorsement key).
    Vcek,
    /// The cloud provider's (versioned loaded endorsement key).
    Vlek,
}

impl SnpSigner {
    /// Its name, for example `VCEK`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }
}

/// What to ask AMD's key distribution service for; see [`CollateralId`](crate::CollateralId).
///
/// The service has VCEKs (by product, chip and TCB), and per product and signer a chain (ASK or ASVK, then ARK) and a
/// revocation list. VLEKs it gives to cloud providers only, who hand them to their guests with the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AmdCollateralId {
    /// Whose key signed.
    pub signer: SnpSigner,
    /// The processor family. `None` in reports before version 3, which do not say: Milan or Genoa.
    pub product: Option<AmdProduct>,
    /// The chip, all 64 bytes of the report: on Turin the service knows it by the first 8. Zero where the machine hides it.
    pub chip_id: [u8; 64],
    /// The reported TCB as it is in the report; its layout depends on the family.
    pub reported_tcb: [u8; 8],
}

impl AmdCollateralId {
    pub(crate) fn of_report(bytes: &[u8]) -> Result<Self, Error> {
        let report = SnpReport::parse(bytes)?;
        let (signer, product) = (report.signer, report.product());
        let (chip_id, reported_tcb) = (report.raw.chip_id, report.raw.reported_tcb);
        Ok(Self { signer, product, chip_id, reported_tcb })
    }

    /// The reported TCB, if the processor is of `product`.
    ///
    /// # Errors
    /// `snp.parse` if it is not in that family's layout.
    pub fn tcb(&self, product: AmdProduct) -> Result<bulla_tee::SnpTcb, Error> {
        super::report::tcb(product, self.reported_tcb)
    }
}

/// Whether unverified evidence looks like a SEV-SNP report rather than like a quote: a report begins with a version of
/// four bytes, a quote with one of two and a key type that is not zero.
pub(crate) fn looks_like_report(evidence: &[u8]) -> bool {
    matches!(evidence, [_, 0, 0, 0, ..])
}
