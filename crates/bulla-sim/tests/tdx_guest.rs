//! The shipped TDX backend in a simulated guest: its ioctl and its files are answered by a simulated kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;

use bulla_crypto::{Class, Role, RoleHash, sha384};
use bulla_sim::{EnclaveIdentity, GuestFault, Machine, SimulatedGuest, TdDescription, TdxModule};
use bulla_tee::sgx::Processor;
use bulla_tee::tdx::{RuntimeRegister, TdReport, TdxGuest};
use bulla_tee::{Error, Evidence, EvidenceKind, Identity, LocalVerifier, Policy, Tee};
use tempfile::TempDir;
use zerocopy::FromBytes;

fn new() -> (TempDir, Machine) {
    let parent = tempfile::tempdir().unwrap();
    let machine = Machine::create(parent.path().join("machine")).unwrap();
    (parent, machine)
}

fn guest(machine: &Machine) -> SimulatedGuest {
    machine.guest(TdDescription::default_guest()).unwrap()
}

fn data() -> RoleHash {
    RoleHash::new(Role::GuestRequest, &[("nonce", &[1; 32])])
}

fn td_report(guest: &SimulatedGuest) -> TdReport {
    let evidence = guest.attest(&data(), EvidenceKind::TdReport).unwrap();
    let Evidence::Simulated(evidence) = evidence else { panic!("not tagged as simulated") };
    let Evidence::TdReport(bytes) = *evidence else { panic!("not a TDREPORT") };
    TdReport::read_from_bytes(&bytes).unwrap()
}

fn quote(guest: &SimulatedGuest) -> Result<Vec<u8>, Error> {
    Ok(guest.attest(&data(), EvidenceKind::Quote)?.bytes().to_vec())
}

#[test]
fn the_identity_is_what_the_module_reports() {
    let (_parent, machine) = new();
    let td = TdDescription { mrowner: [0x0A; 48], ..TdDescription::default_guest() };
    let Identity::Tdx(found) = machine.guest(td.clone()).unwrap().identity().unwrap() else {
        panic!("not TDX");
    };
    assert_eq!((found.mrtd, found.rtmr, found.mrconfigid), (td.mrtd, td.rtmr, td.mrconfigid));
    assert_eq!((found.mrowner, found.mrownerconfig), (td.mrowner, td.mrownerconfig));
    assert_eq!((found.mrservicetd, found.attributes, found.xfam), ([0; 48], td.attributes, td.xfam));
    let report = machine.td_report(&td, &[0; 64]).tee_tcb_info;
    assert_eq!((found.tee_tcb_svn, found.mrseam), (report.tee_tcb_svn, report.mrseam));
}

/// R35: the TDREPORT that the device gives is this machine's, by the enclave's own EVERIFYREPORT2, and no other's.
#[test]
fn a_report_from_the_device_is_known_on_this_machine_only() {
    let (_parent, machine) = new();
    let (_other_parent, other) = new();
    let report = td_report(&guest(&machine));
    assert!(report == machine.td_report(&TdDescription::default_guest(), data().as_bytes()));
    let enclave = |machine: &Machine| machine.enclave(&EnclaveIdentity::new([1; 32], [2; 32], 1, 1)).unwrap();
    enclave(&machine).verify_report(&report.report_mac).unwrap();
    let error = enclave(&other).verify_report(&report.report_mac).unwrap_err();
    assert!(matches!(error, Error::BadReport));
}

#[test]
fn a_quote_comes_by_configfs() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let (one, two) = (quote(&guest).unwrap(), quote(&guest).unwrap());
    assert_eq!(one[568..632], *data().as_bytes());
    assert_eq!(one[..632], two[..632]);
    let wanted = machine.td_quote(&TdDescription::default_guest(), data().as_bytes()).unwrap();
    assert_eq!(one[..632], wanted[..632]);
}

/// R15: the marker alone tells a simulated module from a real one.
#[test]
fn a_real_guest_refuses_a_simulated_module() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let real = TdxGuest::new(Processor::Real, guest.root());
    for kind in [EvidenceKind::Quote, EvidenceKind::TdReport] {
        let error = real.attest(&data(), kind).unwrap_err();
        assert!(matches!(error, Error::WrongBackend { wanted: "real", found: "simulated" }), "{error}");
    }
    assert_eq!(real.identity().unwrap_err().code(), "machine.wrong_backend");
}

/// R13.
#[test]
fn a_guest_without_a_measurement_is_refused() {
    let (_parent, machine) = new();
    let guest = machine.guest(TdDescription { mrtd: [0; 48], ..TdDescription::default_guest() }).unwrap();
    assert!(matches!(guest.identity().unwrap_err(), Error::Zero("MRTD")));
    assert!(matches!(quote(&guest).unwrap_err(), Error::Zero("MRTD")));
}

#[test]
fn where_there_is_no_guest() {
    let root = tempfile::tempdir().unwrap();
    let nowhere = TdxGuest::new(Processor::Real, root.path());
    let error = nowhere.identity().unwrap_err();
    assert_eq!((error.code(), error.class()), ("machine.unavailable", Class::Unavailable));
    assert!(error.to_string().contains("CONFIG_TDX_GUEST_DRIVER"), "{error}");
    assert!(matches!(nowhere.register(RuntimeRegister::Rtmr3), Err(Error::Unavailable { .. })));

    // A file is no driver: the kernel's own answer is ENOTTY.
    fs::create_dir(root.path().join("dev")).unwrap();
    fs::write(root.path().join("dev/tdx_guest"), []).unwrap();
    let error = nowhere.identity().unwrap_err();
    assert_eq!(error.code(), "machine.unavailable");
    assert!(error.to_string().contains("TDX_CMD_GET_REPORT0"), "{error}");
}

/// It has no key, whoever asks.
#[test]
fn a_guest_has_no_key_of_its_own() {
    let (_parent, machine) = new();
    let error = guest(&machine).bind(&Policy::measurement()).err().unwrap();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

/// R13, R35: what the module's device may do wrong.
#[test]
fn a_device_that_fails_is_not_believed() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    for (fault, said) in [
        (GuestFault::ReportFails, "refused to make a report"),
        (GuestFault::ReportOfOther, "other report data"),
        (GuestFault::ReportTorn, "something else than a TDREPORT"),
    ] {
        guest.fail(fault);
        let error = guest.attest(&data(), EvidenceKind::TdReport).unwrap_err();
        assert_eq!(error.code(), "machine.device", "{fault:?}");
        assert!(error.to_string().contains(said), "{fault:?}: {error}");
        guest.identity().expect("it fails once");
    }
}

/// R31, R37, R53, R54: busy, timeout and a refusal of the host can be mended there; a success without a quote is the defect of kernels that do
/// not look at the host's status, and a quote of another call or guest is not this one's.
#[test]
fn a_failed_quote_is_not_taken_for_one() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    for (fault, code, said) in [
        (GuestFault::QuoteBusy, "machine.unavailable", "still on its way"),
        (GuestFault::QuoteTimeout, "machine.unavailable", "30 seconds"),
        (GuestFault::QuoteFails, "machine.unavailable", "the host refused"),
        (GuestFault::QuoteEmpty, "machine.device", "there is nothing in it"),
        (GuestFault::QuoteStale, "evidence.self", "another call"),
        (GuestFault::QuoteOfOther, "evidence.self", "another guest"),
        (GuestFault::QuoteCutOff, "machine.device", "it is cut off"),
        (GuestFault::QuoteHuge, "machine.device", "more than 65536 bytes"),
    ] {
        guest.fail(fault);
        let error = quote(&guest).unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}");
        assert!(error.to_string().contains(said), "{fault:?}: {error}");
        quote(&guest).expect("it fails once");
    }
}

/// Somebody else's write shows in the generation: the request is made again, and given up when that goes on.
#[test]
fn a_quote_that_another_asked_for_is_not_taken() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    for fault in [GuestFault::OtherWriter, GuestFault::OtherReader] {
        guest.fail(fault);
        guest.fail(fault);
        assert_eq!(quote(&guest).unwrap()[568..632], *data().as_bytes(), "{fault:?}");
        for _ in 0..3 {
            guest.fail(fault);
        }
        let error = quote(&guest).unwrap_err();
        assert!(error.to_string().contains("somebody else"), "{fault:?}: {error}");
    }
}

/// Folders of requests do not stay behind, whether there was a quote or not.
#[test]
fn requests_are_cleaned_up() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    quote(&guest).unwrap();
    guest.fail(GuestFault::QuoteFails);
    quote(&guest).unwrap_err();
    let reports = guest.root().join("sys/kernel/config/tsm/report");
    assert_eq!(fs::read_dir(&reports).unwrap().count(), 0);

    // What a killed process left is passed over.
    for number in 0..100 {
        fs::create_dir(reports.join(format!("bulla-{}-{number}", std::process::id()))).unwrap();
    }
    quote(&guest).unwrap();
    assert_eq!(fs::read_dir(&reports).unwrap().count(), 100);
}

/// A register is extended, never set, and reports and quotes follow.
#[test]
fn registers_are_read_and_extended() {
    let (_parent, machine) = new();
    let guest = guest(&machine);
    let before = TdDescription::default_guest().rtmr;
    for (register, index) in [(RuntimeRegister::Rtmr2, 2), (RuntimeRegister::Rtmr3, 3)] {
        assert_eq!(guest.tdx().register(register).unwrap(), before[index]);
        guest.tdx().extend(register, &[7; 48]).unwrap();
        let after = sha384(&[&before[index], &[7; 48]]);
        assert_eq!(guest.tdx().register(register).unwrap(), after);
        assert_eq!(td_report(&guest).td_info.rtmr[index], after);
        assert_eq!(quote(&guest).unwrap()[48 + 328 + 48 * index..][..48], after);
    }
    guest.fail(GuestFault::ExtendIgnored);
    let error = guest.tdx().extend(RuntimeRegister::Rtmr3, &[7; 48]).unwrap_err();
    assert_eq!(error.code(), "machine.device");
}

/// R5: an update of the TDX module shows, and is not an error.
#[test]
fn the_module_may_change() {
    let (parent, machine) = new();
    machine.install_tdx_module(&TdxModule::new(1, 6)).unwrap();
    let later = Machine::open(parent.path().join("machine")).unwrap();
    let svn = |machine: &Machine| guest(machine).tdx().tdx_identity().unwrap().tee_tcb_svn;
    assert_eq!((svn(&machine)[0], svn(&later)[0]), (5, 6));
    quote(&guest(&later)).unwrap();
}
