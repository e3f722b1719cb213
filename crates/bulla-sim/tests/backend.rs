//! The shipped SGX backend on a simulated machine: every instruction of it is answered by the trap.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bulla_crypto::{Class, Role, RoleHash};
use bulla_sim::{EnclaveIdentity, Machine, Step, TdDescription};
use bulla_tee::sgx::arch::{Targetinfo, flags};
use bulla_tee::{
    Error, Evidence, EvidenceKind, Identity, KeyRequest, LocalVerifier, Policy, SIMULATED_MARKER, Tee,
};
use proptest::prelude::*;
use tempfile::TempDir;
use zerocopy::{FromZeros, IntoBytes};

fn new() -> (TempDir, PathBuf, Machine) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("machine");
    let machine = Machine::create(&dir).unwrap();
    (parent, dir, machine)
}

fn open(dir: &Path) -> Machine {
    Machine::open(dir).unwrap()
}

fn app() -> EnclaveIdentity {
    EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)
}

fn kss_app() -> EnclaveIdentity {
    let mut identity = app();
    identity.attributes.flags |= flags::KSS;
    (identity.config_id, identity.config_svn) = ([0xC1; 64], 9);
    (identity.isv_family_id, identity.isv_ext_prod_id) = ([0xFA; 16], [0xE7; 16]);
    identity
}

fn bind(machine: &Machine, identity: &EnclaveIdentity) -> (KeyRequest, Vec<u8>) {
    let (request, key) = machine.enclave(identity).unwrap().bind(&Policy::measurement()).unwrap();
    (request, key.expose().to_vec())
}

fn derive(machine: &Machine, identity: &EnclaveIdentity, request: &KeyRequest) -> Result<Vec<u8>, Error> {
    Ok(machine.enclave(identity)?.derive(request)?.expose().to_vec())
}

/// R5, R15: sealing survives a restart and an update, not a downgrade; everything is tagged as simulated.
#[test]
fn keys_survive_an_update_and_not_a_downgrade() {
    let (_parent, dir, machine) = new();
    let (request, key) = bind(&machine, &app());
    assert_eq!(request.kind(), "sim");
    assert_eq!(key.len(), 16);
    assert_eq!(derive(&open(&dir), &app(), &request).unwrap(), key);

    machine.microcode(Step::Up).unwrap();
    assert_eq!(derive(&open(&dir), &app(), &request).unwrap(), key);
    let (later, later_key) = bind(&open(&dir), &app());

    machine.microcode(Step::Down).unwrap();
    assert_eq!(derive(&open(&dir), &app(), &request).unwrap(), key);
    let error = derive(&open(&dir), &app(), &later).unwrap_err();
    let Error::TcbTooOld { register: "CPUSVN", sealed, current } = &error else { panic!("{error}") };
    assert_eq!((error.class(), &sealed[..2], &current[..2]), (Class::TooOld, "06", "05"));

    machine.microcode(Step::Down).unwrap();
    assert_eq!(derive(&open(&dir), &app(), &request).unwrap_err().code(), "machine.tcb_too_old");
    for _ in 0..2 {
        machine.microcode(Step::Up).unwrap();
    }
    assert_eq!(derive(&open(&dir), &app(), &later).unwrap(), later_key);
}

/// R5: an enclave may be newer than the one that sealed, never older.
#[test]
fn keys_survive_a_higher_isvsvn_only() {
    let (_parent, _dir, machine) = new();
    let (request, key) = bind(&machine, &app());
    let at = |isv_svn| EnclaveIdentity { isv_svn, ..app() };
    assert_eq!(derive(&machine, &at(4), &request).unwrap(), key);
    let error = derive(&machine, &at(2), &request).unwrap_err();
    assert!(matches!(error, Error::TcbTooOld { register: "ISVSVN", .. }));
}

#[test]
fn another_machine_and_a_reset_one_have_other_keys() {
    let (_parent, dir, machine) = new();
    let (_other_parent, _other_dir, other) = new();
    let (request, _) = bind(&machine, &app());
    assert!(matches!(derive(&other, &app(), &request), Err(Error::OtherMachine)));
    machine.platform_reset().unwrap();
    derive(&machine, &app(), &request).expect("what runs keeps its fuses");
    assert!(matches!(derive(&open(&dir), &app(), &request), Err(Error::OtherMachine)));
}

/// B38: wiping the owner epoch in the firmware or putting in another processor ends every sealing key.
#[test]
fn a_new_owner_epoch_or_processor_has_other_keys() {
    for change in [Machine::owner_epoch_reset, Machine::replace_processor] {
        let (_parent, dir, machine) = new();
        let (request, _) = bind(&machine, &app());
        change(&machine).unwrap();
        assert!(matches!(derive(&open(&dir), &app(), &request), Err(Error::OtherMachine)));
        let (request, key) = bind(&open(&dir), &app());
        assert_eq!(derive(&open(&dir), &app(), &request).unwrap(), key);
    }
}

/// R13: what a broken processor reports is refused before anything is sealed to it.
#[test]
fn a_zero_identity_is_refused() {
    let (_parent, _dir, machine) = new();
    let zero = [
        ("MRENCLAVE", EnclaveIdentity { mrenclave: [0; 32], ..app() }),
        ("MRSIGNER", EnclaveIdentity { mrsigner: [0; 32], ..app() }),
    ];
    for (name, identity) in zero {
        let error = machine.enclave(&identity).unwrap().bind(&Policy::default()).err().unwrap();
        assert!(matches!(error, Error::Zero(register) if register == name), "{error}");
    }
}

/// R3, R4: what decides is the measurement, the product and DEBUG; not the signer, nor the extended features.
#[test]
fn keys_are_bound_to_the_identity() {
    let (_parent, _dir, machine) = new();
    let (request, key) = bind(&machine, &app());
    let refused = |identity: EnclaveIdentity| match derive(&machine, &identity, &request) {
        Err(Error::OtherIdentity(mismatch)) => mismatch.register,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{identity:?} has the key"),
    };
    assert_eq!(refused(EnclaveIdentity { mrenclave: [0xE2; 32], ..app() }), "MRENCLAVE");
    assert_eq!(refused(EnclaveIdentity { isv_prod_id: 8, ..app() }), "ISVPRODID");
    assert_eq!(refused(app().with_debug()), "ATTRIBUTES");

    let same = EnclaveIdentity { mrsigner: [0x52; 32], misc_select: 1, ..app() };
    assert_eq!(derive(&machine, &same, &request).unwrap(), key);
    let mut wider = app();
    wider.attributes.xfrm |= 0x6_00E4;
    assert_eq!(derive(&machine, &wider, &request).unwrap(), key);
}

/// R3: a debug enclave of the same measurement has its own keys, and the production one cannot have them.
#[test]
fn debug_enclaves_have_their_own_keys() {
    let (_parent, _dir, machine) = new();
    let (request, key) = bind(&machine, &app().with_debug());
    assert_eq!(derive(&machine, &app().with_debug(), &request).unwrap(), key);
    assert!(matches!(derive(&machine, &app(), &request), Err(Error::OtherIdentity(_))));
}

/// R3: a request that claims the production identity while a debug enclave asks gets another key, whatever it claims.
#[test]
fn a_forged_claim_of_identity_does_not_get_the_key() {
    let (_parent, _dir, machine) = new();
    let (request, key) = bind(&machine, &app());
    let KeyRequest::Simulated(inner) = &request else { panic!("not simulated") };
    let KeyRequest::Sgx(sgx) = inner.as_ref() else { panic!("not SGX") };
    let thief = EnclaveIdentity { mrenclave: [0xE2; 32], ..app() };
    for identity in [thief, app().with_debug()] {
        let mut forged = sgx.as_ref().clone();
        forged.mrenclave = identity.mrenclave;
        forged.flags = identity.attributes.flags & forged.flags_mask;
        let forged = KeyRequest::Simulated(Box::new(KeyRequest::Sgx(Box::new(forged))));
        assert_ne!(derive(&machine, &identity, &forged).ok().as_ref(), Some(&key));
    }
}

/// R2: no two sealings share a KEYID or a key.
#[test]
fn every_binding_is_fresh() {
    let (_parent, _dir, machine) = new();
    let ((one, key), (two, other_key)) = (bind(&machine, &app()), bind(&machine, &app()));
    assert_ne!(one, two);
    assert_ne!(key, other_key);
}

/// R15: requests of other machines are refused, however they are wrapped.
#[test]
fn untagged_requests_are_refused() {
    let (_parent, _dir, machine) = new();
    let (request, _) = bind(&machine, &app());
    let KeyRequest::Simulated(inner) = request else { panic!("not simulated") };
    let error = derive(&machine, &app(), &inner).unwrap_err();
    assert!(matches!(error, Error::WrongBackend { wanted: "sgx", found: "sim" }));

    let KeyRequest::Sgx(mut real) = *inner else { panic!("not SGX") };
    real.cpusvn = [1; 16];
    let claimed = KeyRequest::Simulated(Box::new(KeyRequest::Sgx(real)));
    assert!(matches!(derive(&machine, &app(), &claimed), Err(Error::WrongBackend { .. })));

    let guest = machine.guest(TdDescription::default_guest()).unwrap();
    assert!(matches!(guest.bind(&Policy::measurement()), Err(Error::Unsupported { .. })));
    assert!(matches!(guest.derive(&claimed), Err(Error::Unsupported { .. })));
}

/// R15: the backend of real processors refuses a simulated one, by the marker alone.
#[test]
fn the_identity_is_that_of_the_machine_and_marked() {
    let (_parent, _dir, machine) = new();
    let identity = kss_app();
    let Identity::Sgx(found) = machine.enclave(&identity).unwrap().identity().unwrap() else {
        panic!("not SGX");
    };
    assert_eq!(found.cpusvn[8..], SIMULATED_MARKER);
    assert_eq!((found.mrenclave, found.mrsigner), (identity.mrenclave, identity.mrsigner));
    assert_eq!((found.isv_prod_id, found.isv_svn, found.attributes), (7, 3, identity.attributes));
    assert_eq!((found.config_id, found.config_svn), ([0xC1; 64], 9));
    assert_eq!((found.isv_family_id, found.isv_ext_prod_id), ([0xFA; 16], [0xE7; 16]));
}

#[test]
fn a_report_is_evidence_too() {
    let (_parent, _dir, machine) = new();
    let data = RoleHash::new(Role::ProviderKey, &[("nonce", &[1; 32])]);
    let target = Targetinfo::new_zeroed();
    let enclave = machine.enclave(&app()).unwrap();
    let Evidence::Simulated(evidence) = enclave.attest(&data, EvidenceKind::Report(&target)).unwrap() else {
        panic!("not tagged as simulated");
    };
    assert!(matches!(evidence.as_ref(), Evidence::SgxReport(bytes) if bytes.len() == 432));
    assert_eq!(evidence.bytes()[320..384], data.as_bytes()[..]);
}

/// R35: a TDREPORT is good on its own machine only, and no bit of what the MAC covers can change.
#[test]
fn local_reports_are_checked_to_the_bit() {
    let ((_parent, _dir, machine), (_other_parent, _other_dir, other)) = (new(), new());
    let report = machine.td_report(&TdDescription::default_guest(), &[5; 64]).report_mac;
    let enclave = machine.enclave(&app()).unwrap();
    enclave.verify_report(&report).unwrap();
    assert!(matches!(other.enclave(&app()).unwrap().verify_report(&report), Err(Error::BadReport)));
    for bit in 0..256 * 8 {
        let mut changed = report;
        changed.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(enclave.verify_report(&changed), Err(Error::BadReport)), "bit {bit}");
    }
}

#[test]
fn enclaves_of_several_machines_nest_and_run_on_any_thread() {
    let ((_parent, _dir, machine), (_other_parent, _other_dir, other)) = (new(), new());
    let (one, two) = (machine.enclave(&app()).unwrap(), other.enclave(&app().with_debug()).unwrap());
    let (request, key) = one.bind(&Policy::measurement()).unwrap();
    let (other_request, other_key) = two.bind(&Policy::measurement()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert!(one.derive(&request).unwrap().ct_eq(&key));
                    assert!(two.derive(&other_request).unwrap().ct_eq(&other_key));
                    assert!(two.derive(&request).is_err());
                }
            });
        }
    });
}

#[test]
fn this_process_is_measured_and_the_rest_is_in_the_file() {
    let (_parent, dir, machine) = new();
    let own = EnclaveIdentity::of_this_process(&machine).unwrap();
    let executable = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(own.mrenclave, bulla_crypto::sha256(&[&executable]));
    assert_eq!((own.isv_prod_id, own.isv_svn), (1, 1));
    assert_eq!(own.attributes.flags, flags::INIT | flags::MODE64BIT);

    let path = dir.join("enclave.toml");
    let text = format!(
        "signer = '{}'\nproduct = 2\nsvn = 9\ndebug = true\nmeasurement = '{}'\n[kss]\nconfig_svn = 4\n",
        "ab".repeat(32),
        "cd".repeat(32)
    );
    fs::write(&path, &text).unwrap();
    let other = EnclaveIdentity::of_this_process(&machine).unwrap();
    assert_eq!((other.mrenclave, other.mrsigner), ([0xCD; 32], [0xAB; 32]));
    assert_eq!((other.isv_prod_id, other.isv_svn, other.config_svn), (2, 9, 4));
    let wanted = flags::INIT | flags::MODE64BIT | flags::DEBUG | flags::KSS;
    assert_eq!(other.attributes.flags, wanted);

    for bad in [format!("{text}\nfamily = 1"), format!("vendor = 1\n{text}"), text.replace("abab", "ab")] {
        fs::write(&path, bad).unwrap();
        let error = EnclaveIdentity::of_this_process(&machine).unwrap_err();
        assert_eq!((error.code(), error.class()), ("sim.unavailable", Class::Unavailable));
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(EnclaveIdentity::of_this_process(&machine).unwrap_err().code(), "sim.unavailable");
}

proptest! {
    /// R1: whoever changes any selector of a request gets another key, or none.
    #[test]
    fn every_selector_decides(field in 0_usize..18, bit in 0_u32..256, kss: bool) {
        static MACHINE: LazyLock<(TempDir, PathBuf, Machine)> = LazyLock::new(new);
        let (_, _, machine) = &*MACHINE;
        let identity = EnclaveIdentity { misc_select: 0xFFFF, ..kss_app() };
        let policy = if kss {
            "registers:MRSIGNER+CONFIGID+ISVFAMILYID+ISVEXTPRODID,product=7,svn=3,label=acme".parse().unwrap()
        } else {
            Policy::default()
        };
        let (request, key) = machine.enclave(&identity).unwrap().bind(&policy).unwrap();
        let key = key.expose().to_vec();
        let KeyRequest::Simulated(inner) = request else { panic!("not simulated") };
        let KeyRequest::Sgx(mut changed) = *inner else { panic!("not SGX") };
        let (byte, in_byte) = (bit as usize / 8, 1_u8 << (bit % 8));
        match field {
            0 => changed.keypolicy ^= 1 << (bit % 16),
            1 => changed.isvsvn ^= 1 << (bit % 16),
            2 => changed.cpusvn[byte % 16] ^= in_byte,
            3 => changed.configsvn ^= 1 << (bit % 16),
            4 => changed.flags_mask ^= 1 << (bit % 64),
            5 => changed.xfrm_mask ^= 1 << (bit % 64),
            6 => changed.misc_mask ^= 1 << (bit % 32),
            7 => changed.cet_mask ^= in_byte,
            8 => changed.keyid[byte] ^= in_byte,
            // Which of the two is selected depends on the policy; the other one is only recorded.
            9 if kss => changed.mrsigner[byte] ^= in_byte,
            9 => changed.mrenclave[byte] ^= in_byte,
            10 => changed.isv_prod_id ^= 1 << (bit % 16),
            11 => changed.flags ^= 1 << (bit % 64),
            12 => changed.config_id[byte] ^= in_byte,
            13 => changed.config_id[32 + byte] ^= in_byte,
            14 => changed.isv_family_id[byte % 16] ^= in_byte,
            15 => changed.isv_ext_prod_id[byte % 16] ^= in_byte,
            16 if kss => changed.label.clear(),
            16 => changed.label.push('x'),
            _ => changed.machine_tag[byte % 16] ^= in_byte,
        }
        let request = KeyRequest::Simulated(Box::new(KeyRequest::Sgx(changed)));
        if let Ok(other) = derive(machine, &identity, &request) {
            prop_assert_ne!(other, key);
        }
    }
}
