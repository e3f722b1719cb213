//! Collateral does not go back, nor does time (R29, R30; B11, B14).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use bulla_attest::collateral::{Bundle, Facts, Floor, ItemId, Minimum};
use bulla_attest::{
    Collateral, CollateralId, Error, IntelCollateralId, PckCa, TeeKind, TrustAnchor, Verifier,
};
use common::{Vectors, loose};
use serde_json::Value;

fn set(json: &Value) -> Collateral {
    Collateral::from_json(json.to_string().as_bytes()).unwrap()
}

fn facts(json: &Value, now: u64) -> Result<Facts, Error> {
    let set = set(json);
    Verifier::new(TrustAnchor::intel()).check_collateral(&set.intel_id()?, &set, now)
}

fn floor(minimum: Minimum) -> Floor {
    Floor::new(&TrustAnchor::intel(), minimum)
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

/// Every genuine set verifies without its quote, for what its quote asks for.
#[test]
fn sets_verify_without_a_quote() {
    let mut judged = 0;
    for vector in &Vectors::load().quotes {
        for case in &vector.cases {
            let Ok(id) = CollateralId::of_quote(&vector.quote) else { continue };
            let set = set(&case.collateral);
            let code = code(Verifier::new(TrustAnchor::intel()).check_collateral(&id, &set, case.now));
            let version2 = case.label.contains("tcbinfo-v2");
            assert_eq!(code, if version2 { "tcb_info.unsupported_version" } else { "ok" }, "{}", case.label);
            judged += 1;
        }
    }
    assert!(judged >= 2);
}

/// R29: of two sets that are valid in the same second, the kinder one is refused once the other was seen.
#[test]
fn r29_the_older_of_two_valid_sets_is_refused_after_the_newer() {
    let vectors = Vectors::load();
    if !vectors.is_full() {
        return r29_on_a_simulated_machine();
    }
    for (id, numbers) in [("sgx-v3-05", [17, 19]), ("tdx-v4-10", [17, 18])] {
        let vector = vectors.get(id);
        let [older, newer] = vector.cases.as_slice() else { panic!("two cases") };
        let now = newer.now.min(older.now).max(newer.now);
        let seen = facts(&newer.collateral, newer.now).unwrap();
        assert_eq!(seen.evaluation_number(), Some(numbers[1]));
        let mut floor = floor(Minimum::NONE);
        assert!(floor.raise(&seen) && !floor.raise(&seen));

        let below = facts(&older.collateral, older.now).unwrap();
        let error = floor.check(&below).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.code(), "collateral.rollback");
        assert!(
            text.contains("tcb-info-")
                && text.contains("number 17")
                && text.contains(&numbers[1].to_string())
        );

        let verifier = Verifier::new(TrustAnchor::intel());
        let old = set(&older.collateral);
        assert_eq!(code(verifier.verify(&vector.quote, &old, older.now, &loose())), "ok", "stateless");
        let above = verifier.with_floor(floor.clone());
        let verdict = code(above.verify(&vector.quote, &old, now, &loose()));
        assert!(["collateral.rollback", "tcb_info.expired"].contains(&verdict), "{verdict}");
        assert_eq!(code(above.verify(&vector.quote, &set(&newer.collateral), newer.now, &loose())), "ok");

        // The other way round, the newer one is welcome.
        let mut floor = Floor::new(&TrustAnchor::intel(), Minimum::NONE);
        assert!(floor.raise(&below) && floor.check(&seen).is_ok() && floor.raise(&seen));
        assert_eq!(code(floor.check(&below)), "collateral.rollback");
    }
}

fn r29_on_a_simulated_machine() {
    use bulla_sim::{Edition, Machine, Recovery, TeeType};
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::create(dir.path().join("machine")).unwrap();
    let now = 1_800_000_000;
    let recovery =
        Recovery { at: now - 5, standard_at: now + 5, microcode: 3, tdx_module: 5, advisory: "A".into() };
    machine.tcb_recovery(&recovery).unwrap();
    let verifier = Verifier::new(TrustAnchor::from_der(&machine.root_der()).unwrap());
    let [older, newer] = [Edition::Standard, Edition::Early].map(|edition| {
        let json = machine.collateral_of(TeeType::Tdx, edition, now).unwrap();
        let set = Collateral::from_json(json.as_bytes()).unwrap();
        verifier.check_collateral(&set.intel_id().unwrap(), &set, now).unwrap()
    });
    let mut floor = Floor::new(&TrustAnchor::from_der(&machine.root_der()).unwrap(), Minimum::NONE);
    floor.raise(&newer);
    assert_eq!(code(floor.check(&older)), "collateral.rollback");
}

/// R29: what is set counts beside what was seen; the highest of both.
#[test]
fn r29_a_minimum_that_is_set_counts_like_one_that_was_seen() {
    let vectors = Vectors::load();
    let case = vectors
        .quotes
        .iter()
        .flat_map(|vector| &vector.cases)
        .find(|case| facts(&case.collateral, case.now).is_ok());
    let case = case.unwrap();
    let seen = facts(&case.collateral, case.now).unwrap();
    let number = u32::try_from(seen.evaluation_number().unwrap()).unwrap();
    for (evaluation_number, wanted) in [(0, "ok"), (number, "ok"), (number + 1, "collateral.rollback")] {
        let minimum = Minimum { time: 0, evaluation_number };
        assert_eq!(code(floor(minimum).check(&seen)), wanted);
        let joined = Minimum::NONE.highest(minimum).highest(Minimum::NONE);
        assert_eq!(joined, minimum);
    }
}

/// R30, B14: a clock at 1970, before the release, before what a signature proves, and in 2106.
#[test]
fn r30_a_clock_below_the_floor_is_refused() {
    let vectors = Vectors::load();
    let vector = &vectors.quotes.iter().find(|vector| !vector.cases.is_empty()).unwrap();
    let case = &vector.cases[0];
    let seen = facts(&case.collateral, case.now).unwrap();
    let mut floor = floor(Minimum::NONE);
    assert_eq!(code(floor.check_time(0)), "ok", "nothing is known yet");
    floor.raise(&seen);
    assert_eq!(floor.time(), seen.issued());
    let above = Verifier::new(TrustAnchor::intel()).with_floor(floor.clone());
    let at = |now| code(above.check_collateral(seen.id(), &set(&case.collateral), now));
    for (now, wanted) in [
        (0, "clock.below_floor"),
        (seen.issued() - 1, "clock.below_floor"),
        (seen.issued(), "ok"),
        (seen.valid_until() - 1, "ok"),
    ] {
        assert_eq!(at(now), wanted, "{now}");
        let verdict = code(above.verify(&vector.quote, &set(&case.collateral), now, &loose()));
        assert_eq!(verdict == "clock.below_floor", wanted == "clock.below_floor", "{now} {verdict}");
    }
    for now in [seen.valid_until(), 4_300_000_000, u64::MAX] {
        assert!(at(now).ends_with("expired"), "{now} {}", at(now));
    }
    // Claims say what they rest on.
    let claims = above.verify(&vector.quote, &set(&case.collateral), case.now, &loose()).unwrap();
    let basis = claims.basis;
    assert_eq!((basis.time, basis.issued, basis.floor), (case.now, Some(seen.issued()), Some(seen.issued())));
    let stateless = common::verify(&vector.quote, &case.collateral, case.now, &loose()).unwrap();
    assert_eq!((stateless.basis.floor, stateless.basis.issued), (None, Some(seen.issued())));
    // The release's own time holds for Intel's root, from the first moment on.
    let release = Minimum::release(&TrustAnchor::intel());
    assert!(release.time > 1_700_000_000 && release.evaluation_number > 0);
    let floor = Floor::new(&TrustAnchor::intel(), release);
    assert_eq!(code(floor.check_time(release.time - 1)), "clock.below_floor");
    assert_eq!(code(floor.check_time(release.time)), "ok");
}

/// A platform that was found good is found too old when the floor has risen since, without another look at its quote.
#[test]
fn r29_what_was_found_good_is_held_against_the_floor_of_now() {
    let vectors = Vectors::load();
    let vector = vectors.quotes.iter().find(|vector| !vector.cases.is_empty()).unwrap();
    let case = &vector.cases[0];
    let set = set(&case.collateral);
    let verifier = Verifier::new(TrustAnchor::intel());
    let risen = Minimum { time: 0, evaluation_number: 99 };
    let verdict = |verifier: &Verifier| code(verifier.verify(&vector.quote, &set, case.now, &loose()));
    assert_eq!((verdict(&verifier), verdict(&verifier)), ("ok", "ok"));
    assert_eq!(verifier.remembered().hits, 1);
    let above = verifier.with_floor(floor(risen));
    assert_eq!(verdict(&above), "collateral.rollback");
    assert_eq!(above.remembered().hits, 2);
    let later = Minimum { time: case.now + 1, evaluation_number: 0 };
    assert_eq!(verdict(&above.with_floor(floor(later))), "clock.below_floor");
}

/// A floor only rises, also when floors meet, and remembers nothing of what is set.
#[test]
fn r29_a_floor_only_rises() {
    let vectors = Vectors::load();
    let mut all: Vec<_> = vectors
        .quotes
        .iter()
        .flat_map(|vector| &vector.cases)
        .filter_map(|case| facts(&case.collateral, case.now).ok())
        .collect();
    all.sort_by_key(Facts::issued);
    let mut forwards = floor(Minimum::NONE);
    let mut backwards = floor(Minimum::NONE);
    let mut heights = Vec::new();
    for (one, other) in all.iter().zip(all.iter().rev()) {
        forwards.raise(one);
        heights.push(forwards.time());
        let before = backwards.clone();
        backwards.raise(other);
        for (item, edition) in before.editions() {
            let (_, now) = backwards.editions().find(|(found, _)| *found == item).unwrap();
            assert!(now >= edition, "{item}");
        }
    }
    assert!(heights.is_sorted());
    assert_eq!(forwards, backwards, "the order in which sets were seen does not matter");
    assert!(forwards.editions().any(|(item, _)| *item == ItemId::RootCrl));

    let mut joined = floor(Minimum { time: 7, evaluation_number: 1 });
    assert!(joined.join(&forwards).unwrap() && !joined.join(&forwards).unwrap());
    assert_eq!((joined.time(), joined.minimum().evaluation_number), (forwards.time(), 1));
    assert_ne!(joined.digest(), forwards.digest());
    let again = Floor::from_bytes(&joined.to_bytes(), &TrustAnchor::intel(), Minimum::NONE).unwrap();
    assert_eq!(again, forwards, "what is set is not remembered");
}

/// A remembered floor that cannot be read is not an empty one.
#[test]
fn a_damaged_floor_is_refused() {
    let anchor = TrustAnchor::intel();
    let read = |bytes: &[u8]| code(Floor::from_bytes(bytes, &anchor, Minimum::NONE));
    let good = floor(Minimum::NONE).to_bytes();
    assert_eq!(read(&good), "ok");
    let text = String::from_utf8(good.clone()).unwrap();
    for (bad, wanted) in [
        (String::new(), "floor.damaged"),
        ("{}".into(), "floor.damaged"),
        (format!("{text} "), "floor.damaged"),
        (text.replace("\"version\":1", "\"version\":2"), "floor.damaged"),
        (text.replace("\"time\":0", "\"time\":-1"), "floor.damaged"),
        (text.replace("\"time\":0", "\"time\":0,\"time\":0"), "floor.damaged"),
        (
            text.replace(
                "\"editions\":{}",
                "\"editions\":{\"x\":{\"number\":\"1\",\"issued\":1,\"revoked\":0}}",
            ),
            "floor.damaged",
        ),
        (text.replace("44a0", "54a0"), "floor.other_root"),
        (" ".repeat(Floor::LIMIT + 1), "floor.damaged"),
    ] {
        assert_ne!(bad, text);
        assert_eq!(read(bad.as_bytes()), wanted, "{}", &bad[..bad.len().min(200)]);
    }
    for length in 0..good.len() {
        assert_ne!(read(&good[..length]), "ok");
    }
    let other = dcap_root_of_somebody_else();
    let mut mine = floor(Minimum::NONE);
    assert_eq!(mine.join(&Floor::new(&other, Minimum::NONE)).unwrap_err().code(), "floor.other_root");
}

fn dcap_root_of_somebody_else() -> TrustAnchor {
    let dir = tempfile::tempdir().unwrap();
    let machine = bulla_sim::Machine::create(dir.path().join("machine")).unwrap();
    TrustAnchor::from_der(&machine.root_der()).unwrap()
}

/// B11: a set for another platform is refused before it gets anywhere.
#[test]
fn b11_a_set_for_another_platform_is_refused() {
    let vectors = Vectors::load();
    let case = vectors
        .quotes
        .iter()
        .flat_map(|vector| &vector.cases)
        .find(|case| facts(&case.collateral, case.now).is_ok());
    let case = case.unwrap();
    let set = set(&case.collateral);
    let CollateralId::Intel(id) = set.intel_id().unwrap() else { panic!("a quote's") };
    let other = |change: fn(&mut IntelCollateralId)| {
        let mut id = id;
        change(&mut id);
        let verifier = Verifier::new(TrustAnchor::intel());
        code(verifier.check_collateral(&CollateralId::Intel(id), &set, case.now))
    };
    assert_eq!(other(|_| {}), "ok");
    assert_eq!(other(|id| id.fmspc[0] ^= 1), "tcb_info.fmspc_mismatch");
    let swap = |id: &mut IntelCollateralId| {
        id.tee = if id.tee == TeeKind::Sgx { TeeKind::Tdx } else { TeeKind::Sgx };
    };
    assert_eq!(other(swap), "tcb_info.wrong_id");
    let swap = |id: &mut IntelCollateralId| {
        id.ca = if id.ca == PckCa::Processor { PckCa::Platform } else { PckCa::Processor };
    };
    assert_eq!(other(swap), "pck_crl.wrong_issuer");
}

/// B11, N35 to N46: what is wrong with a set is found without a quote, and named.
#[test]
fn b11_a_set_is_judged_as_with_its_quote() {
    let vectors = Vectors::load();
    let case = vectors
        .quotes
        .iter()
        .flat_map(|vector| &vector.cases)
        .find(|case| facts(&case.collateral, case.now).is_ok());
    let case = case.unwrap();
    let with = |name: &str, change: &dyn Fn(&str) -> String| {
        let mut json = case.collateral.clone();
        json[name] = Value::String(change(json[name].as_str().unwrap()));
        code(facts(&json, case.now))
    };
    let flip = |hex: &str| {
        let mut bytes = hex::decode(hex).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        hex::encode(bytes)
    };
    assert_eq!(with("tcb_info", &|text| text.replace("OutOfDate", "UpToDate")), "tcb_info.signature");
    assert_eq!(with("qe_identity", &|text| format!("{text} ")), "qe_identity.signature");
    assert_eq!(with("tcb_info_signature", &flip), "tcb_info.signature");
    assert_eq!(with("qe_identity_signature", &flip), "qe_identity.signature");
    assert_eq!(with("pck_crl", &flip), "pck_crl.signature");
    assert_eq!(with("root_ca_crl", &flip), "root_crl.signature");
    let root_crl = case.collateral["root_ca_crl"].as_str().unwrap().to_owned();
    assert_eq!(with("pck_crl", &|_| root_crl.clone()), "pck_crl.wrong_issuer");
    let signers = case.collateral["tcb_info_issuer_chain"].as_str().unwrap().to_owned();
    assert_eq!(with("pck_crl_issuer_chain", &|_| signers.clone()), "pck_crl.chain");
    let issuers = case.collateral["pck_crl_issuer_chain"].as_str().unwrap().to_owned();
    assert_eq!(with("tcb_info_issuer_chain", &|_| issuers.clone()), "tcb_info.chain");
    let home_made = Verifier::new(dcap_root_of_somebody_else());
    let set = set(&case.collateral);
    let verdict = home_made.check_collateral(&set.intel_id().unwrap(), &set, case.now);
    assert_eq!(code(verdict), "tcb_info.untrusted_root");
    for name in ["tcb_info", "qe_identity", "pck_crl", "root_ca_crl"] {
        let mut json = case.collateral.clone();
        json.as_object_mut().unwrap().remove(name);
        assert_eq!(
            code(Collateral::from_json(json.to_string().as_bytes())),
            "collateral.incomplete",
            "{name}"
        );
    }
}

/// A bundle is read as it is written, and says why if not.
#[test]
fn a_bundle_has_every_item_once_and_no_more() {
    let vectors = Vectors::load();
    let sets: Vec<_> =
        vectors.quotes.iter().flat_map(|vector| &vector.cases).map(|case| set(&case.collateral)).collect();
    let named: Vec<_> = sets.iter().filter_map(|set| Some((set.intel_id().ok()?, set))).collect();
    let bundle = Bundle::of(named.iter().map(|(id, set)| (id, *set))).unwrap();
    let json = bundle.to_json();
    assert_eq!(Bundle::from_json(json.as_bytes()).unwrap(), bundle);
    assert_eq!(
        bundle.sets().iter().filter(|(id, set)| set.intel_id().ok() == Some(*id)).count(),
        bundle.sets().len()
    );
    assert_eq!(json.matches("\"root-crl\"").count(), 1);

    let one = Bundle::of([(&named[0].0, named[0].1)]).unwrap().to_json();
    let change = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&one).unwrap();
        change(&mut value);
        code(Bundle::from_json(value.to_string().as_bytes()))
    };
    assert_eq!(change(&|_| {}), "ok");
    assert_eq!(change(&|bundle| bundle["items"] = serde_json::json!([])), "bundle.empty");
    assert_eq!(code(Bundle::of([])), "bundle.empty");
    assert_eq!(change(&|bundle| bundle["version"] = 2.into()), "bundle.version");
    assert_eq!(change(&|bundle| bundle["x"] = 2.into()), "bundle.parse");
    assert_eq!(code(Bundle::from_json(b"")), "bundle.parse");
    assert_eq!(code(Bundle::from_json(&vec![b' '; Bundle::LIMIT + 1])), "bundle.too_large");
    for index in 0..4 {
        let partial = change(&|bundle| drop(bundle["items"].as_array_mut().unwrap().remove(index)));
        assert_eq!(partial, "bundle.incomplete", "R17: without item {index}");
        let twice = change(&|bundle| {
            let item = bundle["items"][index].clone();
            bundle["items"].as_array_mut().unwrap().push(item);
        });
        assert_eq!(twice, "bundle.parse", "R19: item {index} twice");
        let swapped = change(&|bundle| {
            let other = bundle["items"][(index + 2) % 4]["item"].clone();
            bundle["items"][index]["item"] = other;
        });
        assert_eq!(swapped, "bundle.parse", "item {index} under another name");
    }
}
