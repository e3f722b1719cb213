//! What changes over time: TDX modules, TCB recoveries in two channels, revoked certificates.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla_sim::{Edition, Machine, Recovery, Step, TdDescription, TdxModule, TeeType};
use bulla_tee::{Identity, SIMULATED_MARKER, Tee};
use serde_json::Value;

use common::new;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 3600;

fn recovery(at: u64, standard_at: u64, microcode: u8, tdx_module: u8, advisory: &str) -> Recovery {
    Recovery { at, standard_at, microcode, tdx_module, advisory: advisory.into() }
}

/// TCB info and QE identity.
fn documents(machine: &Machine, tee: TeeType, edition: Edition, now: u64) -> [Value; 2] {
    let set: Value = serde_json::from_str(&machine.collateral_of(tee, edition, now).unwrap()).unwrap();
    ["tcb_info", "qe_identity"].map(|name| serde_json::from_str(set[name].as_str().unwrap()).unwrap())
}

fn number(machine: &Machine, edition: Edition, now: u64) -> u64 {
    let [sgx, tdx] = [TeeType::Sgx, TeeType::Tdx].map(|tee| {
        documents(machine, tee, edition, now)
            .map(|document| document["tcbEvaluationDataNumber"].as_u64().unwrap())
    });
    assert!(sgx == tdx && sgx[0] == sgx[1], "all documents of an edition have one number");
    sgx[0]
}

/// What there is for a level: from which version on, status, advisories.
type Levels = Vec<(u64, String, String)>;

fn levels(levels: &Value, version: impl Fn(&Value) -> &Value) -> Levels {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let level = |level: &Value| {
        let status = level["tcbStatus"].as_str().unwrap().to_owned();
        (version(&level["tcb"]).as_u64().unwrap(), status, texts(&level["advisoryIDs"]).join(" "))
    };
    levels.as_array().unwrap().iter().map(level).collect()
}

fn platform(tcb_info: &Value) -> Levels {
    levels(&tcb_info["tcbLevels"], |tcb| &tcb["sgxtcbcomponents"][0]["svn"])
}

fn module(tcb_info: &Value) -> Levels {
    levels(&tcb_info["tdxModuleIdentities"][0]["tcbLevels"], |tcb| &tcb["isvsvn"])
}

fn rows(rows: &[(u64, &str, &str)]) -> Levels {
    rows.iter().map(|(from, status, advisories)| (*from, (*status).into(), (*advisories).into())).collect()
}

#[test]
fn another_module_shows_in_reports_and_quotes_of_what_is_opened_later() {
    let (_dir, machine) = new();
    let guest = TdDescription::default_guest();
    let first = machine.td_report(&guest, &[1; 64]);
    let foreign =
        TdxModule { mrsigner: [7; 48], attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..TdxModule::new(2, 9) };
    let mut measurements = vec![first.tee_tcb_info.mrseam];
    for module in [TdxModule::new(1, 6), foreign, TdxModule::new(1, 4)] {
        machine.install_tdx_module(&module).unwrap();
        assert!(machine.td_report(&guest, &[1; 64]) == first, "what was opened keeps what it read");
        let machine = Machine::open(machine.dir()).unwrap();
        let report = machine.td_report(&guest, &[1; 64]);
        let info = report.tee_tcb_info;
        assert_eq!(info.tee_tcb_svn[..8], [module.minor, module.major, 2, 0, 0, 0, 0, 0]);
        assert_eq!(info.tee_tcb_svn[8..], SIMULATED_MARKER);
        assert_eq!((info.mrsignerseam, info.attributes), (module.mrsigner, module.attributes));
        assert_eq!(report.report_mac.report_data, [1; 64]);
        let quote = machine.td_quote(&guest, &[1; 64]).unwrap();
        assert_eq!(quote[48..64], info.tee_tcb_svn);
        assert_eq!((&quote[64..112], &quote[112..160]), (&info.mrseam[..], &module.mrsigner[..]));
        assert_eq!(quote[160..168], module.attributes);
        let Identity::Tdx(identity) = machine.guest(guest.clone()).unwrap().identity().unwrap() else {
            panic!("a guest")
        };
        assert_eq!((identity.mrseam, identity.tee_tcb_svn), (info.mrseam, info.tee_tcb_svn));
        measurements.push(info.mrseam);
    }
    measurements.sort_unstable();
    measurements.dedup();
    assert_eq!(measurements.len(), 4, "every module has its measurement");
    machine.install_tdx_module(&TdxModule::new(1, 5)).unwrap();
    assert!(Machine::open(machine.dir()).unwrap().td_report(&guest, &[1; 64]) == first);
}

#[test]
fn a_recovery_raises_what_is_up_to_date_from_its_time_on() {
    let (_dir, machine) = new();
    let before = [
        rows(&[(5, "UpToDate", ""), (1, "OutOfDate", "SIM-SA-00001"), (0, "Revoked", "SIM-SA-00001")]),
        rows(&[(5, "UpToDate", ""), (2, "OutOfDate", "SIM-SA-00001"), (1, "Revoked", "SIM-SA-00001")]),
    ];
    let found = |edition, now| {
        let [tcb_info, _] = documents(&machine, TeeType::Tdx, edition, now);
        [platform(&tcb_info), module(&tcb_info)]
    };
    assert_eq!(found(Edition::Standard, NOW), before);

    // One for the processor, one for the module, as announced before they come.
    machine.tcb_recovery(&recovery(NOW, NOW + 7 * DAY, 7, 5, "SIM-SA-00002")).unwrap();
    machine.tcb_recovery(&recovery(NOW + DAY, NOW + 8 * DAY, 5, 6, "SIM-SA-00003")).unwrap();
    for edition in [Edition::Standard, Edition::Early, Edition::Number(20)] {
        assert_eq!(found(edition, NOW - 1), before);
        assert_eq!(number(&machine, edition, NOW - 1), 20);
    }
    let after_first = [
        rows(&[
            (7, "UpToDate", ""),
            (5, "OutOfDate", "SIM-SA-00002"),
            (1, "OutOfDate", "SIM-SA-00001 SIM-SA-00002"),
            (0, "Revoked", "SIM-SA-00001 SIM-SA-00002"),
        ]),
        before[1].clone(),
    ];
    // Two sets that are valid in the same second disagree.
    assert_eq!([found(Edition::Standard, NOW), found(Edition::Early, NOW)], [before, after_first.clone()]);
    assert_eq!([Edition::Standard, Edition::Early].map(|edition| number(&machine, edition, NOW)), [20, 21]);
    let after_both = [
        after_first[0].clone(),
        rows(&[
            (6, "UpToDate", ""),
            (5, "OutOfDate", "SIM-SA-00003"),
            (2, "OutOfDate", "SIM-SA-00001 SIM-SA-00003"),
            (1, "Revoked", "SIM-SA-00001 SIM-SA-00003"),
        ]),
    ];
    assert_eq!(found(Edition::Early, NOW + DAY), after_both);
    assert_eq!(found(Edition::Standard, NOW + 7 * DAY), after_first);
    assert_eq!(found(Edition::Standard, NOW + 8 * DAY), after_both);
    // SGX documents follow, without modules.
    let [sgx, _] = documents(&machine, TeeType::Sgx, Edition::Standard, NOW + 8 * DAY);
    assert_eq!((platform(&sgx), sgx["tdxModule"].is_null()), (after_both[0].clone(), true));
    // A process that opened the machine before sees it too, and so does a later one.
    assert_eq!(number(&Machine::open(machine.dir()).unwrap(), Edition::Standard, NOW + 8 * DAY), 22);
}

#[test]
fn editions_are_asked_for_by_number_until_they_are_retired() {
    let (_dir, machine) = new();
    machine.tcb_recovery(&recovery(NOW, NOW + DAY, 6, 6, "SIM-SA-00002")).unwrap();
    let code = |wanted, now| {
        let set = machine.collateral_of(TeeType::Tdx, Edition::Number(wanted), now);
        set.map_or_else(|error| error.code(), |_| "ok")
    };
    for (now, codes) in [
        (NOW - 1, ["sim.retired_edition", "ok", "sim.no_edition", "sim.no_edition"]),
        (NOW, ["sim.retired_edition", "ok", "ok", "sim.no_edition"]),
        (NOW + DAY, ["sim.retired_edition", "sim.retired_edition", "ok", "sim.no_edition"]),
    ] {
        assert_eq!([19, 20, 21, 22].map(|number| code(number, now)), codes, "{now}");
    }
    assert_eq!([0, u32::MAX].map(|number| code(number, NOW)), ["sim.retired_edition", "sim.no_edition"]);
}

#[test]
fn recoveries_come_in_the_order_of_time() {
    let (_dir, machine) = new();
    let refused = |recovery: Recovery| machine.tcb_recovery(&recovery).unwrap_err().code();
    assert_eq!(refused(recovery(NOW, NOW - 1, 6, 6, "A")), "sim.history");
    machine.tcb_recovery(&recovery(NOW, NOW + DAY, 6, 6, "A")).unwrap();
    assert_eq!(refused(recovery(NOW - 1, NOW + DAY, 6, 6, "B")), "sim.history");
    assert_eq!(refused(recovery(NOW, NOW + DAY - 1, 6, 6, "B")), "sim.history");
    // One that asks for less than there was changes the number and nothing else.
    machine.tcb_recovery(&recovery(NOW, NOW + DAY, 5, 0, "B")).unwrap();
    let [tcb_info, _] = documents(&machine, TeeType::Tdx, Edition::Early, NOW);
    assert_eq!(
        (number(&machine, Edition::Early, NOW), platform(&tcb_info)[0].0, module(&tcb_info)[0].0),
        (22, 6, 6)
    );
    std::fs::write(machine.dir().join("vendor.toml"), "unknown = 1").unwrap();
    assert_eq!(machine.collateral_for(TeeType::Sgx, NOW).unwrap_err().code(), "sim.unavailable");
}

/// What is remembered of an older set is never above a newer one.
#[test]
fn dates_and_crl_numbers_rise_with_time() {
    let (_dir, machine) = new();
    let crl_number = |now: u64| {
        let set: Value = serde_json::from_str(&machine.collateral_for(TeeType::Tdx, now).unwrap()).unwrap();
        ["root_ca_crl", "pck_crl"].map(|name| {
            let der = hex::decode(set[name].as_str().unwrap()).unwrap();
            // cRLNumber, 2.5.29.20: an octet string around an integer of four bytes.
            let at = der
                .windows(9)
                .position(|part| part[..3] == [0x55, 0x1D, 0x14] && part[5..7] == [2, 4])
                .unwrap();
            u32::from_be_bytes(der[at + 7..at + 11].try_into().unwrap())
        })
    };
    let issued = |now: u64| {
        documents(&machine, TeeType::Tdx, Edition::Standard, now).map(|document| {
            ["issueDate", "nextUpdate"].map(|name| document[name].as_str().unwrap().to_owned())
        })
    };
    for (earlier, later) in [(NOW, NOW + 1), (NOW, NOW + DAY)] {
        assert!(crl_number(earlier).iter().zip(crl_number(later)).all(|(earlier, later)| *earlier < later));
        assert!(issued(earlier) < issued(later));
    }
}

/// R28, seen by the library that judges quotes.
#[test]
fn a_revoked_certificate_is_refused_from_then_on_and_another_level_has_another() {
    let (_dir, machine) = new();
    machine.revoke_pck(NOW).unwrap();
    let verdict = |machine: &Machine, now: u64| {
        let quote = machine.td_quote(&TdDescription::default_guest(), &[1; 64]).unwrap();
        let set = serde_json::from_str(&machine.collateral(&quote, now).unwrap()).unwrap();
        common::verify(&machine.root_der(), &quote, &set, now)
    };
    assert_eq!(verdict(&machine, NOW - 1).unwrap(), "UpToDate");
    assert!(verdict(&machine, NOW).unwrap_err().contains("Revoked"));
    machine.microcode(Step::Up).unwrap();
    assert_eq!(verdict(&Machine::open(machine.dir()).unwrap(), NOW).unwrap(), "UpToDate");
}

#[test]
fn modules_and_recoveries_decide_the_status() {
    let (_dir, machine) = new();
    machine.tcb_recovery(&recovery(NOW, NOW, 5, 6, "SIM-SA-00002")).unwrap();
    let verdict = |module: TdxModule, now: u64| {
        machine.install_tdx_module(&module).unwrap();
        let machine = Machine::open(machine.dir()).unwrap();
        let quote = machine.td_quote(&TdDescription::default_guest(), &[1; 64]).unwrap();
        let set = serde_json::from_str(&machine.collateral(&quote, now).unwrap()).unwrap();
        common::verify(&machine.root_der(), &quote, &set, now)
    };
    let of = TdxModule::new;
    for (minor, before, after) in
        [(6, "UpToDate", "UpToDate"), (5, "UpToDate", "OutOfDate"), (2, "OutOfDate", "OutOfDate")]
    {
        assert_eq!(verdict(of(1, minor), NOW - 1).unwrap(), before, "{minor}");
        assert_eq!(verdict(of(1, minor), NOW).unwrap(), after, "{minor}");
    }
    let foreign = TdxModule { mrsigner: [1; 48], ..of(1, 6) };
    let debuggable = TdxModule { attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..of(1, 6) };
    for (module, reason) in [
        (of(1, 1), "Revoked"),
        (of(1, 0), "below minimum"),
        (of(2, 9), "No TDX module identity"),
        (foreign, "MRSIGNER"),
        (debuggable, "SEAMATTRIBUTES"),
    ] {
        let refusal = verdict(module, NOW).unwrap_err();
        assert!(refusal.contains(reason), "{module:?}: {refusal}");
    }
}

mod common;
