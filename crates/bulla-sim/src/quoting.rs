//! The quoting enclaves: QE3 for SGX and TDQE for TDX, and the layouts of quotes as Intel's reference quoting libraries
//! have them. Machines quote in version 3 (SGX) and 4 (TDX); the other forms, and quotes that no hardware would sign, are for
//! tests of verifiers.

use std::mem::offset_of;
use std::sync::Arc;

use bulla_crypto::{sha256, sha384};
use bulla_tee::sgx::arch::{Attributes, Report, ReportBody, Targetinfo, flags};
use bulla_tee::tdx::{QuoteHeader, TdQuoteBody, TdReport};
use zerocopy::{FromZeros, IntoBytes};

use crate::cpu::Cpu;
use crate::pki::{Key, Pki};
use crate::{EnclaveIdentity, Error, Machine, TdDescription};

/// SVN of both quoting enclaves.
pub(crate) const QE_SVN: u16 = 8;
/// ISVPRODID of QE3 and of TDQE.
pub(crate) const QE3_PRODUCT: u16 = 1;
pub(crate) const TDQE_PRODUCT: u16 = 2;
/// ATTRIBUTES.FLAGS of the quoting enclaves, without MODE64BIT.
pub(crate) const QE_FLAGS: u64 = flags::INIT | flags::PROVISION_KEY;

/// TEE type of a TDX quote.
pub(crate) const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
/// Intel's, which verifiers insist on.
const VENDOR_ID: [u8; 16] =
    [0x93, 0x9A, 0x72, 0x33, 0xF7, 0x9C, 0x4C, 0xA9, 0x94, 0x0A, 0x0D, 0xB3, 0x95, 0x7F, 0x06, 0x07];
const PCK_CHAIN: u16 = 5;
const QE_REPORT: u16 = 6;

/// The size of the buffer in which guests commonly hand over quotes.
const GUEST_BUFFER: usize = 8000;

/// How a quote is laid out (Intel SGX ECDSA QuoteLibReference, quote versions 3 to 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum QuoteForm {
    /// Version 3, which is SGX alone.
    SgxV3,
    /// Version 4 of an enclave.
    SgxV4,
    /// Version 5 of an enclave: body type 1.
    SgxV5,
    /// Version 4 of a guest.
    TdxV4,
    /// Version 5 of a guest with a TD 1.0 body: type 2.
    TdxV5,
    /// Version 5 of a guest with a TD 1.5 body, which adds TEE_TCB_SVN2 and MRSERVICETD: type 3.
    TdxV5Td15,
}

impl QuoteForm {
    /// Every form.
    pub const ALL: [Self; 6] =
        [Self::SgxV3, Self::SgxV4, Self::SgxV5, Self::TdxV4, Self::TdxV5, Self::TdxV5Td15];

    const fn version(self) -> u16 {
        match self {
            Self::SgxV3 => 3,
            Self::SgxV4 | Self::TdxV4 => 4,
            Self::SgxV5 | Self::TdxV5 | Self::TdxV5Td15 => 5,
        }
    }

    const fn is_sgx(self) -> bool {
        matches!(self, Self::SgxV3 | Self::SgxV4 | Self::SgxV5)
    }

    /// Where the body begins.
    pub const fn body_at(self) -> usize {
        size_of::<QuoteHeader>() + if self.version() == 5 { 6 } else { 0 }
    }

    /// How many bytes the body has.
    pub const fn body_size(self) -> usize {
        match self {
            Self::SgxV3 | Self::SgxV4 | Self::SgxV5 => size_of::<ReportBody>(),
            Self::TdxV4 | Self::TdxV5 => size_of::<TdQuoteBody>(),
            Self::TdxV5Td15 => size_of::<TdQuoteBody>() + 16 + 48,
        }
    }

    /// The type in the descriptor of a version 5 body.
    const fn body_type(self) -> Option<u16> {
        match self {
            Self::SgxV3 | Self::SgxV4 | Self::TdxV4 => None,
            Self::SgxV5 => Some(1),
            Self::TdxV5 => Some(2),
            Self::TdxV5Td15 => Some(3),
        }
    }

    /// Where the signature begins: behind body and length.
    pub const fn signature_at(self) -> usize {
        self.body_at() + self.body_size() + size_of::<u32>()
    }

    const fn key_at(self) -> usize {
        self.signature_at() + 64
    }

    /// Where the quoting enclave's report begins: behind the attestation key and, after version 3, type and length of the
    /// outer certification data. Its signature follows its 384 bytes.
    pub const fn qe_report_at(self) -> usize {
        self.key_at() + 64 + if self.version() == 3 { 0 } else { 6 }
    }
}

/// Making quotes that no hardware would sign.
///
/// **For tests of verifiers only.** A real quoting enclave quotes reports that the processor made, and its key never leaves it;
/// the keys of a simulated machine protect nothing, so it also signs what a test made up.
impl Machine {
    /// A quote in a form over a body that the caller made up, signed by the machine's quoting enclave.
    ///
    /// ```
    /// use bulla_sim::{Machine, QuoteForm};
    ///
    /// # let parent = tempfile::tempdir()?;
    /// let machine = Machine::create(parent.path().join("machine"))?;
    /// let form = QuoteForm::TdxV5Td15;
    /// let quote = machine.quote_body(form, &vec![7; form.body_size()])?;
    /// assert_eq!(quote[form.body_at()], 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BadReport`] if the body is not of the form's size; [`Error::Signing`] where signing fails.
    pub fn quote_body(&self, form: QuoteForm, body: &[u8]) -> Result<Vec<u8>, Error> {
        self.quoting().quote(form, body)
    }

    /// A quote of an enclave of this machine, in one of the forms of SGX.
    ///
    /// # Errors
    /// [`Error::BadReport`] if the form is not of SGX; [`Error::Signing`] where signing fails.
    pub fn sgx_quote_in(
        &self,
        form: QuoteForm,
        enclave: &EnclaveIdentity,
        report_data: &[u8; 64],
    ) -> Result<Vec<u8>, Error> {
        let quoting = self.quoting();
        if !form.is_sgx() {
            return Err(Error::BadReport("it is an enclave's, and the form is a guest's"));
        }
        quoting.quote(form, enclave.report_body(&quoting.cpu.cpusvn, report_data).as_bytes())
    }

    /// A quote of a guest of this machine, in one of the forms of TDX.
    ///
    /// # Errors
    /// [`Error::BadReport`] if the form is not of TDX; [`Error::Signing`] where signing fails.
    pub fn td_quote_in(
        &self,
        form: QuoteForm,
        td: &TdDescription,
        report_data: &[u8; 64],
    ) -> Result<Vec<u8>, Error> {
        if form.is_sgx() {
            return Err(Error::BadReport("it is a guest's, and the form is an enclave's"));
        }
        self.quoting().td_quote_in(form, &self.td_report(td, report_data))
    }

    /// Signs header and body of a quote of this machine again, as they are now, with the same attestation key.
    ///
    /// # Errors
    /// [`Error::NotAQuote`] if it is too short for its form; [`Error::Signing`] where signing fails.
    pub fn resign(&self, form: QuoteForm, quote: &mut [u8]) -> Result<(), Error> {
        resign(&self.quoting().enclave(form).key, form, quote)
    }

    /// Signs the report of the quoting enclave in a quote of this machine again, as it is now, with the same PCK.
    ///
    /// # Errors
    /// As [`Machine::resign`].
    pub fn resign_qe_report(&self, form: QuoteForm, quote: &mut [u8]) -> Result<(), Error> {
        let (report, rest) = split(quote, form.qe_report_at())?.split_at_mut_checked(384).ok_or(SHORT)?;
        let signature = rest.first_chunk_mut::<64>().ok_or(SHORT)?;
        *signature = self.quoting().pck.sign(report)?;
        Ok(())
    }

    /// Gives a quote of this machine a new attestation key, which the quoting enclave vouches for as for the old one, and
    /// signs it again: what a quoting enclave does that was installed anew.
    ///
    /// # Errors
    /// As [`Machine::resign`].
    pub fn renew_attestation_key(&self, form: QuoteForm, quote: &mut [u8]) -> Result<(), Error> {
        let key = Key::new()?;
        *split(quote, form.key_at())?.first_chunk_mut::<64>().ok_or(SHORT)? = key.public();
        let auth_data = split(quote, form.qe_report_at() + 384 + 64 + 2)?.first_chunk::<32>().ok_or(SHORT)?;
        let vouched = sha256(&[&key.public(), auth_data]);
        let report_data = split(quote, form.qe_report_at() + offset_of!(ReportBody, report_data))?;
        *report_data.first_chunk_mut::<32>().ok_or(SHORT)? = vouched;
        self.resign_qe_report(form, quote)?;
        resign(&key, form, quote)
    }
}

/// A quote as guests hand it over: at the beginning of a buffer that is zero behind it.
pub fn in_guest_buffer(mut quote: Vec<u8>) -> Vec<u8> {
    quote.resize(quote.len().max(GUEST_BUFFER), 0);
    quote
}

const SHORT: Error = Error::NotAQuote("it is shorter than its form");

fn split(quote: &mut [u8], at: usize) -> Result<&mut [u8], Error> {
    Ok(quote.split_at_mut_checked(at).ok_or(SHORT)?.1)
}

fn resign(key: &Key, form: QuoteForm, quote: &mut [u8]) -> Result<(), Error> {
    let (signed, rest) = quote.split_at_mut_checked(form.body_at() + form.body_size()).ok_or(SHORT)?;
    let (_, signature) = rest.split_at_mut_checked(size_of::<u32>()).ok_or(SHORT)?;
    *signature.first_chunk_mut::<64>().ok_or(SHORT)? = key.sign(signed)?;
    Ok(())
}

/// MRSIGNER of the simulated quoting enclaves.
pub(crate) fn qe_signer() -> [u8; 32] {
    sha256(&[b"bulla simulated quoting enclave signer"])
}

fn quoting_enclave(name: &str, product: u16) -> EnclaveIdentity {
    let mrenclave = sha256(&[b"bulla simulated ", name.as_bytes()]);
    let attributes = Attributes { flags: QE_FLAGS | flags::MODE64BIT, xfrm: 3 };
    EnclaveIdentity { attributes, ..EnclaveIdentity::new(mrenclave, qe_signer(), product, QE_SVN) }
}

/// The quoting enclaves of a machine, with the PCK and the certificate chain that the machine gives them.
pub(crate) struct Quoting {
    pub(crate) cpu: Arc<Cpu>,
    /// Goes into headers as the host says it, and decides nothing (R36).
    qe_id: [u8; 16],
    pcesvn: u16,
    pck: Key,
    qe3: QuotingEnclave,
    tdqe: QuotingEnclave,
}

/// An attestation key, and what ties it to the platform.
struct QuotingEnclave {
    key: Key,
    /// The report of the quoting enclave over the key, signed by the PCK, and the PCK's chain.
    certification: Vec<u8>,
}

impl QuotingEnclave {
    fn new(
        pki: &Pki,
        identity: &EnclaveIdentity,
        cpusvn: &[u8; 16],
        pck: &Key,
        pck_chain: &str,
        key: Key,
    ) -> Result<Self, Error> {
        let auth_data: [u8; 32] = core::array::from_fn(|i| i as u8);
        let mut report_data = [0; 64];
        let (hash, _) = report_data.split_at_mut(32);
        hash.copy_from_slice(&sha256(&[&key.public(), &auth_data]));
        let report = identity.report_body(cpusvn, &report_data);
        let certification = [
            report.as_bytes(),
            &pki.qe_signature(pck, report.as_bytes())?,
            &(auth_data.len() as u16).to_le_bytes(),
            &auth_data,
            &certification_data(PCK_CHAIN, pck_chain.as_bytes()),
        ]
        .concat();
        Ok(Self { key, certification })
    }
}

impl Quoting {
    /// With the keys of PCK, QE3 and TDQE, and the PCK's chain in PEM: leaf, platform CA, root.
    pub(crate) fn new(
        pki: &Pki,
        cpu: Arc<Cpu>,
        qe_id: [u8; 16],
        pcesvn: u16,
        pck_chain: String,
        [pck, qe3_key, tdqe_key]: [Key; 3],
    ) -> Result<Self, Error> {
        let enclave = |name, product, key| {
            let identity = quoting_enclave(name, product);
            QuotingEnclave::new(pki, &identity, &cpu.cpusvn, &pck, &pck_chain, key)
        };
        let qe3 = enclave("QE3", QE3_PRODUCT, qe3_key)?;
        let tdqe = enclave("TDQE", TDQE_PRODUCT, tdqe_key)?;
        Ok(Self { cpu, qe_id, pcesvn, pck, qe3, tdqe })
    }

    /// For whom QE3 wants the report of an enclave.
    pub(crate) fn targetinfo(&self) -> Targetinfo {
        quoting_enclave("QE3", QE3_PRODUCT).targetinfo()
    }

    /// QE3: a quote of version 3 for a report that was made on this machine for QE3.
    pub(crate) fn sgx_quote(&self, report: &Report) -> Result<Vec<u8>, Error> {
        let qe = quoting_enclave("QE3", QE3_PRODUCT);
        if !self.cpu.is_report_for(&qe, report) {
            return Err(Error::BadReport("its MAC is not of this machine"));
        }
        self.quote(QuoteForm::SgxV3, report.body.as_bytes())
    }

    /// TDQE: a quote of version 4 for a TDREPORT of this machine.
    pub(crate) fn td_quote(&self, report: &TdReport) -> Result<Vec<u8>, Error> {
        self.td_quote_in(QuoteForm::TdxV4, report)
    }

    fn td_quote_in(&self, form: QuoteForm, report: &TdReport) -> Result<Vec<u8>, Error> {
        let (mac, tcb, td) = (&report.report_mac, &report.tee_tcb_info, &report.td_info);
        if self.cpu.everifyreport2(mac).is_err() {
            return Err(Error::BadReport("its MAC is not of this machine"));
        }
        if mac.tee_tcb_info_hash != sha384(&[tcb.as_bytes()]) || mac.tee_info_hash != sha384(&[td.as_bytes()])
        {
            return Err(Error::BadReport("its MAC does not cover what it says"));
        }
        let body = TdQuoteBody {
            tee_tcb_svn: tcb.tee_tcb_svn,
            mrseam: tcb.mrseam,
            mrsignerseam: tcb.mrsignerseam,
            seam_attributes: tcb.attributes,
            attributes: td.attributes,
            xfam: td.xfam,
            mrtd: td.mrtd,
            mrconfigid: td.mrconfigid,
            mrowner: td.mrowner,
            mrownerconfig: td.mrownerconfig,
            rtmr: td.rtmr,
            report_data: mac.report_data,
        };
        let now = match form {
            QuoteForm::TdxV5Td15 => [&tcb.tee_tcb_svn2[..], &td.servtd_hash].concat(),
            _ => Vec::new(),
        };
        self.quote(form, &[body.as_bytes(), &now].concat())
    }

    /// The quoting enclave of a form signs a body.
    pub(crate) fn quote(&self, form: QuoteForm, body: &[u8]) -> Result<Vec<u8>, Error> {
        if body.len() != form.body_size() {
            return Err(Error::BadReport("it is not of the size of its form"));
        }
        let descriptor = form
            .body_type()
            .map(|kind| [&kind.to_le_bytes()[..], &(body.len() as u32).to_le_bytes()].concat())
            .unwrap_or_default();
        let signed = [self.header(form).as_bytes(), &descriptor, body].concat();

        let QuotingEnclave { key, certification } = self.enclave(form);
        let certification = match form {
            QuoteForm::SgxV3 => certification.clone(),
            _ => certification_data(QE_REPORT, certification),
        };
        let signature_data = [&key.sign(&signed)?[..], &key.public(), &certification].concat();
        Ok(finish(signed, &signature_data))
    }

    fn header(&self, form: QuoteForm) -> QuoteHeader {
        let mut header = QuoteHeader {
            version: form.version().to_le_bytes(),
            attestation_key_type: ECDSA_P256.to_le_bytes(),
            tee_type: if form.is_sgx() { 0 } else { TEE_TDX }.to_le_bytes(),
            vendor_id: VENDOR_ID,
            ..QuoteHeader::new_zeroed()
        };
        if form == QuoteForm::SgxV3 {
            let svns = [QE_SVN, self.pcesvn].map(u16::to_le_bytes);
            header.svns.copy_from_slice(svns.as_flattened());
        }
        let (qe_id, _) = header.user_data.split_at_mut(16);
        qe_id.copy_from_slice(&self.qe_id);
        header
    }

    const fn enclave(&self, form: QuoteForm) -> &QuotingEnclave {
        if form.is_sgx() { &self.qe3 } else { &self.tdqe }
    }
}

fn certification_data(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), data].concat()
}

fn finish(signed: Vec<u8>, signature_data: &[u8]) -> Vec<u8> {
    [&signed, &(signature_data.len() as u32).to_le_bytes()[..], signature_data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, TdDescription};

    fn new() -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        (dir, machine)
    }

    /// B17, R35: TDQE checks the MAC and recomputes both hashes.
    #[test]
    fn an_edited_tdreport_is_not_quoted() {
        let (_dir, machine) = new();
        let report = machine.td_report(&TdDescription::default_guest(), &[1; 64]);
        machine.quoting().td_quote(&report).unwrap();
        let covered = (0..256).chain(256..256 + 239).chain(512..1024);
        for byte in covered {
            let mut edited = report;
            *edited.as_mut_bytes().get_mut(byte).unwrap() ^= 0x10;
            let error = machine.quoting().td_quote(&edited).unwrap_err();
            assert_eq!(error.code(), "sim.bad_report", "byte {byte}");
        }
    }

    /// QE3 quotes only what EREPORT made on this machine, and for QE3.
    #[test]
    fn a_foreign_or_edited_report_is_not_quoted() {
        let (_dir, machine) = new();
        let quoting = machine.quoting();
        let app = EnclaveIdentity::new([1; 32], [2; 32], 3, 4);
        let report = quoting.cpu.ereport(&app, &quoting.targetinfo(), &[5; 64]).unwrap();
        quoting.sgx_quote(&report).unwrap();

        let foreign = quoting.cpu.ereport(&app, &app.targetinfo(), &[5; 64]).unwrap();
        assert_eq!(quoting.sgx_quote(&foreign).unwrap_err().code(), "sim.bad_report");
        for byte in 0..432 {
            let mut edited = report;
            *edited.as_mut_bytes().get_mut(byte).unwrap() ^= 0x10;
            assert_eq!(quoting.sgx_quote(&edited).unwrap_err().code(), "sim.bad_report", "byte {byte}");
        }
        let (_other_dir, other) = new();
        let elsewhere = other.quoting().cpu.ereport(&app, &quoting.targetinfo(), &[5; 64]).unwrap();
        assert_eq!(quoting.sgx_quote(&elsewhere).unwrap_err().code(), "sim.bad_report");
    }
}
