//! The frozen vectors of `docs/spec/documents.md` (R12), which `tests/python/documents.py` computes too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla_crypto::{Secret, SigningKey};
use bulla_protocol::{Descriptor, DocumentRole, Manifest, NotEntitled, Signed};
use bulla_tee::TdxIdentity;
use serde_json::Value;

fn vectors(group: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/documents-v1.json")).unwrap();
    let cases = vectors[group].as_array().unwrap().clone();
    assert!(cases.len() > 3);
    cases
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap()
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn keys_are_those_of_the_vectors() {
    for case in vectors("keys") {
        let key = SigningKey::from_seed(Secret::new(bytes(text(&case, "seed"))));
        assert_eq!(hex::encode(key.verifying_key().as_bytes()), text(&case, "public"));
    }
}

#[test]
fn descriptors_have_the_ids_of_the_vectors() {
    for case in vectors("descriptors") {
        let id = Descriptor::from_toml(text(&case, "toml")).ok().map(|found| hex::encode(found.id()));
        assert_eq!(id.as_deref(), case["id"].as_str(), "{case}");
    }
}

#[test]
fn signatures_cover_the_messages_of_the_vectors() {
    for case in vectors("messages") {
        let role = DocumentRole::ALL.into_iter().find(|role| role.as_str() == text(&case, "role")).unwrap();
        let message = Signed::message(role, &bytes(text(&case, "signers")), text(&case, "document"));
        assert_eq!(hex::encode(message.as_bytes()), text(&case, "encoded"));
    }
}

#[test]
fn signed_documents_are_judged_as_in_the_vectors() {
    for case in vectors("signed") {
        let signed = Signed::from_json(case["signed"].to_string().as_bytes()).unwrap();
        for role in DocumentRole::ALL {
            let verdict = match signed.verify(role) {
                Ok(verified) => hex::encode(verified.id),
                Err(error) => error.code().into(),
            };
            assert_eq!(verdict, text(&case["verdicts"], role.as_str()), "{} as {role:?}", case["name"]);
        }
    }
}

/// Signing is deterministic, so what the vectors have is what is written now.
#[test]
fn signing_again_gives_the_same_document() {
    let keys: Vec<_> = vectors("keys")
        .iter()
        .map(|case| SigningKey::from_seed(Secret::new(bytes(text(case, "seed")))))
        .collect();
    let case = &vectors("signed")[0];
    let wanted = Signed::from_json(case["signed"].to_string().as_bytes()).unwrap();
    let mut again = Signed { signatures: Vec::new(), ..wanted.clone() };
    keys[..2].iter().for_each(|key| again.sign(DocumentRole::Policy, key).unwrap());
    assert_eq!(again, wanted);
}

#[test]
fn manifests_grant_what_they_grant_in_the_vectors() {
    for case in vectors("manifests") {
        let ask = &case["ask"];
        let register = |name| bytes::<48>(text(&ask["guest"], name));
        let guest = TdxIdentity {
            mrtd: register("mrtd"),
            rtmr: ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].map(register),
            mrconfigid: register("mrconfigid"),
            mrowner: register("mrowner"),
            mrownerconfig: register("mrownerconfig"),
            mrservicetd: register("mrservicetd"),
            attributes: 0,
            xfam: 0,
            tee_tcb_svn: [0; 16],
            mrseam: [0; 48],
        };
        let svn = ask["svn"].as_u64().unwrap().try_into().unwrap();
        let verdict = match Manifest::from_toml(text(&case, "toml")) {
            Err(error) => error.code().to_owned(),
            Ok(manifest) => {
                match manifest.entitles(&guest, &bytes(text(ask, "owner")), text(ask, "product"), svn) {
                    Ok(()) => "granted".into(),
                    Err(NotEntitled::Owner) => "owner".into(),
                    Err(NotEntitled::Product) => "product".into(),
                    Err(NotEntitled::Svn) => "svn".into(),
                    Err(NotEntitled::Register(name)) => name.to_lowercase(),
                    Err(other) => panic!("{other}"),
                }
            }
        };
        assert_eq!(verdict, text(&case, "verdict"), "{}", case["name"]);
    }
}
