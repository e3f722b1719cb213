//! Guests that ask by protocol v1, with evidence that they make for each request. Each keeps its connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bulla_crypto::{HpkePrivateKey, HpkeSealed, Kem};
use bulla_protocol::v1::{
    Algorithm, Answer, Binding, Challenge, EvidenceKind, Order, Request, Selector, Statement, Transcript,
};
use bulla_sim::{Machine, TdDescription};
use serde::de::DeserializeOwned;

/// One answer of so many is opened.
const OPENED: usize = 64;

/// Keys a second that so many guests get, for so long.
pub(crate) fn run(at: SocketAddr, machine: &Machine, clients: usize, time: Duration) -> (usize, Duration) {
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let answered = thread::scope(|scope| {
        let guests: Vec<_> =
            (0..clients).map(|_| scope.spawn(|| Guest::new(at, machine).ask(&stop))).collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        guests.into_iter().map(|guest| guest.join().unwrap()).sum()
    });
    (answered, begun.elapsed())
}

/// Who the provider is.
pub(crate) fn statement(at: SocketAddr) -> Statement {
    Http::new(at).get("/v1/provider")
}

struct Guest<'a> {
    machine: &'a Machine,
    http: Http,
    private: HpkePrivateKey,
    request: Request,
}

impl<'a> Guest<'a> {
    fn new(at: SocketAddr, machine: &'a Machine) -> Self {
        let mut http = Http::new(at);
        let statement: Statement = http.get("/v1/provider");
        let private = HpkePrivateKey::generate(Kem::XWing).unwrap();
        let request = Request {
            version: 1,
            suite: 2,
            binding: Binding::Measurement,
            root_id: statement.current_root().unwrap().id,
            provider_key: statement.signing_key,
            public_key: private.public_key().as_bytes().into(),
            challenge: Vec::new(),
            instance: None,
            keys: vec![Selector {
                path: "app/db".into(),
                purpose: "disk".into(),
                algorithm: Algorithm::HkdfSha256,
                length: 32,
            }],
        };
        Self { machine, http, private, request }
    }

    /// How many keys it got.
    fn ask(mut self, stop: &AtomicBool) -> usize {
        let (mut answered, mut first) = (0, None);
        while !stop.load(Ordering::Relaxed) {
            self.request.challenge = self.http.challenge();
            let request = self.request.clone();
            let data = request.report_data();
            let evidence = self.machine.td_quote(&TdDescription::default_guest(), data.as_bytes()).unwrap();
            let order =
                Order { request, kind: EvidenceKind::TdxQuote, evidence, manifest: None, event_log: None };
            let answer = self.http.post("/v1/keys", &serde_json::to_vec(&order).unwrap());
            if answered % OPENED == 0 {
                let key = self.open(&order.transcript(), &answer);
                assert_eq!(*first.get_or_insert(key.clone()), key, "one image has one key");
            }
            answered += 1;
        }
        answered
    }

    fn open(&self, order: &Transcript, answer: &[u8]) -> Vec<u8> {
        let Answer { encapsulated_key, ciphertext, .. } = serde_json::from_slice(answer).unwrap();
        let sealed = HpkeSealed { encapsulated_key, ciphertext };
        self.private.open(&order.transport_info(), b"", &sealed).unwrap().expose().to_vec()
    }
}

/// One connection.
struct Http {
    stream: BufReader<TcpStream>,
    /// What came with the last answer.
    challenge: Option<Challenge>,
}

impl Http {
    fn new(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), challenge: None }
    }

    /// For the next order: the one that came with the last answer, or one that is asked for.
    fn challenge(&mut self) -> Vec<u8> {
        let known = self.challenge.take();
        known.unwrap_or_else(|| self.get("/v1/challenge")).challenge
    }

    fn get<T: DeserializeOwned>(&mut self, path: &str) -> T {
        let body = self.exchange(format!("GET {path} HTTP/1.1\r\nhost: provider\r\n\r\n").as_bytes());
        serde_json::from_slice(&body).unwrap()
    }

    fn post(&mut self, path: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: provider\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.exchange(&[head.as_bytes(), body].concat())
    }

    /// The body of the answer, which is a good one.
    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.get_mut().write_all(request).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status).unwrap();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                Challenge::FIELD => self.challenge = Challenge::from_field(value.trim().as_bytes()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        assert!(status.contains(" 200 "), "{status}{}", String::from_utf8_lossy(&body));
        body
    }
}
