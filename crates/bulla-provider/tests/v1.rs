//! Protocol v1, over real connections, with a machine in the middle.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::HashSet;

use bulla_crypto::{HpkePrivateKey, Info, Kem, Role, RoleHash, hkdf};
use bulla_protocol::v1::{Algorithm, Answer, Binding, Challenge, EvidenceKind, Order, Request, Statement};
use bulla_protocol::{BODY_MAX, Code, QUOTE_MAX};
use bulla_sim::{Machine, TdDescription};
use bulla_tee::Identity;

use support::{Client, Http, Running, Site, claims, selector, v1_key};

fn default() -> TdDescription {
    TdDescription::default_guest()
}

fn healthy(site: &Site, running: &Running) {
    v1_key(&site.machine(), &default(), running.http).expect("the honest client was refused");
}

fn audit_cause(site: &Site) -> String {
    site.audit().last().unwrap()["cause"].as_str().unwrap_or("released").to_owned()
}

/// The key is that of the specification, over an own derivation of the root.
#[test]
fn a_guest_gets_the_key_of_the_specification() {
    let site = Site::new();
    let running = site.start();
    let mut td = default();
    td.mrconfigid = [3; 48];
    td.attributes |= 1 << 30;
    let authority = running.identity.authority;
    let info = Info::new("bulla/derived-key/v1")
        .part("format version", &[1])
        .part("algorithm", b"hkdf-sha256")
        .part("length", &[0, 32])
        .part("root id", &running.identity.root_id)
        .part("authority", &authority)
        .part("binding", b"measurement")
        .part("register policy", b"measurement")
        .part("register policy version", &[0, 0, 0, 1])
        .part("MRTD", &td.mrtd)
        .part("RTMR0", &td.rtmr[0])
        .part("RTMR1", &td.rtmr[1])
        .part("RTMR2", &td.rtmr[2])
        .part("RTMR3", &td.rtmr[3])
        .part("MRCONFIGID", &td.mrconfigid)
        .part("MROWNER", &td.mrowner)
        .part("MROWNERCONFIG", &td.mrownerconfig)
        .part("MRSERVICETD", &[0; 48])
        .part("ATTRIBUTES mask", &0x8000_0000_3000_00FF_u64.to_be_bytes())
        .part("ATTRIBUTES", &0x1000_0000_u64.to_be_bytes())
        .part("XFAM mask", &[0; 8])
        .part("XFAM", &[0; 8])
        .part("path", b"app/db")
        .part("purpose", b"disk");
    let wanted = hkdf::<32>(site.root().expose(), b"", &info);
    let key = v1_key(&site.machine(), &td, running.http).unwrap();
    assert_eq!(key, wanted.expose());

    let line = site.audit().pop().unwrap();
    assert_eq!((line["mode"].as_str(), line["entry"].as_str()), (Some("v1"), Some("released")));
    assert_eq!(
        line["keys"],
        serde_json::json!([{"path": "app/db", "purpose": "disk", "algorithm": "hkdf-sha256", "length": 32}])
    );
}

/// R37, R39: the statement is proved by a quote of this enclave.
#[test]
fn the_statement_is_proved() {
    let site = Site::new();
    let running = site.start();
    let statement: Statement = Http::new(running.http).get("/v1/provider").unwrap();
    let claims = claims(&site, &statement.quote);
    assert_eq!(claims.report_data, *statement.report_data().as_bytes());
    let Identity::Sgx(enclave) = claims.identity else { panic!("no enclave") };
    assert_eq!(enclave.mrenclave, running.identity.measurement);
    assert_eq!(statement.authority, running.identity.authority);
    assert_eq!(statement.policy_digest, running.identity.policy_digest);
    assert_eq!(statement.current_root().unwrap().id, running.identity.root_id);
}

/// R25, R26: registers that the legacy formula ignores are part of the key here.
#[test]
fn every_register_of_the_guest_changes_its_key() {
    let site = Site::new();
    let running = site.start();
    let mut keys = vec![v1_key(&site.machine(), &default(), running.http).unwrap()];
    for (register, _) in default().rtmr.iter().enumerate() {
        let mut td = default();
        td.rtmr[register][0] ^= 1;
        keys.push(v1_key(&site.machine(), &td, running.http).unwrap());
    }
    for td in [
        TdDescription { mrtd: [1; 48], ..default() },
        TdDescription { mrconfigid: [1; 48], ..default() },
        TdDescription { mrowner: [1; 48], ..default() },
        TdDescription { mrownerconfig: [1; 48], ..default() },
    ] {
        keys.push(v1_key(&site.machine(), &td, running.http).unwrap());
    }
    let unique: HashSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), 9);
}

fn owner() -> Binding {
    Binding::Owner { owner: [7; 32], product: "wallet".into(), svn: 1 }
}

fn another_key() -> Vec<u8> {
    HpkePrivateKey::generate(Kem::XWing).unwrap().public_key().as_bytes().into()
}

/// R38: whoever edits a field of the request on the way gets it refused, and the client gets nothing that it accepts.
#[test]
fn an_edited_request_gets_nothing() {
    type Edit = fn(&mut Request);
    let edits: [(&str, Edit, Code); 19] = [
        ("version", |r| r.version = 2, Code::Unsupported),
        ("suite", |r| r.suite = 3, Code::Unsupported),
        ("suite, the other", |r| r.suite = 1, Code::BadPublicKey),
        ("binding", |r| r.binding = owner(), Code::BindingMismatch),
        ("instance", |r| r.instance = Some("one".into()), Code::BindingMismatch),
        ("algorithm", |r| r.keys[0].algorithm = Algorithm::HkdfSha384, Code::BindingMismatch),
        ("algorithm, a seed's", |r| r.keys[0].algorithm = Algorithm::XWing, Code::BindingMismatch),
        ("path", |r| r.keys[0].path = "app/dc".into(), Code::BindingMismatch),
        ("path, longer", |r| r.keys[0].path.push('x'), Code::BindingMismatch),
        ("purpose", |r| r.keys[0].purpose = "disl".into(), Code::BindingMismatch),
        ("length", |r| r.keys[0].length = 31, Code::BindingMismatch),
        ("keys, one more", |r| r.keys.push(selector("app/dc")), Code::BindingMismatch),
        ("keys, none", |r| r.keys.clear(), Code::Malformed),
        ("root id", |r| r.root_id[0] ^= 1, Code::UnknownRoot),
        ("provider key", |r| r.provider_key[0] ^= 1, Code::BindingMismatch),
        ("public key: the attacker's", |r| r.public_key = another_key(), Code::BindingMismatch),
        ("challenge", |r| r.challenge[47] ^= 1, Code::StaleChallenge),
        ("challenge, cut", |r| r.challenge.truncate(47), Code::StaleChallenge),
        ("challenge, none", |r| r.challenge.clear(), Code::StaleChallenge),
    ];
    let site = Site::new();
    let running = site.start();
    for (name, edit, code) in edits {
        let mut client = Client::new(running.http);
        let mut order = client.order(&site.machine(), &default());
        edit(&mut order.request);
        assert_eq!(client.send(&order).unwrap_err(), code, "{name}");
    }
    healthy(&site, &running);
}

/// R38: a request of the attacker's own, whose answer is handed to the client, is not what the client asked for.
#[test]
fn the_answer_to_another_request_is_not_accepted() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let order = client.order(&site.machine(), &default());
    let asked = client.request.clone();
    client.request.keys[0].path = "app/other".into();
    let other = client.order(&site.machine(), &default());
    let answer = client.send(&other).unwrap();
    assert!(client.open(&other, &answer).is_some());
    client.request = asked;
    assert!(client.open(&order, &answer).is_none());
}

/// R39: an answer with any part changed, or another client's, is not accepted.
#[test]
fn a_changed_or_swapped_answer_is_not_accepted() {
    let site = Site::new();
    let running = site.start();
    let [mut one, mut other] = [Client::new(running.http), Client::new(running.http)];
    let orders = [one.order(&site.machine(), &default()), other.order(&site.machine(), &default())];
    let answers = [one.send(&orders[0]).unwrap(), other.send(&orders[1]).unwrap()];
    assert!(one.open(&orders[0], &answers[0]).is_some() && other.open(&orders[1], &answers[1]).is_some());
    assert!(one.open(&orders[0], &answers[1]).is_none() && other.open(&orders[1], &answers[0]).is_none());
    assert!(one.open(&orders[1], &answers[0]).is_none(), "signed over other evidence");

    let bits = |length: usize| (0..length * 8).step_by(7);
    let good = &answers[0];
    let edit = |edit: &dyn Fn(&mut Answer)| {
        let mut answer = good.clone();
        edit(&mut answer);
        assert!(one.open(&orders[0], &answer).is_none());
    };
    let encapsulated = (0..good.encapsulated_key.len() * 8).step_by(997);
    encapsulated.for_each(|bit| edit(&|answer| answer.encapsulated_key[bit / 8] ^= 1 << (bit % 8)));
    bits(32).for_each(|bit| edit(&|answer| answer.head[bit / 8] ^= 1 << (bit % 8)));
    bits(64).for_each(|bit| edit(&|answer| answer.signature[bit / 8] ^= 1 << (bit % 8)));
    bits(good.ciphertext.len()).for_each(|bit| edit(&|answer| answer.ciphertext[bit / 8] ^= 1 << (bit % 8)));
    edit(&|answer| answer.ciphertext.truncate(47));

    // Under another statement than the one that was verified, nothing is accepted either.
    one.statement.policy_digest[0] ^= 1;
    assert!(one.open(&orders[0], good).is_none());
}

/// R38, B18: a challenge is for one order on one connection of one run.
#[test]
fn a_challenge_is_used_once_where_it_was_given() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let order = client.order(&site.machine(), &default());
    assert_eq!(Client::new(running.http).send(&order).unwrap_err(), Code::StaleChallenge);
    assert_eq!(audit_cause(&site), "challenge.foreign");
    client.send(&order).unwrap();
    assert_eq!(client.send(&order).unwrap_err(), Code::StaleChallenge);
    assert_eq!(audit_cause(&site), "challenge.used");

    // A refused order uses its challenge up too.
    let fresh: Challenge = client.http.get("/v1/challenge").unwrap();
    client.request.challenge = fresh.challenge;
    let mut order = client.order(&site.machine(), &default());
    let evidence = std::mem::replace(&mut order.evidence, vec![0; 100]);
    assert!(client.send(&order).is_err());
    order.evidence = evidence;
    assert_eq!(client.send(&order).unwrap_err(), Code::StaleChallenge);

    // A restart voids all.
    let fresh: Challenge = client.http.get("/v1/challenge").unwrap();
    client.request.challenge = fresh.challenge;
    let order = client.order(&site.machine(), &default());
    running.stop();
    let running = site.start();
    assert_eq!(Client::new(running.http).send(&order).unwrap_err(), Code::StaleChallenge);
    healthy(&site, &running);
}

/// R38, B18: a challenge that comes with an answer is one like any other: once, on its connection. So each further order of a
/// guest is one exchange.
#[test]
fn the_next_challenge_comes_with_an_answer() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let _: Statement = client.http.get("/v1/provider").unwrap();
    let (mut next, mut seen) = (client.http.next_challenge(), HashSet::new());
    let mut last = None;
    for _ in 0..4 {
        let Challenge { challenge, expires_in } = next.take().expect("a challenge");
        assert_eq!((expires_in, seen.insert(challenge.clone())), (60, true));
        client.request.challenge = challenge;
        let order = client.order(&site.machine(), &default());
        assert_eq!(Client::new(running.http).send(&order).unwrap_err(), Code::StaleChallenge);
        let answer = client.send(&order).unwrap();
        next = client.http.next_challenge();
        assert!(client.open(&order, &answer).is_some());
        last = Some(order);
    }
    assert_eq!(client.send(&last.unwrap()).unwrap_err(), Code::StaleChallenge);
    assert_eq!((audit_cause(&site).as_str(), client.http.next_challenge()), ("challenge.used", None));
    // Whoever was refused has what it had, and nothing else comes with one.
    client.request.challenge = next.unwrap().challenge;
    let order = client.order(&site.machine(), &default());
    client.send(&order).unwrap();
    for path in ["/v1/challenge", "/health/ready", "/v1/none"] {
        client.http.raw(&format!("GET {path} HTTP/1.1\r\nhost: provider\r\n\r\n"), b"");
        assert_eq!(client.http.next_challenge(), None, "{path}");
    }
}

/// R40: a request names the provider that its guest verified; one of an earlier run is not this one.
#[test]
fn a_request_to_an_earlier_run_is_refused() {
    let site = Site::new();
    let running = site.start();
    let earlier = Client::new(running.http).statement;
    running.stop();
    let running = site.start();
    let mut client = Client::new(running.http);
    assert_ne!(client.request.provider_key, earlier.signing_key);
    client.request.provider_key = earlier.signing_key;
    let order = client.order(&site.machine(), &default());
    assert_eq!(client.send(&order).unwrap_err(), Code::BindingMismatch);
    assert_eq!(audit_cause(&site), "binding.provider_key");
}

/// R38, B19: evidence over anything but this request.
#[test]
fn evidence_over_something_else_is_refused() {
    let site = Site::new();
    let running = site.start();
    let machine = site.machine();
    for what in 0..4 {
        let mut client = Client::new(running.http);
        let right = *client.request.report_data().as_bytes();
        let data = match what {
            0 => [0; 64],
            1 => std::array::from_fn(|i| if i < 32 { right[i] } else { 0 }),
            2 => *RoleHash::new(Role::ProviderKey, &[("challenge", &client.request.challenge)]).as_bytes(),
            _ => *client.statement.report_data().as_bytes(),
        };
        let order = Order {
            evidence: machine.td_quote(&default(), &data).unwrap(),
            ..client.order(&machine, &default())
        };
        assert_eq!(client.send(&order).unwrap_err(), Code::BindingMismatch, "{what}");
    }
    assert_eq!(site.audit().last().unwrap()["count"], 4);
    assert_eq!(audit_cause(&site), "binding.report_data");
    healthy(&site, &running);
}

/// R22-R24, R36, B15: who may not have a key is told so, and no more.
#[test]
fn guests_outside_the_policy_are_refused() {
    let site = Site::new();
    let running = site.start();
    let here = site.machine();
    let refusal = |machine: &Machine, td: &TdDescription| v1_key(machine, td, running.http).unwrap_err();
    assert_eq!(refusal(&here, &default().with_debug()), Code::PolicyDenied);
    let migratable = TdDescription { attributes: default().attributes | 1 << 29, ..default() };
    assert_eq!(refusal(&here, &migratable), Code::PolicyDenied);
    let perfmon = TdDescription { attributes: default().attributes | 1 << 63, ..default() };
    assert_eq!(refusal(&here, &perfmon), Code::PolicyDenied);

    let qe_id = site.machine_value("qe_id");
    site.machine().platform_reset().unwrap();
    site.edit_machine("qe_id", qe_id);
    assert_eq!(refusal(&site.machine(), &default()), Code::WrongPlatform);
    assert_eq!(refusal(&Site::new().machine(), &default()), Code::WrongPlatform);
    v1_key(&here, &default(), running.http).expect("the honest client was refused");
}

/// R20, R22: a platform below the required TCB.
#[test]
fn an_old_platform_is_refused() {
    let site = Site::new();
    let running = site.start();
    let current = site.machine();
    site.machine().microcode(bulla_sim::Step::Down).unwrap();
    let refusal = v1_key(&site.machine(), &default(), running.http).unwrap_err();
    assert_eq!(refusal, Code::TcbTooOld);
    v1_key(&current, &default(), running.http).expect("the honest client was refused");
}

/// B20.
#[test]
fn low_order_and_non_canonical_keys_are_refused() {
    let site = Site::new();
    let running = site.start();
    let mut high_bit = [9; 32];
    high_bit[31] = 0x89;
    let mut one = [0; 32];
    one[0] = 1;
    for public_key in [[0; 32], one, [0xFF; 32], high_bit] {
        let mut client = Client::new(running.http);
        // The last 32 of the 1,216 bytes are the X25519 part.
        client.request.public_key[1184..].copy_from_slice(&public_key);
        let order = client.order(&site.machine(), &default());
        assert_eq!(client.send(&order).unwrap_err(), Code::BadPublicKey);
    }
    healthy(&site, &running);
}

/// B5-B8: each class of bad evidence has its code, and none is answered.
#[test]
fn bad_evidence_is_named_coarsely() {
    let site = Site::new();
    let running = site.start();
    let refusal = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut client = Client::new(running.http);
        let mut order = client.order(&site.machine(), &default());
        edit(&mut order.evidence);
        client.send(&order).unwrap_err()
    };
    for length in [0, 47, 48, 635, 1_000] {
        assert_eq!(refusal(&|quote| quote.truncate(length)), Code::Malformed, "cut at {length}");
    }
    assert_eq!(refusal(&|quote| quote.push(1)), Code::Malformed);
    assert_eq!(refusal(&|quote| quote[632..636].fill(0xFF)), Code::Malformed);
    for (at, value) in [(0, 2), (0, 6), (1, 0xFF), (2, 3), (4, 1), (4, 0x82), (12, 0)] {
        assert_eq!(refusal(&|quote| quote[at] = value), Code::Unsupported, "{value} at {at}");
    }
    // Header, body, report data, signature, attestation key, QE report, its signature, authentication data.
    for at in [28, 200, 600, 640, 700, 800, 1_150, 1_230, 1_255] {
        let code = refusal(&|quote| quote[at] ^= 1);
        assert!([Code::BadEvidence, Code::Malformed].contains(&code), "bit flipped in byte {at}: {code:?}");
    }
    assert_eq!(refusal(&|quote| quote[200] ^= 1), Code::BadEvidence);
    let own: Statement = Http::new(running.http).get("/v1/provider").unwrap();
    assert_eq!(refusal(&|quote| quote.clone_from(&own.quote)), Code::Unsupported);
    assert_eq!(refusal(&|quote| quote.resize(QUOTE_MAX + 1, 0)), Code::TooLarge);
    healthy(&site, &running);
}

/// R54: zero bytes behind a quote are the padding of a guest's buffer.
#[test]
fn padded_evidence_is_accepted() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let mut order = client.order(&site.machine(), &default());
    order.evidence.resize(8_000, 0);
    let answer = client.send(&order).unwrap();
    assert!(client.open(&order, &answer).is_some());
}

/// B4, R47, R55: what is no order, and what is no resource, gets a problem document.
#[test]
fn what_is_no_request_gets_a_problem() {
    let site = Site::new();
    let running = site.start();
    let post = |body: &[u8]| Http::new(running.http).post::<Answer>("/v1/keys", body).unwrap_err();
    for body in [&b""[..], b"{}", b"[]", b"\xFF\xFE", &[b'['; 100_000]] {
        assert_eq!(post(body), Code::Malformed);
    }
    let client = Client::new(running.http);
    let order = client.order(&site.machine(), &default());
    let json = serde_json::to_string(&order).unwrap();
    for edited in [
        json.replace("\"kind\"", "\"mode\":\"dev\",\"kind\""),
        json.replace("\"length\":32", "\"length\":32,\"length\":32"),
        format!("{json}x"),
    ] {
        assert_eq!(post(edited.as_bytes()), Code::Malformed);
    }
    for unknown in [json.replace("tdx-quote", "none"), json.replace("\"measurement\"", "\"image\"")] {
        assert_eq!(post(unknown.as_bytes()), Code::Unsupported);
    }
    assert_eq!(post(&vec![b' '; BODY_MAX + 1]), Code::TooLarge);

    let mut http = Http::new(running.http);
    for path in [
        "/",
        "/v1",
        "/v1/keys",
        "/v1/public-key",
        "/v1/provider/",
        "/v2/provider",
        "/metrics",
        "/../v1/provider",
    ] {
        assert_eq!(http.get::<Statement>(path).unwrap_err(), Code::NotFound, "{path}");
    }
    for path in ["/v1/provider", "/v1/challenge", "/health/live"] {
        assert_eq!(Http::new(running.http).post::<Statement>(path, b"{}").unwrap_err(), Code::NotFound);
    }
    let (status, _, body) = http.raw("GET /health/live HTTP/1.1\r\nhost: provider\r\n\r\n", b"");
    assert_eq!((status, body.len()), (204, 0));
    assert_eq!(order.kind, EvidenceKind::TdxQuote);
    healthy(&site, &running);
}
