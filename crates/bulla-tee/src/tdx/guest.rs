//! The backend: a program in a TDX guest.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use bulla_crypto::RandomSource;
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::arch::TdReport;
use super::registers::{self, RuntimeRegister};
use super::{device, keys, quote};
use crate::sgx::Processor;
use crate::tsm::Tsm;
use crate::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, TdxIdentity, Tee,
    is_simulated,
};

const MACHINE: &str = "a TDX guest";
const NO_KEY: &str = "derive a key by itself, unless it is asked to: it asks a key provider for one";
const DEVICE: &str = "the TDX module, through /dev/tdx_guest,";
const PROVIDER: &str = "tdx_guest";

/// A program in a TDX guest. It has reports and quotes, and no key of its own: its key provider gives it one, or its TDX
/// module, [where that can](Self::with_native_keys).
pub struct TdxGuest {
    processor: Processor,
    root: PathBuf,
    /// What native keys take their SALT from, where they are wanted.
    native: Option<Box<dyn RandomSource>>,
}

impl TdxGuest {
    /// The guest that this process runs in, whose devices and pseudo-files are below `root`: `/`.
    ///
    /// ```no_run
    /// use std::path::Path;
    ///
    /// use bulla_tee::sgx::Processor;
    /// use bulla_tee::tdx::TdxGuest;
    ///
    /// let guest = TdxGuest::new(Processor::Real, Path::new("/"));
    /// println!("{:?}", guest.tdx_identity()?);
    /// # Ok::<(), bulla_tee::Error>(())
    /// ```
    pub fn new(processor: Processor, root: &Path) -> Self {
        Self { processor, root: root.to_owned(), native: None }
    }

    /// The same guest with the sealing keys of its TDX module (TDG.MR.KEY.GET), which it is asked for one of now. Few have them:
    /// it takes a platform and a module that can, a host or a kernel that has switched them on, and a kernel with
    /// TDX_CMD_KEY_GET, which is in no mainline release. Nobody chooses them for a caller, since they bind to less than a
    /// provider's: to MRTD, the run-time registers that are not zero and ATTRIBUTES, and to no owner.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for whatever of these is missing; those of [`Tee::bind`].
    pub fn with_native_keys(mut self, random: Box<dyn RandomSource>) -> Result<Self, Error> {
        self.native = Some(random);
        self.bind(&Policy::measurement())?;
        Ok(self)
    }

    /// Who this guest is, after a TDREPORT.
    ///
    /// # Errors
    /// As [`Tee::identity`].
    pub fn tdx_identity(&self) -> Result<TdxIdentity, Error> {
        Ok(TdxIdentity::from(&self.report(&[0; 64])?))
    }

    /// What a run-time register holds, by the kernel's files.
    ///
    /// # Errors
    /// [`Error::Unavailable`] before Linux 6.16; [`Error::Device`] for what is no register.
    pub fn register(&self, register: RuntimeRegister) -> Result<[u8; 48], Error> {
        registers::read(&self.root, register)
    }

    /// Extends a run-time register: it becomes the SHA-384 of what it was and `digest`. Until the guest ends there is no
    /// way back, and keys bound to the register are others from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] before Linux 6.16 and without the right to; [`Error::Device`] if it had no effect.
    pub fn extend(&self, register: RuntimeRegister, digest: &[u8; 48]) -> Result<(), Error> {
        registers::extend(&self.root, register, digest)
    }

    fn device(&self) -> Result<File, Error> {
        let device = OpenOptions::new().read(true).write(true).open(self.root.join("dev/tdx_guest"));
        device.map_err(|error| unavailable(&error))
    }

    /// The TDREPORT over `report_data`. The guest has no way to check its MAC, and no need: the module that it asks is what
    /// keeps it.
    fn report(&self, report_data: &[u8; 64]) -> Result<TdReport, Error> {
        let report = device::report(&self.device()?, report_data).map_err(refused)?;
        let fault = |fault: &str| Err(Error::Device { device: DEVICE, fault: fault.into() });
        let mac = &report.report_mac;
        let [0x81, 0, _, 0] = mac.report_type else { return fault("gave something else than a TDREPORT") };
        if mac.report_data != *report_data {
            return fault("gave a report over other report data than was asked for");
        }
        let simulated = is_simulated(&report.tee_tcb_info.tee_tcb_svn) || is_simulated(&mac.cpusvn);
        match (self.processor, simulated) {
            (Processor::Real, true) => Err(Error::WrongBackend { wanted: "real", found: "simulated" }),
            (Processor::Simulated, false) => Err(Error::WrongBackend { wanted: "simulated", found: "real" }),
            _ if report.td_info.mrtd == [0; 48] => Err(Error::Zero("MRTD")),
            _ => Ok(report),
        }
    }
}

impl Tee for TdxGuest {
    fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity::Tdx(Box::new(self.tdx_identity()?)))
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        let random = self.native.as_ref().ok_or(Error::Unsupported { machine: MACHINE, what: NO_KEY })?;
        let report = self.report(&[0; 64])?;
        let mut salt = [0; 32];
        random.fill(&mut salt)?;
        let (request, key) = keys::bind(&self.device()?, policy, &report, salt)?;
        Ok((KeyRequest::TdxNative(Box::new(request)), key))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        match (&self.native, request) {
            (None, _) => Err(Error::Unsupported { machine: MACHINE, what: NO_KEY }),
            (Some(_), KeyRequest::TdxNative(request)) => {
                let report = self.report(&[0; 64])?;
                request.check()?;
                request.fits(&TdxIdentity::from(&report))?;
                keys::derive(&self.device()?, request, &report)
            }
            (Some(_), request) => {
                Err(Error::WrongBackend { wanted: request.kind(), found: KeyRequest::NATIVE })
            }
        }
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        let report = self.report(data.as_bytes())?;
        match kind {
            EvidenceKind::TdReport => Ok(Evidence::TdReport(report.as_bytes().to_vec())),
            EvidenceKind::Quote => {
                let found = Tsm::new(&self.root, PROVIDER).report(data.as_bytes())?;
                Ok(Evidence::TdxQuote(quote::take(&found, &report)?))
            }
            EvidenceKind::Report(_) => {
                Err(Error::Unsupported { machine: MACHINE, what: "make an SGX report" })
            }
        }
    }
}

impl From<&TdReport> for TdxIdentity {
    fn from(report: &TdReport) -> Self {
        let TdReport { tee_tcb_info, td_info, .. } = report;
        Self {
            mrtd: td_info.mrtd,
            rtmr: td_info.rtmr,
            mrconfigid: td_info.mrconfigid,
            mrowner: td_info.mrowner,
            mrownerconfig: td_info.mrownerconfig,
            mrservicetd: td_info.servtd_hash,
            attributes: td_info.attributes.get(),
            xfam: td_info.xfam.get(),
            tee_tcb_svn: tee_tcb_info.tee_tcb_svn,
            mrseam: tee_tcb_info.mrseam,
        }
    }
}

fn unavailable(error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no /dev/tdx_guest; start this in a TDX guest, with a kernel that has CONFIG_TDX_GUEST_DRIVER".into()
        }
        io::ErrorKind::PermissionDenied => {
            "/dev/tdx_guest may not be opened: run this as root, or give it the device".into()
        }
        _ => format!("/dev/tdx_guest cannot be opened: {error}"),
    };
    Error::Unavailable { machine: "TDX guest", reason }
}

fn refused(errno: Errno) -> Error {
    match errno {
        Errno::NOTTY => {
            let reason =
                "the driver behind /dev/tdx_guest knows no TDX_CMD_GET_REPORT0: use Linux 6.2 or later";
            Error::Unavailable { machine: "TDX guest", reason: reason.into() }
        }
        errno => Error::Device { device: DEVICE, fault: format!("refused to make a report: {errno}") },
    }
}
