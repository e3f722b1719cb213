//! A TDX guest, without its key provider.

use bulla_sim::{Machine, SealingKeys, Step, TdDescription};
use bulla_tee::Tee;
use tempfile::TempDir;

use crate::suite::{Bench, Capability, Change};

pub mod native;

const CODE: &str = "machine.unsupported";
const NO_KEY: &str = "it has no key of its own, and a key provider gives it one";

/// What only machines with keys can do.
pub const CANNOT: &[(Capability, &str, &str)] = &[
    (Capability::Keys, CODE, NO_KEY),
    (Capability::Fresh, CODE, NO_KEY),
    (Capability::Restart, CODE, NO_KEY),
    (Capability::Update, CODE, NO_KEY),
    (Capability::Downgrade, CODE, NO_KEY),
    (Capability::Features, CODE, NO_KEY),
    (Capability::Measurement, CODE, NO_KEY),
    (Capability::Signer, CODE, NO_KEY),
    (Capability::Configuration, CODE, NO_KEY),
    (Capability::Debug, CODE, NO_KEY),
    (Capability::Machine, CODE, NO_KEY),
    (Capability::Guests, CODE, "Linux has no interface to TDG.MR.VERIFYREPORT"),
];

pub struct Guests {
    folders: [TempDir; 2],
    machine: usize,
    td: TdDescription,
    keys: Option<SealingKeys>,
}

impl Guests {
    pub fn boxed() -> Box<dyn Bench> {
        Self::bench(None)
    }

    pub fn with_keys(keys: SealingKeys) -> Box<dyn Bench> {
        Self::bench(Some(keys))
    }

    fn bench(keys: Option<SealingKeys>) -> Box<dyn Bench> {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        folders.iter().for_each(|folder| drop(Machine::create(folder.path()).unwrap()));
        Box::new(Self { folders, machine: 0, td: TdDescription::default_guest(), keys })
    }

    fn machine(&self) -> Machine {
        Machine::open(self.folders[self.machine].path()).unwrap()
    }
}

impl Bench for Guests {
    fn start(&self) -> Box<dyn Tee> {
        let guest = self.machine().guest(self.td.clone()).unwrap();
        match self.keys {
            None => Box::new(guest),
            Some(keys) => Box::new(guest.with_native_keys(keys).unwrap()),
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Update => self.machine().microcode(Step::Up).unwrap(),
            Change::Downgrade => self.machine().microcode(Step::Down).unwrap(),
            Change::OtherProgram | Change::NextVersion => self.td.mrtd = [0xE2; 48],
            Change::Debug => self.td = self.td.clone().with_debug(),
            Change::OtherConfiguration => self.td.mrconfigid = [0xC2; 48],
            Change::Features => self.td.xfam |= 0x60000,
            Change::OtherMachine => self.machine = 1,
        }
    }

    fn report_data_at(&self) -> usize {
        48 + 520
    }
}
