//! The items of a set, by name and by edition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{CollateralId, IntelCollateralId, PckCa, TeeKind};
use crate::{AmdCollateralId, AmdProduct, SnpSigner};

/// One item of collateral. Sets share items: all platforms have one root CRL.
///
/// ```
/// use bulla_attest::collateral::ItemId;
///
/// let item: ItemId = "tcb-info-tdx-90c06f000000".parse().unwrap();
/// assert_eq!(item.to_string(), "tcb-info-tdx-90c06f000000");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ItemId {
    /// The TCB info of a processor family.
    TcbInfo {
        /// For enclaves or for guests.
        tee: TeeKind,
        /// The processor family.
        fmspc: [u8; 6],
    },
    /// The identity of the quoting enclave.
    QeIdentity {
        /// For enclaves or for guests.
        tee: TeeKind,
    },
    /// The CRL of an authority that issues PCK certificates.
    PckCrl {
        /// Which one.
        ca: PckCa,
    },
    /// The CRL of Intel's root.
    RootCrl,
    /// The certificates of the key that signs a SEV-SNP machine's reports, with the CRL that came with them.
    SnpSet(AmdCollateralId),
    /// The CRL of AMD's root for a family of processors.
    SnpCrl {
        /// The family.
        product: AmdProduct,
        /// Whose keys it is about; AMD publishes one for each.
        signer: SnpSigner,
    },
}

impl ItemId {
    /// What a set is kept in: four items of Intel's, which other sets share, or one of AMD's.
    pub fn of(id: &CollateralId) -> Vec<Self> {
        match *id {
            CollateralId::Intel(id) => Self::of_intel(&id).into(),
            CollateralId::Amd(id) => vec![Self::SnpSet(id)],
        }
    }

    pub(crate) const fn of_intel(id: &IntelCollateralId) -> [Self; 4] {
        let IntelCollateralId { tee, fmspc, ca } = *id;
        [Self::TcbInfo { tee, fmspc }, Self::QeIdentity { tee }, Self::PckCrl { ca }, Self::RootCrl]
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcbInfo { tee, fmspc } => write!(f, "tcb-info-{}-{}", lower(*tee), hex::encode(fmspc)),
            Self::QeIdentity { tee } => write!(f, "qe-identity-{}", lower(*tee)),
            Self::PckCrl { ca } => write!(f, "pck-crl-{}", ca.as_str()),
            Self::RootCrl => f.write_str("root-crl"),
            Self::SnpSet(AmdCollateralId { signer, product, chip_id, reported_tcb }) => {
                let product = product.map_or("any", |product| lower_product(product));
                let [chip_id, tcb] = [hex::encode(chip_id), hex::encode(reported_tcb)];
                write!(f, "snp-set-{}-{product}-{chip_id}-{tcb}", lower_signer(*signer))
            }
            Self::SnpCrl { product, signer } => {
                write!(f, "snp-crl-{}-{}", lower_product(*product), lower_signer(*signer))
            }
        }
    }
}

impl FromStr for ItemId {
    type Err = UnknownItem;

    fn from_str(name: &str) -> Result<Self, UnknownItem> {
        let parts: Vec<_> = name.split('-').collect();
        let found = match parts.as_slice() {
            ["root", "crl"] => Some(Self::RootCrl),
            ["pck", "crl", ca] => named(ca, CAS, PckCa::as_str).map(|ca| Self::PckCrl { ca }),
            ["qe", "identity", of] => named(of, TEES, lower).map(|tee| Self::QeIdentity { tee }),
            ["tcb", "info", of, fmspc] => {
                named(of, TEES, lower).and_then(|tee| Some(Self::TcbInfo { tee, fmspc: digits(fmspc)? }))
            }
            ["snp", "crl", product, signer] => {
                named(product, AmdProduct::ALL, lower_product).and_then(|product| {
                    Some(Self::SnpCrl { product, signer: named(signer, SIGNERS, lower_signer)? })
                })
            }
            ["snp", "set", signer, product, chip_id, tcb] => {
                let product = match *product {
                    "any" => Some(None),
                    product => named(product, AmdProduct::ALL, lower_product).map(Some),
                };
                named(signer, SIGNERS, lower_signer).and_then(|signer| {
                    let (chip_id, reported_tcb) = (digits(chip_id)?, digits(tcb)?);
                    Some(Self::SnpSet(AmdCollateralId { signer, product: product?, chip_id, reported_tcb }))
                })
            }
            _ => None,
        };
        // One name for one item: upper-case digits are none.
        found.filter(|found| found.to_string() == name).ok_or(UnknownItem)
    }
}

pub(crate) const CAS: [PckCa; 2] = [PckCa::Processor, PckCa::Platform];
const TEES: [TeeKind; 2] = [TeeKind::Sgx, TeeKind::Tdx];
const SIGNERS: [SnpSigner; 2] = [SnpSigner::Vcek, SnpSigner::Vlek];

fn named<T: Copy, const N: usize>(name: &str, all: [T; N], name_of: impl Fn(T) -> &'static str) -> Option<T> {
    all.into_iter().find(|one| name_of(*one) == name)
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// A name that no item has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no item of collateral has this name")]
pub struct UnknownItem;

pub(crate) const fn lower(tee: TeeKind) -> &'static str {
    match tee {
        TeeKind::Sgx => "sgx",
        TeeKind::Tdx => "tdx",
    }
}

const fn lower_product(product: AmdProduct) -> &'static str {
    match product {
        AmdProduct::Milan => "milan",
        AmdProduct::Genoa => "genoa",
        AmdProduct::Turin => "turin",
    }
}

const fn lower_signer(signer: SnpSigner) -> &'static str {
    match signer {
        SnpSigner::Vcek => "vcek",
        SnpSigner::Vlek => "vlek",
    }
}

/// How new an item is: by its number, then by its date, then by how much it revokes.
///
/// Issuers raise the number of a document with each TCB recovery and of a CRL with each issue (RFC 5280, 5.2.3), but
/// Intel's CRLs have all been number 1, and documents are issued anew every day under one number, so that the date must
/// decide among equal numbers. A higher number makes an item newer even if it was issued earlier: two update channels
/// are not written at one time. Two CRLs of one number and one date that differ are either one list signed twice, which
/// is no difference, or an issuer's mistake, of which the list that revokes less is taken to be the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    // The order of the fields is the order of editions.
    #[serde(with = "decimal")]
    number: u128,
    issued: u64,
    revoked: u32,
}

impl Edition {
    pub(crate) const fn new(number: u128, issued: u64, revoked: u32) -> Self {
        Self { number, issued, revoked }
    }

    /// A document's tcbEvaluationDataNumber; a CRL's number.
    pub const fn number(&self) -> u128 {
        self.number
    }

    /// When it was issued, in Unix seconds.
    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// How many certificates a CRL revokes; zero for a document.
    pub const fn revoked(&self) -> u32 {
        self.revoked
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {} of {} (Unix time)", self.number, self.issued)?;
        if self.revoked > 0 { write!(f, " with {} revoked", self.revoked) } else { Ok(()) }
    }
}

/// JSON numbers end below 128 bits.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let mut items = Vec::new();
        for (tee, ca) in [(TeeKind::Sgx, PckCa::Processor), (TeeKind::Tdx, PckCa::Platform)] {
            let fmspc = [0, 0x90, 0x6e, 0xd5, 0, 0];
            items.extend(ItemId::of(&CollateralId::Intel(IntelCollateralId { tee, fmspc, ca })));
        }
        for (signer, product) in [(SnpSigner::Vcek, Some(AmdProduct::Turin)), (SnpSigner::Vlek, None)] {
            let id = AmdCollateralId {
                signer,
                product,
                chip_id: [0xab; 64],
                reported_tcb: [1, 2, 3, 4, 5, 6, 7, 8],
            };
            items.extend(ItemId::of(&CollateralId::Amd(id)));
            items.push(ItemId::SnpCrl { product: AmdProduct::Milan, signer });
        }
        for item in items {
            assert_eq!(item.to_string().parse(), Ok(item));
        }
        for name in [
            "",
            "root",
            "root-crl-",
            "tcb-info-tdx-90C06F000000",
            "tcb-info-tdx-90c06f",
            "tcb-info-amd-90c06f000000",
        ] {
            assert_eq!(name.parse::<ItemId>(), Err(UnknownItem), "{name}");
        }
    }

    #[test]
    fn r29_editions_are_ordered_by_number_then_date_then_what_is_revoked() {
        let order = [(17, 200, 0), (19, 100, 0), (19, 150, 0), (19, 150, 44), (19, 150, 57), (19, 151, 0)];
        let order = order.map(|(number, issued, revoked)| Edition::new(number, issued, revoked));
        assert!(order.is_sorted() && order.iter().zip(&order[1..]).all(|(older, newer)| older < newer));
    }
}
