//! The bad inputs of the legacy listener, on the real socket of a real process: after each the next client is answered, and
//! memory stays flat.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod site;
#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use site::{Site, connect, exchange, frame, is_closed, peak_memory, quote_frame};
use support::{Serving, flipped};

/// The largest body, and the largest quote.
const BODY_MAX: usize = 256 * 1024;
const QUOTE_MAX: usize = 32 * 1024;
/// All that a provider may ever hold, in KiB.
const MEMORY: u64 = 64 * 1024;

/// A provider, and a client that is answered.
struct Served {
    site: Site,
    provider: Serving,
    quote: Vec<u8>,
}

impl Served {
    fn new() -> Self {
        let site = Site::new();
        let provider = site.serve();
        let quote = site.good_quote();
        let served = Self { site, provider, quote };
        served.answers();
        served
    }

    fn address(&self) -> SocketAddr {
        self.provider.legacy()
    }

    /// The honest client is answered.
    #[track_caller]
    fn answers(&self) {
        let (sealed_box, quote) =
            exchange(self.address(), &quote_frame(&self.quote)).expect("the honest client");
        assert_eq!((sealed_box.len(), &quote[..2]), (80, &[3, 0][..]));
    }

    /// These bytes get no reply, and the next client does.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], what: &str) {
        let mut stream = connect(self.address());
        let _ = stream.write_all(bytes);
        assert!(is_closed(&mut stream), "{what}");
        self.answers();
    }

    #[track_caller]
    fn refuses_quote(&self, quote: &[u8], what: &str) {
        self.refuses(&quote_frame(quote), what);
    }

    /// How often a cause was recorded so far. The log has each count that is a power of two.
    fn recorded(&self, cause: &str) -> u64 {
        let counts = self.site.audit().into_iter().filter(|line| line["cause"] == cause);
        counts.filter_map(|line| line["count"].as_u64()).max().unwrap_or(0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let peak = peak_memory(self.provider.process());
            assert!(peak < MEMORY, "{peak} KiB");
        }
    }
}

/// B1: closed on the length alone; not a byte of the body has to come.
#[test]
fn b1_length_bombs() {
    let served = Served::new();
    for length in [0, BODY_MAX as u32 + 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
        served.refuses(&length.to_be_bytes(), &format!("length {length}"));
        served.refuses(
            &[&length.to_be_bytes()[..], &[b'['; 1000]].concat(),
            &format!("length {length} and more"),
        );
    }
    // On sight, not when their time is over.
    assert_eq!((served.recorded("too-large"), served.recorded("malformed")), (8, 2));
    assert_eq!(served.recorded("timeout"), 0);
    // Many at once, each with a body that it says is the largest.
    let streams: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = connect(served.address());
            stream.write_all(&(BODY_MAX as u32).to_be_bytes()).unwrap();
            stream
        })
        .collect();
    served.answers();
    drop(streams);
    served.answers();
}

/// B2: what stops half way holds nobody up; its deadlines are tested with the provider's own clock.
#[test]
fn b2_bodies_that_stop() {
    let served = Served::new();
    let whole = quote_frame(&served.quote);
    for length in [1, 3, 4, 5, whole.len() / 2, whole.len() - 1] {
        let mut stream = connect(served.address());
        stream.write_all(&whole[..length]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(is_closed(&mut stream), "{length} bytes");
        served.answers();
    }
    // More of them than there are places. They stay, and nobody waits for them: the first have to give way.
    let mut stalled: Vec<TcpStream> = Vec::new();
    for index in 0..320 {
        let mut stream = connect(served.address());
        let _ = stream.write_all(&whole[..whole.len() / 2]);
        stalled.push(stream);
        if index % 64 == 0 {
            served.answers();
        }
    }
    assert!(is_closed(&mut stalled[0]));
    // Whoever is answered came in after all of them.
    served.answers();
    assert!(served.recorded("busy.gave_way") >= 32);
    // And one whose rest comes after all.
    let mut late = connect(served.address());
    late.write_all(&whole[..whole.len() / 2]).unwrap();
    served.answers();
    late.write_all(&whole[whole.len() / 2..]).unwrap();
    assert!(!is_closed(&mut late), "it is answered");
}

/// B4.
#[test]
fn b4_json_of_another_shape() {
    let served = Served::new();
    let numbers = serde_json::json!(served.quote).to_string();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for (what, body) in [
        ("nothing", " ".to_owned()),
        ("an array", "[]".to_owned()),
        ("null", "null".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("brackets", deep("[", "]")),
        ("open brackets", deep("[", "")),
        ("objects", "{\"quote\":".repeat(25_000)),
        ("brackets in the quote", format!("{{\"quote\":{}}}", deep("[", "]"))),
        ("a duplicate field", format!("{{\"quote\":{numbers},\"quote\":{numbers}}}")),
        ("an unknown field", format!("{{\"quote\":{numbers},\"mode\":\"dev\"}}")),
        ("an unknown field first", format!("{{\"mode\":\"dev\",\"quote\":{numbers}}}")),
        ("something behind", format!("{{\"quote\":{numbers}}}{{}}")),
        ("a text", "{\"quote\":\"0400\"}".to_owned()),
        ("a number too large", "{\"quote\":[256]}".to_owned()),
        ("a negative number", "{\"quote\":[-1]}".to_owned()),
        ("a fraction", "{\"quote\":[1.5]}".to_owned()),
        ("a lone surrogate", "{\"quote\":\"\\ud800\"}".to_owned()),
        ("a quote above the limit", serde_json::json!({ "quote": vec![4; QUOTE_MAX + 1] }).to_string()),
        ("a body of the largest size", " ".repeat(BODY_MAX)),
    ] {
        assert!(body.len() <= BODY_MAX, "{what}");
        served.refuses(&frame(body.as_bytes()), what);
    }
    served.refuses(&frame(&[0xFF, 0xFE, 0, 0x80]), "not UTF-8");
    served.refuses(b"GET / HTTP/1.1\r\nhost: provider\r\n\r\n", "a browser");
}

/// B5.
#[test]
fn b5_quotes_of_another_length() {
    let served = Served::new();
    let quote = &served.quote;
    for length in
        [0, 1, 47, 48, 631, 632, 635, 636, 700, 764, 770, 1154, 1218, 1220, 1252, 1258, quote.len() - 1]
    {
        served.refuses_quote(&quote[..length], &format!("cut at {length}"));
    }
    assert!(served.recorded("parse.truncated") >= 16);
    served.refuses_quote(&[&quote[..], &[1]].concat(), "a byte more");
    assert_eq!(served.recorded("parse.trailing_bytes"), 1);
}

/// B6.
#[test]
fn b6_quotes_of_another_kind() {
    let served = Served::new();
    let with = |at: usize, bytes: &[u8]| {
        let mut quote = served.quote.clone();
        quote[at..at + bytes.len()].copy_from_slice(bytes);
        quote
    };
    for version in [0_u16, 1, 2, 3, 5, 6, 65535] {
        served.refuses_quote(&with(0, &version.to_le_bytes()), &format!("version {version}"));
    }
    for kind in [0_u16, 1, 3, 65535] {
        served.refuses_quote(&with(2, &kind.to_le_bytes()), &format!("attestation key type {kind}"));
    }
    for tee in [0_u32, 1, 0x80, 0x82, u32::MAX] {
        served.refuses_quote(&with(4, &tee.to_le_bytes()), &format!("TEE type {tee}"));
    }
    let (_, own) = exchange(served.address(), &quote_frame(&served.quote)).unwrap();
    served.refuses_quote(&own, "the provider's own quote");
    assert_eq!(served.recorded("evidence.not_tdx"), 1);
}

/// B7.
#[test]
fn b7_sizes_that_lie() {
    let served = Served::new();
    for at in [632, 766, 1254] {
        let real = u32::from_le_bytes(served.quote[at..at + 4].try_into().unwrap());
        for size in [0, real - 1, real + 1, 0x7FFF_FFFF, u32::MAX] {
            let mut quote = served.quote.clone();
            quote[at..at + 4].copy_from_slice(&size.to_le_bytes());
            served.refuses_quote(&quote, &format!("{size} at {at}"));
        }
    }
    for size in [0_u16, 31, 33, u16::MAX] {
        let mut quote = served.quote.clone();
        quote[1218..1220].copy_from_slice(&size.to_le_bytes());
        served.refuses_quote(&quote, &format!("{size} at 1218"));
    }
}

/// B8: header, QE ID, body, report data, signature, key, QE report, its signature, authentication data.
#[test]
fn b8_flipped_bits() {
    let served = Served::new();
    for at in [8, 28, 48, 184, 568, 631, 636, 699, 700, 763, 770, 1153, 1154, 1217, 1220, 1251] {
        served.refuses_quote(&flipped(&served.quote, at, at as u32 % 8), &format!("byte {at}"));
    }
    assert!(served.recorded("quote.signature") >= 4);
    // The first certificate: a digit of its base64 made another.
    for at in (1300..2500).step_by(149).filter(|at| served.quote[*at].is_ascii_alphanumeric()) {
        let mut quote = served.quote.clone();
        quote[at] = if quote[at] == b'A' { b'B' } else { b'A' };
        served.refuses_quote(&quote, &format!("byte {at}"));
    }
}

/// B20: zero, one, each point of low order, and numbers that are not below the field's.
#[test]
fn b20_public_keys_that_encrypt_to_nobody() {
    let served = Served::new();
    for public in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0900000000000000000000000000000000000000000000000000000000000080",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        let quote = served.site.quote("default", &format!("{public}{}", "00".repeat(32)));
        served.refuses_quote(&quote, public);
    }
    assert_eq!(served.recorded("public_key.bad"), 8);
}

/// B1, B4 on the listener of protocol v1: a problem document each, or the end of the connection.
#[test]
fn the_http_listener_takes_no_nonsense() {
    let served = Served::new();
    let http = served.provider.http();
    let post = |length: &str, body: &str| {
        format!(
            "POST /v1/keys HTTP/1.1\r\nhost: p\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let of = |body: &str| post(&body.len().to_string(), body);
    for (what, bytes, status) in [
        ("no JSON", of("x"), "400"),
        ("no order", of("{}"), "400"),
        ("brackets", of(&"[".repeat(100_000)), "400"),
        ("above the limit", of(&" ".repeat(BODY_MAX + 1)), "413"),
        ("another path", "GET /v1/root HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n".into(), "404"),
        ("another method", "DELETE /v1/keys HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n".into(), "404"),
        ("a length bomb", post("18446744073709551615", ""), ""),
        ("an endless head", format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(100_000)), ""),
        ("no HTTP", "\0\0\0\u{1}x\r\n\r\n".into(), ""),
    ] {
        let mut stream = connect(http);
        let _ = stream.write_all(bytes.as_bytes());
        let mut reply = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut reply);
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")) || status.is_empty(), "{what}: {reply}");
        assert!(!reply.starts_with("HTTP/1.1 2"), "{what}: {reply}");
        served.answers();
        served.site.request("default", "app/db disk 32", &served.provider).ok();
    }
}
