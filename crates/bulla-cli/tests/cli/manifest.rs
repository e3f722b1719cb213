//! Manifests, and what changed between two guests.

use bulla_crypto::sha384;

use crate::authority::with_authority;
use crate::support::Bulla;

/// Writes the quote of a guest that has these registers into a file.
fn quote(bulla: &Bulla, file: &str, registers: &[(&str, [u8; 48])]) {
    let lines: String =
        registers.iter().map(|(name, value)| format!("{name} = \"{}\"\n", hex::encode(value))).collect();
    bulla.write("td.toml", lines);
    bulla.run(&format!("sim quote host --td td.toml -o {file}")).ok();
}

const NEW: &str = "manifest new --owner acme --product wallet --svn 3";

#[test]
fn a_manifest_grants_what_its_owner_signed() {
    let bulla = with_authority(2);
    quote(&bulla, "q", &[("rtmr2", [7; 48])]);
    let ran = bulla.run(&format!("{NEW} --evidence q --except rtmr3 --not-after 2030-01-31 -o m"));
    assert!(
        ran.stderr.contains("RTMR3 is excepted") && ran.stderr.contains("verify it first"),
        "{}",
        ran.stderr
    );
    bulla.run("manifest sign --descriptor acme --key a m -o m.signed").ok();
    bulla.run("manifest show m.signed").fails(10, &["[signed.too_few]"]);
    bulla.run("manifest sign --key b m.signed -o m.signed").ok();
    let shown = bulla.run("manifest show m.signed --json").json();
    let owner = bulla.run("authority show acme --json").json()["id"].clone();
    assert_eq!((&shown["owner"], shown["svn"].as_u64()), (&owner, Some(3)));
    assert_eq!(
        (shown["product"].as_str(), shown["not_after"].as_str()),
        (Some("wallet"), Some("2030-01-31"))
    );
    assert_eq!(shown["image"]["rtmr2"].as_str(), Some(hex::encode([7; 48]).as_str()));
    assert_eq!((shown["image"].as_object().unwrap().len(), shown["except"][0].as_str()), (8, Some("rtmr3")));

    bulla.write("edited", bulla.text("m.signed").replace("svn = 3", "svn = 4"));
    bulla.run("manifest show edited").fails(11, &["[signed.bad_signature]"]);
    // Neither is what was signed as something else a manifest.
    bulla.run("authority sign --as command --descriptor acme --key a m -o other").ok();
    bulla.run("authority sign --as command --key b other -o other").ok();
    bulla.run("manifest show other").fails(11, &["[signed.bad_signature]"]);
}

/// R14, R26.
#[test]
fn what_names_no_image_is_no_manifest() {
    let bulla = with_authority(1);
    quote(&bulla, "q", &[]);
    bulla.run(&format!("{NEW} --evidence q --except mrtd")).fails(2, &["MRTD cannot be excepted"]);
    bulla.run(&format!("{NEW} --evidence q --except pcr7")).fails(2, &["no register"]);
    bulla.run(&format!("{NEW} --evidence acme")).fails(11, &[]);
    bulla.run(NEW).fails(2, &["--evidence"]);
    // The owner that is named has to be the one that signs.
    bulla.run(&format!("{NEW} --evidence q -o m")).ok();
    bulla.run("authority new --name other --key a.pub -o other").ok();
    bulla.run("manifest sign --descriptor other --key a m -o s").fails(10, &["[manifest.other_owner]"]);
}

fn looks(bulla: &Bulla, registers: &[(&str, [u8; 48])]) -> (String, Vec<String>) {
    quote(bulla, "after", registers);
    let said = bulla.run("manifest compare before after --json").json();
    let broken =
        said["keys"].as_array().unwrap().iter().filter(|keys| keys["broken_by"] != serde_json::json!([]));
    let broken = broken.map(|keys| keys["binding"].as_str().unwrap().to_owned()).collect();
    (said["looks_like"].as_str().unwrap().to_owned(), broken)
}

/// What probably changed, and which keys with it.
#[test]
fn two_guests_are_compared_register_by_register() {
    let bulla = with_authority(1);
    quote(&bulla, "before", &[]);
    let both = ["measurement", "the legacy formula"];
    for (registers, words, broken) in [
        (&[][..], "the same guest", &[][..]),
        (&[("rtmr0", [7; 48])], "other memory", &both),
        (&[("rtmr2", [7; 48])], "command line or initrd", &both),
        (&[("rtmr1", [7; 48]), ("rtmr2", [7; 48])], "a kernel update", &both),
        (&[("mrtd", [7; 48]), ("rtmr0", [7; 48])], "an update of the virtual firmware", &both),
        (&[("rtmr3", [7; 48])], "another application", &both),
        (&[("mrconfigid", [7; 48])], "declared differently by its host", &["measurement"]),
    ] {
        let (looks_like, found) = looks(&bulla, registers);
        assert!(looks_like.contains(words), "{words}: {looks_like}");
        assert_eq!(found, broken, "{words}");
    }
    quote(&bulla, "after", &[("rtmr2", [7; 48])]);
    let said = bulla.run("manifest compare before after").text();
    for part in ["RTMR2 changed", &hex::encode([7; 48]), "because of RTMR2", "manifest new", "successor"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_manifest_and_the_register_policies_are_compared_too() {
    let bulla = with_authority(1);
    quote(&bulla, "before", &[]);
    quote(&bulla, "after", &[("rtmr2", [7; 48]), ("rtmr3", [8; 48])]);
    bulla.run(&format!("{NEW} --evidence before --except rtmr3 -o m")).ok();
    let bind =
        |name: &str, bind: &str| format!("[[registers]]\nname = \"{name}\"\nversion = 2\nbind = [{bind}]\n");
    let policy = format!(
        "version = 1\nname = \"p\"\ncustody = \"hardware\"\n{}{}",
        bind("kernel", "\"mrtd\", \"rtmr1\", \"rtmr2\""),
        bind("firmware", "\"mrtd\", \"rtmr0\"")
    );
    bulla.write("policy", policy);
    let said = bulla.run("manifest compare m after --policy policy --json").json();
    assert_eq!(said["changes"].as_array().unwrap().len(), 1);
    assert_eq!(
        (said["changes"][0]["register"].as_str(), said["excepted"][0].as_str()),
        (Some("rtmr2"), Some("rtmr3"))
    );
    let keys = |binding: &str| {
        let keys = said["keys"].as_array().unwrap();
        keys.iter().find(|keys| keys["binding"] == binding).unwrap()["broken_by"].to_string()
    };
    assert_eq!((keys("kernel/2").as_str(), keys("firmware/2").as_str()), ("[\"RTMR2\"]", "[]"));
}

/// With the logs, the event that differs first is named; and a log that is not the guest's says nothing.
#[test]
fn the_event_that_differs_is_named() {
    let bulla = Bulla::with_host();
    let event = |content: &str| {
        let (digest, payload) = (hex::encode(sha384(&[content.as_bytes()])), hex::encode(content));
        format!(r#"{{"imr":2,"event_type":13,"digest":"{digest}","event":"","event_payload":"{payload}"}}"#)
    };
    let write = |name: &str, lines: [&str; 2]| {
        let rtmr2 = lines.iter().fold([0; 48], |value, line| sha384(&[&value, &sha384(&[line.as_bytes()])]));
        let empty = [0; 48];
        quote(&bulla, name, &[("rtmr0", empty), ("rtmr1", empty), ("rtmr2", rtmr2), ("rtmr3", empty)]);
        bulla.write(&format!("{name}.log"), format!("[{}]", lines.map(event).join(",")));
    };
    write("before", ["initrd", "console=ttyS0"]);
    write("after", ["initrd", "console=ttyS0 "]);
    let said = bulla.run("manifest compare before after --logs before.log after.log").text();
    assert!(
        said.contains("event 1 is the first that differs") && said.contains("\"console=ttyS0 \") after"),
        "{said}"
    );
    bulla
        .run("manifest compare before after --logs after.log after.log")
        .fails(10, &["[event_log.rtmr_mismatch]"]);
}
