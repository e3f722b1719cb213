//! Plans, and whether it comes as they say: every prediction of `bulla plan` is carried out, on a copy of the machine, and the
//! envelope opened by `bulla unseal` (R88).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use bulla_crypto::sha256;
use serde_json::Value;

use crate::support::{Bulla, Ran, rebuilt};

const ON: &str = "--machine sim:host";
const ENCLAVE: &str = "host/enclave.toml";

/// The machine `host`, with a program of version 2, and envelopes of every kind for the context `wallet`:
///
/// | file | for |
/// |---|---|
/// | `plain` | exactly this program |
/// | `signer` | its signer, from version 1 on |
/// | `newest` | its signer, from version 2 on |
/// | `both` | this program and its signer |
/// | `epoch` | this program, in epoch 5 |
/// | `recovery` | this program, and a private key besides |
/// | `keys` | a private key alone |
/// | `before` | this program, sealed before an update of the microcode |
/// | `ahead` | this program, sealed with microcode that is newer than the present |
/// | `foreign` | this program on the machine `other` |
/// | `twice` | this program, on `host` and on `other` |
fn site() -> Bulla {
    let bulla = Bulla::with_host();
    bulla.run("sim new other").ok();
    for machine in ["host", "other"] {
        bulla.set(&format!("{machine}/enclave.toml"), "svn", "2");
    }
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    seal(&bulla, "host", "before", "");
    bulla.run("sim microcode host up").ok();
    seal(&bulla, "host", "plain", "");
    seal(&bulla, "host", "signer", "--policy signer:product=1,svn=1,label=acme");
    seal(&bulla, "host", "newest", "--policy signer:product=1,svn=2,label=acme");
    seal(&bulla, "host", "both", "--policy registers:MRENCLAVE+MRSIGNER,product=1,svn=2,label=acme");
    seal(&bulla, "host", "epoch", "--epoch 5");
    seal(&bulla, "host", "recovery", "--recovery key.pub");
    seal(&bulla, "host", "keys", "--no-machine --recovery key.pub");
    bulla.run("sim microcode host up").ok();
    seal(&bulla, "host", "ahead", "");
    bulla.run("sim microcode host down").ok();
    seal(&bulla, "other", "foreign", "");
    bulla.write("twice", bulla.read("recovery"));
    let also = "rewrap --key key --context wallet --add-machine twice";
    bulla.run(&format!("--machine sim:other {also}")).ok();
    bulla.run(&format!("{ON} rewrap --drop 1 twice")).ok();
    bulla
}

const FILES: [&str; 11] =
    ["plain", "signer", "newest", "both", "epoch", "recovery", "keys", "before", "ahead", "foreign", "twice"];

fn seal(bulla: &Bulla, machine: &str, name: &str, options: &str) {
    let machine =
        if options.contains("--no-machine") { String::new() } else { format!("--machine sim:{machine}") };
    let line = format!("{machine} seal --context wallet -o {name} {options}");
    bulla.run_with(&line, name.as_bytes()).ok();
}

/// A change, and what is to be expected of files after it: of those that are not named, what stands for `*`.
struct Planned<'a> {
    change: &'a str,
    code: i32,
    wanted: &'a [(&'a str, &'a str)],
}

/// How a change was carried out: where, with which options, and whether that is the way it goes well where it may.
struct CarriedOut<'a> {
    machine: &'a str,
    program: Option<PathBuf>,
    options: &'a str,
    well: bool,
}

impl<'a> CarriedOut<'a> {
    fn on(machine: &'a str) -> Self {
        Self { machine, program: None, options: "", well: true }
    }
}

/// What a plan said: a verdict and a field for each file.
type Said = BTreeMap<String, String>;

fn plan(bulla: &Bulla, machine: &str, change: &str, files: &[&str]) -> (i32, Vec<Value>) {
    let line = format!("--machine {machine} plan --json --after {change} {}", files.join(" "));
    let ran = bulla.run(&line);
    let rows = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{change}: {}", ran.stderr));
    (ran.code, rows)
}

fn said(rows: &[Value]) -> Said {
    let word = |row: &Value| match row["field"].as_str() {
        None => row["opens"].as_str().unwrap().to_owned(),
        Some(field) => format!("{}: {field}", row["opens"].as_str().unwrap()),
    };
    rows.iter().map(|row| (row["file"].as_str().unwrap().to_owned(), word(row))).collect()
}

/// Compares what is said with what is wanted.
#[track_caller]
fn predicted(bulla: &Bulla, planned: &Planned<'_>, files: &[&str]) -> Said {
    let (code, rows) = plan(bulla, "sim:host", planned.change, files);
    let said = said(&rows);
    let wanted = |file: &str| {
        let find = |name| planned.wanted.iter().find(|(other, _)| *other == name);
        find(file).or_else(|| find("*")).unwrap().1
    };
    for file in files {
        assert_eq!(said[*file], wanted(file), "{file} after {}", planned.change);
    }
    assert_eq!(code, planned.code, "{}", planned.change);
    for row in &rows {
        let opens = row["opens"] == "yes";
        assert_eq!((row["field"].is_null(), row["remedy"].is_null()), (opens, opens), "{row}");
        assert!(!row["reason"].as_str().unwrap().is_empty());
    }
    said
}

/// Opens every file where the change has been made, and compares it with what was said. The number of files.
fn came_true(bulla: &Bulla, change: &str, said: &Said, carried_out: &CarriedOut<'_>) -> usize {
    for (file, said) in said {
        let unseal = |options: &str| {
            let CarriedOut { machine, options: all, .. } = carried_out;
            let line = format!("unseal --context wallet {options} {all} {file}");
            let mut command = Command::new(carried_out.program.as_deref().unwrap_or(bulla.program()));
            command.args(["--machine", &format!("sim:{machine}")]).args(line.split_whitespace());
            Ran::of(command.current_dir(bulla.path(".")).env_remove("BULLA_MACHINE"), b"")
        };
        let place = format!("{file} after {change}: {said}");
        let opens = |ran: Ran| {
            assert_eq!(ran.code, 0, "{place}: {}", ran.stderr);
            let secret = if file == "twice" { "recovery" } else { file };
            assert_eq!(ran.stdout, secret.as_bytes(), "{place}");
        };
        let refused = |ran: Ran, field: &str| {
            let (code, words) = match field {
                "CPUSVN" | "ISVSVN" | "epoch" => (12, field),
                "machine keys" => (10, "[machine.other_machine]"),
                _ => (10, field),
            };
            assert_eq!((ran.code, ran.stdout.as_slice()), (code, &b""[..]), "{place}: {}", ran.stderr);
            assert!(ran.stderr.contains(words), "{place}: {}", ran.stderr);
        };
        match said.split_once(": ") {
            None if file == "keys" => opens(unseal("--key key")),
            None => opens(unseal("")),
            Some(("by private keys only", "epoch")) => panic!("{place}: an epoch is of the whole envelope"),
            Some(("by private keys only", field)) => {
                refused(unseal(""), field);
                opens(unseal("--key key"));
            }
            Some(("maybe not", _)) if carried_out.well => opens(unseal("")),
            Some(("maybe not", field)) => refused(unseal(""), field),
            Some(("no", "epoch")) => refused(unseal("--key key"), "epoch"),
            Some(("no", field)) => refused(unseal(""), field),
            _ => panic!("{place}"),
        }
    }
    said.len()
}

/// A copy of the machine `host`, which is the same machine.
fn copy(bulla: &Bulla, name: &str) {
    let copied = Command::new("cp").arg("-r").args([bulla.path("host"), bulla.path(name)]).status().unwrap();
    assert!(copied.success());
}

/// A SIGSTRUCT of a build: zeros but for what an identity is read from (Intel SDM vol. 3D, SIGSTRUCT).
struct Build {
    mrenclave: [u8; 32],
    modulus: [u8; 384],
    product: u16,
    svn: u16,
    /// Flags of ATTRIBUTES and of its mask.
    flags: (u64, u64),
}

impl Build {
    fn sigstruct(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1808];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &[6, 0, 0, 0, 0xE1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
        put(128, &self.modulus);
        put(928, &self.flags.0.to_le_bytes());
        put(944, &self.flags.1.to_le_bytes());
        put(960, &self.mrenclave);
        put(1024, &self.product.to_le_bytes());
        put(1026, &self.svn.to_le_bytes());
        bytes
    }

    /// Writes its SIGSTRUCT, and a copy of the machine on which it runs.
    fn carry_out(&self, bulla: &Bulla, name: &str) {
        bulla.write(&format!("{name}.sig"), self.sigstruct());
        copy(bulla, name);
        let file = format!("{name}/enclave.toml");
        bulla.set(&file, "measurement", &format!("\"{}\"", hex::encode(self.mrenclave)));
        bulla.set(&file, "signer", &format!("\"{}\"", hex::encode(sha256(&[&self.modulus]))));
        bulla.set(&file, "product", &self.product.to_string());
        bulla.set(&file, "svn", &self.svn.to_string());
        if self.flags.0 & 2 != 0 {
            bulla.set(&file, "debug", "true");
        }
    }
}

/// The measurement of the command itself.
fn own(bulla: &Bulla) -> [u8; 32] {
    sha256(&[&fs::read(bulla.program()).unwrap()])
}

/// What is said of the two that do not open at present, where the change has nothing to do with the reason.
const AHEAD: (&str, &str) = ("ahead", "no: CPUSVN");
const FOREIGN: (&str, &str) = ("foreign", "no: machine keys");

/// R88: microcode, firmware and machines.
#[test]
fn r88_changes_of_the_machine_come_as_predicted() {
    let bulla = site();
    let mut pairs = 0;

    let up = Planned {
        change: "microcode-up",
        code: 10,
        wanted: &[("*", "yes"), FOREIGN, ("ahead", "maybe not: CPUSVN")],
    };
    let expected = predicted(&bulla, &up, &FILES);
    copy(&bulla, "up");
    bulla.run("sim microcode up up").ok();
    pairs += came_true(&bulla, up.change, &expected, &CarriedOut::on("up"));

    let down = Planned {
        change: "microcode-down",
        code: 10,
        wanted: &[
            ("*", "no: CPUSVN"),
            ("recovery", "by private keys only: CPUSVN"),
            ("keys", "yes"),
            ("before", "maybe not: CPUSVN"),
            FOREIGN,
        ],
    };
    let expected = predicted(&bulla, &down, &FILES);
    copy(&bulla, "down");
    for well in [true, false] {
        bulla.run("sim microcode down down").ok();
        pairs += came_true(&bulla, down.change, &expected, &CarriedOut { well, ..CarriedOut::on("down") });
    }

    let firmware = Planned {
        change: "firmware-update",
        code: 10,
        wanted: &[
            ("*", "maybe not: machine keys"),
            ("recovery", "by private keys only: machine keys"),
            ("keys", "yes"),
            AHEAD,
            FOREIGN,
        ],
    };
    let expected = predicted(&bulla, &firmware, &FILES);
    copy(&bulla, "reset");
    bulla.run("sim platform-reset reset").ok();
    // Of the two reasons for which this one does not open then, the other one comes first.
    let mut wiped = expected.clone();
    wiped.insert("ahead".into(), "no: machine keys".into());
    pairs +=
        came_true(&bulla, firmware.change, &wiped, &CarriedOut { well: false, ..CarriedOut::on("reset") });
    let mut kept = expected;
    kept.remove("recovery"); // its machine opens it as well then
    pairs += came_true(&bulla, firmware.change, &kept, &CarriedOut::on("host"));

    let host = Planned {
        change: "host=other",
        code: 10,
        wanted: &[
            ("*", "no: machine keys"),
            ("recovery", "by private keys only: machine keys"),
            ("keys", "yes"),
            ("foreign", "maybe not: machine"),
            ("twice", "maybe not: machine"),
        ],
    };
    let expected = predicted(&bulla, &host, &FILES);
    pairs += came_true(&bulla, host.change, &expected, &CarriedOut::on("other"));
    let _ =
        writeln!(io::stderr(), "{pairs} pairs of an envelope and a change of the machine came as predicted");
    assert!(pairs >= 64, "{pairs}");
}

/// R88: other programs, of this signer and of others.
#[test]
fn r88_changes_of_the_program_come_as_predicted() {
    let bulla = site();
    let mut pairs = 0;
    let signer = bulla.value(ENCLAVE, "signer").trim_matches('"').to_owned();
    let keys = [("keys", "yes"), ("recovery", "by private keys only: MRENCLAVE")];

    // The executable itself, with one byte more.
    let next = rebuilt(&bulla);
    let planned = Planned {
        change: "rebuild=rebuilt",
        code: 10,
        wanted: &[&keys[..], &[("*", "no: MRENCLAVE"), ("signer", "yes"), ("newest", "yes")]].concat(),
    };
    let expected = predicted(&bulla, &planned, &FILES);
    let carried_out = CarriedOut { program: Some(next), ..CarriedOut::on("host") };
    pairs += came_true(&bulla, planned.change, &expected, &carried_out);

    // The executable as it is.
    fs::copy(bulla.program(), bulla.path("same")).unwrap();
    let planned = Planned { change: "rebuild=same", code: 10, wanted: &[("*", "yes"), AHEAD, FOREIGN] };
    let expected = predicted(&bulla, &planned, &FILES);
    pairs += came_true(&bulla, planned.change, &expected, &CarriedOut::on("host"));

    // Another signer of the same program.
    let others = "ab".repeat(32);
    let change = format!("signer={others}");
    let planned = Planned {
        change: &change,
        code: 10,
        wanted: &[
            ("*", "yes"),
            ("signer", "no: MRSIGNER"),
            ("newest", "no: MRSIGNER"),
            ("both", "no: MRSIGNER"),
            FOREIGN,
            AHEAD,
        ],
    };
    let expected = predicted(&bulla, &planned, &FILES);
    copy(&bulla, "resigned");
    bulla.set("resigned/enclave.toml", "signer", &format!("\"{others}\""));
    pairs += came_true(&bulla, planned.change, &expected, &CarriedOut::on("resigned"));
    let same = plan(&bulla, "sim:host", &format!("signer={signer}"), &["signer", "both", "plain"]);
    assert_eq!(same.0, 0);

    let _ = writeln!(io::stderr(), "{pairs} pairs of an envelope and another program came as predicted");
    assert!(pairs >= 33, "{pairs}");
}

/// R88: builds as their signatures describe them.
#[test]
fn r88_changes_by_sigstruct_come_as_predicted() {
    let bulla = site();
    let mut pairs = 0;
    let modulus = [0x5A; 384];
    // The present program is signed by whoever signs the next builds.
    let signer = format!("\"{}\"", hex::encode(sha256(&[&modulus])));
    bulla.set(ENCLAVE, "signer", &signer);
    for (name, policy) in [
        ("signer", "signer:product=1,svn=1,label=acme"),
        ("newest", "signer:product=1,svn=2,label=acme"),
        ("both", "registers:MRENCLAVE+MRSIGNER,product=1,svn=2,label=acme"),
    ] {
        seal(&bulla, "host", name, &format!("--policy {policy}"));
    }
    let next = Build { mrenclave: [7; 32], modulus, product: 1, svn: 3, flags: (0, 0) };
    let same = Build { mrenclave: own(&bulla), svn: 2, ..next };
    let refused = [("*", "no: MRENCLAVE"), ("recovery", "by private keys only: MRENCLAVE"), ("keys", "yes")];
    let with = |special: &[(&'static str, &'static str)]| [special, &refused].concat();
    let opens = [("*", "yes"), AHEAD, FOREIGN];
    let product = [("*", "no: ISVPRODID"), ("recovery", "by private keys only: ISVPRODID"), ("keys", "yes")];
    let debug = [("*", "no: ATTRIBUTES"), ("recovery", "by private keys only: ATTRIBUTES"), ("keys", "yes")];
    let table = [
        ("later", Build { ..next }, with(&[("signer", "yes"), ("newest", "yes")])),
        ("earlier", Build { svn: 1, ..next }, with(&[("signer", "yes"), ("newest", "no: ISVSVN")])),
        ("oldest", Build { svn: 0, ..next }, with(&[("signer", "no: ISVSVN"), ("newest", "no: ISVSVN")])),
        (
            "product",
            Build { product: 2, ..next },
            with(&[("signer", "no: ISVPRODID"), ("newest", "no: ISVPRODID")]),
        ),
        (
            "strange",
            Build { modulus: [0xA5; 384], ..next },
            with(&[("signer", "no: MRSIGNER"), ("newest", "no: MRSIGNER")]),
        ),
        ("same", Build { ..same }, opens.to_vec()),
        ("renamed", Build { product: 9, ..same }, product.to_vec()),
        ("debug", Build { flags: (2, 2), ..same }, debug.to_vec()),
    ];
    for (name, build, wanted) in table {
        build.carry_out(&bulla, name);
        let change = format!("rebuild={name}.sig");
        let expected = predicted(&bulla, &Planned { change: &change, code: 10, wanted: &wanted }, &FILES);
        pairs += came_true(&bulla, &change, &expected, &CarriedOut::on(name));
    }
    // A mask that leaves DEBUG to the loader, who goes on as before; and INIT is no part of a signature.
    let free = Build { flags: (2, !2), ..same };
    bulla.write("free.sig", free.sigstruct());
    assert_eq!(plan(&bulla, "sim:host", "rebuild=free.sig", &["plain", "signer"]).0, 0);
    let _ = writeln!(io::stderr(), "{pairs} pairs of an envelope and a signed build came as predicted");
    assert!(pairs >= 88, "{pairs}");
}

/// R83, R88: floors that are about to rise.
#[test]
fn r88_floors_come_as_predicted() {
    let bulla = site();
    let mut pairs = 0;
    let higher = "no: epoch";
    for (terms, code, wanted) in [
        ("isvsvn=1", 10, &[("*", "yes"), AHEAD, FOREIGN][..]),
        ("isvsvn=2", 10, &[("*", "yes"), ("signer", "no: ISVSVN"), AHEAD, FOREIGN]),
        (
            "isvsvn=3",
            12,
            &[("*", "no: ISVSVN"), ("recovery", "by private keys only: ISVSVN"), ("keys", "yes")],
        ),
        ("epoch=5", 10, &[("*", higher), ("epoch", "yes"), AHEAD, FOREIGN]),
        ("epoch=6", 10, &[("*", higher), AHEAD, FOREIGN]),
        (
            "isvsvn=3,epoch=5",
            12,
            &[("*", "no: ISVSVN"), ("recovery", higher), ("keys", higher), ("twice", "no: ISVSVN")],
        ),
    ] {
        let change = format!("policy={terms}");
        let expected = predicted(&bulla, &Planned { change: &change, code, wanted }, &FILES);
        let floor = terms.replace(['=', ','], "-");
        let options = terms.split(',').map(|term| format!("--{}", term.replace('=', " ")));
        let options = options.collect::<Vec<_>>().join(" ");
        bulla.run(&format!("{ON} floor raise {floor} {options}")).ok();
        let carried_out = CarriedOut { options: &format!("--floor {floor}"), ..CarriedOut::on("host") };
        pairs += came_true(&bulla, &change, &expected, &carried_out);
    }
    let _ = writeln!(io::stderr(), "{pairs} pairs of an envelope and a floor came as predicted");
    assert!(pairs >= 66, "{pairs}");
}

/// What a plan advises helps: afterwards the same plan says yes, or by which keys, and it is so.
#[test]
fn r88_remedies_help() {
    let bulla = site();
    let remedy = |change: &str, file: &str| {
        let (code, rows) = plan(&bulla, "sim:host", change, &[file]);
        (
            code,
            rows[0]["opens"].as_str().unwrap().to_owned(),
            rows[0]["remedy"].as_str().unwrap_or("").to_owned(),
        )
    };
    let (code, opens, advice) = remedy("microcode-down", "plain");
    assert_eq!((code, opens.as_str()), (12, "no"));
    assert!(advice.contains("bulla rewrap --add-recovery"), "{advice}");
    bulla.run(&format!("{ON} rewrap --context wallet --add-recovery key.pub plain")).ok();
    for (change, code) in [("microcode-down", 12), ("host=other", 10), ("firmware-update", 10)] {
        let (found, opens, advice) = remedy(change, "plain");
        assert_eq!((found, opens.as_str()), (code, "by private keys only"), "{change}");
        assert!(advice.contains("private keys at hand"), "{advice}");
    }

    let (code, opens, advice) = remedy("policy=isvsvn=2", "signer");
    assert_eq!((code, opens.as_str()), (12, "no"));
    assert!(advice.contains("bulla rewrap --refresh"), "{advice}");
    bulla.run(&format!("{ON} rewrap --refresh signer")).ok();
    // The policy says from which version on: refreshing keeps it, and a floor above it takes another policy.
    let add = "--add-machine=signer:product=1,svn=2,label=acme";
    bulla.run(&format!("{ON} rewrap --context wallet {add} signer")).ok();
    assert_eq!(remedy("policy=isvsvn=2", "signer").1, "yes");

    let (code, opens, advice) = remedy("policy=epoch=6", "epoch");
    assert_eq!((code, opens.as_str()), (12, "no"));
    assert!(advice.contains("bulla rotate --epoch"), "{advice}");
    bulla.run(&format!("{ON} rotate --epoch 6 epoch")).ok();
    assert_eq!(remedy("policy=epoch=6", "epoch").1, "yes");

    let (_, opens, advice) = remedy("host=other", "foreign");
    assert_eq!(opens, "maybe not");
    assert!(advice.contains("plan there"), "{advice}");
    let (code, rows) = plan(&bulla, "sim:other", "microcode-up", &["foreign"]);
    assert_eq!((code, rows[0]["opens"].as_str()), (0, Some("yes")));

    // The next build proves itself and is let in.
    let next = rebuilt(&bulla);
    let (code, opens, advice) = remedy("rebuild=rebuilt", "both");
    assert_eq!((code, opens.as_str()), (10, "no"));
    assert!(advice.contains("bulla successor request") && advice.contains("admit"), "{advice}");
    let by_next = |line: &str| {
        let mut command = Command::new(&next);
        command.args(line.split_whitespace()).current_dir(bulla.path(".")).env_remove("BULLA_MACHINE");
        Ran::of(&mut command, b"")
    };
    by_next(&format!("{ON} successor request -o request --secret kept")).ok();
    let measurement = hex::encode(sha256(&[&fs::read(&next).unwrap()]));
    let admit =
        format!("successor admit --context wallet --request request --measurement {measurement} both");
    bulla.run(&format!("{ON} {admit}")).ok();
    by_next(&format!("{ON} successor adopt --context wallet --secret kept both")).ok();
    assert_eq!(remedy("rebuild=rebuilt", "both").1, "maybe not", "only the next one knows its own slot");
    let ran = by_next(&format!("{ON} plan --json --after microcode-up both"));
    assert_eq!(ran.json()[0]["opens"], "yes");
    assert_eq!(by_next(&format!("{ON} unseal --context wallet both")).ok(), b"both");
}

/// 0 when all will open, 12 when something would be too old, 10 when something would be refused besides.
#[test]
fn the_exit_code_is_that_of_the_worst() {
    let bulla = site();
    let code = |change: &str, files: &str| {
        let ran = bulla.run(&format!("{ON} plan --after {change} {files}"));
        assert_eq!(ran.stderr.contains("[plan.will_not_open]"), ran.code != 0, "{}", ran.stderr);
        assert!(!ran.stdout.is_empty());
        ran.code
    };
    assert_eq!(code("microcode-up", "plain signer newest both epoch recovery keys before twice"), 0);
    assert_eq!(code("microcode-down", "keys plain"), 12);
    assert_eq!(code("microcode-down", "recovery"), 12);
    assert_eq!(code("microcode-down", "plain foreign"), 10);
    assert_eq!(code("microcode-down", "foreign plain"), 10);
    assert_eq!(code("host=anywhere", "keys"), 0);
    assert_eq!(code("host=anywhere", "keys plain"), 10);
    assert_eq!(code("firmware-update", "plain"), 10);
    assert_eq!(code("policy=isvsvn=2,epoch=0", "plain newest"), 0);
}

#[test]
fn a_plan_is_read_by_people_too_and_changes_nothing() {
    let bulla = site();
    let before: Vec<_> = FILES.iter().map(|file| bulla.read(file)).collect();
    let (names, host) = (bulla.names("."), bulla.text("host/machine.toml"));
    let text = bulla.run(&format!("{ON} plan --after microcode-down plain recovery keys")).stdout;
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(
        lines[0].starts_with("plain: no: CPUSVN: ") && lines[1].starts_with("  open it before"),
        "{text}"
    );
    assert!(lines[2].starts_with("recovery: by private keys only: CPUSVN: "), "{text}");
    assert!(lines[4].starts_with("keys: yes: the private keys of its recipient slot"), "{text}");
    assert_eq!(FILES.iter().map(|file| bulla.read(file)).collect::<Vec<_>>(), before);
    assert_eq!((bulla.names("."), bulla.text("host/machine.toml")), (names, host));
    let dropped = "rewrap --key key --drop 0 --force keys";
    bulla.run(dropped).ok();
    let (code, rows) = plan(&bulla, "sim:host", "microcode-up", &["keys"]);
    assert_eq!((code, rows[0]["opens"].as_str(), rows[0]["slot"].is_null()), (10, Some("no"), true));
}

#[test]
fn what_is_no_plan_is_refused() {
    let bulla = site();
    bulla.write("noise", "noise");
    bulla.write("large.sig", [6; 2000]);
    for (change, code, words) in [
        ("microcode", 2, "unknown change"),
        ("microcode-up=2", 2, "unknown change"),
        ("host", 2, "unknown change"),
        ("host=", 2, "unknown change"),
        ("signer=ab", 2, "64 hexadecimal digits"),
        ("policy=isvsvn", 2, "policy=TERMS"),
        ("policy=isvsvn=70000", 2, "policy=TERMS"),
        ("policy=cpusvn=1", 2, "policy=TERMS"),
        ("rebuild=missing", 1, "missing"),
    ] {
        let ran = bulla.run(&format!("{ON} plan --json --after {change} plain"));
        assert!(ran.fails(code, &[words]).stdout.is_empty(), "{change}");
    }
    let up = format!("{ON} plan --json --after microcode-up");
    assert!(bulla.run(&format!("{up} plain noise")).fails(11, &["noise: "]).stdout.is_empty());
    bulla.run(&format!("{up} missing")).fails(1, &["missing"]);
    bulla.run(&up).fails(2, &["FILE"]);
    bulla.run("plan --after microcode-up plain").fails(2, &["no machine given"]);
}

/// R88: a guest's envelopes, whose key a provider gives.
#[test]
fn r88_changes_of_a_guest_come_as_predicted() {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", "machine = \"sim:host\"\n[listen]\nhttp = \"127.0.0.1:0\"\n");
    let provider = bulla.serve("provider.toml");
    let seal = format!("--machine sim-td:host seal --context wallet -o guests {}", provider.options());
    bulla.run_with(&seal, b"guests").ok();
    bulla.run_with(&format!("{ON} seal --context wallet -o enclaves"), b"enclaves").ok();
    let mut pairs = 0;
    let register = |name: &str| format!("{name} = \"{}\"\n", "5a".repeat(48));
    for (name, description, said, code, words) in [
        ("same", String::new(), "yes", 0, ""),
        ("mrtd", register("mrtd"), "no: MRTD", 10, "MRTD"),
        ("rtmr0", register("rtmr0"), "no: RTMR0", 10, "RTMR0"),
        ("rtmr3", register("rtmr3"), "no: RTMR3", 10, "RTMR3"),
        ("config", register("mrconfigid"), "no: MRCONFIGID", 10, "MRCONFIGID"),
        ("wider", "xfam = \"600e7\"\n".into(), "yes", 0, ""),
        ("debug", "debug = true\n".into(), "maybe not: ATTRIBUTES", 10, "[policy.debug]"),
    ] {
        bulla.write(&format!("{name}.toml"), description);
        let after = format!("--after rebuild={name}.toml {}", provider.options());
        let ran = bulla.run(&format!("--machine sim-td:host plan --json {after} guests"));
        assert_eq!(ran.code, code, "{name}: {}", ran.stderr);
        let rows: Vec<Value> = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!(self::said(&rows)["guests"], said, "{name}");
        let machine = format!("--machine sim-td:host,{name}.toml");
        let ran = bulla.run(&format!("{machine} unseal --context wallet {} guests", provider.options()));
        assert_eq!(ran.code, code, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stdout == if code == 0 { "guests" } else { "" }.as_bytes());
        pairs += 1;
    }
    let plan = |change: &str, files: &str| {
        let line = format!("plan --json --after {change} {} {files}", provider.options());
        let ran = bulla.run(&format!("--machine sim-td:host {line}"));
        (ran.code, said(&serde_json::from_slice::<Vec<Value>>(&ran.stdout).unwrap()))
    };
    // Neither opens the other's.
    assert_eq!(plan("microcode-up", "enclaves"), (10, only("enclaves", "no: machine")));
    assert_eq!(self::plan(&bulla, "sim:host", "microcode-up", &["guests"]).0, 10);
    assert_eq!(plan("microcode-up", "guests"), (0, only("guests", "yes")));
    assert_eq!(plan("microcode-down", "guests"), (12, only("guests", "maybe not: CPUSVN")));
    assert_eq!(plan("firmware-update", "guests"), (10, only("guests", "maybe not: machine keys")));
    assert_eq!(plan("host=other", "guests"), (10, only("guests", "no: machine keys")));
    bulla.run("--machine sim-td:host plan --after microcode-up guests").fails(2, &[]);

    provider.kill();
    bulla.run("sim microcode host up").ok();
    let provider = bulla.serve("provider.toml");
    let unseal = |machine: &str, options: &str| {
        bulla.run(&format!("--machine sim-td:{machine} unseal --context wallet {options} guests"))
    };
    assert_eq!(unseal("host", &provider.options()).ok(), b"guests");
    bulla.run("sim new other").ok();
    bulla.write(
        "other-provider.toml",
        "machine = \"sim:other\"\nstate_dir = \"other-state\"\n[listen]\nhttp = \"127.0.0.1:0\"\n",
    );
    let others = bulla.serve("other-provider.toml");
    unseal("other", &others.options()).fails(10, &["[machine.other_machine]"]);
    pairs += 2;
    let _ = writeln!(io::stderr(), "{pairs} pairs of a guest's envelope and a change came as predicted");
}

fn only(file: &str, said: &str) -> Said {
    Said::from([(file.to_owned(), said.to_owned())])
}
