//! The machines that run an SGX enclave.

use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave, Step, TdDescription};
use bulla_tee::sgx::arch::{ReportMac, flags};
use bulla_tee::{
    DerivedKey, Error, Evidence, EvidenceKind, Identity, KeyRequest, LocalVerifier, Policy, ReportData, Tee,
};
use tempfile::TempDir;

use crate::suite::{Bench, Change};

/// Where a quote of version 3 has its report data.
const REPORT_DATA_AT: usize = 48 + 320;

/// An enclave of a simulated machine, in one of the ways to be one.
pub struct Enclaves {
    folders: [TempDir; 2],
    machine: usize,
    identity: EnclaveIdentity,
    run: fn(&Machine, &EnclaveIdentity) -> Box<dyn Tee>,
}

impl Enclaves {
    pub fn boxed(run: fn(&Machine, &EnclaveIdentity) -> Box<dyn Tee>) -> Box<dyn Bench> {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        folders.iter().for_each(|folder| drop(Machine::create(folder.path()).unwrap()));
        let mut identity = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
        identity.attributes.flags |= flags::KSS;
        identity.config_id = [0xC1; 64];
        Box::new(Self { folders, machine: 0, identity, run })
    }

    fn machine(&self) -> Machine {
        Machine::open(self.folders[self.machine].path()).unwrap()
    }
}

impl Bench for Enclaves {
    fn start(&self) -> Box<dyn Tee> {
        (self.run)(&self.machine(), &self.identity)
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Update => self.machine().microcode(Step::Up).unwrap(),
            Change::Downgrade => self.machine().microcode(Step::Down).unwrap(),
            Change::OtherProgram => {
                (self.identity.mrenclave, self.identity.mrsigner) = ([0xE2; 32], [0x52; 32]);
            }
            Change::NextVersion => (self.identity.mrenclave, self.identity.isv_svn) = ([0xE3; 32], 4),
            Change::Debug => self.identity.attributes.flags |= flags::DEBUG,
            Change::OtherConfiguration => self.identity.config_id = [0xC2; 64],
            // AVX, AVX-512 and AMX.
            Change::Features => self.identity.attributes.xfrm |= 0x600E4,
            Change::OtherMachine => self.machine = 1,
        }
    }

    fn report_data_at(&self) -> usize {
        REPORT_DATA_AT
    }

    fn guest_report(&self) -> Option<ReportMac> {
        Some(self.machine().td_report(&TdDescription::default_guest(), &[5; 64]).report_mac)
    }
}

/// A backend, and the files or the device that it works with.
pub struct Kept<P> {
    pub tee: SimulatedEnclave,
    pub _place: P,
}

impl<P: Send + Sync> Tee for Kept<P> {
    fn identity(&self) -> Result<Identity, Error> {
        self.tee.identity()
    }

    fn bind(&self, policy: &Policy) -> Result<(KeyRequest, DerivedKey), Error> {
        self.tee.bind(policy)
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Error> {
        self.tee.derive(request)
    }

    fn attest(&self, data: &ReportData, kind: EvidenceKind<'_>) -> Result<Evidence, Error> {
        self.tee.attest(data, kind)
    }

    fn local_verifier(&self) -> Option<&dyn LocalVerifier> {
        self.tee.local_verifier()
    }
}
