//! The genuine reports of the vectors; where they are not at hand, reports of our own in their place.

use bulla_attest::{AmdProduct, Collateral, CollateralId, Policy, SnpSigner, Verifier};
use bulla_tee::SnpTcb;
use serde_json::{Value, json};

use super::{chain_pem, loose, snp, snp_policy};
use crate::common::announce;
use crate::pki::{NOW, Recipe, sign};

struct Case {
    id: String,
    report: Vec<u8>,
    leaf: Vec<u8>,
    issuer: Vec<u8>,
    root: Vec<u8>,
    now: u64,
    verifies: bool,
    /// As the table states them.
    fields: Value,
    product: AmdProduct,
    signer: SnpSigner,
}

fn cases() -> Vec<Case> {
    let Some(folder) = std::env::var_os("BULLA_VECTORS").map(std::path::PathBuf::from) else {
        return own();
    };
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let table: Value = serde_json::from_slice(&read("vectors.json")).unwrap();
    let unix = |date: &str| {
        let time = time::OffsetDateTime::parse(date, &time::format_description::well_known::Rfc3339).unwrap();
        u64::try_from(time.unix_timestamp()).unwrap()
    };
    table["snp"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| Case {
            id: row["id"].as_str().unwrap().into(),
            report: read(row["files"]["report"].as_str().unwrap()),
            leaf: read(row["files"]["leaf"].as_str().unwrap()),
            issuer: read(row["files"]["intermediate"].as_str().unwrap()),
            root: read(row["files"]["ark"].as_str().unwrap()),
            now: unix(row["leaf_not_before"].as_str().unwrap()) + 1000,
            verifies: row["expected"] == "verifies",
            fields: row["fields"].clone(),
            product: product(row["product"].as_str().unwrap()),
            signer: if row["leaf_kind"] == "VLEK" { SnpSigner::Vlek } else { SnpSigner::Vcek },
        })
        .collect()
}

fn product(name: &str) -> AmdProduct {
    AmdProduct::ALL.into_iter().find(|product| product.as_str() == name).unwrap()
}

fn own() -> Vec<Case> {
    let case = |recipe: Recipe| {
        let [root, issuer, leaf] = recipe.certificates();
        let report = recipe.report();
        let fields = json!({
            "measurement": hex::encode(report.measurement),
            "policy": report.policy.get(),
            "chip_id": hex::encode(report.chip_id),
        });
        let id = format!("own {} {}", recipe.product.as_str(), recipe.signer.as_str());
        let (report, now, verifies) = (sign(report), NOW, true);
        let (product, signer) = (recipe.product, recipe.signer);
        Case { id, report, leaf, issuer, root, now, verifies, fields, product, signer }
    };
    AmdProduct::ALL
        .into_iter()
        .flat_map(|product| [Recipe::vcek(product), Recipe::vlek(product)])
        .map(case)
        .collect()
}

impl Case {
    fn verifier(&self) -> Verifier {
        let anchor = bulla_attest::TrustAnchor::from_der(&self.root).unwrap();
        match self.id.starts_with("own") {
            true => Verifier::new(bulla_attest::TrustAnchor::intel()).with_amd(self.product, anchor),
            false => Verifier::vendors(),
        }
    }

    fn code(&self, report: &[u8], policy: &Policy) -> &'static str {
        self.code_with(report, &self.leaf, &self.issuer, &self.root, policy)
    }

    fn code_with(
        &self,
        report: &[u8],
        leaf: &[u8],
        issuer: &[u8],
        root: &[u8],
        policy: &Policy,
    ) -> &'static str {
        let set = Collateral::snp(leaf.to_vec(), chain_pem(&[issuer, root]), None);
        let verdict = self.verifier().verify(report, &set, self.now, policy);
        verdict.map_or_else(|error| error.code(), |_| "ok")
    }
}

#[test]
fn every_report_of_the_table_gets_its_verdict() {
    let cases = cases();
    let mut verified = 0;
    for case in &cases {
        let set = Collateral::snp(case.leaf.clone(), chain_pem(&[&case.issuer, &case.root]), None);
        let verdict = case.verifier().verify(&case.report, &set, case.now, &loose());
        if !case.verifies {
            // N63: the leaf is not the ASK's.
            assert_eq!(verdict.unwrap_err().code(), "snp_chain.chain_signature", "{}", case.id);
            continue;
        }
        let claims = verdict.unwrap_or_else(|error| panic!("{}: {error}", case.id));
        let guest = snp(&claims);
        let machine = claims.platform.amd().unwrap();
        assert_eq!(machine.product, case.product, "{}", case.id);
        let is_vlek = case.signer == SnpSigner::Vlek;
        assert_eq!(
            (machine.csp_id.is_some(), claims.platform.id().is_none()),
            (is_vlek, is_vlek),
            "{}",
            case.id
        );
        compare(&claims, guest, &case.fields, &case.id);
        // Strictly judged, each of them lacks something.
        let strict = if is_vlek { ["policy.vmpl", "policy.provider_key"] } else { ["policy.revocation"; 2] };
        assert!(strict.contains(&case.code(&case.report, &snp_policy(""))), "{}", case.id);
        assert_eq!(case.code(&case.report, &Policy::strict().allow_every_status()), "policy.snp_floor");
        let id = CollateralId::of_quote(&case.report).unwrap();
        let id = id.amd().unwrap();
        assert_eq!(
            (id.signer, id.tcb(case.product).unwrap()),
            (case.signer, guest.reported_tcb),
            "{}",
            case.id
        );
        assert!(id.product.is_none_or(|product| product == case.product), "{}", case.id);
        verified += 1;
    }
    announce(format_args!("SEV-SNP: {verified} of {} reports verified", cases.len()));
    assert!(verified >= 4);
}

fn compare(claims: &bulla_attest::Claims, guest: &bulla_tee::SnpIdentity, fields: &Value, id: &str) {
    let product = claims.platform.amd().unwrap().product;
    let tcb = |tcb: SnpTcb| hex::encode(crate::pki::tcb(product, tcb));
    let found = json!({
        "measurement": hex::encode(guest.measurement),
        "policy": guest.policy,
        "chip_id": hex::encode(guest.chip_id),
        "guest_svn": guest.guest_svn,
        "family_id": hex::encode(guest.family_id),
        "image_id": hex::encode(guest.image_id),
        "vmpl": guest.vmpl,
        "platform_info": guest.platform_info,
        "report_data": hex::encode(claims.report_data),
        "host_data": hex::encode(guest.host_data),
        "id_key_digest": hex::encode(guest.id_key_digest),
        "author_key_digest": hex::encode(guest.author_key_digest),
        "report_id": hex::encode(guest.report_id),
        "reported_tcb": tcb(guest.reported_tcb),
        "current_tcb": tcb(guest.current_tcb),
        "committed_tcb": tcb(guest.committed_tcb),
        "launch_tcb": tcb(guest.launch_tcb),
        "cpuid_fam": guest.cpuid[0],
        "cpuid_mod": guest.cpuid[1],
        "cpuid_step": guest.cpuid[2],
    });
    let mut compared = 0;
    for (name, value) in found.as_object().unwrap() {
        if let Some(wanted) = fields.get(name) {
            assert_eq!(value, wanted, "{id}: {name}");
            compared += 1;
        }
    }
    assert!(compared >= 3, "{id}");
}

#[test]
fn n62_n63_n66_genuine_reports_changed_and_mixed_are_refused() {
    let cases = cases();
    let good: Vec<_> = cases.iter().filter(|case| case.verifies).collect();
    for case in &good {
        let policy = loose();
        for at in (0..case.report.len()).step_by(3) {
            let mut flipped = case.report.clone();
            flipped[at] ^= 1;
            assert!(case.code(&flipped, &policy).starts_with("snp."), "{} {at}", case.id);
        }
        for length in [0, 1, 4, 0x2A0, 1183] {
            assert_eq!(case.code(&case.report[..length], &policy), "snp.parse", "{} {length}", case.id);
        }
        // s and n - s both verify: a report's bytes are no identity.
        for other in good.iter().filter(|other| other.id != case.id) {
            let whole = case.code_with(&case.report, &other.leaf, &other.issuer, &other.root, &policy);
            let wanted = ["snp.signature", "snp_chain.cert_expired", "snp_chain.untrusted_root"];
            if other.leaf != case.leaf && !case.id.starts_with("own") {
                assert!(wanted.contains(&whole), "{} with the chain of {}: {whole}", case.id, other.id);
            }
            if other.issuer != case.issuer {
                let mixed = case.code_with(&case.report, &case.leaf, &other.issuer, &other.root, &policy);
                let wanted = ["snp_chain.chain_signature", "snp_chain.untrusted_root"];
                assert!(wanted.contains(&mixed), "{} with the issuers of {}: {mixed}", case.id, other.id);
            }
        }
    }
}

#[test]
fn n65_genuine_reports_name_their_machines_or_none() {
    let cases = cases();
    let verified: Vec<_> = cases
        .iter()
        .filter(|case| case.verifies)
        .map(|case| {
            let set = Collateral::snp(case.leaf.clone(), chain_pem(&[&case.issuer, &case.root]), None);
            (case, case.verifier().verify(&case.report, &set, case.now, &loose()).unwrap())
        })
        .collect();
    for (one, claims) in &verified {
        for (other, others) in &verified {
            let same = one.id == other.id && one.signer == SnpSigner::Vcek;
            assert_eq!(claims.platform.same_machine(&others.platform), same, "{} {}", one.id, other.id);
        }
    }
}
