//! The quoting enclaves: QE3 for SGX (quotes of version 3) and TDQE for TDX (version 4), as Intel's reference quoting
//! libraries lay them out.

use std::sync::Arc;

use bulla_crypto::{sha256, sha384};
use bulla_tee::sgx::arch::{Attributes, Report, Targetinfo, flags};
use bulla_tee::tdx::{QuoteHeader, TdQuoteBody, TdReport};
use zerocopy::{FromZeros, IntoBytes};

use crate::cpu::Cpu;
use crate::pki::Key;
use crate::{EnclaveIdentity, Error};

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

/// MRSIGNER of the simulated quoting enclaves.
pub(crate) fn qe_signer() -> [u8; 32] {
    sha256(&[b"bulla simulated quoting enclave signer"])
}

fn quoting_enclave(name: &str, product: u16) -> EnclaveIdentity {
    let mrenclave = sha256(&[b"bulla simulated ", name.as_bytes()]);
    let attributes = Attributes { flags: QE_FLAGS | flags::MODE64BIT, xfrm: 3 };
    EnclaveIdentity { attributes, ..EnclaveIdentity::new(mrenclave, qe_signer(), product, QE_SVN) }
}

/// The quoting enclaves of a machine, with their keys and the certificate chain that the machine gives them.
pub(crate) struct Quoting {
    pub(crate) cpu: Arc<Cpu>,
    /// Goes into headers as the host says it, and decides nothing (R36).
    pub(crate) qe_id: [u8; 16],
    pub(crate) pcesvn: u16,
    pub(crate) pck: Key,
    /// PEM: leaf, platform CA, root.
    pub(crate) pck_chain: String,
    pub(crate) qe3_key: Key,
    pub(crate) tdqe_key: Key,
}

impl Quoting {
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
        let mut header = self.header(3, 0);
        let [qe_svn, pce_svn] = [QE_SVN, self.pcesvn].map(u16::to_le_bytes);
        header.svns.copy_from_slice(&[qe_svn, pce_svn].concat());
        let signed = [header.as_bytes(), report.body.as_bytes()].concat();

        let mut signature_data = self.sign(&self.qe3_key, &signed)?;
        signature_data.extend(self.certification(&qe, &self.qe3_key)?);
        Ok(finish(signed, &signature_data))
    }

    /// TDQE: a quote of version 4 for a TDREPORT of this machine.
    pub(crate) fn td_quote(&self, report: &TdReport) -> Result<Vec<u8>, Error> {
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
        let signed = [self.header(4, TEE_TDX).as_bytes(), body.as_bytes()].concat();

        let qe = quoting_enclave("TDQE", TDQE_PRODUCT);
        let mut signature_data = self.sign(&self.tdqe_key, &signed)?;
        signature_data.extend(certification_data(QE_REPORT, &self.certification(&qe, &self.tdqe_key)?));
        Ok(finish(signed, &signature_data))
    }

    fn header(&self, version: u16, tee_type: u32) -> QuoteHeader {
        let mut header = QuoteHeader {
            version: version.to_le_bytes(),
            attestation_key_type: ECDSA_P256.to_le_bytes(),
            tee_type: tee_type.to_le_bytes(),
            vendor_id: VENDOR_ID,
            ..QuoteHeader::new_zeroed()
        };
        let (qe_id, _) = header.user_data.split_at_mut(16);
        qe_id.copy_from_slice(&self.qe_id);
        header
    }

    /// The signature of header and body, and the key it is by.
    fn sign(&self, key: &Key, signed: &[u8]) -> Result<Vec<u8>, Error> {
        Ok([key.sign(signed)?, key.public()].concat())
    }

    /// What ties an attestation key to the platform: the quoting enclave's report over it, signed by the PCK key.
    fn certification(&self, qe: &EnclaveIdentity, key: &Key) -> Result<Vec<u8>, Error> {
        let auth_data: [u8; 32] = core::array::from_fn(|i| i as u8);
        let mut report_data = [0; 64];
        let (hash, _) = report_data.split_at_mut(32);
        hash.copy_from_slice(&sha256(&[&key.public(), &auth_data]));
        let report = qe.report_body(&self.cpu.cpusvn, &report_data);
        Ok([
            report.as_bytes(),
            &self.pck.sign(report.as_bytes())?,
            &(auth_data.len() as u16).to_le_bytes(),
            &auth_data,
            &certification_data(PCK_CHAIN, self.pck_chain.as_bytes()),
        ]
        .concat())
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
