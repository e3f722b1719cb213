//! Evidence in TLS (R42): certificates in all formats, written by the test, and real TLS 1.3 handshakes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::sync::{Arc, LazyLock};

use ::aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use bulla_attest::{CertificateClaims, Claims, Error, RA_TLS_OID, RaTls, RaTlsFormat, TlsSide};
use bulla_crypto::{Class, Secret};
use common::{Expected, Vectors, loose, verify};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
};

const QUOTE: [u8; 300] = [3; 300];
const GRAMINE: [u64; 8] = [0, 6, 9, 42, 840, 113_741, 1337, 6];

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn certificate(key: &KeyPair, extensions: Vec<CustomExtension>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.custom_extensions = extensions;
    params.self_signed(key).unwrap().der().to_vec()
}

fn extension(oid: &[u64], content: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(oid, content.to_vec())
}

/// The code that a certificate with this interoperable extension is refused with, or "ok".
fn code(content: &[u8]) -> &'static str {
    code_of(&certificate(&key(), vec![extension(&RA_TLS_OID, content)]))
}

fn code_of(certificate: &[u8]) -> &'static str {
    RaTls::from_certificate(certificate).map_or_else(|error| error.code(), |_| "ok")
}

/// What a genuine quote says, as if it had been made for this report data.
fn verified(report_data: &[u8; 64]) -> Claims {
    static GENUINE: LazyLock<Claims> = LazyLock::new(|| {
        let good = |vector: &common::Vector| {
            let case = vector.cases.iter().find(|case| matches!(case.expected, Expected::Verifies { .. }))?;
            verify(&vector.quote, &case.collateral, case.now, &loose()).ok()
        };
        Vectors::load().quotes.iter().find_map(good).unwrap()
    });
    Claims { report_data: *report_data, ..GENUINE.clone() }
}

fn sha256_then_zeros(bytes: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(digest(&SHA256, bytes).as_ref());
    data
}

// The encodings below are put together by hand from RFC 8949 and the format's document.

fn byte_string(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head: &[u8] = if length < 24 { &[0x40 | length] } else { &[0x58, length] };
    [head, content].concat()
}

fn pubkey_hash(algorithm: u8, hash: &[u8]) -> Vec<u8> {
    [[0x82, algorithm].as_slice(), &byte_string(hash)].concat()
}

fn claim(name: &str, value: &[u8]) -> Vec<u8> {
    [&[0x60 | u8::try_from(name.len()).unwrap()], name.as_bytes(), &byte_string(value)].concat()
}

fn map(claims: &[Vec<u8>]) -> Vec<u8> {
    [vec![0xa0 | u8::try_from(claims.len()).unwrap()], claims.concat()].concat()
}

/// A quote of 300 bytes and these claims.
fn evidence(claims: &[u8]) -> Vec<u8> {
    [[0xd9, 0xea, 0x60, 0x82, 0x59, 0x01, 0x2c].as_slice(), &QUOTE, &byte_string(claims)].concat()
}

fn sha256_claims(key: &KeyPair) -> Vec<u8> {
    let hash = digest(&SHA256, &key.subject_public_key_info());
    map(&[claim("pubkey-hash", &pubkey_hash(1, hash.as_ref()))])
}

#[test]
fn r42_a_certificate_that_we_write_is_read_back() {
    let key = key();
    let spki = key.subject_public_key_info();
    for nonce in [None, Some(b"".as_slice()), Some(b"nonce"), Some([9; 200].as_slice())] {
        let claims = CertificateClaims::new(&spki, nonce);
        for critical in [false, true] {
            let mut extension = extension(&RA_TLS_OID, &claims.extension(&QUOTE));
            extension.set_criticality(critical);
            let peer = RaTls::from_certificate(&certificate(&key, vec![extension])).unwrap();
            assert_eq!((peer.quote(), peer.format()), (QUOTE.as_slice(), RaTlsFormat::Interoperable));
            assert_eq!(peer.claims(), Some(&claims));
            peer.require_binding(&verified(claims.report_data().as_bytes())).unwrap();
            for other in [None, Some(b"".as_slice()), Some(b"nonce"), Some(b"nonce2")] {
                let Some(other) = other else { continue };
                let found = peer.require_nonce(other).map_or_else(|error| error.code(), |()| "ok");
                assert_eq!(found, if nonce == Some(other) { "ok" } else { "binding.ra_tls_nonce" });
            }
        }
    }
}

/// The bytes, as other implementations write and expect them.
#[test]
fn r42_the_extension_is_the_interoperable_one() {
    let key = key();
    let spki = key.subject_public_key_info();
    let claims = CertificateClaims::new(&spki, None);
    assert_eq!(claims.extension(&QUOTE), evidence(&sha256_claims(&key)));
    assert_eq!(*claims.report_data().as_bytes(), sha256_then_zeros(&sha256_claims(&key)));
    let hash = pubkey_hash(1, digest(&SHA256, &spki).as_ref());
    let with_nonce = map(&[claim("nonce", b"123"), claim("pubkey-hash", &hash)]);
    assert_eq!(CertificateClaims::new(&spki, Some(b"123")).extension(&QUOTE), evidence(&with_nonce));
    // 2.23.133.5.4.9, uncritical, around it.
    let der = certificate(&key, vec![extension(&RA_TLS_OID, &claims.extension(&QUOTE))]);
    let content = claims.extension(&QUOTE);
    let head = [0x06, 0x06, 0x67, 0x81, 0x05, 0x05, 0x04, 0x09, 0x04, 0x82, 0x01, 0x68];
    let wanted = [head.as_slice(), &content].concat();
    assert!(der.windows(wanted.len()).any(|window| window == wanted));
}

/// What other implementations write: three hash algorithms, claims in any order, claims of their own.
#[test]
fn r42_claims_of_other_writers_are_read() {
    let key = key();
    let spki = key.subject_public_key_info();
    for (algorithm, hash) in [(1, &SHA256), (7, &SHA384), (8, &SHA512)] {
        let hash = claim("pubkey-hash", &pubkey_hash(algorithm, digest(hash, &spki).as_ref()));
        let own = [claim("key_0", b"value_0\0"), claim("key_1", b"value_1\0")];
        for claims in [
            map(std::slice::from_ref(&hash)),
            map(&[vec![hash, claim("nonce", b"n")], own.to_vec()].concat()),
        ] {
            let der = certificate(&key, vec![extension(&RA_TLS_OID, &evidence(&claims))]);
            let peer = RaTls::from_certificate(&der).unwrap();
            peer.require_binding(&verified(&sha256_then_zeros(&claims))).unwrap();
            // The same claims for another key.
            let der = certificate(&self::key(), vec![extension(&RA_TLS_OID, &evidence(&claims))]);
            let peer = RaTls::from_certificate(&der).unwrap();
            let error = peer.require_binding(&verified(&sha256_then_zeros(&claims))).unwrap_err();
            assert_eq!((error.code(), error.class()), ("binding.ra_tls_key", Class::Refused));
        }
    }
}

#[test]
fn r42_evidence_is_bound_to_claims_and_key() {
    let key = key();
    let claims = sha256_claims(&key);
    let der = certificate(&key, vec![extension(&RA_TLS_OID, &evidence(&claims))]);
    let peer = RaTls::from_certificate(&der).unwrap();
    let bound =
        |data: &[u8; 64]| peer.require_binding(&verified(data)).map_or_else(|error| error.code(), |()| "ok");
    let good = sha256_then_zeros(&claims);
    assert_eq!(bound(&good), "ok");
    for at in [0, 31, 32, 63] {
        let mut other = good;
        other[at] ^= 1;
        assert_eq!(bound(&other), "binding.ra_tls_claims", "byte {at}");
    }
    // What binds the key in Gramine's format does not do here.
    assert_eq!(bound(&sha256_then_zeros(&key.subject_public_key_info())), "binding.ra_tls_claims");
    // A stolen quote with its claims, in a certificate of another key.
    let der = certificate(&self::key(), vec![extension(&RA_TLS_OID, &evidence(&claims))]);
    let thief = RaTls::from_certificate(&der).unwrap();
    assert_eq!(thief.require_binding(&verified(&good)).unwrap_err().code(), "binding.ra_tls_key");
}

#[test]
fn gramine_certificates_are_read() {
    let key = key();
    let spki = key.subject_public_key_info();
    let der = certificate(&key, vec![extension(&GRAMINE, &QUOTE)]);
    // The number's content is itself the DER of a number.
    let odd = [
        0x06, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06, 0x04, 0x82, 0x01, 0x2c,
        3,
    ];
    assert!(der.windows(odd.len()).any(|window| window == odd));
    let peer = RaTls::from_certificate(&der).unwrap();
    assert_eq!((peer.quote(), peer.format(), peer.claims()), (QUOTE.as_slice(), RaTlsFormat::Gramine, None));
    let bound =
        |data: &[u8; 64]| peer.require_binding(&verified(data)).map_or_else(|error| error.code(), |()| "ok");
    let good = sha256_then_zeros(&spki);
    assert_eq!(bound(&good), "ok");
    for at in [0, 31, 32, 63] {
        let mut other = good;
        other[at] ^= 1;
        assert_eq!(bound(&other), "binding.ra_tls_key", "byte {at}");
    }
    assert_eq!(peer.require_nonce(b"").unwrap_err().code(), "binding.ra_tls_nonce");

    // Later versions write both; the interoperable one counts, and is not passed over where it is malformed.
    let both = |interoperable: &[u8]| {
        certificate(&key, vec![extension(&GRAMINE, b"another quote"), extension(&RA_TLS_OID, interoperable)])
    };
    let peer = RaTls::from_certificate(&both(&evidence(&sha256_claims(&key)))).unwrap();
    assert_eq!((peer.quote(), peer.format()), (QUOTE.as_slice(), RaTlsFormat::Interoperable));
    assert_eq!(code_of(&both(b"")), "ra_tls.parse");
}

#[test]
fn historical_extensions_are_refused_by_name() {
    let refused = |oid: &[u64]| {
        let der = certificate(&key(), vec![extension(oid, &QUOTE)]);
        let error = RaTls::from_certificate(&der).unwrap_err();
        assert_eq!(error.class(), Class::Refused);
        (error.code(), error.to_string())
    };
    for (oid, name) in [
        (vec![1, 2, 840, 113_741, 1337, 6], "Gramine"),
        (vec![1, 2, 840, 113_741, 1, 13, 1], "Intel SGX SDK"),
        (vec![1, 2, 840, 113_556, 10, 1, 1], "old Open Enclave reports"),
        (vec![1, 2, 840, 113_556, 10, 1, 2], "old Open Enclave evidence"),
        (vec![1, 3, 6, 1, 4, 1, 311, 105, 1], "Open Enclave reports"),
        (vec![1, 3, 6, 1, 4, 1, 311, 105, 2], "Open Enclave evidence"),
        (vec![1, 3, 6, 1, 5, 5, 7, 1, 35], "conceptual message wrappers"),
        (vec![1, 2, 840, 113_741, 1337, 1], "rats-tls"),
        (vec![1, 2, 840, 113_741, 1337, 1, 4], "rats-tls"),
    ] {
        let (code, text) = refused(&oid);
        assert_eq!(code, "ra_tls.unsupported", "{text}");
        assert!(text.contains(name) && text.contains("2.23.133.5.4.9"), "{text}");
    }
    // Nobody's.
    assert_eq!(refused(&[1, 2, 3, 4]).0, "ra_tls.no_evidence");
    assert_eq!(refused(&[1, 2, 840, 113_741, 1337, 7]).0, "ra_tls.no_evidence");
    assert_eq!(code_of(&certificate(&key(), vec![])), "ra_tls.no_evidence");
    // A second extension beside the one that is read does no harm; a second one of the same kind would leave a choice.
    let key = key();
    let good = extension(&RA_TLS_OID, &evidence(&sha256_claims(&key)));
    let intel = extension(&[1, 2, 840, 113_741, 1, 13, 1], &QUOTE);
    assert_eq!(code_of(&certificate(&key, vec![intel, good.clone()])), "ok");
    assert_eq!(code_of(&certificate(&key, vec![good.clone(), good])), "ra_tls.duplicate");
    let gramine = extension(&GRAMINE, &QUOTE);
    assert_eq!(code_of(&certificate(&key, vec![gramine.clone(), gramine])), "ra_tls.duplicate");
}

#[test]
fn evidence_of_other_kinds_is_refused_by_name() {
    let key = key();
    let rest = evidence(&sha256_claims(&key))[3..].to_vec();
    for (tag, name) in [
        (vec![0xd9, 0xea, 0x61], "local report"),
        (vec![0xd9, 0xea, 0x62], "local report of SGX"),
        (vec![0xda, 0x00, 0x1a, 0x75, 0x04], "SEV-SNP"),
        (vec![0xda, 0x00, 0x1a, 0x75, 0x05], "SEV report"),
        (vec![0xda, 0x00, 0x1a, 0x75, 0x06], "CSV"),
        (vec![0xc1], "unknown kind (CBOR tag 1)"),
    ] {
        let content = [tag, rest.clone()].concat();
        let der = certificate(&key, vec![extension(&RA_TLS_OID, &content)]);
        let error = RaTls::from_certificate(&der).unwrap_err();
        assert_eq!((error.code(), error.class()), ("ra_tls.unsupported", Class::Refused));
        let text = error.to_string();
        assert!(text.contains(name.split(" (").next().unwrap()) && text.contains("60000"), "{text}");
    }
}

/// B4: one encoding, complete, and nothing else.
#[test]
fn b4_a_malformed_extension_is_refused() {
    let hash = pubkey_hash(1, &[7; 32]);
    let named = claim("pubkey-hash", &hash);
    let claims = map(std::slice::from_ref(&named));
    let good = evidence(&claims);
    assert_eq!(code(&good), "ok");
    for cut in 0..good.len() {
        assert_eq!(code(&good[..cut]), "ra_tls.parse", "cut at {cut}");
    }
    let quote = [[0x59, 0x01, 0x2c].as_slice(), &QUOTE].concat();
    let tagged = |rest: &[&[u8]]| [[0xd9, 0xea, 0x60].as_slice(), &rest.concat()].concat();
    let claims_item = byte_string(&claims);
    for (what, content) in [
        ("bytes behind it", [good.clone(), vec![0]].concat()),
        ("no tag", good[3..].to_vec()),
        ("a long tag", [[0xda, 0, 0, 0xea, 0x60].as_slice(), &good[3..]].concat()),
        ("two tags", tagged(&[&good])),
        ("one part", tagged(&[&[0x81], &quote])),
        ("three parts", tagged(&[&[0x83], &quote, &claims_item, &claims_item])),
        ("a long head", tagged(&[&[0x98, 2], &quote, &claims_item])),
        ("an indefinite array", tagged(&[&[0x9f], &quote, &claims_item, &[0xff]])),
        ("an indefinite quote", tagged(&[&[0x82, 0x5f], &quote, &[0xff], &claims_item])),
        ("a text for a quote", tagged(&[&[0x82, 0x61, b'q'], &claims_item])),
        ("claims that are no byte string", tagged(&[&[0x82], &quote, &claims])),
        ("a quote as long as can be said", tagged(&[&[0x82, 0x5b], &[0xff; 8], &claims_item])),
    ] {
        assert_eq!(code(&content), "ra_tls.parse", "{what}");
    }
    let many: Vec<_> =
        (0..16_u8).map(|number| claim(&format!("c{number}"), b"")).chain([named.clone()]).collect();
    let sixteen = [vec![0xb0], many[1..].concat()].concat();
    assert_eq!(code(&evidence(&sixteen)[..]), "ok");
    for (what, claims) in [
        ("none", map(&[])),
        ("nothing", vec![]),
        ("without a key", map(&[claim("nonce", b"n")])),
        ("with a key twice", map(&[named.clone(), named.clone()])),
        ("with a nonce twice", map(&[claim("nonce", b"1"), named.clone(), claim("nonce", b"2")])),
        ("with another claim twice", map(&[claim("x", b"1"), named.clone(), claim("x", b"1")])),
        ("seventeen", [vec![0xb1], many.concat()].concat()),
        ("of indefinite length", [&[0xbf], named.as_slice(), &[0xff]].concat()),
        ("with a long head", [&[0xb8, 1], named.as_slice()].concat()),
        ("with a long name", [&[0xa1, 0x78, 11], &named[1..]].concat()),
        ("with more behind", [claims, vec![0]].concat()),
        ("an array", [&[0x81], named.as_slice()].concat()),
        ("with a number for a name", map(&[vec![0x01, 0x40], named.clone()])),
        ("with a text for a value", map(&[vec![0x61, b'x', 0x61, b'y'], named.clone()])),
        ("with a name that is no text", map(&[vec![0x61, 0xff, 0x40], named.clone()])),
        ("hashed by an unknown algorithm", map(&[claim("pubkey-hash", &pubkey_hash(2, &[7; 32]))])),
        ("hashed to another length", map(&[claim("pubkey-hash", &pubkey_hash(7, &[7; 32]))])),
        ("with a short hash", map(&[claim("pubkey-hash", &pubkey_hash(1, &[7; 31]))])),
        ("with a bare hash", map(&[claim("pubkey-hash", &[7; 32])])),
        ("with a hash and more", map(&[claim("pubkey-hash", &[hash.clone(), vec![0]].concat())])),
        ("with a long number", map(&[claim("pubkey-hash", &[&[0x82, 0x18, 1], &hash[2..]].concat())])),
        ("with an indefinite hash", map(&[claim("pubkey-hash", &[&[0x9f], &hash[1..], &[0xff]].concat())])),
    ] {
        assert_eq!(
            code(&[&good[..307], &long_byte_string(&claims)].concat()),
            "ra_tls.parse",
            "claims {what}"
        );
    }
    // B4: depth costs nothing.
    assert_eq!(code(&[0x81; 20_000]), "ra_tls.parse");
    assert_eq!(code(&[0xd9, 0xea, 0x60].repeat(10_000)), "ra_tls.parse");
}

fn long_byte_string(content: &[u8]) -> Vec<u8> {
    match u8::try_from(content.len()) {
        Ok(_) => byte_string(content),
        Err(_) => [[0x59].as_slice(), &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat(),
    }
}

#[test]
fn b4_what_is_no_certificate_is_refused() {
    let key = key();
    let der = certificate(&key, vec![extension(&RA_TLS_OID, &evidence(&sha256_claims(&key)))]);
    for cut in 0..der.len() {
        assert_eq!(code_of(&der[..cut]), "ra_tls.certificate", "cut at {cut}");
    }
    assert_eq!(code_of(&[der.clone(), vec![0]].concat()), "ra_tls.certificate");
    assert_eq!(code_of(&[der.clone(), der.clone()].concat()), "ra_tls.certificate");
    // No flipped bit makes it panic, nor say something else about the key and the claims that a quote vouched for.
    let good = verified(&sha256_then_zeros(&sha256_claims(&key)));
    let spki = key.subject_public_key_info();
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1;
        let Ok(peer) = RaTls::from_certificate(&changed) else { continue };
        if peer.require_binding(&good).is_ok() {
            assert!(changed.windows(spki.len()).any(|window| window == spki), "byte {at}");
        }
    }
    // R31.
    let large = certificate(&key, vec![extension(&[1, 2, 3, 4], &vec![0; 64 * 1024])]);
    let error = RaTls::from_certificate(&large).unwrap_err();
    assert_eq!((error.code(), error.class()), ("ra_tls.too_large", Class::Damaged));
}

// The relay harness of R42.

/// An end's own exporter values: for the client's evidence, for the server's.
struct Exporters {
    client: Secret<32>,
    server: Secret<32>,
}

impl Exporters {
    fn of(export: impl Fn(&[u8]) -> [u8; 32]) -> Self {
        let value = |side: TlsSide| Secret::new(export(side.exporter_label().as_bytes()));
        Self { client: value(TlsSide::Client), server: value(TlsSide::Server) }
    }
}

/// Takes every certificate whose evidence is bound to its key; the quotes in this test are stand-ins.
#[derive(Debug)]
struct Attested(Arc<CryptoProvider>);

impl ServerCertVerifier for Attested {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let peer = RaTls::from_certificate(certificate)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let quoted = verified(peer.claims().unwrap().report_data().as_bytes());
        peer.require_binding(&quoted).map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS 1.3 connection in memory, to a server with this certificate and key: what both ends export.
fn connection(der: &[u8], key: &KeyPair) -> (Exporters, Exporters) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13];
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(der.to_vec())],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Attested(provider)))
        .with_no_client_auth();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), "service.example".try_into().unwrap()).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (
        Exporters::of(|label| client.export_keying_material([0; 32], label, None).unwrap()),
        Exporters::of(|label| server.export_keying_material([0; 32], label, None).unwrap()),
    )
}

fn checked(result: Result<(), Error>) -> &'static str {
    result.map_or_else(
        |error| {
            assert_eq!(error.class(), Class::Refused);
            error.code()
        },
        |()| "ok",
    )
}

/// R42: evidence over the exporter fits its own connection and side. A relay between two connections fails, even one that
/// holds the certificate's key.
#[test]
fn r42_a_two_connection_relay_fails() {
    let key = key();
    let claims = CertificateClaims::new(&key.subject_public_key_info(), None);
    let der = certificate(&key, vec![extension(&RA_TLS_OID, &claims.extension(&QUOTE))]);

    // Without a relay, both sides' evidence is good at the other end.
    let (client, server) = connection(&der, &key);
    let of_server = verified(TlsSide::Server.report_data(&server.server).as_bytes());
    let of_client = verified(TlsSide::Client.report_data(&client.client).as_bytes());
    assert_eq!(checked(TlsSide::Server.require_report_data(&client.server, &of_server)), "ok");
    assert_eq!(checked(TlsSide::Client.require_report_data(&server.client, &of_client)), "ok");

    // A relay has stolen the key: the client's handshake succeeds with it, and it connects on to the server itself.
    let (victim, relay_inwards) = connection(&der, &key);
    let (relay_outwards, server) = connection(&der, &key);
    let refused = "binding.tls_exporter";
    let of_server = verified(TlsSide::Server.report_data(&server.server).as_bytes());
    assert_eq!(checked(TlsSide::Server.require_report_data(&relay_outwards.server, &of_server)), "ok");
    assert_eq!(checked(TlsSide::Server.require_report_data(&victim.server, &of_server)), refused);
    let of_victim = verified(TlsSide::Client.report_data(&victim.client).as_bytes());
    assert_eq!(checked(TlsSide::Client.require_report_data(&relay_inwards.client, &of_victim)), "ok");
    assert_eq!(checked(TlsSide::Client.require_report_data(&server.client, &of_victim)), refused);

    // It sends the victim's own evidence back, as the server's.
    assert_eq!(checked(TlsSide::Server.require_report_data(&victim.server, &of_victim)), refused);
    assert_eq!(checked(TlsSide::Server.require_report_data(&victim.client, &of_victim)), refused);
    // And the certificate's evidence instead of fresh one.
    let of_certificate = verified(claims.report_data().as_bytes());
    assert_eq!(checked(TlsSide::Server.require_report_data(&victim.server, &of_certificate)), refused);
}

/// R42: the sides differ twice, in the label of the exporter value and in the hash.
#[test]
fn r42_a_side_is_never_the_other() {
    assert_ne!(TlsSide::Client.exporter_label(), TlsSide::Server.exporter_label());
    let exporter = Secret::new([7; 32]);
    let sides = [TlsSide::Client, TlsSide::Server];
    for shown in sides {
        let claims = verified(shown.report_data(&exporter).as_bytes());
        for wanted in sides {
            let code = checked(wanted.require_report_data(&exporter, &claims));
            assert_eq!(code, if wanted == shown { "ok" } else { "binding.tls_exporter" });
            let other = Secret::new([8; 32]);
            assert_eq!(checked(wanted.require_report_data(&other, &claims)), "binding.tls_exporter");
        }
    }
}

/// Frozen in docs/spec/protocol.md; the values are of another implementation.
#[test]
fn r42_the_report_data_of_both_sides_is_frozen() {
    let exporter = Secret::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    for (side, wanted) in [
        (
            TlsSide::Client,
            "5c6ec5e7f89b4c0332e173bd645b3b8b00b7262702614a38c323c70637b2ef71\
             602d38f4dad92a1bf59f2b8a0ae80f65aa48398aae574a5afb40077ec374c2ae",
        ),
        (
            TlsSide::Server,
            "0bcbb8cf5f6d49060ec36c10bb3851bfc5aad9e91caa51b7d52914d320de81b5\
             9f70721ee209c4f788d249e9d2d99f84eb9d6376acaf7adae6b746161c3d2ee0",
        ),
    ] {
        assert_eq!(hex::encode(side.report_data(&exporter).as_bytes()), wanted);
    }
    assert_eq!(TlsSide::Client.exporter_label(), "EXPERIMENTAL-bulla-client-evidence-v1");
    assert_eq!(TlsSide::Server.exporter_label(), "EXPERIMENTAL-bulla-server-evidence-v1");
}
