//! Somebody between guest and provider who edits what passes: nothing of it is accepted (R38, R39, B21).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod site;
#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use serde_json::{Value, json};

use site::{Site, connect};
use support::{Ran, Serving};

/// What is done to a message.
type Edit = dyn Fn(&mut Value) + Send + Sync;

/// Which message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Statement,
    Challenge,
    /// The challenge that comes with a statement or an answer.
    Next,
    Order,
    Answer,
}

impl Message {
    /// The response to a request for this path.
    fn to(path: &str) -> Option<Self> {
        match path {
            "/v1/provider" => Some(Self::Statement),
            "/v1/challenge" => Some(Self::Challenge),
            "/v1/keys" => Some(Self::Answer),
            _ => None,
        }
    }
}

/// A proxy that edits one message.
struct Middle {
    address: SocketAddr,
    /// How many messages it edited.
    edited: Arc<AtomicUsize>,
}

impl Middle {
    fn new(provider: &Serving, message: Message, edit: Arc<Edit>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, provider) = (listener.local_addr().unwrap(), provider.http());
        let edited = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&edited);
        let edit = move |body: &[u8]| {
            let mut message: Value = serde_json::from_slice(body).unwrap();
            edit(&mut message);
            count.fetch_add(1, Ordering::Relaxed);
            message.to_string().into_bytes()
        };
        thread::spawn(move || {
            // A client that lost its connection comes again.
            for client in listener.incoming().map_while(Result::ok) {
                carry(client, connect(provider), message, &edit);
            }
        });
        Self { address, edited }
    }
}

/// Carries messages both ways until one side ends.
fn carry(
    client: TcpStream,
    provider: TcpStream,
    edited: Message,
    edit: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Option<()> {
    let (mut from_client, mut to_client) = (BufReader::new(client.try_clone().ok()?), client);
    let (mut from_provider, mut to_provider) = (BufReader::new(provider.try_clone().ok()?), provider);
    loop {
        let (head, body) = receive(&mut from_client)?;
        let path = head.split(' ').nth(1)?.to_owned();
        let body = if path == "/v1/keys" && edited == Message::Order { edit(&body) } else { body };
        send(&mut to_provider, &head, &body)?;
        let (head, body) = receive(&mut from_provider)?;
        let head = match edited {
            // So that it is asked for.
            Message::Challenge => with_next(&head, |_| None),
            Message::Next => with_next(&head, |next| Some(edit(next))),
            _ => head,
        };
        let mine = Message::to(&path) == Some(edited) && head.starts_with("HTTP/1.1 200");
        let body = if mine { edit(&body) } else { body };
        send(&mut to_client, &head, &body)?;
    }
}

/// Head and body of a message with a content length; `None` at the end.
fn receive(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A head with the challenge in it edited, or taken out.
fn with_next(head: &str, edit: impl Fn(&[u8]) -> Option<Vec<u8>>) -> String {
    let name = "bulla-challenge: ";
    let line = |line: &str| match line.strip_prefix(name) {
        Some(next) => {
            edit(next.as_bytes()).map(|next| format!("{name}{}\r\n", String::from_utf8(next).unwrap()))
        }
        None => Some(format!("{line}\r\n")),
    };
    head.lines().filter_map(line).collect()
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8]) -> Option<()> {
    let others =
        head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
    let head: String = others.map(|line| format!("{line}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    stream.write_all(&[head.as_bytes(), length.as_bytes(), b"\r\n", body].concat()).ok()
}

/// A value that is not this one and has its shape: another number, or the same text with another letter.
fn other(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_u64().unwrap() + 1),
        // One more of a list: the first again.
        Value::Array(items) => json!([items.as_slice(), &items[..1]].concat()),
        Value::String(name) if name == "measurement" => json!({"registers": {"name": name, "version": 1}}),
        Value::String(name) if name == "hkdf-sha256" => json!("hkdf-sha384"),
        Value::String(name) if name == "tdx-quote" => json!("tdx-report"),
        Value::String(name) if name == "hardware" => json!("keyring"),
        Value::String(text) => {
            // The third letter of base64, or of a name.
            let mut letters: Vec<char> = text.chars().collect();
            letters[2] = if letters[2] == 'b' { 'c' } else { 'b' };
            json!(letters.into_iter().collect::<String>())
        }
        other => panic!("{other}"),
    }
}

fn site() -> (Site, Serving) {
    let site = Site::new();
    let provider = site.serve();
    (site, provider)
}

/// Asks through somebody who edits one message.
fn ask(
    site: &Site,
    provider: &Serving,
    message: Message,
    edit: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Ran {
    let middle = Middle::new(provider, message, Arc::new(edit));
    let line = format!("--provider http://{} --provider-id {}", middle.address, provider.id());
    let ran =
        site.bulla.run(&format!("--machine sim-td:host request {line} --path app/db --purpose disk -o key"));
    assert_ne!(middle.edited.load(Ordering::Relaxed), 0, "nothing was edited: {}", ran.stderr);
    ran
}

#[track_caller]
fn nothing_is_accepted(site: &Site, ran: &Ran, what: &str) {
    assert!([10, 14].contains(&ran.code), "{what}: {} {}", ran.code, ran.stderr);
    assert!(!site.bulla.path("key").exists(), "{what}: a key was written");
    assert!(ran.stdout.is_empty(), "{what}");
}

/// The control: who writes a message anew, with its fields in another order, and changes nothing in it, is not noticed.
#[test]
fn a_carrier_changes_nothing() {
    let (site, provider) = site();
    let key = site.request("default", "app/db disk 32", &provider).ok();
    for message in [Message::Statement, Message::Challenge, Message::Next, Message::Order, Message::Answer] {
        ask(&site, &provider, message, |_| {}).ok();
        assert_eq!(site.bulla.read("key"), key);
    }
}

/// R38: each selector of the request, and everything around it.
#[test]
fn an_edited_order_is_refused() {
    let (site, provider) = site();
    for field in [
        "/request/version",
        "/request/suite",
        "/request/binding",
        "/request/root_id",
        "/request/provider_key",
        "/request/public_key",
        "/request/challenge",
        "/request/keys",
        "/request/keys/0/path",
        "/request/keys/0/purpose",
        "/request/keys/0/algorithm",
        "/request/keys/0/length",
        "/kind",
        "/evidence",
    ] {
        let ran = ask(&site, &provider, Message::Order, move |order| {
            let value = order.pointer_mut(field).expect(field);
            *value = other(value);
        });
        nothing_is_accepted(&site, &ran, field);
        let ran = ask(&site, &provider, Message::Order, move |order| {
            let (parent, name) = field.rsplit_once('/').unwrap();
            let parent = order.pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().remove(name).expect(field);
        });
        nothing_is_accepted(&site, &ran, field);
    }
    let ran = ask(&site, &provider, Message::Order, |order| order["request"]["more"] = json!(1));
    nothing_is_accepted(&site, &ran, "an unknown selector");
    assert_eq!(site.released(), 0, "no key left the provider");
    site.request("default", "app/db disk 32", &provider).ok();
}

/// R39.
#[test]
fn an_edited_answer_is_thrown_away() {
    let (site, provider) = site();
    for field in ["encapsulated_key", "ciphertext", "head", "signature"] {
        let ran = ask(&site, &provider, Message::Answer, move |answer| answer[field] = other(&answer[field]));
        nothing_is_accepted(&site, &ran, field);
        let ran = ask(&site, &provider, Message::Answer, move |answer| answer[field] = json!(""));
        nothing_is_accepted(&site, &ran, field);
    }
    let ran = ask(&site, &provider, Message::Answer, |answer| answer["more"] = json!(1));
    nothing_is_accepted(&site, &ran, "an unknown field");
}

/// R40.
#[test]
fn an_edited_statement_or_challenge_is_refused() {
    let (site, provider) = site();
    for field in [
        "/signing_key",
        "/authority",
        "/policy_digest",
        "/policy_version",
        "/custody",
        "/roots",
        "/roots/0/epoch",
        "/roots/0/id",
        "/roots/0/commitment",
        "/quote",
    ] {
        let ran = ask(&site, &provider, Message::Statement, move |statement| {
            let value = statement.pointer_mut(field).expect(field);
            *value = other(value);
        });
        nothing_is_accepted(&site, &ran, field);
    }
    let edit = |challenge: &mut Value| challenge["challenge"] = other(&challenge["challenge"]);
    for message in [Message::Challenge, Message::Next] {
        let ran = ask(&site, &provider, message, edit);
        nothing_is_accepted(&site, &ran, "challenge");
    }
    assert_eq!(site.released(), 0);
}

/// B18, B21: an answer to another question, however genuine.
#[test]
fn an_answer_to_another_request_is_thrown_away() {
    let (site, provider) = site();
    let (sender, receiver) = channel();
    let ran = ask(&site, &provider, Message::Answer, move |answer| {
        sender.send(answer.take()).unwrap();
    });
    nothing_is_accepted(&site, &ran, "no answer");
    let genuine = receiver.recv().unwrap();
    assert_eq!(site.released(), 1);
    let ran = ask(&site, &provider, Message::Answer, move |answer| *answer = genuine.clone());
    nothing_is_accepted(&site, &ran, "the answer to the request before");
}

/// B21: another genuine provider, on the same machine with another root or on another machine.
#[test]
fn a_statement_of_another_provider_is_refused() {
    let (site, provider) = site();
    let elsewhere = Site::new();
    let others = elsewhere.serve();
    let foreign = statement_of(&others);
    let ran = ask(&site, &provider, Message::Statement, move |statement| *statement = foreign.clone());
    nothing_is_accepted(&site, &ran, "the provider of another machine");

    site.bulla.write("second.toml", format!("state_dir = \"second\"\n{}", site::SETTINGS));
    let second = site.bulla.serve("second.toml");
    let twin = statement_of(&second);
    let ran = ask(&site, &provider, Message::Statement, move |statement| *statement = twin.clone());
    nothing_is_accepted(&site, &ran, "the same program beside it");
    assert_eq!(site.released(), 0);
}

fn statement_of(provider: &Serving) -> Value {
    let mut stream = connect(provider.http());
    stream.write_all(b"GET /v1/provider HTTP/1.1\r\nhost: p\r\n\r\n").unwrap();
    let (head, body) = receive(&mut BufReader::new(stream)).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"));
    serde_json::from_slice(&body).unwrap()
}
