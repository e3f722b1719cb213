//! The least HTTP that can misbehave: one thread for each connection, kept alive until told otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bulla_protocol::{Code, Problem};

/// A request as it came in.
pub(crate) struct Call {
    /// Which connection, from 0.
    pub(crate) connection: usize,
    /// Method and path.
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
}

/// What is done about it.
pub(crate) enum Reply {
    /// A whole response.
    Json(Vec<u8>),
    /// The same, with one more line in its head.
    JsonWith(String, Vec<u8>),
    /// A whole response, and the connection is closed after it.
    JsonThenClose(Vec<u8>),
    Problem(Code),
    /// Exactly these bytes, then nothing; the connection stays open until the client closes it.
    Raw(Vec<u8>),
    /// These bytes, then zeros for as long as anyone reads.
    Endless(Vec<u8>),
    Close,
}

/// A server on a free port of this machine, for the rest of the process.
pub(crate) struct Server {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (log, handler) = (Arc::clone(&calls), Arc::new(handler));
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                thread::spawn(move || serve(connection, stream.unwrap(), &log, handler.as_ref()));
            }
        });
        Self { url, calls }
    }

    /// Connection and line of every request so far.
    pub(crate) fn calls(&self) -> Vec<(usize, String)> {
        self.calls.lock().unwrap().clone()
    }

    /// How many requests had this line.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.calls().iter().filter(|(_, found)| found == line).count()
    }
}

fn serve(
    connection: usize,
    stream: TcpStream,
    log: &Mutex<Vec<(usize, String)>>,
    handler: &(dyn Fn(&Call) -> Reply + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some((line, body)) = read(&mut reader) {
        log.lock().unwrap().push((connection, line.clone()));
        let reply = handler(&Call { connection, line, body });
        let sent = match &reply {
            Reply::Json(body) => writer.write_all(&response("200 OK", "application/json", body)),
            Reply::JsonWith(line, body) => {
                writer.write_all(&response(&format!("200 OK\r\n{line}"), "application/json", body))
            }
            // The announcement keeps the test from depending on who is faster.
            Reply::JsonThenClose(body) => {
                writer.write_all(&response("200 OK\r\nconnection: close", "application/json", body))
            }
            Reply::Problem(code) => {
                let body = serde_json::to_vec(&Problem::from(*code)).unwrap();
                let status = format!("{} Problem", code.http_status());
                writer.write_all(&response(&status, "application/problem+json", &body))
            }
            Reply::Raw(bytes) | Reply::Endless(bytes) => writer.write_all(bytes),
            Reply::Close => Ok(()),
        };
        match reply {
            Reply::JsonThenClose(_) | Reply::Close => return,
            Reply::Endless(_) => while writer.write_all(&[b' '; 4096]).is_ok() {},
            _ => {}
        }
        if sent.is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        first.get_or_insert_with(|| line.trim_end_matches(" HTTP/1.1").to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first?, body))
}

/// A whole response.
pub(crate) fn response(status: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
