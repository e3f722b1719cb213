//! Quotes by the host's quote generation service itself, for guests whose kernel does not ask it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla_crypto::{Class, Role, RoleHash};
use bulla_sim::{GuestFault, Machine, ServiceFault, SimulatedGuest, SimulatedQuoteService, TdDescription};
use bulla_tee::sgx::Processor;
use bulla_tee::tdx::{QuotePath, QuoteService, TdxGuest};
use bulla_tee::{Error, EvidenceKind, Tee};
use tempfile::TempDir;

struct Site {
    _folder: TempDir,
    machine: Machine,
    service: SimulatedQuoteService,
    guest: SimulatedGuest,
}

/// A guest whose kernel has no configfs.
fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path()).unwrap();
    let service = machine.quote_service().unwrap();
    let guest = machine.guest(TdDescription::default_guest()).unwrap();
    let guest = guest.with_quote_service(service.address());
    guest.hide_reports();
    Site { _folder: folder, machine, service, guest }
}

fn data() -> RoleHash {
    RoleHash::new(Role::GuestRequest, &[("nonce", &[1; 32])])
}

fn quote(guest: &SimulatedGuest) -> Result<Vec<u8>, Error> {
    Ok(guest.attest(&data(), EvidenceKind::Quote)?.bytes().to_vec())
}

/// The quote is the one that configfs would have given, and it is said which way it came.
#[test]
fn a_quote_comes_by_the_service() {
    let site = site();
    let wanted = site.machine.td_quote(&TdDescription::default_guest(), data().as_bytes()).unwrap();
    assert_eq!(quote(&site.guest).unwrap()[..632], wanted[..632]);
    let (found, path) = site.guest.tdx().quote(&data()).unwrap();
    assert_eq!((&found[..632], path), (&wanted[..632], QuotePath::Service(site.service.address())));
}

/// Configfs goes first, and the service is asked when that fails; if both fail, both are told.
#[test]
fn configfs_goes_first() {
    let site = site();
    let guest = site.machine.guest(TdDescription::default_guest()).unwrap();
    let guest = guest.with_quote_service(site.service.address());
    let service = QuotePath::Service(site.service.address());
    assert_eq!(guest.tdx().quote_paths(), [QuotePath::Configfs, service.clone()]);
    assert_eq!(guest.tdx().quote(&data()).unwrap().1, QuotePath::Configfs);
    for fault in [GuestFault::QuoteFails, GuestFault::QuoteEmpty, GuestFault::QuoteStale] {
        guest.fail(fault);
        assert_eq!(guest.tdx().quote(&data()).unwrap().1, service, "{fault:?}");
    }
    guest.fail(GuestFault::QuoteTimeout);
    site.service.fail(ServiceFault::HangsUp);
    let error = quote(&guest).unwrap_err();
    assert_eq!((error.code(), error.class()), ("machine.unavailable", Class::Unavailable));
    let said = error.to_string();
    assert!(said.contains("30 seconds") && said.contains("hung up"), "{said}");
}

/// Without configfs, the port is that of Intel's settings, or the usual one where there is vsock.
#[test]
fn where_the_service_is_looked_for() {
    let root = tempfile::tempdir().unwrap();
    let paths = || TdxGuest::new(Processor::Real, root.path()).quote_paths();
    assert_eq!(paths(), [QuotePath::Configfs], "whose error says what is missing");
    for folder in ["dev", "etc"] {
        std::fs::create_dir(root.path().join(folder)).unwrap();
    }
    std::fs::write(root.path().join("dev/vsock"), []).unwrap();
    assert_eq!(paths(), [QuotePath::Service(QuoteService::HOST)]);
    for (settings, port) in [
        ("# port = 1\n port = 4051 \n", 4051),
        ("port=4052\nport = 1", 4052),
        ("report = 1\n", 4050),
        ("port = 0\n", 4050),
        ("port = x\n", 4050),
    ] {
        std::fs::write(root.path().join("etc/tdx-attest.conf"), settings).unwrap();
        assert_eq!(paths(), [QuotePath::Service(QuoteService::on_host(port))], "{settings:?}");
    }
    std::fs::write(root.path().join("etc/tdx-attest.conf"), "port = 4051").unwrap();
    std::fs::create_dir_all(root.path().join("sys/kernel/config/tsm/report")).unwrap();
    let both = [QuotePath::Configfs, QuotePath::Service(QuoteService::on_host(4051))];
    assert_eq!(paths(), both);
    std::fs::remove_file(root.path().join("etc/tdx-attest.conf")).unwrap();
    assert_eq!(paths(), [QuotePath::Configfs], "nobody asked for another");
}

/// R31, R37, R53, R54, B43: whatever comes instead of the quote is refused by name, and the next one is there.
#[test]
fn faults_are_named_and_pass() {
    let site = site();
    let cases = [
        (ServiceFault::Refuses(0x12001), "machine.unavailable", "could not make a quote"),
        (ServiceFault::Refuses(0x12002), "machine.unavailable", "no memory"),
        (ServiceFault::Refuses(0x12003), "machine.unavailable", "did not understand"),
        (ServiceFault::Refuses(0x12007), "machine.unavailable", "did not understand"),
        (ServiceFault::Refuses(0x12008), "machine.unavailable", "nobody knows"),
        (ServiceFault::Refuses(u32::MAX), "machine.unavailable", "nobody knows"),
        (ServiceFault::HangsUp, "machine.unavailable", "hung up"),
        (ServiceFault::Truncated(3), "machine.unavailable", "hung up"),
        (ServiceFault::Truncated(28), "machine.unavailable", "hung up"),
        (ServiceFault::Truncated(3000), "machine.unavailable", "hung up"),
        (ServiceFault::Length(0), "machine.unavailable", "0 bytes"),
        (ServiceFault::Length(23), "machine.unavailable", "23 bytes"),
        (ServiceFault::Length(u32::MAX), "machine.unavailable", "4294967295 bytes"),
        (ServiceFault::Length(1 << 24), "machine.unavailable", "16777216 bytes"),
        (ServiceFault::Length(700), "machine.device", "sizes do not fit"),
        (ServiceFault::Longer(1 << 16), "machine.unavailable", "bytes"),
        (ServiceFault::Zeros, "machine.device", "there is nothing in it"),
        (ServiceFault::OtherCall, "evidence.self", "another call"),
        (ServiceFault::OtherGuest, "evidence.self", "another guest"),
        // Major version, type, size, error code, size of the key id, size of the quote.
        (ServiceFault::Changed(0), "machine.device", "something else than an answer"),
        (ServiceFault::Changed(4), "machine.device", "something else than an answer"),
        (ServiceFault::Changed(8), "machine.device", "sizes do not fit"),
        (ServiceFault::Changed(12), "machine.unavailable", "nobody knows"),
        (ServiceFault::Changed(16), "machine.device", "sizes do not fit"),
        (ServiceFault::Changed(20), "machine.device", "sizes do not fit"),
        (ServiceFault::Changed(24), "machine.device", "gave no quote"),
    ];
    for (fault, code, words) in cases {
        site.service.fail(fault.clone());
        let error = quote(&site.guest).unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        assert!(error.to_string().contains(words), "{fault:?}: {error}");
        quote(&site.guest).unwrap_or_else(|error| panic!("after {fault:?}: {error}"));
    }
    // A minor version is compatible, and so is more than the quote behind it, if that is zeros.
    for fault in
        [ServiceFault::Split, ServiceFault::Coalesced, ServiceFault::Changed(2), ServiceFault::Longer(70)]
    {
        site.service.fail(fault.clone());
        quote(&site.guest).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    }
}

/// R35: the service quotes no report but this machine's, and says nothing of why.
#[test]
fn another_machines_service_refuses_the_report() {
    let (site, other) = (site(), site());
    let guest = site.guest.with_quote_service(other.service.address());
    let error = quote(&guest).unwrap_err();
    assert!(error.to_string().contains("could not make a quote"), "{error}");
}

#[test]
fn a_service_that_is_gone_is_said_so() {
    let site = site();
    drop(site.service);
    let error = quote(&site.guest).unwrap_err();
    assert_eq!(error.code(), "machine.unavailable");
    assert!(error.to_string().contains("nobody listens there"), "{error}");
}
