//! `/dev/attestation` as Gramine shows it to the enclave in it (Gramine, `libos/src/fs/dev/attestation.c`).
//!
//! The content of a file is made when it is opened and stays as it is for that descriptor. What is written is state of the
//! whole enclave; each write replaces the whole value, filled up with zeros. Whatever fails below is EACCES.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_tee::sgx::arch::{
    Attributes, KEYNAME_SEAL, KEYPOLICY_MRENCLAVE, KEYPOLICY_MRSIGNER, Keyrequest, Targetinfo,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::EnclaveIdentity;
use crate::cpu::Cpu;
use crate::faults::{FaultyQuotes, QuoteFault};
use crate::mount::Mount;
use crate::pseudo::{Errno, Handle, Node, Tree};
use crate::quoting::Quoting;

/// Gramine's defaults of `sgx.seal_key.flags_mask`, `xfrm_mask` and `misc_mask`.
const SEAL_MASKS: (Attributes, u32) =
    (Attributes { flags: u64::MAX, xfrm: 0xFFFF_FFFF_FFF9_FF1B }, 0xFFFF_FFFF);

const FOLDER: &str = "dev/attestation";
const FILES: [&str; 6] =
    ["attestation_type", "user_report_data", "target_info", "my_target_info", "report", "quote"];
const KEYS: [&str; 3] = [DEFAULT_KEY, "_sgx_mrenclave", "_sgx_mrsigner"];
const WRITABLE: [&str; 3] = ["user_report_data", "target_info", DEFAULT_KEY];

/// The key of encrypted files that a manifest does not name. Programs set it, and it is not there before.
const DEFAULT_KEY: &str = "default";

/// The pseudo-files of Gramine, served by FUSE for as long as this is there.
pub struct GramineFiles {
    mount: Mount,
    state: Arc<Mutex<State>>,
}

impl GramineFiles {
    pub(crate) fn new(cpu: Arc<Cpu>, quoting: Arc<Quoting>, enclave: EnclaveIdentity) -> io::Result<Self> {
        let files = Attestation::new(cpu, quoting, enclave, []);
        let state = files.state.clone();
        Ok(Self { mount: Mount::new(files)?, state })
    }

    /// The root folder, in which `dev/attestation` is; for this process.
    pub fn root(&self) -> PathBuf {
        self.mount.root()
    }

    /// Lets one of the next openings of `quote` go wrong, after those that were said before.
    pub fn fault(&self, fault: QuoteFault) {
        lock(&self.state).quotes.fault(fault);
    }

    /// From now on, the key files hold these bytes: nothing in an enclave that has no key.
    pub fn set_keys(&self, key: &[u8]) {
        lock(&self.state).key = Some(key.to_vec());
    }

    /// How often `quote` was opened.
    pub fn quotes(&self) -> usize {
        lock(&self.state).quotes.count()
    }
}

struct State {
    report_data: [u8; 64],
    target: [u8; 512],
    default_key: Option<[u8; 16]>,
    quotes: FaultyQuotes,
    /// What the key files hold; the keys themselves where it is not said.
    key: Option<Vec<u8>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is served.
pub(crate) struct Attestation {
    cpu: Arc<Cpu>,
    enclave: EnclaveIdentity,
    state: Arc<Mutex<State>>,
}

impl Attestation {
    /// The files of an enclave, whose quotes go wrong so, one after another.
    pub(crate) fn new(
        cpu: Arc<Cpu>,
        quoting: Arc<Quoting>,
        enclave: EnclaveIdentity,
        faults: impl IntoIterator<Item = QuoteFault>,
    ) -> Self {
        let mut quotes = FaultyQuotes::new(cpu.clone(), quoting, enclave.clone());
        faults.into_iter().for_each(|fault| quotes.fault(fault));
        let state = State { report_data: [0; 64], target: [0; 512], default_key: None, quotes, key: None };
        Self { cpu, enclave, state: Arc::new(Mutex::new(state)) }
    }

    fn content(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let mut state = lock(&self.state);
        match name {
            "attestation_type" => Ok(b"dcap".to_vec()),
            "user_report_data" => Ok(state.report_data.to_vec()),
            "target_info" => Ok(state.target.to_vec()),
            "my_target_info" => Ok(self.enclave.targetinfo().as_bytes().to_vec()),
            "report" => {
                let own = self.enclave.targetinfo();
                let target = match Targetinfo::read_from_bytes(&state.target) {
                    Ok(target) if state.target != [0; 512] => target,
                    _ => own,
                };
                let report = self.cpu.ereport(&self.enclave, &target, &state.report_data);
                report.map(|report| report.as_bytes().to_vec()).map_err(|_| Errno::EACCES)
            }
            "quote" => {
                let State { report_data, quotes, .. } = &mut *state;
                quotes.quote(report_data)
            }
            name if name.starts_with("_sgx_") && state.key.is_some() => {
                Ok(state.key.clone().unwrap_or_default())
            }
            DEFAULT_KEY => Ok(state.default_key.map(Vec::from).unwrap_or_default()),
            "_sgx_mrenclave" => self.key(KEYPOLICY_MRENCLAVE),
            "_sgx_mrsigner" => self.key(KEYPOLICY_MRSIGNER),
            _ => Err(Errno::ENOENT),
        }
    }

    /// What Gramine gives as a sealing key: one for the current versions, under a KEYID of zeros.
    fn key(&self, keypolicy: u16) -> Result<Vec<u8>, Errno> {
        let (attribute_mask, misc_mask) = SEAL_MASKS;
        let request = Keyrequest {
            keyname: KEYNAME_SEAL,
            keypolicy,
            isvsvn: self.enclave.isv_svn,
            cpusvn: self.cpu.cpusvn,
            configsvn: self.enclave.config_svn,
            attribute_mask,
            misc_mask,
            ..Keyrequest::new_zeroed()
        };
        let key = self.cpu.egetkey(&self.enclave, &request).map_err(|_| Errno::EACCES)?;
        Ok(key.expose().to_vec())
    }
}

impl Tree for Attestation {
    fn node(&self, path: &Path) -> Option<Node> {
        let names = |names: &[&str]| Node::Folder(names.iter().map(|name| (*name).to_owned()).collect());
        match path.to_str()? {
            "" => Some(names(&["dev"])),
            "dev" => Some(names(&["attestation"])),
            FOLDER => Some(names(&[&FILES[..], &["keys"]].concat())),
            "dev/attestation/keys" => Some(names(&KEYS)),
            _ => {
                let name = path.file_name()?.to_str()?;
                let folder = path.parent()?.strip_prefix(FOLDER).ok()?.to_str()?;
                let known = match folder {
                    "" => FILES.contains(&name),
                    "keys" => KEYS.contains(&name),
                    _ => false,
                };
                known.then_some(Node::File(if WRITABLE.contains(&name) { 0o666 } else { 0o444 }))
            }
        }
    }

    fn open(&self, path: &Path, write: bool) -> Result<Box<dyn Handle>, Errno> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(Errno::ENOENT)?.to_owned();
        if write && !WRITABLE.contains(&name.as_str()) {
            return Err(Errno::EACCES);
        }
        let content = self.content(&name)?;
        Ok(Box::new(Opened { name, content, state: self.state.clone() }))
    }
}

struct Opened {
    name: String,
    content: Vec<u8>,
    state: Arc<Mutex<State>>,
}

impl Handle for Opened {
    fn read(&mut self) -> Result<Vec<u8>, Errno> {
        Ok(self.content.clone())
    }

    fn write(&mut self, _: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut state = lock(&self.state);
        match self.name.as_str() {
            "user_report_data" => state.report_data = filled(bytes),
            DEFAULT_KEY => state.default_key = Some(bytes.try_into().map_err(|_| Errno::EACCES)?),
            _ => state.target = filled(bytes),
        }
        Ok(())
    }
}

/// The first bytes, and zeros.
fn filled<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut value = [0; N];
    value.iter_mut().zip(bytes).for_each(|(value, byte)| *value = *byte);
    value
}
