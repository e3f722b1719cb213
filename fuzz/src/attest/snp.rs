//! SEV-SNP reports, and the certificates and lists that they are judged by.

use std::sync::LazyLock;

use bulla_attest::{AmdProduct, Claims, Collateral, CollateralId, Error, Policy, Verifier};
use bulla_tee::Identity;
use bulla_tee::snp::Report;
use zerocopy::FromBytes;

use super::refused;
use super::snp_pki::{NOW, Recipe, chain_pem, sign};
use crate::edits::Script;

/// Evidence in order, and the verdict on it.
struct Good {
    recipe: Recipe,
    verifier: Verifier,
    report: Vec<u8>,
    /// Root, issuer, leaf.
    certificates: [Vec<u8>; 3],
    list: Vec<u8>,
    claims: Claims,
}

/// Signed with a chip's key and with a provider's.
static GOOD: LazyLock<[Good; 2]> = LazyLock::new(|| {
    [Recipe::vcek(AmdProduct::Milan), Recipe::vlek(AmdProduct::Genoa)].map(|recipe| {
        let (verifier, report) = (recipe.verifier(), sign(recipe.report()));
        let claims = verifier.verify(&report, &recipe.collateral(), NOW, &LOOSEST).unwrap();
        let (certificates, list) = (recipe.certificates(), recipe.list().unwrap());
        Good { recipe, verifier, report, certificates, list, claims }
    })
});

static LOOSEST: LazyLock<Policy> = LazyLock::new(|| {
    let floor = "{ bootloader = 0, tee = 0, snp = 0, microcode = 0 }";
    let text = format!(
        "version = 1\nname = \"snp\"\nrevision = 1\n[snp]\nallow_provider_keys = true\nallow_unknown_revocation = true\n\
         allow_smt = true\nallow_cxl = true\nmax_vmpl = 3\nmin_tcb = {{ Milan = {floor}, Genoa = {floor}, Turin = {floor} }}\n"
    );
    Policy::from_toml(&text).unwrap()
});

/// Judges a report. The first byte says whose key signed, and what the rest is:
///
/// | byte / 2 | |
/// |---|---|
/// | 0 | the report |
/// | 1 | edits to a good one |
/// | 2 | edits to a good one, signed |
/// | 3 | edits to the certificate of its key |
/// | 4 | the chip or provider in that certificate, signed |
/// | 5 | edits to the certificate of the issuer |
/// | 6 | edits to the list |
pub fn snp(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let good = &GOOD[usize::from(which % 2)];
    let edited = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        Script::new(rest).edit(&mut bytes);
        bytes
    };
    let how = which / 2 % 7;
    let (mut report, mut list) = (good.report.clone(), good.list.clone());
    let [root, mut issuer, mut leaf] = good.certificates.clone();
    match how {
        0 => report = rest.to_vec(),
        1 => report = edited(&report),
        2 => {
            let Ok(changed) = Report::read_from_bytes(&edited(&report)) else { return false };
            report = sign(changed);
        }
        3 => leaf = edited(&leaf),
        4 if rest.len() > 256 => return false,
        4 => [_, _, leaf] = Recipe { hwid: Some(rest.to_vec()), ..good.recipe.clone() }.certificates(),
        5 => issuer = edited(&issuer),
        _ => list = edited(&list),
    }
    let list = (!list.is_empty()).then_some(list);
    let set = Collateral::snp(leaf, chain_pem(&[&issuer, &root]), list);
    let again = Collateral::from_json(set.to_json().as_bytes()).unwrap();
    assert_eq!(again.to_json(), set.to_json());
    let id = CollateralId::of_quote(&report);

    let verdict = good.verifier.verify(&report, &set, NOW, &LOOSEST);
    let repeated = good.verifier.verify(&report, &set, NOW, &LOOSEST);
    assert_eq!(repeated.as_ref().map_err(Error::code), verdict.as_ref().map_err(Error::code));
    let claims = match verdict {
        Ok(claims) => claims,
        Err(error) => {
            id.map_or_else(|error| refused(&error), |_| true);
            return refused(&error);
        }
    };
    assert!(id.is_ok(), "verified, and not to be read");
    match how {
        2 => check(&claims, &report),
        // It may be without a list.
        6 => assert_eq!(
            (&claims.identity, claims.report_data),
            (&good.claims.identity, good.claims.report_data)
        ),
        _ => assert_eq!(claims, good.claims, "a change that nobody signed"),
    }
    true
}

fn check(claims: &Claims, report: &[u8]) {
    let Identity::Snp(guest) = &claims.identity else { panic!("not a guest of AMD's") };
    assert_eq!(claims.report_data, report[0x50..0x90]);
    assert_eq!(guest.measurement, report[0x90..0xC0]);
    assert_eq!(guest.host_data, report[0xC0..0xE0]);
    assert_eq!(guest.policy.to_le_bytes(), report[0x08..0x10]);
    assert_eq!(report[0x0A] & 0b1000, 0, "debug");
    assert!(guest.vmpl <= 3);
    let chip: &[u8] = &report[0x1A0..0x1E0];
    assert_eq!(guest.chip_id, chip);
    assert!(claims.platform.id().is_none_or(|id| chip.starts_with(id)), "another machine");
}
