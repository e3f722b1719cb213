//! Recipients, holders and shares: what opens where no machine can.

use crate::support::{Bulla, Ran, mode};

/// Seals on `host` or without a machine, for the context `wallet`, into `sealed`.
fn seal(bulla: &Bulla, options: &str) -> Ran {
    bulla.run_with(&format!("seal --context wallet -o sealed {options}"), b"secret")
}

/// Opens `sealed` without a machine.
fn unseal(bulla: &Bulla, options: &str) -> Ran {
    bulla.run(&format!("unseal --context wallet {options} sealed"))
}

/// A folder with the machine `host` and the key files that are named, their public keys in files ending in `.pub`.
fn with_keys(names: &[&str]) -> Bulla {
    let bulla = Bulla::with_host();
    for name in names {
        let public = bulla.run(&format!("recipient new --kind x25519 -o {name}")).ok();
        bulla.write(&format!("{name}.pub"), public);
    }
    bulla
}

/// R73: a private key is its owner's alone, and never overwritten.
#[test]
fn a_new_key_is_private_and_overwrites_nothing() {
    let bulla = Bulla::new();
    for (name, kind, kem) in
        [("a", "", "X-Wing"), ("b", "--kind hybrid", "X-Wing"), ("c", "--kind x25519", "X25519")]
    {
        let ran = bulla.run(&format!("recipient new {kind} -o {name}"));
        assert!(ran.stderr.contains("offline"), "{}", ran.stderr);
        let public = ran.text();
        assert!(public.starts_with("bulla-recipient-1:") && public.ends_with('\n'), "{public}");
        assert_eq!(mode(&bulla.path(name)), 0o600);
        let key = bulla.text(name);
        assert!(key.lines().any(|line| line.starts_with("bulla-recipient-key-1:")), "{key}");
        assert!(key.contains(&format!("# public: {public}")));
        assert_eq!(bulla.run(&format!("recipient show {name}")).text(), public);
        assert_eq!(bulla.run_with("recipient show -", key.as_bytes()).text(), public);
        let json = bulla.run(&format!("recipient show --json {name}")).json();
        assert_eq!((json["kem"].as_str(), json["recipient"].as_str()), (Some(kem), Some(public.trim())));
        assert_eq!(json["id"].as_str().unwrap().len(), 64);

        let ran = bulla.run(&format!("recipient new -o {name}")).fails(2, &[name, "exists"]);
        assert!(ran.stdout.is_empty());
        assert_eq!(bulla.text(name), key);
    }
    bulla.run("recipient new -o no/such/folder").fails(1, &["no/such"]);
    assert_eq!(bulla.names("."), ["a", "b", "c"]);
}

#[test]
fn a_key_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let bulla = with_keys(&["key"]);
    assert!(bulla.run("recipient show key").stderr.is_empty());
    std::fs::set_permissions(bulla.path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = bulla.run("recipient show key");
    assert!(ran.stderr.contains("chmod 600 key"), "{}", ran.stderr);
    ran.ok();
}

#[test]
fn what_is_no_key_is_told_and_not_shown() {
    let bulla = with_keys(&["key"]);
    let key = bulla.text("key");
    let secret = key.lines().find(|line| line.starts_with("bulla-recipient-key-1:")).unwrap();
    bulla.write("cut", &secret[..secret.len() - 1]);
    bulla.write("noise", [0xFF; 100]);
    bulla.write("large", vec![b'#'; 100_000]);
    seal(&bulla, "--no-machine --recovery key.pub").ok();
    let ran = unseal(&bulla, "--key cut").fails(11, &["cut", "mistyped", "[key.bad]"]);
    assert!(!ran.stderr.contains(&secret[30..50]), "{}", ran.stderr);
    unseal(&bulla, "--key key.pub").fails(11, &["[key.bad]"]);
    unseal(&bulla, "--key noise").fails(2, &["noise"]);
    unseal(&bulla, "--key large").fails(2, &["larger than"]);
    unseal(&bulla, "--key missing").fails(1, &["missing"]);
    seal(&bulla, "--no-machine --recovery key").fails(11, &["public key", "[key.bad]"]);
    seal(&bulla, "--no-machine --recovery bulla-recipient-1:AAAA").fails(11, &["[key.bad]"]);
}

/// R87: the machine is gone, and the recovery key opens.
#[test]
fn a_recovery_key_opens_without_the_machine() {
    let bulla = with_keys(&["key", "other"]);
    let text = bulla.text("key.pub");
    for recipient in ["key.pub", text.trim()] {
        let ran = seal(&bulla, &format!("--machine sim:host --recovery {recipient}"));
        assert!(ran.stderr.is_empty(), "{}", ran.stderr);
        let ran = unseal(&bulla, "--key key");
        assert!(ran.stderr.contains("slot 1 (recipient)"), "{}", ran.stderr);
        assert_eq!(ran.ok(), b"secret");
        unseal(&bulla, "--key other").fails(10, &["[envelope.no_opener]"]);
        let ran = unseal(&bulla, "--machine sim:host");
        assert!(ran.stderr.contains("this machine wrote it"), "{}", ran.stderr);
        assert_eq!(ran.ok(), b"secret");
        assert_eq!(unseal(&bulla, "--key other --key key").ok(), b"secret");
        // A machine that is not the right one stands beside the key.
        bulla.run("sim platform-reset host").ok();
        unseal(&bulla, "--machine sim:host").fails(10, &["[machine.other_machine]"]);
        assert_eq!(unseal(&bulla, "--machine sim:host --key key").ok(), b"secret");
    }
}

/// Anyone can seal to a recipient, and says so: no machine is asked.
#[test]
fn sealing_to_recipients_needs_no_machine() {
    let bulla = with_keys(&["key"]);
    std::fs::remove_dir_all(bulla.path("host")).unwrap();
    assert!(seal(&bulla, "--no-machine --recovery key.pub").stderr.is_empty());
    assert_eq!(unseal(&bulla, "--key key").ok(), b"secret");
    unseal(&bulla, "--key key --require-origin").fails(10, &["[envelope.no_origin]"]);
    seal(&bulla, "--no-machine").fails(2, &["name an opener"]);
    seal(&bulla, "--recovery key.pub").fails(2, &["no machine given"]);
}

/// Who else opens it can be demanded.
#[test]
fn recipients_that_were_not_expected_are_refused() {
    let bulla = with_keys(&["mine", "strange"]);
    seal(&bulla, "--machine sim:host --recovery mine.pub --recovery strange.pub").ok();
    let expect = "--machine sim:host --expect mine.pub";
    unseal(&bulla, expect).fails(10, &["[slot.unexpected]"]);
    assert_eq!(unseal(&bulla, &format!("{expect} --expect strange.pub")).ok(), b"secret");
}

/// Two of three holders open together; the holders' keys never meet.
#[test]
fn holders_give_shares_to_whoever_recovers() {
    let bulla = with_keys(&["a", "b", "c", "recoverer"]);
    seal(&bulla, "--machine sim:host --threshold 2 --holder a.pub --holder b.pub --holder c.pub").ok();
    let ran = bulla.run("recipient share sealed --key a -o a.share");
    assert!(
        ran.stderr.contains("share 1 of 3, of which 2 open") && ran.stderr.contains("wallet"),
        "{}",
        ran.stderr
    );
    ran.ok();
    assert_eq!(mode(&bulla.path("a.share")), 0o600);
    bulla.run("recipient share sealed --context wallet --key c --to recoverer.pub -o c.share").ok();
    assert!(!bulla.read("c.share").starts_with(b"bulla-share"));

    unseal(&bulla, "--share a.share").fails(10, &["1 of the 2 shares", "[slot.shares_missing]"]);
    unseal(&bulla, "--share a.share --share a.share").fails(10, &["[slot.shares_missing]"]);
    unseal(&bulla, "--share a.share --share c.share").fails(10, &["c.share", "[envelope.no_opener]"]);
    unseal(&bulla, "--share a.share --share c.share --key a").fails(10, &["c.share"]);
    assert_eq!(unseal(&bulla, "--share a.share --share c.share --key recoverer").ok(), b"secret");
    assert_eq!(unseal(&bulla, "--key a --key b").ok(), b"secret");
    assert_eq!(unseal(&bulla, "--share a.share --key b").ok(), b"secret");
}

#[test]
fn a_share_is_taken_by_its_holder_alone_and_for_what_was_said() {
    let bulla = with_keys(&["a", "b", "stranger"]);
    seal(&bulla, "--machine sim:host --threshold 2 --holder a.pub --holder b.pub").ok();
    bulla.run("recipient share sealed --key stranger").fails(10, &["[envelope.no_opener]"]);
    let ran = bulla.run("recipient share sealed --context diary --key a");
    assert!(ran.fails(10, &["\"wallet\"", "\"diary\"", "[envelope.other_context]"]).stdout.is_empty());
    let share = bulla.run("recipient share sealed --key a").text();
    assert!(share.starts_with("bulla-share-1:") && share.ends_with('\n'), "{share}");
    assert_eq!(bulla.run_with("recipient share - --key a", &bulla.read("sealed")).text(), share);
}

/// R87: a share that was changed is named, and the others are not suspected.
#[test]
fn a_corrupted_share_is_named() {
    let bulla = with_keys(&["a", "b", "c"]);
    seal(&bulla, "--machine sim:host --threshold 2 --holder a.pub --holder b.pub --holder c.pub").ok();
    for name in ["a", "b", "c"] {
        bulla.run(&format!("recipient share sealed --key {name} -o {name}.share")).ok();
    }
    let good = bulla.text("b.share");
    let digit = if good.trim().ends_with('0') { '1' } else { '0' };
    let length = good.trim().len();
    bulla.write("b.share", format!("{}{digit}\n", &good[..length - 1]));
    unseal(&bulla, "--share a.share --share b.share").fails(11, &["share 2", "[slot.share_wrong]"]);
    assert_eq!(unseal(&bulla, "--share a.share --share b.share --share c.share").ok(), b"secret");
    bulla.write("b.share", &good[..length - 2]);
    unseal(&bulla, "--share b.share").fails(11, &["b.share", "[key.bad]"]);
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    let bulla = with_keys(&["a", "b"]);
    for holders in [
        "1 --holder a.pub --holder b.pub",
        "3 --holder a.pub --holder b.pub",
        "2 --holder a.pub --holder a.pub",
    ] {
        seal(&bulla, &format!("--no-machine --threshold {holders}"))
            .fails(2, &["2 to 16", "[usage.invalid]"]);
    }
}
