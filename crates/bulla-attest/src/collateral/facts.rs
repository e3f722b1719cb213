//! What a set of collateral says about itself.

use super::{Collateral, CollateralId, Edition, IntelCollateralId, ItemId, PckCa, TeeKind, read_before};
use crate::document::Head;
use crate::error::{Item, ItemFault};
use crate::pki::Crl;
use crate::{AmdCollateralId, AmdProduct, Error};

/// What a set that verified says about itself: for what it is, how new it is and how long it is good.
/// [`Verifier::check_collateral`](crate::Verifier::check_collateral) makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    id: CollateralId,
    items: Vec<ItemFacts>,
    valid_until: u64,
}

/// What one item says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemFacts {
    /// Which one it is.
    pub id: ItemId,
    /// How new it is.
    pub edition: Edition,
    /// Until when it is good, in Unix seconds; that second does not count.
    pub next_update: u64,
}

impl Facts {
    /// For which platforms the set is.
    pub const fn id(&self) -> &CollateralId {
        &self.id
    }

    /// The items that have editions: TCB info, QE identity, PCK CRL and root CRL of a quote's set; the CRL of a SEV-SNP
    /// report's set, if it has one.
    pub fn items(&self) -> &[ItemFacts] {
        &self.items
    }

    /// The tcbEvaluationDataNumber of the TCB info, where there is one.
    pub fn evaluation_number(&self) -> Option<u128> {
        let tcb_info = self.items.iter().find(|item| matches!(item.id, ItemId::TcbInfo { .. }));
        tcb_info.map(|item| item.edition.number())
    }

    /// The latest issue of an item: it is no earlier than this, in Unix seconds.
    pub fn issued(&self) -> u64 {
        self.items.iter().map(|item| item.edition.issued()).max().unwrap_or(0)
    }

    /// Until when all items and all certificates are good, in Unix seconds; that second does not count.
    pub const fn valid_until(&self) -> u64 {
        self.valid_until
    }

    /// When to look for the next set: when less than a quarter of an item's validity is left.
    pub fn refresh_at(&self) -> u64 {
        let due = self.items.iter().map(|item| {
            let validity = item.next_update.saturating_sub(item.edition.issued());
            item.next_update.saturating_sub(validity / 4)
        });
        due.chain([self.valid_until]).min().unwrap_or(0)
    }

    /// Refuses a set for other quotes than those that were asked for.
    pub(crate) fn require(&self, wanted: &IntelCollateralId) -> Result<(), Error> {
        let refuse = |item, fault, [found, wanted]: [&str; 2]| {
            Err(Error::item(item, fault, format!("it is for {found}, and {wanted} was asked for")))
        };
        let Some(found) = self.id.intel() else {
            return Err(Error::CollateralKind { wanted: "a quote", found: "a SEV-SNP report" });
        };
        if found.tee != wanted.tee {
            return refuse(Item::TcbInfo, ItemFault::WrongId, [found.tee.name(), wanted.tee.name()]);
        }
        if found.fmspc != wanted.fmspc {
            let [found, wanted] = [found.fmspc, wanted.fmspc].map(hex::encode);
            return refuse(Item::TcbInfo, ItemFault::FmspcMismatch, [&found, &wanted]);
        }
        if found.ca != wanted.ca {
            return refuse(Item::PckCrl, ItemFault::WrongIssuer, [found.ca, wanted.ca].map(PckCa::as_str));
        }
        Ok(())
    }

    /// The same, of a set whose certificates are good until then.
    pub(crate) fn until(&self, certificates: u64) -> Self {
        Self { valid_until: self.valid_until.min(certificates), ..self.clone() }
    }

    /// Reads a set for a quote, of which nothing need be verified: only what its items say; not its certificates.
    pub(super) fn of_intel(collateral: &Collateral) -> Result<Self, Error> {
        let set = collateral.items()?;
        let read = collateral.read()?;
        let tcb_info = read_before(&read.tcb_head, || Head::parse(Item::TcbInfo, &set.tcb_info))?;
        let qe_identity = read_before(&read.qe_head, || Head::parse(Item::QeIdentity, &set.qe_identity))?;
        let pck_crl = read_before(&read.pck_crl, || Crl::parse(Item::PckCrl, &set.pck_crl))?;
        let root_crl = read_before(&read.root_crl, || Crl::parse(Item::RootCrl, &set.root_ca_crl))?;
        let id = IntelCollateralId {
            tee: tee(Item::TcbInfo, &tcb_info, ["SGX", "TDX"])?,
            fmspc: fmspc(&tcb_info)?,
            ca: authority(&pck_crl)?,
        };
        if tee(Item::QeIdentity, &qe_identity, ["QE", "TD_QE"])? != id.tee {
            let detail = format!("it is {:?} and the TCB info is for {}", qe_identity.id, id.tee.name());
            return Err(Error::item(Item::QeIdentity, ItemFault::WrongId, detail));
        }
        let [first, second, third, fourth] = ItemId::of_intel(&id);
        let items = vec![
            document(first, Item::TcbInfo, &tcb_info)?,
            document(second, Item::QeIdentity, &qe_identity)?,
            list(third, &pck_crl)?,
            list(fourth, &root_crl)?,
        ];
        let valid_until = items.iter().map(|item| item.next_update).min().unwrap_or(0);
        Ok(Self { id: CollateralId::Intel(id), items, valid_until })
    }

    /// Reads a set for a SEV-SNP report, which was found to be for this product and key.
    pub(crate) fn of_amd(
        collateral: &Collateral,
        id: AmdCollateralId,
        product: AmdProduct,
    ) -> Result<Self, Error> {
        let crl = collateral.snp_set().and_then(|set| set.crl.as_deref());
        let name = ItemId::SnpCrl { product, signer: id.signer };
        let item = crl.map(|der| list(name, &Crl::parse(Item::SnpCrl, der)?)).transpose()?;
        let items = item.into_iter().collect();
        Ok(Self { id: CollateralId::Amd(id), items, valid_until: collateral.valid_until()? })
    }
}

fn document(id: ItemId, item: Item, head: &Head) -> Result<ItemFacts, Error> {
    let (issued, next_update) = head.window(item)?;
    let edition = Edition::new(u128::from(head.tcb_evaluation_data_number), issued, 0);
    Ok(ItemFacts { id, edition, next_update })
}

fn list(id: ItemId, crl: &Crl) -> Result<ItemFacts, Error> {
    let (issued, next_update) = crl.window();
    let revoked = u32::try_from(crl.len()).unwrap_or(u32::MAX);
    Ok(ItemFacts { id, edition: Edition::new(crl.number()?, issued, revoked), next_update })
}

fn tee(item: Item, head: &Head, [sgx, tdx]: [&str; 2]) -> Result<TeeKind, Error> {
    match head.id.as_str() {
        id if id == sgx => Ok(TeeKind::Sgx),
        id if id == tdx => Ok(TeeKind::Tdx),
        other => {
            let other: String = other.chars().take(32).collect();
            Err(Error::item(item, ItemFault::WrongId, format!("it is for {other:?}, not {sgx} or {tdx}")))
        }
    }
}

fn fmspc(head: &Head) -> Result<[u8; 6], Error> {
    let mut fmspc = [0; 6];
    let not_one = |_| Error::item(Item::TcbInfo, ItemFault::Parse, "its FMSPC is not 6 bytes of hex");
    hex::decode_to_slice(&head.fmspc, &mut fmspc).map_err(not_one)?;
    Ok(fmspc)
}

/// Which authority issued the PCK CRL: by the name in it, as for a PCK certificate.
fn authority(crl: &Crl) -> Result<PckCa, Error> {
    let name = crl.issuer_name();
    let known = [(PckCa::Processor, "Processor"), (PckCa::Platform, "Platform")];
    let found = known.into_iter().find(|(_, known)| name.contains(known)).map(|(ca, _)| ca);
    found.ok_or_else(|| {
        let detail = "its issuer is not one of Intel's two PCK authorities";
        Error::item(Item::PckCrl, ItemFault::WrongIssuer, detail)
    })
}
