//! `docs/spec/openapi.yaml` says what the service does: the same routes, and shapes that are accepted and sent exactly where it
//! says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_attest::TlsSide;
use bulla_crypto::{Secret, SigningKey};
use bulla_protocol::v1::{
    Algorithm, Answer, Binding, Challenge, Custody, EvidenceKind, FutureKey, Order, PublicKey, Recipient,
    Recovery, Register, Selector, SessionAnswer, SessionOrder, SessionRequest, Statement,
};
use bulla_protocol::{Code, Descriptor, Problem, Signed};
use bulla_sim::TdDescription;
use regex_lite::Regex;
use serde_json::{Value, json};

use support::tls::{config, connect_tls};
use support::{Client, Http, Site};

const DOCUMENT: &str = include_str!("../../../docs/spec/openapi.yaml");

fn document() -> Value {
    serde_norway::from_str(DOCUMENT).unwrap()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The keywords of JSON Schema (2020-12) that the document uses, and `x-bytes`. Another one fails the test.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, wanted)| match keyword.as_str() {
        "description" | "contentEncoding" => true,
        "$ref" => fits(document, document.pointer(&wanted.as_str().unwrap()[1..]).unwrap(), value),
        "const" => value == wanted,
        "enum" => wanted.as_array().unwrap().contains(value),
        "oneOf" => {
            wanted.as_array().unwrap().iter().filter(|schema| fits(document, schema, value)).count() == 1
        }
        "type" => match wanted.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            other => panic!("type {other}"),
        },
        "minimum" => value.as_u64().is_some_and(|found| found >= wanted.as_u64().unwrap()),
        "maximum" => value.as_u64().is_some_and(|found| found <= wanted.as_u64().unwrap()),
        "minItems" => value.as_array().is_some_and(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
        "maxItems" => value.as_array().is_some_and(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
        "pattern" => {
            value.as_str().is_some_and(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text))
        }
        "x-bytes" => {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            let [least, most] = [&wanted[0], &wanted[1]].map(|number| number.as_u64().unwrap());
            bytes.is_some_and(|bytes| (least..=most).contains(&(bytes.len() as u64)))
        }
        "items" => {
            value.as_array().is_some_and(|items| items.iter().all(|item| fits(document, wanted, item)))
        }
        "required" => {
            wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        "properties" => value.as_object().is_some_and(|fields| {
            fields
                .iter()
                .all(|(name, value)| wanted.get(name).is_none_or(|schema| fits(document, schema, value)))
        }),
        "additionalProperties" => {
            assert_eq!(wanted, false);
            let known = schema["properties"].as_object().unwrap();
            value.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains_key(name)))
        }
        other => panic!("the keyword {other}"),
    })
}

/// Every route of the service is in the document, and the other way round.
#[test]
fn routes_agree() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admit/http.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let route = Regex::new(r#"\.route\(\s*"([^"]+)",\s*(get|post)\("#).unwrap();
    let served: BTreeSet<_> =
        route.captures_iter(&source).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    assert_eq!(served.len(), source.matches(".route(").count(), "a route is written in another way");
    let document = document();
    let described: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(served, described);

    let site = Site::new();
    let running = site.start();
    for (path, method) in described {
        let schema = |at: &str| document["paths"][&path][&method].pointer(at).cloned();
        let (method, body) = (method.to_uppercase(), if method == "post" { "{}" } else { "" });
        let head = format!("{method} {path} HTTP/1.1\r\nhost: p\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut http = Http::new(running.http);
        let (status, media, body) = http.raw(&head, body.as_bytes());
        match status {
            204 => assert!(schema("/responses/204").is_some(), "{path}"),
            200 => {
                let next = schema("/responses/200/headers/Bulla-Challenge");
                let sent = http.next_challenge().map(|challenge| json_of(&challenge));
                assert_eq!(next.is_some(), sent.is_some(), "{path}");
                let header = "/components/headers/Next/content/application~1json/schema";
                let header = document.pointer(header).unwrap();
                assert!(sent.is_none_or(|sent| fits(&document, header, &sent)), "{path}");
                let schema = schema("/responses/200/content/application~1json/schema").expect(&path);
                assert!(fits(&document, &schema, &serde_json::from_slice(&body).unwrap()), "{path}");
            }
            _ => {
                assert_eq!((status, media.as_str()), (400, "application/problem+json"), "{path}");
                assert!(schema("/responses/default").is_some(), "{path}");
                assert!(fits(&document, &reference("Problem"), &serde_json::from_slice(&body).unwrap()));
            }
        }
    }
}

/// B4: a message is one of the document exactly if it is one of the protocol: as it is, with a field more or less, and with a
/// value of another type or length.
fn agree(name: &str, message: &Value, read: impl Fn(&[u8]) -> bool) {
    let document = document();
    let check = |value: &Value, what: &str| {
        let (described, accepted) =
            (fits(&document, &reference(name), value), read(&serde_json::to_vec(value).unwrap()));
        assert_eq!(described, accepted, "{name} {what}");
        accepted
    };
    assert!(check(message, "as it is"));
    let mut pointers = vec![String::new()];
    let mut next = 0;
    while let Some(at) = pointers.get(next).cloned() {
        next += 1;
        let edited = |edit: &dyn Fn(&mut Value)| {
            let mut copy = message.clone();
            edit(copy.pointer_mut(&at).unwrap());
            copy
        };
        match message.pointer(&at).unwrap() {
            Value::Object(fields) => {
                check(&edited(&|value| value["more"] = json!(1)), &format!("{at} with a field more"));
                for field in fields.keys() {
                    let without = edited(&|value| drop(value.as_object_mut().unwrap().remove(field)));
                    check(&without, &format!("{at} without {field}"));
                    pointers.push(format!("{at}/{field}"));
                }
            }
            Value::Array(items) => {
                check(&edited(&|value| *value = json!({})), &format!("{at} no list"));
                pointers.extend((0..items.len()).map(|index| format!("{at}/{index}")));
            }
            Value::Number(_) => {
                for other in [json!("1"), json!(1.5), json!(-1), json!(null), json!(u64::MAX)] {
                    check(&edited(&|value| *value = other.clone()), &at);
                }
            }
            _ => {
                for other in
                    [json!(1), json!(null), json!("no such name"), json!(""), json!("AAA="), json!(["A"])]
                {
                    check(&edited(&|value| *value = other.clone()), &at);
                }
            }
        }
    }
}

/// Whether a message whose bounds are not judged where it is read is one.
fn reads<T: serde::de::DeserializeOwned>(json: &[u8]) -> bool {
    serde_json::from_slice::<T>(json).is_ok()
}

fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn future_key(root_id: [u8; 16]) -> FutureKey {
    let key =
        Selector { path: "inbox".into(), purpose: "mail".into(), algorithm: Algorithm::XWing, length: 32 };
    FutureKey {
        binding: Binding::Owner { owner: [1; 32], product: "wallet".into(), svn: 1 },
        registers: Vec::new(),
        attributes: [0; 8],
        root_id,
        instance: Some("one".into()),
        key,
    }
}

#[test]
fn orders_agree() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    client.request.instance = Some("one".into());
    let owner = Binding::Owner { owner: [1; 32], product: "wallet".into(), svn: 1 };
    let registers = Binding::Registers { name: "app".into(), version: 1 };
    let key = SigningKey::from_seed(Secret::new([1; 32]));
    let descriptor = Descriptor::new("a", 1, &[key.verifying_key()]).unwrap();
    let mut manifest = Signed::new(&descriptor, "text");
    manifest.sign(bulla_protocol::DocumentRole::Manifest, &key).unwrap();
    for binding in [Binding::Measurement, owner, registers] {
        client.request.binding = binding;
        let order = Order {
            manifest: Some(manifest.clone()),
            event_log: Some(vec![1; 3]),
            ..client.order(&site.machine(), &TdDescription::default_guest())
        };
        agree("Order", &json_of(&order), |json| Order::from_json(json).is_ok());
    }
    let many = |count: usize| {
        let mut order = client.order(&site.machine(), &TdDescription::default_guest());
        order.request.keys = vec![order.request.keys[0].clone(); count];
        json_of(&order)
    };
    let document = document();
    for count in [0, 1, 256, 257] {
        let (described, order) = (fits(&document, &reference("Order"), &many(count)), many(count));
        assert_eq!(described, Order::from_json(&serde_json::to_vec(&order).unwrap()).is_ok(), "{count}");
    }
}

#[test]
fn sessions_agree() {
    let site = Site::new();
    let running = site.start();
    let tls = connect_tls(running.https, &config());
    let label = TlsSide::Client.exporter_label().as_bytes();
    let exporter = Secret::new(tls.conn.export_keying_material([0; 32], label, None).unwrap());
    let data = TlsSide::Client.report_data(&exporter);
    let evidence = site.machine().td_quote(&TdDescription::default_guest(), data.as_bytes()).unwrap();
    let mut http = Http::over(tls);
    let order = SessionOrder { version: 1, kind: EvidenceKind::TdxQuote, evidence };
    agree("SessionOrder", &json_of(&order), |json| SessionOrder::from_json(json).is_ok());
    let document = document();
    let answer: Value = http.post("/v1/session", &serde_json::to_vec(&order).unwrap()).unwrap();
    assert!(
        fits(&document, &reference("SessionAnswer"), &answer)
            && reads::<SessionAnswer>(&serde_json::to_vec(&answer).unwrap())
    );

    let key = SigningKey::from_seed(Secret::new([1; 32]));
    let descriptor = Descriptor::new("a", 1, &[key.verifying_key()]).unwrap();
    let mut manifest = Signed::new(&descriptor, "text");
    manifest.sign(bulla_protocol::DocumentRole::Manifest, &key).unwrap();
    let mut request = SessionRequest {
        binding: Binding::Measurement,
        root_id: running.identity.root_id,
        instance: Some("one".into()),
        manifest: Some(manifest),
        keys: vec![Selector {
            path: "a".into(),
            purpose: "b".into(),
            algorithm: Algorithm::HkdfSha384,
            length: 16,
        }],
    };
    let owner = Binding::Owner { owner: [1; 32], product: "wallet".into(), svn: 1 };
    for binding in [owner, Binding::Registers { name: "app".into(), version: 1 }, Binding::Measurement] {
        request.binding = binding;
        agree("SessionRequest", &json_of(&request), |json| SessionRequest::from_json(json).is_ok());
    }
    for count in [1, 256] {
        request.keys = vec![Selector { length: 64, ..request.keys[0].clone() }; count];
        let keys: Value = http.post("/v1/session/keys", &serde_json::to_vec(&request).unwrap()).unwrap();
        assert!(fits(&document, &reference("SessionKeys"), &keys));
    }
}

#[test]
fn descriptions_and_answers_agree() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let order = client.order(&site.machine(), &TdDescription::default_guest());
    let answer = client.send(&order).unwrap();
    let document = document();
    let next = "/paths/~1v1~1keys/post/responses/200/headers/Bulla-Challenge";
    assert!(document.pointer(next).is_some() && client.http.next_challenge().is_some());
    let sent =
        |name: &str, value: &Value| assert!(fits(&document, &reference(name), value), "{name} {value}");
    sent("Answer", &json_of(&answer));
    sent("Statement", &json_of(&client.statement));
    let wanted = future_key(client.request.root_id);
    let public: PublicKey =
        client.http.post("/v1/public-key", &serde_json::to_vec(&wanted).unwrap()).unwrap();
    sent("PublicKey", &json_of(&public));
    agree("FutureKey", &json_of(&wanted), |json| {
        // That an algorithm has no public half is no matter of shape.
        matches!(FutureKey::from_json(json), Ok(_) | Err(Code::Unsupported)) && reads::<FutureKey>(json)
    });
    let register = Register { name: "MRTD".into(), value: [1; 48] };
    sent("FutureKey", &json_of(&FutureKey { registers: vec![register], ..wanted }));
    let challenge: Challenge = client.http.get("/v1/challenge").unwrap();
    sent("Challenge", &json_of(&challenge));

    // What a client reads: fixed lengths, and nothing unknown.
    let full = Statement {
        custody: Custody::Keyring,
        recovery: Some(Recovery { threshold: 2, recipients: vec![Recipient { id: [1; 32] }] }),
        ..client.statement.clone()
    };
    for (name, value) in [("Statement", json_of(&full)), ("Answer", json_of(&answer))] {
        for field in value.as_object().unwrap().keys() {
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove(field);
            let read = match name {
                "Statement" => reads::<Statement>(&serde_json::to_vec(&without).unwrap()),
                _ => reads::<Answer>(&serde_json::to_vec(&without).unwrap()),
            };
            assert_eq!(read, fits(&document, &reference(name), &without), "{name} without {field}");
        }
    }
}

/// R55: the codes are those of the document, and each problem is one.
#[test]
fn codes_agree() {
    let document = document();
    let described = document.pointer("/components/schemas/Problem/properties/code/enum").unwrap();
    let described: BTreeSet<_> =
        described.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(described, known);
    for code in Code::ALL {
        assert!(fits(&document, &reference("Problem"), &json_of(&Problem::from(*code))), "{code:?}");
        let retry = code.retry_after();
        assert!(
            retry.is_none_or(|seconds| seconds > 0 && [429, 503].contains(&code.http_status())),
            "{code:?}"
        );
    }
    let specification = include_str!("../../../docs/spec/protocol.md");
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.http_status());
        assert!(specification.contains(&row), "protocol.md has no row {row}");
    }
}
