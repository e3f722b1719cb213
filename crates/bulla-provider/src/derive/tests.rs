use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use serde::Deserialize;

use bulla_crypto::Secret;
use bulla_protocol::legacy;
use bulla_tee::GuestRegisters;

use super::*;
use crate::registers::EventBoundary;

#[derive(Deserialize)]
struct Vectors {
    roots: Vec<RootVector>,
    keys: Vec<KeyVector>,
    legacy: Vec<LegacyVector>,
}

#[derive(Deserialize)]
struct RootVector {
    #[serde(flatten)]
    custody: CustodyVector,
    authority: String,
    epoch: u32,
    secret: String,
    root: String,
    root_id: String,
    commitment: String,
    legacy_seal_key: String,
}

#[derive(Deserialize)]
#[serde(tag = "custody", rename_all = "lowercase")]
enum CustodyVector {
    Hardware { kind: String, request: String },
    Keyring { ring: String, key: String },
}

#[derive(Deserialize)]
struct KeyVector {
    name: String,
    root: String,
    authority: String,
    binding: BindingVector,
    instance: Option<String>,
    #[serde(flatten)]
    selector: Selector,
    guest: HashMap<String, String>,
    info: String,
    key: String,
    public_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum BindingVector {
    Measurement,
    Registers { name: String, version: u32, bind: Vec<String>, boundary: Option<BoundaryVector> },
    Owner { owner: String, product: String, svn: u32 },
}

#[derive(Deserialize)]
struct BoundaryVector {
    register: u8,
    event: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct LegacyVector {
    #[serde(rename = "seal_key")]
    seal_key: String,
    mrtd: String,
    rtmr0: String,
    rtmr1: String,
    rtmr2: String,
    rtmr3: String,
    #[serde(rename = "key")]
    key: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/vectors/derivation-v1.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn root(hex: &str) -> Root {
    Root::from_secret(1, Secret::new(bytes(hex)))
}

/// R12: the bytes are those of the committed vectors, which `tests/python/derivation.py` of the workspace computes by itself.
#[test]
fn roots_are_those_of_the_vectors() {
    for vector in vectors().roots {
        let (secret, authority) = (hex::decode(vector.secret).unwrap(), bytes(&vector.authority));
        let root = match vector.custody {
            CustodyVector::Hardware { kind, request } => {
                Root::hardware(&authority, vector.epoch, &kind, &hex::decode(request).unwrap(), &secret)
            }
            CustodyVector::Keyring { ring, key } => {
                Root::keyring(&authority, vector.epoch, &bytes(&ring), &bytes(&key), &secret)
            }
        };
        assert_eq!(hex::encode(root.key().expose()), vector.root);
        assert_eq!(hex::encode(root.id()), vector.root_id);
        assert_eq!(hex::encode(root.commitment()), vector.commitment);
        assert_eq!(hex::encode(root.legacy_seal_key().expose()), vector.legacy_seal_key);
    }
}

#[test]
fn legacy_keys_are_those_of_the_vectors() {
    for vector in vectors().legacy {
        let rtmr = [vector.rtmr0, vector.rtmr1, vector.rtmr2, vector.rtmr3].map(|rtmr| bytes(&rtmr));
        let key = legacy::derived_key(&Secret::new(bytes(&vector.seal_key)), &bytes(&vector.mrtd), &rtmr);
        assert_eq!(hex::encode(key.expose()), vector.key);
    }
}

/// R12, R25, R26: for every binding and algorithm.
#[test]
fn keys_are_those_of_the_vectors() {
    for vector in vectors().keys {
        let policy = match &vector.binding {
            BindingVector::Registers { name, version, bind, boundary } => {
                let known = GuestRegisters::NAMES.into_iter();
                let boundary = boundary.as_ref().map(|boundary| EventBoundary {
                    register: boundary.register,
                    event: boundary.event.clone(),
                    later: true,
                });
                let bind = known.filter(|name| bind.iter().any(|bound| bound == name)).collect();
                RegisterPolicy { name: name.clone(), version: *version, bind, boundary }
            }
            _ => RegisterPolicy::measurement(),
        };
        let values = policy.bind.iter().map(|name| (*name, bytes(&vector.guest[*name]))).collect();
        let owner;
        let to = match &vector.binding {
            BindingVector::Measurement => BoundTo::Registers { kind: "measurement", policy: &policy, values },
            BindingVector::Registers { .. } => {
                BoundTo::Registers { kind: "registers", policy: &policy, values }
            }
            BindingVector::Owner { owner: id, product, svn } => {
                owner = bytes(id);
                BoundTo::Owner { owner: &owner, product, svn: *svn }
            }
        };
        let attributes = u64::from_be_bytes(bytes(&vector.guest["ATTRIBUTES"]));
        let xfam = u64::from_be_bytes(bytes(&vector.guest["XFAM"]));
        let (bound, root, authority) =
            (Bound { to, attributes, xfam }, root(&vector.root), bytes(&vector.authority));
        let instance = vector.instance.as_deref();
        let source = Source { root: &root, authority: &authority, bound: &bound, instance };
        let name = &vector.name;
        assert_eq!(hex::encode(source.info(&vector.selector).as_bytes()), vector.info, "{name}");
        assert_eq!(hex::encode(source.key(&vector.selector).expose()), vector.key, "{name}");
        let public_key = source.public_key(&vector.selector).ok();
        assert_eq!(public_key.map(|key| hex::encode(key.as_bytes())), vector.public_key, "{name}");
    }
}

/// Everything that a key is derived from.
#[derive(Clone)]
struct Inputs {
    root: [u8; 32],
    authority: [u8; 32],
    binding: Binding,
    policy: RegisterPolicy,
    registers: [[u8; 48]; 9],
    attributes: u64,
    xfam: u64,
    instance: Option<String>,
    selector: Selector,
}

#[derive(Clone)]
enum Binding {
    Registers(&'static str),
    Owner([u8; 32], &'static str, u32),
}

fn inputs() -> Inputs {
    Inputs {
        root: [0x11; 32],
        authority: [0x22; 32],
        binding: Binding::Registers("measurement"),
        policy: RegisterPolicy::measurement(),
        registers: std::array::from_fn(|index| [index as u8 + 1; 48]),
        attributes: attributes::SEPT_VE_DISABLE,
        xfam: 0xE7,
        instance: None,
        selector: Selector {
            path: "a".into(),
            purpose: "b".into(),
            algorithm: Algorithm::HkdfSha256,
            length: 32,
        },
    }
}

/// The first 16 bytes, so that keys of different lengths can be compared.
fn derived(edit: impl FnOnce(&mut Inputs)) -> [u8; 16] {
    let mut inputs = inputs();
    edit(&mut inputs);
    let values = GuestRegisters::NAMES.into_iter().zip(inputs.registers);
    let values = values.filter(|(name, _)| inputs.policy.bind.contains(name)).collect();
    let to = match &inputs.binding {
        Binding::Registers(kind) => BoundTo::Registers { kind, policy: &inputs.policy, values },
        Binding::Owner(owner, product, svn) => BoundTo::Owner { owner, product, svn: *svn },
    };
    let bound = Bound { to, attributes: inputs.attributes, xfam: inputs.xfam };
    let root = Root::from_secret(1, Secret::new(inputs.root));
    let instance = inputs.instance.as_deref();
    let source = Source { root: &root, authority: &inputs.authority, bound: &bound, instance };
    *source.key(&inputs.selector).expose().first_chunk().unwrap()
}

fn owner(id: u8, product: &'static str, svn: u32) -> impl FnOnce(&mut Inputs) {
    move |inputs| inputs.binding = Binding::Owner([id; 32], product, svn)
}

/// R10, R11, R25, R26: every selector is an input, and no two of them can be confused.
#[test]
fn every_input_changes_the_key() {
    let mut keys = vec![
        derived(|_| {}),
        derived(|i| i.root[0] ^= 1),
        derived(|i| i.authority[0] ^= 1),
        derived(|i| i.binding = Binding::Registers("registers")),
        derived(|i| i.policy.name = "stricter".into()),
        derived(|i| i.policy.version += 1),
        derived(|i| i.policy.bind.truncate(8)),
        derived(|i| i.policy.boundary = Some(boundary(3, "a"))),
        derived(|i| i.policy.boundary = Some(boundary(2, "a"))),
        derived(|i| i.policy.boundary = Some(boundary(3, "b"))),
        derived(owner(1, "a", 1)),
        derived(owner(2, "a", 1)),
        derived(owner(1, "b", 1)),
        derived(owner(1, "a", 2)),
        derived(|i| i.instance = Some("one".into())),
        derived(|i| i.instance = Some("two".into())),
        derived(|i| i.selector.algorithm = Algorithm::HkdfSha384),
        derived(|i| i.selector.algorithm = Algorithm::X25519),
        derived(|i| i.selector.algorithm = Algorithm::XWing),
        derived(|i| i.selector.length += 1),
        derived(|i| i.selector.path.push('x')),
        derived(|i| i.selector.purpose.push('x')),
        derived(|i| (i.selector.path, i.selector.purpose) = ("ab".into(), String::new())),
        derived(|i| i.registers.swap(1, 2)),
    ];
    keys.extend((0..9).map(|register| derived(|i| i.registers[register][47] ^= 1)));
    keys.extend((0..8).chain([28, 29, 63]).map(|bit| derived(|i| i.attributes ^= 1 << bit)));
    let unique: HashSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len());
}

fn boundary(register: u8, event: &str) -> EventBoundary {
    EventBoundary { register, event: event.into(), later: true }
}

/// What an update of the machine changes is no input, nor is a register that the binding leaves out.
#[test]
fn nothing_else_changes_the_key() {
    let same = derived(|_| {});
    assert_eq!(same, derived(|i| i.xfam = 0x6_00E7));
    assert_eq!(same, derived(|i| i.attributes |= 1 << 30));
    let narrow = |edit: fn(&mut Inputs)| {
        derived(|i| {
            i.policy.bind.truncate(8);
            edit(i);
        })
    };
    assert_eq!(narrow(|_| {}), narrow(|i| i.registers[8] = [0; 48]));
    let owners = |edit: fn(&mut Inputs)| {
        derived(|i| {
            owner(1, "a", 1)(i);
            edit(i);
        })
    };
    assert_eq!(owners(|_| {}), owners(|i| i.registers = [[0xFF; 48]; 9]));
    assert_ne!(owners(|_| {}), owners(|i| i.attributes |= attributes::DEBUG));
}

/// One selector of a batch gets what it gets alone.
#[test]
fn a_batch_is_its_keys_one_after_the_other() {
    let (root, authority) = (root(&"11".repeat(32)), [0x22; 32]);
    let to = BoundTo::Owner { owner: &[1; 32], product: "a", svn: 1 };
    let bound = Bound { to, attributes: 0, xfam: 0 };
    let source = Source { root: &root, authority: &authority, bound: &bound, instance: None };
    let selectors: Vec<Selector> = (16..64).map(|length| Selector { length, ..inputs().selector }).collect();
    let alone: Vec<u8> =
        selectors.iter().flat_map(|selector| source.key(selector).expose().to_vec()).collect();
    assert_eq!(source.keys(&selectors).expose(), alone);
}

proptest! {
    /// R10: two requests share a key only if they are one.
    #[test]
    fn different_requests_have_different_keys(
        a in ("[a-c/]{1,4}", "[a-c-]{1,4}", proptest::option::of("[a-c]{1,2}"), 16u16..65),
        b in ("[a-c/]{1,4}", "[a-c-]{1,4}", proptest::option::of("[a-c]{1,2}"), 16u16..65),
    ) {
        let key = |(path, purpose, instance, length): &(String, String, Option<String>, u16)| derived(|i| {
            (i.selector.path, i.selector.purpose) = (path.clone(), purpose.clone());
            (i.selector.length, i.instance) = (*length, instance.clone());
        });
        prop_assert_eq!(a == b, key(&a) == key(&b));
    }

    /// R25, R26: nor do two guests.
    #[test]
    fn different_guests_have_different_keys(byte in 0usize..9 * 48, change in 1u8..) {
        let edited = derived(|i| i.registers[byte / 48][byte % 48] ^= change);
        prop_assert_ne!(edited, derived(|_| {}));
    }
}
