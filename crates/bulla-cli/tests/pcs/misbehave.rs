//! A provisioning service that misbehaves, as a process of its own: this program again, with [`ROLE`] in its environment.
//!
//! In the folder where it runs, it answers for the simulated machine `host` at the time in the file `clock`, and misbehaves
//! as the file `behaviour` says at that moment: a word of the table in [`Service::answer`], and behind it, if not all requests
//! are meant, a part of the addresses that are. It prints its address, then each request. If its role is `tls` and a name,
//! it speaks TLS under a certificate of its own making for that name, which it writes to the file `certificate`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, iter, panic, process, thread};

use bulla_sim::Machine;
use bulla_sim::pcs::{Response, respond};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Between two bytes of what is slow.
const PACE: Duration = Duration::from_millis(20);

/// Who stops reading ends the connection, and so the misbehaviour; this ends it where nobody does.
const ENDLESS: usize = 1 << 20;

/// The name of the variable that makes this program a service: `plain`, or `tls NAME`.
pub(crate) const ROLE: &str = "BULLA_TEST_HOSTILE_PCS";

const MACHINE: &str = "host";
const OTHER_MACHINE: &str = "host.other";

struct Service {
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

/// Serves until it is killed, or its standard input ends because the test is no more.
pub(crate) fn serve(role: &str) {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    // A mistake of its own must not look like misbehaviour.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        hook(info);
        process::exit(101);
    }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tls = role.strip_prefix("tls ").map(tls_config);
    let service = Service { address: listener.local_addr().unwrap(), tls };
    println!("listening on {}", service.address);
    thread::scope(|scope| {
        for stream in listener.incoming() {
            // Whoever goes away, goes away.
            scope.spawn(|| drop(service.serve(stream.unwrap())));
        }
    });
}

fn tls_config(name: &str) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write("certificate", made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.unwrap())
}

impl Service {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let behaviour = fs::read_to_string("behaviour").unwrap();
        let (behaviour, part) = behaviour.trim().split_once(' ').unwrap_or((behaviour.trim(), ""));
        match (behaviour, &self.tls) {
            ("close", _) => Ok(()),
            // What is closed with something unread is reset.
            ("reset", _) => stream.peek(&mut [0]).map(drop),
            (_, None) => {
                let target = request(&mut &stream)?;
                self.answer(&stream, &target, behaviour, part)
            }
            (_, Some(config)) => {
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                let target = request(&mut stream)?;
                println!("{target}");
                stream.write_all(&plain(&self.honest(&target)))?;
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }

    fn honest(&self, target: &str) -> Response {
        self.honest_at(now(), target)
    }

    fn honest_at(&self, now: u64, target: &str) -> Response {
        respond(&Machine::open(MACHINE).unwrap(), now, "GET", target)
    }

    fn answer(&self, mut stream: &TcpStream, target: &str, behaviour: &str, part: &str) -> io::Result<()> {
        println!("{target}");
        // Where redirections lead to.
        if let Some(target) = target.strip_prefix("/elsewhere") {
            return stream.write_all(&plain(&self.honest(target)));
        }
        if !target.contains(part) {
            return stream.write_all(&plain(&self.honest(target)));
        }
        let honest = || self.honest(target);
        let status = |status| Response { status, headers: Vec::new(), body: Vec::new() };
        let redirect = |to: String| Response { headers: vec![("Location", to)], ..status(302) };
        let response = match behaviour {
            // As they should be.
            "honest" => honest(),
            "hex" => Response { body: hex::encode(honest().body).into(), ..honest() },
            "unmeasured" => {
                let (head, body) = split(&honest());
                let head = head.replace("Content-Length", "X-Length");
                stream.write_all(&[head.as_bytes(), &body].concat())?;
                return Ok(());
            }

            // The connection.
            "silent" => return stream.read(&mut [0]).map(drop),
            "slow-header" => return slowly(stream, &plain(&honest())),
            "slow-body" => {
                let (head, body) = split(&honest());
                stream.write_all(head.as_bytes())?;
                return slowly(stream, &body);
            }
            "half" => {
                let whole = plain(&honest());
                return stream.write_all(&whole[..whole.len() - 100]);
            }
            "noise" => {
                let noise = (0_u32..4096).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
                return stream.write_all(&noise.collect::<Vec<_>>());
            }
            "endless-header" => return endless(stream, "HTTP/1.1 200 OK\r\nX: ", &"x".repeat(4096)),
            "endless-headers" => return endless(stream, "HTTP/1.1 200 OK\r\n", &"X: y\r\n".repeat(1000)),
            "endless-continue" => {
                return endless(stream, "", &"HTTP/1.1 100 Continue\r\n\r\n".repeat(200));
            }
            "endless-body" => {
                let chunk = format!("1000\r\n{}\r\n", "1".repeat(4096));
                return endless(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunk);
            }
            "gibibyte" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30);
                return endless(stream, &head, &"1".repeat(4096));
            }

            // The status.
            "redirect" => redirect(format!("http://{}/elsewhere{target}", self.address)),
            "redirect-relative" => redirect(format!("/elsewhere{target}")),
            "redirect-file" => redirect("file:///etc/passwd".into()),
            "redirect-loop" => redirect(target.into()),
            "busy" => Response { headers: vec![("Retry-After", u64::MAX.to_string())], ..status(429) },
            "busy-503" => Response { headers: vec![("Retry-After", "3600".into())], ..status(503) },
            "busy-now" => Response { headers: vec![("Retry-After", "0".into())], ..status(429) },
            "busy-date" => {
                let dates = [
                    ("Date", "Fri, 15 Jan 2027 08:00:00 GMT"),
                    ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"),
                ];
                Response { headers: dates.map(|(name, value)| (name, value.into())).into(), ..status(429) }
            }
            "204" | "304" | "400" | "401" | "404" | "410" | "418" | "460" | "500" | "502" | "503" => {
                status(behaviour.parse().unwrap())
            }
            // With a document that would be good.
            "good-500" => Response { status: 500, ..honest() },
            "good-206" => Response { status: 206, ..honest() },

            // The document.
            "empty" => Response { body: Vec::new(), ..honest() },
            "portal" => Response { body: b"<html>log in to the guest network</html>".into(), ..honest() },
            "nested" => Response { body: vec![b'['; 100_000], ..honest() },
            "binary" => Response { body: vec![0xFF; 1000], ..honest() },
            "more" => Response { body: [honest().body, b"{}".into()].concat(), ..honest() },
            "edited" => edited(honest(), "OutOfDate", "UpToDate"),
            "unsigned" => {
                let body = String::from_utf8(honest().body).unwrap();
                let (document, _) = body.split_once("\"signature\":").unwrap();
                let zeros = "0".repeat(128);
                Response { body: format!("{document}\"signature\":\"{zeros}\"}}").into(), ..honest() }
            }
            "no-chain" => headers(honest(), |name, value| (!name.contains("Chain")).then_some(value)),
            "bad-chain" => headers(honest(), |_, value| Some(value.replace("%20", "%2"))),
            "empty-chain" => headers(honest(), |name, value| {
                Some(if name.contains("Chain") { String::new() } else { value })
            }),
            "other-chain" => {
                let crl = self.honest("/sgx/certification/v4/pckcrl?ca=platform");
                let chain = crl.header("SGX-PCK-CRL-Issuer-Chain").unwrap();
                headers(honest(), |name, value| {
                    Some(if name.contains("Chain") { chain.to_owned() } else { value })
                })
            }
            // The other TEE's documents, and each authority's CRL for the other's.
            "swapped" => match target {
                _ if target.contains("pckcrl") => {
                    let root = self.honest("/IntelSGXRootCA.der").body;
                    Response { body: root, ..honest() }
                }
                _ if target.contains("rootcacrl") => {
                    let crl = self.honest("/sgx/certification/v4/pckcrl?ca=platform&encoding=der").body;
                    Response { body: hex::encode(crl).into(), ..honest() }
                }
                _ => self.honest(&match target.strip_prefix("/tdx") {
                    Some(rest) => format!("/sgx{rest}"),
                    None => target.replacen("/sgx", "/tdx", 1),
                }),
            },
            // Valid documents of another model.
            "other-platform" => {
                let (path, query) = target.split_once("fmspc=").unwrap();
                let other = Machine::open(OTHER_MACHINE).unwrap();
                let target = format!("{path}fmspc={}{}", fmspc(OTHER_MACHINE), query.get(12..).unwrap());
                respond(&other, now(), "GET", &target)
            }
            // Of twenty days ago; and of a year ago, and so expired; and of tomorrow's tomorrow.
            "old" => self.honest_at(now() - 20 * 86_400, target),
            "expired" => self.honest_at(now() - 365 * 86_400, target),
            "future" => self.honest_at(now() + 2 * 86_400, target),
            _ => panic!("{behaviour} is no behaviour"),
        };
        stream.write_all(&plain(&response))
    }
}

fn now() -> u64 {
    fs::read_to_string("clock").unwrap().trim().parse().unwrap()
}

fn fmspc(machine: &str) -> String {
    let file = fs::read_to_string(format!("{machine}/machine.toml")).unwrap();
    let value = file.lines().find_map(|line| line.strip_prefix("fmspc = ")).unwrap();
    value.trim_matches('"').to_owned()
}

/// What a client asks for, once it has asked.
fn request(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&piece[..read]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        // Not HTTP, such as TLS where none is spoken.
        let parsed = request.parse(&head).map_err(io::Error::other)?;
        if parsed.is_complete() {
            assert_eq!(request.method, Some("GET"));
            return Ok(request.path.unwrap().to_owned());
        }
    }
}

fn split(response: &Response) -> (String, Vec<u8>) {
    let mut head = format!("HTTP/1.1 {} Something\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", response.body.len()));
    (head, response.body.clone())
}

fn plain(response: &Response) -> Vec<u8> {
    let (head, body) = split(response);
    [head.as_bytes(), &body].concat()
}

/// One byte at a time, until the client is gone.
fn slowly(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(PACE))?;
    for byte in bytes {
        stream.write_all(&[*byte])?;
        if let Ok(0) = stream.read(&mut [0]) {
            break;
        }
    }
    Ok(())
}

/// The same again and again, until the client is gone.
fn endless(mut stream: &TcpStream, beginning: &str, again: &str) -> io::Result<()> {
    stream.write_all(beginning.as_bytes())?;
    iter::repeat_n(again, ENDLESS).try_for_each(|again| stream.write_all(again.as_bytes()))
}

fn edited(response: Response, was: &str, is: &str) -> Response {
    let body = String::from_utf8(response.body).unwrap();
    assert!(body.contains(was), "{was} is not in {body}");
    Response { body: body.replace(was, is).into(), ..response }
}

/// With other values of headers, or without some.
fn headers(response: Response, change: impl Fn(&str, String) -> Option<String>) -> Response {
    let headers = response.headers.into_iter();
    let headers = headers.filter_map(|(name, value)| Some((name, change(name, value)?))).collect();
    Response { headers, ..response }
}
