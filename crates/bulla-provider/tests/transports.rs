//! Protocol v1 over every carrier: HTTPS and Unix sockets beside plain HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use bulla_sim::TdDescription;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};

use support::tls::{config, config_with, connect_tls, try_tls};
use support::{Client, Http, Site, connect, is_closed, v1_key, v1_key_over};

/// One key, whatever carries it.
#[test]
fn every_carrier_gives_the_same_key() {
    let site = Site::new();
    let running = site.start();
    let td = TdDescription::default_guest();
    let plain = v1_key(&site.machine(), &td, running.http);
    let tls = Http::over(connect_tls(running.https, &config()));
    assert_eq!(v1_key_over(&site.machine(), &td, tls), plain);
    let unix = Http::over(UnixStream::connect(site.socket()).unwrap());
    assert_eq!(v1_key_over(&site.machine(), &td, unix), plain);
    assert!(plain.is_ok());
}

/// R42: TLS 1.3 with a hybrid key exchange, and every connection is one whole handshake, also for a client that would resume.
#[test]
fn r42_a_handshake_is_whole_and_hybrid() {
    let site = Site::new();
    let running = site.start();
    let config = config();
    for _ in 0..3 {
        let tls = connect_tls(running.https, &config);
        assert_eq!(tls.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(
            tls.conn.negotiated_key_exchange_group().map(|group| group.name()),
            Some(NamedGroup::X25519MLKEM768)
        );
        assert!(matches!(
            tls.conn.handshake_kind(),
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
        ));
        // A ticket comes with the first bytes from the server.
        let mut client = Client::over(Http::over(tls));
        let order = client.order(&site.machine(), &TdDescription::default_guest());
        assert!(client.send(&order).is_ok());
    }
}

/// In a session keys travel under the key exchange alone.
#[test]
fn r42_who_knows_no_hybrid_exchange_gets_no_tls() {
    let site = Site::new();
    let running = site.start();
    let error = try_tls(running.https, &config_with(&[X25519, SECP256R1])).err().unwrap();
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
}

/// A hello of TLS 1.2 alone, with a suite that the certificate's key could sign for.
#[test]
fn r42_older_versions_of_tls_are_refused() {
    let site = Site::new();
    let running = site.start();
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // groups: P-256
        &[0, 11, 0, 2, 1, 0],            // points: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signatures: ECDSA with P-256 and SHA-256
        &[0, 23, 0, 0],                  // extended master secret
    ]
    .concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let hello = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xC0, 0x2B], &[1, 0], &length, &extensions].concat();
    let handshake = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let record = [&[22, 3, 1, 0, u8::try_from(handshake.len()).unwrap()][..], &handshake].concat();
    let mut stream = connect(running.https);
    stream.write_all(&record).unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).unwrap();
    assert_eq!((alert[0], alert[5], alert[6]), (21, 2, 70), "a fatal protocol_version");
    assert!(is_closed(&mut stream));
}

/// R53: whatever is no TLS ends its own connection, and nothing else; legacy frames have no TLS.
#[test]
fn garbage_instead_of_tls_harms_nobody() {
    let site = Site::new();
    let running = site.start();
    for garbage in [&b"GET /v1/provider HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xFF; 600]] {
        let mut stream = connect(running.https);
        stream.write_all(garbage).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let tls = Http::over(connect_tls(running.https, &config()));
    assert!(v1_key_over(&site.machine(), &TdDescription::default_guest(), tls).is_ok());
    running.stop();
    assert!(site.audit().iter().any(|line| line["cause"] == "malformed.tls"));
}

/// R52: only this user may connect, and an end takes the socket away.
#[test]
fn r52_a_unix_socket_is_this_users() {
    let site = Site::new();
    let running = site.start();
    assert_eq!(fs::metadata(site.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    running.stop();
    assert!(!site.socket().exists());
    site.start().stop();
}
