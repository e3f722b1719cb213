//! `bulla provider config`.

use std::net::TcpListener;

use crate::support::Bulla;

const SETTINGS: &str = "machine = \"sim:host\"\n[listen]\nhttp = \"127.0.0.1:0\"\n";

/// R108, B44: what a start refuses is found without one, with its key, and all of it at once.
#[test]
fn r108_check_says_what_a_start_would_refuse() {
    let bulla = Bulla::with_host();
    bulla.write("good.toml", SETTINGS);
    let noted = bulla.run("provider config check good.toml").text();
    assert!(noted.starts_with("note: policy: there is none"), "{noted}");
    assert!(!bulla.path("provider-state").exists(), "a check starts nothing");

    bulla.write("bad.toml", SETTINGS.replace("http", "htps"));
    bulla.run("provider config check bad.toml").fails(2, &["`listen.htps`", "unknown field", "bad.toml"]);
    bulla.run("provider serve --config bad.toml").fails(2, &["`listen.htps`", "unknown field"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = SETTINGS.replace("127.0.0.1:0", &address).replace("sim:host", "sim:missing");
    bulla.write("bad.toml", format!("{text}[collateral]\nbundle = \"missing.json\"\n"));
    let ran = bulla.run("provider config check --json bad.toml").fails(2, &["3 of these"]);
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let found = found["findings"].as_array().unwrap();
    for (weight, key) in [
        ("refused", "collateral.bundle"),
        ("refused now", "listen.http"),
        ("refused", "machine"),
        ("note", "policy"),
    ] {
        assert!(
            found.iter().any(|found| found["weight"] == weight && found["key"] == key),
            "{key}: {found:?}"
        );
    }
    bulla.run("provider config check missing.toml").fails(1, &["missing.toml"]);
}

#[test]
fn explain_says_what_is_in_effect_and_what_it_can_do_at_most() {
    let bulla = Bulla::with_host();
    bulla.write("good.toml", SETTINGS);
    let told = bulla.run("provider config explain good.toml").text();
    for words in [
        "machine = \"sim:host\"; without it: none: it is needed",
        "listen.legacy = off (not set)",
        "collateral.max_age_hours = 24 (not set)",
        "at most: ",
    ] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    let rows = bulla.run("provider config explain --json good.toml").json();
    assert_eq!((&rows[0]["key"], &rows[0]["set"]), (&"machine".into(), &true.into()));
}

/// The log's lines are JSON objects where the settings ask for it.
#[test]
fn the_log_is_json_where_it_is_asked_for() {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", format!("{SETTINGS}[log]\nformat = \"json\"\n"));
    let mut provider = bulla.serve("provider.toml");
    let address = provider.http().to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    })
    .join()
    .unwrap();
    provider.wait_for("not-found");
    let line = provider.seen.last().unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["message"], &line["cause"]), (&"refused".into(), &"not-found".into()));
}
