//! Signed documents: who may sign, what a signature is for, and what a manifest grants.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla_crypto::{Secret, SigningKey, VerifyingKey};
use bulla_protocol::{Descriptor, DocumentRole, Manifest, ManifestError, NotEntitled, Signed, SignedError};
use bulla_tee::{GuestRegisters, TdxIdentity};

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(Secret::new([n; 32]))
}

fn public(n: u8) -> VerifyingKey {
    key(n).verifying_key()
}

/// Two of the keys 1, 2 and 3.
fn acme() -> Descriptor {
    Descriptor::new("acme", 2, &[public(1), public(2), public(3)]).unwrap()
}

fn signed(document: &str, role: DocumentRole, keys: &[u8]) -> Signed {
    let mut signed = Signed::new(&acme(), document);
    keys.iter().for_each(|n| signed.sign(role, &key(*n)).unwrap());
    signed
}

#[test]
fn one_set_of_keys_has_one_id() {
    let other_order = Descriptor::new("acme", 2, &[public(3), public(1), public(2)]).unwrap();
    assert_eq!(other_order.id(), acme().id());
    let spelled = acme().to_toml().replace(", ", ",\n    ").to_uppercase();
    let spelled =
        spelled.replace("ALGORITHM", "algorithm").replace("ED25519", "ed25519").replace("NAME", "name");
    let spelled = spelled.replace("ACME", "acme").replace("THRESHOLD", "threshold").replace("KEYS", "keys");
    assert_eq!(Descriptor::from_toml(&spelled).unwrap().id(), acme().id());

    let others = [
        Descriptor::new("acme2", 2, &[public(1), public(2), public(3)]),
        Descriptor::new("acme", 1, &[public(1), public(2), public(3)]),
        Descriptor::new("acme", 2, &[public(1), public(2)]),
        Descriptor::new("acme", 2, &[public(1), public(2), public(4)]),
    ];
    for other in others {
        assert_ne!(other.unwrap().id(), acme().id());
    }
}

/// R108, R13: what is no descriptor.
#[test]
fn a_descriptor_is_exactly_one_shape() {
    let weak = VerifyingKey::from_bytes([0; 32]);
    let many: Vec<_> = (1..=17).map(public).collect();
    assert!(Descriptor::new("a", 16, &many[..16]).is_ok());
    for (name, threshold, keys) in [
        ("", 1, &many[..1]),
        (&"x".repeat(65), 1, &many[..1]),
        ("a b", 1, &many[..1]),
        ("a", 0, &many[..1]),
        ("a", 2, &many[..1]),
        ("a", 1, &[]),
        ("a", 1, &many),
        ("a", 1, &[public(1), public(2), public(1)]),
        ("a", 1, &[public(1), weak]),
    ] {
        assert!(Descriptor::new(name, threshold, keys).is_err(), "{name} {threshold}");
    }
    let good = acme().to_toml();
    for bad in [
        format!("{good}expires = 1\n"),
        good.replace("ed25519", "rsa"),
        good.replace("threshold = 2\n", ""),
        good.replace("threshold = 2", "threshold = 258"),
        good.replace("threshold = 2", "threshold = 2\nthreshold = 1"),
        good.replacen("\"acme\"", "\"acme\\u0000\"", 1),
        good.replacen(&hex::encode(public(1).as_bytes())[..2], "", 1),
        format!("{good}{}", "#".repeat(Descriptor::LIMIT)),
    ] {
        assert!(Descriptor::from_toml(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_threshold_of_the_descriptors_keys_signs() {
    for keys in [&[1, 2], &[3, 1], &[2, 3]] {
        let signed = signed("text", DocumentRole::Policy, keys);
        let again = Signed::from_json(signed.to_json().as_bytes()).unwrap();
        assert_eq!(again, signed);
        let verified = again.verify(DocumentRole::Policy).unwrap();
        assert_eq!((verified.id, verified.document), (acme().id(), "text"));
    }
    assert!(signed("text", DocumentRole::Policy, &[1, 2, 3]).verify(DocumentRole::Policy).is_ok());
}

#[test]
fn fewer_do_not() {
    for keys in [&[][..], &[1]] {
        let refused = signed("text", DocumentRole::Policy, keys).verify(DocumentRole::Policy).unwrap_err();
        assert_eq!(refused, SignedError::TooFew { wanted: 2, found: keys.len() });
    }
}

#[test]
fn one_key_counts_once() {
    let one = signed("text", DocumentRole::Policy, &[1]);
    assert_eq!(
        one.clone().sign(DocumentRole::Policy, &key(1)),
        Err(SignedError::SignedTwice(*public(1).as_bytes()))
    );
    let mut twice = one.clone();
    twice.signatures.push(one.signatures[0].clone());
    assert_eq!(twice.verify(DocumentRole::Policy), Err(SignedError::SignedTwice(*public(1).as_bytes())));
}

#[test]
fn an_unknown_key_spoils_even_what_enough_have_signed() {
    let stranger = Descriptor::new("acme", 1, &[public(9)]).unwrap();
    let mut by_stranger = Signed::new(&stranger, "text");
    by_stranger.sign(DocumentRole::Policy, &key(9)).unwrap();
    let mut enough = signed("text", DocumentRole::Policy, &[1, 2]);
    assert_eq!(
        enough.sign(DocumentRole::Policy, &key(9)),
        Err(SignedError::UnknownKey(*public(9).as_bytes()))
    );
    enough.signatures.push(by_stranger.signatures[0].clone());
    assert_eq!(enough.verify(DocumentRole::Policy), Err(SignedError::UnknownKey(*public(9).as_bytes())));
}

#[test]
fn a_signature_is_for_one_document_one_role_and_one_descriptor() {
    let good = signed("text", DocumentRole::Policy, &[1, 2]);
    let bad = |signed: &Signed, role| matches!(signed.verify(role), Err(SignedError::BadSignature(_)));
    assert!(bad(&good, DocumentRole::Manifest) && bad(&good, DocumentRole::Command));

    let edited = Signed { document: "text ".into(), ..good.clone() };
    assert!(bad(&edited, DocumentRole::Policy));

    // The same keys, under a descriptor that asks for fewer of them.
    let easier = Descriptor::new("acme", 1, &[public(1), public(2), public(3)]).unwrap();
    assert!(bad(&Signed { descriptor: easier.to_toml(), ..good.clone() }, DocumentRole::Policy));

    for bit in 0..512 {
        let mut forged = good.clone();
        forged.signatures[1].signature[bit / 8] ^= 1 << (bit % 8);
        assert!(bad(&forged, DocumentRole::Policy), "{bit}");
    }
}

/// R31, B4.
#[test]
fn what_is_no_signed_document_is_refused_in_bounded_room() {
    let good = signed("text", DocumentRole::Policy, &[1, 2]).to_json();
    for bad in [
        String::new(),
        "[]".into(),
        format!("{good}x"),
        good.replacen('{', "{\"more\": 1,", 1),
        good.replacen("\"document\"", "\"document\": \"x\", \"document\"", 1),
        format!("{{\"descriptor\": {}1{}", "[".repeat(60_000), "]".repeat(60_000)),
    ] {
        assert!(matches!(Signed::from_json(bad.as_bytes()), Err(SignedError::Malformed(_))), "{bad}");
    }
    assert_eq!(Signed::from_json(&vec![b' '; Signed::LIMIT + 1]), Err(SignedError::TooLarge));
    let mut large = Signed::new(&acme(), &"x".repeat(Signed::DOCUMENT_MAX + 1));
    assert_eq!(large.verify(DocumentRole::Policy), Err(SignedError::TooLarge));
    assert_eq!(large.sign(DocumentRole::Policy, &key(1)), Err(SignedError::TooLarge));
}

fn guest() -> TdxIdentity {
    TdxIdentity {
        mrtd: [1; 48],
        rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]],
        mrconfigid: [6; 48],
        mrowner: [7; 48],
        mrownerconfig: [8; 48],
        mrservicetd: [9; 48],
        attributes: 0,
        xfam: 0,
        tee_tcb_svn: [0; 16],
        mrseam: [0; 48],
    }
}

fn manifest(except: &[&str]) -> Manifest {
    let registers = GuestRegisters::from(&guest());
    Manifest::new(acme().id(), "wallet", 3, &registers, except).unwrap()
}

/// A guest that differs in one register.
fn other(register: &str) -> TdxIdentity {
    let mut other = guest();
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &mut other.rtmr;
    let edited = match register {
        "MRTD" => &mut other.mrtd,
        "RTMR0" => rtmr0,
        "RTMR1" => rtmr1,
        "RTMR2" => rtmr2,
        "RTMR3" => rtmr3,
        "MRCONFIGID" => &mut other.mrconfigid,
        "MROWNER" => &mut other.mrowner,
        "MROWNERCONFIG" => &mut other.mrownerconfig,
        "MRSERVICETD" => &mut other.mrservicetd,
        unknown => panic!("{unknown}"),
    };
    edited[47] ^= 1;
    other
}

/// R25, R26: an image is all nine registers, but for the exceptions that its owner names.
#[test]
fn a_manifest_is_for_one_image() {
    let all = manifest(&[]);
    let most = manifest(&["rtmr3", "mrconfigid"]);
    assert_eq!(all.check(&guest()), Ok(()));
    assert_eq!(most.except().collect::<Vec<_>>(), ["RTMR3", "MRCONFIGID"]);
    for register in GuestRegisters::NAMES {
        assert_eq!(all.check(&other(register)), Err(register));
        let excepted = ["RTMR3", "MRCONFIGID"].contains(&register);
        assert_eq!(most.check(&other(register)), if excepted { Ok(()) } else { Err(register) });
    }
}

#[test]
fn it_grants_one_product_of_one_owner_up_to_a_version() {
    let manifest = manifest(&[]);
    for svn in 0..=3 {
        assert_eq!(manifest.entitles(&guest(), &acme().id(), "wallet", svn), Ok(()));
    }
    for (owner, product, svn, why) in [
        (acme().id(), "wallet", 4, NotEntitled::Svn),
        (acme().id(), "wallet", u32::MAX, NotEntitled::Svn),
        (acme().id(), "wallet2", 0, NotEntitled::Product),
        (acme().id(), "", 0, NotEntitled::Product),
        ([0; 32], "wallet", 0, NotEntitled::Owner),
    ] {
        assert_eq!(manifest.entitles(&guest(), &owner, product, svn), Err(why));
    }
    let other = other("RTMR2");
    assert_eq!(manifest.entitles(&other, &acme().id(), "wallet", 0), Err(NotEntitled::Register("RTMR2")));
}

#[test]
fn only_its_owner_signs_it() {
    let document = manifest(&["rtmr3"]).not_after(1_893_456_000).to_toml();
    assert!(document.contains("not_after = 2030-01-01\n"));
    let read = Manifest::verify(&signed(&document, DocumentRole::Manifest, &[1, 2])).unwrap();
    assert_eq!((read.to_toml(), read.expires()), (document.clone(), Some(1_893_456_000)));
    assert_eq!(read, manifest(&["rtmr3"]).not_after(1_893_456_000));

    let below = signed(&document, DocumentRole::Manifest, &[1]);
    assert!(matches!(Manifest::verify(&below), Err(ManifestError::Signed(SignedError::TooFew { .. }))));
    let policy = signed(&document, DocumentRole::Policy, &[1, 2]);
    assert!(matches!(Manifest::verify(&policy), Err(ManifestError::Signed(SignedError::BadSignature(_)))));

    // Others sign it as if they were the owner.
    let others = Descriptor::new("acme", 1, &[public(9)]).unwrap();
    let mut theirs = Signed::new(&others, &document);
    theirs.sign(DocumentRole::Manifest, &key(9)).unwrap();
    assert_eq!(Manifest::verify(&theirs), Err(ManifestError::OtherOwner));
}

/// R14, R26, R108.
#[test]
fn a_manifest_is_exactly_one_shape() {
    let good = manifest(&["rtmr3"]).to_toml();
    assert_eq!(Manifest::from_toml(&good).unwrap(), manifest(&["rtmr3"]));
    let rtmr3 = format!("rtmr3 = \"{}\"\n", hex::encode([5; 48]));
    let mrtd = format!("mrtd = \"{}\"\n", hex::encode([1; 48]));
    for bad in [
        good.replace("version = 1", "version = 2"),
        format!("grace = 1\n{good}"),
        good.replace("svn = 3\n", ""),
        good.replace("svn = 3", "svn = -1"),
        good.replace("svn = 3", "svn = 4294967296"),
        good.replace("svn = 3", "svn = 3\nnot_after = \"2030-01-01\""),
        good.replace("svn = 3", "svn = 3\nnot_after = 1969-12-31"),
        good.replace("svn = 3", "svn = 3\nnot_after = 12:00:00"),
        good.replace("\"wallet\"", "\"\""),
        good.replace("\"wallet\"", "\"a/b\""),
        good.replace("owner = \"", "owner = \"00"),
        format!("{good}{rtmr3}"),
        format!("{good}mrseam = \"{}\"\n", hex::encode([5; 48])),
        good.replace("except = [\"rtmr3\"]\n", ""),
        good.replace("[\"rtmr3\"]", "[\"rtmr3\", \"rtmr3\"]"),
        good.replace("[\"rtmr3\"]", "[\"rtmr3\", \"rtmr4\"]"),
        good.replace("[\"rtmr3\"]", "[\"RTMR3\"]"),
        good.replace(&mrtd, "").replace("[\"rtmr3\"]", "[\"rtmr3\", \"mrtd\"]"),
        good.replace(&mrtd, &format!("mrtd = \"{}\"\n", hex::encode([0; 48]))),
        good.replace(&mrtd, &mrtd.to_uppercase().replace("MRTD", "mrtd").replacen("01", "1", 1)),
        good.replace(&mrtd, ""),
    ] {
        assert_eq!(Manifest::from_toml(&bad).unwrap_err().code(), "manifest.invalid", "{bad}");
    }
    assert!(Manifest::new([1; 32], "p", 0, &GuestRegisters::from(&guest()), &["mrtd"]).is_err());
}
