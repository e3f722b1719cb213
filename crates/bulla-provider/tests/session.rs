//! R42: sessions over attested TLS, with real clients, and with those who would like to stand in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use bulla_attest::{Policy, TlsSide, TrustAnchor};
use bulla_client::{AsyncClient, Client, Error, GuestEvidence, Judge, Pin, PinnedEnclave, Wanted};
use bulla_crypto::Secret;
use bulla_protocol::Code;
use bulla_protocol::v1::{
    Algorithm, Binding, EvidenceKind, Selector, SessionAnswer, SessionKeys, SessionOrder, SessionRequest,
    Statement,
};
use bulla_sim::TdDescription;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use support::tls::{config, connect_tls};
use support::{Http, Running, Site, Source, enclave_identity, now, v1_key};

fn client_at(site: &Site, running: &Running, address: &str) -> Client {
    let guest = site.machine().guest(TdDescription::default_guest()).unwrap();
    Client::new(Arc::new(guest), address, pin(running), judge(site)).unwrap()
}

fn judge(site: &Site) -> Judge {
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    Judge::new(anchor, Arc::new(Source(site.machine_dir())), Policy::strict().allow_simulated(), now)
}

fn pin(running: &Running) -> Pin {
    Pin {
        enclave: PinnedEnclave::Measurement(enclave_identity().mrenclave),
        authority: running.identity.authority,
        root_id: Some(running.identity.root_id),
    }
}

fn client(site: &Site, running: &Running) -> Client {
    client_at(site, running, &format!("https://{}", running.https))
}

fn selector(path: &str) -> Selector {
    Selector { path: path.into(), purpose: "disk".into(), algorithm: Algorithm::HkdfSha256, length: 32 }
}

fn disk() -> Wanted {
    Wanted::selector(selector("app/db")).unwrap()
}

/// How many lines of the audit log are releases.
fn releases(site: &Site) -> usize {
    site.audit().iter().filter(|line| line["entry"] == "released").count()
}

/// The session gives the keys that fresh evidence gives, one or many at a time, over one connection and with two quotes in all.
#[test]
fn a_session_gives_the_keys_of_its_guest() {
    let site = Site::new();
    let running = site.start();
    let client = client(&site, &running);
    let fresh = v1_key(&site.machine(), &TdDescription::default_guest(), running.http).unwrap();

    let mut session = client.session().unwrap();
    let first = session.keys(&disk()).unwrap();
    assert_eq!((first.root_id, first.keys.len()), (running.identity.root_id, 1));
    assert_ne!(first.head, [0; 32]);
    assert_eq!(first.into_first().expose(), fresh);
    let batch = (0..256).map(|number| selector(&format!("app/{number}"))).collect();
    let many = session.keys(&Wanted::all(batch).unwrap()).unwrap();
    let unique: std::collections::HashSet<_> = many.keys.iter().map(|key| key.expose().to_vec()).collect();
    assert_eq!((many.keys.len(), unique.len()), (256, 256));
    let one = session.keys(&Wanted::selector(selector("app/7")).unwrap()).unwrap();
    assert!(one.into_first().ct_eq(&many.keys[7]));
    assert!(
        client.keys(&Wanted::selector(selector("app/7")).unwrap()).unwrap().into_first().ct_eq(&many.keys[7])
    );

    // A refusal of one request leaves the session as it is, and every release is in the log under the same evidence.
    let unknown = session.keys(&disk().from_root([9; 16])).err().unwrap();
    assert!(matches!(unknown, Error::Refused(Code::UnknownRoot)), "{unknown}");
    assert!(session.keys(&disk()).is_ok());
    drop(session);
    running.stop();
    let audit = site.audit();
    let evidence = |keys: usize| {
        let of = |line: &&serde_json::Value| line["keys"].as_array().is_some_and(|found| found.len() == keys);
        audit.iter().filter(of).map(|line| line["evidence"].clone()).collect::<Vec<_>>()
    };
    assert!(evidence(1).contains(&evidence(256)[0]));
}

/// R48: a session has the quota of its guest and no other, and what it gives is counted.
#[test]
fn r48_a_session_has_the_quota_of_its_guest() {
    let site = Site::new();
    let settings = site.settings_with("[limits]\nidentity = { per_minute = 1, burst = 3 }\n");
    let running = Running::new(site.provider_with(&settings).unwrap(), &settings);
    let client = client(&site, &running);
    let mut session = client.session().unwrap();
    let two = Wanted::all(vec![selector("a"), selector("b")]).unwrap();
    assert!(session.keys(&two).is_ok());
    let mut session = client.session().unwrap();
    assert!(session.keys(&disk()).is_ok());
    assert!(session.keys(&disk()).is_err(), "the quota is the guest's, not the session's");
    let admin = UnixStream::connect(site.state_dir().join("admin.sock")).unwrap();
    let metrics = Http::over(admin).raw("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", b"").2;
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("bulla_provider_releases_total{protocol=\"v1\"} 3\n"), "{metrics}");
    assert!(metrics.contains("code=\"quota\""));
}

#[test]
fn a_session_is_for_tls() {
    let site = Site::new();
    let running = site.start();
    for address in [format!("http://{}", running.http), format!("unix:{}", site.socket().display())] {
        let client = client_at(&site, &running, &address);
        assert!(client.keys(&disk()).is_ok(), "{address}");
        assert_eq!(client.session().err().unwrap().code(), "usage.session");
    }
    let order = SessionOrder { version: 1, kind: EvidenceKind::TdxQuote, evidence: vec![0; 700] };
    let mut http = Http::new(running.http);
    let answer: Result<SessionAnswer, Code> = http.post("/v1/session", &serde_json::to_vec(&order).unwrap());
    assert_eq!(answer.err(), Some(Code::Unsupported));
}

/// The asynchronous face makes the same decisions.
#[test]
fn the_asynchronous_face_gets_the_same() {
    let site = Site::new();
    let running = site.start();
    let blocking = client(&site, &running);
    let key = blocking.request("app/db", "disk", 32).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for address in [
        format!("https://{}", running.https),
        format!("http://{}", running.http),
        format!("unix:{}", site.socket().display()),
    ] {
        let client = AsyncClient::new(client_at(&site, &running, &address));
        runtime.block_on(async {
            assert!(client.request("app/db", "disk", 32).await.unwrap().ct_eq(&key));
            let Ok(mut session) = client.session() else {
                return assert!(!address.starts_with("https"), "{address}");
            };
            for _ in 0..3 {
                assert!(session.keys(&disk()).await.unwrap().into_first().ct_eq(&key));
            }
        });
    }
    let wrong = AsyncClient::new(client_at(&site, &running, "http://127.0.0.1:1"));
    assert_eq!(runtime.block_on(wrong.request("app/db", "disk", 32)).err().unwrap().code(), "peer.transport");
}

// Those in between.

/// The other end of what a client believes to be the provider's connection, and an own connection to the provider.
struct Relay {
    address: SocketAddr,
    /// What went through, for whoever wants to change it.
    seen: Arc<Mutex<Vec<String>>>,
}

type Tls<C> = StreamOwned<C, TcpStream>;

impl Relay {
    /// Ends TLS and begins it anew; `edit` may answer a request itself.
    fn new(
        provider: SocketAddr,
        edit: impl Fn(&str, &[u8], &mut Tls<ClientConnection>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(["relay".to_owned()]).unwrap().self_signed(&key).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let server = Arc::new(server);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let inwards = ServerConnection::new(Arc::clone(&server)).unwrap();
                let mut inwards = StreamOwned::new(inwards, stream.unwrap());
                let mut outwards = connect_tls(provider, &config());
                while let Some((line, head, body)) = message(&mut inwards) {
                    log.lock().unwrap().push(line.clone());
                    let reply = edit(&line, &body, &mut outwards).unwrap_or_else(|| {
                        outwards.write_all(&[head.as_bytes(), &body].concat()).unwrap();
                        outwards.flush().unwrap();
                        let (_, head, body) = message(&mut outwards).unwrap();
                        [head.as_bytes(), &body].concat()
                    });
                    if inwards.write_all(&reply).and_then(|()| inwards.flush()).is_err() {
                        break;
                    }
                }
            }
        });
        Self { address, seen }
    }

    fn count(&self, line: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| seen.starts_with(line)).count()
    }
}

/// First line, head and body of a message.
fn message(stream: &mut (impl Read + ?Sized)) -> Option<(String, String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some((head.lines().next().unwrap().to_owned(), head, body))
}

fn ok(value: &impl serde::Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(value).unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

/// R35, R36: a local report gets what a quote gets, in an order and in a session; and nothing on another machine, since no provider
/// recognises a report that its own processor has not made.
#[test]
fn r35_a_client_without_a_quote_shows_a_local_report() {
    let site = Site::new();
    let running = site.start();
    let by_quote = client(&site, &running).keys(&disk()).unwrap().into_first();
    let by_report = client(&site, &running).with_evidence(GuestEvidence::Report);
    assert!(by_report.keys(&disk()).unwrap().into_first().ct_eq(&by_quote));
    assert!(by_report.session().unwrap().keys(&disk()).unwrap().into_first().ct_eq(&by_quote));

    let elsewhere = Site::new().machine().guest(TdDescription::default_guest()).unwrap();
    let judge = judge(&site);
    let moved = Client::new(Arc::new(elsewhere), &format!("https://{}", running.https), pin(&running), judge);
    let moved = moved.unwrap().with_evidence(GuestEvidence::Report);
    let errors = [moved.keys(&disk()).err(), moved.session().unwrap().keys(&disk()).err()];
    for error in errors {
        assert!(matches!(error, Some(Error::Refused(Code::WrongPlatform))), "{error:?}");
    }
}

/// The two-connection relay: everything is genuine, and the provider refuses the guest's evidence, which is for the other
/// connection.
#[test]
fn r42_a_relay_gets_no_session_from_the_provider() {
    let site = Site::new();
    let running = site.start();
    let relay = Relay::new(running.https, |_, _, _| None);
    let client = || client_at(&site, &running, &format!("https://{}", relay.address));
    // What is encrypted to the guest by itself goes through a relay as through any network.
    assert!(client().keys(&disk()).is_ok());
    let before = releases(&site);
    let error = client().session().unwrap().keys(&disk()).err().unwrap();
    assert!(matches!(error, Error::Refused(Code::BindingMismatch)), "{error}");
    assert_eq!((relay.count("POST /v1/session "), relay.count("POST /v1/session/keys")), (1, 0));
    assert_eq!(releases(&site), before);
}

/// A relay that is a guest itself, with the very same measurements: it has a genuine session with the provider, and offers the
/// provider's answer to its victim. The client refuses it, because it is for the relay's connection.
#[test]
fn r42_a_relay_with_a_session_of_its_own_fools_no_client() {
    let site = Site::new();
    let running = site.start();
    let machine = site.machine();
    let relay = Relay::new(running.https, move |line, _, outwards| {
        if !line.starts_with("POST /v1/session ") {
            return None;
        }
        let evidence = evidence(&machine, &outwards.conn);
        let order = SessionOrder { version: 1, kind: EvidenceKind::TdxQuote, evidence };
        let body = serde_json::to_vec(&order).unwrap();
        let head = format!("{line}\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        outwards.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let (status, head, body) = message(outwards).unwrap();
        assert!(status.contains("200"), "the relay's own session is good");
        Some([head.as_bytes(), &body].concat())
    });
    let client = client_at(&site, &running, &format!("https://{}", relay.address));
    let error = client.session().unwrap().keys(&disk()).err().unwrap();
    assert_eq!(error.code(), "untrusted_provider.answer", "{error}");
    assert_eq!(relay.count("POST /v1/session/keys"), 0);
}

/// Whoever answers without being the provider: with nothing, or with the genuine quote of another connection.
#[test]
fn r42_keys_come_from_nobody_else() {
    let site = Site::new();
    let running = site.start();
    let invented = |_: &str, _: &[u8], _: &mut Tls<ClientConnection>| {
        let keys = SessionKeys { keys: bulla_crypto::SecretBytes::new(vec![7; 32]), head: [0; 32] };
        Some(ok(&keys))
    };
    // A session that is spoken of as if it stood already.
    let relay = Relay::new(running.https, move |line, body, outwards| match line.contains("session/keys") {
        true => invented(line, body, outwards),
        false if line.starts_with("POST /v1/session ") => Some(ok(&SessionAnswer {
            quote: statement(running.https).quote,
            expires_in: 60,
            keys: 100,
            signature: [0; 64],
        })),
        false => None,
    });
    let client = client_at(&site, &running, &format!("https://{}", relay.address));
    let error = client.session().unwrap().keys(&disk()).err().unwrap();
    assert_eq!(error.code(), "untrusted_provider.answer", "{error}");
    assert_eq!(relay.count("POST /v1/session/keys"), 0);
}

fn statement(https: SocketAddr) -> Statement {
    Http::over(connect_tls(https, &config())).get("/v1/provider").unwrap()
}

/// A guest's evidence for this end of a connection.
fn evidence(machine: &bulla_sim::Machine, connection: &ClientConnection) -> Vec<u8> {
    let label = TlsSide::Client.exporter_label().as_bytes();
    let exporter = connection.export_keying_material([0; 32], label, None).unwrap();
    let data = TlsSide::Client.report_data(&Secret::new(exporter));
    machine.td_quote(&TdDescription::default_guest(), data.as_bytes()).unwrap()
}

// The provider's end, by hand.

fn open(http: &mut Http, evidence: Vec<u8>) -> Result<SessionAnswer, Code> {
    let order = SessionOrder { version: 1, kind: EvidenceKind::TdxQuote, evidence };
    http.post("/v1/session", &serde_json::to_vec(&order).unwrap())
}

fn ask(http: &mut Http, root_id: [u8; 16], keys: Vec<Selector>) -> Result<SessionKeys, Code> {
    let (instance, manifest) = (None, None);
    let request = SessionRequest { binding: Binding::Measurement, root_id, instance, manifest, keys };
    http.post("/v1/session/keys", &serde_json::to_vec(&request).unwrap())
}

/// A session belongs to its connection: no other has it, and evidence of one opens none on another (B18).
#[test]
fn r42_a_session_belongs_to_its_connection() {
    let site = Site::new();
    let running = site.start();
    let root = running.identity.root_id;
    let one = connect_tls(running.https, &config());
    let recorded = evidence(&site.machine(), &one.conn);
    let mut one = Http::over(one);
    assert_eq!(ask(&mut one, root, vec![selector("a")]).err(), Some(Code::SessionEnded), "before it began");
    assert!(open(&mut one, recorded.clone()).is_ok());
    assert!(ask(&mut one, root, vec![selector("a")]).is_ok());

    let mut other = Http::over(connect_tls(running.https, &config()));
    assert_eq!(ask(&mut other, root, vec![selector("a")]).err(), Some(Code::SessionEnded));
    assert_eq!(open(&mut other, recorded).err(), Some(Code::BindingMismatch));
    assert_eq!(ask(&mut other, root, vec![selector("a")]).err(), Some(Code::SessionEnded));
}

/// B19: evidence that was made for something else, for the provider's side or for a request, opens no session.
#[test]
fn b19_only_evidence_for_the_clients_side_opens_a_session() {
    let site = Site::new();
    let running = site.start();
    let tls = connect_tls(running.https, &config());
    let label = |side: TlsSide| {
        let exporter =
            tls.conn.export_keying_material([0; 32], side.exporter_label().as_bytes(), None).unwrap();
        Secret::new(exporter)
    };
    let (client, server) = (label(TlsSide::Client), label(TlsSide::Server));
    let wrong = [
        TlsSide::Server.report_data(&server),
        TlsSide::Server.report_data(&client),
        TlsSide::Client.report_data(&server),
    ];
    let mut http = Http::over(tls);
    for data in wrong {
        let quote = site.machine().td_quote(&TdDescription::default_guest(), data.as_bytes()).unwrap();
        assert_eq!(open(&mut http, quote).err(), Some(Code::BindingMismatch));
    }
    let data = TlsSide::Client.report_data(&client);
    let debug = TdDescription::default_guest().with_debug();
    let quote = site.machine().td_quote(&debug, data.as_bytes()).unwrap();
    assert_eq!(open(&mut http, quote).err(), Some(Code::PolicyDenied), "a session is for whoever gets keys");
    let quote = site.machine().td_quote(&TdDescription::default_guest(), data.as_bytes()).unwrap();
    assert!(open(&mut http, quote).is_ok());
}

/// B4: a request is exactly one shape.
#[test]
fn b4_requests_of_a_session_are_exactly_one_shape() {
    let site = Site::new();
    let running = site.start();
    let tls = connect_tls(running.https, &config());
    let recorded = evidence(&site.machine(), &tls.conn);
    let mut http = Http::over(tls);
    open(&mut http, recorded).unwrap();
    let root = running.identity.root_id;
    let (instance, manifest) = (None, None);
    let good = SessionRequest {
        binding: Binding::Measurement,
        root_id: root,
        instance,
        manifest,
        keys: vec![selector("a")],
    };
    let json = serde_json::to_string(&good).unwrap();
    for bad in [
        json.replace("\"keys\"", "\"more\":1,\"keys\""),
        json.replace("\"length\":32", "\"length\":15"),
        json.replace("[{", "[[{").replace("}]", "}]]"),
        format!("{json} x"),
        String::new(),
    ] {
        let refused: Result<SessionKeys, Code> = http.post("/v1/session/keys", bad.as_bytes());
        assert_eq!(refused.err(), Some(Code::Malformed), "{bad}");
    }
    assert_eq!(ask(&mut http, root, Vec::new()).err(), Some(Code::Malformed));
    assert_eq!(ask(&mut http, root, vec![selector("a"); 257]).err(), Some(Code::TooLarge));
    assert!(ask(&mut http, root, vec![selector("a"); 256]).is_ok());
}

/// R81: nothing of a session outlives the provider's process, and a new one gives the same keys.
#[test]
fn r81_a_session_ends_with_the_provider() {
    let site = Site::new();
    let running = site.start();
    let before = client(&site, &running);
    let mut session = before.session().unwrap();
    let key = session.keys(&disk()).unwrap().into_first();
    running.stop();
    assert_eq!(session.keys(&disk()).err().unwrap().code(), "peer.transport");
    let running = site.start();
    let after = client(&site, &running);
    assert!(after.session().unwrap().keys(&disk()).unwrap().into_first().ct_eq(&key));
}

const POLICY: &str = "version = 1\nname = \"trial\"\nsimulated = true\ncustody = \"hardware\"\n";

/// A connection with a session of the default guest.
fn with_session(site: &Site, running: &Running) -> Http {
    let tls = connect_tls(running.https, &config());
    let evidence = evidence(&site.machine(), &tls.conn);
    let mut http = Http::over(tls);
    open(&mut http, evidence).unwrap();
    http
}

/// The bounds of the policy: the answer names them, and so many keys are given, single or in batches.
#[test]
fn r42_a_session_ends_after_its_keys() {
    let site = Site::new();
    let running = site.start_under(&format!("{POLICY}[session]\nseconds = 77\nkeys = 5\n"));
    let tls = connect_tls(running.https, &config());
    let quote = evidence(&site.machine(), &tls.conn);
    let mut http = Http::over(tls);
    let answer = open(&mut http, quote.clone()).unwrap();
    assert_eq!((answer.expires_in, answer.keys), (77, 5));
    let root = running.identity.root_id;
    assert!(ask(&mut http, root, vec![selector("a"); 4]).is_ok());
    assert!(ask(&mut http, root, vec![selector("a")]).is_ok());
    assert_eq!(ask(&mut http, root, vec![selector("a")]).err(), Some(Code::SessionEnded));
    // The next one begins with evidence again; it may be the same, since the connection is.
    open(&mut http, quote).unwrap();
    assert_eq!(ask(&mut http, root, vec![selector("a"); 6]).err(), Some(Code::SessionEnded));
    assert_eq!(
        ask(&mut http, root, vec![selector("a")]).err(),
        Some(Code::SessionEnded),
        "it is over for all"
    );

    // A client notices nothing of it.
    let mut session = client(&site, &running);
    session = session.with_wait(|_| panic!("there is nothing to wait for"));
    let mut session = session.session().unwrap();
    for _ in 0..12 {
        assert!(session.keys(&disk()).is_ok());
    }
}

/// Usage rules know sessions; and what depends on more than the snapshot of the beginning is not given in one.
#[test]
fn rules_and_boundaries_hold_in_sessions() {
    let rules = r#"
        [[registers]]
        name = "app"
        version = 1
        bind = ["mrtd", "rtmr3"]
        [registers.boundary]
        register = "rtmr3"
        event = "system-ready"
        [[usage]]
        path = "never"
        session = "never"
        [[usage]]
        path = "only"
        session = "only"
        [[usage]]
        path = "few"
        session_keys = 3
        [[usage]]
        path = "app"
    "#;
    let site = Site::new();
    let running = site.start_under(&format!("{POLICY}{rules}"));
    let root = running.identity.root_id;
    let mut http = with_session(&site, &running);
    let mut key = |path: &str| ask(&mut http, root, vec![selector(path)]).map(drop);
    assert_eq!(key("never"), Err(Code::UsageDenied));
    assert_eq!(key("only"), Ok(()));
    assert_eq!((key("few"), key("few"), key("few")), (Ok(()), Ok(()), Err(Code::UsageDenied)));
    assert_eq!(key("only"), Ok(()), "the session goes on");
    let fresh = client(&site, &running);
    let fresh = |path: &str| fresh.request(path, "disk", 32).map(drop).map_err(|error| error.code());
    assert_eq!((fresh("never"), fresh("only")), (Ok(()), Err("usage-denied")));

    let request = SessionRequest {
        binding: Binding::Registers { name: "app".into(), version: 1 },
        root_id: root,
        instance: None,
        manifest: None,
        keys: vec![selector("app")],
    };
    let refused: Result<SessionKeys, Code> =
        http.post("/v1/session/keys", &serde_json::to_vec(&request).unwrap());
    assert_eq!(refused.err(), Some(Code::PolicyDenied));
    assert!(ask(&mut http, root, vec![selector("app")]).is_ok());
}

/// A change of policy ends every session, and clients begin the next under the new one.
#[test]
fn r42_a_session_ends_with_its_policy() {
    let site = Site::new();
    let running = site.start_under(POLICY);
    let root = running.identity.root_id;
    let mut http = with_session(&site, &running);
    assert!(ask(&mut http, root, vec![selector("a")]).is_ok());
    let client = client(&site, &running);
    let mut session = client.session().unwrap();
    let key = session.keys(&disk()).unwrap().into_first();

    site.settings_under(&POLICY.replace("version = 1", "version = 2"));
    let mut admin = Http::over(UnixStream::connect(site.state_dir().join("admin.sock")).unwrap());
    let changed: serde_json::Value = admin.post("/reload", b"").unwrap();
    assert_eq!(changed["changed"], true);
    assert_eq!(ask(&mut http, root, vec![selector("a")]).err(), Some(Code::SessionEnded));
    assert!(session.keys(&disk()).unwrap().into_first().ct_eq(&key));
}
