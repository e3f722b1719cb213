//! `/dev/sgx` as Occlum shows it to the enclave in it (Occlum, `src/libos/src/fs/dev_fs/dev_sgx`).
//!
//! Whatever fails is EINVAL. Arguments need not be aligned: the LibOS copies them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_tee::sgx::arch::{Keyrequest, Report, Targetinfo};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::EnclaveIdentity;
use crate::cpu::Cpu;
use crate::faults::{FaultyQuotes, QuoteFault};
use crate::memory::Memory;
use crate::mount::Mount;
use crate::pseudo::{Errno, Handle, Node, Tree};
use crate::quoting::Quoting;

const IS_EDMM_SUPPORTED: u32 = 0x8004_7300;
const SELF_TARGET: u32 = 0x8200_7303;
const CREATE_REPORT: u32 = 0xC018_7304;
const VERIFY_REPORT: u32 = 0x41B0_7305;
const DETECT_DCAP_DRIVER: u32 = 0x8004_7306;
const GET_DCAP_QUOTE_SIZE: u32 = 0x8004_7307;
const GEN_DCAP_QUOTE: u32 = 0xC018_7308;
const KEY: u32 = 0xC010_730B;

/// The device of Occlum, served by FUSE for as long as this is there.
pub struct OcclumDevice {
    mount: Mount,
    state: Arc<Mutex<State>>,
}

impl OcclumDevice {
    pub(crate) fn new(cpu: Arc<Cpu>, quoting: Arc<Quoting>, enclave: EnclaveIdentity) -> io::Result<Self> {
        let device = Device::new(cpu, quoting, enclave, []);
        let state = device.0.clone();
        Ok(Self { mount: Mount::new(device)?, state })
    }

    /// The root folder, in which `dev/sgx` is; for this process.
    pub fn root(&self) -> PathBuf {
        self.mount.root()
    }

    /// Lets one of the next quotes go wrong, after those that were said before.
    pub fn fault(&self, fault: QuoteFault) {
        lock(&self.state).quotes.fault(fault);
    }

    /// From now on it says that quotes have this size.
    pub fn say_size(&self, size: u32) {
        lock(&self.state).size = Some(size);
    }

    /// From now on it is a version before 0.29.4, which gives no keys.
    pub fn take_keys_away(&self) {
        lock(&self.state).keys = false;
    }
}

struct State {
    cpu: Arc<Cpu>,
    enclave: EnclaveIdentity,
    quotes: FaultyQuotes,
    keys: bool,
    size: Option<u32>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is served.
pub(crate) struct Device(Arc<Mutex<State>>);

impl Device {
    /// The device of an enclave, whose quotes go wrong so, one after another.
    pub(crate) fn new(
        cpu: Arc<Cpu>,
        quoting: Arc<Quoting>,
        enclave: EnclaveIdentity,
        faults: impl IntoIterator<Item = QuoteFault>,
    ) -> Self {
        let mut quotes = FaultyQuotes::new(cpu.clone(), quoting, enclave.clone());
        faults.into_iter().for_each(|fault| quotes.fault(fault));
        Self(Arc::new(Mutex::new(State { cpu, enclave, quotes, keys: true, size: None })))
    }
}

impl Tree for Device {
    fn node(&self, path: &Path) -> Option<Node> {
        match path.to_str()? {
            "" => Some(Node::Folder(vec!["dev".into()])),
            "dev" => Some(Node::Folder(vec!["sgx".into()])),
            "dev/sgx" => Some(Node::File(0o666)),
            _ => None,
        }
    }

    fn open(&self, _: &Path, _: bool) -> Result<Box<dyn Handle>, Errno> {
        Ok(Box::new(Opened(self.0.clone())))
    }
}

struct Opened(Arc<Mutex<State>>);

impl Handle for Opened {
    fn ioctl(&mut self, command: u32, argument: &mut [u8], memory: &Memory) -> Result<(), Errno> {
        lock(&self.0).ioctl(command, argument, memory).ok_or(Errno::EINVAL)
    }
}

impl State {
    fn ioctl(&mut self, command: u32, argument: &mut [u8], memory: &Memory) -> Option<()> {
        let pointers = argument.to_vec();
        let pointer = |index: usize| Some(u64::from_le_bytes(*pointers.get(index * 8..)?.first_chunk()?));
        match command {
            IS_EDMM_SUPPORTED => put(argument, &0_i32.to_le_bytes()),
            DETECT_DCAP_DRIVER => put(argument, &1_i32.to_le_bytes()),
            SELF_TARGET => put(argument, self.enclave.targetinfo().as_bytes()),
            CREATE_REPORT => {
                let target = match pointer(0)? {
                    0 => Targetinfo::new_zeroed(),
                    at => Targetinfo::read_from_bytes(&memory.read::<512>(at).ok()?).ok()?,
                };
                let data = match pointer(1)? {
                    0 => [0; 64],
                    at => memory.read(at).ok()?,
                };
                let report = self.cpu.ereport(&self.enclave, &target, &data).ok()?;
                memory.write(not_null(pointer(2)?)?, report.as_bytes()).ok()
            }
            VERIFY_REPORT => {
                let report = Report::read_from_bytes(argument).ok()?;
                self.cpu.is_report_for(&self.enclave, &report).then_some(())
            }
            GET_DCAP_QUOTE_SIZE => {
                put(argument, &self.size.unwrap_or(self.quotes.size()? as u32).to_le_bytes())
            }
            GEN_DCAP_QUOTE => {
                let (size_at, quote_at) = (not_null(pointer(1)?)?, not_null(pointer(2)?)?);
                let mut data = memory.read(not_null(pointer(0)?)?).ok()?;
                let size = u32::from_le_bytes(memory.read(size_at).ok()?);
                let quote = self.quotes.quote(&mut data).ok()?;
                let fits = quote.get(..size as usize).unwrap_or(&quote);
                memory.write(quote_at, fits).ok()?;
                memory.write(size_at, &(quote.len() as u32).to_le_bytes()).ok()
            }
            KEY if self.keys => {
                let request =
                    Keyrequest::read_from_bytes(&memory.read::<512>(not_null(pointer(0)?)?).ok()?).ok()?;
                let key = self.cpu.egetkey(&self.enclave, &request).ok()?;
                memory.write(not_null(pointer(1)?)?, key.expose()).ok()
            }
            _ => None,
        }
    }
}

fn not_null(address: u64) -> Option<u64> {
    (address != 0).then_some(address)
}

fn put(argument: &mut [u8], bytes: &[u8]) -> Option<()> {
    argument.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(())
}
