//! A TDX guest of a simulated machine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_crypto::{SystemRandom, sha384};
use bulla_tee::sgx::Processor;
use bulla_tee::tdx::{QuoteService, TdInfo, TdxGuest, attributes};
use bulla_tee::{DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee};
use serde::Deserialize;
use zerocopy::FromZeros;

use crate::Error;
use crate::guest_kernel::{GuestFault, GuestKernel};
use crate::hexadecimal::Hex;
use crate::key_get::SealingKeys;
use crate::mount::Mount;

/// The registers of a TDX guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdDescription {
    /// The measurement of the initial memory.
    pub mrtd: [u8; 48],
    /// Run-time measurement registers 0 to 3.
    pub rtmr: [[u8; 48]; 4],
    /// Chosen by the host at creation.
    pub mrconfigid: [u8; 48],
    /// Chosen by the host at creation.
    pub mrowner: [u8; 48],
    /// Chosen by the host at creation.
    pub mrownerconfig: [u8; 48],
    /// See [`bulla_tee::tdx::attributes`].
    pub attributes: u64,
    /// Extended features the guest runs with.
    pub xfam: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TdToml {
    mrtd: Option<Hex<48>>,
    rtmr0: Option<Hex<48>>,
    rtmr1: Option<Hex<48>>,
    rtmr2: Option<Hex<48>>,
    rtmr3: Option<Hex<48>>,
    mrconfigid: Option<Hex<48>>,
    mrowner: Option<Hex<48>>,
    mrownerconfig: Option<Hex<48>>,
    #[serde(default)]
    mrservicetd: Hex<48>,
    attributes: Option<Bits>,
    xfam: Option<Bits>,
    #[serde(default)]
    debug: bool,
}

/// 64 bits: a TOML integer, or up to 16 hexadecimal digits for what a TOML integer cannot hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bits {
    Integer(u64),
    Text(String),
}

impl Bits {
    fn value(self, name: &str) -> Result<u64, Error> {
        match self {
            Self::Integer(value) => Ok(value),
            Self::Text(text) => u64::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16)
                .map_err(|_| Error::Description(format!("{name} is not a number of 64 bits in hexadecimal"))),
        }
    }
}

impl TdDescription {
    /// The fixed guest that is called `default`: the same registers on every simulated machine.
    pub fn default_guest() -> Self {
        let register = |name: &str| sha384(&[b"bulla simulated guest ", name.as_bytes()]);
        Self {
            mrtd: register("MRTD"),
            rtmr: ["RTMR0", "RTMR1", "RTMR2", "RTMR3"].map(register),
            mrconfigid: [0; 48],
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            attributes: attributes::SEPT_VE_DISABLE,
            // x87, SSE, AVX and AVX-512.
            xfam: 0xE7,
        }
    }

    /// Reads a TOML description. Each of `mrtd`, `rtmr0` to `rtmr3`, `mrconfigid`, `mrowner` and `mrownerconfig` is 96
    /// hexadecimal digits; `attributes` and `xfam` are integers or hexadecimal strings; `debug = true` adds the DEBUG
    /// attribute. `mrservicetd` may be said too, and is zero: there are no service TDs here. What is left out is as in [`default_guest`](Self::default_guest).
    ///
    /// ```
    /// use bulla_sim::TdDescription;
    ///
    /// let guest = TdDescription::from_toml(&format!("rtmr3 = \"{}\"\ndebug = true", "ab".repeat(48)))?;
    /// assert_eq!(guest.rtmr[3], [0xAB; 48]);
    /// assert_eq!(guest.attributes, TdDescription::default_guest().with_debug().attributes);
    /// # Ok::<(), bulla_sim::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Description`] for anything else.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let file: TdToml =
            toml::from_str(text).map_err(|error| Error::Description(error.message().into()))?;
        if file.mrservicetd != Hex::default() {
            let reason = "mrservicetd is not zero, and a simulated guest has no service TD";
            return Err(Error::Description(reason.into()));
        }
        let mut guest = Self::default_guest();
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &mut guest.rtmr;
        let registers = [
            (&mut guest.mrtd, file.mrtd),
            (rtmr0, file.rtmr0),
            (rtmr1, file.rtmr1),
            (rtmr2, file.rtmr2),
            (rtmr3, file.rtmr3),
            (&mut guest.mrconfigid, file.mrconfigid),
            (&mut guest.mrowner, file.mrowner),
            (&mut guest.mrownerconfig, file.mrownerconfig),
        ];
        for (register, value) in registers {
            if let Some(Hex(value)) = value {
                *register = value;
            }
        }
        if let Some(bits) = file.attributes {
            guest.attributes = bits.value("attributes")?;
        }
        if let Some(bits) = file.xfam {
            guest.xfam = bits.value("xfam")?;
        }
        Ok(if file.debug { guest.with_debug() } else { guest })
    }

    /// The same, with the DEBUG attribute.
    #[must_use]
    pub const fn with_debug(mut self) -> Self {
        self.attributes |= attributes::DEBUG;
        self
    }

    pub(crate) fn td_info(&self) -> TdInfo {
        TdInfo {
            attributes: self.attributes.into(),
            xfam: self.xfam.into(),
            mrtd: self.mrtd,
            mrconfigid: self.mrconfigid,
            mrowner: self.mrowner,
            mrownerconfig: self.mrownerconfig,
            rtmr: self.rtmr,
            ..TdInfo::new_zeroed()
        }
    }
}

/// The shipped TDX backend in a guest of a simulated machine: its device, its reports in configfs and its registers in sysfs
/// are pseudo-files of a simulated kernel. It has quotes and no key of its own, as under mainline kernels, until it is
/// [given some](Self::with_native_keys). Requests and evidence are tagged as simulated (R110).
///
/// ```
/// use bulla_sim::{Machine, TdDescription};
/// use bulla_tee::{EvidenceKind, ReportData, Tee};
///
/// # let parent = tempfile::tempdir()?;
/// let machine = Machine::create(parent.path().join("machine"))?;
/// let guest = machine.guest(TdDescription::default_guest())?;
/// let data = ReportData::new(bulla_crypto::Role::GuestRequest, &[]);
/// assert_eq!(guest.attest(&data, EvidenceKind::TdReport)?.bytes().len(), 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimulatedGuest {
    guest: TdxGuest,
    kernel: Arc<GuestKernel>,
    root: PathBuf,
    _mount: Mount,
}

impl SimulatedGuest {
    pub(crate) fn new(kernel: GuestKernel) -> io::Result<Self> {
        let kernel = Arc::new(kernel);
        let mount = Mount::new(kernel.clone())?;
        let root = mount.root();
        Ok(Self { guest: TdxGuest::new(Processor::Simulated, &root), kernel, root, _mount: mount })
    }

    /// The same guest, whose kernel and TDX module give it sealing keys in that way, and whose backend uses them.
    ///
    /// # Errors
    /// As [`TdxGuest::with_native_keys`].
    pub fn with_native_keys(mut self, keys: SealingKeys) -> Result<Self, bulla_tee::Error> {
        self.kernel.set_sealing_keys(keys);
        let guest = TdxGuest::new(Processor::Simulated, &self.root);
        self.guest = guest.with_native_keys(Box::new(SystemRandom))?;
        Ok(self)
    }

    /// The same guest, which may also ask that service for quotes.
    #[must_use]
    pub fn with_quote_service(mut self, service: QuoteService) -> Self {
        self.guest = TdxGuest::new(Processor::Simulated, &self.root).with_quote_service(service);
        self
    }

    /// From now on, its kernel has no reports in configfs, as before Linux 6.7.
    pub fn hide_reports(&self) {
        self.kernel.hide_reports();
    }

    /// From now on, its kernel and TDX module give it sealing keys in that way.
    pub fn set_sealing_keys(&self, keys: SealingKeys) {
        self.kernel.set_sealing_keys(keys);
    }

    /// The backend, for what only a TDX guest has.
    pub fn tdx(&self) -> &TdxGuest {
        &self.guest
    }

    /// Where its devices and pseudo-files are, for this process.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lets something go wrong once, the next time that it can.
    pub fn fail(&self, fault: GuestFault) {
        self.kernel.fail(fault);
    }
}

impl Tee for SimulatedGuest {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        self.guest.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        let (request, key) = self.guest.bind(policy)?;
        Ok((KeyRequest::Simulated(Box::new(request)), key))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        let KeyRequest::Simulated(request) = request else {
            return Err(bulla_tee::Error::WrongBackend { wanted: request.kind(), found: "sim" });
        };
        self.guest.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        Ok(Evidence::Simulated(Box::new(self.guest.attest(data, kind)?)))
    }
}
