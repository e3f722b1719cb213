use bulla_crypto::{HpkeSealed, sha256};
use serde_json::{Value, json};

use super::*;
use crate::{QUOTE_MAX, Signed};

fn selector() -> Selector {
    Selector { path: "app/db".into(), purpose: "disk".into(), algorithm: Algorithm::HkdfSha256, length: 32 }
}

fn owner() -> Binding {
    Binding::Owner { owner: [5; 32], product: "wallet".into(), svn: 7 }
}

fn request() -> Request {
    Request {
        version: VERSION,
        suite: SUITE_X25519,
        binding: owner(),
        root_id: [1; 16],
        provider_key: [2; 32],
        public_key: vec![3; 32],
        challenge: vec![4; 48],
        instance: Some("one".into()),
        keys: vec![selector()],
    }
}

/// Every value in a JSON document, by its pointer.
fn leaves(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{at}/{name}"), out))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| leaves(value, &format!("{at}/{i}"), out))
        }
        _ => out.push(at.into()),
    }
}

/// Another value of the same shape.
fn other(value: &Value) -> Value {
    match value {
        Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
        Value::String(text) if text == "hkdf-sha256" => "hkdf-sha384".into(),
        Value::String(text) if text == "hardware" => "keyring".into(),
        Value::String(text) if text.ends_with('=') || text.len() > 40 => {
            format!("{}{}", if text.starts_with('A') { "B" } else { "A" }, &text[1..]).into()
        }
        text => format!("{}x", text.as_str().unwrap()).into(),
    }
}

/// Every field of a document must change what is computed of it.
fn every_field_counts<T: serde::Serialize + DeserializeOwned>(
    original: &T,
    fields: usize,
    except: &str,
    computed: impl Fn(&T) -> Vec<u8>,
) {
    let json = serde_json::to_value(original).unwrap();
    let mut found = Vec::new();
    leaves(&json, "", &mut found);
    assert_eq!(found.len(), fields, "{found:?}");
    for at in found.iter().filter(|at| *at != except) {
        let mut edited = json.clone();
        let value = edited.pointer_mut(at).unwrap();
        *value = other(value);
        let edited: T = serde_json::from_value(edited).unwrap();
        assert_ne!(computed(&edited), computed(original), "{at}");
    }
}

/// R38: report data covers every field, so an edit of any of them shows.
#[test]
fn every_field_of_a_request_changes_the_report_data() {
    every_field_counts(&request(), 14, "", |request| request.report_data().as_bytes().to_vec());
    let registers = Binding::Registers { name: "firmware".into(), version: 1 };
    let with_registers = Request { binding: registers, ..request() };
    every_field_counts(&with_registers, 13, "", |request| request.report_data().as_bytes().to_vec());
}

/// R38: nor can what is in one field be read as being in another, or a key be left out, doubled or moved.
#[test]
fn no_two_requests_have_the_same_report_data() {
    let key =
        |path: &str, purpose: &str| Selector { path: path.into(), purpose: purpose.into(), ..selector() };
    let with = |edit: fn(&mut Request)| {
        let mut request = request();
        edit(&mut request);
        request
    };
    let requests = [
        request(),
        with(|r| r.instance = None),
        with(|r| r.instance = Some("two".into())),
        with(|r| r.binding = Binding::Measurement),
        with(|r| r.binding = Binding::Registers { name: "measurement".into(), version: 1 }),
        with(|r| r.keys.push(selector())),
        with(|r| r.keys[0].algorithm = Algorithm::X25519),
        with(|r| r.keys[0].algorithm = Algorithm::XWing),
        Request { keys: vec![key("a", "bc")], ..request() },
        Request { keys: vec![key("ab", "c")], ..request() },
        Request { keys: vec![key("a", "b"), key("c", "d")], ..request() },
        Request { keys: vec![key("c", "d"), key("a", "b")], ..request() },
    ];
    let unique: std::collections::HashSet<_> =
        requests.iter().map(|request| *request.report_data().as_bytes()).collect();
    assert_eq!(unique.len(), requests.len());
}

fn statement() -> Statement {
    Statement {
        signing_key: [1; 32],
        authority: [2; 32],
        policy_digest: [3; 32],
        policy_version: 4,
        custody: Custody::Hardware,
        roots: vec![RootName { epoch: 1, id: [5; 16], commitment: [6; 32] }],
        recovery: Some(Recovery { threshold: 2, recipients: vec![Recipient { id: [7; 32] }] }),
        quote: vec![8; 64],
    }
}

/// R39, R40: the provider's quote covers every field of its statement but itself.
#[test]
fn every_field_of_a_statement_changes_its_report_data() {
    every_field_counts(&statement(), 11, "/quote", |statement| statement.report_data().as_bytes().to_vec());
    let without = Statement { recovery: None, ..statement() };
    assert_ne!(without.report_data(), statement().report_data());
    let mut more = statement();
    more.roots.push(RootName { epoch: 2, id: [9; 16], commitment: [9; 32] });
    assert_ne!(more.report_data(), statement().report_data());
    assert_eq!(more.current_root().unwrap().epoch, 2);
    assert_eq!(more.root(&[5; 16]).unwrap().epoch, 1);
}

fn future_key() -> FutureKey {
    FutureKey {
        binding: owner(),
        registers: vec![Register { name: "MRTD".into(), value: [1; 48] }],
        attributes: [2; 8],
        root_id: [3; 16],
        instance: Some("one".into()),
        key: Selector { algorithm: Algorithm::XWing, ..selector() },
    }
}

#[test]
fn every_field_of_a_described_identity_is_signed_for() {
    let signed = |wanted: &FutureKey| PublicKey::signed(wanted, &statement(), &[9; 32]).as_bytes().to_vec();
    let json = serde_json::to_string(&future_key()).unwrap();
    assert_eq!(FutureKey::from_json(json.as_bytes()), Ok(future_key()));
    let x25519 =
        FutureKey { key: Selector { algorithm: Algorithm::HkdfSha256, ..selector() }, ..future_key() };
    every_field_counts(&x25519, 12, "", signed);
    assert_ne!(signed(&future_key()), signed(&FutureKey { instance: None, ..future_key() }));
    assert_eq!(
        FutureKey::from_json(&serde_json::to_vec(&x25519).unwrap()),
        Err(Code::Unsupported),
        "a key that has no public half"
    );
}

/// R39: the bytes of the specification, put together here by hand.
#[test]
fn an_answer_is_signed_as_specified() {
    let sealed = HpkeSealed { encapsulated_key: vec![6; 1120], ciphertext: vec![7; 48] };
    let transcript = Transcript { request: request().report_data(), evidence: [5; 32] };
    let provider = statement().report_data();
    let signed = Answer::signed(&transcript, &provider, &sealed, &[8; 32]);
    let parts: [(&str, &[u8]); 6] = [
        ("request", transcript.request.as_bytes()),
        ("evidence", &[5; 32]),
        ("provider", provider.as_bytes()),
        ("encapsulated key", &sha256(&[&[6; 1120]])),
        ("ciphertext", &sha256(&[&[7; 48]])),
        ("head", &[8; 32]),
    ];
    let texts = parts.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
    let expected = [&b"bulla/answer/v1"[..]].into_iter().chain(texts);
    let expected: Vec<u8> =
        expected.flat_map(|text| [&(text.len() as u32).to_be_bytes(), text].concat()).collect();
    assert_eq!(signed.as_bytes(), expected);
}

#[test]
fn selectors_have_bounds() {
    type Edit = fn(&mut Request);
    fn key(request: &mut Request) -> &mut Selector {
        &mut request.keys[0]
    }
    let cases: [(Edit, Code); 25] = [
        (|r| r.version = 2, Code::Unsupported),
        (|r| r.suite = 0, Code::Unsupported),
        (|r| r.suite = 3, Code::Unsupported),
        (|r| r.suite = SUITE_XWING, Code::BadPublicKey),
        (|r| r.public_key.push(0), Code::BadPublicKey),
        (|r| r.challenge = vec![0; 65], Code::Malformed),
        (|r| r.instance = Some(String::new()), Code::Malformed),
        (|r| r.instance = Some("x".repeat(65)), Code::Malformed),
        (|r| r.instance = Some("a b".into()), Code::Malformed),
        (|r| r.binding = Binding::Registers { name: String::new(), version: 1 }, Code::Malformed),
        (|r| r.binding = Binding::Registers { name: "x".repeat(65), version: 1 }, Code::Malformed),
        (|r| r.binding = Binding::Owner { owner: [0; 32], product: "\n".into(), svn: 1 }, Code::Malformed),
        (|r| r.keys.clear(), Code::Malformed),
        (|r| r.keys = vec![selector(); 257], Code::TooLarge),
        (|r| key(r).path.clear(), Code::Malformed),
        (|r| key(r).path = "x".repeat(257), Code::Malformed),
        (|r| key(r).path = "a b".into(), Code::Malformed),
        (|r| key(r).path = "a\u{0}".into(), Code::Malformed),
        (|r| key(r).purpose = "Disk".into(), Code::Malformed),
        (|r| key(r).purpose.clear(), Code::Malformed),
        (|r| key(r).purpose = "x".repeat(65), Code::Malformed),
        (|r| key(r).length = 15, Code::Malformed),
        (|r| key(r).length = 65, Code::Malformed),
        (|r| (key(r).algorithm, key(r).length) = (Algorithm::XWing, 64), Code::Malformed),
        (|r| r.keys.push(Selector { path: String::new(), ..selector() }), Code::Malformed),
    ];
    assert_eq!(request().check(), Ok(()));
    for (edit, code) in cases {
        let mut edited = request();
        edit(&mut edited);
        assert_eq!(edited.check(), Err(code), "{edited:?}");
    }
    assert_eq!(Request { keys: vec![selector(); KEYS_MAX], ..request() }.check(), Ok(()));
    let xwing = Request { suite: SUITE_XWING, public_key: vec![3; 1216], ..request() };
    assert_eq!(xwing.check(), Ok(()));
}

/// B4: an order with unknown, missing, duplicate or trailing parts is none.
#[test]
fn an_order_is_exactly_one_shape() {
    let manifest = Signed { descriptor: "d".into(), document: "m".into(), signatures: Vec::new() };
    let order = Order {
        request: request(),
        kind: EvidenceKind::TdxQuote,
        evidence: vec![9; 10],
        manifest: Some(manifest),
        event_log: Some(vec![1; 3]),
    };
    let json = serde_json::to_string(&order).unwrap();
    assert_eq!(Order::from_json(json.as_bytes()), Ok(order.clone()));
    let edited = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        json.replace(from, to)
    };
    for bad in [
        edited("\"kind\"", "\"more\":1,\"kind\""),
        edited("\"length\":32", "\"length\":32,\"length\":32"),
        edited("\"length\":32", "\"length\":32,\"more\":1"),
        edited(",\"length\":32", ""),
        edited("\"svn\":7", "\"svn\":7,\"svn\":7"),
        edited("\"svn\":7", "\"svn\":7,\"more\":7"),
        edited("\"svn\":7", "\"svn\":-7"),
        edited("\"event_log\":\"AQEB\"", "\"event_log\":null"),
        format!("{json} x"),
        edited("\"version\":1", &format!("\"version\":{}1{}", "[".repeat(99_999), "]".repeat(99_999))),
    ] {
        assert_eq!(Order::from_json(bad.as_bytes()), Err(Code::Malformed), "{}", &bad[..bad.len().min(900)]);
    }
    for unknown in [
        edited("tdx-quote", "sgx-quote"),
        edited("hkdf-sha256", "hkdf-sha512"),
        edited("{\"owner\":{", "{\"tenant\":{"),
    ] {
        assert_eq!(Order::from_json(unknown.as_bytes()), Err(Code::Unsupported));
    }
    let big = Order { evidence: vec![0; QUOTE_MAX + 1], ..order };
    assert_eq!(Order::from_json(&serde_json::to_vec(&big).unwrap()), Err(Code::TooLarge));
}

#[test]
fn bindings_and_algorithms_are_called_what_they_are_on_the_wire() {
    assert_eq!(serde_json::to_value(Binding::Measurement).unwrap(), json!("measurement"));
    for binding in [owner(), Binding::Registers { name: "a".into(), version: 1 }] {
        let json = serde_json::to_value(&binding).unwrap();
        assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), [binding.kind()]);
    }
    for algorithm in [Algorithm::HkdfSha256, Algorithm::HkdfSha384, Algorithm::X25519, Algorithm::XWing] {
        assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.as_str());
    }
    for custody in [Custody::Hardware, Custody::Keyring] {
        assert_eq!(serde_json::to_value(custody).unwrap(), custody.as_str());
    }
}
