//! R97, R100: every decision leaves its line, and no line or log message leaks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use bulla_crypto::sha256;
use bulla_protocol::Code;
use bulla_sim::TdDescription;
use tracing_subscriber::filter::LevelFilter;

use support::{Client, LegacyGuest, Site, connect, honest, legacy_exchange, v1_key};

/// R100: without the line no key leaves, by neither protocol, and with it again one does.
#[test]
fn no_key_leaves_while_the_audit_log_cannot_be_written() {
    let site = Site::new();
    let td = TdDescription::default_guest();
    site.start().stop();
    let log = site.state_dir().join("audit.log");
    fs::remove_file(&log).unwrap();
    symlink("/dev/full", &log).unwrap();
    let running = site.start();
    assert!(LegacyGuest::new(&site.machine(), &td).key(running.legacy).is_none());
    assert_eq!(v1_key(&site.machine(), &td, running.http).unwrap_err(), Code::Internal);
    running.stop();
    fs::remove_file(&log).unwrap();
    honest(&site, site.start().legacy);
}

/// Each release has its own line, which names the evidence; refusals are counted, so nobody fills the disk by them.
#[test]
fn releases_are_lines_and_refusals_are_counts() {
    let site = Site::new();
    let running = site.start();
    let guest = LegacyGuest::new(&site.machine(), &TdDescription::default_guest());
    for _ in 0..5 {
        guest.key(running.legacy).unwrap();
        assert!(
            LegacyGuest::new(&site.machine(), &TdDescription::default_guest().with_debug())
                .key(running.legacy)
                .is_none()
        );
    }
    let lines = site.audit();
    let released: Vec<_> = lines.iter().filter(|line| line["entry"] == "released").collect();
    assert_eq!(released.len(), 5);
    for line in released {
        assert_eq!(line["evidence"], hex::encode(sha256(&[&guest.quote])));
        assert_eq!(line["root_id"], hex::encode(running.identity.root_id));
        assert_eq!(line["policy_digest"], hex::encode(running.identity.policy_digest));
    }
    let refused: Vec<_> = lines.iter().filter(|line| line["entry"] == "refused").collect();
    assert_eq!(refused.iter().map(|line| line["count"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(refused.iter().all(|line| line["code"] == "policy-denied" && line["cause"] == "policy.debug"));
}

/// A line that a crash cut off does not swallow the next one.
#[test]
fn half_a_line_stays_alone() {
    let site = Site::new();
    site.start().stop();
    let mut log = OpenOptions::new().append(true).open(site.state_dir().join("audit.log")).unwrap();
    log.write_all(b"{\"time\":1").unwrap();
    honest(&site, site.start().legacy);
    assert_eq!(site.audit().last().unwrap()["entry"], "released");
    let verdict = site.verdict();
    assert_eq!((verdict.findings, verdict.tail, verdict.recovered.len()), (vec![], None, 1));
    assert_eq!(verdict.recovered[0].1.bytes, 10);
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// R97: the whole walk at the most talkative level, and what must be in no log in none of the usual spellings.
#[test]
fn logs_hold_no_secret_no_evidence_and_no_platform_id() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let site = Site::new();
    let running = site.start();
    let machine = site.machine();
    let td = TdDescription::default_guest();
    let guest = LegacyGuest::new(&machine, &td);
    let legacy_key = guest.key(running.legacy).unwrap();
    let (sealed_box, own_quote) = legacy_exchange(&mut connect(running.legacy), &guest.frame()).unwrap();
    assert!(LegacyGuest::new(&machine, &td.clone().with_debug()).key(running.legacy).is_none());
    let mut client = Client::new(running.http);
    let order = client.order(&machine, &td);
    let answer = client.send(&order).unwrap();
    let key = client.open(&order, &answer).unwrap();
    let mut client = Client::new(running.http);
    let mut bad = client.order(&machine, &td);
    bad.evidence[700] ^= 1;
    assert!(client.send(&bad).is_err());
    running.stop();

    let mut text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("released a key") && text.contains("policy.debug"));
    text += &fs::read_to_string(site.state_dir().join("audit.log")).unwrap();
    let ids = ["ppid", "platform_instance_id", "qe_id", "seal_fuses"]
        .map(|name| hex::decode(site.machine_value(name).as_str().unwrap()).unwrap());
    let forbidden: Vec<&[u8]> = vec![
        site.root().expose().as_slice().to_vec().leak(),
        &legacy_key,
        key.expose(),
        &guest.quote[48..],
        &guest.quote[632..],
        &order.evidence[568..],
        &own_quote[48 + 384 + 4..],
        &sealed_box,
        &answer.ciphertext,
    ];
    for secret in forbidden.into_iter().chain(ids.iter().map(Vec::as_slice)) {
        let start = &secret[..12];
        let numbers = format!("{start:?}");
        for spelling in
            [hex::encode(start), hex::encode_upper(start), numbers.trim_matches(['[', ']']).into()]
        {
            assert!(!text.contains(&spelling), "{spelling} is in a log");
        }
    }
}
