//! What never comes out, whatever the host asks for.

use std::process::Command;

use crate::support::{Bulla, Ran};

const ON: &str = "--machine sim:host";

/// As a host would run it that wants to see everything.
fn talkative(bulla: &Bulla, line: &str, input: &[u8]) -> Ran {
    let mut command = bulla.command(line);
    for (name, value) in
        [("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full"), ("BULLA_LOG", "trace"), ("DEBUG", "1")]
    {
        command.env(name, value);
    }
    Ran::of(&mut command, input)
}

/// R97, R98, B45: no secret, no private key and no share is in any output but the one that is for it, whether the command did its
/// work or refused; and the environment makes no difference.
#[test]
fn r97_nothing_secret_is_said_by_what_changes_envelopes() {
    let bulla = Bulla::with_host();
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    for name in ["ann", "bob"] {
        let public = bulla.run(&format!("recipient new --kind x25519 -o {name}")).ok();
        bulla.write(&format!("{name}.pub"), public);
    }
    let secret = b"a canary that no log may hold";
    let mut said = Vec::new();
    let mut ran = |line: &str, input: &[u8]| {
        let ran = talkative(&bulla, line, input);
        said.extend_from_slice(&ran.stdout);
        said.extend_from_slice(ran.stderr.as_bytes());
        assert!(!ran.stderr.contains("stack backtrace"), "{line}: {}", ran.stderr);
    };
    ran(
        &format!(
            "{ON} seal --context wallet --recovery key.pub --threshold 2 --holder ann.pub --holder bob.pub -o sealed"
        ),
        secret,
    );
    for line in [
        "inspect sealed".to_owned(),
        format!("{ON} rewrap sealed"),
        format!("{ON} rewrap --context wallet --add-recovery ann.pub sealed"),
        format!("{ON} rewrap --context else sealed"),
        format!("{ON} rotate --drop 1 sealed"),
        format!("{ON} rotate --drop 7 sealed"),
        format!("{ON} plan --after microcode-down sealed"),
        format!("{ON} floor raise --isvsvn 1 floor"),
        format!("{ON} floor raise --isvsvn 0 floor"),
        format!("{ON} unseal --context wallet --at-least 3 sealed"),
        format!("{ON} unseal --context else sealed"),
        "unseal --context wallet --key ann.pub sealed".into(),
        "unseal --context wallet --key sealed sealed".into(),
        "unseal --context wallet --share ann sealed".into(),
        "recipient show ann".into(),
        "recipient share sealed --key ann -o ann.share".into(),
        "recipient new -o ann".into(),
        format!("{ON} successor request -o request --secret kept"),
        format!("{ON} successor adopt --context wallet --secret kept sealed"),
    ] {
        ran(&line, b"");
    }
    ran(&format!("{ON} unseal --context wallet"), b"\x93bulla\r\n\x01 and not an envelope");
    assert!(said.len() > 2000, "they said something");

    let private = |name: &str| {
        let text = bulla.text(name);
        text.lines().find_map(|line| line.strip_prefix("bulla-recipient-key-1:")).unwrap().to_owned()
    };
    let share = bulla.text("ann.share");
    let share = share.trim().strip_prefix("bulla-share-1:").unwrap();
    let mut never = vec![secret.to_vec(), share.as_bytes()[66..].to_vec()];
    never.extend(["key", "ann", "bob"].map(|name| private(name).into_bytes()));
    for secret in never {
        let part = &secret[secret.len() / 4..][..secret.len() / 2];
        assert!(!said.windows(part.len()).any(|place| place == part), "{}", String::from_utf8_lossy(part));
    }
}

/// R73: what holds a secret or a state is its owner's alone, however the command was started.
#[test]
fn r73_the_umask_opens_nothing() {
    use std::os::unix::fs::PermissionsExt;

    let bulla = Bulla::with_host();
    let masked = |umask: &str, line: &str, input: &[u8]| {
        let mut command = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(bulla.program()).args(line.split_whitespace());
        Ran::of(command.current_dir(bulla.path(".")).env_remove("BULLA_MACHINE"), input).ok();
    };
    for umask in ["000", "777"] {
        for (line, file) in [
            (format!("{ON} seal --context wallet -o sealed{umask}"), format!("sealed{umask}")),
            (format!("{ON} rewrap sealed{umask}"), format!("sealed{umask}")),
            (format!("{ON} unseal --context wallet -o open{umask} sealed{umask}"), format!("open{umask}")),
            (format!("recipient new -o key{umask}"), format!("key{umask}")),
            (format!("{ON} floor raise --isvsvn 1 floor{umask}"), format!("floor{umask}")),
            (format!("{ON} key new db{umask}.ring"), format!("db{umask}.ring")),
            (
                format!("{ON} successor request -o request{umask} --secret kept{umask}"),
                format!("kept{umask}"),
            ),
        ] {
            masked(umask, &line, b"secret");
            let mode = std::fs::metadata(bulla.path(&file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
    for name in bulla.names(".").iter().filter(|name| name.starts_with('.')) {
        let mode = std::fs::metadata(bulla.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
