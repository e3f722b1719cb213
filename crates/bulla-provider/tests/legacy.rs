//! The wire of the earlier providers, as their unmodified clients see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::io::{Read, Write};

use bulla_attest::CollateralId;
use bulla_protocol::{BODY_MAX, QUOTE_MAX};
use bulla_sim::TdDescription;
use bulla_tee::Identity;

use support::{
    LegacyGuest, Site, claims, connect, frame, honest, is_closed, legacy_body, legacy_exchange,
    legacy_formula,
};

fn audit_cause(site: &Site) -> String {
    site.audit().last().unwrap()["cause"].as_str().unwrap_or("released").to_owned()
}

/// The key is the formula's, the proof is a genuine quote of this enclave, and the release is logged as legacy (R43).
#[test]
fn an_existing_client_gets_its_key() {
    let site = Site::new();
    let running = site.start();
    let td = TdDescription::default_guest();
    let guest = LegacyGuest::new(&site.machine(), &td);
    assert_eq!(guest.key(running.legacy).unwrap(), legacy_formula(&site, &td));

    let mut stream = connect(running.legacy);
    let (sealed_box, quote) = legacy_exchange(&mut stream, &guest.frame()).unwrap();
    assert_eq!(sealed_box.len(), 80);
    let Identity::Sgx(enclave) = claims(&site, &quote).identity else { panic!("no enclave") };
    assert_eq!(enclave.mrenclave, running.identity.measurement);
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0, "clients may read to the connection's end");
    let (again, _) = legacy_exchange(&mut connect(running.legacy), &guest.frame()).unwrap();
    assert_ne!(again, sealed_box, "each box has its own key");

    let line = site.audit().pop().unwrap();
    assert_eq!((line["mode"].as_str(), line["entry"].as_str()), (Some("legacy"), Some("released")));
    assert_eq!((line["simulated"].as_bool(), line["policy"].as_str()), (Some(true), Some("development/1")));
}

/// Each register of the formula changes the key.
#[test]
fn another_guest_has_another_key() {
    let site = Site::new();
    let running = site.start();
    let first = honest(&site, running.legacy);
    for register in 0..5 {
        let mut td = TdDescription::default_guest();
        match register {
            0 => td.mrtd[0] ^= 1,
            _ => td.rtmr[register - 1][0] ^= 1,
        }
        let key = LegacyGuest::new(&site.machine(), &td).key(running.legacy).unwrap();
        assert_ne!(key, first);
        assert_eq!(key, legacy_formula(&site, &td));
    }
}

/// R23, R25: what the formula does not cover must be harmless.
#[test]
fn guests_outside_the_policy_are_refused() {
    let site = Site::new();
    let running = site.start();
    let default = TdDescription::default_guest;
    for (td, cause) in [
        (default().with_debug(), "policy.debug"),
        (TdDescription { attributes: default().attributes | 1 << 29, ..default() }, "policy.migratable"),
        (TdDescription { attributes: 0, ..default() }, "policy.sept_ve_disable_not_set"),
        (TdDescription { mrconfigid: [1; 48], ..default() }, "legacy.mrconfigid"),
        (TdDescription { mrowner: [1; 48], ..default() }, "legacy.mrowner"),
        (TdDescription { mrownerconfig: [1; 48], ..default() }, "legacy.mrownerconfig"),
    ] {
        assert_eq!(LegacyGuest::new(&site.machine(), &td).key(running.legacy), None, "{cause}");
        assert_eq!(audit_cause(&site), cause);
        honest(&site, running.legacy);
    }
}

/// R36, B15: a machine of the same model and vendor, whose quotes verify, and whose host writes this machine's QE ID.
#[test]
fn another_machine_with_this_machines_qe_id_is_refused() {
    let site = Site::new();
    let running = site.start();
    let td = TdDescription::default_guest();
    let here = LegacyGuest::new(&site.machine(), &td);
    let qe_id = site.machine_value("qe_id");
    let key = here.key(running.legacy).unwrap();

    // Another QE ID with the same PPID is this machine.
    site.edit_machine("qe_id", "5c".repeat(16));
    let renamed = LegacyGuest::new(&site.machine(), &td);
    assert_ne!(renamed.quote[28..44], here.quote[28..44]);
    assert_eq!(renamed.key(running.legacy).unwrap(), key);

    // This QE ID with another PPID is another machine.
    site.machine().platform_reset().unwrap();
    site.edit_machine("qe_id", qe_id);
    let posing = LegacyGuest::new(&site.machine(), &td);
    assert_eq!(posing.quote[28..44], here.quote[28..44]);
    assert_eq!(posing.key(running.legacy), None);
    assert_eq!(audit_cause(&site), "platform.mismatch");
    assert_eq!(here.key(running.legacy).unwrap(), key);

    // As is one that makes no secret of it.
    let foreign = LegacyGuest::new(&Site::new().machine(), &td);
    assert_eq!(foreign.key(running.legacy), None);
    assert_eq!(site.audit().last().unwrap()["count"], 2);
}

/// B20: never a success with a key that encrypts to nobody.
#[test]
fn low_order_and_non_canonical_keys_are_refused() {
    let site = Site::new();
    let running = site.start();
    let bad = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for public in bad {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&hex::decode(public).unwrap());
        let quote = site.machine().td_quote(&TdDescription::default_guest(), &data).unwrap();
        assert!(
            legacy_exchange(&mut connect(running.legacy), &frame(&legacy_body(&quote))).is_none(),
            "{public}"
        );
    }
    assert_eq!(site.audit().last().unwrap()["count"], 8);
    honest(&site, running.legacy);
}

/// B5, B7, B8: cut anywhere, longer by a byte, with lengths that lie, or with any bit flipped.
#[test]
fn a_changed_quote_gets_no_key() {
    let site = Site::new();
    let running = site.start();
    let good = LegacyGuest::new(&site.machine(), &TdDescription::default_guest()).quote;
    let refused = |quote: &[u8], what: &str| {
        let response = legacy_exchange(&mut connect(running.legacy), &frame(&legacy_body(quote)));
        assert!(response.is_none(), "{what}");
    };
    for length in [0, 1, 47, 48, 635, 636, good.len() / 2, good.len() - 1] {
        refused(&good[..length], &format!("cut at {length}"));
    }
    refused(&[&good[..], &[1]].concat(), "longer by a byte");
    for at in [632, 764, 768] {
        let mut lying = good.clone();
        lying[at..at + 4].fill(0xFF);
        refused(&lying, &format!("length at {at}"));
    }
    for (at, value) in [(0, 2), (0, 6), (0, 0xFF), (2, 3), (4, 0), (4, 0x82)] {
        let mut unlisted = good.clone();
        unlisted[at] = value;
        refused(&unlisted, &format!("{value} at {at}"));
    }
    // Every part: header, TD report, signature, key, QE report and its signature, authentication data, certificates. The
    // QE ID in the header is signed too.
    for at in (0..good.len()).step_by(61).chain([28, 40, 632 + 4, 700, 770]) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x04;
        refused(&flipped, &format!("bit flipped in byte {at}"));
    }
    honest(&site, running.legacy);
}

/// B6: an SGX quote, even the provider's own, is no guest.
#[test]
fn the_providers_own_quote_is_no_guest() {
    let site = Site::new();
    let running = site.start();
    let guest = LegacyGuest::new(&site.machine(), &TdDescription::default_guest());
    let (_, own) = legacy_exchange(&mut connect(running.legacy), &guest.frame()).unwrap();
    assert!(CollateralId::of_quote(&own).is_ok());
    assert!(legacy_exchange(&mut connect(running.legacy), &frame(&legacy_body(&own))).is_none());
    assert_eq!(audit_cause(&site), "evidence.not_tdx");
    honest(&site, running.legacy);
}

/// B1, B2, B4: what is no frame is closed, and the next client is answered.
#[test]
fn what_is_no_request_is_closed_without_a_reply() {
    let site = Site::new();
    let running = site.start();
    let deep = [&b"{\"quote\":"[..], &[b'['; 100_000]].concat();
    let large = legacy_body(&vec![255; QUOTE_MAX + 1]);
    assert!(large.len() <= BODY_MAX);
    let cases: [(&str, Vec<u8>); 14] = [
        ("length 0", vec![0; 4]),
        ("length 0xFFFFFFFF", vec![0xFF; 4]),
        ("limit + 1", (BODY_MAX as u32 + 1).to_be_bytes().to_vec()),
        ("a browser", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("not JSON", frame(b"hello")),
        ("not UTF-8", frame(&[0xFF, 0xFE, 0, 0x80])),
        ("empty object", frame(b"{}")),
        ("empty quote", frame(br#"{"quote":[]}"#)),
        ("text for a quote", frame(br#"{"quote":"00ff"}"#)),
        ("no byte", frame(br#"{"quote":[256]}"#)),
        ("an unknown field", frame(br#"{"quote":[1],"mode":"dev"}"#)),
        ("two quotes", frame(br#"{"quote":[1],"quote":[2]}"#)),
        ("100,000 brackets", frame(&deep)),
        ("a quote above the limit", frame(&large)),
    ];
    for (name, bytes) in cases {
        let mut stream = connect(running.legacy);
        let _ = stream.write_all(&bytes);
        assert!(is_closed(&mut stream), "{name}");
        honest(&site, running.legacy);
    }
    for (name, bytes) in
        [("half a length", &[0, 0][..]), ("a length and no more", &[0, 0, 0, 100]), ("nothing", &[])]
    {
        let mut stream = connect(running.legacy);
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(is_closed(&mut stream), "{name}");
        honest(&site, running.legacy);
    }
}

/// R43: off unless the settings name it.
#[test]
fn legacy_is_off_by_default() {
    let site = Site::new();
    let mut settings = site.settings();
    settings.listen.legacy = None;
    let running = support::Running::new(site.provider().unwrap(), &settings);
    let guest = LegacyGuest::new(&site.machine(), &TdDescription::default_guest());
    let mut stream = connect(running.http);
    stream.write_all(&guest.frame()).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    assert!(!String::from_utf8_lossy(&reply).contains("encrypted_key"));
}

/// R45: two machines, two keys.
#[test]
fn two_machines_give_two_keys() {
    let (one, other) = (Site::new(), Site::new());
    let (here, there) = (one.start(), other.start());
    assert_ne!(honest(&one, here.legacy), honest(&other, there.legacy));
}
