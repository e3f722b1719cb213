//! R35, R32: every byte of a TDREPORT counts.

use bulla_attest::{Collateral, Policy};
use bulla_sim::{Step, TdDescription, TeeType};
use bulla_tee::sgx::arch::ReportMac;
use bulla_tee::tdx::TdReport;
use bulla_tee::{Error, LocalVerifier};
use zerocopy::IntoBytes;

use super::bench::*;

/// A processor that knows every MAC.
struct Credulous;

impl LocalVerifier for Credulous {
    fn verify_report(&self, _: &ReportMac) -> Result<(), Error> {
        Ok(())
    }
}

/// A processor without the instruction.
struct Old;

impl LocalVerifier for Old {
    fn verify_report(&self, _: &ReportMac) -> Result<(), Error> {
        Err(Error::Unsupported { machine: "this processor", what: "check TDX reports (EVERIFYREPORT2)" })
    }
}

/// What refuses a change of one byte of a version 0 report. Reserved bytes are no exception, the 17 that no hash covers
/// among them.
fn refusal(at: usize) -> &'static str {
    match at {
        0..4 => "report.type",
        4..16 | 192..224 => "report.reserved",
        16..32 | 128..192 | 224..256 => "report.mac",
        32..128 => "report.binding",
        // VALID; reserved; SERVTD_HASH, which version 0 has not; reserved.
        256..264 | 400..512 | 912..1024 => "report.reserved",
        _ => "report.binding",
    }
}

#[test]
fn r35_b17_every_changed_byte_is_refused() {
    let bench = Bench::new();
    let (machine, enclave, report) = (bench.now(), bench.enclave(), bench.td_report());
    let claims = machine.verify_report(report.as_bytes(), &enclave, NOW, &strict()).unwrap();
    assert!(claims.local && claims.simulated && claims.report_data == DATA);
    assert_eq!(claims.platform, machine.claims().platform);
    for at in 0..1024 {
        for bits in [1, 0x80, 0xFF] {
            let changed = changed(&report, at, bits);
            let found = code(machine.verify_report(changed.as_bytes(), &enclave, NOW, &loosest()));
            // Version 1 is a version.
            let wanted = if (at, bits) == (2, 1) { "report.mac" } else { refusal(at) };
            assert_eq!(found, wanted, "byte {at}");
            // What only the MAC protects is just what it says: the rest is refused whatever the processor says.
            let credulous = code(machine.verify_report(changed.as_bytes(), &Credulous, NOW, &loosest()));
            match wanted {
                "report.mac" if (16..32).contains(&at) => assert_eq!(credulous, "report.cpusvn"),
                "report.mac" => assert_eq!(credulous, "ok", "byte {at}"),
                _ => assert_eq!(credulous, wanted, "byte {at}"),
            }
        }
    }
}

#[test]
fn r32_only_1024_bytes_are_a_report() {
    let bench = Bench::new();
    let (machine, enclave, report) = (bench.now(), bench.enclave(), bench.td_report());
    let long = [report.as_bytes(), &[0; 1024]].concat();
    for length in (0..2048).filter(|length| *length != 1024) {
        let found = code(machine.verify_report(&long[..length], &enclave, NOW, &loosest()));
        assert_eq!(found, "report.size", "{length} bytes");
    }
}

/// A MAC that is good does not help what is not in order.
#[test]
fn r35_types_versions_and_reserved_bytes_are_allow_listed() {
    let bench = Bench::new();
    let report = bench.td_report();
    assert_eq!(bench.code(&bench.make_anew(report)), "ok");
    let of_type = |report_type| {
        let mut report = report;
        report.report_mac.report_type = report_type;
        bench.code(&bench.make_anew(report))
    };
    assert_eq!(of_type([0x81, 0, 1, 0]), "ok");
    for version in 2..=255 {
        assert_eq!(of_type([0x81, 0, version, 0]), "report.type", "version {version}");
    }
    for other in [[0, 0, 0, 0], [0x80, 0, 0, 0], [0x01, 0, 0, 0], [0x81, 1, 0, 0], [0x81, 0, 0, 1]] {
        assert_eq!(of_type(other), "report.type", "{other:?}");
    }
    let reserved = (4..16).chain(192..224).chain(256..264).chain(400..512).chain(912..1024);
    for at in reserved {
        let report = bench.make_anew(changed(&report, at, 1));
        assert_eq!(bench.code(&report), "report.reserved", "byte {at}");
    }
}

#[test]
fn r35_reports_of_other_machines_and_old_macs_are_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (machine, enclave, report) = (bench.now(), bench.enclave(), bench.td_report());
    let judge = |report: &TdReport| code(machine.verify_report(report.as_bytes(), &enclave, NOW, &loosest()));
    assert_eq!(judge(&other.td_report()), "report.mac");
    assert_eq!(judge(&other.make_anew(report)), "report.mac");

    // B17: TDINFO and TEE_TCB_INFO edited, with the old MAC, and with the hash of the new.
    let mut edited = [report; 2];
    edited[0].td_info.mrtd = [7; 48];
    edited[1].tee_tcb_info.mrseam = [7; 48];
    for edited in edited {
        assert_eq!(judge(&edited), "report.binding");
        let rehashed = TdReport {
            report_mac: ReportMac { mac: report.report_mac.mac, ..bench.make_anew(edited).report_mac },
            ..edited
        };
        assert_eq!(judge(&rehashed), "report.mac");
        assert_eq!(judge(&bench.make_anew(edited)), "ok");
    }
    // Parts of two genuine reports.
    let debugged = bench.machine.td_report(&TdDescription::default_guest().with_debug(), &DATA);
    let mixed = TdReport { td_info: report.td_info, ..debugged };
    assert_eq!(judge(&mixed), "report.binding");

    let error = machine.verify_report(report.as_bytes(), &Old, NOW, &loosest()).unwrap_err();
    assert_eq!((error.code(), error.class()), ("report.unverifiable", bulla_crypto::Class::Usage));
}

/// The platform is known at the CPUSVN of its own quote only.
#[test]
fn r35_a_report_at_another_cpusvn_asks_for_a_new_own_quote() {
    for step in [Step::Up, Step::Down] {
        let mut bench = Bench::new();
        let before = bench.now();
        bench.machine.microcode(step).unwrap();
        bench.reopen();
        let report = bench.td_report();
        let verdict = before.verify_report(report.as_bytes(), &bench.enclave(), NOW, &loosest());
        assert_eq!(code(verdict), "report.cpusvn");
        assert_eq!(bench.code(&report), "ok");
    }
}

/// Version 1 has SERVTD_HASH, which is judged as MRSERVICETD of a TD 1.5 quote is (R24).
#[test]
fn r24_service_tds_are_seen() {
    let bench = Bench::new();
    let mut report = bench.td_report();
    report.report_mac.report_type = [0x81, 0, 1, 0];
    report.td_info.servtd_hash = [7; 48];
    assert_eq!(bench.code(&bench.make_anew(report)), "policy.service_td");
}

#[test]
fn this_machine_needs_the_quote_of_an_enclave_and_collateral_for_guests() {
    let bench = Bench::new();
    let (sgx, tdx) = (bench.collateral(TeeType::Sgx, NOW), bench.collateral(TeeType::Tdx, NOW));
    let guest = bench.machine.td_quote(&TdDescription::default_guest(), &DATA).unwrap();
    let code = |quote: &[u8], own: &Collateral, for_guests: &Collateral, policy: &Policy| {
        let machine = bench.verifier().this_machine(quote, own, for_guests, NOW, policy);
        machine.map_or_else(|error| error.code(), |_| "ok")
    };
    let own = bench.own_quote();
    assert_eq!(code(&own, &sgx, &tdx, &strict()), "ok");
    assert_eq!(code(&guest, &tdx, &tdx, &strict()), "parse.tee_type");
    assert_eq!(code(&own, &sgx, &sgx, &strict()), "tcb_info.wrong_id");
    assert_eq!(code(&own, &sgx, &tdx, &Policy::strict()), "policy.simulated");
    let another = with_tcb_info(&tdx, |tcb_info| tcb_info["fmspc"] = "00906ED50000".into());
    assert_eq!(code(&own, &sgx, &another, &strict()), "tcb_info.fmspc_mismatch");
}
