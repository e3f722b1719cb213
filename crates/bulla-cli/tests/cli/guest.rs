//! A TDX guest and its key provider, both as processes.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bulla, Ran, Serving, flipped, mode, rebuilt};

const PROVIDER: &str = "machine = \"sim:host\"\n[listen]\nlegacy = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
const GUEST: &str = "--machine sim-td:host";

/// A machine with its provider.
fn site() -> (Bulla, Serving) {
    let bulla = Bulla::with_host();
    bulla.write("provider.toml", PROVIDER);
    let provider = bulla.serve("provider.toml");
    (bulla, provider)
}

#[test]
fn a_guest_gets_its_key() {
    let (bulla, provider) = site();
    let request = format!("{GUEST} request {} --path app/db --purpose disk", provider.options());
    bulla.run(&format!("{request} -o key")).ok();
    let key = bulla.read("key");
    assert_eq!((key.len(), mode(&bulla.path("key"))), (32, 0o600));
    assert_eq!(bulla.run(&request).ok(), key, "on standard output too, and the same");
    for length in [16, 64] {
        assert_eq!(bulla.run(&format!("{request} --length {length}")).ok().len(), length);
    }
    for other in ["--path app/dc --purpose disk", "--path app/db --purpose disc"] {
        let line = format!("{GUEST} request {} {other}", provider.options());
        assert_ne!(bulla.run(&line).ok(), key);
    }
    assert!(!provider.seen.iter().any(|line| line.contains(&hex::encode(&key))));
}

#[test]
fn what_cannot_be_asked_for_is_usage() {
    let (bulla, provider) = site();
    for selectors in [
        "--path bulla/envelope --purpose sealing",
        "--path p --purpose P",
        "--path p --purpose p --length 15",
        "--path p --purpose p --length 65",
        &format!("--path {} --purpose p", "x".repeat(257)),
    ] {
        bulla
            .run(&format!("{GUEST} request {} {selectors} -o key", provider.options()))
            .fails(2, &["usage."]);
    }
    assert!(!bulla.path("key").exists());
}

/// It is sealed under a key that only this guest on this machine gets.
#[test]
fn a_guest_seals_through_its_provider() {
    let (bulla, provider) = site();
    let open = |guest: &str, options: &str, sealed: &[u8]| {
        bulla.run_with(&format!("--machine sim-td:{guest} unseal --context diary {options}"), sealed)
    };
    let seal = format!("{GUEST} seal --context diary {}", provider.options());
    let sealed = bulla.run_with(&seal, b"dear diary").ok();
    assert_eq!(open("host", &provider.options(), &sealed).ok(), b"dear diary");

    let inspected = bulla.run_with("inspect --json -", &sealed).json();
    let slot = &inspected["slots"][0];
    assert_eq!((slot["kind"].as_str(), slot["simulated"].as_bool()), (Some("sim"), Some(true)));
    assert_eq!(slot["claims"]["provider"], provider.id());
    assert_eq!(
        (&slot["claims"]["path"], &slot["claims"]["purpose"]),
        (&"bulla/envelope".into(), &"sealing".into())
    );

    bulla.write("other.toml", format!("rtmr2 = \"{}\"\n", "5a".repeat(48)));
    bulla.write("debug.toml", "debug = true\n");
    open("host,other.toml", &provider.options(), &sealed).fails(10, &["RTMR2", &"5a".repeat(48)]);
    open("host,debug.toml", &provider.options(), &sealed).fails(10, &["policy.debug"]);
    for at in (0..sealed.len()).step_by(23) {
        let ran = open("host", &provider.options(), &flipped(&sealed, at, at as u32 % 8));
        assert!(ran.fails(11, &[]).stdout.is_empty(), "byte {at}");
    }

    let restarted = {
        provider.kill();
        bulla.run("sim microcode host up").ok();
        bulla.serve("provider.toml")
    };
    assert_eq!(open("host", &restarted.options(), &sealed).ok(), b"dear diary");
    let nobody = restarted.options();
    drop(restarted);
    open("host", &nobody, &sealed).fails(14, &["cannot talk to the provider"]);
}

/// R15, B28: a blob of another backend, in both directions.
#[test]
fn an_enclave_and_a_guest_do_not_open_each_others_envelopes() {
    let (bulla, provider) = site();
    let guests =
        bulla.run_with(&format!("{GUEST} seal --context wallet {}", provider.options()), b"guest").ok();
    let enclaves = bulla.seal(b"enclave");
    bulla.unseal(&guests).fails(10, &["[machine.wrong_backend]"]);
    let unseal = format!("{GUEST} unseal --context wallet {}", provider.options());
    bulla.run_with(&unseal, &enclaves).fails(10, &["[machine.wrong_backend]"]);
    let unseal = format!("{GUEST} unseal --context wallet");
    for sealed in [&guests, &enclaves] {
        let ran = bulla.run_with(&unseal, sealed);
        assert!(ran.code != 0 && ran.stdout.is_empty(), "without a provider a guest has no key");
    }
}

/// R36: of two machines, each has its own provider.
#[test]
fn a_guest_of_another_machine_is_refused() {
    let (bulla, provider) = site();
    bulla.run("sim new other").ok();
    let request = format!("request {} --path p --purpose p -o key", provider.options());
    bulla.run(&format!("--machine sim-td:other {request}")).fails(10, &["another machine"]);
    bulla.write("debug.toml", "debug = true\n");
    bulla.run(&format!("--machine sim-td:host,debug.toml {request}")).fails(10, &["policy.debug"]);
    assert!(!bulla.path("key").exists());

    bulla.write("other.toml", PROVIDER.replace("sim:host", "sim:other"));
    bulla.set("other.toml", "state_dir", "\"other-state\"");
    let others = bulla.serve("other.toml");
    let seal = |machine: &str, provider: &Serving| {
        let line = format!("--machine sim-td:{machine} seal --context diary {}", provider.options());
        bulla.run_with(&line, b"dear diary").ok()
    };
    let (here, there) = (seal("host", &provider), seal("other", &others));
    let open = |machine: &str, provider: &Serving, sealed: &[u8]| {
        let line = format!("--machine sim-td:{machine} unseal --context diary {}", provider.options());
        bulla.run_with(&line, sealed)
    };
    open("other", &others, &here).fails(10, &["[machine.other_machine]"]);
    open("host", &provider, &there).fails(10, &["[machine.other_machine]"]);
    assert_eq!(open("other", &others, &there).ok(), b"dear diary");
}

/// R40, B21: the pin decides.
#[test]
fn another_provider_than_the_pinned_one_gets_no_order() {
    let (bulla, provider) = site();
    let request =
        format!("{GUEST} request --provider http://{} --path p --purpose p -o key", provider.http());
    let wrong = "11".repeat(32);
    let ran = bulla.run(&format!("{request} --provider-id {wrong}"));
    ran.fails(10, &[&wrong, provider.id(), "[untrusted_provider.measurement]"]);
    let ran = bulla.run(&format!("{request} --provider-id {} --authority {wrong}", provider.id()));
    ran.fails(10, &[&wrong, provider.said("authority: "), "[untrusted_provider.authority]"]);
    let named =
        format!("{request} --provider-id {} --authority {}", provider.id(), provider.said("authority: "));
    assert!(!bulla.path("key").exists());
    bulla.run(&named).ok();

    // The provider's own image, rebuilt.
    bulla.write("rebuilt.toml", format!("state_dir = \"rebuilt-state\"\n{PROVIDER}"));
    let bulla = {
        let copy = rebuilt(&bulla);
        bulla.with_program(copy)
    };
    let rebuilt = bulla.serve("rebuilt.toml");
    assert_ne!(rebuilt.id(), provider.id());
    let line =
        format!("{GUEST} request --provider http://{} --provider-id {}", rebuilt.http(), provider.id());
    bulla.run(&format!("{line} --path p --purpose p")).fails(10, &["[untrusted_provider.measurement]"]);
}

/// It does not start.
#[track_caller]
fn refusal(start: Result<Serving, Ran>, code: i32, words: &str) {
    match start {
        Ok(_) => panic!("it started: {words}"),
        Err(ran) => drop(ran.fails(code, &[words])),
    }
}

/// R108, B44: what is not understood is not passed over.
#[test]
fn wrong_settings_stop_the_start() {
    let bulla = Bulla::with_host();
    for (settings, code, words) in [
        ("", 2, "machine"),
        ("machine = \"sim:host\"\n[listen]\n", 2, "turn one on"),
        (&format!("policy = \"loose\"\n{PROVIDER}"), 1, "loose"),
        (&format!("{PROVIDER}ftp = \"127.0.0.1:0\"\n"), 2, "ftp"),
        (&PROVIDER.replace("127.0.0.1", "0.0.0.0"), 2, "loopback"),
        (&PROVIDER.replace("sim:host", "sim:missing"), 13, "missing"),
        (&PROVIDER.replace("sim:host", "sim-td:host"), 2, "SGX enclave"),
        (&PROVIDER.replace("sim:host", "sgx"), 13, "no SGX enclave here"),
        (&PROVIDER.replace("sim:host", "tpmx"), 2, "unknown machine"),
    ] {
        bulla.write("provider.toml", settings);
        refusal(bulla.try_serve("provider.toml"), code, words);
        assert_eq!(bulla.names("."), ["host", "provider.toml"], "nothing is made: {settings}");
    }
    refusal(bulla.try_serve("missing.toml"), 1, "missing.toml");
}

/// R46.
#[test]
fn two_providers_do_not_share_a_state() {
    let (bulla, _provider) = site();
    refusal(bulla.try_serve("provider.toml"), 13, "[state.locked]");
}

#[test]
fn an_interrupt_is_a_clean_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_bulla, provider) = site();
        let pid = Pid::from_raw(provider.process().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(provider.end(), Some(0));
    }
}

/// Keys of the TDX module take no provider, say to what they are bound, and are for that guest on that machine.
#[test]
fn a_guest_with_native_keys_seals_by_itself() {
    let bulla = Bulla::with_host();
    bulla.run("sim new other").ok();
    bulla.write("debug.toml", "debug = true\n");
    bulla.write("owned.toml", format!("mrowner = \"{}\"\n", "ab".repeat(48)));
    let native = "--machine sim-td-native:host";
    let sealed = bulla.run_with(&format!("{native} seal --context diary"), b"dear diary").ok();
    bulla.write("diary", &sealed);
    let shown = bulla.run("inspect diary").text();
    for word in ["by its TDX module", "MRTD", "RTMR3", "simulated"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let unseal =
        |machine: &str| bulla.run_with(&format!("--machine {machine} unseal --context diary"), &sealed);
    assert_eq!(unseal("sim-td-native:host").ok(), b"dear diary");
    unseal("sim-td-native:other").fails(10, &["another machine"]);
    unseal("sim-td-native:host,debug.toml").fails(10, &["ATTRIBUTES"]);
    unseal("sim-td-native:host,owned.toml").fails(2, &["MROWNER"]);
    unseal("sim-td:host").fails(2, &["key provider"]);
    unseal("sim:host").fails(10, &["tdx"]);

    let plan = |change: &str| bulla.run(&format!("{native} plan --after {change} diary"));
    assert!(plan("microcode-up").text().contains("diary: yes"));
    plan("microcode-down").fails(12, &[]);
    bulla.run("sim microcode host up").ok();
    assert_eq!(unseal("sim-td-native:host").ok(), b"dear diary");
}
