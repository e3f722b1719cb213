//! A provider on a simulated machine, listening on real sockets, and clients that know the wire format and no more.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod tls;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bulla_attest::{
    Claims, Collateral, CollateralId, CollateralSource, Policy, TeeKind, TrustAnchor, Verifier,
};
use bulla_crypto::{
    HpkePrivateKey, HpkeSealed, Info, Kem, Secret, SecretBytes, SigningKey, VerifyingKey, hkdf, sha256,
};
use bulla_protocol::v1::{
    Algorithm, Answer, Binding, Challenge, EvidenceKind, Order, Request, Selector, Statement, Transcript,
};
use bulla_protocol::{Code, Descriptor, DocumentRole, Problem, Signed};
use bulla_provider::audit::{self, Verdict};
use bulla_provider::{Error, Listeners, Provider, ProviderIdentity, Settings, serve};
use bulla_sim::{EnclaveIdentity, Machine, TdDescription};
use bulla_tee::{KeyRequest, Tee};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The longest that a test waits for a peer before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulated machine and a place for a provider's state.
pub struct Site {
    folder: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        Machine::create(site.machine_dir()).unwrap();
        site
    }

    pub fn machine_dir(&self) -> PathBuf {
        self.folder.path().join("machine")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The provider's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("provider.sock")
    }

    pub fn machine(&self) -> Machine {
        Machine::open(self.machine_dir()).unwrap()
    }

    pub fn enclave(&self) -> Arc<dyn Tee> {
        Arc::new(self.machine().enclave(&enclave_identity()).unwrap())
    }

    pub fn settings(&self) -> Settings {
        self.settings_with("")
    }

    /// The same, with further tables.
    pub fn settings_with(&self, tables: &str) -> Settings {
        let any = "\"127.0.0.1:0\"";
        let text = format!(
            "machine = \"sim:machine\"\n[listen]\nlegacy = {any}\nhttp = {any}\nhttps = {any}\nunix = {:?}\n{tables}",
            self.socket()
        );
        Settings { state_dir: self.state_dir(), ..Settings::from_toml(&text).unwrap() }
    }

    pub fn provider(&self) -> Result<Provider, Error> {
        self.provider_of(self.enclave())
    }

    pub fn provider_of(&self, tee: Arc<dyn Tee>) -> Result<Provider, Error> {
        self.provider_as(tee, &self.settings())
    }

    /// With further settings.
    pub fn provider_with(&self, settings: &Settings) -> Result<Provider, Error> {
        self.provider_as(self.enclave(), settings)
    }

    fn provider_as(&self, tee: Arc<dyn Tee>, settings: &Settings) -> Result<Provider, Error> {
        let anchor = TrustAnchor::from_der(&self.machine().root_der()).unwrap();
        Provider::start(tee, Arc::new(Source(self.machine_dir())), anchor, settings)
    }

    /// A provider that listens.
    pub fn start(&self) -> Running {
        Running::new(self.provider().unwrap(), &self.settings())
    }

    /// A provider under a policy that the site's authority has signed.
    pub fn start_under(&self, policy: &str) -> Running {
        let settings = self.settings_under(policy);
        let anchor = TrustAnchor::from_der(&self.machine().root_der()).unwrap();
        let source = Arc::new(Source(self.machine_dir()));
        Running::new(Provider::start(self.enclave(), source, anchor, &settings).unwrap(), &settings)
    }

    pub fn settings_under(&self, policy: &str) -> Settings {
        let key = SigningKey::from_seed(Secret::new([0xA7; 32]));
        let authority = Descriptor::new("site", 1, &[key.verifying_key()]).unwrap();
        let mut signed = Signed::new(&authority, policy);
        signed.sign(DocumentRole::Policy, &key).unwrap();
        let path = self.folder.path().join("policy.json");
        fs::write(&path, signed.to_json()).unwrap();
        Settings { policy: Some(path), ..self.settings() }
    }

    pub fn start_with(&self, tee: Arc<dyn Tee>) -> Running {
        Running::new(self.provider_of(tee).unwrap(), &self.settings())
    }

    /// The root, derived apart: from the recorded request, by the formula of the specification.
    pub fn root(&self) -> Secret<32> {
        let record: toml::Table =
            fs::read_to_string(self.state_dir().join("root.request")).unwrap().parse().unwrap();
        let record = &record["epoch"][0];
        let bytes = hex::decode(record["request"].as_str().unwrap()).unwrap();
        let kind = record["kind"].as_str().unwrap();
        let machine_key = self.enclave().derive(&KeyRequest::decode(kind, &bytes).unwrap()).unwrap();
        let info = Info::new("bulla/provider/root/v1")
            .part("custody", b"hardware")
            .part("authority", &bulla_provider::DEVELOPMENT_AUTHORITY)
            .part("epoch", &[0, 0, 0, 1])
            .part("kind", kind.as_bytes())
            .part("request", &bytes);
        hkdf(machine_key.expose(), b"", &info)
    }

    /// The decisions in the audit log.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.state_dir().join("audit.log")).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let decides = |line: &serde_json::Value| line["entry"] == "released" || line["entry"] == "refused";
        lines.filter(decides).collect()
    }

    /// What the audit log is worth.
    pub fn verdict(&self) -> Verdict {
        let log = fs::File::open(self.state_dir().join("audit.log")).unwrap();
        let mut verifier = audit::Verifier::new();
        verifier.read("audit.log", std::io::BufReader::new(log), &mut |_| ()).unwrap();
        verifier.end()
    }

    /// Edits a value in `machine.toml`, as the machine's host can.
    pub fn edit_machine(&self, key: &str, value: impl Into<toml::Value>) {
        let path = self.machine_dir().join("machine.toml");
        let mut table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        assert!(table.insert(key.into(), value.into()).is_some());
        fs::write(path, table.to_string()).unwrap();
    }

    pub fn machine_value(&self, key: &str) -> toml::Value {
        let path = self.machine_dir().join("machine.toml");
        let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        table[key].clone()
    }
}

pub fn enclave_identity() -> EnclaveIdentity {
    EnclaveIdentity::new([0x11; 32], [0x22; 32], 1, 1)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The collateral of the machine in a folder.
pub struct Source(pub PathBuf);

impl CollateralSource for Source {
    fn collateral(&self, id: &CollateralId) -> Result<Collateral, bulla_attest::Error> {
        self.as_of(id, now())
    }
}

impl Source {
    /// The collateral that the vendor has at that time.
    pub fn as_of(&self, id: &CollateralId, time: u64) -> Result<Collateral, bulla_attest::Error> {
        // The machine reads from a quote only of which kind it is.
        let machine = Machine::open(&self.0).unwrap();
        let mut quote = machine.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
        if id.intel().unwrap().tee == TeeKind::Sgx {
            quote[0] = 3;
        }
        Collateral::from_json(machine.collateral(&quote, time).unwrap().as_bytes())
    }
}

/// A provider that listens, on a runtime of its own.
pub struct Running {
    pub legacy: SocketAddr,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub metrics: SocketAddr,
    pub identity: ProviderIdentity,
    end: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Running {
    pub fn new(provider: Provider, settings: &Settings) -> Self {
        let identity = provider.identity();
        let runtime = bulla_provider::runtime().unwrap();
        let listeners = runtime.block_on(Listeners::bind(settings)).unwrap();
        let address = |listener: &Option<tokio::net::TcpListener>| {
            listener.as_ref().map_or(any_port(), |listener| listener.local_addr().unwrap())
        };
        let (legacy, http) = (address(&listeners.legacy), address(&listeners.http));
        let https =
            listeners.addresses().iter().find_map(|address| address.strip_prefix("https://")?.parse().ok());
        let https = https.unwrap_or_else(any_port);
        let metrics = address(&listeners.metrics);
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let shutdown = async { ended.await.unwrap_or(()) };
            runtime.block_on(serve(provider, listeners, shutdown)).unwrap();
        });
        Self { legacy, http, https, metrics, identity, end: Some((end, thread)) }
    }

    /// Ends the provider and waits for it, so that another can have its state.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some((end, thread)) = self.end.take() {
            end.send(()).unwrap();
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether the peer ends the connection without a further byte.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

// The legacy frames.

pub fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

pub fn legacy_body(quote: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "quote": quote })).unwrap()
}

/// A response, or `None` where the provider closed the connection.
pub fn legacy_exchange(stream: &mut TcpStream, frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    stream.write_all(frame).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    let response: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let bytes = |name: &str| {
        let numbers = response[name].as_array().unwrap().iter();
        numbers.map(|number| u8::try_from(number.as_u64().unwrap()).unwrap()).collect()
    };
    Some((bytes("encrypted_key"), bytes("provider_quote")))
}

/// A client of the earlier providers.
pub struct LegacyGuest {
    secret: crypto_box::SecretKey,
    pub quote: Vec<u8>,
}

impl LegacyGuest {
    pub fn new(machine: &Machine, td: &TdDescription) -> Self {
        let secret = crypto_box::SecretKey::from([0x5A; 32]);
        let mut data = [0x77; 64];
        data[..32].copy_from_slice(secret.public_key().as_bytes());
        Self { secret, quote: machine.td_quote(td, &data).unwrap() }
    }

    pub fn frame(&self) -> Vec<u8> {
        frame(&legacy_body(&self.quote))
    }

    /// The key, after the checks that the existing clients make.
    pub fn key(&self, address: SocketAddr) -> Option<[u8; 32]> {
        let (sealed_box, quote) = legacy_exchange(&mut connect(address), &self.frame())?;
        let data = report_data_of(&quote);
        assert_eq!(data[..32], sha256(&[&sealed_box]));
        assert_eq!(data[32..], [0; 32]);
        Some(self.secret.unseal(&sealed_box).unwrap().try_into().unwrap())
    }
}

/// The default guest's key, if the provider still gives it one.
pub fn honest(site: &Site, address: SocketAddr) -> [u8; 32] {
    let guest = LegacyGuest::new(&site.machine(), &TdDescription::default_guest());
    guest.key(address).expect("the honest client was refused")
}

/// The formula of the earlier providers, over an own derivation of the root.
pub fn legacy_formula(site: &Site, td: &TdDescription) -> [u8; 32] {
    let seal_key: Secret<16> = hkdf(site.root().expose(), b"", &Info::new("bulla legacy v0"));
    let [a, b, c, d] = &td.rtmr;
    sha256(&[seal_key.expose(), &td.mrtd, a, b, c, d])
}

pub fn report_data_of(sgx_quote: &[u8]) -> [u8; 64] {
    sgx_quote[48 + 320..48 + 384].try_into().unwrap()
}

/// What an SGX quote of the site's machine says.
pub fn claims(site: &Site, sgx_quote: &[u8]) -> Claims {
    let id = CollateralId::of_quote(sgx_quote).unwrap();
    let collateral = Source(site.machine_dir()).collateral(&id).unwrap();
    let anchor = TrustAnchor::from_der(&site.machine().root_der()).unwrap();
    let policy = Policy::strict().allow_simulated();
    Verifier::new(anchor).verify(sgx_quote, &collateral, now(), &policy).unwrap()
}

// Protocol v1.

/// What HTTP is spoken over.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// One HTTP connection.
pub struct Http {
    stream: Box<dyn Stream>,
    /// The head of the last answer.
    head: String,
}

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        Self::over(connect(address))
    }

    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), head: String::new() }
    }

    pub fn get<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> Result<T, Code> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: provider\r\n\r\n"), b"")
    }

    pub fn post<T: serde::de::DeserializeOwned>(&mut self, path: &str, body: &[u8]) -> Result<T, Code> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: provider\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(&head, body)
    }

    fn exchange<T: serde::de::DeserializeOwned>(&mut self, head: &str, body: &[u8]) -> Result<T, Code> {
        let (status, media, body) = self.raw(head, body);
        if status == 200 {
            assert_eq!(media, "application/json");
            return Ok(serde_json::from_slice(&body).unwrap());
        }
        assert_eq!(media, "application/problem+json");
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem, Problem::from(problem.code));
        assert_eq!(status, problem.status);
        let retry_after = self.field("retry-after:").parse().ok();
        if problem.code != Code::Quota {
            assert_eq!(retry_after, problem.code.retry_after());
        }
        Err(problem.code)
    }

    /// A field of the last answer's head, by its name with the colon.
    pub fn field(&self, name: &str) -> String {
        let line = |line: &str| {
            let (found, value) = line.split_at_checked(name.len())?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        self.head.lines().find_map(line).unwrap_or_default()
    }

    /// The challenge that came with the last answer.
    pub fn next_challenge(&self) -> Option<Challenge> {
        Challenge::from_field(self.field(&format!("{}:", Challenge::FIELD)).as_bytes())
    }

    /// Status, media type and body.
    pub fn raw(&mut self, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        // A peer that refuses early may close before all is written; its answer counts.
        let _ = self.stream.write_all(&[head.as_bytes(), body].concat());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        self.head = String::from_utf8(head).unwrap();
        let mut body = vec![0; self.field("content-length:").parse().unwrap_or(0)];
        self.stream.read_exact(&mut body).unwrap();
        let media = self.field("content-type:");
        (self.head.split(' ').nth(1).unwrap().parse().unwrap(), media, body)
    }
}

/// 32 bytes for a disk.
pub fn selector(path: &str) -> Selector {
    let (path, purpose) = (path.into(), "disk".into());
    Selector { path, purpose, algorithm: Algorithm::HkdfSha256, length: 32 }
}

/// A client of protocol v1 with one order in its hands.
pub struct Client {
    pub http: Http,
    pub statement: Statement,
    pub private: HpkePrivateKey,
    pub request: Request,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self::over(Http::new(address))
    }

    pub fn over(mut http: Http) -> Self {
        let statement: Statement = http.get("/v1/provider").unwrap();
        let challenge: Challenge = http.get("/v1/challenge").unwrap();
        assert_eq!(challenge.expires_in, 60);
        let private = HpkePrivateKey::generate(Kem::XWing).unwrap();
        let request = Request {
            version: 1,
            suite: 2,
            binding: Binding::Measurement,
            root_id: statement.current_root().unwrap().id,
            provider_key: statement.signing_key,
            public_key: private.public_key().as_bytes().into(),
            challenge: challenge.challenge,
            instance: None,
            keys: vec![selector("app/db")],
        };
        Self { http, statement, private, request }
    }

    /// The order, with evidence that covers the request.
    pub fn order(&self, machine: &Machine, td: &TdDescription) -> Order {
        let evidence = machine.td_quote(td, self.request.report_data().as_bytes()).unwrap();
        let (request, kind) = (self.request.clone(), EvidenceKind::TdxQuote);
        Order { request, kind, evidence, manifest: None, event_log: None }
    }

    pub fn send(&mut self, order: &Order) -> Result<Answer, Code> {
        self.http.post("/v1/keys", &serde_json::to_vec(order).unwrap())
    }

    /// The keys, one after the other, or `None` for an answer that is not to exactly this order by the provider that was asked.
    pub fn open(&self, order: &Order, answer: &Answer) -> Option<SecretBytes> {
        let Answer { encapsulated_key, ciphertext, head, .. } = answer.clone();
        let sealed = HpkeSealed { encapsulated_key, ciphertext };
        let transcript = Transcript { request: self.request.report_data(), ..order.transcript() };
        let signed = Answer::signed(&transcript, &self.statement.report_data(), &sealed, &head);
        let key = VerifyingKey::from_bytes(self.statement.signing_key);
        key.verify(&signed, &answer.signature).ok()?;
        self.private.open(&transcript.transport_info(), b"", &sealed).ok()
    }
}

/// A guest's v1 key, asked for and opened.
pub fn v1_key(machine: &Machine, td: &TdDescription, address: SocketAddr) -> Result<Vec<u8>, Code> {
    v1_key_over(machine, td, Http::new(address))
}

pub fn v1_key_over(machine: &Machine, td: &TdDescription, http: Http) -> Result<Vec<u8>, Code> {
    let mut client = Client::over(http);
    let order = client.order(machine, td);
    let answer = client.send(&order)?;
    Ok(client.open(&order, &answer).expect("an answer to this order").expose().to_vec())
}

/// Copies a folder's files.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
