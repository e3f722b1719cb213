//! The bytes of an attestation report, strictly (AMD SEV-SNP Firmware ABI specification, ATTESTATION_REPORT).

use bulla_tee::snp::{Report, TcbLayout, VERSIONS, key_info};
use bulla_tee::{SnpIdentity, SnpTcb};
use zerocopy::FromBytes;

use super::SnpSigner;
use crate::error::{Item, ItemFault};
use crate::{AmdProduct, Error};

/// How much of a report is signed.
const SIGNED: usize = 0x2A0;
/// ECDSA over P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;
/// How much of r and s, little-endian, can be other than zero.
const SCALAR: usize = 48;

/// A report whose every byte is accounted for. Nothing of it is verified.
pub(crate) struct SnpReport<'a> {
    pub(crate) raw: Report,
    /// What the signature covers.
    pub(crate) signed: &'a [u8],
    /// r and s, big-endian.
    pub(crate) signature: [u8; 2 * SCALAR],
    pub(crate) signer: SnpSigner,
}

impl<'a> SnpReport<'a> {
    /// Reads exactly one report (R32). What its version reserves must be zero.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let fault = |fault, detail: String| Err(Error::item(Item::SnpReport, fault, detail));
        let Ok(raw) = Report::read_from_bytes(bytes) else {
            let detail = format!("{} bytes long, and a report has {}", bytes.len(), size_of::<Report>());
            return fault(ItemFault::Parse, detail);
        };
        let version = raw.version.get();
        if !VERSIONS.contains(&version) {
            let detail = format!("version {version}; 2, 3 and 5 are known");
            return fault(ItemFault::UnsupportedVersion, detail);
        }
        if raw.signature_algo.get() != ECDSA_P384_SHA384 {
            let detail = format!("signature algorithm {}, and only 1 is known", raw.signature_algo.get());
            return fault(ItemFault::Parse, detail);
        }
        let key_info = raw.key_info.get();
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let mitigations = raw.launch_mitigations.get() | raw.current_mitigations.get();
        let ((r, r_rest), (s, s_rest)) = (scalar(&raw.signature_r), scalar(&raw.signature_s));
        for (name, zero) in [
            ("after KEY_INFO", is_zero(&raw.reserved0)),
            ("in KEY_INFO", key_info & !key_info::KNOWN == 0),
            ("for CPUID, before version 3", version >= 3 || is_zero(&raw.cpuid)),
            ("after CPUID", is_zero(&raw.reserved1)),
            ("after the firmware's versions", raw.reserved2 | raw.reserved3 == 0),
            ("for mitigations, before version 5", version >= 5 || mitigations == 0),
            ("before the signature", is_zero(&raw.reserved4)),
            ("in the signature", is_zero(r_rest) && is_zero(s_rest) && is_zero(&raw.reserved5)),
        ] {
            if !zero {
                return fault(ItemFault::Parse, format!("the reserved bytes {name} are not zero"));
            }
        }
        let signer = match ((key_info & key_info::SIGNING_KEY) >> 2, key_info & key_info::MASK_CHIP_KEY) {
            (0, 0) => SnpSigner::Vcek,
            (1, 0) => SnpSigner::Vlek,
            (_, masked) if masked != 0 => {
                let detail = "the machine hides its keys, so it is not signed: switch MASK_CHIP_KEY off";
                return fault(ItemFault::SignerMismatch, detail.into());
            }
            (other, _) => {
                let detail = format!("it is signed by key {other}; 0 (VCEK) and 1 (VLEK) are known");
                return fault(ItemFault::SignerMismatch, detail);
            }
        };
        let (signed, _) = bytes.split_at(SIGNED);
        let mut signature = [0; 2 * SCALAR];
        signature.iter_mut().zip(r.iter().rev().chain(s.iter().rev())).for_each(|(to, from)| *to = *from);
        Ok(Self { raw, signed, signature, signer })
    }

    /// Who runs, by the layout that the processor's family has for versions.
    pub(crate) fn identity(&self, product: AmdProduct) -> Result<SnpIdentity, Error> {
        self.raw.identity(layout(product)).map_err(no_tcb)
    }

    /// The family that the report says its processor is of; a hint, and none before version 3.
    pub(crate) fn product(&self) -> Option<AmdProduct> {
        let [family, model, _] = self.raw.cpuid;
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(AmdProduct::Milan),
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(AmdProduct::Genoa),
            (0x1A, 0x00..=0x1F) => Some(AmdProduct::Turin),
            _ => None,
        }
    }
}

/// The part of r or s that counts, and the part that is zero.
fn scalar(bytes: &[u8; 72]) -> (&[u8], &[u8]) {
    bytes.split_at(SCALAR)
}

/// Reads TCB_VERSION, which has another layout from Turin on.
pub(crate) fn tcb(product: AmdProduct, raw: [u8; 8]) -> Result<SnpTcb, Error> {
    layout(product).read(raw).ok_or_else(|| no_tcb(raw))
}

const fn layout(product: AmdProduct) -> TcbLayout {
    match product {
        AmdProduct::Milan | AmdProduct::Genoa => TcbLayout::Milan,
        AmdProduct::Turin => TcbLayout::Turin,
    }
}

fn no_tcb(raw: [u8; 8]) -> Error {
    let detail = format!("the reserved bytes in the TCB {} are not zero", hex::encode(raw));
    Error::item(Item::SnpReport, ItemFault::Parse, detail)
}
