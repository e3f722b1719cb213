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
