//! The simulated machines that the tests run on.

use std::sync::LazyLock;

use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave, Step};
use tempfile::TempDir;

/// An enclave that is the same whenever it is asked for, on a machine that is the same for all tests of a run.
pub(crate) fn here() -> SimulatedEnclave {
    program(|_| ())
}

/// Another enclave on the machine of [`here`].
pub(crate) fn program(change: fn(&mut EnclaveIdentity)) -> SimulatedEnclave {
    static MACHINE: LazyLock<TestMachine> = LazyLock::new(TestMachine::new);
    MACHINE.program(change)
}

/// A simulated machine of a test's own.
pub(crate) struct TestMachine {
    dir: TempDir,
    machine: Machine,
}

impl TestMachine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path()).unwrap();
        Self { dir, machine }
    }

    pub(crate) fn program(&self, change: fn(&mut EnclaveIdentity)) -> SimulatedEnclave {
        self.program_of(change)
    }

    pub(crate) fn program_of(&self, change: impl FnOnce(&mut EnclaveIdentity)) -> SimulatedEnclave {
        let mut identity = EnclaveIdentity::new([0xE0; 32], [0x51; 32], 7, 3);
        change(&mut identity);
        self.machine.enclave(&identity).unwrap()
    }

    /// The same machine after a change of its microcode and a restart.
    pub(crate) fn microcode(mut self, step: Step) -> Self {
        self.machine.microcode(step).unwrap();
        self.machine = Machine::open(self.dir.path()).unwrap();
        self
    }

    /// The same machine after a firmware update that gave it new keys, and a restart.
    pub(crate) fn platform_reset(mut self) -> Self {
        self.machine.platform_reset().unwrap();
        self.machine = Machine::open(self.dir.path()).unwrap();
        self
    }
}
