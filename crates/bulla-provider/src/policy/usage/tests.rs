use bulla_protocol::v1::Algorithm;
use bulla_tee::GuestRegisters;

use super::*;
use crate::policy::form;

const OWNER: [u8; 32] = [0x33; 32];

fn guest(rtmr2: u8) -> [(&'static str, [u8; 48]); 9] {
    let ones = [1; 48];
    let registers = GuestRegisters {
        mrtd: ones,
        rtmr0: ones,
        rtmr1: ones,
        rtmr2: [rtmr2; 48],
        rtmr3: ones,
        mrconfigid: ones,
        mrowner: ones,
        mrownerconfig: ones,
        mrservicetd: ones,
    };
    registers.named().map(|(name, value)| (name, *value))
}

/// A request for one key.
#[derive(Clone)]
struct Wish {
    key: Selector,
    binding: Binding,
    rtmr2: u8,
    way: Way,
    now: u64,
}

fn wish() -> Wish {
    Wish {
        key: key("wallet/7/key"),
        binding: owner(OWNER, "wallet", 3),
        rtmr2: 0x44,
        way: Way::Order,
        now: 1_900_000_000,
    }
}

fn key(path: &str) -> Selector {
    Selector { path: path.into(), purpose: "disk".into(), algorithm: Algorithm::HkdfSha256, length: 32 }
}

fn owner(owner: [u8; 32], product: &str, svn: u32) -> Binding {
    Binding::Owner { owner, product: product.into(), svn }
}

fn rules(text: &str) -> Vec<Rule> {
    let app = "[[registers]]\nname = \"app\"\nversion = 3\nbind = [\"mrtd\"]\n";
    let document = format!("version = 1\nname = \"rules\"\ncustody = \"hardware\"\n{app}{text}");
    form::read(&document, [0; 32]).unwrap().usage
}

fn judge(rules: &[Rule], wish: &Wish) -> Result<(), &'static str> {
    let Wish { key, binding, rtmr2, way, now } = wish;
    let wanted = Use { binding, registers: &guest(*rtmr2), way: *way, now: *now };
    allows(rules, &wanted, std::slice::from_ref(key))
}

/// The same wish but for an edit.
fn edited(edit: impl FnOnce(&mut Wish)) -> Wish {
    let mut wish = wish();
    edit(&mut wish);
    wish
}

#[test]
fn without_rules_there_is_every_key() {
    assert_eq!(judge(&[], &wish()), Ok(()));
}

/// One rule with every clause; what breaks one of them is refused with its name.
#[test]
fn each_clause_of_a_rule_counts() {
    let rules = rules(&format!(
        r#"
        [[usage]]
        path = "wallet/*/key"
        purposes = ["disk"]
        algorithms = ["hkdf-sha256"]
        lengths = [32]
        bindings = ["owner"]
        session_keys = 9
        not_after = 2031-01-01
        [usage.claims]
        owners = ["{}"]
        products = ["wallet"]
        min_svn = 3
        registers = {{ rtmr2 = ["{}"] }}
        "#,
        "33".repeat(32),
        "44".repeat(48),
    ));
    for good in
        [wish(), edited(|w| w.binding = owner(OWNER, "wallet", 4)), edited(|w| w.way = Way::Session(8))]
    {
        assert_eq!(judge(&rules, &good), Ok(()));
    }
    for (bad, cause) in [
        (edited(|w| w.key.path = "wallet/key".into()), "usage.path"),
        (edited(|w| w.key.path = "wallet/7/key/x".into()), "usage.path"),
        (edited(|w| w.key.path = "wallet/7/keys".into()), "usage.path"),
        (edited(|w| w.key.purpose = "sign".into()), "usage.purpose"),
        (edited(|w| w.key.algorithm = Algorithm::HkdfSha384), "usage.algorithm"),
        (edited(|w| w.key.length = 16), "usage.length"),
        (edited(|w| w.binding = Binding::Measurement), "usage.binding"),
        (edited(|w| w.binding = Binding::Registers { name: "app".into(), version: 3 }), "usage.binding"),
        (edited(|w| w.binding = owner([0; 32], "wallet", 3)), "usage.owner"),
        (edited(|w| w.binding = owner(OWNER, "vault", 3)), "usage.product"),
        (edited(|w| w.binding = owner(OWNER, "wallet", 2)), "usage.min_svn"),
        (edited(|w| w.rtmr2 = 0x45), "usage.registers"),
        (edited(|w| w.way = Way::Session(9)), "usage.session_keys"),
        (edited(|w| w.now = 1_924_992_000), "usage.not_after"),
    ] {
        assert_eq!(judge(&rules, &bad), Err(cause));
    }
}

#[test]
fn what_no_rule_names_is_refused_and_one_rule_is_enough() {
    let two = rules("[[usage]]\npath = \"a/**\"\n[[usage]]\npath = \"wallet/7/key\"\nlengths = [32]\n");
    assert_eq!(judge(&two, &wish()), Ok(()));
    let long = |path: &str| edited(|w| w.key = Selector { length: 64, ..key(path) });
    assert_eq!(judge(&two, &long("a/b/c")), Ok(()));
    assert_eq!(judge(&two, &long("wallet/7/key")), Err("usage.length"));
    for path in ["a", "a2/b", "b", "wallet", "wallet/7/key/"] {
        assert_eq!(judge(&two, &edited(|w| w.key = key(path))), Err("usage.path"), "{path}");
    }
}

#[test]
fn a_binding_is_named_whole() {
    let rules = rules("[[usage]]\npath = \"**\"\nbindings = [\"app/3\"]\n");
    let registers = |name: &str, version| Binding::Registers { name: name.into(), version };
    for (binding, verdict) in [
        (registers("app", 3), Ok(())),
        (registers("app", 2), Err("usage.binding")),
        (registers("other", 3), Err("usage.binding")),
        (Binding::Measurement, Err("usage.binding")),
    ] {
        assert_eq!(judge(&rules, &edited(|w| w.binding = binding)), verdict);
    }
}

/// B44.
#[test]
fn an_empty_list_accepts_nothing() {
    for clause in [
        "purposes = []",
        "algorithms = []",
        "lengths = []",
        "bindings = []",
        "claims = { owners = [] }",
        "claims = { products = [] }",
        "claims = { registers = { mrtd = [] } }",
    ] {
        let rules = rules(&format!("[[usage]]\npath = \"**\"\n{clause}\n"));
        assert!(judge(&rules, &wish()).is_err(), "{clause}");
    }
}

/// What only an owner's binding has, no other binding can show.
#[test]
fn a_claim_about_owners_holds_for_no_other_binding() {
    for claim in ["min_svn = 0", "products = [\"wallet\"]"] {
        let rules = rules(&format!("[[usage]]\npath = \"**\"\nclaims = {{ {claim} }}\n"));
        assert_eq!(judge(&rules, &wish()), Ok(()));
        assert!(judge(&rules, &edited(|w| w.binding = Binding::Measurement)).is_err(), "{claim}");
    }
}

#[test]
fn a_rule_can_be_for_sessions_or_against_them() {
    let inside = edited(|w| w.way = Way::Session(0));
    let only = rules("[[usage]]\npath = \"**\"\nsession = \"only\"\n");
    let never = rules("[[usage]]\npath = \"**\"\nsession = \"never\"\n");
    assert_eq!((judge(&only, &inside), judge(&only, &wish())), (Ok(()), Err("usage.session")));
    assert_eq!((judge(&never, &wish()), judge(&never, &inside)), (Ok(()), Err("usage.session")));
    let described = edited(|w| w.way = Way::Described);
    assert_eq!((judge(&only, &described), judge(&never, &described)), (Ok(()), Ok(())));
    let none = rules("[[usage]]\npath = \"**\"\nsession_keys = 0\n");
    assert_eq!((judge(&none, &described), judge(&none, &inside)), (Ok(()), Err("usage.session_keys")));
}

/// One key of a batch that no rule allows refuses the batch, and each counts towards the limit of a session.
#[test]
fn a_batch_is_judged_key_by_key() {
    let rules = rules("[[usage]]\npath = \"a/*\"\nsession_keys = 3\n");
    let ask = |way, paths: &[&str]| {
        let keys: Vec<_> = paths.iter().map(|path| key(path)).collect();
        let wanted = Use { binding: &Binding::Measurement, registers: &guest(1), way, now: 0 };
        allows(&rules, &wanted, &keys)
    };
    assert_eq!(ask(Way::Order, &["a/1", "a/2", "a/3", "a/4"]), Ok(()));
    assert_eq!(ask(Way::Order, &["a/1", "b/1", "a/2"]), Err("usage.path"));
    assert_eq!(ask(Way::Session(0), &["a/1", "a/2", "a/3"]), Ok(()));
    assert_eq!(ask(Way::Session(0), &["a/1", "a/2", "a/3", "a/4"]), Err("usage.session_keys"));
    assert_eq!(ask(Way::Session(2), &["a/1", "a/2"]), Err("usage.session_keys"));
    assert_eq!(ask(Way::Session(u32::MAX), &["a/1"]), Err("usage.session_keys"));
}
