//! Sealing keys of the TDX module itself, and what its traps are closed by.

use bulla_crypto::Class;
use bulla_sim::{GuestFault, Machine, SealingKeys, SimulatedGuest, Step, TdDescription, TdxModule};
use bulla_tee::tdx::{NativeRequest, attributes};
use bulla_tee::{Error, KeyRequest, Policy, Tee};
use tempfile::TempDir;

use super::Guests;
use crate::suite::{Bench, Capability};

const CODE: &str = "machine.unsupported";
const MEASURED: &str = "sources disagree on what else its module binds to: it has the measurement only";

pub const CANNOT: &[(Capability, &str, &str)] = &[
    (Capability::Signer, CODE, MEASURED),
    (Capability::Configuration, CODE, MEASURED),
    (Capability::Guests, CODE, "Linux has no interface to TDG.MR.VERIFYREPORT"),
];

pub const WAYS: [SealingKeys; 2] = [SealingKeys::AsInSource, SealingKeys::AsSpecified];

pub fn boxed() -> Box<dyn Bench> {
    Guests::with_keys(SealingKeys::AsInSource)
}

fn machine() -> (TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path()).unwrap();
    (folder, machine)
}

fn started(folder: &TempDir, td: &TdDescription, keys: SealingKeys) -> SimulatedGuest {
    let guest = Machine::open(folder.path()).unwrap().guest(td.clone()).unwrap();
    guest.with_native_keys(keys).unwrap()
}

fn native(request: &KeyRequest) -> NativeRequest {
    let KeyRequest::Simulated(inner) = request else { panic!("not tagged as simulated") };
    let KeyRequest::TdxNative(request) = inner.as_ref() else { panic!("not native") };
    request.as_ref().clone()
}

fn tagged(request: NativeRequest) -> KeyRequest {
    KeyRequest::Simulated(Box::new(KeyRequest::TdxNative(Box::new(request))))
}

/// Nobody gets them who has not asked, and whoever asks is told what is missing.
#[test]
fn they_are_asked_for_and_probed() {
    let (_folder, machine) = machine();
    let guest = || machine.guest(TdDescription::default_guest()).unwrap();
    let unasked = guest();
    unasked.set_sealing_keys(SealingKeys::AsInSource);
    assert_eq!(unasked.bind(&Policy::measurement()).err().unwrap().code(), "machine.unsupported");
    for (keys, said) in [
        (SealingKeys::NoCommand, "TDX_CMD_KEY_GET"),
        (SealingKeys::NoPlatform, "the platform or its TDX module has none"),
        (SealingKeys::NotEnabled, "TD_CTLS"),
        (SealingKeys::NoSize, "the platform has none of the size"),
    ] {
        let error = guest().with_native_keys(keys).err().unwrap();
        assert_eq!((error.code(), error.class()), ("machine.unavailable", Class::Unavailable), "{keys:?}");
        assert!(error.to_string().contains(said), "{keys:?}: {error}");
    }
}

/// KEYSIZE 1 is 128 bits in the module's source and 256 in its specification: the key is as long as it came, and a module
/// that has become another kind is not believed.
#[test]
fn the_size_of_the_key_is_what_came() {
    let (folder, _machine) = machine();
    let td = TdDescription::default_guest();
    for (keys, bits) in WAYS.into_iter().zip([128, 256]) {
        let guest = started(&folder, &td, keys);
        let (request, key) = guest.bind(&Policy::measurement()).unwrap();
        assert_eq!((native(&request).bits, key.expose().len() * 8), (bits, usize::from(bits)));
        assert!(guest.derive(&request).unwrap().ct_eq(&key));
        let lied = NativeRequest { bits: 384 - bits, ..native(&request) };
        let error = guest.derive(&tagged(lied)).err().unwrap();
        assert!(error.to_string().contains("and sealed with one of"), "{error}");
    }
}

/// R5: which of the two versions is the one that is too old, and that both are recorded.
#[test]
fn either_version_may_be_too_old() {
    for keys in WAYS {
        let (folder, machine) = machine();
        machine.install_tdx_module(&TdxModule::new(1, 6)).unwrap();
        machine.microcode(Step::Up).unwrap();
        let td = TdDescription::default_guest();
        let (request, key) = started(&folder, &td, keys).bind(&Policy::measurement()).unwrap();
        let refused = || match started(&folder, &td, keys).derive(&request).err().unwrap() {
            Error::TcbTooOld { register, .. } => register,
            error => panic!("{error}"),
        };
        machine.microcode(Step::Down).unwrap();
        assert_eq!(refused(), "CPUSVN");
        machine.microcode(Step::Up).unwrap();
        machine.install_tdx_module(&TdxModule::new(1, 5)).unwrap();
        assert_eq!(refused(), "TEE_TCB_SVN");
        machine.install_tdx_module(&TdxModule::new(1, 7)).unwrap();
        machine.microcode(Step::Up).unwrap();
        assert!(started(&folder, &td, keys).derive(&request).unwrap().ct_eq(&key));
    }
}

/// R3, R14, R25: the module gives a key to whoever leaves a zero register out, and to guests with other values of what the host
/// chooses. So neither is relied on: what is zero is not bound, and what is set is refused.
#[test]
fn the_traps_of_the_module_are_closed() {
    let (folder, machine) = machine();
    let bare = TdDescription { rtmr: [[1; 48], [2; 48], [0; 48], [0; 48]], ..TdDescription::default_guest() };
    let (request, key) =
        started(&folder, &bare, SealingKeys::AsInSource).bind(&Policy::measurement()).unwrap();
    assert_eq!(native(&request).keypolicy, 1 | 3 << 32, "RTMR2 and RTMR3 are zero and not bound");
    let extended = TdDescription { rtmr: [[1; 48], [2; 48], [3; 48], [4; 48]], ..bare };
    let later = started(&folder, &extended, SealingKeys::AsInSource);
    assert!(later.derive(&request).unwrap().ct_eq(&key), "and do not say that they are");

    let debugged = bare.clone().with_debug();
    let guest = started(&folder, &debugged, SealingKeys::AsInSource);
    assert!(matches!(guest.derive(&request), Err(Error::OtherIdentity(_))));
    // The module itself sees to it: a request that claims the debugger's attributes has another key.
    let forged = NativeRequest {
        attributes: debugged.attributes & native(&request).attributes_mask,
        ..native(&request)
    };
    assert!(matches!(guest.derive(&tagged(forged)), Err(Error::OtherMachine)));

    for changed in [
        TdDescription { mrconfigid: [1; 48], ..bare.clone() },
        TdDescription { mrowner: [1; 48], ..bare.clone() },
        TdDescription { mrownerconfig: [1; 48], ..bare.clone() },
        TdDescription { attributes: bare.attributes | attributes::MIGRATABLE, ..bare },
    ] {
        let error = machine.guest(changed).unwrap().with_native_keys(SealingKeys::AsInSource).err().unwrap();
        assert_eq!(error.code(), "machine.unsupported");
    }
}

/// R1: any change of what was recorded, which a header's editor can make, is refused or has another key; never the same.
#[test]
fn every_selector_is_needed() {
    type Change = fn(&mut NativeRequest);
    let changes: [(&str, Change); 10] = [
        ("request.invalid", |r| r.keypolicy &= !(1 << 35)),
        ("request.invalid", |r| r.rtmr3 = [0; 48]),
        ("machine.other_machine", |r| (r.rtmr3, r.keypolicy) = ([0; 48], 1 | 7 << 32)),
        ("machine.other_machine", |r| r.attributes_mask |= 1 << 30),
        ("machine.other_machine", |r| r.xfam_mask = 3),
        ("machine.other_machine", |r| r.cpusvn[0] -= 1),
        ("machine.other_machine", |r| r.tee_tcb_svn[0] -= 1),
        ("machine.other_machine", |r| r.salt[31] ^= 1),
        ("machine.other_machine", |r| r.machine_tag[0] ^= 1),
        ("machine.other_identity", |r| r.mrtd[0] ^= 1),
    ];
    let (folder, _machine) = machine();
    let guest = started(&folder, &TdDescription::default_guest(), SealingKeys::AsInSource);
    let (request, _) = guest.bind(&Policy::measurement()).unwrap();
    for (number, (code, change)) in changes.into_iter().enumerate() {
        let mut changed = native(&request);
        change(&mut changed);
        assert_eq!(guest.derive(&tagged(changed)).err().unwrap().code(), code, "{number}");
    }
}

/// R13, R53: what goes wrong once has a name and an end; a register that is being extended is waited for.
#[test]
fn faults_are_named_and_pass() {
    let (folder, _machine) = machine();
    let guest = started(&folder, &TdDescription::default_guest(), SealingKeys::AsInSource);
    let (request, _) = guest.bind(&Policy::measurement()).unwrap();
    for (fault, times, code, said) in [
        (GuestFault::KeyBusy, 3, "machine.unavailable", "try again"),
        (GuestFault::KeyFails, 1, "machine.device", "0x4000000100000000"),
        (GuestFault::ReportFails, 1, "machine.device", "refused to make a report"),
    ] {
        (0..times).for_each(|_| guest.fail(fault));
        let error = guest.derive(&request).err().unwrap();
        assert_eq!(error.code(), code, "{fault:?}");
        assert!(error.to_string().contains(said), "{fault:?}: {error}");
        guest.derive(&request).unwrap();
    }
    (0..2).for_each(|_| guest.fail(GuestFault::KeyBusy));
    guest.derive(&request).expect("it is asked for again");
    guest.fail(GuestFault::KeyZero);
    let error = guest.bind(&Policy::measurement()).err().unwrap();
    assert!(matches!(error, Error::Zero("sealing key")), "{error}");
}
