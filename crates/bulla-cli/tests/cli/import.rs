//! What other SDKs sealed becomes an envelope, or stays what it is.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::Bulla;

/// A folder with the machine and the enclave of a vector on it, and its `blob`.
fn bench(name: &str) -> (Bulla, Value) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bulla/tests/import/vectors");
    let description: Value =
        serde_json::from_slice(&fs::read(vectors.join(format!("{name}.json"))).unwrap()).unwrap();
    let bulla = Bulla::with_host();
    for key in ["seal_fuses", "owner_epoch", "cpusvn"] {
        bulla.set("host/machine.toml", key, &description["machine"][key].to_string());
    }
    let enclave = &description["enclave"];
    bulla.set("host/enclave.toml", "measurement", &enclave["mrenclave"].to_string());
    bulla.set("host/enclave.toml", "signer", &enclave["mrsigner"].to_string());
    bulla.set("host/enclave.toml", "product", &enclave["product"].to_string());
    bulla.set("host/enclave.toml", "svn", &enclave["svn"].to_string());
    bulla.write("blob", fs::read(vectors.join(format!("{name}.sealed"))).unwrap());
    (bulla, description)
}

const IMPORT: &str = "--machine sim:host import --context wallet -o envelope blob";

#[test]
fn what_intels_sdk_and_ego_sealed_becomes_an_envelope() {
    for name in ["good_intel_text", "good_intel_measurement", "good_ego_product_256", "good_ego_empty"] {
        let (bulla, vector) = bench(name);
        let before = bulla.read("blob");
        let ran = bulla.run(&format!("{IMPORT} --epoch 3"));
        assert!(ran.stderr.contains("opens here") && ran.stderr.contains("--recovery"), "{ran:?}");
        assert!(ran.ok().is_empty());
        assert_eq!(bulla.read("blob"), before);
        let secret = bulla.unseal(&bulla.read("envelope")).ok();
        assert_eq!(hex::encode(secret), vector["opened"]["secret"].as_str().unwrap());
        let shown = bulla.run("inspect --json envelope").json();
        assert_eq!((&shown["context"], &shown["epoch"]), (&"wallet".into(), &3.into()));
        for label in vector["opened"]["labels"].as_array().unwrap() {
            assert_eq!(shown["labels"][label[0].as_str().unwrap()], label[1], "{name}");
        }
        assert_eq!(shown["slots"][0]["binding"], "measurement");
    }
}

/// To a signer's releases and to somebody with a key, as `seal` does.
#[test]
fn it_opens_for_whom_the_command_names() {
    let (bulla, _) = bench("good_intel_signer");
    let public = bulla.run("recipient new --kind x25519 -o key").ok();
    bulla.write("public", public);
    let ran = bulla.run(&format!("{IMPORT} --recovery public --policy signer:product=7,svn=2,label=wallet"));
    assert!(!ran.stderr.contains("lost with"), "{ran:?}");
    ran.ok();
    assert_eq!(bulla.run("unseal --context wallet --key key envelope").ok(), b"correct horse battery staple");
    bulla.set("host/enclave.toml", "measurement", &format!("{:?}", "ab".repeat(32)));
    assert_eq!(bulla.unseal(&bulla.read("envelope")).ok(), b"correct horse battery staple");
}

#[test]
fn every_refusal_says_why_and_leaves_nothing() {
    let cases: [(&str, i32, &[&str]); 9] = [
        ("bad_intel_other_build", 10, &["exactly the enclave", "another machine", "[import.other_key]"]),
        ("bad_intel_other_signer", 10, &["same signer and product", "[import.other_key]"]),
        ("bad_intel_newer_microcode", 12, &["CPUSVN", "bring it back up", "[machine.tcb_too_old]"]),
        ("bad_intel_trailing", 11, &["behind its end", "[import.malformed]"]),
        ("bad_intel_cut", 11, &["cut short", "[import.malformed]"]),
        ("bad_ego_size", 11, &["neither Intel's SDK nor EGo", "[import.unknown]"]),
        ("bad_ego_additional_missing", 10, &["additional data", "[import.other_key]"]),
        ("bad_intel_text_too_long", 10, &["too long for a label", "[import.additional_data]"]),
        ("bad_intel_real", 10, &["real", "simulated", "[machine.wrong_backend]"]),
    ];
    for (name, code, words) in cases {
        let (bulla, _) = bench(name);
        let names = bulla.names(".");
        bulla.run(IMPORT).fails(code, words);
        assert_eq!(bulla.names("."), names, "{name}");
    }
}

/// The source is never written to, by whichever name.
#[test]
fn the_source_is_not_overwritten() {
    let (bulla, _) = bench("good_intel_signer");
    let before = bulla.read("blob");
    fs::hard_link(bulla.path("blob"), bulla.path("linked")).unwrap();
    for output in ["blob", "./blob", "linked"] {
        let line = format!("--machine sim:host import --context wallet -o {output} blob");
        bulla.run(&line).fails(2, &["another file"]);
        assert_eq!((bulla.read("blob"), bulla.read("linked")), (before.clone(), before.clone()));
    }
}

#[test]
fn additional_data_is_compared_or_needed() {
    let (bulla, _) = bench("good_intel_text");
    bulla.write("text", "wallet, version 2");
    bulla.write("other", "wallet, version 3");
    bulla.run(&format!("{IMPORT} --additional-data other")).fails(10, &["[import.additional_data]"]);
    bulla.run(&format!("{IMPORT} --additional-data text")).ok();
    let (bulla, _) = bench("good_ego_additional");
    bulla.write("text", "wallet, version 2");
    bulla.run(IMPORT).fails(10, &["[import.other_key]"]);
    bulla.run(&format!("{IMPORT} --additional-data text")).ok();
    assert_eq!(bulla.run("inspect --json envelope").json()["labels"]["additional-data"], "wallet, version 2");
}

/// R6: what the floor leaves behind does not come back as another SDK's.
#[test]
fn a_floor_holds_for_what_is_imported() {
    let (bulla, _) = bench("good_intel_signer_of_newer");
    bulla.run("--machine sim:host floor raise floor --isvsvn 4").ok();
    bulla.run(&format!("{IMPORT} --floor floor")).fails(12, &["ISVSVN", "[machine.below_floor]"]);
    bulla.run(IMPORT).ok();
}

#[test]
fn only_an_enclave_imports() {
    let (bulla, _) = bench("good_intel_signer");
    let line = IMPORT.replace("sim:host", "sim-td:host");
    bulla.run(&line).fails(2, &["no SGX enclave", "[machine.unsupported]"]);
}
