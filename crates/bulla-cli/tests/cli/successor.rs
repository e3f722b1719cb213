//! Handing an envelope over to the next identity (R78, R79). Which identity runs is in the machine's `enclave.toml`.

use crate::support::{Bulla, Ran, flipped, mode};

const ON: &str = "--machine sim:host";
const NEXT: &str = "abababababababababababababababababababababababababababababababab";
const OTHER: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

/// Runs something as another identity than the present one, and goes back.
fn r#as<T>(bulla: &Bulla, changes: &[(&str, &str)], run: impl FnOnce() -> T) -> T {
    let present = bulla.text("host/enclave.toml");
    for (key, value) in changes {
        bulla.set("host/enclave.toml", key, value);
    }
    let result = run();
    bulla.write("host/enclave.toml", present);
    result
}

fn next() -> [(&'static str, &'static str); 1] {
    [("measurement", "\"abababababababababababababababababababababababababababababababab\"")]
}

/// A folder with the machine `host`, the envelope `sealed` of the present identity, and the request and the secret of the next
/// one, which is changed as said.
fn asked(changes: &[(&str, &str)]) -> Bulla {
    let bulla = Bulla::with_host();
    bulla.write("sealed", bulla.seal(b"secret"));
    let changes = [&next()[..], changes].concat();
    r#as(&bulla, &changes, || bulla.run(&format!("{ON} successor request -o request --secret kept"))).ok();
    bulla
}

fn admit(bulla: &Bulla, options: &str) -> Ran {
    bulla.run(&format!("{ON} successor admit --context wallet --request request {options} sealed"))
}

fn adopt(bulla: &Bulla, options: &str) -> Ran {
    let line = format!("{ON} successor adopt --context wallet --secret kept {options} sealed");
    r#as(bulla, &next(), || bulla.run(&line))
}

fn open(bulla: &Bulla) -> Ran {
    bulla.run(&format!("{ON} unseal --context wallet sealed"))
}

fn kinds(bulla: &Bulla) -> Vec<String> {
    let found = bulla.run("inspect --json sealed").json();
    found["slots"].as_array().unwrap().iter().map(|slot| slot["kind"].as_str().unwrap().to_owned()).collect()
}

/// The whole way: asked, admitted, adopted; and the old one retired.
#[test]
fn the_next_identity_takes_over() {
    let bulla = asked(&[]);
    assert_eq!(mode(&bulla.path("kept")), 0o600);
    r#as(&bulla, &next(), || open(&bulla)).fails(10, &["MRENCLAVE"]);
    let ran = admit(&bulla, &format!("--measurement {NEXT}"));
    assert!(ran.stderr.contains("SIMULATED"), "{}", ran.stderr);
    ran.ok();
    assert_eq!(kinds(&bulla), ["sim", "recipient"]);
    assert_eq!(bulla.run("inspect --json sealed").json()["slots"][1]["role"], "successor");
    assert_eq!(open(&bulla).ok(), b"secret", "the present one goes on");

    let ran = adopt(&bulla, "");
    for words in
        ["now opens for sim, sim", "slot 0 still opens for another identity", "--drop 0", "not revocation"]
    {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    ran.ok();
    assert_eq!(kinds(&bulla), ["sim", "sim"]);
    assert_eq!(open(&bulla).ok(), b"secret");
    assert_eq!(r#as(&bulla, &next(), || open(&bulla)).ok(), b"secret");

    r#as(&bulla, &next(), || bulla.run(&format!("{ON} rewrap --drop 0 sealed"))).ok();
    open(&bulla).fails(10, &["MRENCLAVE"]);
    assert_eq!(r#as(&bulla, &next(), || open(&bulla)).ok(), b"secret");
}

/// By its signer, product and version; the new slot under a policy of its own.
#[test]
fn a_signer_lets_in_its_later_versions() {
    let bulla = asked(&[("svn", "4")]);
    let signer = bulla.value("host/enclave.toml", "signer");
    let signer = signer.trim_matches('"');
    let before = bulla.read("sealed");
    for (options, code, words) in [
        (format!("--signer {signer} --product 1 --min-svn 5"), 12, "[successor.too_old]"),
        (format!("--signer {signer} --product 2 --min-svn 4"), 10, "ISVPRODID"),
        (format!("--signer {OTHER} --product 1 --min-svn 4"), 10, "MRSIGNER"),
        (format!("--measurement {OTHER}"), 10, "MRENCLAVE"),
        ("--measurement 00".into(), 2, "64 hexadecimal digits"),
    ] {
        admit(&bulla, &options).fails(code, &[words]);
        assert_eq!(bulla.read("sealed"), before, "{options}");
    }
    admit(&bulla, &format!("--signer {signer} --product 1 --min-svn 4")).ok();
    let policy = "signer:product=1,svn=4,label=acme";
    let changes = [&next()[..], &[("svn", "4")]].concat();
    let line = format!("{ON} successor adopt --context wallet --secret kept --policy {policy} sealed");
    r#as(&bulla, &changes, || bulla.run(&line)).ok();
    assert_eq!(bulla.run("inspect --json sealed").json()["slots"][1]["binding"], policy);
}

/// R23, R79.
#[test]
fn a_debug_enclave_is_not_let_in() {
    let bulla = asked(&[("debug", "true")]);
    let before = bulla.read("sealed");
    admit(&bulla, &format!("--measurement {NEXT}")).fails(10, &["[policy.debug]"]);
    assert_eq!(bulla.read("sealed"), before);
    assert_eq!(open(&bulla).ok(), b"secret");
}

/// R79: a quote is for one key, and a changed request is for none.
#[test]
fn a_request_that_was_put_together_or_changed_is_refused() {
    let bulla = asked(&[]);
    let before = bulla.read("sealed");
    let first = bulla.read("request");
    r#as(&bulla, &next(), || bulla.run(&format!("{ON} successor request -o second --secret kept2"))).ok();
    let second = bulla.read("second");
    // Layout: the array's head, label, KEM; then the key's head of 3 bytes, 1,216 bytes, the quote's head, the quote.
    let key = 1 + 1 + 1 + "bulla/successor-request/v1".len() + 3 + 3;
    let quote = key + 1216 + 3;
    assert_eq!(first[..key], second[..key]);
    let other_key = [&second[..quote], &first[quote..]].concat();
    // The key; of the quote MRENCLAVE, report data and signature.
    let flips = [key + 1216 - 5, quote + 48 + 64 + 3, quote + 48 + 320 + 1, quote + 48 + 384 + 4 + 9];
    bulla.write("request", other_key);
    admit(&bulla, &format!("--measurement {NEXT}")).fails(11, &["not for the key", "[successor.other_key]"]);
    for at in flips {
        bulla.write("request", flipped(&first, at, 0));
        admit(&bulla, &format!("--measurement {NEXT}")).fails(11, &[]);
    }
    for bytes in [&first[..first.len() - 1], &first[..40], b"", b"noise", &[&first[..], b"x"].concat()] {
        bulla.write("request", bytes);
        admit(&bulla, &format!("--measurement {NEXT}")).fails(11, &["[successor.malformed]"]);
    }
    bulla.write("request", vec![0x84; 100_000]);
    admit(&bulla, &format!("--measurement {NEXT}")).fails(11, &["longer", "[successor.malformed]"]);
    assert_eq!(bulla.read("sealed"), before);
    bulla.write("request", first);
    admit(&bulla, &format!("--measurement {NEXT}")).ok();
}

/// R27: evidence of a machine under another root, and collateral of another kind, count for nothing.
#[test]
fn the_quote_is_judged_under_the_machines_root() {
    let bulla = asked(&[]);
    bulla.write("collateral", "{}");
    admit(&bulla, &format!("--measurement {NEXT} --collateral collateral"))
        .fails(11, &["[collateral.incomplete]"]);
    // Without a machine, it is Intel's root.
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("key.pub", public);
    bulla.run(&format!("{ON} rewrap --context wallet --add-recovery key.pub sealed")).ok();
    let before = bulla.read("sealed");
    let line =
        format!("successor admit --context wallet --request request --measurement {NEXT} --key key sealed");
    bulla.run(&line).fails(2, &["--collateral"]);
    // The quote stands behind the key.
    let request = bulla.read("request");
    let quote = 1 + 1 + 1 + "bulla/successor-request/v1".len() + 3 + 3 + 1216 + 3;
    bulla.write("quote", &request[quote..]);
    bulla.run("sim collateral host quote -o collateral").ok();
    bulla.run(&format!("{line} --collateral collateral")).fails(10, &["untrusted_root"]);
    assert_eq!(bulla.read("sealed"), before);
    admit(&bulla, &format!("--measurement {NEXT} --collateral collateral")).ok();
}

/// Who is not the next one, or has not been let in, adopts nothing.
#[test]
fn only_who_was_let_in_adopts() {
    let bulla = asked(&[]);
    let before = bulla.read("sealed");
    adopt(&bulla, "").fails(10, &["[envelope.no_opener]"]);
    assert_eq!(bulla.read("sealed"), before);
    admit(&bulla, &format!("--measurement {NEXT}")).ok();
    let admitted = bulla.read("sealed");
    bulla
        .run(&format!("{ON} successor adopt --context wallet --secret kept sealed"))
        .fails(10, &["kept: ", "MRENCLAVE", "[machine.other_identity]"]);
    let kept = bulla.read("kept");
    bulla.write("kept", flipped(&kept, kept.len() - 1, 0));
    adopt(&bulla, "").fails(11, &["kept: "]);
    bulla.write("kept", kept);
    adopt(&bulla, "--policy signer:product=9,svn=1,label=a").fails(10, &["sealed: ", "ISVPRODID"]);
    r#as(&bulla, &next(), || {
        bulla.run(&format!("{ON} successor adopt --context diary --secret kept sealed"))
    })
    .fails(10, &["[envelope.other_context]"]);
    assert_eq!(bulla.read("sealed"), admitted);
    adopt(&bulla, "").ok();
    // Once more changes nothing that matters.
    adopt(&bulla, "").ok();
    assert_eq!(kinds(&bulla), ["sim", "sim"]);
}

/// The next identity cannot tell who wrote what it finds, and says that it did only if asked to.
#[test]
fn the_origin_is_vouched_for_or_unknown() {
    for (vouch, code) in [("", 10), ("--vouch", 0)] {
        let bulla = asked(&[]);
        let public = bulla.run("recipient new --kind x25519 -o key").ok();
        bulla.write("key.pub", public);
        bulla.run(&format!("{ON} rewrap --context wallet --add-recovery key.pub sealed")).ok();
        admit(&bulla, &format!("--measurement {NEXT}")).ok();
        adopt(&bulla, vouch).ok();
        let line = format!("{ON} unseal --context wallet --require-origin sealed");
        let ran = r#as(&bulla, &next(), || bulla.run(&line));
        assert_eq!(ran.code, code, "{vouch}: {}", ran.stderr);
    }
}

/// Another machine is no hindrance to being admitted, and admitting twice none to adopting.
#[test]
fn it_may_run_on_another_machine() {
    let bulla = asked(&[]);
    bulla.run("sim new other").ok();
    bulla.set("other/enclave.toml", "measurement", &format!("\"{NEXT}\""));
    bulla.run("--machine sim:other successor request -o request --secret kept3").ok();
    admit(&bulla, &format!("--measurement {NEXT}")).ok();
    admit(&bulla, &format!("--measurement {NEXT}")).ok();
    bulla.run("--machine sim:other successor adopt --context wallet --secret kept3 sealed").ok();
    assert_eq!(kinds(&bulla), ["sim", "sim"]);
    assert_eq!(bulla.run("--machine sim:other unseal --context wallet sealed").ok(), b"secret");
    assert_eq!(open(&bulla).ok(), b"secret");
}

/// R95: what may be the only copy of a key is not overwritten.
#[test]
fn a_secret_that_is_kept_is_not_overwritten() {
    let bulla = asked(&[]);
    let (kept, request) = (bulla.read("kept"), bulla.read("request"));
    let line = format!("{ON} successor request -o request --secret kept");
    bulla.run(&line).fails(2, &["kept", "exists"]);
    assert_eq!((bulla.read("kept"), bulla.read("request")), (kept, request));
}
