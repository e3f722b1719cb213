//! A simulated machine, seen through the real verifier.

use std::sync::Arc;

use bulla_attest::{Collateral, CollateralId, CollateralSource, Error, Policy, TeeKind, TrustAnchor};
use bulla_client::{Client, Judge, Pin, PinnedEnclave};
use bulla_crypto::{Role, RoleHash};
use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave, SimulatedGuest, Step, TdDescription};
use bulla_tee::{EvidenceKind, Tee};
use tempfile::TempDir;

use crate::provider::Provider;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const MEASUREMENT: [u8; 32] = [0x5E; 32];
pub(crate) const AUTHORITY: [u8; 32] = [0xA0; 32];
pub(crate) const ROOT_ID: [u8; 16] = [0x07; 16];
pub(crate) const PIN: Pin =
    Pin { enclave: PinnedEnclave::Measurement(MEASUREMENT), authority: AUTHORITY, root_id: Some(ROOT_ID) };

/// A machine with collateral for its quotes.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) machine: Machine,
    collateral: Arc<Collaterals>,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::create(dir.path().join("machine")).unwrap();
        let set = |tee: &dyn Tee| {
            let data = RoleHash::new(Role::GuestRequest, &[]);
            let quote = tee.attest(&data, EvidenceKind::Quote).unwrap();
            let json = machine.collateral(quote.bytes(), NOW).unwrap();
            Collateral::from_json(json.as_bytes()).unwrap()
        };
        let collateral = Arc::new(Collaterals {
            sgx: set(&machine.enclave(&identity()).unwrap()),
            tdx: set(&machine.guest(TdDescription::default_guest()).unwrap()),
        });
        Self { dir, machine, collateral }
    }

    /// Another machine whose certificates lead to the same root.
    pub(crate) fn neighbour(&self) -> Machine {
        self.machine.platform_reset().unwrap();
        self.reopened()
    }

    /// The same machine with microcode that has known holes.
    pub(crate) fn out_of_date(&self) -> Machine {
        self.machine.microcode(Step::Down).unwrap();
        self.reopened()
    }

    fn reopened(&self) -> Machine {
        Machine::open(self.dir.path().join("machine")).unwrap()
    }

    pub(crate) fn judge(&self, policy: Policy) -> Judge {
        self.judge_under(TrustAnchor::from_der(&self.machine.root_der()).unwrap(), policy)
    }

    pub(crate) fn judge_under(&self, anchor: TrustAnchor, policy: Policy) -> Judge {
        self.judge_at(anchor, policy, || NOW)
    }

    pub(crate) fn judge_at(
        &self,
        anchor: TrustAnchor,
        policy: Policy,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Judge {
        Judge::new(anchor, Arc::clone(&self.collateral) as _, policy, now)
    }

    pub(crate) fn client_of(&self, guest: impl Tee + 'static, url: &str, pin: Pin) -> Client {
        Client::new(Arc::new(guest), url, pin, self.judge(Policy::strict().allow_simulated())).unwrap()
    }

    /// The default guest with the right pin.
    pub(crate) fn client(&self, url: &str) -> Client {
        self.client_of(self.guest(), url, PIN)
    }

    pub(crate) fn guest(&self) -> SimulatedGuest {
        self.machine.guest(TdDescription::default_guest()).unwrap()
    }

    /// A guest with another program in it.
    pub(crate) fn other_guest(&self) -> SimulatedGuest {
        self.machine.guest(TdDescription { mrtd: [0x0E; 48], ..TdDescription::default_guest() }).unwrap()
    }

    /// The pinned provider.
    pub(crate) fn provider(&self) -> Provider {
        Provider::new(&enclave_of(&self.machine, &identity()), AUTHORITY, ROOT_ID)
    }
}

/// The identity that is pinned.
pub(crate) fn identity() -> EnclaveIdentity {
    EnclaveIdentity::new(MEASUREMENT, [0x51; 32], 1, 1)
}

pub(crate) fn enclave_of(machine: &Machine, identity: &EnclaveIdentity) -> SimulatedEnclave {
    machine.enclave(identity).unwrap()
}

/// Collateral does not name a PPID, so neighbours share it.
struct Collaterals {
    sgx: Collateral,
    tdx: Collateral,
}

impl CollateralSource for Collaterals {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, Error> {
        match id.intel().unwrap().tee {
            TeeKind::Sgx => Ok(self.sgx.clone()),
            _ => Ok(self.tdx.clone()),
        }
    }
}
