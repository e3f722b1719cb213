//! The directory of a simulated machine: what is written, what is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bulla_crypto::Class;
use bulla_sim::{EnclaveIdentity, Error, Machine, Step, TdDescription};
use bulla_tee::{KeyRequest, Policy, SIMULATED_MARKER, Tee};
use tempfile::TempDir;

fn new() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("machine");
    Machine::create(&dir).unwrap();
    (parent, dir)
}

fn table(dir: &Path) -> toml::Table {
    fs::read_to_string(dir.join("machine.toml")).unwrap().parse().unwrap()
}

fn is_unavailable(result: Result<Machine, Error>) -> bool {
    let error = result.err().expect("it opened");
    assert_eq!((error.code(), error.class()), ("sim.unavailable", Class::Unavailable), "{error}");
    true
}

#[test]
fn a_new_machine_has_the_documented_file() {
    let (_parent, dir) = new();
    let file = table(&dir);
    let lengths = [
        ("seal_fuses", 32),
        ("report_key_seed", 32),
        ("tdx_report_key", 32),
        ("owner_epoch", 16),
        ("cpusvn", 16),
        ("tee_tcb_svn", 16),
        ("mrseam", 48),
        ("mrsignerseam", 48),
        ("seam_attributes", 8),
        ("xfrm", 8),
        ("ppid", 16),
        ("platform_instance_id", 16),
        ("qe_id", 16),
        ("fmspc", 6),
        ("pceid", 2),
    ];
    for (key, length) in lengths {
        assert_eq!(hex::decode(file[key].as_str().unwrap()).unwrap().len(), length, "{key}");
    }
    assert_eq!(file.len(), lengths.len() + 2, "and epc_bytes and pcesvn, no more");
    assert_eq!(file["epc_bytes"].as_integer().unwrap(), 128 << 20);
    // R15, R110: the marker.
    for key in ["cpusvn", "tee_tcb_svn"] {
        assert!(file[key].as_str().unwrap().ends_with(&hex::encode(SIMULATED_MARKER)), "{key}");
    }
    let names = ["machine.toml", "enclave.toml", "pki/pck.key", "pki/qe3.key", "pki/tdqe.key"];
    for name in names {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let text = fs::read_to_string(dir.join("machine.toml")).unwrap();
    assert!(text.starts_with("# A simulated machine"));
}

#[test]
fn nothing_is_written_over() {
    let (parent, dir) = new();
    let error = Machine::create(&dir).err().unwrap();
    assert_eq!((error.code(), error.class()), ("sim.not_empty", Class::Usage));
    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    Machine::create(&empty).unwrap();
    assert_eq!(Machine::create(dir.join("machine.toml")).err().unwrap().code(), "sim.write");
}

#[test]
fn a_missing_or_damaged_machine_is_unavailable() {
    let (parent, dir) = new();
    assert!(is_unavailable(Machine::open(parent.path().join("none"))));
    assert!(is_unavailable(Machine::open(parent.path())));

    let good = table(&dir);
    let path = dir.join("machine.toml");
    let write = |file: &toml::Table| fs::write(&path, file.to_string()).unwrap();
    for key in good.keys() {
        let mut missing = good.clone();
        missing.remove(key);
        write(&missing);
        assert!(is_unavailable(Machine::open(&dir)), "without {key}");
        if let Some(text) = good[key].as_str() {
            for bad in [&text[2..], &format!("{text}00"), &text.replacen(|_| true, "x", 1)] {
                let mut damaged = good.clone();
                damaged[key] = bad.into();
                write(&damaged);
                assert!(is_unavailable(Machine::open(&dir)), "{key} = {bad}");
            }
        }
    }
    let mut unknown = good.clone();
    unknown.insert("seal_fuse".into(), "00".into());
    write(&unknown);
    assert!(is_unavailable(Machine::open(&dir)), "an unknown key");
    // R15: a machine whose versions look real.
    for key in ["cpusvn", "tee_tcb_svn"] {
        let mut unmarked = good.clone();
        unmarked[key] = "05".repeat(16).into();
        write(&unmarked);
        assert!(is_unavailable(Machine::open(&dir)), "{key} without the marker");
        assert!(Machine::open(&dir).err().unwrap().to_string().contains("marker"));
    }
    fs::write(&path, "seal_fuses = ").unwrap();
    assert!(is_unavailable(Machine::open(&dir)));
    write(&good);
    Machine::open(&dir).unwrap();

    for name in ["pck.key", "qe3.key", "tdqe.key"] {
        let path = dir.join("pki").join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(is_unavailable(Machine::open(&dir)), "half of {name}");
        fs::remove_file(&path).unwrap();
        assert!(is_unavailable(Machine::open(&dir)), "without {name}");
        fs::write(&path, &whole).unwrap();
    }
    Machine::open(&dir).unwrap();
}

#[test]
fn microcode_moves_one_component_and_has_an_end() {
    let (_parent, dir) = new();
    let machine = Machine::open(&dir).unwrap();
    let before = table(&dir);
    let cpusvn = |dir: &Path| table(dir)["cpusvn"].as_str().unwrap().to_owned();
    machine.microcode(Step::Up).unwrap();
    assert_eq!(cpusvn(&dir)[..2], *"06");
    assert_eq!(cpusvn(&dir)[2..], before["cpusvn"].as_str().unwrap()[2..]);
    machine.microcode(Step::Down).unwrap();
    assert_eq!(table(&dir), before, "nothing else changed");

    let mut file = before;
    file["cpusvn"] = cpusvn(&dir).replacen("05", "fd", 1).into();
    fs::write(dir.join("machine.toml"), file.to_string()).unwrap();
    for _ in 0..3 {
        machine.microcode(Step::Up).unwrap();
        assert_eq!(cpusvn(&dir)[..2], *"fe");
    }
    // The certificate of such a component has an integer of two bytes.
    let machine = Machine::open(&dir).unwrap();
    machine.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
}

/// B38: each change is what its name says, and no more.
#[test]
fn a_change_changes_what_it_names_and_no_more() {
    type Change = fn(&Machine) -> Result<(), Error>;
    let identities = ["ppid", "platform_instance_id", "qe_id"];
    let changes: [(Change, &[&str]); 4] = [
        (Machine::platform_reset, &[&["seal_fuses"][..], &identities].concat()),
        (Machine::owner_epoch_reset, &["owner_epoch", "qe_id"]),
        (
            Machine::replace_processor,
            &[&["seal_fuses", "report_key_seed", "tdx_report_key"][..], &identities].concat(),
        ),
        (|machine| machine.add_features(0x6_0000), &["xfrm"]),
    ];
    for (change, keys) in changes {
        let (_parent, dir) = new();
        let machine = Machine::open(&dir).unwrap();
        let before = table(&dir);
        change(&machine).unwrap();
        let after = table(&dir);
        for (key, value) in &before {
            assert_eq!(after[key] != *value, keys.contains(&key.as_str()), "{key}, {keys:?}");
        }
        assert_eq!(Machine::open(&dir).unwrap().root_der(), machine.root_der());
    }
}

/// Another processor has another PCK; its quotes are as good as the first one's.
#[test]
fn a_new_processor_has_a_new_pck() {
    let (_parent, dir) = new();
    let machine = Machine::open(&dir).unwrap();
    let pck = || fs::read(dir.join("pki/pck.key")).unwrap();
    let before = pck();
    machine.platform_reset().unwrap();
    assert_eq!(pck(), before);
    machine.replace_processor().unwrap();
    assert_ne!(pck(), before);
    let quote = Machine::open(&dir).unwrap().td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap();
    assert_ne!(quote, machine.td_quote(&TdDescription::default_guest(), &[0; 64]).unwrap());
}

#[test]
fn features_add_up() {
    let (_parent, dir) = new();
    let xfrm = || Machine::open(&dir).unwrap().xfrm();
    assert_eq!(xfrm(), 3);
    for features in [0xE4, 0x6_0000, 1 << 63] {
        Machine::open(&dir).unwrap().add_features(features).unwrap();
    }
    assert_eq!(xfrm(), 0x8000_0000_0006_00E7);
    let machine = Machine::open(&dir).unwrap();
    assert_eq!(EnclaveIdentity::of_this_process(&machine).unwrap().attributes.xfrm, xfrm());
}

#[test]
fn two_machines_share_their_model_and_vendor_only() {
    let ((_one_parent, one), (_two_parent, two)) = (new(), new());
    let shared = [
        "cpusvn",
        "tee_tcb_svn",
        "mrseam",
        "mrsignerseam",
        "seam_attributes",
        "xfrm",
        "epc_bytes",
        "fmspc",
        "pceid",
        "pcesvn",
    ];
    for (key, value) in table(&one) {
        assert_eq!(table(&two)[&key] == value, shared.contains(&key.as_str()), "{key}");
    }
    assert_eq!(Machine::open(&one).unwrap().root_der(), Machine::open(&two).unwrap().root_der());
}

/// The key of a recorded request is the same in another process of the same executable.
#[test]
fn another_process_has_the_same_key() {
    const DIR: &str = "BULLA_SIM_TEST_DIR";
    const REQUEST: &str = "BULLA_SIM_TEST_REQUEST";
    let enclave = |dir: &Path| {
        let machine = Machine::open(dir).unwrap();
        machine.enclave(&EnclaveIdentity::of_this_process(&machine).unwrap()).unwrap()
    };
    if let (Some(dir), Ok(request)) = (std::env::var_os(DIR), std::env::var(REQUEST)) {
        let request = KeyRequest::decode("sim", &hex::decode(request).unwrap()).unwrap();
        println!("key {}", hex::encode(enclave(dir.as_ref()).derive(&request).unwrap().expose()));
        return;
    }
    let (_parent, dir) = new();
    let (request, key) = enclave(&dir).bind(&Policy::measurement()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_has_the_same_key", "--nocapture"])
        .env(DIR, &dir)
        .env(REQUEST, hex::encode(request.encode()))
        .output()
        .unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    assert!(said.contains(&format!("key {}", hex::encode(key.expose()))), "{said}");
}

#[test]
fn td_descriptions_are_read_strictly() {
    let default = TdDescription::default_guest();
    assert_eq!(TdDescription::from_toml("").unwrap(), default);
    assert_eq!(default.attributes, 1 << 28);
    let measured = [default.mrtd, default.rtmr[0], default.rtmr[1], default.rtmr[2], default.rtmr[3]];
    assert!(measured.iter().all(|register| *register != [0; 48]));
    assert_eq!((default.mrconfigid, default.mrowner, default.mrownerconfig), ([0; 48], [0; 48], [0; 48]));

    let names = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"];
    let text: String =
        (1..).zip(names).map(|(n, name)| format!("{name} = '{}'\n", format!("{n:02x}").repeat(48))).collect();
    let all = TdDescription::from_toml(&format!("{text}attributes = 0x4000_0000\nxfam = 'e7'\n")).unwrap();
    let registers = [
        all.mrtd,
        all.rtmr[0],
        all.rtmr[1],
        all.rtmr[2],
        all.rtmr[3],
        all.mrconfigid,
        all.mrowner,
        all.mrownerconfig,
    ];
    assert_eq!(registers, [1, 2, 3, 4, 5, 6, 7, 8].map(|byte| [byte; 48]));
    assert_eq!((all.attributes, all.xfam), (0x4000_0000, 0xE7));
    let perfmon = TdDescription::from_toml("attributes = '0x8000000010000000'\ndebug = true").unwrap();
    assert_eq!(perfmon.attributes, 0x8000_0000_1000_0001);
    assert_eq!(TdDescription::from_toml("debug = true").unwrap(), default.with_debug());

    let bad = [
        "mrsignerseam = '00'".to_owned(),
        "mrtd = 'ab'".to_owned(),
        format!("mrtd = '{}'", "g".repeat(96)),
        format!("mrtd = '{}'", "a".repeat(98)),
        "attributes = -1".to_owned(),
        "attributes = '12345678123456781'".to_owned(),
        "attributes = 'debug'".to_owned(),
        "debug = 1".to_owned(),
        "debug".to_owned(),
    ];
    for text in bad {
        let error = TdDescription::from_toml(&text).unwrap_err();
        assert_eq!((error.code(), error.class()), ("sim.description", Class::Usage), "{text}");
    }
}
