//! The bytes of a quote, strictly (Intel SGX ECDSA QuoteLibReference, quote versions 3, 4 and 5).
//!
//! This parser decides nothing but structure. It exists because `dcap-qvl` reads leniently: it accepts bytes after the
//! end, bytes inside containers that nothing covers, and any type of the outer certification data (R32, R34).

use bulla_tee::sgx::arch::ReportBody;
use bulla_tee::tdx::{QuoteHeader, TdQuoteBody};
use zerocopy::FromBytes;

use crate::error::ParseFault;
use crate::{Error, TeeKind};

/// The largest quote that is read (R31). Guests hand over quotes in buffers of up to 8000 bytes; real quotes have 5000.
const LIMIT: usize = 32 * 1024;

const HEADER: usize = 48;
const SGX_BODY: usize = 384;
const TD10_BODY: usize = 584;
const TD15_BODY: usize = 648;

const ECDSA_P256: u16 = 2;
const QE_REPORT_DATA: u16 = 6;
const PCK_CHAIN: u16 = 5;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;

/// A quote of a supported kind whose every byte is accounted for. Nothing of it is verified.
pub(crate) struct Quote<'a> {
    /// The quote without padding.
    pub(crate) bytes: &'a [u8],
    /// What the attestation key signs.
    pub(crate) signed: &'a [u8],
    pub(crate) header: QuoteHeader,
    pub(crate) body: Body,
    pub(crate) signature: &'a [u8],
    /// x and y.
    pub(crate) attestation_key: &'a [u8],
    pub(crate) qe_report: ReportBody,
    pub(crate) qe_report_bytes: &'a [u8],
    pub(crate) qe_report_signature: &'a [u8],
    pub(crate) qe_auth_data: &'a [u8],
    /// PEM.
    pub(crate) pck_chain: &'a [u8],
}

/// Who runs.
pub(crate) enum Body {
    Sgx(Box<ReportBody>),
    Tdx {
        td: Box<TdQuoteBody>,
        /// In TD 1.5 bodies only.
        tee_tcb_svn2: Option<[u8; 16]>,
        mrservicetd: [u8; 48],
    },
}

impl Body {
    /// How many bytes it has in the quote.
    pub(crate) const fn size(&self) -> usize {
        match self {
            Self::Sgx(_) => SGX_BODY,
            Self::Tdx { tee_tcb_svn2: None, .. } => TD10_BODY,
            Self::Tdx { tee_tcb_svn2: Some(_), .. } => TD15_BODY,
        }
    }

    pub(crate) const fn tee(&self) -> TeeKind {
        match self {
            Self::Sgx(_) => TeeKind::Sgx,
            Self::Tdx { .. } => TeeKind::Tdx,
        }
    }
}

impl<'a> Quote<'a> {
    /// Reads a quote; zero bytes after its declared end are taken for the padding of a guest's buffer.
    pub(crate) fn parse(given: &'a [u8]) -> Result<Self, Error> {
        if given.len() > LIMIT {
            let detail = format!("{} bytes long, and the limit is {LIMIT}", given.len());
            return Err(Error::parse(ParseFault::TooLarge, detail));
        }
        let mut reader = Reader { rest: given, place: "the header" };
        let header: QuoteHeader = reader.read()?;
        let version = u16::from_le_bytes(header.version);
        let tee = check_header(&header, version)?;

        reader.place = "the report body";
        let body = match tee {
            TeeKind::Sgx => {
                if version == 5 {
                    reader.body_size(tee)?;
                }
                Body::Sgx(Box::new(reader.read()?))
            }
            TeeKind::Tdx => {
                let td15 = version == 5 && reader.body_size(tee)? == TD15_BODY;
                let td = Box::new(reader.read()?);
                let tee_tcb_svn2 = if td15 { Some(reader.read()?) } else { None };
                Body::Tdx { td, tee_tcb_svn2, mrservicetd: if td15 { reader.read()? } else { [0; 48] } }
            }
        };
        let (signed, _) = given.split_at(given.len() - reader.rest.len());

        reader.place = "the signature data";
        let mut signature_data = reader.u32_container()?;
        let signature = signature_data.take(64)?;
        let attestation_key = signature_data.take(64)?;
        let mut qe = if version == 3 {
            signature_data
        } else {
            let qe = signature_data.certification_data("the outer certification data", QE_REPORT_DATA)?;
            signature_data.finish()?;
            qe
        };
        let qe_report_bytes = qe.take(SGX_BODY)?;
        let qe_report_signature = qe.take(64)?;
        let qe_auth_len = u16::from_le_bytes(qe.read()?);
        let qe_auth_data = qe.take(usize::from(qe_auth_len))?;
        let pck_chain = qe.certification_data("the PCK certification data", PCK_CHAIN)?.rest;
        qe.finish()?;

        if let Some(at) = reader.rest.iter().position(|&byte| byte != 0) {
            let at = given.len() - reader.rest.len() + at;
            let detail = format!("there is data after its end, at byte {at}; only zero padding is allowed");
            return Err(Error::parse(ParseFault::TrailingBytes, detail));
        }
        let (bytes, _) = given.split_at(given.len() - reader.rest.len());
        let qe_report = Reader { rest: qe_report_bytes, place: "the QE report" }.read()?;
        Ok(Self {
            bytes,
            signed,
            header,
            body,
            signature,
            attestation_key,
            qe_report,
            qe_report_bytes,
            qe_report_signature,
            qe_auth_data,
            pck_chain,
        })
    }

    pub(crate) fn version(&self) -> u16 {
        u16::from_le_bytes(self.header.version)
    }
}

fn check_header(header: &QuoteHeader, version: u16) -> Result<TeeKind, Error> {
    if !(3..=5).contains(&version) {
        let detail = format!("version {version}, and 3, 4 and 5 are known");
        return Err(Error::parse(ParseFault::Version, detail));
    }
    let key_type = u16::from_le_bytes(header.attestation_key_type);
    if key_type != ECDSA_P256 {
        let detail = format!("attestation key type {key_type}, and only 2 (ECDSA over P-256) is known");
        return Err(Error::parse(ParseFault::AttKeyType, detail));
    }
    let tee = match (u32::from_le_bytes(header.tee_type), version) {
        (TEE_SGX, _) => TeeKind::Sgx,
        (TEE_TDX, 4 | 5) => TeeKind::Tdx,
        (tee, _) => {
            let detail =
                format!("TEE type {tee:#x} in version {version}; SGX has versions 3 to 5, TDX has 4 and 5");
            return Err(Error::parse(ParseFault::TeeType, detail));
        }
    };
    if header.vendor_id != dcap_qvl::INTEL_QE_VENDOR_ID {
        let detail = format!("the quoting enclave is of vendor {}, not Intel", hex::encode(header.vendor_id));
        return Err(Error::parse(ParseFault::QeVendor, detail));
    }
    Ok(tee)
}

/// Reads forward through bytes; every failure names the place.
struct Reader<'a> {
    rest: &'a [u8],
    place: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            let detail = format!("{} needs {length} bytes and {} are left", self.place, self.rest.len());
            return Err(Error::parse(ParseFault::Truncated, detail));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn read<T: FromBytes>(&mut self) -> Result<T, Error> {
        let bytes = self.take(size_of::<T>())?;
        Ok(T::read_from_bytes(bytes).expect("as many bytes as the type has were taken"))
    }

    /// The body descriptor of version 5: the size that type and size agree on.
    fn body_size(&mut self, tee: TeeKind) -> Result<usize, Error> {
        let kind = u16::from_le_bytes(self.read()?);
        let size = u32::from_le_bytes(self.read()?) as usize;
        let wanted = match (tee, kind) {
            (TeeKind::Sgx, 1) => SGX_BODY,
            (TeeKind::Tdx, 2) => TD10_BODY,
            (TeeKind::Tdx, 3) => TD15_BODY,
            _ => {
                let detail =
                    format!("body type {kind}; SGX has 1, and of TDX 2 (TD 1.0) and 3 (TD 1.5) are known");
                return Err(Error::parse(ParseFault::BodyType, detail));
            }
        };
        if size != wanted {
            let detail = format!("a body of type {kind} has {wanted} bytes, not {size}");
            return Err(Error::parse(ParseFault::BodySize, detail));
        }
        Ok(wanted)
    }

    /// What a length of four bytes announces.
    fn u32_container(&mut self) -> Result<Self, Error> {
        let length = u32::from_le_bytes(self.read()?) as usize;
        Ok(Self { rest: self.take(length)?, place: self.place })
    }

    /// Certification data of type `wanted`.
    fn certification_data(&mut self, place: &'static str, wanted: u16) -> Result<Self, Error> {
        self.place = place;
        let kind = u16::from_le_bytes(self.read()?);
        let data = self.u32_container()?;
        match kind {
            _ if kind == wanted => Ok(data),
            1..=4 | 7 if wanted == PCK_CHAIN => Err(Error::NoChain(kind)),
            _ => Err(Error::parse(
                ParseFault::CertType,
                format!("{place} has type {kind}, and {wanted} is wanted"),
            )),
        }
    }

    /// Nothing may be left.
    fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let detail = format!("{} bytes are left over behind {}", self.rest.len(), self.place);
        Err(Error::parse(ParseFault::Slack, detail))
    }
}

const _: () = {
    assert!(size_of::<QuoteHeader>() == HEADER);
    assert!(size_of::<ReportBody>() == SGX_BODY);
    assert!(size_of::<TdQuoteBody>() == TD10_BODY);
    assert!(TD10_BODY + 16 + 48 == TD15_BODY);
};
