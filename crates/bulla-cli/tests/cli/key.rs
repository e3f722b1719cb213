//! Rings of data keys: made once, changed with care, and shown without their keys.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Bulla, Ran, flipped, mode, places, rebuilt};

const ON: &str = "--machine sim:host";

fn key(bulla: &Bulla, line: &str) -> Ran {
    bulla.run(&format!("{ON} key {line}"))
}

fn shown(bulla: &Bulla, line: &str) -> Value {
    key(bulla, &format!("show --json {line}")).json()
}

/// The ids of all generations, from the first on.
fn ids(bulla: &Bulla, ring: &str) -> Vec<String> {
    let shown = shown(bulla, ring);
    shown["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A key's bytes, as a program gets them.
fn bytes(bulla: &Bulla, key: &str) -> Vec<u8> {
    bulla.run(&format!("{ON} exec --key {key} -- cat {{key}}")).ok()
}

/// All names in the folder but the machine's, and what the files hold.
fn files(bulla: &Bulla) -> Vec<(String, Option<Vec<u8>>)> {
    let names = bulla.names(".").into_iter().filter(|name| name != "host");
    names.map(|name| (name.clone(), fs::read(bulla.path(&name)).ok())).collect()
}

/// A folder with the machine `host` and `db.ring`, which the private key `key` opens too.
fn with_ring() -> Bulla {
    let bulla = Bulla::with_host();
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    key(&bulla, "new db.ring --recovery key.pub").ok();
    bulla
}

#[test]
fn a_ring_is_made_and_shown() {
    let bulla = Bulla::with_host();
    let ran = key(&bulla, "new db.ring");
    assert!(ran.stderr.contains("db/data: generation 1 encrypts"), "{}", ran.stderr);
    assert!(ran.stderr.contains("sealed to this machine only") && ran.stdout.is_empty(), "{ran:?}");
    ran.ok();
    assert_eq!(mode(&bulla.path("db.ring")), 0o600);

    let found = shown(&bulla, "db.ring");
    assert_eq!((&found["name"], &found["role"], &found["epoch"]), (&json!("db"), &json!("data"), &json!(1)));
    assert!(found["freshness"].as_str().unwrap().starts_with("none"), "R94: an older copy opens as well");
    let [only] = found["generations"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&only["generation"], &only["state"]), (&json!(1), &json!("active")));
    assert!(only["created"].as_u64().unwrap() > 1_700_000_000);
    let (ring, id) = (found["id"].as_str().unwrap(), only["id"].as_str().unwrap());
    assert!(ring.len() == 32 && id.len() == 32 && ring != id);

    let text = key(&bulla, "show db.ring").text();
    for line in
        ["name           db", "role           data", &format!("ring           {ring}"), "epoch          1"]
    {
        assert!(text.lines().any(|other| other == line), "{line:?} is not in {text}");
    }
    assert!(text.contains(&format!("generation 1   {id} active")), "{text}");

    let before = files(&bulla);
    key(&bulla, "new db.ring").fails(2, &["db.ring", "[file.exists]"]);
    assert_eq!(files(&bulla), before);

    let named = key(&bulla, "new other.ring --name shop --role log").stderr;
    assert!(named.contains("shop/log: generation 1"), "{named}");
    assert!(!key(&with_ring(), "rotate db.ring").stderr.contains("machine only"));
}

#[test]
fn what_cannot_be_a_ring_is_usage() {
    let bulla = Bulla::with_host();
    for line in [
        "new db.ring --name a/b",
        "new db.ring --role é",
        &format!("new db.ring --name {}", "x".repeat(65)),
        "new",
        "show",
        "retire db.ring",
        "rotate db.ring --to x",
        "ensure db.ring",
    ] {
        key(&bulla, line).fails(2, &[]);
    }
    bulla.run("key new db.ring").fails(2, &["no machine given"]);
    key(&bulla, "show db.ring").fails(1, &["db.ring", "[io]"]);
    key(&bulla, "rotate db.ring").fails(1, &["db.ring", "[io]"]);
    assert_eq!(bulla.names("."), ["host"]);
    // What this machine sealed under a ring's context is no ring for that.
    bulla.run_with(&format!("{ON} seal --context ring/db/data -o db.ring"), b"noise").ok();
    key(&bulla, "show db.ring").fails(11, &["[ring.malformed]"]);
    bulla.write("db.ring", "noise");
    key(&bulla, "show db.ring").fails(11, &["[envelope.magic]"]);
}

/// R86: no id comes twice, and none changes.
#[test]
fn r86_ids_are_unique_and_stay() {
    let bulla = Bulla::with_host();
    let mut seen = BTreeSet::new();
    for ring in ["a.ring", "b.ring", "c.ring"] {
        key(&bulla, &format!("new {ring}")).ok();
        let mut before = ids(&bulla, ring);
        for _ in 0..3 {
            key(&bulla, &format!("rotate {ring}")).ok();
            let after = ids(&bulla, ring);
            assert_eq!(after[..before.len()], before, "{ring}");
            before = after;
        }
        assert_eq!(before.len(), 4);
        for (generation, id) in (1..).zip(before) {
            assert_eq!(
                bytes(&bulla, &format!("{ring}:{id}")),
                bytes(&bulla, &format!("{ring}:{generation}"))
            );
            assert!(seen.insert(id));
        }
    }
    let unknown = format!("exec --key a.ring:{} -- touch ran", "00".repeat(16));
    bulla.run(&format!("{ON} {unknown}")).fails(2, &["[ring.unknown_key]"]);
    let others = seen.iter().find(|id| !ids(&bulla, "a.ring").contains(id)).unwrap();
    bulla.run(&format!("{ON} exec --key a.ring:{others} -- touch ran")).fails(2, &["[ring.unknown_key]"]);
    assert!(!bulla.path("ran").exists());
}

/// R85: said again, nothing changes.
#[test]
fn r85_rotating_to_a_generation_is_done_once() {
    let bulla = with_ring();
    let ran = key(&bulla, "rotate db.ring --to 2");
    assert!(
        ran.stderr.contains("generation 2 encrypts") && !ran.stderr.contains("already"),
        "{}",
        ran.stderr
    );
    ran.ok();
    let (before, ids_before) = (files(&bulla), ids(&bulla, "db.ring"));
    for again in ["--to 2", "--to 1"] {
        let ran = key(&bulla, &format!("rotate db.ring {again}"));
        assert!(ran.stderr.contains("already: nothing was changed"), "{}", ran.stderr);
        ran.ok();
    }
    for gap in ["--to 0", "--to 4", "--to 4294967295"] {
        key(&bulla, &format!("rotate db.ring {gap}")).fails(2, &["follow one another", "[usage.invalid]"]);
    }
    assert_eq!((files(&bulla), ids(&bulla, "db.ring")), (before, ids_before));
    assert_eq!(shown(&bulla, "db.ring")["epoch"], 2);
    key(&bulla, "rotate db.ring").ok();
    assert_eq!(ids(&bulla, "db.ring").len(), 3);
}

/// R72, R85: of several at once one adds the generation, and all see the same.
#[test]
fn r72_rotating_at_once_gives_one_generation() {
    let bulla = with_ring();
    for to in 2..6 {
        let line = format!("rotate db.ring --to {to}");
        let said: BTreeSet<_> = thread::scope(|scope| {
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| key(&bulla, &line))).collect();
            runs.into_iter().map(|run| told(run.join().unwrap())).collect()
        });
        assert_eq!(said.len(), 1, "{said:?}");
        let found = shown(&bulla, "db.ring");
        assert_eq!((&found["epoch"], found["generations"].as_array().unwrap().len()), (&json!(to), to));
        assert!(said.first().unwrap().ends_with(found["generations"][to - 1]["id"].as_str().unwrap()));
    }
}

/// What it said about the newest generation.
#[track_caller]
fn told(ran: Ran) -> String {
    let line = ran.stderr.lines().find(|line| line.contains("encrypts, its id is")).unwrap().to_owned();
    ran.ok();
    line
}

#[test]
fn a_retired_key_is_gone_and_its_place_stays_taken() {
    let bulla = with_ring();
    key(&bulla, "retire db.ring 1").fails(2, &["rotate first", "[usage.invalid]"]);
    key(&bulla, "rotate db.ring").ok();
    let before = files(&bulla);
    key(&bulla, "retire db.ring 2").fails(2, &["rotate first", "[usage.invalid]"]);
    key(&bulla, "retire db.ring 3").fails(2, &["3", "[ring.unknown_key]"]);
    key(&bulla, "retire db.ring 0").fails(2, &["[ring.unknown_key]"]);
    assert_eq!(files(&bulla), before);

    let known = ids(&bulla, "db.ring");
    let ran = key(&bulla, "retire db.ring 1");
    assert!(ran.stderr.contains("older copies of the ring still hold the key"), "{}", ran.stderr);
    ran.ok();
    assert_eq!(ids(&bulla, "db.ring"), known);
    let found = shown(&bulla, "db.ring");
    assert_eq!(found["generations"][0]["state"], "retired");
    assert_eq!((&found["generations"][1]["state"], &found["epoch"]), (&json!("active"), &json!(3)));
    assert!(key(&bulla, "show db.ring").text().contains(&format!("{} retired", known[0])));
    for id in ["1", &known[0]] {
        let line = format!("{ON} exec --key db.ring:{id} -- cat {{key}}");
        assert!(bulla.run(&line).fails(10, &["[ring.retired_key]"]).stdout.is_empty());
    }
    assert_eq!(bytes(&bulla, "db.ring").len(), 32);

    let before = files(&bulla);
    let ran = key(&bulla, "retire db.ring 1");
    assert!(ran.stderr.contains("retired already: nothing was changed"), "{}", ran.stderr);
    ran.ok();
    assert!(key(&bulla, "rotate db.ring --to 1").stderr.contains("already"));
    assert_eq!(files(&bulla), before);
}

/// R84: the copy from before opens and still has the retired key, until it is pruned.
#[test]
fn r84_earlier_copies_are_pruned() {
    let kept = ".db.ring.bulla-1";
    let bulla = with_ring();
    key(&bulla, "rotate db.ring").ok();
    let retired = bytes(&bulla, "db.ring:1");
    key(&bulla, "retire db.ring 1").ok();
    let earlier = format!("exec --name db --key {kept}:1 -- cat {{key}}");
    assert_eq!(bulla.run(&format!("{ON} {earlier}")).ok(), retired);
    // Said again it is only the pruning that is left to do.
    let before = bulla.read("db.ring");
    let ran = key(&bulla, "retire db.ring 1 --prune");
    assert!(
        ran.stderr.contains("nothing was changed") && ran.stderr.contains("erases nothing"),
        "{}",
        ran.stderr
    );
    ran.ok();
    assert_eq!(bulla.read("db.ring"), before);
    assert!(!bulla.path(kept).exists());

    key(&bulla, "rotate db.ring").ok();
    assert!(bulla.path(kept).exists());
    key(&bulla, "rotate db.ring --prune").ok();
    assert!(!bulla.path(kept).exists());
    assert_eq!(ids(&bulla, "db.ring").len(), 4);
    // R95: what shows that there was a ring is left, and nothing is pruned where that failed.
    key(&bulla, "retire db.ring 9 --prune").fails(2, &["[ring.unknown_key]"]);
    fs::remove_file(bulla.path("db.ring")).unwrap();
    key(&bulla, "ensure db.ring --data none").fails(10, &["[seal.missing]"]);
}

/// R90: which ring it is says the command line and the file's name, and never the file.
#[test]
fn r90_a_ring_is_of_one_name_and_role() {
    let bulla = Bulla::with_host();
    key(&bulla, "new orders.ring").ok();
    key(&bulla, "new payroll.ring").ok();
    key(&bulla, "new log.ring --name orders --role log").ok();
    let payroll = bulla.read("payroll.ring");
    fs::rename(bulla.path("orders.ring"), bulla.path("payroll.ring")).unwrap();
    for line in [
        "key show payroll.ring",
        "key rotate payroll.ring",
        "key retire payroll.ring 1",
        "key ensure payroll.ring --data none",
        "key show payroll.ring --name orders --role log",
        "key show log.ring",
        "key show log.ring --name orders",
        "exec --key payroll.ring -- touch {key} ran",
        "exec --key payroll.ring --name orders --role log -- touch {key} ran",
    ] {
        bulla.run(&format!("{ON} {line}")).fails(10, &["[envelope.other_context]"]);
    }
    assert!(!bulla.path("ran").exists());
    assert_eq!(shown(&bulla, "payroll.ring --name orders")["name"], "orders");
    assert_eq!(shown(&bulla, "log.ring --name orders --role log")["role"], "log");
    bulla.write("payroll.ring", payroll);
    assert_eq!(shown(&bulla, "payroll.ring")["name"], "payroll");
}

#[test]
fn a_ring_is_made_sure_of() {
    let bulla = Bulla::with_host();
    bulla.write("empty", "");
    fs::create_dir(bulla.path("data")).unwrap();
    let ensure = "ensure db.ring --data data --data missing --data empty";
    let made = told(key(&bulla, ensure));
    let ring = bulla.read("db.ring");
    // From now on there is data, and the ring as well.
    bulla.write("data/table", "rows");
    assert_eq!(told(key(&bulla, ensure)), made);
    assert_eq!(bulla.read("db.ring"), ring);
    key(&bulla, "rotate db.ring").ok();
    assert!(told(key(&bulla, ensure)).contains("generation 2"));
}

/// R72, R95: of several that start at once one makes the ring.
#[test]
fn r95_made_sure_of_at_once_it_is_made_once() {
    let bulla = Bulla::with_host();
    let said: BTreeSet<_> = thread::scope(|scope| {
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(|| key(&bulla, "ensure db.ring --data table"))).collect();
        runs.into_iter().map(|run| told(run.join().unwrap())).collect()
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(ids(&bulla, "db.ring").len(), 1);
}

/// R95, B39: where there are data or traces, no key is made, and nothing is written.
#[test]
fn r95_no_new_key_where_there_was_one() {
    let (ring, kept, lock) = ("db.ring", ".db.ring.bulla-1", ".db.ring.bulla-lock");
    for (trace, data, removed) in [
        ("table", "file", &[ring, kept, lock][..]),
        ("table", "folder", &[ring, kept, lock]),
        ("table", "link", &[ring, kept, lock]),
        (lock, "none", &[ring, kept]),
        (kept, "none", &[ring, lock]),
        (kept, "file", &[ring]),
    ] {
        let bulla = with_ring();
        key(&bulla, "rotate db.ring").ok();
        removed.iter().for_each(|name| fs::remove_file(bulla.path(name)).unwrap());
        match data {
            "file" => bulla.write("table", "rows"),
            "folder" => fs::create_dir_all(bulla.path("table/rows")).unwrap(),
            "link" => std::os::unix::fs::symlink("unmounted", bulla.path("table")).unwrap(),
            _ => {}
        }
        let before = files(&bulla);
        let ensured = key(&bulla, "ensure db.ring --data none --data table --recovery key.pub");
        ensured.fails(10, &["db.ring", trace, "[seal.missing]"]);
        assert_eq!(files(&bulla), before, "{trace}, {data}");
        if trace != "table" {
            for line in ["new db.ring", "show db.ring", "rotate db.ring", "retire db.ring 1"] {
                key(&bulla, line).fails(10, &["db.ring", "[seal.missing]"]);
                assert_eq!(files(&bulla), before, "{trace}, {data}: {line}");
            }
        }
    }
}

/// B39: a ring that is there and does not open is not replaced, whatever the reason.
#[test]
fn b39_a_ring_that_does_not_open_stays() {
    let bulla = with_ring();
    bulla.run("sim new other").ok();
    let ring = bulla.read("db.ring");
    let ensure = |bulla: &Bulla, machine: &str| {
        bulla.run(&format!("--machine sim:{machine} key ensure db.ring --data none"))
    };
    ensure(&bulla, "other").fails(10, &["[machine.other_machine]"]);
    assert_eq!(bulla.read("db.ring"), ring);
    for at in (0..ring.len()).step_by(97) {
        let damaged = flipped(&ring, at, at as u32 % 8);
        bulla.write("db.ring", &damaged);
        ensure(&bulla, "host").fails(11, &[]);
        assert_eq!(bulla.read("db.ring"), damaged, "byte {at}");
    }
    for cut in [0, 1, ring.len() / 2, ring.len() - 1] {
        bulla.write("db.ring", &ring[..cut]);
        ensure(&bulla, "host").fails(11, &[]);
        assert_eq!(bulla.read("db.ring").len(), cut);
    }
    fs::remove_file(bulla.path("db.ring")).unwrap();
    fs::create_dir(bulla.path("db.ring")).unwrap();
    ensure(&bulla, "host").fails(10, &["[file.unsafe]"]);
    assert!(bulla.names("db.ring").is_empty());
    fs::remove_dir(bulla.path("db.ring")).unwrap();
    bulla.write("db.ring", &ring);
    let copy = rebuilt(&bulla);
    let bulla = bulla.with_program(copy);
    ensure(&bulla, "host").fails(10, &["MRENCLAVE", "[machine.other_identity]"]);
    assert_eq!(bulla.read("db.ring"), ring);
}

/// R87: the machine is gone and says why it does not open; the recovery key still does.
#[test]
fn r87_a_recovery_key_opens_a_ring() {
    let bulla = with_ring();
    key(&bulla, "rotate db.ring").ok();
    let (known, secret) = (ids(&bulla, "db.ring"), bytes(&bulla, "db.ring"));
    for lost in [false, true] {
        if lost {
            bulla.run("sim platform-reset host").ok();
            let hints = ["before this one got new keys", "by another slot", "[machine.other_machine]"];
            key(&bulla, "show db.ring").fails(10, &hints);
        }
        let found = bulla.run("key show --json db.ring --key key").json();
        let found: Vec<_> = found["generations"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
        assert_eq!(found, known.iter().collect::<Vec<_>>());
    }
    // Reading takes the key alone; changing takes a machine, which the recovered ring is handed to.
    bulla.run("key rotate db.ring --key key").fails(10, &["[slot.not_carried]"]);
    bulla.run(&format!("{ON} rewrap --key key --context ring/db/data --add-machine --drop 0 db.ring")).ok();
    assert_eq!(bytes(&bulla, "db.ring"), secret);
    // The machine cannot know who wrote it, and carries over only the recipients that are expected.
    key(&bulla, "rotate db.ring").fails(10, &["[envelope.no_origin]"]);
    key(&bulla, "rotate db.ring --expect key.pub").ok();
    assert_eq!(ids(&bulla, "db.ring")[..2], known);
    assert_eq!(bytes(&bulla, "db.ring:2"), secret);
    bulla.run("key show db.ring --key key").ok();
}

/// R97: nothing that is printed, whatever is asked for, has a byte of a key in it.
#[test]
fn r97_no_output_has_a_key() {
    let bulla = with_ring();
    let mut said = Vec::new();
    for line in [
        "key new other.ring",
        "key rotate db.ring",
        "key rotate db.ring --to 2",
        "key rotate db.ring --to 9",
        "key rotate db.ring",
        "key show db.ring",
        "key show --json db.ring",
        "key show db.ring --name other",
        "key ensure db.ring --data none",
        "inspect db.ring",
        "inspect --json db.ring",
        "exec --key db.ring:9 -- cat {key}",
        "exec --key db.ring:1 --key db.ring:3=base64 -- cat {key:1} {key:7}",
        "exec --key db.ring:2=hex -- /no/such/program {key}",
    ] {
        let mut command = bulla.command(&format!("{ON} {line}"));
        let ran = Ran::of(command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full"), b"");
        said.extend_from_slice(&ran.stdout);
        said.extend_from_slice(ran.stderr.as_bytes());
    }
    let secrets: Vec<_> = (1..4).map(|generation| bytes(&bulla, &format!("db.ring:{generation}"))).collect();
    let ran = key(&bulla, "retire db.ring 1");
    said.extend_from_slice(ran.stderr.as_bytes());
    assert!(said.len() > 2000 && secrets.iter().all(|secret| secret.len() == 32));
    for secret in secrets {
        // Half of a key would be enough.
        for half in secret.chunks_exact(15) {
            let hex = hex::encode(half);
            let forms = [half.to_vec(), STANDARD.encode(half).into(), hex.to_uppercase().into(), hex.into()];
            assert!(forms.iter().all(|form| places(&said, form).is_empty()));
        }
    }
}
