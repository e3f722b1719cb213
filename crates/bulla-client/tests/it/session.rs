//! Sessions with a provider that speaks TLS, holds its signing key, and lies about the rest (R42).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bulla_attest::TlsSide;
use bulla_client::{AsyncClient, Error, Wanted};
use bulla_crypto::{Secret, SecretBytes};
use bulla_protocol::v1::{SessionAnswer, SessionKeys, SessionOrder, SessionRequest};
use bulla_protocol::{Code, Problem};
use bulla_sim::{EnclaveIdentity, TdDescription};
use bulla_tee::{EvidenceKind, ReportData, Tee};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::provider::Provider;
use crate::world::{PIN, World, enclave_of, identity};

/// What a provider does about a session.
#[derive(Clone)]
struct Manner {
    /// Who makes the quote over the connection.
    enclave: Arc<dyn Tee>,
    /// For which side of which connection.
    data: fn(&Exporters) -> ReportData,
    edit: fn(&mut SessionAnswer),
    /// Signs what it has edited, as the real one would not.
    signs_edited: bool,
    /// Ends the connection after its answer to the session.
    hangs_up: bool,
    /// Bytes of the keys that it gives.
    length: usize,
    /// So many requests for keys, then the session is over.
    keys: usize,
}

struct Exporters {
    client: Secret<32>,
    server: Secret<32>,
}

fn honest(world: &World) -> Manner {
    Manner {
        enclave: Arc::new(enclave_of(&world.machine, &identity())),
        data: |exporters| TlsSide::Server.report_data(&exporters.server),
        edit: |_| {},
        signs_edited: true,
        hangs_up: false,
        length: 32,
        keys: usize::MAX,
    }
}

/// A server for the rest of the process, and the lines of what it was asked.
fn serve(provider: Provider, manner: Manner) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["any".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let (config, lines) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&lines);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            speak(StreamOwned::new(tls, stream.unwrap()), &provider, &manner, &log);
        }
    });
    (url, lines)
}

/// One connection, to its end.
fn speak(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    provider: &Provider,
    manner: &Manner,
    log: &Mutex<Vec<String>>,
) {
    let mut given = 0;
    while let Some((line, body)) = message(&mut stream) {
        log.lock().unwrap().push(line.clone());
        let (status, body, last) = match line.as_str() {
            "GET /v1/provider" => ("200 OK", serde_json::to_vec(&provider.statement).unwrap(), false),
            "POST /v1/session" => {
                let order: SessionOrder = serde_json::from_slice(&body).unwrap();
                let answer = answer(&order, &stream.conn, provider, manner);
                ("200 OK", serde_json::to_vec(&answer).unwrap(), manner.hangs_up)
            }
            "POST /v1/session/keys" if given < manner.keys => {
                given += 1;
                let request = SessionRequest::from_json(&body).unwrap();
                let keys = SecretBytes::new(vec![7; manner.length * request.keys.len()]);
                ("200 OK", serde_json::to_vec(&SessionKeys { keys, head: [1; 32] }).unwrap(), false)
            }
            _ => {
                let code = if line.contains("session") { Code::SessionEnded } else { Code::NotFound };
                ("401 No", serde_json::to_vec(&Problem::from(code)).unwrap(), false)
            }
        };
        let close = if last { "connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 {status}\r\n{close}content-length: {}\r\n\r\n", body.len());
        if stream.write_all(&[head.as_bytes(), &body].concat()).and_then(|()| stream.flush()).is_err() || last
        {
            return;
        }
    }
}

fn answer(
    order: &SessionOrder,
    tls: &ServerConnection,
    provider: &Provider,
    manner: &Manner,
) -> SessionAnswer {
    let exporter = |side: TlsSide| {
        Secret::new(tls.export_keying_material([0; 32], side.exporter_label().as_bytes(), None).unwrap())
    };
    let exporters = Exporters { client: exporter(TlsSide::Client), server: exporter(TlsSide::Server) };
    let (client, server) =
        (TlsSide::Client.report_data(&exporters.client), TlsSide::Server.report_data(&exporters.server));
    let quote = manner.enclave.attest(&(manner.data)(&exporters), EvidenceKind::Quote).unwrap();
    let mut answer =
        SessionAnswer { quote: quote.bytes().to_vec(), expires_in: 60, keys: 9, signature: [0; 64] };
    let sign = |answer: &SessionAnswer| {
        provider.signing_key.sign(&answer.signed(&client, &server, &order.evidence, &provider.statement))
    };
    answer.signature = sign(&answer);
    (manner.edit)(&mut answer);
    if manner.signs_edited {
        answer.signature = sign(&answer);
    }
    answer
}

fn message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some((head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned(), body))
}

fn disk() -> Wanted {
    Wanted::key("app/db", "disk", 32).unwrap()
}

/// The failure of a session with such a provider, and whether it was asked for keys. Both faces agree.
fn refused(world: &World, provider: impl Fn() -> Provider, manner: &Manner) -> (Error, bool) {
    let asked = |lines: &Mutex<Vec<String>>| lines.lock().unwrap().iter().any(|line| line.contains("keys"));
    let (url, lines) = serve(provider(), manner.clone());
    let client = world.client(&url);
    let error = client.session().unwrap().keys(&disk()).err().expect("there must be no key");
    let (url, other) = serve(provider(), manner.clone());
    let client = AsyncClient::new(world.client(&url));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let same = runtime.block_on(client.session().unwrap().keys(&disk())).err().expect("nor here");
    assert_eq!((same.code(), asked(&other)), (error.code(), asked(&lines)));
    (error, asked(&lines))
}

#[test]
fn an_honest_provider_is_believed_once_and_asked_often() {
    let world = World::new();
    let (url, lines) = serve(world.provider(), honest(&world));
    let client = world.client(&url);
    let mut session = client.session().unwrap();
    for _ in 0..5 {
        let keys = session.keys(&disk()).unwrap();
        assert_eq!((keys.head, keys.into_first().expose().len()), ([1; 32], 32));
    }
    let count = |line: &str| lines.lock().unwrap().iter().filter(|found| *found == line).count();
    let counts = ["GET /v1/provider", "POST /v1/session", "POST /v1/session/keys"].map(count);
    assert_eq!(counts, [1, 1, 5]);
}

/// R42: evidence for another connection, for the other side or for nothing, even by the very enclave and signed by it.
#[test]
fn r42_evidence_for_anything_but_this_connection_is_refused() {
    let world = World::new();
    let wrong: [fn(&Exporters) -> ReportData; 4] = [
        |exporters| TlsSide::Server.report_data(&exporters.client),
        |exporters| TlsSide::Client.report_data(&exporters.client),
        |exporters| TlsSide::Client.report_data(&exporters.server),
        |_| TlsSide::Server.report_data(&Secret::new([7; 32])),
    ];
    for data in wrong {
        let manner = Manner { data, ..honest(&world) };
        let (error, asked) = refused(&world, || world.provider(), &manner);
        assert!(matches!(error, Error::OtherConnection) && !asked, "{error}");
        assert_eq!(error.code(), "untrusted_provider.connection");
    }
}

/// R40, B21: it has the statement of the right provider, and its signature; the quote is another's.
#[test]
fn r40_the_quote_of_a_session_is_the_pinned_providers() {
    let world = World::new();
    let other = EnclaveIdentity { mrenclave: [0x66; 32], ..identity() };
    let guest = world.machine.guest(TdDescription::default_guest()).unwrap();
    let cases: [(Arc<dyn Tee>, &str); 3] = [
        (Arc::new(enclave_of(&world.machine, &other)), "untrusted_provider.measurement"),
        (Arc::new(enclave_of(&world.machine, &identity().with_debug())), "policy.debug"),
        (Arc::new(guest), "untrusted_provider.no_enclave"),
    ];
    for (enclave, code) in cases {
        let (error, asked) = refused(&world, || world.provider(), &Manner { enclave, ..honest(&world) });
        assert_eq!((error.code(), asked), (code, false), "{error}");
    }
}

/// R36: the same enclave on the next machine.
#[test]
fn r36_a_session_is_with_this_machine() {
    let world = World::new();
    let enclave: Arc<dyn Tee> = Arc::new(enclave_of(&world.neighbour(), &identity()));
    let (error, asked) = refused(&world, || world.provider(), &Manner { enclave, ..honest(&world) });
    assert_eq!((error.code(), asked), ("untrusted_provider.machine", false), "{error}");
}

/// R39: every field of the answer is signed for.
#[test]
fn r39_every_edit_of_a_sessions_answer_is_refused() {
    let world = World::new();
    let edits: [fn(&mut SessionAnswer); 4] = [
        |answer| answer.signature[0] ^= 1,
        |answer| answer.keys += 1,
        |answer| answer.expires_in += 1,
        |answer| answer.quote.push(0),
    ];
    for edit in edits {
        let manner = Manner { edit, signs_edited: false, ..honest(&world) };
        let (error, asked) = refused(&world, || world.provider(), &manner);
        assert_eq!((error.code(), asked), ("untrusted_provider.answer", false), "{error}");
    }
}

/// R42: keys are asked for, and taken, on the connection of the session alone.
#[test]
fn r42_a_session_never_goes_on_elsewhere() {
    let world = World::new();
    let manner = Manner { hangs_up: true, ..honest(&world) };
    let (error, asked) = refused(&world, || world.provider(), &manner);
    assert_eq!((error.code(), asked), ("peer.closed", false), "{error}");
}

#[test]
fn a_session_that_is_over_begins_anew_once() {
    let world = World::new();
    let (url, lines) = serve(world.provider(), Manner { keys: 2, ..honest(&world) });
    let client = world.client(&url);
    let mut session = client.session().unwrap();
    assert!(session.keys(&disk()).is_ok() && session.keys(&disk()).is_ok());
    // This provider counts for the whole connection, so the next session is over at once.
    let error = session.keys(&disk()).err().unwrap();
    assert!(matches!(error, Error::Refused(Code::SessionEnded)), "{error}");
    let begun = lines.lock().unwrap().iter().filter(|line| *line == "POST /v1/session").count();
    assert_eq!(begun, 2);
}

#[test]
fn keys_of_other_lengths_are_refused() {
    let world = World::new();
    for length in [0, 31, 33, 64] {
        let (error, _) = refused(&world, || world.provider(), &Manner { length, ..honest(&world) });
        assert!(matches!(error, Error::BadAnswer(_)), "{error}");
    }
}

/// R40: without evidence of the pinned provider in the first place, this guest shows none of its own.
#[test]
fn r40_nothing_is_shown_to_a_provider_that_is_not_pinned() {
    let world = World::new();
    let other = || Provider::new(&enclave_of(&world.machine, &identity()), [0x66; 32], PIN.root_id.unwrap());
    let (url, lines) = serve(other(), honest(&world));
    let error = world.client(&url).session().unwrap().keys(&disk()).err().unwrap();
    assert_eq!(error.code(), "untrusted_provider.authority");
    assert_eq!(*lines.lock().unwrap(), ["GET /v1/provider"]);
}
