//! Machines as the committed vectors describe them. The fuzz targets use them too.

use std::collections::BTreeMap;

use serde::Deserialize;

use bulla_tee::sgx::arch::Attributes;
use bulla_tee::{
    DerivedKey, Error as MachineError, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData,
    SgxIdentity, TdxIdentity, Tee,
};

/// A machine that gives one key to every request that is for its identity.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    kind: String,
    simulated: bool,
    key: String,
    tag: Option<String>,
    /// By their names.
    pub(crate) registers: BTreeMap<String, Register>,
    /// What it says when it is asked to bind; no vector has that.
    #[serde(skip)]
    pub(crate) request: Option<KeyRequest>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Register {
    Number(u64),
    Bytes(String),
}

impl Machine {
    fn bytes<const N: usize>(&self, name: &str) -> [u8; N] {
        match self.registers.get(name) {
            None => [0; N],
            Some(Register::Bytes(digits)) => hex::decode(digits).unwrap().try_into().unwrap(),
            Some(Register::Number(_)) => panic!("{name} is bytes"),
        }
    }

    fn number(&self, name: &str) -> u64 {
        match self.registers.get(name) {
            None => 0,
            Some(Register::Number(value)) => *value,
            Some(Register::Bytes(_)) => panic!("{name} is a number"),
        }
    }

    fn key(&self) -> DerivedKey {
        DerivedKey::new(hex::decode(&self.key).unwrap())
    }

    fn enclave(&self) -> SgxIdentity {
        let small = |name| u16::try_from(self.number(name)).unwrap();
        SgxIdentity {
            mrenclave: self.bytes("MRENCLAVE"),
            mrsigner: self.bytes("MRSIGNER"),
            isv_prod_id: small("ISVPRODID"),
            isv_svn: small("ISVSVN"),
            cpusvn: self.bytes("CPUSVN"),
            attributes: Attributes {
                flags: self.number("ATTRIBUTES.FLAGS"),
                xfrm: self.number("ATTRIBUTES.XFRM"),
            },
            misc_select: u32::try_from(self.number("MISCSELECT")).unwrap(),
            config_id: self.bytes("CONFIGID"),
            config_svn: small("CONFIGSVN"),
            isv_family_id: self.bytes("ISVFAMILYID"),
            isv_ext_prod_id: self.bytes("ISVEXTPRODID"),
        }
    }

    fn guest(&self) -> TdxIdentity {
        let mut tee_tcb_svn = [0; 16];
        if self.simulated {
            tee_tcb_svn[8..].copy_from_slice(&bulla_tee::SIMULATED_MARKER);
        }
        TdxIdentity {
            mrtd: self.bytes("MRTD"),
            rtmr: ["RTMR0", "RTMR1", "RTMR2", "RTMR3"].map(|name| self.bytes(name)),
            mrconfigid: self.bytes("MRCONFIGID"),
            mrowner: self.bytes("MROWNER"),
            mrownerconfig: self.bytes("MROWNERCONFIG"),
            mrservicetd: self.bytes("MRSERVICETD"),
            attributes: 0,
            xfam: 0,
            tee_tcb_svn,
            mrseam: [0; 48],
        }
    }
}

impl Tee for Machine {
    fn identity(&self) -> Result<Identity, MachineError> {
        Ok(match self.kind.as_str() {
            "sgx" => Identity::Sgx(Box::new(self.enclave())),
            _ => Identity::Tdx(Box::new(self.guest())),
        })
    }

    fn bind(&self, _: &Policy) -> Result<(KeyRequest, DerivedKey), MachineError> {
        Ok((self.request.clone().unwrap(), self.key()))
    }

    fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, MachineError> {
        let request = match request {
            KeyRequest::Simulated(request) => request,
            request => request,
        };
        match request {
            KeyRequest::Sgx(request) if Some(hex::encode(request.machine_tag)) != self.tag => {
                Err(MachineError::OtherMachine)
            }
            _ => Ok(self.key()),
        }
    }

    fn attest(&self, _: &ReportData, _: EvidenceKind<'_>) -> Result<Evidence, MachineError> {
        Err(MachineError::Unsupported { machine: "the machine of the vectors", what: "attest" })
    }
}
