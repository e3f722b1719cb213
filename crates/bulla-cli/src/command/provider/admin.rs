//! The admin socket of a running provider: one request each, over HTTP/1.1.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulla_protocol::Signed;
use bulla_provider::{Command, CommandDocument, Settings};
use serde_json::{Value, json};

use super::status;
use crate::args::{Asking, Place, Running, Submit};
use crate::failure::Failure;
use crate::{files, say};

/// The longest that a provider may take: a drain waits for what was begun.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than any answer has, in bytes.
const ANSWER_MAX: u64 = 16 << 20;

/// What the provider answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.body).map_err(|_| no_provider("its answer is not JSON"))
    }

    /// The answer, unless it is a refusal.
    pub(super) fn accepted(&self) -> Result<Value, Failure> {
        let value = self.json()?;
        match self.status {
            200 => Ok(value),
            _ => {
                let why = value.get("title").and_then(Value::as_str).unwrap_or("it refuses");
                Err(Failure::refused(say::escaped(why)))
            }
        }
    }
}

/// Has the provider do something.
pub(super) fn post(options: &Running, path: &str, body: &Value) -> Result<(), Failure> {
    let answer = ask(&options.place, "POST", path, &body.to_string())?.accepted()?;
    if options.json {
        say::result(answer);
        return Ok(());
    }
    for (name, value) in answer.as_object().into_iter().flatten() {
        match name.as_str() {
            "roots" => status::roots(value),
            name => say::field(name, value),
        }
    }
    Ok(())
}

/// Gives a command of the authority, or writes it to be signed.
pub(super) fn command(options: &Asking, command: Command) -> Result<(), Failure> {
    let issued = ask(&options.running.place, "POST", "/nonce", "")?.accepted()?;
    let bytes = |name: &str| {
        let mut bytes = [0; 32];
        let text = issued.get(name).and_then(Value::as_str).unwrap_or_default();
        hex::decode_to_slice(text, &mut bytes).map_err(|_| no_provider("its nonce is none"))?;
        Ok::<_, Failure>(bytes)
    };
    let document =
        CommandDocument { version: 1, provider: bytes("provider")?, nonce: bytes("nonce")?, command };
    let text = document.to_toml();
    match &options.prepare {
        Some(path) => files::output(Some(path), |file| file.write_all(text.as_bytes())),
        None => post(&options.running, "/command", &json!({ "document": text })),
    }
}

/// Gives a command that was signed.
pub(super) fn submit(options: &Submit) -> Result<(), Failure> {
    let signed = files::read(&options.signed, Signed::LIMIT as u64)?;
    let signed: Value = serde_json::from_slice(&signed).map_err(|error| {
        Failure::usage(format!("{} is not a signed document: {error}", options.signed.display()))
    })?;
    post(&options.running, "/command", &signed)
}

/// Asks the provider.
pub(super) fn ask(place: &Place, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
    ask_at(&socket(place)?, method, path, body.as_bytes())
}

/// Whether a provider serves there.
pub(super) fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Asks the provider that has this admin socket.
pub(super) fn ask_at(socket: &Path, method: &str, path: &str, body: &[u8]) -> Result<Answer, Failure> {
    let unreachable = |error: std::io::Error| {
        no_provider(&format!("{}: {error}: is it running, and are you its user?", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).map_err(unreachable)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).map_err(unreachable)?;
    parse(&answer).ok_or_else(|| no_provider("its answer is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = head.parse(answer).ok()? else {
        return None;
    };
    let body = String::from_utf8(answer.get(end..)?.to_vec()).ok()?;
    Some(Answer { status: head.code?, body })
}

fn socket(place: &Place) -> Result<PathBuf, Failure> {
    match (&place.admin, &place.config) {
        (Some(path), _) => Ok(path.clone()),
        (None, Some(path)) => {
            let settings = Settings::load(path).map_err(|error| Failure::from(error).about(path))?;
            Ok(settings.admin_socket())
        }
        (None, None) => Err(Failure::usage("name the provider: --config FILE or --admin SOCKET")),
    }
}

fn no_provider(why: &str) -> Failure {
    Failure::peer(format!("the provider cannot be asked: {why}"))
}
