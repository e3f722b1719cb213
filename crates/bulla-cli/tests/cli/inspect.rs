//! `inspect`: what an envelope claims, without a machine and without a key.

use serde_json::json;

use crate::support::{Bulla, Ran, flipped};

const CPUSVN: &str = "050502020301000353494d554c415445";

#[test]
fn it_shows_to_whom_and_to_what_an_envelope_is_bound() {
    let bulla = Bulla::with_host();
    bulla.write("sealed", bulla.seal(b"secret"));
    let signer = bulla.value("host/enclave.toml", "signer");
    // The machine is gone, and nothing of it is needed.
    std::fs::remove_dir_all(bulla.path("host")).unwrap();
    let ran = bulla.run("inspect sealed");
    assert!(ran.stderr.contains("claims"), "{}", ran.stderr);
    let text = ran.text();
    for words in
        ["context        wallet", "sim", "SGX enclave", "MRENCLAVE", "ISVPRODID", "ISVSVN", "CPUSVN", CPUSVN]
    {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(text.contains(signer.trim_matches('"')));
    assert_eq!(bulla.run_with("inspect -", &bulla.read("sealed")).text(), text);
}

#[test]
fn json_has_the_same() {
    let bulla = Bulla::with_host();
    bulla.write("sealed", bulla.seal(b"secret"));
    let found = bulla.run("inspect --json sealed").json();
    assert_eq!(found["version"], 1);
    assert_eq!(found["suite"], 1);
    assert_eq!(found["context"], "wallet");
    assert!(found["created"].is_u64());
    assert_eq!(found["envelope_id"].as_str().unwrap().len(), 32);
    let [slot] = &found["slots"].as_array().unwrap()[..] else { panic!("one slot") };
    assert_eq!(
        (&slot["kind"], &slot["simulated"], &slot["binding"]),
        (&json!("sim"), &json!(true), &json!("measurement"))
    );
    let claims = &slot["claims"];
    assert_eq!(claims["CPUSVN"], CPUSVN);
    assert_eq!((&claims["ISVPRODID"], &claims["ISVSVN"]), (&json!(1), &json!(1)));
    assert_eq!(claims["MRENCLAVE"].as_str().unwrap().len(), 64);
    assert!(!found.to_string().contains("secret"));
}

/// Anyone can write a header, and the terminal obeys what it is shown.
#[test]
fn nothing_in_a_header_reaches_the_terminal_raw() {
    let bulla = Bulla::with_host();
    let context = "a\u{1b}]0;owned\u{7}\u{1b}[2J\r\nslot 9    sgx\u{202e}";
    let sealed = Ran::of(bulla.command("--machine sim:host seal --context").arg(context), b"x").ok();
    bulla.write("sealed", &sealed);
    let text = bulla.run("inspect sealed").text();
    assert!(text.contains("owned"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && !text.contains('\r'), "{text:?}");
    assert!(!text.contains('\u{202e}'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("slot 9")), "{text}");
    assert_eq!(bulla.run("inspect --json sealed").json()["context"], context);

    // Nor through the refusal that quotes it.
    let ran = bulla.unseal(&sealed).fails(10, &["owned"]);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\r'), "{:?}", ran.stderr);
}

/// B25: a damaged header shows nothing.
#[test]
fn a_damaged_header_is_not_shown() {
    let bulla = Bulla::with_host();
    let sealed = bulla.seal(b"secret");
    // Before the MAC, which needs the key, and the payload: 32 bytes, and a chunk of 6 with its tag.
    let header = sealed.len() - 32 - 6 - 16;
    for at in (0..header).step_by(3) {
        let ran = bulla.run_with("inspect -", &flipped(&sealed, at, at as u32 % 8));
        assert!(ran.fails(11, &[]).stdout.is_empty(), "byte {at}");
    }
    for length in (0..header).step_by(11) {
        let ran = bulla.run_with("inspect --json -", &sealed[..length]);
        assert!(ran.fails(11, &[]).stdout.is_empty(), "cut to {length}");
    }
    bulla.run_with("inspect -", &sealed[..header]).ok();
}
