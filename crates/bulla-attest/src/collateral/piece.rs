//! An item on its own, as it lies in a store and in a bundle.

use dcap_qvl::QuoteCollateralV3;
use serde::{Deserialize, Serialize};

use super::{Collateral, CollateralId, ItemId};
use crate::Error;

/// An item with its issuers. Nothing of it is verified: items are verified in sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Piece {
    /// A TCB info or a QE identity.
    Document {
        /// Exactly as it was signed (R19).
        text: String,
        #[serde(with = "hex")]
        signature: Vec<u8>,
        /// PEM, leaf first.
        issuer_chain: String,
    },
    /// A CRL.
    Crl {
        #[serde(with = "hex")]
        der: Vec<u8>,
        /// PEM, leaf first; empty for the root's list, whose issuer is the trust anchor.
        issuer_chain: String,
    },
    /// All that a SEV-SNP report needs.
    Snp {
        #[serde(with = "hex")]
        leaf: Vec<u8>,
        /// PEM.
        issuer_chain: String,
        /// DER, in hex.
        crl: Option<String>,
    },
}

impl Piece {
    /// A set, taken apart.
    pub(crate) fn of(collateral: &Collateral, id: &CollateralId) -> Result<Vec<(ItemId, Self)>, Error> {
        let id = match id {
            CollateralId::Intel(id) => id,
            CollateralId::Amd(id) => {
                let Some(set) = collateral.snp_set().cloned() else {
                    return Err(Error::CollateralKind { wanted: "a SEV-SNP report", found: "a quote" });
                };
                let (leaf, issuer_chain, crl) = (set.leaf, set.issuer_chain, set.crl.map(hex::encode));
                return Ok(vec![(ItemId::SnpSet(*id), Self::Snp { leaf, issuer_chain, crl })]);
            }
        };
        let set = collateral.items()?.clone();
        let [tcb_info, qe_identity, pck_crl, root_crl] = ItemId::of_intel(id);
        let document = |text, signature, issuer_chain| Self::Document { text, signature, issuer_chain };
        let crl = |der, issuer_chain| Self::Crl { der, issuer_chain };
        Ok(vec![
            (tcb_info, document(set.tcb_info, set.tcb_info_signature, set.tcb_info_issuer_chain)),
            (qe_identity, document(set.qe_identity, set.qe_identity_signature, set.qe_identity_issuer_chain)),
            (pck_crl, crl(set.pck_crl, set.pck_crl_issuer_chain)),
            (root_crl, crl(set.root_ca_crl, String::new())),
        ])
    }

    /// Whether it is the kind of thing that an item of this name is.
    pub(crate) const fn is_of(&self, id: ItemId) -> bool {
        match id {
            ItemId::TcbInfo { .. } | ItemId::QeIdentity { .. } => matches!(self, Self::Document { .. }),
            ItemId::PckCrl { .. } | ItemId::RootCrl => matches!(self, Self::Crl { .. }),
            ItemId::SnpSet(_) => matches!(self, Self::Snp { .. }),
            ItemId::SnpCrl { .. } => false, // in the set
        }
    }

    /// A set, put together from pieces in the order of [`ItemId::of`]; `None` if they are not of the right kinds.
    pub(crate) fn assemble(pieces: &[&Self]) -> Option<Collateral> {
        match pieces {
            [Self::Snp { leaf, issuer_chain, crl }] => {
                let crl = crl.as_ref().map(hex::decode).transpose().ok()?;
                Some(Collateral::snp(leaf.clone(), issuer_chain.clone(), crl))
            }
            [
                Self::Document { text, signature, issuer_chain },
                Self::Document { text: qe_text, signature: qe_signature, issuer_chain: qe_chain },
                Self::Crl { der, issuer_chain: crl_chain },
                Self::Crl { der: root_der, .. },
            ] => Some(Collateral::intel(QuoteCollateralV3 {
                pck_crl_issuer_chain: crl_chain.clone(),
                root_ca_crl: root_der.clone(),
                pck_crl: der.clone(),
                tcb_info_issuer_chain: issuer_chain.clone(),
                tcb_info: text.clone(),
                tcb_info_signature: signature.clone(),
                qe_identity_issuer_chain: qe_chain.clone(),
                qe_identity: qe_text.clone(),
                qe_identity_signature: qe_signature.clone(),
                pck_certificate_chain: None,
            })),
            _ => None,
        }
    }
}
