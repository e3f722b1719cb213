//! Every rule, on claims that are made up: the verifier's own tests bring real ones.

use bulla_tee::sgx::arch::{Attributes, flags};
use bulla_tee::tdx::attributes;
use bulla_tee::{Identity, SgxIdentity, SnpIdentity, TdxIdentity};

use super::*;
use crate::{
    AmdPlatform, AmdProduct, Basis, Claims, IntelPlatform, PckCa, Platform, Reason, Remote, Shortfall, Tcb,
};

/// 2026-11-22T00:00:00Z.
const NOW: u64 = 1_795_305_600;
const HEAD: &str = "version = 1\nname = \"test\"\nrevision = 1\n";

fn tcb(status: TcbStatus, advisories: &[&str]) -> Tcb {
    Tcb {
        status,
        advisory_ids: advisories.iter().map(|&id| id.to_owned()).collect(),
        evaluation_data_number: 17,
        qe_status: TcbStatus::UpToDate,
        shortfalls: Vec::new(),
    }
}

fn claims(identity: Identity) -> Claims {
    Claims {
        identity,
        report_data: [0; 64],
        platform: Platform::Intel(IntelPlatform {
            ppid: [0x5a; 16],
            fmspc: [1; 6],
            pceid: [0; 2],
            ca: PckCa::Platform,
            instance_id: None,
            cpusvn: [0; 16],
            pcesvn: 0,
        }),
        tcb: tcb(TcbStatus::UpToDate, &[]),
        valid_until: 0,
        simulated: false,
        local: false,
        basis: Basis::default(),
    }
}

fn enclave(change: impl FnOnce(&mut SgxIdentity)) -> Claims {
    let mut enclave = SgxIdentity {
        mrenclave: [1; 32],
        mrsigner: [2; 32],
        isv_prod_id: 7,
        isv_svn: 3,
        cpusvn: [0; 16],
        attributes: Attributes { flags: flags::INIT | flags::MODE64BIT, xfrm: 3 },
        misc_select: 0,
        config_id: [4; 64],
        config_svn: 0,
        isv_family_id: [5; 16],
        isv_ext_prod_id: [6; 16],
    };
    change(&mut enclave);
    claims(Identity::Sgx(Box::new(enclave)))
}

fn guest(change: impl FnOnce(&mut TdxIdentity)) -> Claims {
    let mut tee_tcb_svn = [0; 16];
    tee_tcb_svn[..3].copy_from_slice(&[6, 1, 3]);
    let mut guest = TdxIdentity {
        mrtd: [1; 48],
        rtmr: [[0x10; 48], [0x11; 48], [0x12; 48], [0x13; 48]],
        mrconfigid: [0; 48],
        mrowner: [0; 48],
        mrownerconfig: [0; 48],
        mrservicetd: [0; 48],
        attributes: attributes::SEPT_VE_DISABLE,
        xfam: 3,
        tee_tcb_svn,
        mrseam: [0; 48],
    };
    change(&mut guest);
    claims(Identity::Tdx(Box::new(guest)))
}

fn snp(change: impl FnOnce(&mut SnpIdentity)) -> Claims {
    let mut guest = SnpIdentity {
        measurement: [1; 48],
        host_data: [2; 32],
        id_key_digest: [3; 48],
        author_key_digest: [4; 48],
        family_id: [5; 16],
        image_id: [6; 16],
        guest_svn: 7,
        policy: bulla_tee::snp::policy::RESERVED_ONE,
        vmpl: 0,
        platform_info: 0,
        reported_tcb: bulla_tee::SnpTcb::default(),
        current_tcb: bulla_tee::SnpTcb::default(),
        committed_tcb: bulla_tee::SnpTcb::default(),
        launch_tcb: bulla_tee::SnpTcb::default(),
        report_id: [0; 32],
        report_id_ma: [0xff; 32],
        chip_id: [0x5a; 64],
        cpuid: [0; 3],
        launch_mitigations: 0,
        current_mitigations: 0,
    };
    change(&mut guest);
    let platform = AmdPlatform {
        chip_id: Some([0x5a; 64]),
        product: AmdProduct::Milan,
        csp_id: None,
        revocation_checked: true,
    };
    Claims { platform: Platform::Amd(platform), tcb: Tcb::UNLISTED, ..claims(Identity::Snp(Box::new(guest))) }
}

fn policy(body: &str) -> Policy {
    Policy::from_toml(&format!("{HEAD}{body}")).unwrap_or_else(|error| panic!("{error}"))
}

fn code(policy: &Policy, claims: &Claims) -> &'static str {
    policy.appraise(claims, NOW).map_or_else(|error| error.code(), |()| "ok")
}

/// The reason, which must be complete.
fn reason(policy: &Policy, claims: &Claims) -> Reason {
    let error = policy.appraise(claims, NOW).unwrap_err();
    let reason = error.reason();
    assert_eq!(reason.code, error.code());
    assert_eq!(error.to_string(), reason.to_string());
    assert_eq!(error.tcb(), Some(&claims.tcb));
    reason
}

fn parts(reason: &Reason) -> [&str; 4] {
    [&reason.clause, &reason.found, &reason.wanted, &reason.remedy]
}

/// The loosest policy that can be written.
fn loosest() -> Policy {
    Policy::strict().allow_every_status().allow_statuses(&TcbStatus::ALL).allow_perfmon().allow_simulated()
}

#[test]
fn r22_every_status_under_every_policy() {
    let judged = |policy: &Policy, status, advisories: &[&str]| {
        let claims = Claims { tcb: tcb(status, advisories), ..guest(|_| {}) };
        code(policy, &claims)
    };
    let exception = |status: TcbStatus, advisories: &str| {
        policy(&format!(
            "[[exceptions]]\nstatus = \"{status}\"\n{advisories}\nuntil = 2026-11-23\nreason = \"r\"\n"
        ))
    };
    for status in TcbStatus::ALL {
        let up_to_date = status == TcbStatus::UpToDate;
        let revoked = status == TcbStatus::Revoked;
        for advisories in [&[][..], &["INTEL-SA-00001"], &["INTEL-SA-00001", "INTEL-SA-00002"]] {
            let clean = up_to_date && advisories.is_empty();
            let refused = if up_to_date { "policy.advisories" } else { "policy.tcb_status" };
            let verdict = |accepted: bool| if accepted { "ok" } else { refused };
            let place = format!("{status} {advisories:?}");
            assert_eq!(judged(&Policy::strict(), status, advisories), verdict(clean), "{place}");
            // In the program: with any advisories.
            assert_eq!(judged(&loosest(), status, advisories), verdict(!revoked), "{place}");
            let listed = Policy::strict().allow_statuses(&[status]);
            assert_eq!(
                judged(&listed, status, advisories),
                verdict(clean || (!up_to_date && !revoked)),
                "{place}"
            );
            for other in TcbStatus::ALL.into_iter().filter(|other| *other != status) {
                let listed = Policy::strict().allow_statuses(&[other]);
                assert_eq!(judged(&listed, status, advisories), verdict(clean), "{place} under {other}");
                if other != TcbStatus::Revoked {
                    let exception = exception(other, "any_advisory = true");
                    assert_eq!(judged(&exception, status, advisories), verdict(clean), "{place} {other}");
                }
            }
            // In a file: by status, and each advisory by name.
            if revoked {
                continue;
            }
            let any = exception(status, "any_advisory = true");
            assert_eq!(judged(&any, status, advisories), "ok", "{place}");
            let one = exception(status, "advisories = [\"INTEL-SA-00001\"]");
            let wanted = if advisories.len() < 2 { "ok" } else { "policy.advisories" };
            assert_eq!(judged(&one, status, advisories), wanted, "{place}");
            if !up_to_date {
                let none = exception(status, "");
                let wanted = if advisories.is_empty() { "ok" } else { "policy.advisories" };
                assert_eq!(judged(&none, status, advisories), wanted, "{place}");
            }
        }
    }
    assert_eq!(judged(&loosest(), TcbStatus::Unlisted, &[]), "policy.tcb_status");
}

#[test]
fn r22_exceptions_of_one_status_add_up_and_end_each_at_its_time() {
    let body = r#"
        [[exceptions]]
        status = "OutOfDate"
        advisories = ["INTEL-SA-00001"]
        until = 2026-11-22T00:00:01Z
        reason = "ends first"
        [[exceptions]]
        status = "OutOfDate"
        advisories = ["INTEL-SA-00002"]
        until = 2026-11-22T01:00:02+01:00
        reason = "ends later"
        "#;
    let policy = policy(body);
    let claims =
        Claims { tcb: tcb(TcbStatus::OutOfDate, &["INTEL-SA-00001", "INTEL-SA-00002"]), ..guest(|_| {}) };
    let at = |now| policy.appraise(&claims, now).map_or_else(|error| error.code(), |()| "ok");
    let wanted = ["ok", "ok", "policy.advisories", "policy.tcb_status", "policy.tcb_status"];
    assert_eq!([NOW - 1, NOW, NOW + 1, NOW + 2, u64::MAX].map(at), wanted);
    let error = policy.appraise(&claims, NOW + 1).unwrap_err();
    assert_eq!(error.reason().found, "the platform is OutOfDate with open advisories [INTEL-SA-00001]");
}

#[test]
fn a_date_ends_with_its_first_second() {
    let body = "[[exceptions]]\nstatus = \"OutOfDate\"\nuntil = 2026-11-22\nreason = \"r\"\n";
    let claims = Claims { tcb: tcb(TcbStatus::OutOfDate, &[]), ..guest(|_| {}) };
    let policy = policy(body);
    assert!(policy.appraise(&claims, NOW - 1).is_ok());
    assert_eq!(code(&policy, &claims), "policy.tcb_status");
}

#[test]
fn a_qe_status_that_converging_ignores_is_judged() {
    for status in [TcbStatus::ConfigurationNeeded, TcbStatus::OutOfDateConfigurationNeeded] {
        let mut claims = enclave(|_| {});
        claims.tcb.qe_status = status;
        assert_eq!(code(&Policy::strict(), &claims), "policy.tcb_status");
        assert_eq!(reason(&Policy::strict(), &claims).found, format!("the quoting enclave is {status}"));
        assert_eq!(code(&Policy::strict().allow_statuses(&[status]), &claims), "ok");
    }
}

#[test]
fn r29_the_minimum_of_the_evaluation_number_holds_for_the_loosest_policy() {
    for (minimum, wanted) in [(0, "ok"), (17, "ok"), (18, "policy.tcb_evaluation_number")] {
        assert_eq!(code(&loosest().min_tcb_evaluation_data_number(minimum), &enclave(|_| {})), wanted);
    }
    let reason = reason(&policy("min_tcb_evaluation_data_number = 18"), &enclave(|_| {}));
    assert_eq!(
        reason.to_string(),
        "the collateral has TCB evaluation data number 17, and wanted is 18 or above: fetch newer collateral"
    );
    assert_eq!(reason.clause, "min_tcb_evaluation_data_number");
}

#[test]
fn a_refused_status_names_what_falls_short_and_what_to_do() {
    let mut claims = guest(|_| {});
    claims.tcb = tcb(TcbStatus::OutOfDate, &["INTEL-SA-00001"]);
    let short = |component: &str, found, wanted, remedy, certified| Shortfall {
        component: component.into(),
        found,
        wanted,
        remedy,
        certified,
    };
    claims.tcb.shortfalls = vec![
        short("TDX module SVN", 6, 11, "update the TDX module", false),
        short("SGX TCB component 3", 5, 7, "update the BIOS", true),
        short("TDX TCB component 3", 1, 2, "update the BIOS", false),
    ];
    let found = reason(&Policy::strict(), &claims);
    assert_eq!(
        parts(&found),
        [
            "exceptions",
            "the platform is OutOfDate [INTEL-SA-00001]",
            "UpToDate",
            "TDX module SVN is 6, needs 11: update the TDX module; SGX TCB component 3 is 5, needs 7, TDX TCB component 3 is \
             1, needs 2: update the BIOS; then fetch a new PCK certificate for the machine",
        ]
    );
    // What is accepted is said as it is now.
    let accepted = |until: &str| {
        let exception =
            format!("[[exceptions]]\nstatus = \"SWHardeningNeeded\"\nuntil = {until}\nreason = \"r\"");
        reason(&policy(&exception), &claims).wanted
    };
    assert_eq!(accepted("2026-11-22T00:00:01Z"), "UpToDate or SWHardeningNeeded");
    assert_eq!(accepted("2026-11-22"), "UpToDate");

    let remedy = |status| {
        claims.tcb = tcb(status, &[]);
        reason(&Policy::strict(), &claims).remedy
    };
    let remedies = [
        TcbStatus::TdRelaunchAdvised,
        TcbStatus::TdRelaunchAdvisedConfigurationNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::SwHardeningNeeded,
    ]
    .map(remedy);
    let relaunch = "start the guest again: its TDX module was updated after it was started";
    assert_eq!(
        remedies,
        [
            relaunch,
            relaunch,
            "configure the machine as the advisories say",
            "the machine meets the best level that the vendor lists, so look up the advisories; if what runs mitigates them \
             itself, add an exception with an end",
        ]
    );
}

#[test]
fn r23_r24_every_td_attribute_bit() {
    for bit in 0..64 {
        let claims = guest(|guest| guest.attributes ^= 1 << bit);
        let wanted = match bit {
            0..=7 => "policy.debug",
            16 | 27 | 30 | 31 => "ok",
            17 => "policy.service_td",
            28 => "policy.sept_ve_disable_not_set",
            29 => "policy.migratable",
            63 => "policy.perfmon",
            _ => "policy.reserved_attributes",
        };
        assert_eq!(code(&Policy::strict(), &claims), wanted, "bit {bit}");
        let wanted = if bit == 63 { "ok" } else { wanted };
        assert_eq!(code(&loosest(), &claims), wanted, "bit {bit}");
    }
}

#[test]
fn r23_every_sgx_attribute_flag() {
    for bit in (0..64).filter(|bit| ![0, 2].contains(bit)) {
        let claims = enclave(|enclave| enclave.attributes.flags |= 1 << bit);
        let wanted = match bit {
            1 => "policy.debug",
            4..=7 | 10 => "ok",
            _ => "policy.reserved_attributes",
        };
        assert_eq!(code(&loosest(), &claims), wanted, "bit {bit}");
    }
}

#[test]
fn r23_r24_the_reasons_of_attributes() {
    let attributes = |bits: u64| guest(|guest| guest.attributes ^= bits);
    let rows = [
        (
            attributes(1),
            "every policy",
            "the guest was started for debugging or profiling, so its host can look inside, and wanted is a guest with none \
             of the attribute bits 0 to 7: start it without",
        ),
        (
            attributes(1 << 40),
            "every policy",
            "the guest has attribute bits 0x10000000000, and wanted is zero in all bits that have no meaning: start it \
             without",
        ),
        (
            attributes(1 << 29),
            "every policy",
            "the guest can be moved to another machine, and wanted is a guest that stays: start it without MIGRATABLE",
        ),
        (
            attributes(1 << 17),
            "every policy",
            "the guest is bound to a service TD that can be exchanged (SERVTD_EXT), and wanted is none, or one that its host \
             cannot exchange: start it without SERVTD_EXT",
        ),
        (
            attributes(1 << 28),
            "every policy",
            "the guest runs without SEPT_VE_DISABLE, so its host can take pages away unnoticed, and wanted is a guest with \
             it: start it with sept-ve-disable=on",
        ),
        (
            attributes(1 << 63),
            "tdx.allow_performance_counters",
            "the guest may use performance counters (PERFMON), and wanted is a guest without: start it without",
        ),
        (
            enclave(|enclave| enclave.attributes.flags |= flags::DEBUG),
            "every policy",
            "the enclave runs in debug mode, so its host can look inside, and wanted is an enclave without: build and launch \
             it without debug",
        ),
        (
            enclave(|enclave| enclave.attributes.flags |= 1 << 20),
            "every policy",
            "the enclave has attribute flags 0x100000, and wanted is zero in all flags that have no meaning: launch it \
             without",
        ),
        (
            Claims { simulated: true, ..guest(|_| {}) },
            "allow_simulated",
            "the machine is simulated and protects nothing, and wanted is a real one: use a real machine",
        ),
    ];
    for (claims, clause, sentence) in rows {
        let reason = reason(&Policy::strict(), &claims);
        assert_eq!((reason.clause.as_str(), reason.to_string().as_str()), (clause, sentence));
    }
}

#[test]
fn r24_a_service_td_by_its_exact_hash() {
    let bound = guest(|guest| guest.mrservicetd = [9; 48]);
    let listing = |digits: &str| policy(&format!("[tdx]\nallow_service_tds = [\"{}\"]", digits.repeat(48)));
    assert_eq!(code(&loosest(), &bound), "policy.service_td");
    assert_eq!(code(&listing("08"), &bound), "policy.service_td");
    assert_eq!(code(&listing("09"), &bound), "ok");
    assert_eq!(code(&listing("09"), &guest(|_| {})), "ok");
    // One that can be exchanged is not the one that was listed for long.
    let exchangeable = guest(|guest| (guest.mrservicetd, guest.attributes) = ([9; 48], 1 << 28 | 1 << 17));
    assert_eq!(code(&listing("09"), &exchangeable), "policy.service_td");
    let found = "09".repeat(48);
    assert_eq!(
        parts(&reason(&listing("08"), &bound)),
        [
            "tdx.allow_service_tds",
            &format!("the guest is bound to the service TD {found}"),
            "none (MRSERVICETD zero), or one that the policy lists",
            "start it without, or list exactly this hash",
        ]
    );
}

#[test]
fn r15_simulated_evidence_needs_a_name_and_the_refusal_says_what_was_found() {
    let claims =
        Claims { simulated: true, tcb: tcb(TcbStatus::OutOfDate, &["INTEL-SA-00001"]), ..enclave(|_| {}) };
    assert_eq!(reason(&Policy::strict(), &claims).code, "policy.simulated");
    assert!(loosest().appraise(&claims, NOW).is_ok());
    assert_eq!(code(&policy("allow_simulated = true"), &Claims { simulated: true, ..enclave(|_| {}) }), "ok");
}

#[test]
fn r21_the_floor_of_the_tdx_module() {
    let floor = |table: &str| policy(&format!("[tdx.min_module_svn]\n{table}"));
    let with = |svn: u8, number: u8| {
        guest(|guest| {
            guest.tee_tcb_svn[0] = svn;
            guest.tee_tcb_svn[1] = number;
        })
    };
    let both = floor("TDX_01 = 6\nTDX_03 = 2");
    let rows =
        [((5, 1), false), ((6, 1), true), ((7, 1), true), ((1, 3), false), ((2, 3), true), ((9, 2), false)];
    for ((svn, number), accepted) in rows {
        let wanted = if accepted { "ok" } else { "policy.tdx_module" };
        assert_eq!(code(&both, &with(svn, number)), wanted, "{number} {svn}");
    }
    assert_eq!(code(&floor(""), &with(255, 1)), "policy.tdx_module");
    assert_eq!(code(&floor(""), &enclave(|_| {})), "ok");
    assert_eq!(
        reason(&floor("TDX_01 = 11"), &with(6, 1)).to_string(),
        "TDX module SVN is 6 (TDX_01), and wanted is 11 or above: update the TDX module, then start the guest again"
    );
    assert_eq!(
        reason(&both, &with(6, 2)).to_string(),
        "the TDX module is TDX_02, and wanted is one of TDX_01 TDX_03: load a TDX module that the policy lists"
    );
}

#[test]
fn r44_a_list_of_machines_and_an_empty_one_denies_all() {
    let other = |mut claims: Claims| {
        claims.platform = match claims.platform {
            Platform::Intel(platform) => Platform::Intel(IntelPlatform { ppid: [1; 16], ..platform }),
            Platform::Amd(platform) => Platform::Amd(AmdPlatform { chip_id: Some([1; 64]), ..platform }),
        };
        claims
    };
    let nameless = |mut claims: Claims| {
        claims.platform = match claims.platform {
            Platform::Intel(platform) => Platform::Intel(IntelPlatform { ppid: [0; 16], ..platform }),
            Platform::Amd(platform) => Platform::Amd(AmdPlatform { chip_id: None, ..platform }),
        };
        claims
    };
    let floor = "[snp.min_tcb.Milan]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 0\n";
    let list = format!(
        "[platforms]\nppid = [\"{}\"]\nchip_id = [\"{}\"]\n{floor}",
        "5a".repeat(16),
        "5a".repeat(64)
    );
    for (body, accepted) in [
        (list.as_str(), true),
        (floor, true),
        (&format!("[platforms]\n{floor}"), false),
        (&format!("[platforms]\nppid = []\nchip_id = []\n{floor}"), false),
    ] {
        let policy = policy(body);
        let wanted = if accepted { "ok" } else { "policy.platform" };
        let others = if body == floor { "ok" } else { "policy.platform" };
        for claims in [guest(|_| {}), enclave(|_| {}), snp(|_| {})] {
            assert_eq!(code(&policy, &claims), wanted, "{body}");
            assert_eq!(code(&policy, &other(claims.clone())), others, "{body}");
            assert_eq!(code(&policy, &nameless(claims)), others, "{body}");
        }
    }
    let ppid = "01".repeat(16);
    assert_eq!(
        parts(&reason(&policy(&list), &other(guest(|_| {})))),
        [
            "platforms",
            &format!("the machine has PPID {ppid}"),
            "a PPID that the policy lists",
            "run on a listed machine, or list this one",
        ]
    );
    assert_eq!(reason(&policy(&list), &nameless(snp(|_| {}))).found, "the machine has no CHIP_ID");
}

#[test]
fn r25_registers_that_the_host_chooses() {
    type Change = fn(&mut TdxIdentity);
    let rows: [(&str, &str, Change); 3] = [
        ("mrconfigid", "MRCONFIGID", |guest| guest.mrconfigid = [7; 48]),
        ("mrowner", "MROWNER", |guest| guest.mrowner = [7; 48]),
        ("mrownerconfig", "MROWNERCONFIG", |guest| guest.mrownerconfig = [7; 48]),
    ];
    let (seven, eight) = ("07".repeat(48), "08".repeat(48));
    for (key, name, change) in rows {
        let verdicts = |pin: String| {
            let policy = policy(&format!("[tdx]\n{key} = {pin}"));
            [code(&policy, &guest(|_| {})), code(&policy, &guest(change))]
        };
        let refused = "policy.config_register";
        assert_eq!(verdicts("\"bound\"".into()), ["ok", "ok"], "{key}");
        assert_eq!(verdicts("\"zero\"".into()), ["ok", refused], "{key}");
        assert_eq!(verdicts(format!("[\"{seven}\"]")), [refused, "ok"], "{key}");
        assert_eq!(verdicts(format!("[\"{eight}\", \"{}\"]", "00".repeat(48))), ["ok", refused], "{key}");
        assert_eq!(verdicts("[]".into()), [refused, refused], "{key}");
        let policy = policy(&format!("[tdx]\n{key} = [\"{eight}\"]"));
        assert_eq!(
            parts(&reason(&policy, &guest(change))),
            [
                &format!("tdx.{key}"),
                &format!("{name} is {seven}"),
                eight.as_str(),
                &format!("start the guest with an accepted {name}")
            ]
        );
    }
}

#[test]
fn r26_every_register_of_every_kind_is_compared() {
    let rows: [(&str, Claims, &str, usize); 16] = [
        ("mrenclave", enclave(|_| {}), "01", 32),
        ("mrsigner", enclave(|_| {}), "02", 32),
        ("config_id", enclave(|_| {}), "04", 64),
        ("isv_family_id", enclave(|_| {}), "05", 16),
        ("isv_ext_prod_id", enclave(|_| {}), "06", 16),
        ("mrtd", guest(|_| {}), "01", 48),
        ("rtmr0", guest(|_| {}), "10", 48),
        ("rtmr1", guest(|_| {}), "11", 48),
        ("rtmr2", guest(|_| {}), "12", 48),
        ("rtmr3", guest(|_| {}), "13", 48),
        ("measurement", snp(|_| {}), "01", 48),
        ("host_data", snp(|_| {}), "02", 32),
        ("id_key_digest", snp(|_| {}), "03", 48),
        ("author_key_digest", snp(|_| {}), "04", 48),
        ("family_id", snp(|_| {}), "05", 16),
        ("image_id", snp(|_| {}), "06", 16),
    ];
    let floor = "[snp.min_tcb.Milan]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 0\n";
    for (name, claims, digits, length) in rows {
        // What these two cannot be without.
        let number = match name {
            "mrsigner" => "isv_prod_id = 7\n",
            "id_key_digest" => "min_guest_svn = 7\n",
            _ => "",
        };
        let (good, bad) = (digits.repeat(length), "ee".repeat(length));
        let listing =
            |values: &[&str]| policy(&format!("{floor}[registers.os-image]\n{number}{name} = {values:?}"));
        assert_eq!(code(&listing(&[&good]), &claims), "ok", "{name}");
        assert_eq!(code(&listing(&[&bad, &good]), &claims), "ok", "{name}");
        assert_eq!(code(&listing(&[&bad]), &claims), "policy.registers", "{name}");
        assert_eq!(code(&listing(&[]), &claims), "policy.registers", "{name}");
        let clause = format!("registers.os-image.{name}");
        let found = format!("{name} is {good}");
        let remedy = "run what the policy names, or add this value if it is known and good";
        assert_eq!(parts(&reason(&listing(&[&bad]), &claims)), [&clause, &found, bad.as_str(), remedy]);
        assert_eq!(
            reason(&listing(&[]), &claims).wanted,
            "nothing, because the policy's list is empty",
            "{name}"
        );
        assert_eq!(
            reason(&listing(&[&bad, &"dd".repeat(length)]), &claims).wanted,
            "one of the 2 values that the policy lists"
        );
    }
}

#[test]
fn r7_product_and_versions_of_a_signer() {
    let signer = "02".repeat(32);
    let enclaves = |rest: &str| {
        policy(&format!("[registers.provider]\nmrsigner = [\"{signer}\"]\nisv_prod_id = {rest}"))
    };
    let rows = [
        ("6", "policy.registers"),
        ("7", "ok"),
        ("8", "policy.registers"),
        ("7\nmin_isv_svn = 3", "ok"),
        ("7\nmin_isv_svn = 4", "policy.registers"),
    ];
    for (rest, wanted) in rows {
        assert_eq!(code(&enclaves(rest), &enclave(|_| {})), wanted, "{rest}");
    }
    assert_eq!(code(&enclaves("7\nmin_isv_svn = 2"), &enclave(|_| {})), "ok");
    let found = reason(&enclaves("7\nmin_isv_svn = 4"), &enclave(|_| {}));
    assert_eq!(parts(&found)[..3], ["registers.provider.min_isv_svn", "isv_svn is 3", "4 or above"]);
    let found = reason(&enclaves("8"), &enclave(|_| {}));
    assert_eq!(parts(&found)[..3], ["registers.provider.isv_prod_id", "isv_prod_id is 7", "8"]);

    let floor = "[snp.min_tcb.Milan]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 0\n";
    let key = "03".repeat(48);
    for (svn, wanted) in [(6, "ok"), (7, "ok"), (8, "policy.registers")] {
        let body = format!("{floor}[registers.image]\nid_key_digest = [\"{key}\"]\nmin_guest_svn = {svn}");
        assert_eq!(code(&policy(&body), &snp(|_| {})), wanted, "{svn}");
    }
}

#[test]
fn r26_all_sets_of_a_kind_must_fit_and_kinds_without_a_set_are_refused() {
    let image = format!("[registers.os-image]\nrtmr1 = [\"{}\"]\n", "11".repeat(48));
    let app = |digits: &str| format!("[registers.app]\nrtmr3 = [\"{}\"]\n", digits.repeat(48));
    let provider = format!("[registers.provider]\nmrenclave = [\"{}\"]\n", "01".repeat(32));
    assert_eq!(code(&policy(&format!("{image}{}", app("13"))), &guest(|_| {})), "ok");
    let other_app = reason(&policy(&format!("{image}{}", app("14"))), &guest(|_| {}));
    assert_eq!(other_app.clause, "registers.app.rtmr3");

    // Any enclave would do otherwise.
    let found = reason(&policy(&image), &enclave(|_| {}));
    assert_eq!(
        parts(&found),
        [
            "registers",
            "this is an SGX enclave, and the policy names registers of other machines only",
            "one of these machines",
            "add a set of its registers to the policy",
        ]
    );
    let both = policy(&format!("{image}{provider}"));
    assert_eq!([code(&both, &guest(|_| {})), code(&both, &enclave(|_| {}))], ["ok", "ok"]);
    assert_eq!(code(&both, &enclave(|enclave| enclave.mrenclave = [9; 32])), "policy.registers");
}

#[test]
fn sev_snp_guests_need_a_floor() {
    let found = reason(&loosest(), &snp(|_| {}));
    assert_eq!((found.code, found.clause.as_str()), ("policy.snp_floor", "snp"));
    let body = "[snp.min_tcb.Genoa]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 0\n";
    assert_eq!(reason(&policy(body), &snp(|_| {})).clause, "snp.min_tcb.Milan");
    let body = "[snp.min_tcb.Milan]\nbootloader = 0\ntee = 0\nsnp = 24\nmicrocode = 0\n";
    let low = reason(&policy(body), &snp(|_| {}));
    assert_eq!(
        low.to_string(),
        "the reported TCB of the Milan machine has snp 0, and wanted is 24 or above: update the machine and let it report \
         its TCB"
    );
}

#[test]
fn what_runs_is_refused_before_how_the_platform_stands() {
    let mut claims = guest(|guest| guest.attributes |= 1);
    claims.tcb = tcb(TcbStatus::OutOfDate, &[]);
    assert_eq!(code(&Policy::strict(), &claims), "policy.debug");
    claims.simulated = true;
    assert_eq!(code(&Policy::strict(), &claims), "policy.simulated");
}

#[test]
fn r55_peers_learn_the_class_of_a_refusal_and_not_the_rule() {
    let body = format!("[registers.app]\nrtmr3 = [\"{}\"]\n", "ee".repeat(48));
    let remote = |policy: &Policy, claims: &Claims| policy.appraise(claims, NOW).unwrap_err().remote();
    let mut outdated = guest(|_| {});
    outdated.tcb = tcb(TcbStatus::OutOfDate, &[]);
    let rows = [
        (policy(&body), guest(|_| {}), Remote::PolicyDenied),
        (policy("[platforms]"), guest(|_| {}), Remote::PolicyDenied),
        (Policy::strict(), guest(|guest| guest.attributes |= 1), Remote::PolicyDenied),
        (Policy::strict(), outdated, Remote::TcbTooOld),
        (policy("[tdx.min_module_svn]"), guest(|_| {}), Remote::TcbTooOld),
        (policy("min_tcb_evaluation_data_number = 99"), guest(|_| {}), Remote::TcbTooOld),
        (Policy::strict(), snp(|_| {}), Remote::TcbTooOld),
    ];
    for (policy, claims, wanted) in rows {
        assert_eq!(remote(&policy, &claims), wanted);
    }
}
