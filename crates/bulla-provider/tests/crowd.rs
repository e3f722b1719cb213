//! R47-R49, B1-B3: who holds connections or memory for nothing locks nobody out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bulla_protocol::BODY_MAX;
use bulla_sim::TdDescription;

use support::{Client, LegacyGuest, Running, Site, connect, honest, v1_key};

/// More than the provider holds.
const CROWD: usize = 300;

fn crowd(address: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let hostile = |_| {
        let mut stream = connect(address);
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        // It may be closed while it sends.
        let _ = stream.write_all(bytes);
        stream
    };
    (0..count).map(hostile).collect()
}

fn healthy(site: &Site, running: &Running) {
    let td = TdDescription::default_guest();
    for _ in 0..3 {
        honest(site, running.legacy);
        v1_key(&site.machine(), &td, running.http).expect("the honest client was refused");
    }
}

#[test]
fn idle_connections_do_not_starve_anyone() {
    let site = Site::new();
    let running = site.start();
    // Over TLS, a handshake that does not come.
    for address in [running.legacy, running.http, running.https] {
        let held = crowd(address, CROWD, b"");
        healthy(&site, &running);
        drop(held);
    }
}

#[test]
fn slow_requests_do_not_starve_anyone() {
    let site = Site::new();
    let running = site.start();
    let frame = LegacyGuest::new(&site.machine(), &TdDescription::default_guest()).frame();
    let frames = crowd(running.legacy, CROWD, &frame[..9]);
    healthy(&site, &running);
    let bombs = crowd(running.legacy, CROWD, &[0xFF; 4]);
    let heads = crowd(running.http, CROWD, b"POST /v1/keys HTTP/1.1\r\nhost: x\r\nx-slow: ");
    healthy(&site, &running);
    let bodies =
        crowd(running.http, CROWD, b"POST /v1/keys HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n{");
    healthy(&site, &running);
    drop((frames, bombs, heads, bodies));
}

/// R49: more memory claimed, and sent, than there is for all bodies together.
#[test]
fn hoarders_of_memory_do_not_starve_anyone() {
    let site = Site::new();
    let running = site.start();
    let mut frame = (BODY_MAX as u32).to_be_bytes().to_vec();
    frame.resize(BODY_MAX - 100, b' ');
    let frames = crowd(running.legacy, 50, &frame);
    healthy(&site, &running);
    let head = format!("POST /v1/keys HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_MAX}\r\n\r\n");
    let bodies = crowd(running.http, 50, &[head.as_bytes(), &frame[4..]].concat());
    healthy(&site, &running);
    drop((frames, bodies));
}

#[test]
fn readers_that_stall_do_not_starve_anyone() {
    let site = Site::new();
    let running = site.start();
    let frame = LegacyGuest::new(&site.machine(), &TdDescription::default_guest()).frame();
    let held = crowd(running.legacy, 100, &frame);
    let pipelined = b"GET /v1/provider HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    let stalled = crowd(running.http, 50, &pipelined);
    healthy(&site, &running);
    drop((held, stalled));
}

/// Who has been answered is not the first to give way: a guest keeps its challenge while it makes its quote.
#[test]
fn a_guest_with_a_challenge_outlasts_the_crowd() {
    let site = Site::new();
    let running = site.start();
    let mut client = Client::new(running.http);
    let held = crowd(running.legacy, CROWD, b"");
    let order = client.order(&site.machine(), &TdDescription::default_guest());
    let answer = client.send(&order).expect("the honest client was refused");
    assert!(client.open(&order, &answer).is_some());
    drop(held);
}

/// An end leaves nobody waiting.
#[test]
fn an_end_closes_what_is_idle() {
    let site = Site::new();
    let running = site.start();
    let held = crowd(running.legacy, 10, b"");
    honest(&site, running.legacy);
    running.stop();
    for mut stream in held {
        assert!(support::is_closed(&mut stream));
    }
    site.start().stop();
}
