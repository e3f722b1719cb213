//! Custody `hardware`: the root is what the processor derives for this enclave from one recorded request.
//!
//! The record is public: without the processor and this enclave it is worth nothing. What matters is that it never
//! changes, because another request is another root, and another root is another key for every guest (R1, R5, R95).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde::{Deserialize, Serialize};

use bulla_crypto::{Info, Secret, hkdf};
use bulla_tee::{DerivedKey, KeyRequest, Policy, Tee};

use crate::Error;

/// The record of the root.
const RECORD: &str = "root.request";
/// The record before it has its name. A crash leaves it behind; it is not state.
const UNFINISHED: &str = "root.request.new";
/// Held by the one instance that works on the state.
const LOCK: &str = "lock";
/// More than any record has.
const RECORD_MAX: u64 = 16 * 1024;

/// Every root that keys are derived from; never none.
pub(crate) struct Roots(Vec<Root>);

impl Roots {
    /// The root that new keys come from.
    pub(crate) fn current(&self) -> &Root {
        self.0.last().expect("there is always a root")
    }

    /// The root of this id.
    pub(crate) fn get(&self, id: &[u8; 16]) -> Option<&Root> {
        self.0.iter().find(|root| root.id() == id)
    }
}

/// What keys come from.
pub(crate) struct Root {
    key: Secret<32>,
    id: [u8; 16],
}

impl Root {
    /// The root of one machine key. Every byte of the request enters it, also those that only describe.
    pub(crate) fn new(machine_key: &DerivedKey, kind: &str, request: &[u8]) -> Self {
        let info = Info::new("bulla/provider/root/v1")
            .part("custody", b"hardware")
            .part("kind", kind.as_bytes())
            .part("request", request);
        Self::from_secret(hkdf(machine_key.expose(), b"", &info))
    }

    pub(crate) fn from_secret(key: Secret<32>) -> Self {
        let id = *hkdf::<16>(key.expose(), b"", &Info::new("bulla/provider/root-id/v1")).expose();
        Self { key, id }
    }

    /// The input of every derivation.
    pub(crate) fn key(&self) -> &Secret<32> {
        &self.key
    }

    /// The public commitment to the root, which also names it.
    pub(crate) const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// The "seal key" of the legacy formula: never a key of the hardware, never used by v1.
    pub(crate) fn legacy_seal_key(&self) -> Secret<16> {
        hkdf(self.key.expose(), b"", &Info::new("bulla legacy v0"))
    }
}

/// A state directory that this process alone works on.
pub(crate) struct State {
    folder: PathBuf,
    /// The lock goes when this is closed.
    _lock: File,
}

impl State {
    /// Makes the directory if there is none, and takes its lock (R46).
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let making = Error::io(format!("making {}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(making)?;
        let path = folder.join(LOCK);
        let opening = Error::io(format!("opening {}", path.display()));
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(opening)?;
        fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::Locked { path: path.clone() })?;
        Ok(Self { folder: folder.into(), _lock: lock })
    }

    /// Refuses what [`State::open`] and [`State::roots`] would, and makes nothing. What no start has made yet is fine.
    pub(crate) fn check(folder: &Path) -> Result<(), Error> {
        let looking = || format!("looking at {}", folder.display());
        match fs::metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(looking())(error)),
            Ok(found) if !found.is_dir() => {
                return Err(Error::io(looking())(ErrorKind::NotADirectory.into()));
            }
            Ok(_) => {}
        }
        let path = folder.join(LOCK);
        if let Ok(lock) = OpenOptions::new().write(true).open(&path) {
            fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_| Error::Locked { path })?;
        }
        match fs::exists(folder.join(RECORD)) {
            Ok(true) => Ok(()),
            _ => require_empty(folder),
        }
    }

    /// A file of the state.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The roots that are recorded here; a new one only where nothing at all is (R95).
    pub(crate) fn roots(&self, tee: &dyn Tee) -> Result<Roots, Error> {
        Ok(Roots(vec![self.root(tee)?]))
    }

    fn root(&self, tee: &dyn Tee) -> Result<Root, Error> {
        let path = self.path(RECORD);
        match File::open(&path) {
            Ok(file) => recorded_root(tee, file, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                require_empty(&self.folder)?;
                self.new_root(tee)
            }
            Err(error) => Err(Error::io(format!("opening {}", path.display()))(error)),
        }
    }

    fn new_root(&self, tee: &dyn Tee) -> Result<Root, Error> {
        let (request, machine_key) = tee.bind(&Policy::measurement())?;
        let (kind, request) = (request.kind(), request.encode());
        let root = Root::new(&machine_key, kind, &request);
        let record = Record {
            version: 1,
            kind: kind.into(),
            request: hex::encode(request),
            root_id: hex::encode(root.id),
        };
        self.write(&record).map_err(Error::io(format!("writing {}", self.path(RECORD).display())))?;
        Ok(root)
    }

    /// Whole or not at all, and on the disk before the first key is made from it (R67).
    fn write(&self, record: &Record) -> std::io::Result<()> {
        let text = toml::to_string(record).expect("four fields are TOML");
        let unfinished = self.path(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(
            b"# Which key of this machine the provider's root is. Public, and needed at every start: keep it.\n",
        )?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path(RECORD))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// A new root is made only where nothing at all is (R95).
fn require_empty(folder: &Path) -> Result<(), Error> {
    let listing = || format!("listing {}", folder.display());
    for entry in fs::read_dir(folder).map_err(Error::io(listing()))? {
        let name = entry.map_err(Error::io(listing()))?.file_name();
        if name != LOCK && name != UNFINISHED {
            let found = name.to_string_lossy().into_owned();
            return Err(Error::MissingSeal { state_dir: folder.into(), found });
        }
    }
    Ok(())
}

/// `root.request`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// 1.
    version: u8,
    /// [`KeyRequest::kind`].
    kind: String,
    /// [`KeyRequest::encode`], in hex.
    request: String,
    /// [`Root::id`], in hex: tells a wrong root before anyone gets a key from it.
    root_id: String,
}

fn recorded_root(tee: &dyn Tee, file: File, path: &Path) -> Result<Root, Error> {
    let damaged = |reason: String| Error::DamagedSeal { path: path.into(), reason };
    let mut text = String::new();
    file.take(RECORD_MAX).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
    let record: Record = toml::from_str(&text).map_err(|error| damaged(error.message().into()))?;
    if record.version != 1 {
        return Err(damaged(format!("version {}, and 1 is known", record.version)));
    }
    let bytes = hex::decode(&record.request).map_err(|error| damaged(error.to_string()))?;
    let request = KeyRequest::decode(&record.kind, &bytes).map_err(|error| damaged(error.to_string()))?;
    let root = Root::new(&tee.derive(&request)?, &record.kind, &bytes);
    if hex::encode(root.id) != record.root_id {
        return Err(Error::OtherRoot { path: path.into() });
    }
    Ok(root)
}
