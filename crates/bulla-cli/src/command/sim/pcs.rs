//! `bulla sim pcs`: the provisioning service of a simulated machine, over HTTP/1.1. One request for each connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bulla_sim::{Machine, pcs};

use crate::failure::Failure;
use crate::{files, machine, say};

/// How many requests are served at once; more wait.
const AT_ONCE: usize = 8;
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// How long a client may keep the service waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// From where the service has the time.
pub(crate) enum Clock {
    /// The system.
    System,
    /// Nowhere: it stands still.
    Still(u64),
    /// A file, which is read for each request.
    File(PathBuf),
}

impl Clock {
    fn now(&self) -> Result<u64, String> {
        let path = match self {
            Self::System => return Ok(machine::now()),
            Self::Still(now) => return Ok(*now),
            Self::File(path) => path,
        };
        let content = files::read(path, 64).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&content);
        text.trim().parse().map_err(|_| format!("{} does not hold Unix seconds", path.display()))
    }
}

/// Serves until the process is ended.
pub(crate) fn serve(dir: &Path, listen: SocketAddr, clock: &Clock) -> Result<(), Failure> {
    if !listen.ip().is_loopback() {
        let reason =
            format!("{listen} is not a loopback address: what this serves is for this machine alone");
        return Err(Failure::usage(reason));
    }
    Machine::open(dir)?;
    clock.now().map_err(Failure::usage)?;
    let failed = |error| Failure::other(format!("cannot listen on {listen}: {error}"));
    let listener = TcpListener::bind(listen).map_err(failed)?;
    say::note("SIMULATED machine: what this serves proves nothing");
    say::note(format_args!("listening on http://{}", listener.local_addr().map_err(failed)?));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    if let Ok((stream, _)) = listener.accept() {
                        // Whoever goes away early misses the answer.
                        let _ = answer(stream, dir, clock);
                    }
                }
            });
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream, dir: &Path, clock: &Clock) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Some((method, target)) = request(&mut stream)? else {
        return send(&mut stream, &failure(400, "this is not a request"));
    };
    // Opened anew each time, so that a change of the machine shows.
    let response = match (clock.now(), Machine::open(dir)) {
        (Ok(now), Ok(machine)) => pcs::respond(&machine, now, &method, &target),
        (Err(reason), _) => failure(500, &reason),
        (_, Err(error)) => failure(500, &error.to_string()),
    };
    say::note(format_args!("{} {} {}", method.escape_debug(), target.escape_debug(), response.status));
    send(&mut stream, &response)
}

/// Method and target; none if what came is not the head of a request.
fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, String)>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < HEAD_MAX {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            break;
        }
        head.extend(piece.iter().take(read));
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(_)) => {
                return Ok(request
                    .method
                    .zip(request.path)
                    .map(|(method, path)| (method.into(), path.into())));
            }
            Err(_) => break,
        }
    }
    Ok(None)
}

fn failure(status: u16, reason: &str) -> pcs::Response {
    pcs::Response { status, headers: Vec::new(), body: reason.into() }
}

fn send(stream: &mut TcpStream, response: &pcs::Response) -> std::io::Result<()> {
    // The words after the status may be left out (RFC 9112, section 4), the blank may not.
    let mut message = format!("HTTP/1.1 {} \r\n", response.status);
    for (name, value) in &response.headers {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    message.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", response.body.len()));
    stream.write_all(&[message.as_bytes(), &response.body].concat())
}
