//! From a root to the key that signed a report (AMD VCEK Certificate and KDS Interface Specification, 57230).

use bulla_tee::SnpTcb;
use rustls_pki_types::CertificateDer;

use super::report::SnpReport;
use super::{Roots, SnpSigner};
use crate::crypto::is_signed_p384;
use crate::error::{Item, ItemFault};
use crate::pki::{Certificate, Crl, Root, Shape, check_validity, check_window, walk};
use crate::{AmdProduct, Error};

/// A VCEK or VLEK below ASK or ASVK.
const SHAPE: Shape = Shape { below: 2, leaf_is_ca: false };

/// The extensions of a VCEK or VLEK below AMD's arc 1.3.6.1.4.1.3704.1, by what follows there.
mod oid {
    pub(super) const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
    pub(super) const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
    pub(super) const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
    pub(super) const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
    pub(super) const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
    /// Components that no processor has: zero where they are there.
    pub(super) const RESERVED: [&str; 4] = [
        "1.3.6.1.4.1.3704.1.3.4",
        "1.3.6.1.4.1.3704.1.3.5",
        "1.3.6.1.4.1.3704.1.3.6",
        "1.3.6.1.4.1.3704.1.3.7",
    ];
    pub(super) const HWID: &str = "1.3.6.1.4.1.3704.1.4";
    pub(super) const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
}

/// A key that AMD vouches for.
pub(super) struct Endorsed {
    pub(super) product: AmdProduct,
    pub(super) key: Key,
    /// An uncompressed point.
    public: Vec<u8>,
    pub(super) valid_until: u64,
}

/// What a key is certified for.
pub(super) enum Key {
    Vcek { tcb: SnpTcb, chip_id: [u8; 64] },
    Vlek { tcb: SnpTcb, csp_id: String },
}

impl Key {
    pub(super) const fn signer(&self) -> SnpSigner {
        match self {
            Self::Vcek { .. } => SnpSigner::Vcek,
            Self::Vlek { .. } => SnpSigner::Vlek,
        }
    }

    pub(super) const fn tcb(&self) -> SnpTcb {
        match self {
            Self::Vcek { tcb, .. } | Self::Vlek { tcb, .. } => *tcb,
        }
    }
}

impl Endorsed {
    /// Walks leaf, ASK or ASVK, ARK; the list is the ARK's.
    pub(super) fn verify(
        chain: &[CertificateDer<'static>],
        crl: Option<&[u8]>,
        now: u64,
        roots: &Roots,
    ) -> Result<Self, Error> {
        let fault = |fault, detail: &str| Error::item(Item::SnpChain, fault, detail);
        let last = chain.last().ok_or_else(|| fault(ItemFault::Chain, "there is no certificate"))?;
        let (product, anchor) = roots.iter().find(|(_, anchor)| anchor.is(last)).ok_or_else(|| {
            let detail = "the chain does not end at a root of AMD that is trusted here";
            fault(ItemFault::UntrustedRoot, detail)
        })?;
        let root = Root::find(anchor, [last.as_ref()].into_iter());
        let certificates = walk(Item::SnpChain, chain, SHAPE, &root)?;
        let top = root.certificate(Item::SnpChain)?;
        check_validity(Item::SnpChain, &certificates, now)?;
        check_validity(Item::SnpChain, std::slice::from_ref(top), now)?;
        let [leaf, issuer] = certificates.as_slice() else {
            return Err(fault(ItemFault::Chain, "it must be two certificates below the root"));
        };
        let mut windows: Vec<_> = [leaf, issuer, top].map(Certificate::window).into();
        if let Some(crl) = crl {
            let list = Crl::parse(Item::SnpCrl, crl)?;
            list.check_issuer(top)?;
            check_window(Item::SnpCrl, list.window(), now)?;
            list.check_revoked("the authority that issued the report's key", issuer)?;
            windows.push(list.window());
        }
        let key = key(leaf, *product)?;
        let wanted = match key.signer() {
            SnpSigner::Vcek => format!("SEV-{}", product.as_str()),
            SnpSigner::Vlek => format!("SEV-VLEK-{}", product.as_str()),
        };
        if issuer.common_name() != wanted {
            let detail =
                format!("a {} is issued by {wanted}, not by {}", key.signer().as_str(), issuer.common_name());
            return Err(fault(ItemFault::Chain, &detail));
        }
        Ok(Self {
            product: *product,
            key,
            public: leaf.key().to_vec(),
            valid_until: windows.into_iter().map(|(_, until)| until).min().unwrap_or(0),
        })
    }

    pub(super) fn has_signed(&self, report: &SnpReport<'_>) -> bool {
        is_signed_p384(&self.public, report.signed, &report.signature)
    }
}

/// AMD's extensions of a leaf whose chain was walked.
fn key(leaf: &Certificate<'_>, product: AmdProduct) -> Result<Key, Error> {
    let fault = |detail: String| Error::item(Item::SnpChain, ItemFault::Parse, detail);
    let version = |oid| match leaf.extension(oid) {
        Ok(Some(der)) => {
            small_integer(der).ok_or_else(|| fault(format!("its extension {oid} is no number up to 255")))
        }
        Ok(None) => Err(fault(format!("it lacks the extension {oid}"))),
        Err(()) => Err(fault(format!("it has the extension {oid} twice"))),
    };
    let has_fmc = product == AmdProduct::Turin;
    let tcb = SnpTcb {
        fmc: if has_fmc { version(oid::FMC)? } else { 0 },
        bootloader: version(oid::BOOTLOADER)?,
        tee: version(oid::TEE)?,
        snp: version(oid::SNP)?,
        microcode: version(oid::MICROCODE)?,
    };
    let unused = oid::RESERVED.into_iter().chain((!has_fmc).then_some(oid::FMC));
    for oid in unused {
        if leaf.extension(oid) != Ok(None) && version(oid)? != 0 {
            return Err(fault(format!("its extension {oid} is for a component that {product:?} has not")));
        }
    }
    match (leaf.extension(oid::HWID), leaf.extension(oid::CSP_ID)) {
        (Ok(Some(hwid)), Ok(None)) => {
            let chip_id = chip_id(product, hwid)
                .ok_or_else(|| fault(format!("its chip id has {} bytes", hwid.len())))?;
            Ok(Key::Vcek { tcb, chip_id })
        }
        (Ok(None), Ok(Some(csp_id))) => {
            let csp_id = text(csp_id).ok_or_else(|| fault("its provider's name is no text".into()))?;
            Ok(Key::Vlek { tcb, csp_id })
        }
        _ => Err(fault("it must name either a chip or a provider".into())),
    }
}

/// The chip id as reports have it: on Turin, 8 bytes and zeros.
fn chip_id(product: AmdProduct, hwid: &[u8]) -> Option<[u8; 64]> {
    let wanted = if product == AmdProduct::Turin { 8 } else { 64 };
    let mut chip_id = [0; 64];
    chip_id.get_mut(..hwid.len())?.copy_from_slice(hwid);
    (hwid.len() == wanted && chip_id != [0; 64]).then_some(chip_id)
}

/// A DER INTEGER from 0 to 255, in its shortest form.
const fn small_integer(der: &[u8]) -> Option<u8> {
    match der {
        [2, 1, value @ 0..=0x7F] | [2, 2, 0, value @ 0x80..=0xFF] => Some(*value),
        _ => None,
    }
}

/// A DER IA5String of visible characters.
fn text(der: &[u8]) -> Option<String> {
    let [0x16, length @ 1..=0x7F, text @ ..] = der else { return None };
    let visible = text.iter().all(|byte| (0x20..0x7F).contains(byte));
    (text.len() == usize::from(*length) && visible).then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_one_form_only() {
        for (der, wanted) in [
            (&[2, 1, 0][..], Some(0)),
            (&[2, 1, 0x7F], Some(0x7F)),
            (&[2, 2, 0, 0xDB], Some(0xDB)),
            (&[2, 2, 0, 0x7F], None),
            (&[2, 1, 0x80], None),
            (&[2, 2, 1, 0], None),
            (&[4, 1, 0], None),
            (&[2, 1, 0, 0], None),
            (&[2, 1], None),
            (&[], None),
        ] {
            assert_eq!(small_integer(der), wanted, "{der:02x?}");
        }
        assert_eq!(text(b"\x16\x02ab").as_deref(), Some("ab"));
        for bad in [&b"\x16\x02a"[..], b"\x16\x01ab", b"\x16\x01\n", b"\x16\x00", b"\x0c\x01a", b""] {
            assert_eq!(text(bad), None, "{bad:02x?}");
        }
    }

    #[test]
    fn r13_a_chip_id_has_the_length_of_its_family_and_is_not_zero() {
        let long = [7; 64];
        let mut short = [0; 64];
        short[..8].fill(7);
        assert_eq!(chip_id(AmdProduct::Milan, &long), Some(long));
        assert_eq!(chip_id(AmdProduct::Turin, &[7; 8]), Some(short));
        for (product, hwid) in [
            (AmdProduct::Milan, &[7; 8][..]),
            (AmdProduct::Genoa, &[7; 63]),
            (AmdProduct::Genoa, &[7; 65]),
            (AmdProduct::Milan, &[0; 64]),
            (AmdProduct::Turin, &[7; 64]),
            (AmdProduct::Turin, &[0; 8]),
        ] {
            assert_eq!(chip_id(product, hwid), None, "{product:?} {}", hwid.len());
        }
    }
}
