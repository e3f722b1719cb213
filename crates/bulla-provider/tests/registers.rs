//! Register policies: keys that are bound to a named choice of registers, and to what they held at an event.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use bulla_crypto::{HpkePrivateKey, Kem, sha384};
use bulla_protocol::Code;
use bulla_protocol::v1::Binding;
use bulla_sim::TdDescription;

use support::{Client, Running, Site, v1_key};

const POLICY: &str = r#"
version = 1
name = "registers"
simulated = true
custody = "hardware"

[transport]
classical = true

[[registers]]
name = "firmware"
version = 1
bind = ["mrtd", "rtmr0"]

[[registers]]
name = "firmware"
version = 2
bind = ["mrtd", "rtmr0"]

[[registers]]
name = "same-but-for-the-name"
version = 1
bind = ["mrtd", "rtmr0"]

[[registers]]
name = "app"
version = 1
bind = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]
[registers.boundary]
register = "rtmr3"
event = "system-ready"

[[registers]]
name = "app-that-goes-on"
version = 1
bind = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]
[registers.boundary]
register = "rtmr3"
event = "system-ready"
later = true
"#;

fn site() -> (Site, Running) {
    let site = Site::new();
    let running = site.start_under(POLICY);
    (site, running)
}

fn registers(name: &str, version: u32) -> Binding {
    Binding::Registers { name: name.into(), version }
}

fn ask(
    (site, running): &(Site, Running),
    td: &TdDescription,
    binding: Binding,
    log: Option<&str>,
) -> Result<Vec<u8>, Code> {
    let mut client = Client::new(running.http);
    client.request.binding = binding;
    let mut order = client.order(&site.machine(), td);
    order.event_log = log.map(|log| log.as_bytes().to_vec());
    let answer = client.send(&order)?;
    Ok(client.open(&order, &answer).unwrap().expose().to_vec())
}

fn last_cause((site, _): &(Site, Running)) -> String {
    site.audit().last().unwrap()["cause"].as_str().unwrap_or("released").to_owned()
}

/// R26: what a policy binds enters the key, and so do its name and version; nothing else of the guest does.
#[test]
fn a_key_is_bound_to_the_registers_of_its_policy() {
    let served = site();
    let guest = TdDescription::default_guest();
    let firmware = |td: &TdDescription| ask(&served, td, registers("firmware", 1), None).unwrap();
    let key = firmware(&guest);
    let mut app = guest.clone();
    (app.rtmr[1], app.rtmr[2], app.rtmr[3]) = ([1; 48], [2; 48], [3; 48]);
    assert_eq!(firmware(&app), key);
    let mut other = guest.clone();
    other.rtmr[0][0] ^= 1;
    assert_ne!(firmware(&other), key);
    assert_ne!(firmware(&TdDescription { mrtd: [9; 48], ..guest }), key);

    for (name, version) in [("firmware", 2), ("same-but-for-the-name", 1)] {
        assert_ne!(ask(&served, &guest, registers(name, version), None).unwrap(), key);
    }
    let (site, running) = &served;
    assert_ne!(v1_key(&site.machine(), &guest, running.http).unwrap(), key);
    for unknown in [registers("firmware", 3), registers("none", 1), registers("measurement", 1)] {
        assert_eq!(ask(&served, &guest, unknown, None), Err(Code::UsageDenied));
        assert_eq!(last_cause(&served), "registers.unknown");
    }
}

/// R25, B24: what the host chooses is never ignored.
#[test]
fn a_register_of_the_host_that_binds_nothing_must_be_zero() {
    let served = site();
    let guest = TdDescription::default_guest();
    for td in [
        TdDescription { mrconfigid: [1; 48], ..guest.clone() },
        TdDescription { mrowner: [1; 48], ..guest.clone() },
        TdDescription { mrownerconfig: [1; 48], ..guest },
    ] {
        assert_eq!(ask(&served, &td, registers("firmware", 1), None), Err(Code::PolicyDenied));
        assert_eq!(last_cause(&served), "registers.unbound");
    }
}

/// Names of run-time events, in the order in which they are extended into RTMR3.
struct Log<'a>(&'a [&'a str]);

impl Log<'_> {
    const KIND: u32 = 0x0800_0001;

    fn digest(name: &str) -> [u8; 48] {
        sha384(&[&Self::KIND.to_le_bytes(), b":", name.as_bytes(), b":", b"content"])
    }

    fn json(&self) -> String {
        let event = |name: &&str| {
            serde_json::json!({
                "imr": 3,
                "event_type": Self::KIND,
                "digest": hex::encode(Self::digest(name)),
                "event": name,
                "event_payload": hex::encode("content"),
            })
        };
        serde_json::Value::from_iter(self.0.iter().map(event)).to_string()
    }

    /// The guest that has this log.
    fn guest(&self) -> TdDescription {
        let rtmr3 = self.0.iter().fold([0; 48], |value, name| sha384(&[&value, &Self::digest(name)]));
        let zero = [0; 48];
        TdDescription { rtmr: [zero, zero, zero, rtmr3], ..TdDescription::default_guest() }
    }
}

/// R26, B22, B23: what ran before the boundary binds the key; two applications on one image have different keys.
#[test]
fn a_key_is_bound_to_what_ran_before_the_boundary() {
    let served = site();
    let got =
        |policy: &str, log: &Log<'_>| ask(&served, &log.guest(), registers(policy, 1), Some(&log.json()));
    let ready = Log(&["app-one", "system-ready"]);
    let key = got("app", &ready).unwrap();
    assert_ne!(got("app", &Log(&["app-two", "system-ready"])).unwrap(), key, "another application");
    let twice = Log(&["app-one", "app-one", "system-ready"]);
    assert_ne!(got("app", &twice).unwrap(), key, "the same one twice");
    assert_ne!(got("app-that-goes-on", &ready).unwrap(), key, "another policy");

    // A guest that has gone on.
    let later = Log(&["app-one", "system-ready", "workload"]);
    assert_eq!(got("app", &later), Err(Code::PolicyDenied));
    assert_eq!(last_cause(&served), "event_log.extended");
    let other = Log(&["app-one", "system-ready", "other"]);
    let goes_on = got("app-that-goes-on", &ready).unwrap();
    assert_eq!(got("app-that-goes-on", &later), Ok(goes_on.clone()));
    assert_eq!(got("app-that-goes-on", &other), Ok(goes_on));
}

/// B22: a log that is not the guest's own, or that has no boundary, or two, gets nothing.
#[test]
fn a_log_that_the_registers_do_not_bear_out_gets_nothing() {
    let served = site();
    let honest = Log(&["app-one", "middle", "system-ready"]);
    let refused = |log: Option<&str>| {
        let code = ask(&served, &honest.guest(), registers("app", 1), log).unwrap_err();
        (code, last_cause(&served))
    };
    let replaced = honest.json().replace("middle", "muddle");
    let without_digest =
        replaced.replace(&hex::encode(Log::digest("middle")), &hex::encode(Log::digest("muddle")));
    for (what, log, code, cause) in [
        ("none", None, Code::PolicyDenied, "event_log.missing"),
        (
            "reordered",
            Some(Log(&["middle", "app-one", "system-ready"]).json()),
            Code::BadEvidence,
            "event_log.rtmr_mismatch",
        ),
        (
            "one less",
            Some(Log(&["app-one", "system-ready"]).json()),
            Code::BadEvidence,
            "event_log.rtmr_mismatch",
        ),
        (
            "one more",
            Some(Log(&["app-one", "middle", "system-ready", "x"]).json()),
            Code::BadEvidence,
            "event_log.rtmr_mismatch",
        ),
        ("a wrong digest", Some(replaced), Code::BadEvidence, "event_log.digest"),
        ("another event", Some(without_digest), Code::BadEvidence, "event_log.rtmr_mismatch"),
        ("no log", Some("{}".into()), Code::Malformed, "event_log.parse"),
    ] {
        assert_eq!(refused(log.as_deref()), (code, cause.to_owned()), "{what}");
    }
    for (log, cause) in [
        (Log(&["app-one"]), "event_log.no_boundary"),
        (Log(&["system-ready", "app-one", "system-ready"]), "event_log.boundary_twice"),
    ] {
        let got = ask(&served, &log.guest(), registers("app", 1), Some(&log.json()));
        assert_eq!((got, last_cause(&served)), (Err(Code::PolicyDenied), cause.to_owned()));
    }
    assert!(ask(&served, &honest.guest(), registers("app", 1), Some(&honest.json())).is_ok());
}

/// R41: suite 1, where the policy allows it; its key is the same.
#[test]
fn a_policy_can_allow_the_classical_suite() {
    let (site, running) = site();
    let guest = TdDescription::default_guest();
    let mut client = Client::new(running.http);
    client.private = HpkePrivateKey::generate(Kem::X25519).unwrap();
    (client.request.suite, client.request.public_key) = (1, client.private.public_key().as_bytes().into());
    let order = client.order(&site.machine(), &guest);
    let answer = client.send(&order).unwrap();
    assert_eq!(answer.encapsulated_key.len(), 32);
    let key = client.open(&order, &answer).unwrap().expose().to_vec();
    assert_eq!(v1_key(&site.machine(), &guest, running.http), Ok(key));

    // B20.
    let mut one = [0; 32];
    one[0] = 1;
    for public_key in [[0; 32], one, [0xFF; 32]] {
        let mut client = Client::new(running.http);
        (client.request.suite, client.request.public_key) = (1, public_key.to_vec());
        let order = client.order(&site.machine(), &guest);
        assert_eq!(client.send(&order).unwrap_err(), Code::BadPublicKey);
    }
}
