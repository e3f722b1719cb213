//! The shipped SEV-SNP backend in a simulated guest: its ioctls and its files are answered by a simulated kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;

use bulla_crypto::{Class, Role, RoleHash, SystemRandom};
use bulla_sim::{Machine, SimulatedSnpGuest, SnpCommand, SnpDescription, SnpFault, Step};
use bulla_tee::sgx::Processor;
use bulla_tee::snp::{Report, SnpGuest};
use bulla_tee::{Error, Evidence, EvidenceKind, Identity, KeyRequest, Policy, SnpIdentity, SnpRequest, Tee};
use tempfile::TempDir;
use zerocopy::FromBytes;

const COMMANDS: [SnpCommand; 3] = [SnpCommand::Report, SnpCommand::Key, SnpCommand::ExtendedReport];

fn new() -> (TempDir, Machine) {
    let parent = tempfile::tempdir().unwrap();
    let machine = Machine::create(parent.path().join("machine")).unwrap();
    (parent, machine)
}

fn guest(machine: &Machine) -> SimulatedSnpGuest {
    machine.snp_guest(SnpDescription::default_guest()).unwrap()
}

fn data() -> RoleHash {
    RoleHash::new(Role::GuestRequest, &[("nonce", &[1; 32])])
}

fn identity(guest: &SimulatedSnpGuest) -> SnpIdentity {
    let Identity::Snp(identity) = guest.identity().unwrap() else { panic!("not SNP") };
    *identity
}

fn evidence(guest: &SimulatedSnpGuest) -> Result<(Report, Vec<u8>), Error> {
    let Evidence::Simulated(evidence) = guest.attest(&data(), EvidenceKind::Quote)? else {
        panic!("not tagged as simulated")
    };
    let Evidence::SnpReport { report, certificates } = *evidence else { panic!("not a report") };
    Ok((Report::read_from_bytes(&report).unwrap(), certificates))
}

fn recorded(request: &KeyRequest) -> SnpRequest {
    let KeyRequest::Simulated(request) = request else { panic!("not tagged as simulated") };
    let KeyRequest::Snp(request) = request.as_ref() else { panic!("not SNP") };
    request.as_ref().clone()
}

fn tagged(request: SnpRequest) -> KeyRequest {
    KeyRequest::Simulated(Box::new(KeyRequest::Snp(Box::new(request))))
}

/// One call of each command; what came of the last that failed.
fn each(guest: &SimulatedSnpGuest, command: SnpCommand) -> Result<(), Error> {
    match command {
        SnpCommand::Report => guest.identity().map(drop),
        SnpCommand::Key => guest.bind(&Policy::measurement()).map(drop),
        _ => evidence(guest).map(drop),
    }
}

#[test]
fn the_identity_is_what_the_firmware_reports() {
    let (_parent, machine) = new();
    let description = SnpDescription {
        host_data: [4; 32],
        author_key_digest: [5; 48],
        image_id: [6; 16],
        guest_svn: 7,
        ..SnpDescription::default_guest().with_product(8)
    };
    let found = identity(&machine.snp_guest(description.clone()).unwrap());
    assert_eq!((found.measurement, found.host_data), (description.measurement, [4; 32]));
    assert_eq!((found.id_key_digest, found.author_key_digest), (description.id_key_digest, [5; 48]));
    assert_eq!((found.family_id[0], found.image_id, found.guest_svn), (8, [6; 16], 7));
    assert_eq!((found.policy, found.vmpl), (description.policy, 0));
    assert_eq!(found.committed_tcb.to_string(), "fmc=0 bootloader=9 tee=0 snp=23 microcode=72");
    assert_eq!(found.chip_id[56..], *b"SIMULATE");
}

/// R15: the marker alone tells a simulated chip from a real one.
#[test]
fn a_real_guest_refuses_a_simulated_chip() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let real = SnpGuest::new(Processor::Real, Box::new(SystemRandom), guest.root());
    for error in [
        real.identity().unwrap_err(),
        real.bind(&Policy::measurement()).err().unwrap(),
        real.attest(&data(), EvidenceKind::Quote).unwrap_err(),
    ] {
        assert!(matches!(error, Error::WrongBackend { wanted: "real", found: "simulated" }), "{error}");
    }
}

#[test]
fn where_there_is_no_guest() {
    let root = tempfile::tempdir().unwrap();
    let nowhere = SnpGuest::new(Processor::Real, Box::new(SystemRandom), root.path());
    let error = nowhere.identity().unwrap_err();
    assert_eq!((error.code(), error.class()), ("machine.unavailable", Class::Unavailable));
    assert!(error.to_string().contains("CONFIG_SEV_GUEST"), "{error}");

    // A file is no driver: the kernel's own answer is ENOTTY.
    fs::create_dir(root.path().join("dev")).unwrap();
    fs::write(root.path().join("dev/sev-guest"), []).unwrap();
    let error = nowhere.identity().unwrap_err();
    assert_eq!(error.code(), "machine.unavailable");
    assert!(error.to_string().contains("another driver"), "{error}");
}

/// R2, R10: the firmware gives one key for one selection, so what makes each sealing's its own stands behind it.
#[test]
fn a_key_is_the_firmwares_with_the_keyid_behind() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let (one, key) = guest.bind(&Policy::measurement()).unwrap();
    let (two, other) = guest.bind(&Policy::measurement()).unwrap();
    let (one, two) = (recorded(&one), recorded(&two));
    assert_eq!(SnpRequest { keyid: two.keyid, ..one.clone() }, two);
    assert_eq!(key.expose().len(), 64);
    assert_eq!(key.expose()[..32], other.expose()[..32]);
    assert_eq!((&key.expose()[32..], &other.expose()[32..]), (&one.keyid[..], &two.keyid[..]));
}

/// R1: each selector that is recorded enters the key, or the machine tag with it.
#[test]
fn every_selector_enters_the_key() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let policy: Policy = "registers:MRENCLAVE+MRSIGNER,product=1,svn=1,label=x".parse().unwrap();
    let (request, key) = guest.bind(&policy).unwrap();
    let request = recorded(&request);
    type Change = fn(&mut SnpRequest);
    let changes: [(Change, bool); 4] = [
        (|r| r.guest_svn = 0, true),
        (|r| r.keyid[0] ^= 1, true),
        (|r| r.vmpl = 1, false),
        (|r| r.tcb_version[7] -= 1, false),
    ];
    for (number, (change, same_tag)) in changes.into_iter().enumerate() {
        let mut other = request.clone();
        change(&mut other);
        match guest.derive(&tagged(other)) {
            Ok(other) => assert!(same_tag && !other.ct_eq(&key), "{number}"),
            Err(error) => assert!(!same_tag && matches!(error, Error::OtherMachine), "{number}: {error}"),
        }
    }
    for select in [0x29, 0x35] {
        let mut other = request.clone();
        other.guest_field_select = select;
        if select == 0x29 {
            (other.family_id, other.guest_svn, other.label) = ([0; 16], 0, String::new());
        }
        assert!(!guest.derive(&tagged(other)).unwrap().ct_eq(&key), "{select:x}");
    }
}

/// R5: the key is for the committed TCB of the sealing, so neither an update changes it nor what the host lets the machine
/// report; only below it there is none.
#[test]
fn a_key_survives_updates_and_what_the_host_reports() {
    let (parent, machine) = new();
    let reopened = || guest(&Machine::open(parent.path().join("machine")).unwrap());
    let (request, key) = reopened().bind(&Policy::measurement()).unwrap();
    assert_eq!(recorded(&request).tcb_version, [9, 0, 0, 0, 0, 0, 23, 72]);
    for _ in 0..3 {
        machine.microcode(Step::Up).unwrap();
        assert!(reopened().derive(&request).unwrap().ct_eq(&key));
    }
    machine.report_older_tcb().unwrap();
    let found = identity(&reopened());
    assert_eq!((found.committed_tcb.microcode, found.reported_tcb.microcode), (75, 74));
    assert!(reopened().derive(&request).unwrap().ct_eq(&key));
    let (newer, _) = reopened().bind(&Policy::measurement()).unwrap();
    assert_eq!(recorded(&newer).tcb_version[7], 75, "what is committed, and not what is reported");
    for _ in 0..4 {
        machine.microcode(Step::Down).unwrap();
    }
    for request in [&request, &newer] {
        let error = reopened().derive(request).err().unwrap();
        assert!(matches!(error, Error::TcbTooOld { register: "TCB", .. }), "{error}");
        assert_eq!(error.class(), Class::TooOld);
    }
    machine.microcode(Step::Up).unwrap();
    assert!(reopened().derive(&request).unwrap().ct_eq(&key));
}

/// R5: firmware that the host can still take back is not what a key is for.
#[test]
fn a_key_is_for_what_the_machine_has_committed_to() {
    let (parent, machine) = new();
    machine.try_newer_firmware().unwrap();
    let guest = guest(&Machine::open(parent.path().join("machine")).unwrap());
    let found = identity(&guest);
    assert_eq!((found.current_tcb.snp, found.launch_tcb.snp, found.committed_tcb.snp), (24, 24, 23));
    let (request, key) = guest.bind(&Policy::measurement()).unwrap();
    assert_eq!(recorded(&request).tcb_version, [9, 0, 0, 0, 0, 0, 23, 72]);
    assert!(guest.derive(&request).unwrap().ct_eq(&key));
    let above = SnpRequest { tcb_version: [9, 0, 0, 0, 0, 0, 24, 72], ..recorded(&request) };
    let error = guest.derive(&tagged(above)).err().unwrap();
    assert!(matches!(error, Error::TcbTooOld { register: "TCB", .. }), "{error}");
}

#[test]
fn another_chip_has_other_keys() {
    let (parent, machine) = new();
    let (request, _) = guest(&machine).bind(&Policy::measurement()).unwrap();
    machine.replace_processor().unwrap();
    let replaced = Machine::open(parent.path().join("machine")).unwrap();
    let error = guest(&replaced).derive(&request).err().unwrap();
    assert!(matches!(error, Error::OtherMachine), "{error}");
}

/// The firmware answers no request for a level above the guest's own, so a guest under a service module asks at its own.
#[test]
fn a_guest_asks_at_its_own_privilege_level() {
    let (_parent, machine) = new();
    let at = |vmpl| machine.snp_guest(SnpDescription { vmpl, ..SnpDescription::default_guest() }).unwrap();
    for vmpl in 0..4 {
        let guest = at(vmpl);
        assert_eq!(identity(&guest).vmpl, vmpl);
        let (request, key) = guest.bind(&Policy::measurement()).unwrap();
        assert_eq!(recorded(&request).vmpl, vmpl);
        assert!(guest.derive(&request).unwrap().ct_eq(&key));
        assert_eq!(evidence(&guest).unwrap().0.vmpl.get(), vmpl);
        guest.take_device_away();
        assert_eq!(identity(&guest).vmpl, vmpl, "by configfs too");
    }
    let (request, key) = at(2).bind(&Policy::measurement()).unwrap();
    assert!(
        at(0).derive(&request).unwrap().ct_eq(&key),
        "what is more privileged has the keys of what is less"
    );
    let error = at(3).derive(&request).err().unwrap();
    assert!(matches!(&error, Error::OtherIdentity(mismatch) if mismatch.register == "VMPL"), "{error}");
}

/// R13, R53: whatever host, kernel and firmware say has a name, and the next call is answered, unless the channel is shut.
#[test]
fn a_device_that_fails_is_not_believed() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    for command in COMMANDS {
        for (fault, code, said) in [
            (SnpFault::Fails(libc::EACCES), "machine.unavailable", "root"),
            (SnpFault::Fails(libc::EPERM), "machine.unavailable", "root"),
            (SnpFault::Fails(libc::ENOTTY), "machine.unavailable", "no such request"),
            (SnpFault::Fails(libc::EIO), "machine.device", "could not be asked"),
            (SnpFault::Throttled, "machine.unavailable", "throttles"),
            (SnpFault::Status(0x27), "machine.unavailable", "VCEK"),
            (SnpFault::Status(0x05), "machine.device", "status 0x5"),
        ] {
            guest.fail(command, fault);
            let error = each(&guest, command).unwrap_err();
            assert_eq!(error.code(), code, "{command:?} {fault:?}: {error}");
            assert!(error.to_string().contains(said), "{command:?} {fault:?}: {error}");
            each(&guest, command).expect("it fails once");
        }
    }
    guest.fail(SnpCommand::Key, SnpFault::ZeroKey);
    let error = each(&guest, SnpCommand::Key).unwrap_err();
    assert!(matches!(error, Error::Zero("derived key")), "{error}");
    // The tag is first, the key second.
    let (request, key) = guest.bind(&Policy::measurement()).unwrap();
    guest.fail(SnpCommand::Key, SnpFault::Status(0x16));
    let error = guest.derive(&request).err().unwrap();
    assert_eq!(error.code(), "machine.unavailable");
    assert!(error.to_string().contains("so update it"), "{error}");
    assert!(guest.derive(&request).unwrap().ct_eq(&key));
}

/// After an error of host or firmware the driver shuts its channel: it says so then, and from then on.
#[test]
fn a_shut_channel_wants_another_start() {
    let (_parent, machine) = new();
    for command in COMMANDS {
        for (fault, code, said) in [
            (SnpFault::Busy, "machine.unavailable", "a minute"),
            (SnpFault::HostRefuses(9), "machine.device", "refused with 0x9"),
            (SnpFault::FirmwareRefuses(0x12), "machine.device", "0x12"),
            (SnpFault::Undecodable, "machine.device", "decrypt"),
            (SnpFault::ChannelShut, "machine.unavailable", "VMPCK"),
        ] {
            let guest = guest(&machine);
            guest.fail(command, fault);
            let error = each(&guest, command).unwrap_err();
            assert_eq!(error.code(), code, "{command:?} {fault:?}: {error}");
            assert!(error.to_string().contains(said), "{command:?} {fault:?}: {error}");
            for command in COMMANDS {
                let error = each(&guest, command).unwrap_err();
                assert_eq!(error.code(), "machine.unavailable");
                assert!(error.to_string().contains("restart the guest"), "{error}");
            }
        }
    }
}

/// R37, B43: a report that is not ours, or none at all.
#[test]
fn a_report_that_is_not_what_was_asked_for_is_refused() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    for command in [SnpCommand::Report, SnpCommand::ExtendedReport] {
        for (fault, code, said) in [
            (SnpFault::OtherData, "evidence.self", "another call"),
            (SnpFault::Size(1183), "machine.device", "1183 bytes"),
            (SnpFault::Size(0), "machine.device", "0 bytes"),
            (SnpFault::Torn, "machine.device", "version"),
            (SnpFault::NoMeasurement, "machine.zero", "MEASUREMENT"),
        ] {
            guest.fail(command, fault);
            let error = each(&guest, command).unwrap_err();
            assert_eq!(error.code(), code, "{command:?} {fault:?}: {error}");
            assert!(error.to_string().contains(said), "{command:?} {fault:?}: {error}");
            each(&guest, command).expect("it fails once");
        }
    }
    guest.fail(SnpCommand::ExtendedReport, SnpFault::Unsigned);
    let error = evidence(&guest).map(drop).unwrap_err();
    assert!(error.to_string().contains("MASK_CHIP_KEY"), "{error}");
    guest.fail(SnpCommand::ExtendedReport, SnpFault::ManyCertificates);
    let error = evidence(&guest).map(drop).unwrap_err();
    assert!(error.to_string().contains("32768 bytes of certificates"), "{error}");
    evidence(&guest).expect("the channel is not shut by that");
    guest.fail(SnpCommand::ExtendedReport, SnpFault::NoCertificates);
    assert_eq!(evidence(&guest).unwrap().1, [0; 0], "many hosts have none");
}

/// A container may have configfs and no device: it has reports, and no keys.
#[test]
fn without_a_device_reports_come_by_configfs() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let (by_device, certificates) = evidence(&guest).unwrap();
    guest.take_device_away();
    let (by_configfs, also) = evidence(&guest).unwrap();
    assert!(by_device.measurement == by_configfs.measurement);
    assert!(!certificates.is_empty() && certificates == also);
    assert_eq!(by_configfs.report_data, *data().as_bytes());
    let error = guest.bind(&Policy::measurement()).err().unwrap();
    assert!(error.to_string().contains("/dev/sev-guest"), "{error}");

    // A request has one write, and two reads.
    for (fault, at_each_try) in [(SnpFault::OtherWriter, 1), (SnpFault::OtherReader, 2)] {
        guest.fail(SnpCommand::ExtendedReport, fault);
        guest.fail(SnpCommand::ExtendedReport, fault);
        assert_eq!(evidence(&guest).unwrap().0.report_data, *data().as_bytes(), "{fault:?}");
        for _ in 0..3 * at_each_try {
            guest.fail(SnpCommand::ExtendedReport, fault);
        }
        let error = evidence(&guest).map(drop).unwrap_err();
        assert!(error.to_string().contains("somebody else"), "{fault:?}: {error}");
    }
    for (fault, code, said) in [
        (SnpFault::OtherData, "evidence.self", "another call"),
        (SnpFault::Throttled, "machine.unavailable", "firmware refused"),
        (SnpFault::Status(0x27), "machine.device", "outblob"),
        (SnpFault::Status(0x05), "machine.unavailable", "nothing that makes reports"),
        (SnpFault::Busy, "machine.unavailable", "a minute"),
        (SnpFault::Throttled, "machine.unavailable", "VMPCK"),
    ] {
        guest.fail(SnpCommand::ExtendedReport, fault);
        let error = evidence(&guest).map(drop).unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        assert!(error.to_string().contains(said), "{fault:?}: {error}");
    }
    let reports = guest.root().join("sys/kernel/config/tsm/report");
    assert_eq!(fs::read_dir(&reports).unwrap().count(), 0, "requests are cleaned up");
}

#[test]
fn a_guest_has_no_report_for_one_machine() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let error = guest.attest(&data(), EvidenceKind::TdReport).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}
