//! The backend: a program in a TDX guest.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bulla_crypto::RandomSource;
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::arch::TdReport;
use super::qgs::{self, QuoteService};
use super::registers::{self, RuntimeRegister};
use super::{device, keys, quote};
use crate::sgx::Processor;
use crate::tsm::{self, TDX_GUEST, Tsm};
use crate::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, TdxIdentity, Tee,
    is_simulated,
};

const MACHINE: &str = "a TDX guest";
const NO_KEY: &str = "derive a key by itself, unless it is asked to: it asks a key provider for one";
const DEVICE: &str = "the TDX module, through /dev/tdx_guest,";
const SETTINGS: &str = "etc/tdx-attest.conf";
const SETTINGS_LIMIT: u64 = 64 * 1024;

/// A program in a TDX guest. It has reports and quotes, and no key of its own: its key provider gives it one, or its TDX
/// module, [where that can](Self::with_native_keys).
pub struct TdxGuest {
    processor: Processor,
    root: PathBuf,
    /// What native keys take their SALT from, where they are wanted.
    native: Option<Box<dyn RandomSource>>,
    /// Where quotes are asked for besides configfs, where that was said.
    service: Option<QuoteService>,
}

/// A way by which quotes come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotePath {
    /// The kernel asks the host, by configfs.
    Configfs,
    /// This process asks the quote generation service itself.
    Service(QuoteService),
}

/// For example `configfs` and `vsock:2:4050`.
impl fmt::Display for QuotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configfs => f.write_str("configfs"),
            Self::Service(service) => service.fmt(f),
        }
    }
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
        Self { processor, root: root.to_owned(), native: None, service: None }
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

    /// The same guest, where quotes are also asked of that service.
    #[must_use]
    pub fn with_quote_service(mut self, service: QuoteService) -> Self {
        self.service = Some(service);
        self
    }

    /// By which ways a quote is asked for, one after the other: configfs, where the kernel has it, then the quote generation
    /// service that was named here or by a `port` in `/etc/tdx-attest.conf`; where neither is so, the host's on its usual port,
    /// if there is vsock.
    pub fn quote_paths(&self) -> Vec<QuotePath> {
        let mut paths = Vec::with_capacity(2);
        if Tsm::new(&self.root, &TDX_GUEST).is_here() {
            paths.push(QuotePath::Configfs);
        }
        let configured = || configured_port(&self.root).map(QuoteService::on_host);
        let service = self.service.clone().or_else(configured);
        let usual =
            || (paths.is_empty() && self.root.join("dev/vsock").exists()).then_some(QuoteService::HOST);
        if let Some(service) = service.or_else(usual) {
            paths.push(QuotePath::Service(service));
        }
        if paths.is_empty() {
            // Which says what is missing.
            paths.push(QuotePath::Configfs);
        }
        paths
    }

    /// A quote over `data` that is this guest's own, and the way it came by.
    ///
    /// # Errors
    /// Those of [`Tee::attest`]; where there are several ways, [`Error::Unavailable`] with what each said.
    pub fn quote(&self, data: &ReportData) -> Result<(Vec<u8>, QuotePath), Error> {
        let report = self.report(data.as_bytes())?;
        let mut failures = Vec::new();
        for path in self.quote_paths() {
            match self.quote_by(&path, &report) {
                Ok(quote) => return Ok((quote, path)),
                Err(error) => failures.push(error),
            }
        }
        if failures.len() > 1 {
            let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
            let reason = format!("every way to one failed: {}", reasons.join("; "));
            return Err(Error::Unavailable { machine: "source of TDX quotes", reason });
        }
        Err(failures.pop().unwrap_or(Error::SelfEvidence("there is none")))
    }

    fn quote_by(&self, path: &QuotePath, report: &TdReport) -> Result<Vec<u8>, Error> {
        let (found, giver) = match path {
            QuotePath::Configfs => {
                (Tsm::new(&self.root, &TDX_GUEST).report(&report.report_mac.report_data)?, tsm::DEVICE)
            }
            QuotePath::Service(service) => (service.quote(report)?, qgs::DEVICE),
        };
        quote::take(&found, report, giver)
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
        match kind {
            EvidenceKind::TdReport => {
                Ok(Evidence::TdReport(self.report(data.as_bytes())?.as_bytes().to_vec()))
            }
            EvidenceKind::Quote => Ok(Evidence::TdxQuote(self.quote(data)?.0)),
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

/// The vsock port that Intel's attestation library is configured with: a line `port = N` of its settings.
fn configured_port(root: &Path) -> Option<u32> {
    let mut text = String::new();
    let settings = File::open(root.join(SETTINGS)).ok()?;
    settings.take(SETTINGS_LIMIT).read_to_string(&mut text).ok()?;
    let port =
        |line: &str| line.trim().strip_prefix("port")?.trim_start().strip_prefix('=')?.trim().parse().ok();
    text.lines().find_map(port).filter(|port| *port != 0)
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
