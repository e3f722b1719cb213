//! A provider among hostile peers, all of them processes or at least real sockets: whatever they do, it goes on, and whoever is
//! honest gets a key (R47-R49, R53, B1-B4).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod site;
#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use site::{Site, connect, exchange, frame, peak_memory, quote_frame};
use support::Serving;

/// More than a request may have, on any listener.
const BODY_MAX: usize = 256 * 1024;
/// An enclave's usual memory, in bytes.
const ENCLAVE: u64 = 256 << 20;
/// The most that a provider may ever hold, in KiB.
const PEAK: u64 = 64 << 10;

/// A provider, and a request to which every honest guest gets an answer.
struct Scene {
    site: Site,
    provider: Serving,
    good: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let site = Site::new();
        let good = quote_frame(&site.good_quote());
        let provider = site.serve();
        let scene = Self { site, provider, good };
        scene.serves();
        scene
    }

    /// Honest guests get their keys, by both protocols.
    #[track_caller]
    fn serves(&self) {
        for _ in 0..3 {
            assert!(exchange(self.provider.legacy(), &self.good).is_some(), "an honest guest was refused");
        }
        assert_eq!(self.site.request("default", "app/db disk 32", &self.provider).ok().len(), 32);
    }

    fn limit(&self, resource: Resource, most: u64) {
        let pid = Pid::from_raw(self.provider.process() as i32);
        prlimit(pid, resource, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.provider.process())).unwrap().count()
    }

    /// It ends when it is asked to, whoever is still there, and never held more than it may.
    #[track_caller]
    fn ends(self) {
        assert!(peak_memory(self.provider.process()) < PEAK, "{}", peak_memory(self.provider.process()));
        end(self.provider);
    }
}

/// Asks it to end.
#[track_caller]
fn end(provider: Serving) {
    kill_process(Pid::from_raw(provider.process() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(provider.end(), Some(0));
}

/// A connection whose peer sends this and then nothing more.
fn silent_after(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(address);
    stream.set_write_timeout(Some(support::PATIENCE)).unwrap();
    // Who is closed meanwhile, is closed.
    let _ = stream.write_all(bytes);
    stream
}

/// R48, B2, B3: ten thousand connections that ask for nothing, a thousand of them at any moment.
#[test]
fn ten_thousand_connections_lock_nobody_out() {
    let scene = Scene::new();
    let (legacy, http) = (scene.provider.legacy(), scene.provider.http());
    let slow_head = b"POST /v1/keys HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let manners: [(SocketAddr, &[u8]); 5] =
        [(legacy, b""), (legacy, &scene.good[..9]), (legacy, &[0xFF; 4]), (http, b""), (http, slow_head)];
    let mut held = VecDeque::new();
    for (address, bytes) in manners {
        for _ in 0..2000 {
            if held.len() == 1000 {
                held.pop_front();
            }
            held.push_back(silent_after(address, bytes));
        }
        scene.serves();
    }
    scene.ends();
}

/// R48, R53, B3: an accept that fails ends nothing.
#[test]
fn without_descriptors_somebody_gives_way() {
    let mut scene = Scene::new();
    scene.limit(Resource::Nofile, scene.descriptors() as u64 + 8);
    for manners in [&b""[..], &scene.good[..9]] {
        let held: Vec<_> = (0..30).map(|_| silent_after(scene.provider.legacy(), manners)).collect();
        scene.provider.wait_for("could not be accepted");
        scene.serves();
        drop(held);
        scene.serves();
    }
    scene.ends();
}

/// R47, R49, B1: in as much address space as an enclave has, lengths that are lies, bodies that never end and answers that nobody
/// reads.
#[test]
fn an_address_space_of_256_mib_is_enough() {
    let scene = Scene::new();
    scene.limit(Resource::As, ENCLAVE);
    let (legacy, http) = (scene.provider.legacy(), scene.provider.http());
    let most_of_a_body = [&(BODY_MAX as u32).to_be_bytes()[..], &vec![b' '; BODY_MAX - 100]].concat();
    let head = format!("POST /v1/keys HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_MAX}\r\n\r\n");
    let most_of_an_order = [head.as_bytes(), &most_of_a_body[4..]].concat();
    let pipelined = b"GET /v1/provider HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    let manners: [(SocketAddr, &[u8], usize); 6] = [
        (legacy, &[0xFF; 4], 1000),
        (legacy, &(BODY_MAX as u32).to_be_bytes(), 500),
        (legacy, &most_of_a_body, 60),
        (http, &most_of_an_order, 60),
        (legacy, &scene.good, 200),
        (http, &pipelined, 100),
    ];
    for (address, bytes, count) in manners {
        let held: Vec<_> = (0..count).map(|_| silent_after(address, bytes)).collect();
        scene.serves();
        drop(held);
    }
    scene.ends();
}

/// R31, R32, R47, B1, B4, B5: what is no request is closed without a reply, and costs nobody anything.
#[test]
fn garbage_is_closed_without_a_reply() {
    let scene = Scene::new();
    let quote = scene.site.good_quote();
    let deep = "[".repeat(100_000);
    let mut bad: Vec<Vec<u8>> = vec![
        vec![0; 4],
        frame(b"{"),
        frame(&[0xFF; 1024]),
        frame(&vec![0xFF; BODY_MAX]),
        frame(&vec![b' '; BODY_MAX + 1]),
        frame(deep.as_bytes()),
        frame(format!("{{\"quote\":{deep}}}").as_bytes()),
        frame(b"{\"quote\":\"AAAA\"}"),
        frame(b"{\"quote\":[256]}"),
        frame(b"{\"quote\":[],\"quote\":[]}"),
        frame(b"GET / HTTP/1.1\r\n\r\n"),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    bad.extend([0, 1, 47, 48, 631, 632, 635, 636, 1000, quote.len() - 1].map(|to| quote_frame(&quote[..to])));
    bad.extend((0..quote.len()).step_by(53).map(|at| {
        let mut changed = quote.clone();
        changed[at] ^= 0x10;
        quote_frame(&changed)
    }));
    let one_more = quote_frame(&[&quote[..], &[1]].concat());
    bad.push(one_more);
    for bytes in &bad {
        assert!(
            exchange(scene.provider.legacy(), bytes).is_none(),
            "{}",
            bytes[..40.min(bytes.len())].escape_ascii()
        );
    }
    for bytes in [&b"\0"[..], b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", &[b'A'; 100_000]] {
        let mut stream = silent_after(scene.provider.http(), bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
        let mut reply = BufReader::new(&mut stream);
        let mut line = String::new();
        let _ = reply.read_line(&mut line);
        assert!(line.is_empty() || line.contains(" 400 ") || line.contains(" 431 "), "{line}");
    }
    scene.serves();
    scene.ends();
}

/// R67, R95, R100: killed at any moment under load, it has recorded every key that anybody got, and starts again with the same
/// root.
#[test]
fn a_provider_that_is_killed_has_recorded_every_key_that_left() {
    let Scene { site, mut provider, good } = Scene::new();
    let (root, key) = (provider.said("root: ").to_owned(), site.client("default", &provider));
    for round in 1..=8 {
        let before = site.released();
        let (answered, address) = (AtomicUsize::new(0), provider.legacy());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while asked(address, &good) {
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            // Another moment of a walk each time.
            while answered.load(Ordering::SeqCst) < 37 * round {
                thread::yield_now();
            }
            provider.kill();
        });
        let recorded = site.released() - before;
        let answered = answered.into_inner();
        assert!(recorded >= answered, "{answered} keys left and {recorded} are on record");
        provider = site.serve();
        assert_eq!(provider.said("root: "), root);
    }
    assert_eq!(site.client("default", &provider), key);
}

/// Whether a request was answered; the peer may be gone.
fn asked(address: SocketAddr, frame: &[u8]) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(support::PATIENCE))?;
        stream.write_all(frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body)
    };
    ask().is_ok()
}

/// The provisioning service of the site's machine.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn new(site: &Site) -> Self {
        let mut command = site.bulla.command("sim pcs host --listen 127.0.0.1:0");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.split_once("listening on ")?.1.to_owned())).unwrap();
        Self { child, address }
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).unwrap()
    }

    /// An address that leads to it. When it is asked for something of TDX it hangs, and so does whatever it is asked since: it takes
    /// connections, and answers none. Each time that is told.
    fn hanging(&self) -> (String, Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = channel();
        let (service, behind) = (self.process(), self.address.trim_start_matches("http://").to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tell, behind, mut stream) = (tell.clone(), behind.clone(), stream.unwrap());
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).is_err() {
                        break;
                    }
                    head.push(byte[0]);
                }
                let hangs = head.starts_with(b"GET /tdx/");
                if hangs {
                    kill_process(service, Signal::STOP).unwrap();
                }
                let mut onwards = TcpStream::connect(behind).unwrap();
                onwards.write_all(&head).unwrap();
                if hangs {
                    tell.send(()).unwrap();
                }
                thread::spawn(move || std::io::copy(&mut onwards, &mut stream));
            }
        });
        (address, told)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// R51, R53, B42: while a fetch hangs, whose collateral is known is judged by it, whoever waits for the fetch.
#[test]
fn a_service_of_collateral_that_hangs_holds_up_nobody_whose_platform_is_known() {
    let site = Site::new();
    let service = Service::new(&site);
    let good = quote_frame(&site.good_quote());
    site.bulla.run("sim root host -o root").ok();
    let line = format!("attest collateral fetch quote --store kept --root root --pccs {}", service.address);
    site.bulla.run(&line).ok();
    site.bulla.run("attest collateral export --store kept --root root -o bundle").ok();
    // What the bundle has may be old, so that the provider asks for newer as soon as it serves.
    let (address, hangs) = service.hanging();
    let settings = format!("{}[collateral]\nbundle = \"bundle\"\npccs = \"{address}\"\n", site::SETTINGS);
    site.bulla.write("provider.toml", settings);
    let scene = Scene { provider: site.serve(), site, good };
    hangs.recv_timeout(support::PATIENCE).unwrap();
    for _ in 0..20 {
        scene.serves();
    }
    // It goes on, and nobody has noticed.
    kill_process(service.process(), Signal::CONT).unwrap();
    scene.serves();
    scene.ends();
}

/// R51, B42: nobody asks the service of collateral for a key, so that nobody notices when it is gone; without it from the start
/// there is no key, and no end either.
#[test]
fn a_service_of_collateral_that_is_gone_is_not_missed() {
    let site = Site::new();
    let mut service = Service::new(&site);
    let settings = format!("{}[collateral]\npccs = \"{}\"\n", site::SETTINGS, service.address);
    site.bulla.write("provider.toml", settings);
    let good = quote_frame(&site.good_quote());
    let scene = Scene { provider: site.serve(), site, good };
    scene.serves();
    service.end();
    for _ in 0..20 {
        scene.serves();
    }
    let Scene { site, provider, good } = scene;
    provider.kill();
    let mut provider = site.serve();
    assert!(exchange(provider.legacy(), &good).is_none());
    provider.wait_for("collateral-unavailable");
    // Asked directly, because a guest that is told to come back does.
    for (path, words) in [("/v1/provider", "collateral-unavailable"), ("/health/live", "HTTP/1.1 204")] {
        let mut stream = connect(provider.http());
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(words), "{answer}");
    }
    end(provider);
}
