//! What an operator sees and does: states, metrics, limits, drain, reload, and commands of the authority.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulla_attest::collateral::Bundle;
use bulla_attest::{Collateral, CollateralId, CollateralSource, TrustAnchor};
use bulla_crypto::SigningKey;
use bulla_protocol::v1::Challenge;
use bulla_protocol::{Code, Descriptor, DocumentRole, Signed};
use bulla_provider::{
    CollateralSettings, Command, CommandDocument, Listeners, Provider, Settings, Supervisor,
};
use bulla_sim::TdDescription;
use bulla_tee::{EvidenceKind, ReportData};
use serde_json::{Value, json};

use support::{Client, Http, LegacyGuest, Running, Site, Source, honest, v1_key};

/// The operator's end of the admin socket.
struct Operator<'a>(&'a Site);

impl Operator<'_> {
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.0.state_dir().join("admin.sock")).unwrap();
        raw(Http::over(stream), method, path, body)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path, "");
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = self.ask("POST", path, &body.to_string());
        (status, serde_json::from_str(&answer).unwrap_or_default())
    }

    /// A document for the running provider, with a nonce that it gave out.
    fn document(&self, command: Command) -> CommandDocument {
        let (status, issued) = self.post("/nonce", &Value::Null);
        assert_eq!(status, 200);
        let bytes = |name: &str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(issued[name].as_str().unwrap(), &mut bytes).unwrap();
            bytes
        };
        CommandDocument { version: 1, provider: bytes("provider"), nonce: bytes("nonce"), command }
    }

    fn command(&self, document: &CommandDocument) -> (u16, Value) {
        self.post("/command", &json!({ "document": document.to_toml() }))
    }

    fn states(&self) -> Vec<String> {
        let (status, ready) = self.get("/health/ready");
        let states = ready["states"].as_array().unwrap();
        assert_eq!(status, if states.is_empty() { 200 } else { 503 });
        states.iter().map(|state| state["code"].as_str().unwrap().to_owned()).collect()
    }

    fn metric(&self, line: &str) -> f64 {
        let (status, text) = self.ask("GET", "/metrics", "");
        assert_eq!(status, 200);
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{line} is not in {text}")).parse().unwrap()
    }
}

fn raw(mut http: Http, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let (status, _, body) = http.raw(&head, body.as_bytes());
    (status, String::from_utf8(body).unwrap())
}

fn guest(register: u8) -> TdDescription {
    let mut td = TdDescription::default_guest();
    td.rtmr[3] = [register; 48];
    td
}

/// R52, R73: the socket is its owner's alone, and is there as long as the provider.
#[test]
fn r73_the_admin_socket_is_its_owners_alone() {
    let site = Site::new();
    let running = site.start();
    let path = site.state_dir().join("admin.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, answer) = Operator(&site).get("/status");
    assert_eq!((status, &answer["ready"], &answer["simulated"]), (200, &json!(true), &json!(true)));
    assert_eq!(answer["root"], hex::encode(running.identity.root_id));
    assert_eq!(Operator(&site).get("/nothing").0, 404);
    assert_eq!(Operator(&site).ask("GET", "/reload", "").0, 404, "nothing is done by looking");
    running.stop();
    assert!(!path.exists());
}

/// Guests are answered health, and nothing of what the operator may.
#[test]
fn guests_and_scrapers_see_health_and_do_nothing() {
    let site = Site::new();
    let settings = site.settings_with("metrics = \"127.0.0.1:0\"\n");
    let running = Running::new(site.provider().unwrap(), &settings);
    for address in [running.http, running.metrics] {
        assert_eq!(raw(Http::new(address), "GET", "/health/live", "").0, 204);
        let (status, ready) = raw(Http::new(address), "GET", "/health/ready", "");
        assert_eq!((status, ready.as_str()), (200, "{\"ready\":true,\"states\":[]}"));
        for path in ["/status", "/drain", "/reload", "/resume", "/nonce", "/command"] {
            assert_eq!(raw(Http::new(address), "POST", path, "").0, 404, "{path}");
            assert_eq!(raw(Http::new(address), "GET", path, "").0, 404, "{path}");
        }
    }
    assert_eq!(raw(Http::new(running.http), "GET", "/metrics", "").0, 404);
    assert!(raw(Http::new(running.metrics), "GET", "/metrics", "").1.ends_with("# EOF\n"));
}

/// R97: counts by protocol and code, and not a word about whom.
#[test]
fn r97_metrics_count_and_name_nobody() {
    let site = Site::new();
    let running = site.start();
    let operator = Operator(&site);
    let machine = site.machine();
    let key = honest(&site, running.legacy);
    let v1 = v1_key(&machine, &guest(1), running.http).unwrap();
    for _ in 0..3 {
        let debug = guest(1).with_debug();
        assert_eq!(v1_key(&machine, &debug, running.http).unwrap_err(), Code::PolicyDenied);
    }
    for (line, wanted) in [
        ("bulla_provider_releases_total{protocol=\"legacy\"}", 1.0),
        ("bulla_provider_releases_total{protocol=\"v1\"}", 1.0),
        ("bulla_provider_refusals_total{protocol=\"v1\",code=\"policy-denied\"}", 3.0),
        ("bulla_provider_request_duration_seconds_count{protocol=\"legacy\"}", 1.0),
        ("bulla_provider_ready", 1.0),
        ("bulla_provider_state{state=\"draining\"}", 0.0),
        ("bulla_provider_policy_version", 1.0),
        ("bulla_provider_roots", 1.0),
        ("bulla_provider_regime", 0.0),
    ] {
        assert_eq!(operator.metric(line), wanted, "{line}");
    }
    assert!(operator.metric("bulla_provider_collateral_left_seconds") > 0.0);

    let told = operator.ask("GET", "/metrics", "").1 + &operator.ask("GET", "/status", "").1;
    let ids = ["ppid", "platform_instance_id", "qe_id", "seal_fuses"]
        .map(|name| site.machine_value(name).as_str().unwrap().to_owned());
    let secrets = [hex::encode(key), hex::encode(v1), hex::encode(site.root().expose())];
    let quote = LegacyGuest::new(&machine, &guest(1)).quote;
    for canary in ids.iter().chain(&secrets).chain([&hex::encode(&quote[632..696])]) {
        assert!(!told.to_lowercase().contains(&canary.to_lowercase()[..24]), "{canary} is told");
    }
    assert!(!told.contains("app/db"), "paths are many, and some say what for");
}

/// R48: an attested identity that has had its keys is told when to come back; others are not in its way.
#[test]
fn r48_quotas_are_by_attested_identity() {
    let site = Site::new();
    let settings = site.settings_with("[limits]\nidentity = { per_minute = 1, burst = 2 }\n");
    let running = Running::new(site.provider_with(&settings).unwrap(), &settings);
    let machine = site.machine();
    let ask = |td: &TdDescription| v1_key(&machine, td, running.http);
    let bad = guest(1).with_debug();
    for _ in 0..5 {
        assert_eq!(ask(&bad).unwrap_err(), Code::PolicyDenied, "what is refused costs nobody anything");
    }
    assert!(ask(&guest(1)).is_ok());
    assert!(LegacyGuest::new(&machine, &guest(1)).key(running.legacy).is_some());
    assert_eq!(ask(&guest(1)).unwrap_err(), Code::Quota);
    assert!(LegacyGuest::new(&machine, &guest(1)).key(running.legacy).is_none());
    assert!(ask(&guest(2)).is_ok(), "another guest");
}

/// R48: so is a peer, before anything is computed for it; a Unix socket has no address.
#[test]
fn r48_quotas_are_by_peer() {
    let site = Site::new();
    let settings = site.settings_with("[limits]\npeer = { per_minute = 1, burst = 2 }\n");
    let running = Running::new(site.provider_with(&settings).unwrap(), &settings);
    let mut http = Http::new(running.http);
    let head = "GET /v1/challenge HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!([(); 2].map(|()| http.raw(head, b"").0), [200, 200]);
    let (status, media, _) = http.raw(head, b"");
    assert_eq!((status, media.as_str()), (429, "application/problem+json"));
    let wait: u32 = http.field("retry-after:").parse().unwrap();
    assert!((30..=61).contains(&wait), "{wait}");
    let quote = LegacyGuest::new(&site.machine(), &guest(1));
    assert!(quote.key(running.legacy).is_none(), "one address, whatever it speaks");
    for _ in 0..9 {
        assert_eq!(Http::over(UnixStream::connect(site.socket()).unwrap()).raw(head, b"").0, 200);
    }
}

/// What was begun is finished, what is new is told to come back, and resuming undoes it.
#[test]
fn a_drained_provider_says_so_and_gives_no_keys() {
    let site = Site::new();
    let running = site.start();
    let operator = Operator(&site);
    assert_eq!(operator.post("/drain", &Value::Null).1["answering"], 0);
    assert_eq!(operator.states(), ["draining"]);
    let (status, ready) = raw(Http::new(running.http), "GET", "/health/ready", "");
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((status, &ready["code"], &ready["status"]), (503, &json!("not-ready"), &json!(503)));
    assert_eq!(ready["states"][0]["number"], 1);
    let mut http = Http::new(running.http);
    assert_eq!(http.raw("GET /v1/challenge HTTP/1.1\r\nhost: x\r\n\r\n", b"").0, 503);
    assert_eq!(http.field("retry-after:"), "5");
    assert_eq!(Http::new(running.http).get::<Value>("/v1/provider").unwrap_err(), Code::NotReady);
    assert!(LegacyGuest::new(&site.machine(), &guest(1)).key(running.legacy).is_none());
    operator.post("/resume", &Value::Null);
    assert_eq!(operator.states(), [""; 0]);
    honest(&site, running.legacy);
}

/// A source that can go away.
struct Fickle(Source, Arc<AtomicBool>);

impl CollateralSource for Fickle {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, bulla_attest::Error> {
        if self.1.load(Ordering::Relaxed) {
            return Err(bulla_attest::Error::CollateralUnavailable("it went away".into()));
        }
        self.0.collateral(id)
    }
}

/// R53, R55: a provider without collateral serves, says which state it is in, and that it is so to everybody alike.
#[test]
fn r53_missing_collateral_is_a_state() {
    let site = Site::new();
    let away = Arc::new(AtomicBool::new(true));
    let source = Arc::new(Fickle(Source(site.machine_dir()), Arc::clone(&away)));
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    let provider = Provider::start(site.enclave(), source, anchor, &site.settings()).unwrap();
    let running = Running::new(provider, &site.settings());
    let operator = Operator(&site);
    assert_eq!(operator.states(), ["collateral-missing"]);
    assert_eq!(operator.metric("bulla_provider_state{state=\"collateral-missing\"}"), 1.0);
    assert_eq!(operator.metric("bulla_provider_ready"), 0.0);
    assert_eq!(
        Http::new(running.http).get::<Value>("/v1/provider").unwrap_err(),
        Code::CollateralUnavailable
    );
}

/// R83, R85: what changes roots is asked for once, of one process, and each thing that is wrong changes nothing.
#[test]
fn r85_a_command_is_for_one_process_and_once() {
    let site = Site::new();
    let running = site.start();
    let operator = Operator(&site);
    let roots = |answer: &Value| answer["roots"].as_array().unwrap().len();
    let machine = site.machine();
    let before = v1_key(&machine, &guest(1), running.http).unwrap();

    let document = operator.document(Command::Rotate { to: 2 });
    let refused = |document: &CommandDocument, words: &str| {
        let (status, answer) = operator.command(document);
        assert_eq!((status, &answer["code"]), (409, &json!("command.refused")), "{answer}");
        assert!(answer["title"].as_str().unwrap().contains(words), "{answer}");
    };
    refused(&CommandDocument { version: 2, ..document.clone() }, "version 2");
    refused(&CommandDocument { provider: [7; 32], ..document.clone() }, "another provider");
    refused(&CommandDocument { nonce: [7; 32], ..document.clone() }, "nonce is not out");
    let text = document.to_toml().replace("to = 2", "to = 2\nforce = true");
    assert_eq!(operator.post("/command", &json!({ "document": text })).0, 409);
    assert_eq!(operator.post("/command", &json!({ "document": document.to_toml(), "more": 1 })).0, 409);
    assert_eq!(roots(&operator.get("/status").1), 1);

    let (status, answer) = operator.command(&document);
    assert_eq!((status, &answer["changed"], roots(&answer)), (200, &json!(true), 2), "{answer}");
    refused(&document, "nonce is not out");
    let (_, again) = operator.command(&operator.document(Command::Rotate { to: 2 }));
    assert_eq!((&again["changed"], roots(&again)), (&json!(false), 2), "asked for again, it is there");
    assert_ne!(v1_key(&machine, &guest(1), running.http).unwrap(), before, "new keys are of the new epoch");
    assert_eq!(operator.states(), [""; 0]);
    assert_eq!(operator.metric("bulla_provider_regime"), 1.0);
    assert_eq!(operator.metric("bulla_provider_roots"), 2.0);

    let (status, answer) = operator.command(&operator.document(Command::Rotate { to: 9 }));
    assert_eq!(status, 409, "{answer}");
    let (_, answer) = operator.command(&operator.document(Command::Floor { epoch: 2 }));
    assert_eq!(roots(&answer), 1);
    assert_eq!(operator.command(&operator.document(Command::Floor { epoch: 1 })).0, 409, "R83");

    // Of many that are out, the oldest gives way.
    let oldest = operator.document(Command::Rotate { to: 3 });
    let others: Vec<_> = (0..16).map(|_| operator.document(Command::Rotate { to: 3 })).collect();
    refused(&oldest, "others were asked for");
    let last = others.last().unwrap();

    // R81: a document for the process before is none for this one.
    running.stop();
    let running = site.start();
    refused(last, "before it was restarted");
    running.stop();
}

/// R85: under an authority with keys, a command is a document that enough of them have signed as a command.
#[test]
fn r85_commands_need_the_authoritys_signature() {
    let site = Site::new();
    let path = site.socket().with_file_name("policy.json");
    let [one, two, other] = [(); 3].map(|()| SigningKey::generate().unwrap());
    let authority = Descriptor::new("acme", 2, &[one.verifying_key(), two.verifying_key()]).unwrap();
    let stranger = Descriptor::new("acme", 1, &[other.verifying_key()]).unwrap();
    let signed = |by: &Descriptor, role, keys: &[&SigningKey], text: &str| {
        let mut signed = Signed::new(by, text);
        keys.iter().for_each(|key| signed.sign(role, key).unwrap());
        signed
    };
    fs::write(&path, signed(&authority, DocumentRole::Policy, &[&one, &two], POLICY).to_json()).unwrap();
    let settings = Settings { policy: Some(path), ..site.settings() };
    let _running = Running::new(site.provider_with(&settings).unwrap(), &settings);
    let operator = Operator(&site);
    let document = operator.document(Command::Rotate { to: 2 });
    let text = document.to_toml();
    let give = |signed: Signed| operator.ask("POST", "/command", &signed.to_json()).0;

    assert_eq!(operator.command(&document).0, 409, "nobody signed it");
    let both = [&one, &two];
    assert_eq!(give(signed(&authority, DocumentRole::Command, &[&one], &text)), 409, "one is not enough");
    assert_eq!(give(signed(&authority, DocumentRole::Policy, &both, &text)), 409, "signed as a policy");
    assert_eq!(give(signed(&stranger, DocumentRole::Command, &[&other], &text)), 409, "another authority");
    let mut edited = signed(&authority, DocumentRole::Command, &both, &text);
    edited.document = edited.document.replace("to = 2", "to = 3");
    assert_eq!(give(edited), 409);
    assert_eq!(operator.get("/status").1["roots"].as_array().unwrap().len(), 1);
    // None of these has used the nonce up.
    let good = signed(&authority, DocumentRole::Command, &both, &text);
    assert_eq!(give(good.clone()), 200);
    assert_eq!(operator.get("/status").1["roots"].as_array().unwrap().len(), 2);
    assert_eq!(give(good), 409, "and it is obeyed once");
    let log = fs::read_to_string(site.state_dir().join("audit.log")).unwrap();
    let commands = log.matches("Rotate { to: 2 }").count();
    assert_eq!(commands, 1, "what is obeyed is in the audit log, once");
}

/// R70, B33: where others can change the folder of the admin socket, there is no start.
#[test]
fn r70_the_admin_socket_is_not_put_where_others_can_replace_it() {
    let site = Site::new();
    let provider = site.provider().unwrap();
    fs::set_permissions(site.state_dir(), fs::Permissions::from_mode(0o770)).unwrap();
    let runtime = bulla_provider::runtime().unwrap();
    let bound = runtime.block_on(Listeners::bind(&site.settings()));
    assert_eq!(bound.err().unwrap().code(), "state.unsafe_place");
    drop(provider);
}

/// The supervisor hears when it serves, reads its policy anew, lives and stops.
#[test]
fn the_supervisor_is_told() {
    let site = Site::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let hear = |words: &str| {
        let mut bytes = [0; 256];
        loop {
            let length = ear.recv(&mut bytes).unwrap();
            if String::from_utf8_lossy(&bytes[..length]).starts_with(words) {
                return;
            }
        }
    };
    let supervisor = Supervisor::at(OsStr::new(&path), Some(Duration::from_millis(20)));
    let running = Running::new(site.provider().unwrap().supervised_by(supervisor), &site.settings());
    hear("READY=1");
    hear("WATCHDOG=1");
    assert_eq!(Operator(&site).post("/reload", &Value::Null), (200, json!({ "changed": false })));
    hear("RELOADING=1");
    hear("READY=1");
    running.stop();
    hear("STOPPING=1");
}

/// A policy file that an authority has signed.
fn sign(path: &Path, key: &SigningKey, text: &str) {
    let authority = Descriptor::new("acme-platform", 1, &[key.verifying_key()]).unwrap();
    let mut signed = Signed::new(&authority, text);
    signed.sign(DocumentRole::Policy, key).unwrap();
    fs::write(path, signed.to_json()).unwrap();
}

const POLICY: &str = "version = 7\nname = \"acme\"\ncustody = \"hardware\"\nsimulated = true\n[legacy]\n";

/// R83, R108: a better policy takes the place of the one in force, and keys stay what they are; a worse one leaves it, and the
/// operator is told why.
#[test]
fn r83_a_reload_never_lowers_anything() {
    let site = Site::new();
    let path = site.socket().with_file_name("policy.json");
    let key = SigningKey::generate().unwrap();
    sign(&path, &key, POLICY);
    let settings = Settings { policy: Some(path.clone()), ..site.settings() };
    let running = Running::new(site.provider_with(&settings).unwrap(), &settings);
    let (operator, machine) = (Operator(&site), site.machine());
    let policy = || {
        let status = operator.get("/status").1;
        (status["policy"]["version"].as_u64().unwrap(), status["regime"].as_u64().unwrap())
    };
    let before = v1_key(&machine, &guest(1), running.http).unwrap();
    let legacy = honest(&site, running.legacy);
    assert_eq!(operator.post("/reload", &Value::Null), (200, json!({ "changed": false })));
    assert_eq!(policy(), (7, 0));

    let seven = POLICY;
    let next = |to: &str| seven.replace("version = 7", to);
    let other = SigningKey::generate().unwrap();
    for (by, text, code) in [
        (&key, next("version = 6"), "policy.lowered"),
        (&key, next("version = 7\n# another"), "policy.same_version"),
        (&key, next("version = 8").replace("simulated = true", ""), "policy.fixed"),
        (&key, next("version = 8").replace("hardware", "keyring"), "policy.fixed"),
        (&key, next("version = 8\nversoin = 9"), "policy.invalid"),
        (&other, next("version = 8"), "policy.fixed"),
    ] {
        sign(&path, by, &text);
        let (status, answer) = operator.post("/reload", &Value::Null);
        assert_eq!((status, &answer["code"]), (409, &json!(code)), "{text}: {answer}");
    }
    for broken in [&b"junk"[..], b""] {
        fs::write(&path, broken).unwrap();
        assert_eq!(operator.post("/reload", &Value::Null).0, 409);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(operator.post("/reload", &Value::Null).0, 409);
    assert_eq!(policy(), (7, 0));
    assert_eq!(v1_key(&machine, &guest(1), running.http).unwrap(), before);
    assert_eq!(operator.metric("bulla_provider_reloads_total{outcome=\"refused\"}"), 9.0);

    // An order is answered under the statement that stood when its challenge was given, or not at all.
    let [mut asked, mut told] = [(); 2].map(|()| Client::new(running.http));
    let order = told.order(&machine, &guest(1));
    told.send(&order).unwrap();
    told.request.challenge = told.http.next_challenge().unwrap().challenge;
    sign(&path, &key, &next("version = 8").replace("[legacy]\n", ""));
    assert_eq!(operator.post("/reload", &Value::Null), (200, json!({ "changed": true })));
    assert_eq!((policy(), operator.states()), ((8, 1), vec![]));
    for client in [&mut asked, &mut told] {
        let order = client.order(&machine, &guest(1));
        assert_eq!(client.send(&order).unwrap_err(), Code::StaleChallenge);
        client.request.challenge = client.http.get::<Challenge>("/v1/challenge").unwrap().challenge;
        let order = client.order(&machine, &guest(1));
        client.send(&order).unwrap();
    }
    assert_eq!(v1_key(&machine, &guest(1), running.http).unwrap(), before, "a reload changes no key");
    let refused = LegacyGuest::new(&machine, &guest(0)).key(running.legacy).is_none();
    assert!(refused && legacy != [0; 32], "and what the policy no longer allows is over");
    running.stop();

    // R83: also over a restart.
    sign(&path, &key, POLICY);
    assert!(site.provider_with(&settings).is_err());
}

/// R51, R108: a bundle that is none stops the start, and a reload that finds one that is none leaves what is there.
#[test]
fn r108_a_bundle_is_read_whole_or_refused() {
    let site = Site::new();
    let path = site.socket().with_file_name("bundle.json");
    let collateral = CollateralSettings { bundle: Some(path.clone()), ..Default::default() };
    let settings = Settings { collateral, ..site.settings() };
    fs::write(&path, "not a bundle").unwrap();
    let error = site.provider_with(&settings).err().unwrap();
    assert!(error.to_string().contains("`collateral.bundle`"), "{error}");

    let quotes = [site.machine().td_quote(&guest(1), &[0; 64]).unwrap(), claims_quote(&site)];
    let sets = quotes.map(|quote| {
        let id = CollateralId::of_quote(&quote).unwrap();
        let set = Source(site.machine_dir()).collateral(&id).unwrap();
        (id, set)
    });
    let bundle = Bundle::of(sets.iter().map(|(id, set)| (id, set))).unwrap();
    fs::write(&path, bundle.to_json()).unwrap();
    // Nobody but the file is asked.
    let source = Arc::new(Fickle(Source(site.machine_dir()), Arc::new(AtomicBool::new(true))));
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    let provider = Provider::start(site.enclave(), source, anchor, &settings).unwrap();
    let running = Running::new(provider, &settings);
    assert_eq!(Operator(&site).states(), [""; 0]);
    honest(&site, running.legacy);
    fs::write(&path, "not a bundle").unwrap();
    assert_eq!(Operator(&site).post("/reload", &Value::Null).0, 409);
    honest(&site, running.legacy);
    fs::write(&path, bundle.to_json()).unwrap();
    assert_eq!(Operator(&site).post("/reload", &Value::Null).0, 200);
}

/// A quote of the site's provider.
fn claims_quote(site: &Site) -> Vec<u8> {
    let data = ReportData::new(bulla_crypto::Role::ProviderKey, &[("nonce", &[1])]);
    site.enclave().attest(&data, EvidenceKind::Quote).unwrap().bytes().to_vec()
}
