//! Who wrote it, and who was added to it: what only the machine's own word shows.

use crate::support::Bulla;

const ON: &str = "--machine sim:host";

/// `wallet` for the machine and `eve`, who adds `mallory` before she is revoked.
fn planted() -> Bulla {
    let bulla = Bulla::with_host();
    for name in ["eve", "mallory"] {
        let public = bulla.run(&format!("recipient new --kind x25519 -o {name}")).ok();
        bulla.write(&format!("{name}.pub"), public);
    }
    bulla.run_with(&format!("{ON} seal --context wallet --recovery eve.pub -o wallet"), b"secret").ok();
    bulla.run("rewrap --key eve --context wallet --add-recovery mallory.pub wallet").ok();
    bulla
}

/// R82: a rotation that revokes does not carry along whom the revoked one added.
#[test]
fn r82_revoking_somebody_revokes_whom_they_added() {
    let bulla = planted();
    let before = bulla.read("wallet");
    let revoke = format!("{ON} rotate --drop 1");
    bulla.run(&format!("{revoke} wallet")).fails(10, &["wallet: ", "vouch", "[envelope.no_origin]"]);
    bulla.run(&format!("{revoke} --expect eve.pub wallet")).fails(10, &["[slot.unexpected]"]);
    assert_eq!(bulla.read("wallet"), before);
    bulla.run(&format!("{revoke} --drop 2 wallet")).ok();
    assert_eq!(bulla.run(&format!("{ON} unseal --context wallet wallet")).ok(), b"secret");
    bulla.run("unseal --context wallet --key mallory wallet").fails(10, &["[envelope.no_opener]"]);

    // Whoever looks and finds it right says so, for this context and no other.
    bulla.write("wallet", &before);
    bulla.run(&format!("{revoke} --vouch wallet")).fails(2, &["--context"]);
    bulla.run(&format!("{revoke} --vouch --context wallet wallet")).ok();
    let demanded = format!("{ON} unseal --context wallet --require-origin wallet");
    assert_eq!(bulla.run(&demanded).ok(), b"secret");
}

/// What names the machine alone is not its word, and neither is a part of something; `--prove-origin` is.
#[test]
fn an_origin_is_shown_or_it_is_none() {
    let bulla = planted();
    let demanded = format!("{ON} unseal --context wallet --require-origin");
    bulla.run("rewrap --key eve --drop 1 --drop 2 wallet").ok();
    assert_eq!(bulla.run(&format!("{ON} unseal --context wallet wallet")).ok(), b"secret");
    bulla.run(&format!("{demanded} wallet")).fails(10, &["[envelope.no_origin]"]);

    bulla.run_with(&format!("{ON} seal --context wallet --prove-origin -o proved"), b"secret").ok();
    assert_eq!(bulla.run(&format!("{demanded} proved")).ok(), b"secret");
    bulla.run(&format!("{demanded} --range 0:3 proved")).fails(10, &["[envelope.no_origin]"]);
    bulla.run("seal --context wallet --no-machine --prove-origin --recovery eve.pub").fails(2, &[]);

    let ran = bulla.run("unseal --context wallet --key eve wallet");
    ran.fails(10, &["[envelope.no_opener]"]);
    bulla.run_with("seal --no-machine --context wallet --recovery eve.pub -o anybodys", b"forged").ok();
    let ran = bulla.run("unseal --context wallet --key eve anybodys");
    assert!(ran.stderr.contains("everybody who knows the public key"), "{}", ran.stderr);
}
