//! AMD's collateral in a store: the same floor, the same bundle (R29, R30).

use std::sync::{Arc, Mutex};

use bulla_attest::collateral::{Bundle, Directory, Floor, Minimum, Store};
use bulla_attest::{AmdProduct, Collateral, CollateralId, CollateralSource, Error, TrustAnchor};

use super::pki::{CHIP, List, NOW, Recipe, sign};
use super::snp_policy;

#[derive(Default)]
struct Source(Mutex<Option<Collateral>>);

impl Source {
    fn delivers(&self, set: Collateral) {
        *self.0.lock().unwrap() = Some(set);
    }
}

impl CollateralSource for Source {
    fn collateral(&self, _: &CollateralId) -> Result<Collateral, Error> {
        self.0.lock().unwrap().clone().ok_or_else(|| Error::CollateralUnavailable("down".into()))
    }
}

fn listed_from(from: &'static str) -> Recipe {
    let crl = List { window: (from, "270301000000Z"), revoked: Vec::new(), by_root: true };
    Recipe { crl: Some(crl), ..Recipe::vcek(AmdProduct::Milan) }
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn r29_an_older_list_of_amds_is_a_rollback() {
    let (older, newer) = (listed_from("270101000000Z"), listed_from("270110000000Z"));
    let report = sign(newer.report());
    let id = CollateralId::of_quote(&report).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let source = Arc::new(Source::default());
    let open = || {
        let directory = Directory::open(&dir.path().join("store")).unwrap();
        Store::open(directory, newer.verifier(), Minimum::NONE).unwrap().with_source(source.clone())
    };
    source.delivers(newer.collateral());
    let store = open();
    let held = store.current(&id, NOW).unwrap();
    assert!(*held == newer.collateral());
    source.delivers(older.collateral());
    assert_eq!(code(store.refresh(&id, NOW)), "collateral.rollback");
    assert!(*store.current(&id, NOW).unwrap() == newer.collateral());

    // Judged above that floor, and without one.
    let set = older.collateral();
    let policy = snp_policy("");
    assert_eq!(code(newer.verifier().verify(&report, &set, NOW, &policy)), "ok");
    let above = newer.verifier().with_floor(store.floor());
    assert_eq!(code(above.verify(&report, &set, NOW, &policy)), "collateral.rollback");
    assert_eq!(code(above.verify(&report, &held, store.floor().time() - 1, &policy)), "clock.below_floor");
    let claims = above.verify(&report, &held, NOW, &policy).unwrap();
    assert_eq!((claims.basis.time, claims.basis.floor), (NOW, Some(store.floor().time())));
    assert_eq!(claims.basis.issued, claims.basis.floor, "the list is what proves a time");

    // What the directory keeps, a bundle carries.
    drop(store);
    source.0.lock().unwrap().take();
    let again = open();
    assert_eq!(code(again.current(&id, NOW)), "ok");
    let bundle = Bundle::from_json(again.export(NOW).unwrap().to_json().as_bytes()).unwrap();
    let elsewhere = Store::in_memory(newer.verifier(), Minimum::NONE);
    assert!(elsewhere.import(&bundle, NOW).unwrap()[0].refused.is_none());
    assert_eq!(code(elsewhere.current(&id, NOW)), "ok");
    let older = Bundle::of([(&id, &set)]).unwrap();
    let refused = elsewhere.import(&older, NOW).unwrap().pop().unwrap();
    assert_eq!(refused.refused.map(|error| error.code()), Some("collateral.rollback"));
    assert!(refused.taken.is_empty());
}

#[test]
fn a_set_for_another_chip_or_tcb_is_refused() {
    let recipe = Recipe::vcek(AmdProduct::Milan);
    let set = recipe.collateral();
    let CollateralId::Amd(id) = CollateralId::of_quote(&sign(recipe.report())).unwrap() else {
        panic!("AMD's")
    };
    let check = |id| code(recipe.verifier().check_collateral(&CollateralId::Amd(id), &set, NOW));
    assert_eq!(check(id), "ok");
    let mut other = id;
    other.chip_id = [CHIP[0] ^ 1; 64];
    assert_eq!(check(other), "snp_chain.chip_mismatch");
    let mut other = id;
    other.reported_tcb[0] ^= 1;
    assert_eq!(check(other), "snp_chain.tcb_mismatch");
    let mut other = id;
    other.signer = bulla_attest::SnpSigner::Vlek;
    assert_eq!(check(other), "snp_chain.signer_mismatch");
    let nobodys = bulla_attest::Verifier::new(TrustAnchor::intel());
    assert_eq!(code(nobodys.check_collateral(&CollateralId::Amd(id), &set, NOW)), "snp_chain.untrusted_root");
    // A quote's set for a report, and the reverse.
    let machine = tempfile::tempdir().unwrap();
    let machine = bulla_sim::Machine::create(machine.path().join("machine")).unwrap();
    let json = machine.collateral_for(bulla_sim::TeeType::Tdx, NOW).unwrap();
    let quotes = Collateral::from_json(json.as_bytes()).unwrap();
    assert_eq!(
        code(recipe.verifier().check_collateral(&CollateralId::Amd(id), &quotes, NOW)),
        "collateral.wrong_kind"
    );
    assert_eq!(
        code(recipe.verifier().check_collateral(&quotes.intel_id().unwrap(), &set, NOW)),
        "collateral.wrong_kind"
    );
    assert_eq!(code(set.intel_id()), "collateral.wrong_kind");
    let floor = Floor::new(&TrustAnchor::intel(), Minimum::NONE);
    assert_eq!(
        code(recipe.verifier().with_floor(floor).check_collateral(&CollateralId::Amd(id), &set, NOW)),
        "ok"
    );
}
