//! Help, usage errors, completions, man pages and the demo.

use std::process::{Command, Stdio};

use crate::support::Bulla;

#[test]
fn help_tells_the_exit_codes() {
    let bulla = Bulla::new();
    for line in ["help", "--help", "-h"] {
        let help = bulla.run(line).text();
        for words in
            ["Exit codes", "10  refused by identity or policy", "13  machine not available", "BULLA_MACHINE"]
        {
            assert!(help.contains(words), "{words:?} is not in {help}");
        }
    }
    assert!(bulla.run("--version").text().starts_with("bulla "));
}

#[test]
fn usage_errors_exit_with_2() {
    let bulla = Bulla::new();
    for line in [
        "",
        "open",
        "seal --context",
        "seal --context a b c",
        "seal --contxt a",
        "inspect",
        "import",
        "import --context a -o x",
        "import --context a x",
        "attest",
        "attest verify",
        "provider",
        "provider serve",
        "request",
        "sim",
        "sim new",
        "sim microcode host",
        "completions fish-and-chips",
        "request --provider http://127.0.0.1:1 --path p --purpose p --length 65536",
        "seal --context a --provider http://127.0.0.1:1",
        "seal --context a --label x",
        "seal --context a --threshold 2",
        "seal --context a --holder x",
        "seal --context a --no-machine --policy measurement",
        "seal --context a --threads 0",
        "unseal --context a --range 1 x",
        "unseal --context a --range 1:2",
        "unseal --context a --below-floor",
        "recipient",
        "recipient new",
        "recipient new --kind rsa -o x",
        "recipient share x",
        "rewrap --add-recovery x y",
        "rewrap --holder x --context a y",
        "rewrap --drop first y",
        "floor",
        "floor raise x --cpusvn 00",
        "successor request -o x",
        "successor show",
        "successor admit --context a --request r x",
        "successor admit --context a --request r --guest g --measurement 00 x",
        "successor admit --context a --request r --signer 00 x",
        "successor admit --context a --request r --measurement 00 --signer 00 --product 1 --min-svn 1 x",
        "successor adopt --context a --secret s",
    ] {
        assert!(bulla.run(line).fails(2, &[]).stdout.is_empty(), "{line}");
    }
}

#[test]
fn completions_are_produced_for_each_shell() {
    let bulla = Bulla::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = bulla.run(&format!("completions {shell}")).text();
        for word in ["unseal", "platform-reset", "provider-id", "rewrap", "below-floor", "min-svn"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn there_is_a_man_page_for_each_command() {
    let bulla = Bulla::new();
    std::fs::create_dir(bulla.path("man")).unwrap();
    bulla.run("man man").ok();
    let names = bulla.names("man");
    for page in [
        "bulla.1",
        "bulla-seal.1",
        "bulla-unseal.1",
        "bulla-attest-verify.1",
        "bulla-provider-serve.1",
        "bulla-recipient-new.1",
        "bulla-rewrap.1",
        "bulla-floor-raise.1",
        "bulla-successor-admit.1",
    ] {
        assert!(names.iter().any(|name| name == page), "{page} is not in {names:?}");
    }
    assert!(bulla.text("man/bulla.1").contains("tampered"));
    bulla.run("man missing").fails(1, &["missing"]);
}

/// It checks its own steps.
#[test]
fn the_demo_walks_the_whole_way() {
    let bulla = Bulla::new();
    bulla.write("yours", "a file of the user");
    for line in ["demo", "demo yours"] {
        let told = bulla.run(line).text();
        for words in [
            "SIMULATED",
            "provider serve",
            "(exit code 10)",
            "(exit code 11)",
            "(exit code 12)",
            "as it should",
        ] {
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
        assert_eq!(told.contains("byte for byte"), line == "demo yours");
    }
    assert_eq!(bulla.names("."), ["yours"]);
    bulla.run("demo missing").fails(1, &["missing"]);
}

/// A reader that goes away, like `head`, is no defect: completions once ended in a panic.
#[test]
fn a_reader_that_leaves_is_no_panic() {
    for line in [&["completions", "bash"][..], &["help"], &["--version"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bulla"))
            .args(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 1)) && !said.contains("internal error"),
            "{line:?}: {said}"
        );
    }
}
