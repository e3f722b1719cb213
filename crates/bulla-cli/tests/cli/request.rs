//! Everything that a guest can ask its provider for, over everything that carries it.

use std::fs::File;
use std::process::Stdio;

use crate::authority::with_authority;
use crate::support::{Bulla, Ran, Serving, mode};

const PROVIDER: &str =
    "machine = \"sim:host\"\n[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nunix = \"socket\"\n";
const GUEST: &str = "--machine sim-td:host";

fn site() -> (Bulla, Serving) {
    let bulla = Bulla::with_host();
    let provider = serve(&bulla);
    (bulla, provider)
}

fn serve(bulla: &Bulla) -> Serving {
    bulla.write("provider.toml", PROVIDER);
    let mut provider = bulla.serve("provider.toml");
    provider.wait_for("listening on unix:");
    provider
}

fn at(provider: &Serving, address: &str) -> String {
    format!("--provider {address} --provider-id {}", provider.id())
}

fn https(provider: &Serving) -> String {
    at(provider, &format!("https://{}", provider.said("listening on https://")))
}

#[test]
fn every_carrier_leads_to_the_same_key() {
    let (bulla, provider) = site();
    let key = bulla.run(&format!("{GUEST} request {} --path p --purpose p", provider.options())).ok();
    for options in [https(&provider), format!("{} --session", https(&provider)), at(&provider, "unix:socket")]
    {
        assert_eq!(
            bulla.run(&format!("{GUEST} request {options} --path p --purpose p")).ok(),
            key,
            "{options}"
        );
    }
    let session = format!("{GUEST} request --session --path p --purpose p -o key");
    bulla
        .run(&format!("{session} {}", at(&provider, "unix:socket")))
        .fails(2, &["[usage.session]", "https://"]);
    bulla
        .run(&format!("{session} {}", at(&provider, "ftp://x")))
        .fails(2, &["[usage.address]", "vsock:CID:PORT"]);
    bulla.run(&format!("{session} {}", at(&provider, "unix:nothing"))).fails(2, &["[usage.session]"]);
    assert!(!bulla.path("key").exists());
}

/// What is shown of the guest changes no key, and neither does the way that it travels.
#[test]
fn evidence_and_suite_are_chosen() {
    let (bulla, provider) = site();
    let request = format!("{GUEST} request {} --path p --purpose p", provider.options());
    let key = bulla.run(&request).ok();
    for options in ["--evidence any", "--evidence quote", "--evidence report", "--suite x-wing"] {
        assert_eq!(bulla.run(&format!("{request} {options}")).ok(), key, "{options}");
    }
    let session =
        format!("{GUEST} request {} --session --evidence report --path p --purpose p", https(&provider));
    assert_eq!(bulla.run(&session).ok(), key);
    bulla.run(&format!("{request} --suite x25519")).fails(10, &["[policy-denied]"]);
    bulla.run(&format!("{session} --suite x25519")).fails(2, &["--session"]);
    bulla.run(&format!("{request} --evidence none")).fails(2, &["report"]);
}

#[test]
fn what_names_a_key_selects_it() {
    let (bulla, provider) = site();
    let request = format!("{GUEST} request {}", provider.options());
    let key = |options: &str| bulla.run(&format!("{request} --path p --purpose p {options}")).ok();
    let plain = key("");
    let root = bulla.run(&format!("{request} --path p --purpose p -o key"));
    let root = root.stderr.split("from root ").nth(1).unwrap().trim().to_owned();
    assert_eq!(key(&format!("--root {root}")), plain);
    assert_eq!(key(&format!("--provider-root {root}")), plain);
    assert_eq!(key("--binding measurement --algorithm hkdf-sha256 --length 32"), plain);
    let mut all = vec![plain];
    for options in [
        "--instance a",
        "--instance b",
        "--algorithm hkdf-sha384",
        "--algorithm x25519",
        "--algorithm x-wing",
    ] {
        let key = key(options);
        assert!(key.len() == 32 && !all.contains(&key), "{options}");
        all.push(key);
    }
    for (options, code) in [
        ("--root 00112233445566778899aabbccddeeff", "[unknown-root]"),
        ("--provider-root 00112233445566778899aabbccddeeff", "[untrusted_provider.root]"),
        ("--binding register-policy:boot,version=1", "[usage-denied]"),
    ] {
        bulla.run(&format!("{request} --path p --purpose p {options}")).fails(10, &[code]);
    }
    let owner = format!("--binding owner:{},product=wallet,svn=1", "ab".repeat(32));
    for (options, word) in [
        (owner.as_str(), "[usage.manifest]"),
        ("--root 00", "--root"),
        ("--binding owner:x", "owner:HEX"),
        ("--algorithm md5", "hkdf-sha384"),
        ("--algorithm x25519 --length 16", "[usage.selectors]"),
        ("--instance a/b", "[usage.selectors]"),
        ("--key p:p", "--path"),
    ] {
        bulla.run(&format!("{request} --path p --purpose p {options}")).fails(2, &[word]);
    }
}

/// R40.
#[test]
fn r40_a_pin_is_a_measurement_or_a_signer() {
    let (bulla, provider) = site();
    let line =
        |pin: &str| format!("{GUEST} request --provider unix:socket {pin} --path p --purpose p -o key");
    let (signer, terms) =
        (bulla.value("host/enclave.toml", "signer"), |product, svn| format!(",product={product},svn={svn}"));
    let signer = signer.trim_matches('"');
    bulla.run(&line(&format!("--provider-signer {signer}{}", terms(1, 1)))).ok();
    std::fs::remove_file(bulla.path("key")).unwrap();
    for (pin, code) in [
        (format!("{}{}", "00".repeat(32), terms(1, 1)), "[untrusted_provider.signer]"),
        (format!("{signer}{}", terms(9, 1)), "[untrusted_provider.product]"),
        (format!("{signer}{}", terms(1, 9)), "[untrusted_provider.svn]"),
    ] {
        bulla.run(&line(&format!("--provider-signer {pin}"))).fails(10, &[code]);
    }
    bulla.run(&line("")).fails(2, &["a client without a pin stops"]);
    bulla.run(&line(&format!("--provider-signer {signer}"))).fails(2, &["product=N"]);
    bulla
        .run(&line(&format!("--provider-id {} --provider-signer x", provider.id())))
        .fails(2, &["--provider-signer"]);
    assert!(!bulla.path("key").exists());
}

#[test]
fn several_keys_go_where_each_belongs() {
    let (bulla, provider) = site();
    let request = format!("{GUEST} request {}", https(&provider));
    let single = |selectors: &str| bulla.run(&format!("{request} {selectors}")).ok();
    let wanted = [
        single("--path a:b --purpose p"),
        single("--path a --purpose p --algorithm hkdf-sha384 --length 48"),
        single("--path a --purpose q --algorithm x-wing"),
    ];
    let keys = "--key a:b:p --key a:p,hkdf-sha384,48 --key a:q,x-wing";
    for session in ["", "--session"] {
        bulla.run(&format!("{request} {session} {keys} -o 1 -o 2 -o 3")).ok();
        assert_eq!(["1", "2", "3"].map(|name| bulla.read(name)), wanted);
        assert_eq!(mode(&bulla.path("2")), 0o600);
    }
    for outputs in ["", "-o one", "-o 1 -o 2 -o 3 -o 4", "--fd 1", "-o 1 --fd 1"] {
        bulla.run(&format!("{request} {keys} {outputs}")).fails(2, &[]);
    }
    bulla.run(&format!("{request} --path a --purpose p --fd 99")).fails(1, &["descriptor 99"]);

    // Into a descriptor, here that of standard output in another place.
    let output = bulla.path("fd");
    let mut command = bulla.command(&format!("{request} --path a:b --purpose p --fd 2"));
    let ran = command.stdin(Stdio::null()).stderr(File::create(&output).unwrap()).output().unwrap();
    assert!(ran.status.success() && ran.stdout.is_empty());
    assert!(std::fs::read(&output).unwrap().windows(32).any(|bytes| bytes == wanted[0]));
}

/// R89: from the provider into a command, and nowhere else.
#[test]
fn r89_a_key_goes_straight_to_a_command() {
    let (bulla, provider) = site();
    let key = bulla.run(&format!("{GUEST} request {} --path a=b --purpose p", provider.options())).ok();
    let run = |options: &str, command: &[&str]| {
        let mut line = bulla.command(&format!("{GUEST} exec {} {options} --", provider.options()));
        Ran::of(line.args(command), b"")
    };
    assert_eq!(run("--request a=b:p", &["cat", "{key}"]).ok(), key);
    let two = run("--request a=b:p=hex --request c:p,hkdf-sha256,16", &["cat", "{key:1}", "{key:2}"]).ok();
    assert_eq!(two[..65], *format!("{}\n", hex::encode(&key)).as_bytes());
    assert_eq!(two.len(), 65 + 16);
    let seen = run(
        "--request a=b:p",
        &["sh", "-c", "cat /proc/self/cmdline /proc/self/environ; ls; echo $0", "{key}"],
    )
    .ok();
    assert!(!seen.windows(8).any(|bytes| key.starts_with(bytes)));
    assert_eq!(run("--instance x --request a=b:p", &["wc", "-c", "{key}"]).ok()[..2], *b"32");
    assert_ne!(run("--instance x --request a=b:p", &["cat", "{key}"]).ok(), key);
    run("--request a=b:p", &["true"]).fails(2, &["no place"]);
    run("--request bulla/envelope:sealing", &["cat", "{key}"]).fails(2, &["[usage.reserved_path]"]);
    let none = bulla.run(&format!("{GUEST} exec --request a:p -- cat {{key}}"));
    none.fails(2, &["--provider"]);
}

/// Two images of one owner, and somebody else's: who may open what the first has sealed.
#[test]
fn what_is_sealed_for_an_owner_opens_for_the_owners_images() {
    let bulla = with_authority(1);
    if !bulla.path("host").exists() {
        bulla.run("sim new host").ok();
    }
    let provider = serve(&bulla);
    let id = |name: &str| {
        bulla.run(&format!("authority show {name} --json")).json()["id"].as_str().unwrap().to_owned()
    };
    let owner = id("acme");
    bulla.run("authority new --name mallory --key b.pub -o mallory").ok();
    let mallory = id("mallory");
    let image = |name: &str, rtmr2: &str| {
        bulla.write(&format!("{name}.toml"), format!("rtmr2 = \"{}\"\n", rtmr2.repeat(48)));
        bulla.run(&format!("sim quote host --td {name}.toml -o {name}.quote")).ok();
    };
    let grant = |descriptor: &str, key: &str, name: &str, product: &str, svn: u32, file: &str| {
        let new = format!(
            "manifest new --owner {descriptor} --product {product} --svn {svn} --evidence {name}.quote -o m"
        );
        bulla.run(&new).ok();
        bulla.run(&format!("manifest sign --descriptor {descriptor} --key {key} m -o {file}")).ok();
    };
    image("one", "01");
    image("two", "02");
    grant("acme", "a", "one", "wallet", 3, "one.signed");
    grant("acme", "a", "two", "wallet", 4, "two.signed");
    grant("acme", "a", "two", "wallet", 2, "two.old");
    grant("acme", "a", "two", "other", 9, "two.other");
    grant("mallory", "b", "one", "wallet", 9, "one.mallory");
    grant("mallory", "b", "two", "wallet", 9, "two.mallory");

    let options = provider.options();
    let guest = |name: &str| format!("--machine sim-td:host,{name}.toml");
    let seal = |name: &str, owner: &str, manifest: &str, svn: u32| {
        let entitled = format!("--owner {owner} --manifest {manifest}");
        let binding = format!("--binding owner:{owner},product=wallet,svn={svn}");
        bulla.run_with(
            &format!("{} seal {options} --context diary {entitled} {binding}", guest(name)),
            b"secret",
        )
    };
    let open = |name: &str, entitled: &str, sealed: &[u8]| {
        bulla.run_with(&format!("{} unseal {options} --context diary {entitled}", guest(name)), sealed)
    };
    let sealed = seal("one", &owner, "one.signed", 3).ok();
    bulla.write("sealed", &sealed);
    let shown = bulla.run("inspect sealed").text();
    assert!(shown.contains(&format!("owner:{owner},product=wallet,svn=3")), "{shown}");
    let entitled = |manifest: &str| format!("--owner {owner} --manifest {manifest}");
    assert_eq!(open("one", &entitled("one.signed"), &sealed).ok(), b"secret");
    assert_eq!(
        open("two", &entitled("two.signed"), &sealed).ok(),
        b"secret",
        "the next image, at the recorded version"
    );

    open("two", &entitled("two.old"), &sealed).fails(10, &["[svn-too-high]"]);
    open("two", &entitled("two.other"), &sealed).fails(10, &["[manifest-invalid]"]);
    open("two", &entitled("one.signed"), &sealed).fails(10, &["[manifest-invalid]"]);
    open("two", &entitled("two.mallory"), &sealed).fails(10, &["[manifest-invalid]"]);
    open("two", "", &sealed).fails(2, &["[usage.manifest]"]);
    seal("one", &owner, "one.signed", 4).fails(10, &["[svn-too-high]"]);
    // The owner comes from the image: what another owner's images could have sealed is not opened, whatever manifest the host brings.
    let foreign = seal("one", &mallory, "one.mallory", 1).ok();
    open("two", &entitled("two.mallory"), &foreign).fails(10, &["[machine.other_identity]", "owner"]);
}
