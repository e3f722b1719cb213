//! SEV-SNP reports: the genuine ones, and whatever can be made wrong of our own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]
#![allow(unreachable_pub, reason = "a test's modules are its own")]

#[path = "../common/mod.rs"]
mod common;
mod genuine;
mod pki;
mod simulated;
mod store;

use bulla_attest::{
    AmdProduct, Claims, Collateral, CollateralId, Error, Platform, Policy, SnpSigner, TcbStatus, TrustAnchor,
    Verifier,
};
use bulla_tee::snp::{Report, platform, policy};
use bulla_tee::{Identity, SnpIdentity, SnpTcb};
use zerocopy::IntoBytes;

use self::pki::{
    CHIP, CSP, ISSUER_SERIAL, LEAF_SERIAL, List, NOW, Recipe, TCB, chain_pem, integer, sign, tcb,
};

/// A policy with these lines in its `[snp]` section, and floors of zero.
fn snp_policy(lines: &str) -> Policy {
    let floor = "{ bootloader = 0, tee = 0, snp = 0, microcode = 0 }";
    snp_section(&format!("{lines}\nmin_tcb = {{ Milan = {floor}, Genoa = {floor}, Turin = {floor} }}"))
}

fn snp_section(lines: &str) -> Policy {
    let text = format!("version = 1\nname = \"snp\"\nrevision = 1\n[snp]\n{lines}\n");
    Policy::from_toml(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What evidence of every kind needs to be accepted.
fn loose() -> Policy {
    snp_policy(
        "allow_provider_keys = true\nallow_unknown_revocation = true\nallow_smt = true\nallow_cxl = true\nmax_vmpl = 3",
    )
}

impl Recipe {
    fn verify(&self, report: Report, policy: &Policy) -> Result<Claims, Error> {
        self.verifier().verify(&sign(report), &self.collateral(), NOW, policy)
    }

    fn code(&self, report: Report, policy: &Policy) -> &'static str {
        self.verify(report, policy).map_or_else(|error| error.code(), |_| "ok")
    }

    /// Of a report that fits, under the strictest policy with a floor.
    fn own_code(&self) -> &'static str {
        self.code(self.report(), &snp_policy(""))
    }

    fn at(&self, now: u64) -> &'static str {
        let verdict = self.verifier().verify(&sign(self.report()), &self.collateral(), now, &snp_policy(""));
        verdict.map_or_else(|error| error.code(), |_| "ok")
    }
}

fn snp(claims: &Claims) -> &SnpIdentity {
    let Identity::Snp(guest) = &claims.identity else { panic!("{:?}", claims.identity) };
    guest
}

#[test]
fn evidence_in_order_is_accepted_and_says_everything() {
    for product in AmdProduct::ALL {
        let recipe = Recipe::vcek(product);
        let mut report = recipe.report();
        report.version = 5.into();
        report.guest_svn = 9.into();
        (report.family_id, report.image_id) = ([1; 16], [2; 16]);
        (report.id_key_digest, report.author_key_digest) = ([3; 48], [4; 48]);
        (report.report_id, report.report_id_ma) = ([5; 32], [0xFF; 32]);
        (report.launch_mitigations, report.current_mitigations) = (6.into(), 7.into());
        report.key_info = 1.into();
        let higher = SnpTcb { microcode: 220, ..recipe.certified };
        report.current_tcb = tcb(product, higher);
        let claims = recipe.verify(report, &snp_policy("")).unwrap();
        assert_eq!(claims.report_data, [0xDA; 64]);
        assert_eq!((claims.tcb.status, claims.simulated), (TcbStatus::Unlisted, false));
        // The list's next update is the first to come.
        assert_eq!(claims.valid_until, 1_803_859_200);
        assert_eq!(recipe.collateral().valid_until().unwrap(), claims.valid_until);
        assert_eq!(recipe.collateral().valid_from().unwrap(), 1_798_761_600);
        let wanted = SnpIdentity {
            measurement: [0x3E; 48],
            host_data: [0x40; 32],
            id_key_digest: [3; 48],
            author_key_digest: [4; 48],
            family_id: [1; 16],
            image_id: [2; 16],
            guest_svn: 9,
            policy: 0x2_001F,
            vmpl: 0,
            platform_info: 0b10_0101,
            reported_tcb: recipe.certified,
            current_tcb: higher,
            committed_tcb: recipe.certified,
            launch_tcb: recipe.certified,
            report_id: [5; 32],
            report_id_ma: [0xFF; 32],
            chip_id: report.chip_id,
            cpuid: report.cpuid,
            launch_mitigations: 6,
            current_mitigations: 7,
        };
        assert_eq!(snp(&claims), &wanted);
        let Platform::Amd(machine) = &claims.platform else { panic!("{:?}", claims.platform) };
        assert_eq!((machine.product, machine.csp_id.as_deref()), (product, None));
        assert!(machine.revocation_checked);
        assert_eq!(claims.platform.id(), Some(&report.chip_id[..]));
        assert!(claims.platform.same_machine(&claims.platform));
    }
}

/// B5 to B8: every bit of every byte, and every truncation.
#[test]
fn n62_n66_every_flip_and_every_cut_is_refused() {
    let recipe = Recipe::vcek(AmdProduct::Milan);
    let (verifier, collateral, policy) = (recipe.verifier(), recipe.collateral(), loose());
    let report = sign(recipe.report());
    let code = |bytes: &[u8]| {
        verifier.verify(bytes, &collateral, NOW, &policy).map_or_else(|error| error.code(), |_| "ok")
    };
    assert_eq!(code(&report), "ok");
    for bit in 0..report.len() * 8 {
        let mut flipped = report.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let wanted: &[&str] = match bit / 8 {
            0..4 => &["snp.unsupported_version", "snp.signature", "snp.parse"],
            0x48..0x4C => &["snp.signature", "snp.parse", "snp.signer_mismatch"],
            0x2A0..0x2D0 | 0x2E8..0x318 => &["snp.signature"],
            0x2A0.. => &["snp.parse"],
            _ => &["snp.signature", "snp.parse"],
        };
        assert!(wanted.contains(&code(&flipped)), "bit {bit}: {}", code(&flipped));
    }
    for length in 0..report.len() {
        assert_eq!(code(&report[..length]), "snp.parse", "{length}");
        assert!(CollateralId::of_quote(&report[..length]).is_err());
    }
    for more in [&[0][..], &[1], &[0; 4096]] {
        assert_eq!(code(&[&report, more].concat()), "snp.parse");
    }
}

#[test]
fn n66_r32_only_known_versions_are_read_and_their_reserved_bytes_are_zero() {
    let recipe = Recipe::vcek(AmdProduct::Genoa);
    let with = |version: u32, change: &dyn Fn(&mut Report)| {
        let mut report = recipe.report();
        report.version = version.into();
        if version < 3 {
            report.cpuid = [0; 3];
        }
        change(&mut report);
        recipe.code(report, &loose())
    };
    for version in [0, 1, 4, 6, 0x0100, 0x1_0003, u32::MAX] {
        assert_eq!(with(version, &|_| {}), "snp.unsupported_version", "{version}");
    }
    for version in [2, 3, 5] {
        assert_eq!(with(version, &|_| {}), "ok", "{version}");
        for (name, change) in [
            ("after key_info", &(|report: &mut Report| report.reserved0[3] = 1) as &dyn Fn(&mut Report)),
            ("key_info", &|report| report.key_info = 0x20.into()),
            ("after cpuid", &|report| report.reserved1[20] = 1),
            ("versions", &|report| report.reserved2 = 1),
            ("versions", &|report| report.reserved3 = 1),
            ("before the signature", &|report| report.reserved4[151] = 1),
            ("after the signature", &|report| report.reserved5[367] = 1),
            ("reported", &|report| report.reported_tcb[3] = 1),
            ("current", &|report| report.current_tcb[2] = 1),
            ("committed", &|report| report.committed_tcb[5] = 1),
            ("launch", &|report| report.launch_tcb[4] = 1),
        ] {
            assert_eq!(with(version, change), "snp.parse", "{version} {name}");
        }
        assert_eq!(with(version, &|report| report.signature_algo = 0.into()), "snp.parse");
        assert_eq!(with(version, &|report| report.signature_algo = 2.into()), "snp.parse");
        let cpuid = with(version, &|report| report.cpuid = [0x19, 0x11, 1]);
        assert_eq!(cpuid, if version < 3 { "snp.parse" } else { "ok" });
        for change in [
            &(|report: &mut Report| report.launch_mitigations = 1.into()) as &dyn Fn(&mut Report),
            &|report| report.current_mitigations = (1 << 63).into(),
        ] {
            assert_eq!(with(version, change), if version < 5 { "snp.parse" } else { "ok" });
        }
    }
}

#[test]
fn who_signed_is_who_the_report_says() {
    let (vcek, vlek) = (Recipe::vcek(AmdProduct::Milan), Recipe::vlek(AmdProduct::Milan));
    let with = |recipe: &Recipe, key_info: u32| {
        let report = Report { key_info: key_info.into(), chip_id: [0; 64], ..recipe.report() };
        recipe.code(report, &loose())
    };
    assert_eq!((with(&vcek, 0), with(&vlek, 0b100)), ("ok", "ok"));
    // A VLEK's report under a VCEK's certificate and the reverse; 7 is "no signature", the rest is not given out.
    for (recipe, own) in [(&vcek, 0), (&vlek, 1)] {
        for signer in (0..8).filter(|signer| *signer != own) {
            assert_eq!(with(recipe, signer << 2), "snp.signer_mismatch", "{signer}");
        }
        // The machine hides its keys (MASK_CHIP_KEY): whatever signed, it is no report.
        assert_eq!(with(recipe, own << 2 | 0b10), "snp.signer_mismatch");
    }
    // The issuer's name says what it may issue, and for which family.
    for (recipe, name) in [
        (&vcek, "SEV-VLEK-Milan"),
        (&vcek, "SEV-Genoa"),
        (&vlek, "SEV-Milan"),
        (&vlek, "SEV-VLEK-Turin"),
        (&vcek, "ARK-Milan"),
    ] {
        let recipe = Recipe { issuer_name: Some(name), ..recipe.clone() };
        assert_eq!(recipe.code(recipe.report(), &loose()), "snp_chain.chain", "{name}");
    }
    // A key for a chip and a provider, or for neither.
    let both = Recipe { csp_id: Some(CSP), ..vcek.clone() };
    let neither = Recipe { hwid: None, ..vcek };
    assert_eq!((both.own_code(), neither.own_code()), ("snp_chain.parse", "snp_chain.parse"));
}

#[test]
fn n63_n64_r36_the_certificate_is_for_this_chip_and_this_tcb() {
    for product in AmdProduct::ALL {
        let recipe = Recipe::vcek(product);
        assert_eq!(recipe.own_code(), "ok");
        let mut parts = vec![
            SnpTcb { bootloader: 5, ..recipe.certified },
            SnpTcb { tee: 0, ..recipe.certified },
            SnpTcb { snp: 23, ..recipe.certified },
            SnpTcb { snp: 25, ..recipe.certified },
            SnpTcb { microcode: 220, ..recipe.certified },
        ];
        if product == AmdProduct::Turin {
            parts.push(SnpTcb { fmc: 4, ..recipe.certified });
        }
        for other in parts {
            let report = Report { reported_tcb: tcb(product, other), ..recipe.report() };
            assert_eq!(recipe.code(report, &loose()), "snp.tcb_mismatch", "{other}");
        }
        for at in 0..64 {
            let mut report = recipe.report();
            report.chip_id[at] ^= 1;
            assert_eq!(recipe.code(report, &loose()), "snp.chip_mismatch", "{product:?} {at}");
        }
        // A machine that hides its chip id is genuine, and nameless (MASK_CHIP_ID).
        let claims = recipe.verify(Report { chip_id: [0; 64], ..recipe.report() }, &snp_policy("")).unwrap();
        assert_eq!(claims.platform.id(), None);
        assert!(!claims.platform.same_machine(&claims.platform));

        // The layouts of certificates.
        let of = |change: &dyn Fn(&mut Recipe)| {
            let mut recipe = recipe.clone();
            change(&mut recipe);
            recipe.own_code()
        };
        for number in [1, 2, 3, 8] {
            assert_eq!(of(&|it| it.missing_spl = Some(number)), "snp_chain.parse", "{number}");
            let again = (vec![3, number], integer(1));
            assert_eq!(of(&|it| it.extensions = vec![again.clone()]), "snp_chain.parse", "{number} twice");
        }
        for number in [4, 5, 6, 7] {
            assert_eq!(of(&|it| it.extensions = vec![(vec![3, number], integer(0))]), "ok");
            assert_eq!(of(&|it| it.extensions = vec![(vec![3, number], integer(1))]), "snp_chain.parse");
        }
        let fmc = |value: u8| of(&|it| it.extensions = vec![(vec![3, 9], integer(value))]);
        if product == AmdProduct::Turin {
            assert_eq!((of(&|it| it.missing_spl = Some(9)), fmc(3)), ("snp_chain.parse", "snp_chain.parse"));
        } else {
            assert_eq!((fmc(0), fmc(1)), ("ok", "snp_chain.parse"));
        }
        for length in [0, 7, 8, 9, 63, 64, 65] {
            let right = length == if product == AmdProduct::Turin { 8 } else { 64 };
            let wanted = if right { "ok" } else { "snp_chain.parse" };
            assert_eq!(of(&|it| it.hwid = Some(vec![CHIP[0]; length])), wanted, "{length}");
        }
        assert_eq!(of(&|it| it.hwid.as_mut().unwrap().fill(0)), "snp_chain.parse");
    }
    // Layouts differ between families, so a report of one is not read as one of the other.
    let (milan, turin) = (Recipe::vcek(AmdProduct::Milan), Recipe::vcek(AmdProduct::Turin));
    let report = Report { reported_tcb: milan.report().reported_tcb, ..turin.report() };
    assert_eq!(turin.code(report, &loose()), "snp.parse");
}

#[test]
fn n65_a_key_of_a_provider_names_no_machine() {
    let recipe = Recipe::vlek(AmdProduct::Genoa);
    let claims = recipe.verify(recipe.report(), &snp_policy("allow_provider_keys = true")).unwrap();
    let Platform::Amd(machine) = &claims.platform else { panic!("{:?}", claims.platform) };
    assert_eq!((machine.chip_id, machine.csp_id.as_deref()), (None, Some(CSP)));
    assert_eq!(claims.platform.id(), None);
    let error = claims.platform.require_same_machine(&claims.platform).unwrap_err();
    assert_eq!(error.code(), "platform.mismatch");
    assert_eq!(recipe.own_code(), "policy.provider_key");
    // It cannot name one either, nor its provider by what is no text.
    let report = Report { chip_id: CHIP, ..recipe.report() };
    assert_eq!(recipe.code(report, &loose()), "snp.chip_mismatch");
    for name in ["", "a\nb", "\u{e9}"] {
        let recipe = Recipe { csp_id: Some(name), ..recipe.clone() };
        assert_eq!(recipe.code(recipe.report(), &loose()), "snp_chain.parse", "{name:?}");
    }
}

#[test]
fn r28_lists_are_judged() {
    let recipe = Recipe::vcek(AmdProduct::Milan);
    let list = |change: &dyn Fn(&mut List)| {
        let mut recipe = recipe.clone();
        change(recipe.crl.as_mut().unwrap());
        recipe.own_code()
    };
    assert_eq!(list(&|_| {}), "ok");
    assert_eq!(list(&|list| list.revoked = vec![1, ISSUER_SERIAL]), "revoked");
    // Other certificates of the root's, and the serial number of every VCEK, which the root does not issue.
    assert_eq!(list(&|list| list.revoked = vec![ISSUER_SERIAL + 1, LEAF_SERIAL]), "ok");
    assert_eq!(list(&|list| list.by_root = false), "snp_crl.signature");
    assert_eq!(list(&|list| list.window.1 = "270115080000Z"), "snp_crl.expired");
    assert_eq!(list(&|list| list.window.1 = "270115080001Z"), "ok");
    assert_eq!(list(&|list| list.window.0 = "270115080001Z"), "snp_crl.not_yet_valid");
    assert_eq!(list(&|list| list.window.0 = "270115080000Z"), "ok");
    let vlek = Recipe { crl: recipe.crl.clone(), ..Recipe::vlek(AmdProduct::Milan) };
    let mut revoked = vlek.clone();
    revoked.crl.as_mut().unwrap().revoked = vec![ISSUER_SERIAL];
    assert_eq!(
        (vlek.code(vlek.report(), &loose()), revoked.code(revoked.report(), &loose())),
        ("ok", "revoked")
    );

    // None, another root's, something else, something changed.
    let none = Recipe { crl: None, ..recipe.clone() };
    assert_eq!(none.own_code(), "policy.revocation");
    let claims = none.verify(none.report(), &snp_policy("allow_unknown_revocation = true")).unwrap();
    assert!(claims.platform.amd().is_some_and(|machine| !machine.revocation_checked));
    let [root, issuer, leaf] = recipe.certificates();
    let with = |crl: Vec<u8>| {
        let collateral = Collateral::snp(leaf.clone(), chain_pem(&[&issuer, &root]), Some(crl));
        let verdict = recipe.verifier().verify(&sign(recipe.report()), &collateral, NOW, &loose());
        verdict.map_or_else(|error| error.code(), |_| "ok")
    };
    // A list that is there is judged, also by a policy that needs none.
    let other = Recipe::vcek(AmdProduct::Genoa).list().unwrap();
    assert_eq!(with(other), "snp_crl.wrong_issuer");
    assert_eq!((with(Vec::new()), with(root.clone())), ("snp_crl.parse", "snp_crl.parse"));
    let good = recipe.list().unwrap();
    assert_eq!((with(good.clone()), with([&good[..], &[0]].concat())), ("ok", "snp_crl.parse"));
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        let code = with(flipped.clone());
        assert!(
            code.starts_with("snp_crl."),
            "{at}: {code} {}",
            hex::encode(&flipped[at.saturating_sub(20)..at + 10])
        );
    }
}

#[test]
fn certificates_have_their_time() {
    let recipe = Recipe::vcek(AmdProduct::Turin);
    for place in ["leaf", "issuer", "root"] {
        for (window, wanted) in [
            (("270101000000Z", "270115080000Z"), "snp_chain.cert_expired"),
            (("270101000000Z", "270115080001Z"), "ok"),
            (("270115080000Z", "280101000000Z"), "ok"),
            (("270115080001Z", "280101000000Z"), "snp_chain.cert_expired"),
        ] {
            let mut recipe = recipe.clone();
            match place {
                "leaf" => recipe.leaf_window = window,
                "issuer" => recipe.issuer_window = window,
                _ => recipe.root_window = window,
            }
            assert_eq!(recipe.at(NOW), wanted, "{place} {window:?}");
            if wanted == "ok" {
                let claims = recipe.verify(recipe.report(), &snp_policy("")).unwrap();
                assert_eq!(claims.valid_until, recipe.collateral().valid_until().unwrap());
            }
        }
    }
    for now in [0, u64::MAX, 1 << 62] {
        assert_eq!(recipe.at(now), "snp_chain.cert_expired", "{now}");
    }
}

#[test]
fn r27_n63_only_the_pinned_root_and_what_it_issued() {
    let recipe = Recipe::vcek(AmdProduct::Milan);
    let [root, issuer, leaf] = recipe.certificates();
    let with = |verifier: &Verifier, leaf: &[u8], chain: &[&[u8]]| {
        let collateral = Collateral::snp(leaf.to_vec(), chain_pem(chain), recipe.list());
        let verdict = verifier.verify(&sign(recipe.report()), &collateral, NOW, &loose());
        verdict.map_or_else(|error| error.code(), |_| "ok")
    };
    let own = Verifier::new(TrustAnchor::intel())
        .with_amd(AmdProduct::Milan, TrustAnchor::from_der(&root).unwrap());
    assert_eq!(with(&own, &leaf, &[&issuer, &root]), "ok");
    // Names alone are worth nothing.
    assert_eq!(with(&Verifier::vendors(), &leaf, &[&issuer, &root]), "snp_chain.untrusted_root");
    assert_eq!(
        with(&Verifier::new(TrustAnchor::intel()), &leaf, &[&issuer, &root]),
        "snp_chain.untrusted_root"
    );
    let as_intel = Verifier::new(TrustAnchor::from_der(&root).unwrap());
    assert_eq!(with(&as_intel, &leaf, &[&issuer, &root]), "snp_chain.untrusted_root");
    // The root of another family.
    let as_genoa = Verifier::vendors().with_amd(AmdProduct::Genoa, TrustAnchor::from_der(&root).unwrap());
    assert_eq!(with(&as_genoa, &leaf, &[&issuer, &root]), "snp_chain.chain");
    // Shapes.
    let [_, asvk, vlek] = Recipe::vlek(AmdProduct::Milan).certificates();
    for (name, leaf, chain, wanted) in [
        ("no root", &leaf, vec![&issuer[..]], "snp_chain.untrusted_root"),
        ("no issuer", &leaf, vec![&root], "snp_chain.chain"),
        ("reversed", &leaf, vec![&root, &issuer], "snp_chain.untrusted_root"),
        ("issuer twice", &leaf, vec![&issuer, &issuer, &root], "snp_chain.chain"),
        ("leaf twice", &leaf, vec![&leaf, &issuer, &root], "snp_chain.chain"),
        ("CA as leaf", &issuer, vec![&issuer, &root], "snp_chain.chain"),
        ("ASVK for ASK", &leaf, vec![&asvk, &root], "snp_chain.chain_signature"),
        ("ASK for ASVK", &vlek, vec![&issuer, &root], "snp_chain.chain_signature"),
        ("VLEK for VCEK", &vlek, vec![&asvk, &root], "snp.signer_mismatch"),
        ("too many", &leaf, vec![&root; 9], "snp_chain.chain"),
    ] {
        assert_eq!(with(&own, leaf, &chain), wanted, "{name}");
    }
    for (leaf, wanted) in [
        (&b""[..], "snp_chain.chain"),
        (&leaf[1..], "snp_chain.chain"),
        (&[&leaf[..], &[0]].concat(), "snp_chain.chain"),
    ] {
        assert_eq!(with(&own, leaf, &[&issuer, &root]), wanted);
    }
    // Another salt than the 48 bytes that are claimed nowhere else.
    let salted = Recipe { salt: 32, ..recipe.clone() };
    assert_eq!(salted.own_code(), "snp_chain.chain_signature");
    // Every byte of leaf and issuer.
    for at in 0..leaf.len() {
        let mut flipped = leaf.clone();
        flipped[at] ^= 1;
        let code = with(&own, &flipped, &[&issuer, &root]);
        assert!(code.starts_with("snp_chain."), "leaf {at}: {code}");
    }
    for at in 0..issuer.len() {
        let mut flipped = issuer.clone();
        flipped[at] ^= 1;
        assert!(with(&own, &leaf, &[&flipped, &root]).starts_with("snp_chain."), "issuer {at}");
    }
}

#[test]
fn every_bit_of_the_guests_policy() {
    let recipe = Recipe::vcek(AmdProduct::Genoa);
    let code = |policy: u64, appraisal: &Policy| {
        recipe.code(Report { policy: policy.into(), ..recipe.report() }, appraisal)
    };
    let strict = snp_policy("");
    let base = policy::RESERVED_ONE;
    assert_eq!(code(base, &strict), "ok");
    for bit in 0..64 {
        let wanted = match bit {
            0..=15 | 20 | 22..=25 => ("ok", "ok"),
            16 => ("policy.smt", "ok"),
            18 => ("policy.migratable", "policy.migratable"),
            19 => ("policy.debug", "policy.debug"),
            21 => ("policy.cxl", "ok"),
            _ => ("policy.reserved_attributes", "policy.reserved_attributes"),
        };
        let found = (code(base ^ 1 << bit, &strict), code(base ^ 1 << bit, &loose()));
        assert_eq!(found, wanted, "bit {bit}");
    }
    for (name, bit, refused) in [
        ("require_single_socket", policy::SINGLE_SOCKET, "policy.single_socket"),
        ("require_aes_256_xts", policy::MEM_AES_256_XTS, "policy.aes_256_xts"),
        ("require_rapl_disabled", policy::RAPL_DISABLED, "policy.rapl"),
        ("require_ciphertext_hiding", policy::CIPHERTEXT_HIDING, "policy.ciphertext_hiding"),
        ("require_page_swap_disabled", policy::PAGE_SWAP_DISABLED, "policy.page_swap"),
    ] {
        let appraisal = snp_policy(&format!("{name} = true"));
        assert_eq!((code(base, &appraisal), code(base | bit, &appraisal)), (refused, "ok"), "{name}");
        let others =
            policy::KNOWN & !(policy::DEBUG | policy::MIGRATE_MA | policy::SMT | policy::CXL_ALLOW | bit);
        assert_eq!(code(others, &appraisal), refused, "{name}");
    }
}

#[test]
fn every_bit_of_the_platforms_info() {
    let recipe = Recipe::vcek(AmdProduct::Turin);
    let code = |info: u64, appraisal: &Policy| {
        recipe.code(Report { platform_info: info.into(), ..recipe.report() }, appraisal)
    };
    for bit in 0..64 {
        let known = (0..=5).contains(&bit) || bit == 7;
        let wanted = if known { "ok" } else { "policy.reserved_attributes" };
        assert_eq!(code(1 << bit, &snp_policy("")), wanted, "bit {bit}");
    }
    let checked = snp_policy("require_alias_check = true");
    let all = platform::KNOWN;
    assert_eq!(
        (code(all, &checked), code(all & !platform::ALIAS_CHECK_COMPLETE, &checked)),
        ("ok", "policy.alias_check")
    );
}

#[test]
fn a_report_is_asked_for_from_enough_privilege_and_not_by_the_host() {
    let recipe = Recipe::vcek(AmdProduct::Milan);
    for limit in 0..=3 {
        let policy = snp_policy(&format!("max_vmpl = {limit}"));
        for vmpl in [0, 1, 2, 3, 4, u32::MAX] {
            let code = recipe.code(Report { vmpl: vmpl.into(), ..recipe.report() }, &policy);
            assert_eq!(code, if vmpl <= limit { "ok" } else { "policy.vmpl" }, "{vmpl} under {limit}");
        }
    }
}

#[test]
fn the_floor_is_the_policys_and_each_part_of_each_tcb_counts() {
    let recipe = Recipe::vcek(AmdProduct::Turin);
    let floor = |tcb: SnpTcb| {
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = tcb;
        snp_section(&format!(
            "min_tcb.Turin = {{ fmc = {fmc}, bootloader = {bootloader}, tee = {tee}, snp = {snp}, microcode = {microcode} }}"
        ))
    };
    let own = recipe.certified;
    assert_eq!(recipe.code(recipe.report(), &floor(own)), "ok");
    for above in [
        SnpTcb { fmc: own.fmc + 1, ..own },
        SnpTcb { bootloader: own.bootloader + 1, ..own },
        SnpTcb { tee: own.tee + 1, ..own },
        SnpTcb { snp: own.snp + 1, ..own },
        SnpTcb { microcode: own.microcode + 1, ..own },
    ] {
        let error = recipe.verify(recipe.report(), &floor(above)).unwrap_err();
        assert_eq!(
            (error.code(), error.class()),
            ("policy.snp_floor", bulla_crypto::Class::TooOld),
            "{above}"
        );
        assert!(error.to_string().contains("Turin"), "{error}");
    }
    // Parts do not make up for each other.
    let uneven = SnpTcb { snp: own.snp - 1, microcode: 255, ..own };
    assert_eq!(recipe.code(recipe.report(), &floor(uneven)), "policy.snp_floor");
    // What the machine can go back to, and what ran when the guest was launched.
    let below = tcb(AmdProduct::Turin, SnpTcb { snp: own.snp - 1, ..own });
    let changes: [&dyn Fn(&mut Report); 3] =
        [&|report| report.current_tcb = below, &|report| report.committed_tcb = below, &|report| {
            report.launch_tcb = below
        }];
    for change in changes {
        let mut report = recipe.report();
        change(&mut report);
        assert_eq!(recipe.code(report, &floor(own)), "policy.snp_floor");
        assert_eq!(recipe.code(report, &floor(SnpTcb { snp: own.snp - 1, ..own })), "ok");
    }
    // What the machine says that it runs, when it could say more.
    let modest = Recipe { certified: SnpTcb { snp: own.snp - 1, ..own }, ..recipe.clone() };
    let mut report = modest.report();
    let above = tcb(AmdProduct::Turin, own);
    (report.current_tcb, report.committed_tcb, report.launch_tcb) = (above, above, above);
    assert_eq!(modest.code(report, &floor(own)), "policy.snp_floor");
    assert_eq!(modest.code(report, &floor(modest.certified)), "ok");
    // AMD publishes no levels: without a floor for the family nothing is acceptable.
    let milan = "min_tcb.Milan = { bootloader = 0, tee = 0, snp = 0, microcode = 0 }";
    assert_eq!(recipe.code(recipe.report(), &snp_section(milan)), "policy.snp_floor");
    for policy in [Policy::strict(), Policy::strict().allow_every_status().allow_simulated()] {
        assert_eq!(recipe.code(recipe.report(), &policy), "policy.snp_floor");
    }
}

#[test]
fn machines_and_registers_are_appraised_like_those_of_others() {
    let floor = "{ bootloader = 0, tee = 0, snp = 0, microcode = 0 }";
    let policy = |more: &str| {
        let snp = format!("[snp]\nallow_provider_keys = true\nmin_tcb.Milan = {floor}");
        let text = format!("version = 1\nname = \"snp\"\nrevision = 1\n{more}\n{snp}\n");
        Policy::from_toml(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let (vcek, vlek) = (Recipe::vcek(AmdProduct::Milan), Recipe::vlek(AmdProduct::Milan));
    let listed = policy(&format!("[platforms]\nchip_id = [{:?}]", hex::encode(CHIP)));
    let other = policy(&format!("[platforms]\nchip_id = [{:?}]", hex::encode([9; 64])));
    for (name, recipe, policy, accepted) in [
        ("listed", &vcek, &listed, true),
        ("another", &vcek, &other, false),
        ("none", &vcek, &policy("[platforms]"), false),
        ("nameless", &vlek, &listed, false),
        ("no list", &vlek, &policy(""), true),
    ] {
        let code = recipe.code(recipe.report(), policy);
        assert_eq!(code == "ok", accepted, "{name}: {code}");
        assert!(accepted || code.starts_with("policy."), "{name}: {code}");
    }
    for (name, value, accepted) in [
        ("measurement", hex::encode([0x3E; 48]), true),
        ("measurement", hex::encode([0x3F; 48]), false),
        ("host_data", hex::encode([0x40; 32]), true),
        ("host_data", hex::encode([0; 32]), false),
    ] {
        let policy = policy(&format!("[registers.guest]\n{name} = [{value:?}]"));
        assert_eq!(vcek.code(vcek.report(), &policy) == "ok", accepted, "{name} {value}");
    }
}

#[test]
fn evidence_and_collateral_are_of_one_kind() {
    let recipe = Recipe::vcek(AmdProduct::Milan);
    let report = sign(recipe.report());
    let names = [
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    ];
    let items: Vec<_> = names.iter().map(|name| format!("{name:?}:\"00\"")).collect();
    let intel = Collateral::from_json(format!("{{{}}}", items.join(",")).as_bytes()).unwrap();
    let code = recipe.verifier().verify(&report, &intel, NOW, &loose()).unwrap_err().code();
    assert!(code.starts_with("parse."), "{code}");
    let quote = [&[4, 0, 2, 0][..], &[0; 2000]].concat();
    assert_eq!(
        recipe.verifier().verify(&quote, &recipe.collateral(), NOW, &loose()).unwrap_err().code(),
        "snp.parse"
    );

    // The layout is written as it is read, strictly (R17, R19).
    for recipe in [recipe.clone(), Recipe { crl: None, ..recipe }] {
        let set = recipe.collateral();
        assert_eq!(Collateral::from_json(set.to_json().as_bytes()).unwrap(), set);
    }
    let code =
        |json: &str| Collateral::from_json(json.as_bytes()).map_or_else(|error| error.code(), |_| "ok");
    assert_eq!(code(r#"{"snp_leaf":"00","snp_issuer_chain":""}"#), "ok");
    assert_eq!(code(r#"{"snp_leaf":"00"}"#), "collateral.incomplete");
    assert_eq!(code(r#"{"snp_issuer_chain":"","snp_crl":"00"}"#), "collateral.incomplete");
    assert_eq!(code(r#"{"snp_leaf":"0","snp_issuer_chain":""}"#), "collateral.parse");
    assert_eq!(code(r#"{"snp_leaf":"00","snp_issuer_chain":"","snp_crl":"x"}"#), "collateral.parse");
    assert_eq!(code(r#"{"snp_leaf":"00","snp_issuer_chain":"","snp_leaf":"00"}"#), "collateral.parse");
    for name in names.iter().chain(&["pck_certificate_chain", "x"]) {
        let json = format!(r#"{{"snp_leaf":"00","snp_issuer_chain":"",{name:?}:"00"}}"#);
        assert_eq!(code(&json), "collateral.parse", "{name}");
    }
}

#[test]
fn an_id_of_a_report_says_what_to_fetch() {
    for product in AmdProduct::ALL {
        for recipe in [Recipe::vcek(product), Recipe::vlek(product)] {
            let report = recipe.report();
            let id = CollateralId::of_quote(report.as_bytes()).unwrap();
            let id = id.amd().unwrap();
            assert_eq!((id.signer, id.product), (recipe.signer, Some(product)));
            assert_eq!((id.chip_id, id.tcb(product).unwrap()), (report.chip_id, recipe.certified));
        }
    }
    let old = Report { version: 2.into(), cpuid: [0; 3], ..Recipe::vcek(AmdProduct::Milan).report() };
    let id = CollateralId::of_quote(old.as_bytes()).unwrap();
    assert_eq!(id.amd().map(|id| (id.product, id.tcb(AmdProduct::Milan).unwrap())), Some((None, TCB)));
    for (cpuid, product) in [
        ([0x19, 0x0F, 0], Some(AmdProduct::Milan)),
        ([0x19, 0x10, 0], Some(AmdProduct::Genoa)),
        ([0x19, 0xA0, 2], Some(AmdProduct::Genoa)),
        ([0x19, 0x20, 0], None),
        ([0x1A, 0x11, 0], Some(AmdProduct::Turin)),
        ([0x17, 0x31, 0], None),
    ] {
        let report = Report { cpuid, ..Recipe::vcek(AmdProduct::Milan).report() };
        assert_eq!(
            CollateralId::of_quote(report.as_bytes()).unwrap().amd().unwrap().product,
            product,
            "{cpuid:02x?}"
        );
    }
    assert_eq!(SnpSigner::Vlek.as_str(), "VLEK");
}
