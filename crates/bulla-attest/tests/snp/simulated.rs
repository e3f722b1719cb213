//! Reports of simulated machines: good under the simulator's own authority, labelled, and only where that is asked for.

use bulla_attest::{AmdProduct, Collateral, CollateralId, Policy, TrustAnchor, Verifier};
use bulla_sim::{Machine, SnpDescription, Step};
use bulla_tee::{Evidence, EvidenceKind, SIMULATED_MARKER, Tee};

use super::pki::{NOW, Recipe, sign};
use super::{snp, snp_policy};

fn machine() -> (tempfile::TempDir, Machine) {
    let parent = tempfile::tempdir().unwrap();
    let machine = Machine::create(parent.path().join("machine")).unwrap();
    (parent, machine)
}

/// A report over a fixed nonce, and the certificates that came with it.
fn evidence(machine: &Machine, guest: SnpDescription) -> (Vec<u8>, Vec<u8>) {
    let data = bulla_crypto::RoleHash::new(bulla_crypto::Role::GuestRequest, &[]);
    let guest = machine.snp_guest(guest).unwrap();
    match guest.attest(&data, EvidenceKind::Quote).unwrap() {
        Evidence::Simulated(evidence) => match *evidence {
            Evidence::SnpReport { report, certificates } => (report, certificates),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// What AMD's service would answer.
fn served(machine: &Machine, report: &[u8]) -> Collateral {
    let id = CollateralId::of_quote(report).unwrap();
    let id = id.amd().unwrap();
    assert_eq!(id.product, Some(AmdProduct::Genoa));
    let leaf = machine.vcek_certificate(&id.chip_id, &id.reported_tcb).unwrap();
    Collateral::snp(leaf, machine.vcek_issuers(), Some(machine.vcek_crl(NOW).unwrap()))
}

fn verifier(machine: &Machine) -> Verifier {
    let anchor = TrustAnchor::from_der(&machine.snp_root_der()).unwrap();
    Verifier::new(TrustAnchor::intel()).with_amd(AmdProduct::Genoa, anchor)
}

fn code(verifier: &Verifier, report: &[u8], set: &Collateral, policy: &Policy) -> &'static str {
    verifier.verify(report, set, NOW, policy).map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn r15_a_simulated_report_is_good_where_it_is_asked_for() {
    let (_parent, machine) = machine();
    let (report, certificates) = evidence(&machine, SnpDescription::default_guest());
    let (set, asked) = (served(&machine, &report), snp_policy("").allow_simulated());
    let claims = verifier(&machine).verify(&report, &set, NOW, &asked).unwrap();
    assert!(claims.simulated);
    assert_eq!(snp(&claims).measurement, SnpDescription::default_guest().measurement);
    assert_eq!(claims.platform.id().map(<[u8]>::to_vec), Some(snp(&claims).chip_id.to_vec()));

    // Not under a policy for real machines, nor by a verifier of real vendors.
    assert_eq!(code(&verifier(&machine), &report, &set, &snp_policy("")), "policy.simulated");
    assert_eq!(code(&Verifier::vendors(), &report, &set, &asked), "snp_chain.untrusted_root");
    // What the host hands over is the same without the list.
    let handed = Collateral::from_certificate_table(&certificates).unwrap();
    assert_eq!(code(&verifier(&machine), &report, &handed, &asked), "policy.revocation");
    let unlisted = snp_policy("allow_unknown_revocation = true").allow_simulated();
    assert_eq!(code(&verifier(&machine), &report, &handed, &unlisted), "ok");
    for at in (0..0x2A0).step_by(13).chain([0x2A0, 0x2CF, 0x2E8]) {
        let mut changed = report.clone();
        changed[at] ^= 1;
        assert_ne!(code(&verifier(&machine), &changed, &set, &asked), "ok", "{at:#x}");
    }
}

/// A machine that hides its chip shows the marker in its certificate.
#[test]
fn r15_a_hidden_chip_does_not_hide_that_it_is_simulated() {
    let mut chip = [0xC1; 64];
    chip[56..].copy_from_slice(&SIMULATED_MARKER);
    let recipe = Recipe { hwid: Some(chip.to_vec()), ..Recipe::vcek(AmdProduct::Genoa) };
    let mut report = recipe.report();
    for chip_id in [chip, [0; 64]] {
        report.chip_id = chip_id;
        let verdict = |policy: &Policy| code(&recipe.verifier(), &sign(report), &recipe.collateral(), policy);
        assert_eq!(verdict(&snp_policy("")), "policy.simulated");
        assert_eq!(verdict(&snp_policy("").allow_simulated()), "ok");
    }
}

#[test]
fn a_report_follows_the_machine() {
    let (parent, first) = machine();
    let asked = snp_policy("").allow_simulated();
    let (before, _) = evidence(&first, SnpDescription::default_guest());
    first.microcode(Step::Up).unwrap();
    let later = Machine::open(parent.path().join("machine")).unwrap();
    let (after, _) = evidence(&later, SnpDescription::default_guest());
    let [old, new] = [&before, &after].map(|report| served(&later, report));
    assert_eq!(code(&verifier(&later), &before, &old, &asked), "ok");
    assert_eq!(code(&verifier(&later), &after, &new, &asked), "ok");
    assert_eq!(code(&verifier(&later), &after, &old, &asked), "snp.signature");
    let (elsewhere, other) = machine();
    assert_eq!(code(&verifier(&other), &before, &old, &asked), "ok", "all machines have one vendor");
    let id = CollateralId::of_quote(&before).unwrap();
    let id = id.amd().unwrap();
    assert!(other.vcek_certificate(&id.chip_id, &id.reported_tcb).is_err());
    drop(elsewhere);

    let debug = evidence(&later, SnpDescription::default_guest().with_debug()).0;
    assert_eq!(code(&verifier(&later), &debug, &served(&later, &debug), &asked), "policy.debug");
}
