//! Asking for keys: what works, what is refused before anything is sent, and edits on the way.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_client::{Client, Error, Pin, Wanted};
use bulla_crypto::{Class, SigningKey};
use bulla_protocol::Code;
use bulla_protocol::v1::{Algorithm, Answer, Selector};
use serde_json::Value;

use crate::provider::{Message, Provider};
use crate::server::{Reply, Server};
use crate::world::{PIN, ROOT_ID, World, enclave_of, identity};

const POST: &str = "POST /v1/keys";

/// The code of the failure; a key would be one too many.
pub(crate) fn code(client: &Client) -> &'static str {
    failure(client).code()
}

pub(crate) fn failure(client: &Client) -> Error {
    client.request("app/db", "disk", 32).err().expect("there must be no key")
}

fn selector() -> Selector {
    Selector { path: "app/wal".into(), purpose: "disk".into(), algorithm: Algorithm::HkdfSha384, length: 48 }
}

fn disk() -> Wanted {
    Wanted::key("app/db", "disk", 32).unwrap()
}

#[test]
fn a_guest_gets_its_key_again_and_nothing_else_the_same() {
    let world = World::new();
    let server = world.provider().serve();
    let client = world.client(&server.url);
    let key = client.request("app/db", "disk", 32).unwrap();
    assert!(key.expose().len() == 32 && !key.is_zero());

    let again = world.client(&server.url).request("app/db", "disk", 32).unwrap();
    assert!(again.ct_eq(&key));
    let again = client.keys(&disk()).unwrap();
    assert!(again.root_id == ROOT_ID && again.into_first().ct_eq(&key));
    assert!(client.keys(&disk().from_root(ROOT_ID)).unwrap().into_first().ct_eq(&key));

    let (other_path, other_purpose) = ("app/other", "backup");
    assert!(!client.request(other_path, "disk", 32).unwrap().ct_eq(&key));
    assert!(!client.request("app/db", other_purpose, 32).unwrap().ct_eq(&key));
    let longer = client.request("app/db", "disk", 64).unwrap();
    assert!(longer.expose().len() == 64 && longer.expose()[..32] != *key.expose());
    let other = world.client_of(world.other_guest(), &server.url, PIN);
    assert!(!other.request("app/db", "disk", 32).unwrap().ct_eq(&key));
}

/// A challenge is good only on the connection that got it, so all of one request goes over one.
#[test]
fn one_request_is_one_connection() {
    let world = World::new();
    let server = world.provider().serve();
    let client = world.client(&server.url);
    for connection in 0..2 {
        client.request("app/db", "disk", 32).unwrap();
        let lines = ["GET /v1/provider", "GET /v1/challenge", POST].map(|line| (connection, line.to_owned()));
        assert_eq!(server.calls()[connection * 3..], lines);
    }
}

#[test]
fn a_stale_challenge_is_replaced_once() {
    let world = World::new();
    let closes = |close_after_challenge| Provider { close_after_challenge, ..world.provider() }.serve();
    let once = closes(1);
    world.client(&once.url).request("app/db", "disk", 32).unwrap();
    assert_eq!((once.count("GET /v1/challenge"), once.count(POST)), (2, 1));

    let always = closes(usize::MAX);
    let error = failure(&world.client(&always.url));
    assert_eq!((error.code(), error.class(), always.count(POST)), ("peer.closed", Class::Peer, 0));

    // The provider has seen every challenge before, and says so.
    let forgetful = Server::start({
        let provider = world.provider();
        move |call| {
            provider.challenges.lock().unwrap().clear();
            provider.reply(call).unwrap_or_else(Reply::Problem)
        }
    });
    let error = failure(&world.client(&forgetful.url));
    assert!(matches!(error, Error::Refused(Code::StaleChallenge)), "{error}");
    assert_eq!((error.class(), forgetful.count(POST)), (Class::Peer, 2));
}

#[test]
fn selectors_are_checked_before_anyone_is_asked() {
    let world = World::new();
    let server = world.provider().serve();
    let client = world.client(&server.url);
    let long = "x".repeat(257);
    for (path, purpose, length) in [
        ("", "disk", 32),
        ("a b", "disk", 32),
        (&long, "disk", 32),
        ("app/db", "", 32),
        ("app/db", "Disk", 32),
        ("app/db", "disk", 15),
        ("app/db", "disk", 65),
    ] {
        let error = client.request(path, purpose, length).err().unwrap();
        assert_eq!(
            (error.code(), error.class()),
            ("usage.selectors", Class::Usage),
            "{path} {purpose} {length}"
        );
    }
    // The sealing key has one use.
    for path in ["bulla/envelope", "bulla/"] {
        assert_eq!(client.request(path, "sealing", 32).err().unwrap().code(), "usage.reserved_path");
        let key = Selector { path: path.into(), ..selector() };
        assert_eq!(disk().and(key).err().unwrap().code(), "usage.reserved_path");
    }
    assert_eq!(server.calls(), []);
}

/// R38, R39: whoever edits one selector on the way gets nothing accepted, even by a provider that would answer anything.
#[test]
fn every_edit_of_an_order_is_refused() {
    let world = World::new();
    let fields = [
        "/request/version",
        "/request/suite",
        "/request/binding",
        "/request/root_id",
        "/request/provider_key",
        "/request/public_key",
        "/request/challenge",
        "/request/keys/0/path",
        "/request/keys/0/purpose",
        "/request/keys/0/algorithm",
        "/request/keys/0/length",
        "/evidence",
    ];
    for field in fields {
        let mut provider = world.provider().edited(move |message, json| {
            if message == Message::Order {
                flip(json.pointer_mut(field).unwrap());
            }
        });
        provider.strict_challenges = false;
        let mut other_root = ROOT_ID;
        other_root[0] ^= 1;
        provider.roots.insert(other_root, [0x44; 32]);
        let server = provider.serve();
        let error = failure(&world.client(&server.url));
        assert_eq!((error.code(), server.count(POST)), ("untrusted_provider.answer", 1), "{field}: {error}");
        assert_eq!(error.class(), Class::Refused);
    }
    let provider = world.provider().edited(|message, json| {
        if message == Message::Order {
            flip(&mut json["kind"]);
        }
    });
    assert_eq!(code(&world.client(&provider.serve().url)), "malformed");
}

/// R39, R41, B21.
#[test]
fn every_edit_of_an_answer_is_refused() {
    let world = World::new();
    for field in ["encapsulated_key", "ciphertext", "head", "signature"] {
        let provider = world.provider().edited(move |message, json| {
            if message == Message::Answer {
                flip(&mut json[field]);
            }
        });
        assert_eq!(code(&world.client(&provider.serve().url)), "untrusted_provider.answer", "{field}");
    }
}

/// R40: the quote covers every field of the statement.
#[test]
fn every_edit_of_a_statement_is_refused() {
    let world = World::new();
    for field in [
        "/signing_key",
        "/authority",
        "/policy_digest",
        "/policy_version",
        "/custody",
        "/roots/0/epoch",
        "/roots/0/id",
        "/roots/0/commitment",
    ] {
        let server = world
            .provider()
            .edited(move |message, json| {
                if message == Message::Statement {
                    flip(json.pointer_mut(field).unwrap());
                }
            })
            .serve();
        assert_eq!(code(&world.client(&server.url)), "untrusted_provider.statement", "{field}");
        assert_eq!(server.calls().len(), 1, "{field}");
    }
    let provider = world.provider().edited(|message, json| {
        if message == Message::Statement {
            flip(&mut json["quote"]);
        }
    });
    let error = failure(&world.client(&provider.serve().url));
    assert!(matches!(error, Error::ProviderEvidence(_)), "{error}");
    assert_eq!(error.class(), Class::Refused);
}

/// A challenge that was edited is the provider's to refuse; one that is too long never gets into a request.
#[test]
fn an_edited_challenge_gets_nothing() {
    let world = World::new();
    let edited = |edit: fn(&mut Value)| {
        world
            .provider()
            .edited(move |message, json| {
                if message == Message::Challenge {
                    edit(&mut json["challenge"]);
                }
            })
            .serve()
    };
    assert_eq!(code(&world.client(&edited(flip).url)), "stale-challenge");
    let long = edited(|challenge| *challenge = STANDARD.encode([0; 65]).into());
    assert_eq!((code(&world.client(&long.url)), long.count(POST)), ("peer.malformed", 0));
}

/// R39, B21: an answer belongs to one order.
#[test]
fn the_answer_to_another_client_is_refused() {
    let world = World::new();
    let first = Arc::new(Mutex::new(None));
    let provider = world.provider().edited(move |message, json| {
        if message == Message::Answer {
            let mut first = first.lock().unwrap();
            *json = first.get_or_insert_with(|| json.clone()).clone();
        }
    });
    let server = provider.serve();
    world.client(&server.url).request("app/db", "disk", 32).unwrap();
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.answer");
}

/// B21: somebody who has everything but the provider's signing key.
#[test]
fn an_answer_by_another_key_is_refused() {
    let world = World::new();
    let forger = Some(SigningKey::generate().unwrap());
    let server = Provider { forger, ..world.provider() }.serve();
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.answer");

    // The same with their own key in the statement, which the quote does not cover.
    let forger = SigningKey::generate().unwrap();
    let public = STANDARD.encode(forger.verifying_key().as_bytes());
    let mut provider = world.provider().edited(move |message, json| {
        if message == Message::Statement {
            json["signing_key"] = public.clone().into();
        }
    });
    provider.statement.signing_key = *forger.verifying_key().as_bytes();
    provider.forger = Some(forger);
    let server = provider.serve();
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.statement");
    assert_eq!(server.count(POST), 0);
}

/// R41: even the provider's own signature does not make another transcript or another length right.
#[test]
fn a_signed_answer_must_still_be_the_one_that_was_asked_for() {
    let world = World::new();
    let server = Provider { other_transcript: true, ..world.provider() }.serve();
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.answer");
    let server = Provider { longer: 1, ..world.provider() }.serve();
    let error = failure(&world.client(&server.url));
    assert!(matches!(error, Error::BadAnswer(what) if what.contains("length")), "{error}");
}

/// R40: a key is only ever asked from the root of the pin, or from a recorded one.
#[test]
fn roots_are_pinned_or_recorded() {
    let world = World::new();
    let newer = [0x08; 16];
    let mut provider = Provider::new(&enclave_of(&world.machine, &identity()), PIN.authority, newer);
    provider.roots.insert(ROOT_ID, [0x44; 32]);
    let server = provider.serve();
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.root");

    let any_root = Pin { root_id: None, ..PIN };
    let client = world.client_of(world.guest(), &server.url, any_root);
    let new = client.keys(&disk()).unwrap();
    let old = client.keys(&disk().from_root(ROOT_ID)).unwrap();
    assert!(new.root_id == newer && old.root_id == ROOT_ID && !old.into_first().ct_eq(&new.into_first()));
    let unknown = client.keys(&disk().from_root([0x09; 16])).err().unwrap();
    assert_eq!((unknown.code(), unknown.class()), ("unknown-root", Class::Refused));
}

/// Nobody can make a client take a key that is bound to nothing of its own: an order never leaves without being answered
/// by what was judged in the same breath.
#[test]
fn a_provider_that_changes_between_two_messages_is_refused() {
    let world = World::new();
    let (judged, other) = (world.provider(), world.provider());
    let server = Server::start(move |call| {
        let provider = if call.line == POST { &other } else { &judged };
        match (call.line.as_str(), provider.reply(call)) {
            (_, Ok(reply)) => reply,
            (_, Err(code)) => Reply::Problem(code),
        }
    });
    // The other one does not know the challenge; if it did not care, its signature would be by its own key.
    assert_eq!(code(&world.client(&server.url)), "stale-challenge");
    let (judged, other) = (world.provider(), Provider { strict_challenges: false, ..world.provider() });
    let server = Server::start(move |call| {
        let provider = if call.line == POST { &other } else { &judged };
        provider.reply(call).unwrap_or_else(Reply::Problem)
    });
    assert_eq!(code(&world.client(&server.url)), "untrusted_provider.answer");
}

#[test]
fn an_answer_is_exactly_one_shape() {
    let world = World::new();
    type Shape = fn(&mut Value);
    let shapes: [Shape; 5] = [
        |json| *json = Value::Null,
        |json| json["more"] = 1.into(),
        |json| json["signature"] = "AA==".into(),
        |json| json["ciphertext"] = "not base64".into(),
        |json| {
            json.as_object_mut().unwrap().remove("ciphertext");
        },
    ];
    for shape in shapes {
        let provider = world.provider().edited(move |message, json| {
            if message == Message::Answer {
                shape(json);
                assert!(serde_json::from_value::<Answer>(json.clone()).is_err());
            }
        });
        let error = failure(&world.client(&provider.serve().url));
        assert_eq!((error.code(), error.class()), ("peer.malformed", Class::Peer));
    }
}

/// Changes a number, a name, or one bit of base64.
fn flip(value: &mut Value) {
    *value = match &*value {
        Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
        Value::String(text) if text == "measurement" => {
            serde_json::json!({"registers": {"name": "measurement", "version": 1}})
        }
        Value::String(text) if text == "hkdf-sha256" => "hkdf-sha384".into(),
        Value::String(text) if text == "keyring" => "hardware".into(),
        Value::String(text) => match STANDARD.decode(text) {
            Ok(mut bytes) if bytes.len() >= 16 => {
                bytes[0] ^= 1;
                STANDARD.encode(bytes).into()
            }
            _ => format!("{text}x").into(),
        },
        other => panic!("{other} is no field of the protocol"),
    };
}
