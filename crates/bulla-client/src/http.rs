//! One message of HTTP/1.1 and its answer, as bytes: nothing here reads or writes. The answer of a session holds keys, so
//! what is kept of it is wiped.

use bulla_crypto::SecretBytes;
use bulla_protocol::BODY_MAX;
use bulla_protocol::v1::Challenge;
use httparse::{EMPTY_HEADER, Status};
use zeroize::Zeroizing;

/// Bytes of the head of an answer.
const HEAD_MAX: usize = 16 * 1024;
/// Fields of the head of an answer.
const FIELDS_MAX: usize = 64;

/// What is asked of the provider.
pub(crate) struct Ask {
    /// No body is a GET.
    body: Option<Vec<u8>>,
    path: &'static str,
    /// Whether it means nothing on another connection than the one before.
    pub(crate) same_connection: bool,
}

impl Ask {
    pub(crate) const fn get(path: &'static str) -> Self {
        Self { body: None, path, same_connection: false }
    }

    /// A POST of JSON.
    pub(crate) const fn post(path: &'static str, json: Vec<u8>) -> Self {
        Self { body: Some(json), path, same_connection: false }
    }

    pub(crate) fn on_the_same_connection(self) -> Self {
        Self { same_connection: true, ..self }
    }

    /// The message.
    pub(crate) fn to_bytes(&self, host: &str) -> Vec<u8> {
        let path = self.path;
        match &self.body {
            None => format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(),
            Some(body) => {
                let length = body.len();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
                );
                [head.as_bytes(), body].concat()
            }
        }
    }
}

/// What the provider answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Seconds after which to come back (RFC 9110, section 10.2.3).
    pub(crate) retry_after: Option<u64>,
    /// Whether the connection ends with it.
    pub(crate) last: bool,
    /// For the next order on this connection.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) body: SecretBytes,
}

/// An answer that arrives in pieces.
#[derive(Default)]
pub(crate) struct Incoming {
    head: Zeroizing<Vec<u8>>,
    /// Once the head is there: what it says, and how long the body will be.
    body: Option<(Reply, Zeroizing<Vec<u8>>, usize)>,
}

impl Incoming {
    /// Takes what has arrived. The answer when it is whole, or what is wrong with it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Reply>, String> {
        match &mut self.body {
            None => {
                self.head.extend_from_slice(bytes);
                let Some((reply, length, end)) = read_head(&self.head)? else {
                    return Ok(None);
                };
                // Its whole room at once: a vector that grows leaves copies behind.
                let mut body = Zeroizing::new(Vec::with_capacity(length));
                body.extend_from_slice(self.head.get(end..).unwrap_or_default());
                self.body = Some((reply, body, length));
            }
            Some((_, body, _)) => body.extend_from_slice(bytes),
        }
        match self.body.take() {
            Some((_, body, length)) if body.len() > length => Err("its answer goes on after its end".into()),
            Some((reply, mut body, length)) if body.len() == length => {
                Ok(Some(Reply { body: SecretBytes::new(std::mem::take(&mut *body)), ..reply }))
            }
            unfinished => {
                self.body = unfinished;
                Ok(None)
            }
        }
    }
}

/// Status and fields, the length of the body, and where it begins; nothing while the head is not whole.
fn read_head(bytes: &[u8]) -> Result<Option<(Reply, usize, usize)>, String> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let end = match response.parse(bytes) {
        Ok(Status::Complete(end)) if end <= HEAD_MAX => end,
        Ok(Status::Partial) if bytes.len() <= HEAD_MAX => return Ok(None),
        Ok(_) => return Err(format!("the head of its answer is longer than {HEAD_MAX} bytes")),
        Err(error) => return Err(format!("it does not speak HTTP: {error}")),
    };
    let value = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| field.value)
    };
    let field = |name: &str| value(name).and_then(|value| str::from_utf8(value).ok()).map(str::trim);
    let length = match field("content-length").map(str::parse::<u64>) {
        Some(Ok(length)) if length <= BODY_MAX as u64 => length as usize,
        Some(Ok(_)) => return Err(format!("its answer is longer than {BODY_MAX} bytes")),
        _ if response.code == Some(204) => 0,
        Some(Err(_)) | None => return Err("it does not say how long its answer is".into()),
    };
    let last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        || response.version == Some(0);
    let reply = Reply {
        status: response.code.unwrap_or_default(),
        retry_after: field("retry-after").and_then(|seconds| seconds.parse().ok()),
        last,
        // On another connection it is good for nothing.
        challenge: value(Challenge::FIELD).filter(|_| !last).and_then(Challenge::from_field),
        body: SecretBytes::new(Vec::new()),
    };
    Ok(Some((reply, length, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(answer: &str, piece: usize) -> Result<Option<Reply>, String> {
        let mut incoming = Incoming::default();
        for bytes in answer.as_bytes().chunks(piece) {
            if let Some(reply) = incoming.take(bytes)? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    #[test]
    fn an_answer_is_whole_however_it_is_cut() {
        let answer =
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nConnection: Close\r\nContent-Length: 4\r\n\r\nbody";
        for piece in 1..=answer.len() {
            let reply = taken(answer, piece).unwrap().unwrap();
            assert_eq!((reply.status, reply.retry_after, reply.last), (503, Some(7), true));
            assert_eq!(reply.body.expose(), b"body");
        }
        let reply = taken("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 99).unwrap().unwrap();
        assert_eq!((reply.retry_after, reply.last, reply.body.expose()), (None, false, &b""[..]));
        for end in 0..answer.len() {
            assert!(taken(&answer[..end], 99).unwrap().is_none(), "{end}");
        }
    }

    /// A challenge is taken as the specification has it; anything else is as none, and so is one for a connection that ends.
    #[test]
    fn the_next_challenge_comes_with_an_answer() {
        let next = |fields: &str| {
            let reply = taken(&format!("HTTP/1.1 200 OK\r\n{fields}\r\ncontent-length: 0\r\n\r\n"), 99);
            reply.unwrap().unwrap().challenge
        };
        let good = r#"{"challenge":"AQI=","expires_in":60}"#;
        let wanted = Challenge { challenge: vec![1, 2], expires_in: 60 };
        assert_eq!(next(&format!("Bulla-Challenge: {good}")), Some(wanted));
        assert_eq!(next(&format!("bulla-challenge: {good}\r\nconnection: close")), None);
        let long = good.replace("AQI=", &"AAAA".repeat(22));
        for bad in [
            "",
            "AQI=",
            "{}",
            &good.replace("60", "0"),
            &good.replace("60", "-1"),
            &format!("{good}{good}"),
            &long,
        ] {
            assert_eq!(next(&format!("bulla-challenge: {bad}")), None, "{bad}");
        }
    }

    /// B42, R31: nothing is believed that has no end, and nothing reserved that is too long.
    #[test]
    fn what_has_no_end_is_refused() {
        for (answer, words) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", "HTTP"),
            ("HTTP/1.1 200 OK\r\n\r\n", "how long"),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "how long"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "how long"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", "goes on"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n", "longer than"),
            (&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY_MAX + 1), "longer than"),
            (&format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_MAX)), "longer than"),
            (&format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(FIELDS_MAX + 1)), "HTTP"),
        ] {
            let error = taken(answer, 4096).err().unwrap();
            assert!(error.contains(words), "{error}");
        }
    }
}
