//! R55, R100: what an operator learns from the audit log, and what happens to who edits it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::support::{Bulla, Serving};

const PROVIDER: &str = "machine = \"sim:host\"\n[listen]\nlegacy = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";

/// A log with a release and two refusals, whose provider has ended, and the provider's id and authority.
fn recorded() -> (Bulla, String, String) {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", PROVIDER);
    let provider = bulla.serve("provider.toml");
    let request = format!("request {} --path app/db --purpose disk", provider.options());
    bulla.run(&format!("--machine sim-td:host {request}")).ok();
    bulla.write("debug.toml", "debug = true\n");
    let frame = frame(&bulla, "debug.toml");
    for _ in 0..2 {
        assert!(!answers(&provider, &frame));
    }
    let (id, authority) = (provider.id().to_owned(), provider.said("authority: ").to_owned());
    let pid = Pid::from_raw(provider.process().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(provider.end(), Some(0));
    (bulla, id, authority)
}

/// A legacy request of a guest.
fn frame(bulla: &Bulla, td: &str) -> Vec<u8> {
    // The base point of Curve25519 is a public key.
    let data = format!("09{}", "00".repeat(63));
    bulla.run(&format!("sim quote host --td {td} --report-data {data} -o quote")).ok();
    let body = serde_json::to_vec(&serde_json::json!({ "quote": bulla.read("quote") })).unwrap();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Whether one byte of an answer to a legacy request comes.
fn answers(provider: &Serving, frame: &[u8]) -> bool {
    let mut stream = TcpStream::connect(provider.legacy()).unwrap();
    stream.write_all(frame).unwrap();
    stream.read(&mut [0]).unwrap_or(0) > 0
}

#[test]
fn an_operator_finds_why_a_guest_was_refused() {
    let (bulla, ..) = recorded();
    let all = bulla.run("audit show provider-state").text();
    for words in [
        "started   version",
        "released  app/db for disk, bound to measurement (SIMULATED)",
        "refused   legacy, once: policy.debug",
        "refused   legacy, 2 times so far: policy.debug",
        "The guest runs in debug mode, where its host can read its memory.",
        "event     stop",
    ] {
        assert!(all.contains(words), "{words} is not in {all}");
    }
    let lines = |options: &str| -> Vec<serde_json::Value> {
        let text = bulla.run(&format!("audit show --json {options} provider-state/audit.log")).text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(lines("--refused").len(), 2);
    assert_eq!(lines("--released").len(), 1);
    assert_eq!(lines("--released")[0]["keys"][0]["path"], "app/db");
    assert_eq!(lines("--path app/db").len(), 1);
    assert_eq!(lines("--path app").len(), 0);
    assert_eq!(lines("--cause policy.").len(), 2);
    assert_eq!(lines("--cause tcb").len(), 0);
    assert_eq!(lines("--refused --since 1h").len(), 2);
    assert_eq!(lines("--refused --since 2999-01-01").len(), 0);
    assert_eq!(lines("--refused --since 2020-01-01T00:00:00Z").len(), 2);
    assert_eq!(lines("").len(), bulla.text("provider-state/audit.log").lines().count());
    bulla.run("audit show --since yesterday provider-state").fails(2, &["2026-01-31"]);
    bulla.run("audit show host").fails(2, &["holds no audit.log"]);
}

#[test]
fn a_log_that_nobody_touched_verifies_down_to_who_signed_it() {
    let (bulla, id, authority) = recorded();
    let pinned = format!("audit verify provider-state --provider-id {id} --authority {authority}");
    let verdict = bulla.run(&format!("{pinned} --json")).json();
    assert_eq!(verdict["troubles"], serde_json::json!([]));
    assert_eq!((verdict["first"].as_u64(), verdict["signers"].as_array().unwrap().len()), (Some(1), 1));
    assert_eq!(verdict["signed"].as_u64().unwrap() + 1, verdict["last"].as_u64().unwrap());
    let text = bulla.run(&pinned).text();
    assert!(text.contains(&id) && text.contains("report data") && text.contains("SIMULATED"), "{text}");

    // The head that an earlier check printed, and one of somewhere else.
    let head = verdict["head"].as_str().unwrap();
    assert!(bulla.run(&format!("{pinned} --head {head}")).text().contains("witnessed"));
    let lost = "00".repeat(32);
    assert_eq!(bulla.run(&format!("{pinned} --head {lost}")).fails(11, &["[audit.changed]"]).code, 11);
    bulla.run(&format!("{pinned} --head 00")).fails(2, &["--head"]);

    // Another provider's, another authority's, and a statement that does not prove it.
    for other in [
        format!("audit verify provider-state --provider-id {lost}"),
        format!("audit verify provider-state --provider-id {id} --authority {lost}"),
    ] {
        let ran = bulla.run(&other).fails(11, &["[audit.changed]"]);
        assert!(String::from_utf8(ran.stdout).unwrap().contains("of another"));
    }
    let name = bulla.names("provider-state/statements").pop().unwrap();
    let path = format!("provider-state/statements/{name}");
    let kept = bulla.read(&path);
    bulla.write(&path, [&kept[..], b" "].concat());
    bulla.run(&pinned).fails(11, &["[audit.changed]"]);
    std::fs::remove_file(bulla.path(&path)).unwrap();
    bulla.run(&pinned).fails(11, &["[audit.changed]"]);
    bulla.run("audit verify provider-state").ok();
}

/// R100.
#[test]
fn whoever_edits_the_log_is_found_out() {
    let (bulla, ..) = recorded();
    let good = bulla.text("provider-state/audit.log");
    let lines: Vec<_> = good.lines().collect();
    let released = lines.iter().position(|line| line.contains("\"released\"")).unwrap();
    let without: Vec<_> =
        lines.iter().enumerate().filter(|(at, _)| *at != released).map(|(_, line)| *line).collect();
    let wanted = format!("edited:{}: entry {} is missing", released + 1, released + 1);
    for (edited, words) in [
        (without.join("\n") + "\n", wanted.as_str()),
        (good.replacen("app/db", "app/dc", 1), "was changed after"),
        (format!("{good}{}\n", lines[released]), "inserted, moved or repeated"),
        (
            good.replacen("\"signature\":\"", "\"signature\":\"00", 1),
            "the signature does not cover entries 1 to 1",
        ),
        (String::new(), "not one line"),
    ] {
        bulla.write("edited", edited);
        let ran = bulla.run("audit verify edited").fails(11, &["see above", "[audit.changed]"]);
        let found = String::from_utf8(ran.stdout).unwrap();
        assert!(found.contains(words), "{words} is not in {found}");
    }
    // Cut off, it is a shorter log, to everyone who has no head of it.
    bulla.write("edited", lines[..released].join("\n") + "\n");
    let head = hex::encode(bulla_crypto::sha256(&[lines[released].as_bytes()]));
    bulla.run("audit verify edited").ok();
    let ran = bulla.run(&format!("audit verify edited --head {head}")).fails(11, &["[audit.changed]"]);
    assert!(String::from_utf8(ran.stdout).unwrap().contains("cut off"));
    bulla.run(&format!("audit verify provider-state --head {head}")).ok();
}

/// R100, B34: a disk that is full in the middle of a line. No key leaves any more, the service goes on refusing, and gives
/// keys again when there is space, on a chain that is whole.
#[test]
fn no_key_leaves_while_the_disk_is_full() {
    no_key_leaves(PROVIDER, |bulla, provider| {
        let options = provider.options();
        bulla.run(&format!("--machine sim-td:host request {options} --path app/db --purpose disk")).code == 0
    });
}

/// The same for the legacy listener.
#[test]
fn no_legacy_key_leaves_while_the_disk_is_full() {
    no_key_leaves(PROVIDER, |bulla, provider| answers(provider, &frame(bulla, "default")));
}

/// The same in sessions.
#[test]
fn no_key_of_a_session_leaves_while_the_disk_is_full() {
    let settings = "machine = \"sim:host\"\n[listen]\nhttps = \"127.0.0.1:0\"\n";
    no_key_leaves(settings, |bulla, provider| {
        let (address, id) = (provider.said("listening on "), provider.id());
        let request =
            format!("request --session --provider {address} --provider-id {id} --path app/db --purpose disk");
        bulla.run(&format!("--machine sim-td:host {request}")).code == 0
    });
}

fn no_key_leaves(settings: &str, asks: impl Fn(&Bulla, &Serving) -> bool) {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", settings);
    // No file may grow beyond 12 KiB; who tries is told, and not killed.
    let mut command = Command::new("bash");
    let serve = "trap '' XFSZ; ulimit -S -f 12; exec \"$0\" provider serve --config provider.toml";
    command.args(["-c", serve]).arg(bulla.program()).current_dir(bulla.path(".")).env_remove("BULLA_MACHINE");
    let provider = bulla.try_serve_as(command).unwrap();
    let mut keys = 0;
    while asks(&bulla, &provider) {
        keys += 1;
        assert!(keys < 100, "the disk is full, and keys leave");
    }
    assert!(keys > 3);
    assert!(!asks(&bulla, &provider));
    let pid = Pid::from_raw(provider.process().try_into().unwrap()).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    assert!((0..1000).any(|_| asks(&bulla, &provider)), "there is space, and no key");
    keys += 1;
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(provider.end(), Some(0));
    let verdict = bulla.run("audit verify --json provider-state").json();
    assert_eq!(verdict["recovered"].as_array().unwrap().len(), 1);
    let released = bulla.run("audit show --released --json provider-state").text();
    assert_eq!(released.lines().count(), keys, "one line for each key that left");
}
