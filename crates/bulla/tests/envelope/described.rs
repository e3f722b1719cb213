//! Machines as the committed vectors describe them. The fuzz targets use them too.

use std::collections::BTreeMap;

use serde::Deserialize;

use bulla_tee::sgx::arch::Attributes;
use bulla_tee::snp::TcbLayout;
use bulla_tee::{
    DerivedKey, Error as MachineError, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData,
    SIMULATED_MARKER, SgxIdentity, SnpIdentity, TdxIdentity, Tee,
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

    fn is_another(&self, tag: &[u8; 16]) -> bool {
        Some(hex::encode(tag)) != self.tag
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
            tee_tcb_svn[8..].copy_from_slice(&SIMULATED_MARKER);
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

impl Machine {
    fn snp_guest(&self) -> SnpIdentity {
        let mut chip_id = [0x11; 64];
        if self.simulated {
            chip_id[56..].copy_from_slice(&SIMULATED_MARKER);
        }
        let small = |name| u32::try_from(self.number(name)).unwrap();
        let tcb = TcbLayout::Milan.read(self.bytes("COMMITTED_TCB")).unwrap();
        SnpIdentity {
            measurement: self.bytes("MEASUREMENT"),
            host_data: self.bytes("HOST_DATA"),
            id_key_digest: self.bytes("ID_KEY_DIGEST"),
            author_key_digest: self.bytes("AUTHOR_KEY_DIGEST"),
            family_id: self.bytes("FAMILY_ID"),
            image_id: [0; 16],
            guest_svn: small("GUEST_SVN"),
            policy: self.number("POLICY"),
            vmpl: small("VMPL"),
            platform_info: 0,
            reported_tcb: tcb,
            current_tcb: tcb,
            committed_tcb: tcb,
            launch_tcb: tcb,
            report_id: [0; 32],
            report_id_ma: [0xFF; 32],
            chip_id,
            cpuid: [0x19, 1, 1],
            launch_mitigations: 0,
            current_mitigations: 0,
        }
    }
}

impl Tee for Machine {
    fn identity(&self) -> Result<Identity, MachineError> {
        Ok(match self.kind.as_str() {
            "sgx" => Identity::Sgx(Box::new(self.enclave())),
            "snp" => Identity::Snp(Box::new(self.snp_guest())),
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
            KeyRequest::Sgx(request) if self.is_another(&request.machine_tag) => {
                Err(MachineError::OtherMachine)
            }
            KeyRequest::Snp(request) if self.is_another(&request.machine_tag) => {
                Err(MachineError::OtherMachine)
            }
            _ => Ok(self.key()),
        }
    }

    fn attest(&self, _: &ReportData, _: EvidenceKind<'_>) -> Result<Evidence, MachineError> {
        Err(MachineError::Unsupported { machine: "the machine of the vectors", what: "attest" })
    }
}
