//! Identities and requests that the tests of this crate start from.

use crate::sgx::arch::{Attributes, flags};
use crate::sgx::{KeyFileRequest, SgxRequest};
use crate::tdx::{NativeRequest, attributes};
use crate::{
    GuestBinding, GuestRegisters, Identity, Policy, ProviderRequest, SgxIdentity, SignerPolicy, SnpIdentity,
    SnpRequest, SnpTcb, TdxIdentity, TpmIdentity, TpmRequest,
};

/// An enclave without KSS.
pub(crate) fn enclave() -> SgxIdentity {
    SgxIdentity {
        mrenclave: [1; 32],
        mrsigner: [2; 32],
        isv_prod_id: 3,
        isv_svn: 4,
        cpusvn: [5; 16],
        attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 0xE7 },
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
        isv_family_id: [0; 16],
        isv_ext_prod_id: [0; 16],
    }
}

/// The same with KSS.
pub(crate) fn kss_enclave() -> SgxIdentity {
    SgxIdentity {
        attributes: Attributes { flags: enclave().attributes.flags | flags::KSS, xfrm: 0xE7 },
        config_id: [7; 64],
        config_svn: 8,
        isv_family_id: [9; 16],
        isv_ext_prod_id: [10; 16],
        ..enclave()
    }
}

pub(crate) fn release() -> SignerPolicy {
    SignerPolicy { product: 3, min_svn: 2, label: "acme".into() }
}

pub(crate) fn sgx(policy: &Policy) -> SgxRequest {
    SgxRequest::new(policy, &kss_enclave(), [6; 32]).unwrap()
}

pub(crate) fn key_file() -> KeyFileRequest {
    KeyFileRequest::new(&Policy::measurement(), &enclave()).unwrap()
}

pub(crate) fn guest() -> TdxIdentity {
    TdxIdentity {
        mrtd: [1; 48],
        rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]],
        mrconfigid: [6; 48],
        mrowner: [7; 48],
        mrownerconfig: [8; 48],
        mrservicetd: [9; 48],
        attributes: 0,
        xfam: 0,
        tee_tcb_svn: [0; 16],
        mrseam: [0; 48],
    }
}

/// One of a guest with a zero RTMR3, and without what a host chooses.
pub(crate) fn native() -> NativeRequest {
    let new = NativeRequest::new(&Policy::measurement(), &bare_guest(), [5; 16], [8; 32]).unwrap();
    NativeRequest { bits: 256, machine_tag: [9; 16], ..new }
}

pub(crate) fn bare_guest() -> TdxIdentity {
    let zero = [0; 48];
    let [rtmr0, rtmr1, rtmr2, _] = guest().rtmr;
    TdxIdentity {
        mrconfigid: zero,
        mrowner: zero,
        mrownerconfig: zero,
        rtmr: [rtmr0, rtmr1, rtmr2, zero],
        attributes: attributes::SEPT_VE_DISABLE,
        tee_tcb_svn: [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..guest()
    }
}

pub(crate) fn provider() -> ProviderRequest {
    ProviderRequest {
        root_id: [1; 16],
        provider: [2; 32],
        authority: [3; 32],
        path: "path".into(),
        purpose: "sealing".into(),
        guest: GuestRegisters::from(&guest()),
        binding: GuestBinding::Measurement,
    }
}

pub(crate) fn sgx_identity(identity: SgxIdentity) -> Identity {
    Identity::Sgx(Box::new(identity))
}

pub(crate) fn tdx_identity() -> Identity {
    Identity::Tdx(Box::new(guest()))
}

/// A guest with an ID block, of product 3 at SVN 4.
pub(crate) fn snp_guest() -> SnpIdentity {
    let tcb = SnpTcb { fmc: 0, bootloader: 9, tee: 0, snp: 23, microcode: 72 };
    let mut family_id = [0; 16];
    family_id[0] = 3;
    SnpIdentity {
        measurement: [1; 48],
        host_data: [2; 32],
        id_key_digest: [7; 48],
        author_key_digest: [0; 48],
        family_id,
        image_id: [9; 16],
        guest_svn: 4,
        policy: 0x2_001F,
        vmpl: 1,
        platform_info: 0,
        reported_tcb: tcb,
        current_tcb: tcb,
        committed_tcb: tcb,
        launch_tcb: tcb,
        report_id: [10; 32],
        report_id_ma: [0xFF; 32],
        chip_id: [11; 64],
        cpuid: [0x19, 0x11, 1],
        launch_mitigations: 0,
        current_mitigations: 0,
    }
}

/// The committed TCB of that guest's machine, as it is reported.
pub(crate) const SNP_TCB: [u8; 8] = [9, 0, 0, 0, 0, 0, 23, 72];

pub(crate) fn snp(policy: &Policy) -> SnpRequest {
    let request = SnpRequest::new(policy, &snp_guest(), SNP_TCB, [6; 32]).unwrap();
    SnpRequest { machine_tag: [12; 16], ..request }
}

/// Register n holds n.
pub(crate) fn tpm_identity() -> TpmIdentity {
    let mut pcrs = [[0; 32]; 24];
    pcrs.iter_mut().zip(0..).for_each(|(value, register)| *value = [register; 32]);
    TpmIdentity { parent: [1; 32], pcrs }
}

pub(crate) fn tpm(policy: &Policy) -> TpmRequest {
    let identity = tpm_identity();
    let (policy, states) = TpmRequest::states(policy, &identity).unwrap();
    TpmRequest {
        parent: identity.parent,
        public: vec![0xA1, 0xA2, 0xA3],
        private: vec![0xB1, 0xB2],
        pcrs: policy.pcrs.bits(),
        states: states.into_iter().map(Into::into).collect(),
        authority: policy.authority,
    }
}
