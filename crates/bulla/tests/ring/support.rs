//! A directory with a simulated machine, and rings of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave};
use tempfile::TempDir;

use bulla::{Error, Policy, Ring, Sealer, Unsealer};

pub(crate) struct Place {
    dir: TempDir,
    pub(crate) machine: Machine,
    pub(crate) enclave: SimulatedEnclave,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("machine")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        let enclave = enclave(&machine);
        Self { dir, machine, enclave }
    }

    pub(crate) fn machine_dir(&self) -> PathBuf {
        self.dir.path().join("machine")
    }

    /// Where the rings are, and nothing else.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    /// Of the ring `name` for `data`.
    pub(crate) fn sealer(&self, name: &str) -> Sealer<'_> {
        Sealer::new(&context(name)).machine(&self.enclave, Policy::default())
    }

    pub(crate) fn unsealer(&self, name: &str) -> Unsealer<'_> {
        Unsealer::new(&context(name)).machine(&self.enclave)
    }

    pub(crate) fn create(&self, name: &str) -> Ring<'_> {
        Ring::create(self.path(name), self.sealer(name), self.unsealer(name)).unwrap()
    }

    pub(crate) fn open(&self, name: &str) -> Result<Ring<'_>, Error> {
        Ring::open(self.path(name), self.unsealer(name))
    }

    /// The ring `name`, with the database `name.db` as its data.
    pub(crate) fn ensure(&self, name: &str) -> Result<Ring<'_>, Error> {
        let data = [self.path(&format!("{name}.db"))];
        Ring::ensure(self.path(name), &data, self.sealer(name), self.unsealer(name))
    }

    /// All files of the state, by name.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.state())
    }
}

/// The same enclave in every process.
pub(crate) fn enclave(machine: &Machine) -> SimulatedEnclave {
    machine.enclave(&EnclaveIdentity::new([0xE0; 32], [0x51; 32], 7, 3)).unwrap()
}

pub(crate) fn context(name: &str) -> String {
    Ring::context(name, "data").unwrap()
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// What tells the keys of two rings apart.
pub(crate) fn keys(ring: &Ring<'_>) -> Vec<(u32, [u8; 16], Option<[u8; 32]>)> {
    let secret = |key: &bulla::RingKey| key.secret().ok().map(|secret| *secret.expose());
    ring.generations().iter().map(|key| (key.generation(), *key.id(), secret(key))).collect()
}

/// The reason, since a ring cannot be printed.
pub(crate) fn code(result: Result<Ring<'_>, Error>) -> &'static str {
    result.err().expect("refused").code()
}
