//! `bulla attest collateral`: docs/attestation.md's section about where collateral comes from, and what can go wrong there.

use serde_json::Value;

use crate::service::{DAY, NOW, Service, set_clock};
use crate::support::Bulla;

/// A machine, the quote of a guest of it, and its vendor's service.
fn site() -> (Bulla, Service) {
    let bulla = Bulla::with_host();
    bulla.run("sim quote host --td default -o quote").ok();
    bulla.run("sim root host -o root").ok();
    set_clock(&bulla, NOW);
    let service = Service::honest(&bulla, "127.0.0.1:0");
    (bulla, service)
}

fn fetch(service: &Service, store: &str, at: u64) -> String {
    let url = service.url();
    format!("attest collateral fetch quote --store {store} --root root --pccs {url} --at {at}")
}

fn verify(store: &str, at: u64) -> String {
    format!("attest verify quote --store {store} --root root --at {at}")
}

/// R51: what was fetched is used while it is good, whether the service is there or not.
#[test]
fn what_was_fetched_judges_without_the_service() {
    let (bulla, service) = site();
    bulla.run(&verify("kept", NOW)).fails(14, &["[collateral.unavailable]"]);
    let text = bulla.run(&fetch(&service, "kept", NOW)).text();
    assert!(text.contains("tdx ") && text.contains("good until"), "{text}");
    let url = service.url();
    drop(service);

    bulla.run(&verify("kept", NOW + DAY)).ok();
    bulla.run(&format!("attest explain quote --store kept --root root --at {NOW}")).ok();
    let status =
        bulla.run(&format!("attest collateral status --store kept --root root --at {NOW} --json")).json();
    assert_eq!(status["sets"][0]["usable"], true, "{status}");
    let names: Vec<&Value> =
        status["sets"][0]["items"].as_array().unwrap().iter().map(|item| &item["item"]).collect();
    assert_eq!(names.len(), 4, "TCB info, QE identity and both CRLs: {names:?}");

    let again = format!("attest collateral fetch quote --store kept --root root --pccs {url} --at {NOW}");
    bulla.run(&again).fails(14, &["quote: ", "[collateral.service.unreachable]"]);
    bulla.run(&verify("kept", NOW + DAY)).ok();
    bulla.run(&verify("kept", NOW + 40 * DAY)).fails(14, &["[collateral."]);
}

/// R29, R30: neither older collateral nor an older time than the newest one seen.
#[test]
fn nothing_older_than_what_was_seen_is_believed() {
    let (bulla, service) = site();
    bulla.run(&fetch(&service, "kept", NOW)).ok();
    bulla.run(&format!("attest collateral export --store kept --root root --at {NOW} -o old")).ok();

    set_clock(&bulla, NOW + 2 * DAY);
    let at = NOW + DAY;
    bulla.run(&format!("sim recovery host --at {at} --microcode 6 --tdx-module 5 --advisory SIM-SA-2")).ok();
    bulla.run(&fetch(&service, "kept", NOW + 2 * DAY)).ok();
    bulla.run(&verify("kept", NOW + 2 * DAY)).fails(12, &["[policy.tcb_status]", "SIM-SA-2"]);

    // The old set is well signed and in date, and would call the machine up to date.
    let import =
        |store| format!("attest collateral import old --store {store} --root root --at {}", NOW + 2 * DAY);
    bulla.run(&import("kept")).fails(12, &["not taken", "[collateral.rollback]"]);
    bulla.run(&verify("kept", NOW + 2 * DAY)).fails(12, &["[policy.tcb_status]"]);
    bulla.run(&verify("kept", NOW - 2 * DAY)).fails(13, &["[clock.below_floor]"]);

    // Whoever has seen nothing newer has to take it: a floor is a memory.
    bulla.run(&import("elsewhere")).ok();
    bulla.run(&verify("elsewhere", NOW + 2 * DAY)).ok();
}

#[test]
fn what_cannot_be_a_bundle_or_a_service_is_refused() {
    let (bulla, service) = site();
    bulla.write("bundle", "{}");
    let import = "attest collateral import bundle --store kept --root root";
    bulla.run(import).fails(11, &["[bundle."]);
    bulla.run("attest collateral export --store kept --root root -o out").fails(11, &["[bundle.empty]"]);
    assert!(!bulla.path("out").exists());
    let off = "attest collateral fetch quote --store kept --root root --pccs http://pccs.example.com";
    bulla.run(off).fails(2, &["[usage.collateral]"]);
    bulla.run(&format!("{} --early --evaluation-number 20", fetch(&service, "kept", NOW))).fails(2, &[]);
    bulla
        .run(&format!("{} --evaluation-number 19", fetch(&service, "kept", NOW)))
        .fails(12, &["[collateral.service.retired]"]);
    bulla.run("attest verify quote --collateral x --store kept").fails(2, &["--store"]);
    bulla.run("attest verify quote").fails(2, &["--collateral"]);
}

/// R29, R51: the set of a SEV-SNP machine comes from its own vendor's interface, and is kept like the others.
#[test]
fn sets_of_sev_snp_machines_are_kept_too() {
    let (bulla, service) = site();
    bulla.run("sim quote host --snp default -o report").ok();
    bulla.run("sim root host --snp -o amd").ok();
    bulla.write(
        "policy.toml",
        "version = 1\nname = \"genoa\"\nrevision = 1\n[snp]\n\
         min_tcb = { Genoa = { bootloader = 9, tee = 0, snp = 23, microcode = 72 } }\n",
    );
    let url = service.url();
    let fetch = format!("attest collateral fetch report --store kept --root amd --at {NOW}");
    let text = bulla.run(&format!("{fetch} --kds {url}")).text();
    assert!(text.contains("snp-set-vcek-genoa-") && text.contains("good until"), "{text}");
    let verify = format!("attest verify report --store kept --root amd --policy policy.toml --at {NOW}");
    bulla.run(&verify).ok();
    drop(service);
    bulla.run(&format!("{fetch} --kds {url}")).fails(14, &["[collateral.service.unreachable]"]);
    bulla.run(&verify).ok();
    bulla.run(&format!("{fetch} --kds ftp://x")).fails(2, &["[usage.collateral]"]);
    bulla.run(&verify.replace("--root amd", "--root root")).fails(2, &["[floor.other_root]"]);
}
