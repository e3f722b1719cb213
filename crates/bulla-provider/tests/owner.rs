//! Keys of an owner: MRSIGNER for TDX. Which image gets which key, and what a host cannot do about it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bulla_crypto::{Info, Secret, SigningKey, hkdf};
use bulla_protocol::v1::Binding;
use bulla_protocol::{Code, Descriptor, DocumentRole, Manifest, Signed};
use bulla_sim::TdDescription;
use bulla_tee::{GuestRegisters, Identity, Tee};

use support::{Client, Site, v1_key};

/// One who signs manifests, with two of three keys.
struct Owner {
    descriptor: Descriptor,
    keys: Vec<SigningKey>,
}

impl Owner {
    fn new(name: &str, seed: u8) -> Self {
        let keys: Vec<_> = (0..3).map(|n| SigningKey::from_seed(Secret::new([seed + n; 32]))).collect();
        let public: Vec<_> = keys.iter().map(SigningKey::verifying_key).collect();
        Self { descriptor: Descriptor::new(name, 2, &public).unwrap(), keys }
    }

    fn id(&self) -> [u8; 32] {
        self.descriptor.id()
    }

    fn binding(&self, product: &str, svn: u32) -> Binding {
        Binding::Owner { owner: self.id(), product: product.into(), svn }
    }

    fn manifest(&self, product: &str, svn: u32, image: &TdDescription, except: &[&str]) -> Signed {
        self.signed(&Manifest::new(self.id(), product, svn, &registers(image), except).unwrap().to_toml())
    }

    fn signed(&self, document: &str) -> Signed {
        let mut signed = Signed::new(&self.descriptor, document);
        self.keys[..2].iter().for_each(|key| signed.sign(DocumentRole::Manifest, key).unwrap());
        signed
    }
}

/// What the image that is described shows when it runs.
fn registers(td: &TdDescription) -> GuestRegisters {
    let folder = tempfile::tempdir().unwrap();
    let machine = bulla_sim::Machine::create(folder.path().join("machine")).unwrap();
    match machine.guest(td.clone()).unwrap().identity().unwrap() {
        Identity::Tdx(guest) => GuestRegisters::from(guest.as_ref()),
        _ => panic!("no guest"),
    }
}

fn image(n: u8) -> TdDescription {
    TdDescription { mrtd: [n; 48], ..TdDescription::default_guest() }
}

/// What the provider answers to a guest that asks for an owner's key.
fn ask(
    site: &Site,
    address: SocketAddr,
    td: &TdDescription,
    binding: Binding,
    manifest: Option<&Signed>,
) -> Result<Vec<u8>, Code> {
    let mut client = Client::new(address);
    client.request.binding = binding;
    let mut order = client.order(&site.machine(), td);
    order.manifest = manifest.cloned();
    let answer = client.send(&order)?;
    Ok(client.open(&order, &answer).unwrap().expose().to_vec())
}

/// R25, R26, B23: images by security version by product by owner, in both directions: an image gets every key of its own
/// product at or below its own version, whichever image sealed, and no other.
#[test]
fn an_image_gets_what_its_owner_entitles_it_to() {
    let site = Site::new();
    let running = site.start();
    let owners = [Owner::new("acme", 1), Owner::new("other", 11)];
    let mut keys: BTreeMap<(usize, &str, u32), BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (number, owner) in owners.iter().enumerate() {
        for product in ["wallet", "ledger"] {
            for granted in [1, 2, 3] {
                let td = image(granted as u8);
                let manifest = owner.manifest(product, granted, &td, &[]);
                for (asked_number, asked_owner) in owners.iter().enumerate() {
                    for asked_product in ["wallet", "ledger"] {
                        for asked in [0, 1, 2, 3, 4] {
                            let binding = asked_owner.binding(asked_product, asked);
                            let got = ask(&site, running.http, &td, binding, Some(&manifest));
                            if number != asked_number || product != asked_product {
                                assert_eq!(got, Err(Code::ManifestInvalid));
                            } else if asked > granted {
                                assert_eq!(got, Err(Code::SvnTooHigh));
                            } else {
                                keys.entry((number, product, asked)).or_default().insert(got.unwrap());
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(keys.len(), 2 * 2 * 4);
    assert!(keys.values().all(|keys| keys.len() == 1), "the image that asks is no input of the key");
    let unique: BTreeSet<_> = keys.values().flatten().collect();
    assert_eq!(unique.len(), keys.len(), "owner, product and version are");
    let measured = v1_key(&site.machine(), &image(1), running.http).unwrap();
    assert!(!unique.contains(&measured));
}

/// R12: the key is that of the specification.
#[test]
fn an_owners_key_is_that_of_the_specification() {
    let site = Site::new();
    let running = site.start();
    let (owner, td) = (Owner::new("acme", 1), image(1));
    let manifest = owner.manifest("wallet", 9, &td, &[]);
    let key = ask(&site, running.http, &td, owner.binding("wallet", 7), Some(&manifest)).unwrap();
    let info = Info::new("bulla/derived-key/v1")
        .part("format version", &[1])
        .part("algorithm", b"hkdf-sha256")
        .part("length", &[0, 32])
        .part("root id", &running.identity.root_id)
        .part("authority", &running.identity.authority)
        .part("binding", b"owner")
        .part("owner", &owner.id())
        .part("product", b"wallet")
        .part("svn", &[0, 0, 0, 7])
        .part("ATTRIBUTES mask", &0x8000_0000_3000_00FF_u64.to_be_bytes())
        .part("ATTRIBUTES", &0x1000_0000_u64.to_be_bytes())
        .part("XFAM mask", &[0; 8])
        .part("XFAM", &[0; 8])
        .part("path", b"app/db")
        .part("purpose", b"disk");
    assert_eq!(key, hkdf::<32>(site.root().expose(), b"", &info).expose());
}

/// The host carries manifests. One that is not the owner's own for this image gets nothing, and neither does none.
#[test]
fn a_substituted_manifest_gets_nothing() {
    let site = Site::new();
    let running = site.start();
    let (owner, other, td) = (Owner::new("acme", 1), Owner::new("other", 11), image(1));
    let good = owner.manifest("wallet", 3, &td, &[]);
    let refusal = |manifest: Option<&Signed>| {
        ask(&site, running.http, &td, owner.binding("wallet", 3), manifest).unwrap_err()
    };
    assert_eq!(refusal(None), Code::ManifestInvalid);
    assert_eq!(refusal(Some(&owner.manifest("wallet", 3, &image(2), &[]))), Code::ManifestInvalid, "image");
    assert_eq!(refusal(Some(&other.manifest("wallet", 3, &td, &[]))), Code::ManifestInvalid, "owner");
    assert_eq!(refusal(Some(&owner.manifest("ledger", 3, &td, &[]))), Code::ManifestInvalid, "product");
    assert_eq!(refusal(Some(&owner.manifest("wallet", 2, &td, &[]))), Code::SvnTooHigh, "an older grant");

    // The owner's manifest, signed by somebody else or by too few, or edited after it was signed.
    let forged = other.signed(&good.document);
    assert_eq!(refusal(Some(&forged)), Code::ManifestInvalid);
    let under_good_name = Signed { descriptor: good.descriptor.clone(), ..forged };
    assert_eq!(refusal(Some(&under_good_name)), Code::ManifestInvalid);
    let mut alone = good.clone();
    alone.signatures.truncate(1);
    assert_eq!(refusal(Some(&alone)), Code::ManifestInvalid);
    let lower = owner.manifest("wallet", 2, &td, &[]);
    let raised = Signed { document: lower.document.replace("svn = 2", "svn = 3"), ..lower };
    assert_eq!(refusal(Some(&raised)), Code::ManifestInvalid);
    // Signed by the owner's keys, and for something else.
    let mut policy = Signed { signatures: Vec::new(), ..good.clone() };
    owner.keys[..2].iter().for_each(|key| policy.sign(DocumentRole::Policy, key).unwrap());
    assert_eq!(refusal(Some(&policy)), Code::ManifestInvalid);

    assert!(ask(&site, running.http, &td, owner.binding("wallet", 3), Some(&good)).is_ok());
}

/// R38: owner, product, version and path are in what the guest's evidence covers, so a host that exchanges one of them on the
/// way, with a manifest that fits, gets the order refused.
#[test]
fn a_substituted_selector_gets_nothing() {
    let site = Site::new();
    let running = site.start();
    let (owner, other, td) = (Owner::new("acme", 1), Owner::new("other", 11), image(1));
    let manifest = owner.manifest("wallet", 3, &td, &[]);
    for (what, binding, manifest, path) in [
        ("owner", other.binding("wallet", 3), other.manifest("wallet", 3, &td, &[]), "app/db"),
        ("product", owner.binding("ledger", 3), owner.manifest("ledger", 3, &td, &[]), "app/db"),
        ("a lower version", owner.binding("wallet", 2), manifest.clone(), "app/db"),
        ("path", owner.binding("wallet", 3), manifest.clone(), "app/dc"),
        ("kind", Binding::Measurement, manifest, "app/db"),
    ] {
        let mut client = Client::new(running.http);
        client.request.binding = owner.binding("wallet", 3);
        let mut order = client.order(&site.machine(), &td);
        order.request.binding = binding;
        order.request.keys[0].path = path.into();
        order.manifest = Some(manifest);
        assert_eq!(client.send(&order).unwrap_err(), Code::BindingMismatch, "{what}");
    }
}

/// R25, B24: every register names the image, the host's ones too, unless the owner has excepted it.
#[test]
fn a_manifest_is_for_one_image_but_for_its_exceptions() {
    let site = Site::new();
    let running = site.start();
    let (owner, td) = (Owner::new("acme", 1), image(1));
    let mut others = vec![TdDescription { mrtd: [9; 48], ..td.clone() }];
    others.extend((0..4).map(|index| {
        let mut other = td.clone();
        other.rtmr[index][0] ^= 1;
        other
    }));
    others.push(TdDescription { mrconfigid: [9; 48], ..td.clone() });
    others.push(TdDescription { mrowner: [9; 48], ..td.clone() });
    others.push(TdDescription { mrownerconfig: [9; 48], ..td.clone() });
    let names = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"];
    let whole = owner.manifest("wallet", 1, &td, &[]);
    let got = |td: &TdDescription, manifest: &Signed| {
        ask(&site, running.http, td, owner.binding("wallet", 1), Some(manifest))
    };
    let key = got(&td, &whole).unwrap();
    for (other, name) in others.iter().zip(names) {
        assert_eq!(got(other, &whole), Err(Code::ManifestInvalid), "{name}");
        if name != "mrtd" {
            assert_eq!(got(other, &owner.manifest("wallet", 1, &td, &[name])), Ok(key.clone()), "{name}");
        }
    }
}

/// R23, B9: who may look into a guest does not get its keys, whatever the owner signs.
#[test]
fn an_owner_cannot_entitle_a_debugged_guest() {
    let site = Site::new();
    let running = site.start();
    let (owner, td) = (Owner::new("acme", 1), image(1));
    let manifest = owner.manifest("wallet", 1, &td, &[]);
    let debugged = td.with_debug();
    let got = ask(&site, running.http, &debugged, owner.binding("wallet", 1), Some(&manifest));
    assert_eq!(got, Err(Code::PolicyDenied));
}
