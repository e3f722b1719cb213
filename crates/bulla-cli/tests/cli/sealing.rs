//! `seal` and `unseal` as filters and with files.

use crate::support::{Bulla, mode};

const CHUNK: usize = 64 * 1024;

/// Each run is a process of its own.
#[test]
fn one_process_opens_what_another_sealed() {
    let bulla = Bulla::with_host();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7] {
        let secret: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        assert!(bulla.unseal(&bulla.seal(&secret)).ok() == secret, "{length} bytes");
    }
}

#[test]
fn files_and_streams_are_the_same() {
    let bulla = Bulla::with_host();
    bulla.write("wallet", "a secret");
    let seal = "--machine sim:host seal --context wallet";
    let unseal = "--machine sim:host unseal --context wallet";

    bulla.run(&format!("{seal} -o sealed wallet")).ok();
    assert_eq!(bulla.run(&format!("{unseal} sealed")).ok(), b"a secret");
    bulla.write("sealed", bulla.run_with(&format!("{seal} -"), b"from a stream").ok());
    bulla.run(&format!("{unseal} --output opened sealed")).ok();
    assert_eq!(bulla.text("opened"), "from a stream");
    let sealed = bulla.run_with(&format!("{seal} -o - -"), b"both").ok();
    assert_eq!(bulla.run_with(&format!("{unseal} -o - -"), &sealed).ok(), b"both");
    assert_ne!(bulla.seal(b"twice"), bulla.seal(b"twice"));
}

/// R15, R88: what holds only here is said when it is sealed, on the side.
#[test]
fn sealing_warns_that_there_is_no_other_way_to_the_data() {
    let bulla = Bulla::with_host();
    let ran = bulla.run_with("--machine sim:host seal --context wallet", b"x");
    assert!(ran.stderr.contains("this machine only"), "{}", ran.stderr);
    assert!(bulla.unseal(&ran.ok()).stderr.is_empty());
}

/// R67, R70: a file is replaced whole, and is its owner's alone.
#[test]
fn an_output_file_is_replaced() {
    let bulla = Bulla::with_host();
    bulla.write("out", "what was there before, and longer than what comes");
    bulla.run_with("--machine sim:host seal --context wallet -o out", b"new").ok();
    assert_eq!(mode(&bulla.path("out")), 0o600);
    bulla.write("sealed", bulla.read("out"));
    bulla.run("--machine sim:host unseal --context wallet -o out sealed").ok();
    assert_eq!(bulla.text("out"), "new");
    assert_eq!(mode(&bulla.path("out")), 0o600);
    assert_eq!(bulla.names("."), ["host", "out", "sealed"]);
}

/// R67: whatever fails, and however late, leaves what was there and nothing beside it.
#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let bulla = Bulla::with_host();
    bulla.run("sim new other").ok();
    let sealed = bulla.seal(&vec![7; 3 * CHUNK]);
    bulla.write("sealed", &sealed);
    bulla.write("cut", &sealed[..sealed.len() - 1]);
    bulla.write("old", "old");
    std::fs::create_dir(bulla.path("folder")).unwrap();
    let names = bulla.names(".");
    for output in ["old", "new"] {
        for (line, code) in [
            ("--machine sim:host unseal --context wallet cut", 11),
            ("--machine sim:host unseal --context other sealed", 10),
            ("--machine sim:other unseal --context wallet sealed", 10),
            ("--machine sim:host unseal --context wallet missing", 1),
            ("--machine sim:host unseal --context wallet folder", 1),
            // The header is written by then.
            ("--machine sim:host seal --context wallet folder", 1),
            ("--machine sim:missing seal --context wallet sealed", 13),
            ("seal --context wallet sealed", 2),
        ] {
            bulla.run(&format!("{line} -o {output}")).fails(code, &[]);
            assert_eq!(bulla.text("old"), "old", "{line}");
            assert_eq!(bulla.names("."), names, "{line}");
        }
    }
}

#[test]
fn only_files_are_replaced() {
    let bulla = Bulla::with_host();
    std::fs::create_dir(bulla.path("folder")).unwrap();
    std::os::unix::fs::symlink("target", bulla.path("link")).unwrap();
    for output in ["folder", "link", "/dev/null"] {
        let line = format!("--machine sim:host seal --context wallet -o {output}");
        bulla.run_with(&line, b"x").fails(2, &[output, "not a regular file"]);
    }
    bulla.run_with("--machine sim:host seal --context wallet -o no/such/folder", b"x").fails(1, &["no/such"]);
    assert_eq!(bulla.names("."), ["folder", "host", "link"]);
}

/// R63.
#[test]
fn a_context_is_needed_and_bounded() {
    let bulla = Bulla::with_host();
    bulla.run_with("--machine sim:host seal", b"x").fails(2, &["--context"]);
    for context in [String::new(), "x".repeat(1025)] {
        let mut command = bulla.command("--machine sim:host seal --context");
        crate::support::Ran::of(command.arg(&context), b"x").fails(2, &["between 1 and 1024 bytes"]);
    }
    for context in ["x".repeat(1024), "naïve ✓\u{1b}[31m".into()] {
        let seal = &mut bulla.command("--machine sim:host seal --context");
        let sealed = crate::support::Ran::of(seal.arg(&context), b"x").ok();
        let unseal = &mut bulla.command("--machine sim:host unseal --context");
        assert_eq!(crate::support::Ran::of(unseal.arg(&context), &sealed).ok(), b"x");
    }
}

/// R7, R14: what is bound to too little is not sealed, and the policy decides what opens.
#[test]
fn policies_are_said_and_checked() {
    let bulla = Bulla::with_host();
    let seal = |policy: &str| {
        bulla.run_with(&format!("--machine sim:host seal --context wallet --policy {policy}"), b"secret")
    };
    for (policy, code, words) in [
        ("registers:CONFIGID", 2, "[policy.under_bound]"),
        ("signer:product=1,svn=1", 2, "[policy.under_bound]"),
        ("signer:product=1,svn=1,label=", 2, "[policy.under_bound]"),
        ("signer:product=2,svn=1,label=a", 10, "ISVPRODID"),
        ("signer:product=1,svn=9,label=a", 10, "ISVSVN"),
        ("everything", 2, "a policy is"),
    ] {
        assert!(seal(policy).fails(code, &[words]).stdout.is_empty(), "{policy}");
    }
    let measurement = seal("measurement").ok();
    let signer = seal("signer:product=1,svn=1,label=a").ok();
    let both = seal("registers:MRENCLAVE+MRSIGNER,product=1,svn=1,label=a").ok();
    bulla.set("host/enclave.toml", "svn", "2");
    for sealed in [&measurement, &signer, &both] {
        assert_eq!(bulla.unseal(sealed).ok(), b"secret");
    }
    bulla.set("host/enclave.toml", "measurement", &format!("\"{}\"", "ab".repeat(32)));
    assert_eq!(bulla.unseal(&signer).ok(), b"secret");
    for sealed in [&measurement, &both] {
        bulla.unseal(sealed).fails(10, &["MRENCLAVE"]);
    }
}

#[test]
fn labels_and_epoch_stand_beside_the_secret() {
    let bulla = Bulla::with_host();
    let line =
        "--machine sim:host seal --context wallet --label app=shop --label key=a=b --epoch 9 -o sealed";
    bulla.run_with(line, b"secret").ok();
    let found = bulla.run("inspect --json sealed").json();
    assert_eq!((&found["labels"]["app"], &found["labels"]["key"]), (&"shop".into(), &"a=b".into()));
    assert_eq!(found["epoch"], 9);
    let text = bulla.run("inspect sealed").text();
    for words in ["label          app=shop", "label          key=a=b", "epoch          9"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let many: String = (0..33).map(|index| format!(" --label l{index}=x")).collect();
    bulla
        .run_with(&format!("--machine sim:host seal --context wallet {many}"), b"x")
        .fails(2, &["at most 32 labels"]);
}

/// R69: the written file is opened before it takes its place.
#[test]
fn sealing_can_be_verified() {
    let bulla = Bulla::with_host();
    let seal = "--machine sim:host seal --context wallet --verify";
    bulla.run_with(&format!("{seal} -o sealed --threads 1"), &vec![7; 3 * CHUNK]).ok();
    assert_eq!(bulla.unseal(&bulla.read("sealed")).ok(), vec![7; 3 * CHUNK]);
    bulla.run_with(seal, b"x").fails(2, &["--output"]);
    bulla.run_with(&format!("{seal} -o -"), b"x").fails(2, &["read back"]);
}

/// A part of a file, with the rest unread; damage elsewhere is not seen, and damage in the part or at the end is.
#[test]
fn a_range_is_opened_without_the_rest() {
    let bulla = Bulla::with_host();
    let secret: Vec<u8> = (0..4 * CHUNK + 10).map(|i| (i % 251) as u8).collect();
    let sealed = bulla.seal(&secret);
    bulla.write("sealed", &sealed);
    let range = |range: &str, file: &str| {
        bulla.run(&format!("--machine sim:host unseal --context wallet --range {range} {file}"))
    };
    let end = secret.len();
    for (offset, length) in
        [(0, 0), (0, 10), (CHUNK - 5, 10), (2 * CHUNK, CHUNK), (end - 3, 3), (end, 0), (0, end)]
    {
        let part = range(&format!("{offset}:{length}"), "sealed").ok();
        assert!(part == secret[offset..offset + length], "{offset}:{length}");
    }
    for beyond in [format!("{end}:1"), format!("0:{}", end + 1), format!("1:{}", u64::MAX)] {
        range(&beyond, "sealed").fails(2, &[&format!("{end} bytes")]);
    }
    range("0:1", "-").fails(2, &["needs a file"]);
    let payload = sealed.len() - (4 * (CHUNK + 16) + 10 + 16);
    let damaged = |at: usize| {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        bulla.write("damaged", damaged);
        range(&format!("{}:10", 2 * CHUNK), "damaged")
    };
    damaged(payload + 5).ok();
    damaged(payload + 2 * (CHUNK + 16) + 5).fails(11, &["[envelope.payload_changed]"]);
    damaged(sealed.len() - 1).fails(11, &["[envelope.payload_changed]"]);
}
