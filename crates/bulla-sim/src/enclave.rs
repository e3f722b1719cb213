//! The enclave that runs on a simulated machine.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use bulla_crypto::{Secret, sha256};
use bulla_tee::sgx::arch::{Attributes, Keyrequest, Report, ReportMac, Targetinfo, flags};
use bulla_tee::sgx::{Enclave, ForeignKeys, QuoteSource};
use bulla_tee::{
    DerivedKey, Evidence, EvidenceKind, Identity, KeyRequest, LocalVerifier, Policy, ReportData, Tee,
};
use serde::Deserialize;

use crate::enclu::Core;
use crate::hexadecimal::Hex;
use crate::quoting::Quoting;
use crate::trap;
use crate::{Error, Machine};

/// The file beside `machine.toml` that says who the enclave is, apart from its measurement.
pub(crate) const ENCLAVE_TOML: &str = "enclave.toml";

/// Who the running enclave is, as its SECS would say (Intel SDM vol. 3D, "SGX Enclave Control Structure").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnclaveIdentity {
    /// The measurement.
    pub mrenclave: [u8; 32],
    /// The signer.
    pub mrsigner: [u8; 32],
    /// The signer's number of this product.
    pub isv_prod_id: u16,
    /// The signer's security version of this product.
    pub isv_svn: u16,
    /// Flags and XFRM.
    pub attributes: Attributes,
    /// Extra state saved on exits.
    pub misc_select: u32,
    /// Zero without KSS.
    pub config_id: [u8; 64],
    /// Zero without KSS.
    pub config_svn: u16,
    /// Zero without KSS.
    pub isv_family_id: [u8; 16],
    /// Zero without KSS.
    pub isv_ext_prod_id: [u8; 16],
}

impl EnclaveIdentity {
    /// A production enclave with 64-bit code and legacy register state; everything else is zero.
    pub const fn new(mrenclave: [u8; 32], mrsigner: [u8; 32], isv_prod_id: u16, isv_svn: u16) -> Self {
        Self {
            mrenclave,
            mrsigner,
            isv_prod_id,
            isv_svn,
            attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 3 },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
        }
    }

    /// The identity of this process on `machine`: that [of its executable](Self::of_program).
    ///
    /// # Errors
    /// As [`of_program`](Self::of_program).
    pub fn of_this_process(machine: &Machine) -> Result<Self, Error> {
        Self::of_program(machine, Path::new("/proc/self/exe"))
    }

    /// The identity of a program on `machine`: MRENCLAVE is the SHA-256 of its file, XFRM is the machine's, and the rest is in
    /// its `enclave.toml`, whose comments say what can be set.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where `enclave.toml` is missing, has an unknown key or a value that does not fit, or the
    /// file cannot be read.
    pub fn of_program(machine: &Machine, program: &Path) -> Result<Self, Error> {
        let path = machine.dir().join(ENCLAVE_TOML);
        let text = fs::read_to_string(&path).map_err(|error| Error::unavailable(&path, error))?;
        let file: EnclaveToml =
            toml::from_str(&text).map_err(|error| Error::unavailable(&path, error.message()))?;
        let mrenclave = match file.measurement {
            Some(Hex(measurement)) => measurement,
            None => measure(program)?,
        };
        let mut identity = file.identity(mrenclave);
        identity.attributes.xfrm = machine.xfrm();
        Ok(identity)
    }

    /// The same, with the DEBUG attribute.
    #[must_use]
    pub const fn with_debug(mut self) -> Self {
        self.attributes.flags |= flags::DEBUG;
        self
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnclaveToml {
    signer: Hex<32>,
    product: u16,
    svn: u16,
    #[serde(default)]
    debug: bool,
    measurement: Option<Hex<32>>,
    kss: Option<KssToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct KssToml {
    config_id: Hex<64>,
    config_svn: u16,
    family_id: Hex<16>,
    ext_product_id: Hex<16>,
}

impl EnclaveToml {
    fn identity(self, mrenclave: [u8; 32]) -> EnclaveIdentity {
        let mut identity = EnclaveIdentity::new(mrenclave, self.signer.0, self.product, self.svn);
        if self.debug {
            identity = identity.with_debug();
        }
        if let Some(kss) = self.kss {
            identity.attributes.flags |= flags::KSS;
            identity.config_id = kss.config_id.0;
            identity.config_svn = kss.config_svn;
            identity.isv_family_id = kss.family_id.0;
            identity.isv_ext_prod_id = kss.ext_product_id.0;
        }
        identity
    }
}

/// What a new machine's `enclave.toml` holds.
pub(crate) fn default_toml() -> String {
    let signer = hex::encode(sha256(&[b"bulla simulated enclave signer"]));
    format!(
        r#"# Who a program is that runs as the enclave of this simulated machine. Its measurement (MRENCLAVE) is the SHA-256 of
# its executable file.
signer = "{signer}"  # MRSIGNER
product = 1  # ISVPRODID
svn = 1  # ISVSVN

# debug = true  # the DEBUG attribute
# measurement = "64 hexadecimal digits"  # instead of the executable's

# [kss]  # the KSS attribute; what is left out is zero
# config_id = "128 hexadecimal digits"
# config_svn = 0
# family_id = "32 hexadecimal digits"
# ext_product_id = "32 hexadecimal digits"
"#
    )
}

fn measure(path: &Path) -> Result<[u8; 32], Error> {
    let unreadable = |error| Error::unavailable(path, error);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        let (bytes, _) = buffer.split_at(read);
        if bytes.is_empty() {
            let mut measurement = [0; 32];
            measurement.copy_from_slice(context.finish().as_ref());
            return Ok(measurement);
        }
        context.update(bytes);
    }
}

/// The shipped SGX backend on a simulated processor. Requests and evidence are tagged as simulated (R110), and others are
/// refused (R15).
///
/// ```
/// use bulla_sim::{EnclaveIdentity, Machine};
/// use bulla_tee::{Policy, Tee};
///
/// # let parent = tempfile::tempdir()?;
/// # let dir = parent.path().join("machine");
/// let machine = Machine::create(&dir)?;
/// let enclave = machine.enclave(&EnclaveIdentity::of_this_process(&machine)?)?;
/// let (request, key) = enclave.bind(&Policy::measurement())?;
/// assert!(enclave.derive(&request)?.ct_eq(&key));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimulatedEnclave {
    core: Core,
    enclave: Enclave,
}

impl SimulatedEnclave {
    pub(crate) const fn new(core: Core, enclave: Enclave) -> Self {
        Self { core, enclave }
    }
}

impl Tee for SimulatedEnclave {
    fn identity(&self) -> Result<Identity, bulla_tee::Error> {
        trap::enter(&self.core, || self.enclave.identity())
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), bulla_tee::Error> {
        let (request, key) = trap::enter(&self.core, || self.enclave.bind(policy))?;
        Ok((KeyRequest::Simulated(Box::new(request)), key))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, bulla_tee::Error> {
        let KeyRequest::Simulated(request) = request else {
            return Err(bulla_tee::Error::WrongBackend { wanted: request.kind(), found: "sim" });
        };
        trap::enter(&self.core, || self.enclave.derive(request))
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, bulla_tee::Error> {
        let evidence = trap::enter(&self.core, || self.enclave.attest(data, kind))?;
        Ok(Evidence::Simulated(Box::new(evidence)))
    }

    fn foreign_keys(&self) -> Option<&dyn ForeignKeys> {
        Some(self)
    }

    fn local_verifier(&self) -> Option<&dyn LocalVerifier> {
        self.enclave.local_verifier().map(|_| self as &dyn LocalVerifier)
    }
}

impl ForeignKeys for SimulatedEnclave {
    fn foreign_key(&self, request: &Keyrequest) -> Result<Secret<16>, bulla_tee::Error> {
        trap::enter(&self.core, || self.enclave.foreign_key(request))
    }
}

impl LocalVerifier for SimulatedEnclave {
    fn verify_report(&self, report: &ReportMac) -> Result<(), bulla_tee::Error> {
        trap::enter(&self.core, || self.enclave.verify_report(report))
    }
}

/// A library OS that hands over reports and quotes as they are.
pub(crate) struct QuotingEnclave(pub(crate) Arc<Quoting>);

impl QuoteSource for QuotingEnclave {
    fn quote(
        &self,
        _data: &ReportData,
        report: &dyn Fn(&Targetinfo) -> Result<Report, bulla_tee::Error>,
    ) -> Result<Vec<u8>, bulla_tee::Error> {
        Ok(self.0.sgx_quote(&report(&self.0.targetinfo())?)?)
    }
}
