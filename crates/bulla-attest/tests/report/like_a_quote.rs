//! A local report is appraised exactly as the quote of the same guest: both are made, and compared word by word.

use bulla_attest::{Policy, TcbStatus};
use bulla_crypto::sha256;
use bulla_sim::{QuoteForm, Recovery, Step, TdDescription, TdxModule, TeeType};
use bulla_tee::tdx::{TdQuoteBody, TdReport};
use serde_json::{Value, json};
use zerocopy::IntoBytes;

use super::bench::*;

const UP_TO_DATE: TdxModule = TdxModule::new(1, 5);

fn modules() -> [(TdxModule, &'static str); 9] {
    [
        (TdxModule::new(1, 6), "ok"),
        (UP_TO_DATE, "ok"),
        (TdxModule::new(1, 4), "policy.tcb_status"),
        (TdxModule::new(1, 2), "policy.tcb_status"),
        (TdxModule::new(1, 1), "tcb.revoked"),
        (TdxModule::new(1, 0), "tcb.no_matching_level"),
        (TdxModule::new(2, 9), "tdx_module.mismatch"),
        (TdxModule { mrsigner: [1; 48], ..UP_TO_DATE }, "tdx_module.mismatch"),
        (TdxModule { attributes: [1, 0, 0, 0, 0, 0, 0, 0], ..UP_TO_DATE }, "tdx_module.mismatch"),
    ]
}

fn policies() -> Vec<Policy> {
    let mut policies = vec![
        Policy::strict(),
        strict(),
        loosest(),
        strict().allow_every_status(),
        strict().allow_perfmon(),
        strict().min_tcb_evaluation_data_number(20),
        loosest().min_tcb_evaluation_data_number(21),
    ];
    policies.extend(TcbStatus::ALL.map(|status| strict().allow_statuses(&[status])));
    policies
}

fn with_attributes(attributes: u64) -> TdDescription {
    TdDescription { attributes, ..TdDescription::default_guest() }
}

#[test]
fn an_outdated_tdx_module_is_refused_as_in_a_quote() {
    let mut bench = Bench::new();
    for (module, wanted) in modules() {
        bench.machine.install_tdx_module(&module).unwrap();
        bench.reopen();
        let for_guests = bench.collateral(TeeType::Tdx, NOW);
        let both = bench.both(&TdDescription::default_guest(), &for_guests, NOW, &strict());
        assert_eq!(same(both, &format!("{module:?}")), wanted, "{module:?}");
    }
}

/// R22-R24, R29: every rule, for every module and platform, of guests that are in order and not.
#[test]
fn every_rule_is_applied_as_to_a_quote() {
    let mut bench = Bench::new();
    let mut codes = std::collections::BTreeSet::new();
    for (microcode, down) in [(5, 2), (3, 3)] {
        for (module, _) in modules() {
            bench.machine.install_tdx_module(&module).unwrap();
            bench.reopen();
            let for_guests = bench.collateral(TeeType::Tdx, NOW);
            for guest in
                [0x1000_0000, 0x1000_0001, 0x3000_0000, 0, 0x9000_0000_1000_0000, 0x8000_0000_1000_0000]
            {
                for policy in policies() {
                    let what = format!("microcode {microcode}, {module:?}, guest {guest:x}, {policy:?}");
                    let both = bench.both(&with_attributes(guest), &for_guests, NOW, &policy);
                    codes.insert(same(both, &what));
                }
            }
        }
        for _ in 0..down {
            bench.machine.microcode(Step::Down).unwrap();
        }
    }
    // Of a platform that is revoked, nothing is known that a report could be judged by.
    bench.reopen();
    let for_guests = bench.collateral(TeeType::Tdx, NOW);
    assert_eq!(
        bench.this_machine(&for_guests, NOW).map_or_else(|error| error.code(), |_| "ok"),
        "tcb.revoked"
    );
    for wanted in [
        "ok",
        "policy.simulated",
        "policy.debug",
        "policy.migratable",
        "policy.sept_ve_disable_not_set",
        "policy.perfmon",
        "policy.reserved_attributes",
        "policy.tcb_status",
        "policy.tcb_evaluation_number",
        "tcb.revoked",
        "tcb.no_matching_level",
        "tdx_module.mismatch",
    ] {
        assert!(codes.contains(wanted), "{wanted} did not come up in {codes:?}");
    }
}

/// R21, R22, R25, R26, R44: what a written policy asks for, met and not met.
#[test]
fn every_clause_of_a_written_policy_is_applied_as_to_a_quote() {
    let mut bench = Bench::new();
    let ppid = hex::encode(bench.now().claims().platform.id().unwrap());
    let default = TdDescription::default_guest();
    let rtmr3 = hex::encode(default.rtmr[3]);
    let clauses = [
        "[platforms]\nppid = []".to_owned(),
        format!("[platforms]\nppid = [\"{ppid}\"]"),
        format!("[platforms]\nppid = [\"{}\"]", "07".repeat(16)),
        "[tdx.min_module_svn]\nTDX_01 = 5".to_owned(),
        "[tdx.min_module_svn]\nTDX_01 = 6".to_owned(),
        "[tdx]\nmrconfigid = \"zero\"".to_owned(),
        format!("[tdx]\nmrowner = [\"{}\"]", "07".repeat(48)),
        format!("[registers.app]\nrtmr3 = [\"{rtmr3}\"]"),
        format!("[registers.app]\nrtmr3 = [\"{}\"]", "07".repeat(48)),
    ];
    let exception = |advisory: &str, until: &str| {
        format!(
            "[[exceptions]]\nstatus = \"OutOfDate\"\nadvisories = [\"{advisory}\"]\nuntil = {until}\nreason = \"test\""
        )
    };
    let exceptions = [
        exception("SIM-SA-00001", "2027-02-01"),
        exception("SIM-SA-00001", "2027-01-01"),
        exception("SIM-SA-00002", "2027-02-01"),
    ];
    let guests = [
        default.clone(),
        TdDescription { mrconfigid: [7; 48], mrowner: [7; 48], rtmr: [[7; 48]; 4], ..default },
    ];
    let mut verdicts = Vec::new();
    for module in [UP_TO_DATE, TdxModule::new(1, 4)] {
        bench.machine.install_tdx_module(&module).unwrap();
        bench.reopen();
        let for_guests = bench.collateral(TeeType::Tdx, NOW);
        for clause in clauses.iter().chain(&exceptions) {
            let policy = "version = 1\nname = \"test\"\nrevision = 1\nallow_simulated = true\n";
            let policy = Policy::from_toml(&[policy, clause].concat()).unwrap();
            verdicts.push(guests.each_ref().map(|guest| {
                same(bench.both(guest, &for_guests, NOW, &policy), &format!("{module:?} {clause}"))
            }));
        }
    }
    let (up_to_date, outdated) = verdicts.split_at(clauses.len() + exceptions.len());
    let wanted = [
        ["policy.platform"; 2],
        ["ok"; 2],
        ["policy.platform"; 2],
        ["ok"; 2],
        ["policy.tdx_module"; 2],
        ["ok", "policy.config_register"],
        ["policy.config_register", "ok"],
        ["ok", "policy.registers"],
        ["policy.registers", "ok"],
        ["ok"; 2],
        ["ok"; 2],
        ["ok"; 2],
    ];
    assert_eq!(up_to_date, wanted);
    let (refused, excepted) = outdated.split_at(clauses.len());
    assert!(refused.iter().flatten().all(|code| *code == "policy.tcb_status"), "{refused:?}");
    assert_eq!(excepted, [["ok"; 2], ["policy.tcb_status"; 2], ["policy.advisories"; 2]]);
}

#[test]
fn r23_r24_every_attribute_bit_as_in_a_quote() {
    let bench = Bench::new();
    let for_guests = bench.collateral(TeeType::Tdx, NOW);
    for bit in 0..64 {
        let guest = with_attributes(1 << 28 ^ 1 << bit);
        same(bench.both(&guest, &for_guests, NOW, &strict()), &format!("bit {bit}"));
    }
}

/// Collateral is as fresh as for a quote: an old set, a clock that goes back.
#[test]
fn r28_r30_time_is_judged_as_for_a_quote() {
    let bench = Bench::new();
    let (guest, for_guests) = (TdDescription::default_guest(), bench.collateral(TeeType::Tdx, NOW));
    let quote = bench.machine.td_quote(&guest, &DATA).unwrap();
    let machine = bench.this_machine(&for_guests, NOW).unwrap();
    let report = bench.td_report();
    for (now, wanted) in [
        (NOW - DAY, "ok"),
        (NOW + 29 * DAY - 1, "ok"),
        (NOW + 29 * DAY, "tcb_info.expired"),
        (NOW - DAY - 1, "tcb_info.not_yet_valid"),
        (0, "tcb_info.not_yet_valid"),
        (u64::MAX, "tcb_info.expired"),
    ] {
        let by_quote = bench.verifier().verify(&quote, &for_guests, now, &strict());
        let by_report = machine.verify_report(report.as_bytes(), &bench.enclave(), now, &strict());
        assert_eq!(same([by_quote, by_report], &format!("at {now}")), wanted, "at {now}");
    }
    // Either set begins it and ends it.
    let sets = |tee| [NOW, NOW + 10 * DAY].map(|at| bench.collateral(tee, at));
    let [own, guests] = [TeeType::Sgx, TeeType::Tdx].map(sets);
    for (own, for_guests) in [(&own[0], &guests[1]), (&own[1], &guests[0])] {
        let machine =
            bench.verifier().this_machine(&bench.own_quote(), own, for_guests, NOW + 10 * DAY, &strict());
        let machine = machine.unwrap();
        let judge = |now| machine.verify_report(report.as_bytes(), &bench.enclave(), now, &strict());
        assert_eq!(code(judge(NOW + 9 * DAY - 1)), "tcb_info.not_yet_valid");
        assert_eq!(code(judge(NOW + 29 * DAY)), "tcb_info.expired");
        for now in [NOW + 9 * DAY, NOW + 29 * DAY - 1] {
            assert_eq!(judge(now).unwrap().valid_until, NOW + 29 * DAY);
        }
    }
}

/// R28: the platform's certificate is looked for on the list that comes with the guests' collateral.
#[test]
fn r28_a_platform_that_was_revoked_since_is_refused_as_in_a_quote() {
    let bench = Bench::new();
    let own = bench.collateral(TeeType::Sgx, NOW);
    bench.machine.revoke_pck(NOW + DAY).unwrap();
    let code = |now: u64| {
        let for_guests = bench.collateral(TeeType::Tdx, now);
        let machine = bench.verifier().this_machine(&bench.own_quote(), &own, &for_guests, now, &strict());
        let quote = bench.machine.td_quote(&TdDescription::default_guest(), &DATA).unwrap();
        let by_quote = bench.verifier().verify(&quote, &for_guests, now, &strict());
        let report = bench.td_report();
        let by_report = machine
            .and_then(|machine| machine.verify_report(report.as_bytes(), &bench.enclave(), now, &strict()));
        match (by_quote, by_report) {
            (Err(quote), Err(report)) => {
                assert_eq!((quote.code(), quote.to_string()), (report.code(), report.to_string()));
                quote.code()
            }
            (quote, report) => {
                assert!(quote.is_ok() && report.is_ok());
                "ok"
            }
        }
    };
    assert_eq!([code(NOW), code(NOW + DAY - 1), code(NOW + DAY)], ["ok", "ok", "revoked"]);
}

/// A TCB recovery while everything runs: the next set of collateral decides, and an update helps.
#[test]
fn a_tcb_recovery_ends_it_until_the_module_is_updated() {
    let mut bench = Bench::new();
    let recovery =
        Recovery { at: NOW, standard_at: NOW, microcode: 5, tdx_module: 6, advisory: "SIM-SA-00002".into() };
    bench.machine.tcb_recovery(&recovery).unwrap();
    let guest = TdDescription::default_guest();
    let (before, after) = (bench.collateral(TeeType::Tdx, NOW - 1), bench.collateral(TeeType::Tdx, NOW));
    assert_eq!(same(bench.both(&guest, &before, NOW - 1, &strict()), "before"), "ok");
    let [_, refused] = bench.both(&guest, &after, NOW, &strict());
    assert_eq!(refused.unwrap_err().tcb().unwrap().advisory_ids, ["SIM-SA-00002"]);
    assert_eq!(same(bench.both(&guest, &after, NOW, &strict()), "after"), "policy.tcb_status");
    bench.machine.install_tdx_module(&TdxModule::new(1, 6)).unwrap();
    bench.reopen();
    assert_eq!(same(bench.both(&guest, &after, NOW, &strict()), "updated"), "ok");
}

/// R18: no quoting enclave signs a report, so the one that signed this machine's own quote counts. Where both stand alike,
/// so do quote and report.
#[test]
fn r18_the_quoting_enclave_counts_as_in_a_quote() {
    let bench = Bench::new();
    let guest = TdDescription::default_guest();
    let sets = [TeeType::Sgx, TeeType::Tdx].map(|tee| bench.collateral(tee, NOW));
    let quote = bench.machine.td_quote(&guest, &DATA).unwrap();
    let report = bench.td_report();
    for (status, wanted) in [
        ("UpToDate", "policy.advisories"),
        ("OutOfDate", "policy.tcb_status"),
        ("ConfigurationNeeded", "policy.tcb_status"),
        ("OutOfDateConfigurationNeeded", "policy.tcb_status"),
    ] {
        let [own, for_guests] = sets.each_ref().map(|set| {
            with_qe_identity(set, |identity| {
                identity["tcbLevels"][0]["tcbStatus"] = status.into();
                identity["tcbLevels"][0]["advisoryIDs"] = json!(["SIM-SA-00009"]);
            })
        });
        let machine = |own, for_guests| {
            bench.verifier().this_machine(&bench.own_quote(), own, for_guests, NOW, &loosest()).unwrap()
        };
        for policy in policies() {
            let by_quote = bench.verifier().verify(&quote, &for_guests, NOW, &policy);
            let by_report =
                machine(&own, &for_guests).verify_report(report.as_bytes(), &bench.enclave(), NOW, &policy);
            same([by_quote, by_report], &format!("{status}, {policy:?}"));
        }
        let judge = |own, for_guests| {
            code(machine(own, for_guests).verify_report(report.as_bytes(), &bench.enclave(), NOW, &strict()))
        };
        assert_eq!(judge(&own, &sets[1]), wanted, "{status}");
        assert_eq!(judge(&sets[0], &for_guests), "ok", "{status}");
    }
}

/// R29: what is known of the platform is no newer than its own collateral.
#[test]
fn r29_the_lowest_number_of_both_sets_counts() {
    let bench = Bench::new();
    let (own, for_guests) = (bench.collateral(TeeType::Sgx, NOW), bench.collateral(TeeType::Tdx, NOW));
    let lowest = |own_number: u32, number_for_guests: u32| {
        let number =
            |number: u32| move |tcb_info: &mut Value| tcb_info["tcbEvaluationDataNumber"] = number.into();
        let (own, for_guests) =
            (with_tcb_info(&own, number(own_number)), with_tcb_info(&for_guests, number(number_for_guests)));
        let machine =
            bench.verifier().this_machine(&bench.own_quote(), &own, &for_guests, NOW, &strict()).unwrap();
        let report = bench.td_report();
        let claims = machine.verify_report(report.as_bytes(), &bench.enclave(), NOW, &strict()).unwrap();
        claims.tcb.evaluation_data_number
    };
    // The QE identities have 20.
    assert_eq!([lowest(18, 20), lowest(20, 19), lowest(30, 31)], [18, 19, 20]);
}

/// R20-R22: whatever the vendor says of levels, in whatever order, report and quote agree on it; the quote is judged by the
/// verification library.
#[test]
fn r20_any_levels_lead_to_the_verdict_of_the_library() {
    const STATUSES: [&str; 10] = [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "Revoked",
        "TDRelaunchAdvised",
        "TDRelaunchAdvisedConfigurationNeeded",
        "UpToDate",
    ];
    let mut bench = Bench::new();
    let mut codes = std::collections::BTreeMap::new();
    let for_guests = bench.collateral(TeeType::Tdx, NOW);
    for case in 0..400_u32 {
        let random = [0_u8, 1, 2, 3].map(|block| sha256(&[&case.to_be_bytes(), &[block]])).concat();
        let mut random = random.into_iter();
        let mut below = |end: u8| random.next().unwrap() % end;
        if case % 40 == 0 {
            let module = TdxModule::new(1, 3 + below(4));
            bench.machine.install_tdx_module(&module).unwrap();
            bench.reopen();
        }
        let set = with_tcb_info(&for_guests, |tcb_info| {
            let level = tcb_info["tcbLevels"][0].clone();
            let levels = (0..1 + below(5)).map(|number| {
                let mut level = level.clone();
                level["tcb"]["sgxtcbcomponents"][0]["svn"] = (3 + below(4)).into();
                level["tcb"]["sgxtcbcomponents"][1]["svn"] = (4 + below(2)).into();
                level["tcb"]["pcesvn"] = (12 + below(3) / 2 * below(3)).into();
                level["tcb"]["tdxtcbcomponents"][2]["svn"] = (1 + below(3)).into();
                level["tcbStatus"] = STATUSES[usize::from(below(10))].into();
                level["advisoryIDs"] = json!([format!("A-{}", below(2)), format!("B-{number}")]);
                if below(20) == 0 {
                    level["tcb"]["tdxtcbcomponents"].as_array_mut().unwrap().pop();
                }
                level
            });
            tcb_info["tcbLevels"] = levels.collect();
            let modules = (0..1 + below(3)).map(|number| {
                json!({
                    "tcb": {"isvsvn": 3 + below(4)},
                    "tcbDate": "2026-02-11T00:00:00Z",
                    "tcbStatus": STATUSES[usize::from(if below(3) == 0 { below(10) } else { below(2) * 4 })],
                    "advisoryIDs": [format!("A-{}", below(2)), format!("M-{number}")],
                })
            });
            tcb_info["tdxModuleIdentities"][0]["tcbLevels"] = modules.collect();
        });
        let policy = if case % 2 == 0 { loosest() } else { strict() };
        let found =
            same(bench.both(&TdDescription::default_guest(), &set, NOW, &policy), &format!("case {case}"));
        *codes.entry(found).or_insert(0) += 1;
    }
    for wanted in [
        "ok",
        "policy.tcb_status",
        "policy.advisories",
        "tcb.revoked",
        "tcb.no_matching_level",
        "tcb_info.parse",
    ] {
        assert!(codes.get(wanted).is_some_and(|times| *times > 3), "{wanted} hardly came up: {codes:?}");
    }
}

/// R21: signer and attributes of a module, by its own entry and its mask.
#[test]
fn r21_modules_are_compared_as_in_a_quote() {
    let mut bench = Bench::new();
    let for_guests = bench.collateral(TeeType::Tdx, NOW);
    let masks = ["FFFFFFFFFFFFFFFF", "FEFFFFFFFFFFFFFF", "0000000000000000", "FF", "no hex"];
    for attributes in [[0; 8], [1, 0, 0, 0, 0, 0, 0, 0]] {
        bench.machine.install_tdx_module(&TdxModule { attributes, ..UP_TO_DATE }).unwrap();
        bench.reopen();
        for mask in masks {
            for wanted in ["0000000000000000", "0100000000000000"] {
                for place in ["/tdxModule", "/tdxModuleIdentities/0"] {
                    let set = with_tcb_info(&for_guests, |tcb_info| {
                        let module = tcb_info.pointer_mut(place).unwrap();
                        module["attributes"] = wanted.into();
                        module["attributesMask"] = mask.into();
                    });
                    let what = format!("{attributes:?} for {wanted} masked by {mask} in {place}");
                    same(bench.both(&TdDescription::default_guest(), &set, NOW, &strict()), &what);
                }
            }
        }
    }
}

/// TDX 1.5: a module that was updated under a running guest. A report of version 1 is as its quote, of version 5 with a TD 1.5
/// body; a quote of version 4 does not know of it, and nothing is excused.
#[test]
fn what_runs_now_is_judged_too() {
    let bench = Bench::new();
    let for_guests = bench.collateral(TeeType::Tdx, NOW);
    let qe_out_of_date = |identity: &mut Value| identity["tcbLevels"][0]["tcbStatus"] = "OutOfDate".into();
    let own = bench.collateral(TeeType::Sgx, NOW);
    let svn = |[minor, major]: [u8; 2]| {
        let mut svn = bench.td_report().tee_tcb_info.tee_tcb_svn;
        svn[..2].copy_from_slice(&[minor, major]);
        svn
    };
    let both = |version: u8, launched, running, qe: bool, change: fn(&mut TdReport), policy: &Policy| {
        let mut report = bench.td_report();
        report.report_mac.report_type = [0x81, 0, version, 0];
        report.tee_tcb_info.tee_tcb_svn = svn(launched);
        report.tee_tcb_info.tee_tcb_svn2 = svn(running);
        change(&mut report);
        let report = bench.make_anew(report);
        let (info, td) = (report.tee_tcb_info, report.td_info);
        let body = TdQuoteBody {
            tee_tcb_svn: info.tee_tcb_svn,
            mrseam: info.mrseam,
            mrsignerseam: info.mrsignerseam,
            seam_attributes: info.attributes,
            attributes: td.attributes,
            xfam: td.xfam,
            mrtd: td.mrtd,
            mrconfigid: td.mrconfigid,
            mrowner: td.mrowner,
            mrownerconfig: td.mrownerconfig,
            rtmr: td.rtmr,
            report_data: DATA,
        };
        let body = [body.as_bytes(), &info.tee_tcb_svn2, &td.servtd_hash].concat();
        let quote = bench.machine.quote_body(QuoteForm::TdxV5Td15, &body).unwrap();
        let [own, for_guests] = [&own, &for_guests]
            .map(|set| if qe { with_qe_identity(set, qe_out_of_date) } else { set.clone() });
        let machine =
            bench.verifier().this_machine(&bench.own_quote(), &own, &for_guests, NOW, &loosest()).unwrap();
        let by_quote = bench.verifier().verify(&quote, &for_guests, NOW, policy);
        [by_quote, machine.verify_report(report.as_bytes(), &bench.enclave(), NOW, policy)]
    };
    let minors = [0, 1, 4, 5, 6];
    for launched in minors {
        for running in minors {
            let changes: [fn(&mut TdReport); 4] = [
                |_| (),
                |_| (),
                |report| report.td_info.servtd_hash = [7; 48],
                |report| report.td_info.attributes = 0x1000_0001.into(),
            ];
            let guests = ["plain", "quoted by an old enclave", "with a service TD", "debugged"];
            for (guest, change) in guests.into_iter().zip(changes) {
                let qe = guest == "quoted by an old enclave";
                for policy in [strict(), loosest(), strict().allow_statuses(&[TcbStatus::TdRelaunchAdvised])]
                {
                    let what = format!("{launched} then {running}, {guest}, {policy:?}");
                    same(both(1, [launched, 1], [running, 1], qe, change, &policy), &what);
                }
            }
        }
    }
    same(both(1, [5, 1], [5, 2], false, |_| (), &loosest()), "an unlisted module runs now");

    let status = |version, launched, running, qe| {
        let [_, by_report] = both(version, [launched, 1], [running, 1], qe, |_| (), &loosest());
        by_report.map_or_else(|error| error.code().to_owned(), |claims| claims.tcb.status.to_string())
    };
    for version in [0, 1] {
        assert_eq!(status(version, 5, 5, false), "UpToDate");
        assert_eq!(status(version, 4, 4, false), "OutOfDate");
        assert_eq!(status(version, 5, 6, false), "UpToDate");
        assert_eq!(status(version, 5, 1, false), "tcb.revoked");
        assert_eq!(status(version, 5, 0, false), "tcb.no_matching_level");
        assert_eq!(status(version, 1, 5, false), "tcb.revoked");
        assert_eq!(status(version, 4, 5, true), "OutOfDate");
    }
    assert_eq!(status(0, 4, 5, false), "OutOfDate");
    assert_eq!(status(1, 4, 5, false), "TDRelaunchAdvised");
}

/// TEE_TCB_SVN2 is there or empty.
#[test]
fn r35_valid_says_which_fields_are_filled_in() {
    let bench = Bench::new();
    let mut report = bench.td_report();
    report.tee_tcb_info.valid = 0x1FF.into();
    assert_eq!(bench.code(&bench.make_anew(report)), "report.reserved");
    report.tee_tcb_info.tee_tcb_svn2 = [0; 16];
    assert_eq!(bench.code(&bench.make_anew(report)), "ok");
    for valid in [0, 0xFF, 0x1_01FF, 0x3_01FE, 0x7_01FF, u64::MAX] {
        report.tee_tcb_info.valid = valid.into();
        assert_eq!(bench.code(&bench.make_anew(report)), "report.reserved", "{valid:#x}");
    }
}
