//! A SEV-SNP guest, with keys of its chip's own.

use bulla_sim::{Machine, SnpDescription, Step};
use bulla_tee::Tee;
use tempfile::TempDir;

use crate::suite::{Bench, Capability, Change};

const CODE: &str = "machine.unsupported";
const NONE_OF_INTELS: &str = "it is on no machine with SGX";

pub const CANNOT: &[(Capability, &str, &str)] = &[
    (
        Capability::Configuration,
        CODE,
        "its configuration, HOST_DATA, enters every key, so there is no choice",
    ),
    (Capability::Report, CODE, NONE_OF_INTELS),
    (Capability::Guests, CODE, NONE_OF_INTELS),
];

pub struct Guests {
    folders: [TempDir; 2],
    machine: usize,
    guest: SnpDescription,
}

impl Guests {
    pub fn boxed() -> Box<dyn Bench> {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        folders.iter().for_each(|folder| drop(Machine::create(folder.path()).unwrap()));
        let guest = SnpDescription { guest_svn: 3, ..SnpDescription::default_guest().with_product(7) };
        Box::new(Self { folders, machine: 0, guest })
    }

    fn machine(&self) -> Machine {
        Machine::open(self.folders[self.machine].path()).unwrap()
    }
}

impl Bench for Guests {
    fn start(&self) -> Box<dyn Tee> {
        Box::new(self.machine().snp_guest(self.guest.clone()).unwrap())
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Update => self.machine().microcode(Step::Up).unwrap(),
            Change::Downgrade => self.machine().microcode(Step::Down).unwrap(),
            Change::OtherProgram => {
                (self.guest.measurement, self.guest.id_key_digest) = ([0xE2; 48], [0x52; 48]);
            }
            Change::NextVersion => (self.guest.measurement, self.guest.guest_svn) = ([0xE3; 48], 4),
            Change::Debug => self.guest = self.guest.clone().with_debug(),
            Change::OtherConfiguration => self.guest.host_data = [0xC2; 32],
            // The firmware knows of none.
            Change::Features => {}
            Change::OtherMachine => self.machine = 1,
        }
    }

    fn report_data_at(&self) -> usize {
        0x50
    }
}
