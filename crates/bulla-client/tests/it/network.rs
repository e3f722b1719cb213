//! A network that does not do what it should. Nothing here is about trust: it must end, with little memory and a reason.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulla_client::Error;
use bulla_crypto::Class;
use bulla_protocol::{BODY_MAX, Code, Problem};

use crate::request::failure;
use crate::server::{Reply, Server, response};
use crate::world::{PIN, World};

/// The failure of a client of a server that answers everything like this.
fn refused_by(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Error, Server) {
    let world = World::new();
    let server = Server::start(move |_| reply());
    let client = world.client(&server.url).with_timeout(Duration::from_millis(300));
    (failure(&client), server)
}

#[test]
fn what_is_not_the_protocol_is_the_peers_fault() {
    let ok = |body: &[u8]| response("200 OK", "application/json", body);
    let cases: [(&str, Vec<u8>); 9] = [
        ("peer.malformed", ok(b"<html>welcome</html>")),
        ("peer.malformed", ok(b"")),
        ("peer.malformed", ok(b"{}")),
        ("peer.malformed", ok(&b"[".repeat(100_000))),
        ("peer.status", response("500 Oops", "text/plain", b"it is broken")),
        ("peer.status", response("204 No Content", "text/plain", b"")),
        ("peer.status", response("404 Gone", "application/problem+json", br#"{"code":"no-such-code"}"#)),
        ("peer.transport", b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
        ("peer.transport", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec()),
    ];
    for (code, bytes) in cases {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let (error, _) = refused_by(move || Reply::Raw(bytes.clone()));
        assert_eq!((error.code(), error.class()), (code, Class::Peer), "{text}: {error}");
    }
}

/// B42: bounded before it is read.
#[test]
fn a_body_without_end_is_cut_off() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n".to_owned(),
        format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n", BODY_MAX + 1),
    ] {
        let (error, _) = refused_by(move || Reply::Endless(head.clone().into_bytes()));
        assert!(error.to_string().contains(&format!("longer than {BODY_MAX} bytes")), "{error}");
        assert_eq!(error.class(), Class::Peer);
    }
    let (error, _) = refused_by(|| Reply::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec()));
    assert_eq!(error.class(), Class::Peer, "{error}");
}

#[test]
fn a_silent_provider_is_given_up() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"] {
        let (error, _) = refused_by(|| Reply::Raw(bytes.to_vec()));
        assert_eq!((error.code(), error.class()), ("peer.transport", Class::Peer), "{error}");
        assert!(error.to_string().contains("timeout"), "{error}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let world = World::new();
    let honest = world.provider().serve();
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let head =
            format!("HTTP/1.1 {status}\r\nlocation: {}/v1/provider\r\ncontent-length: 0\r\n\r\n", honest.url);
        let (error, _) = refused_by(move || Reply::Raw(head.clone().into_bytes()));
        assert!(error.to_string().contains(&status[..3]), "{error}");
    }
    assert_eq!(honest.calls(), []);
}

#[test]
fn nobody_there_is_the_peers_fault() {
    let (error, _) = refused_by(|| Reply::Close);
    assert_eq!(error.class(), Class::Peer);
    let world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(&world.client_of(world.guest(), &format!("http://{free}"), PIN));
    assert_eq!((error.code(), error.class()), ("peer.transport", Class::Peer));
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

/// A provider says when to come back, the client does, and not for ever.
#[test]
fn who_is_told_when_comes_back_then() {
    let world = World::new();
    let busy = |times: usize| {
        let (provider, refused) = (world.provider(), AtomicUsize::new(0));
        Server::start(move |call| match call.line.as_str() {
            "POST /v1/keys" if refused.fetch_add(1, Ordering::Relaxed) < times => {
                let body = serde_json::to_vec(&Problem::from(Code::Busy)).unwrap();
                Reply::Raw(response("503 Busy\r\nretry-after: 2", "application/problem+json", &body))
            }
            _ => provider.reply(call).unwrap_or_else(Reply::Problem),
        })
    };
    for (times, wanted, waits) in [(1, "", 1), (3, "", 3), (4, "busy", 3)] {
        let server = busy(times);
        let waited = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&waited);
        let client = world.client(&server.url).with_wait(move |time| log.lock().unwrap().push(time));
        let found = client.request("app/db", "disk", 32).map_or_else(|error| error.code(), |_| "");
        assert_eq!((found, waited.lock().unwrap().len()), (wanted, waits));
        let bounds = Duration::from_secs(2)..=Duration::from_millis(2500);
        assert!(waited.lock().unwrap().iter().all(|time| bounds.contains(time)));
        // Each time with a challenge and evidence of its own, to a provider that was judged as it is by then.
        let asked = (server.count("GET /v1/provider"), server.count("GET /v1/challenge"));
        assert_eq!(asked, (waits + 1, waits + 1));
    }
}

/// A problem document is passed on with its code and class; it proves nothing, so it can only ever refuse.
#[test]
fn problems_are_passed_on() {
    for (code, class) in [
        (Code::PolicyDenied, Class::Refused),
        (Code::WrongPlatform, Class::Refused),
        (Code::TcbTooOld, Class::TooOld),
        (Code::Busy, Class::Peer),
    ] {
        let (error, server) = refused_by(move || Reply::Problem(code));
        assert_eq!((error.code(), error.class()), (code.as_str(), class), "{error}");
        assert!(error.to_string().contains(&Problem::from(code).title), "{error}");
        assert_eq!(server.calls().len(), 1);
    }
}
