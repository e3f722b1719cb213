//! What each policy binds to, on a machine that then changes: what was predicted is what happens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::PathBuf;

use bulla_sim::{EnclaveIdentity, Machine, Step};
use bulla_tee::sgx::arch::flags;
use bulla_tee::{Error, Floor, Identity, KeyRequest, Outlook, PlatformState, Policy, SIMULATED_MARKER, Tee};
use tempfile::TempDir;

/// A machine, and the directory that keeps it.
struct Host {
    _parent: TempDir,
    dir: PathBuf,
}

impl Host {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("machine");
        Machine::create(&dir).unwrap();
        Self { _parent: parent, dir }
    }

    fn machine(&self) -> Machine {
        Machine::open(&self.dir).unwrap()
    }

    fn bind(&self, identity: &EnclaveIdentity, policy: &Policy) -> (KeyRequest, Vec<u8>) {
        let (request, key) = self.machine().enclave(identity).unwrap().bind(policy).unwrap();
        (request, key.expose().to_vec())
    }

    fn derive(&self, identity: &EnclaveIdentity, request: &KeyRequest) -> Result<Vec<u8>, Error> {
        Ok(self.machine().enclave(identity)?.derive(request)?.expose().to_vec())
    }

    fn identity(&self, identity: &EnclaveIdentity) -> Identity {
        self.machine().enclave(identity).unwrap().identity().unwrap()
    }

    fn set_cpusvn(&self, live: [u8; 8]) {
        let path = self.dir.join("machine.toml");
        let mut file: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        file["cpusvn"] = hex::encode(svn(live)).into();
        fs::write(&path, file.to_string()).unwrap();
    }
}

fn svn(live: [u8; 8]) -> [u8; 16] {
    [live, SIMULATED_MARKER].concat().try_into().unwrap()
}

/// The program that seals: it has every register.
fn app() -> EnclaveIdentity {
    let mut app = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
    app.attributes.flags |= flags::KSS;
    EnclaveIdentity {
        config_id: [0xC1; 64],
        config_svn: 9,
        isv_family_id: [0xFA; 16],
        isv_ext_prod_id: [0xE7; 16],
        ..app
    }
}

const POLICIES: [&str; 6] = [
    "measurement",
    "signer:product=7,svn=2,label=acme",
    "registers:MRENCLAVE+CONFIGID",
    "registers:MRENCLAVE+MRSIGNER,product=7,svn=3,label=acme",
    "registers:MRSIGNER+CONFIGID,product=7,svn=2,label=acme",
    "registers:MRSIGNER+ISVFAMILYID+ISVEXTPRODID,product=7,svn=0,label=acme",
];

fn policies() -> impl Iterator<Item = Policy> {
    POLICIES.into_iter().map(|text| text.parse().unwrap())
}

/// Programs that may try: the name says in what they differ.
fn programs() -> Vec<(&'static str, EnclaveIdentity)> {
    let changed = |change: fn(&mut EnclaveIdentity)| {
        let mut program = app();
        change(&mut program);
        program
    };
    vec![
        ("the same", app()),
        ("the next release", changed(|p| (p.mrenclave, p.isv_svn) = ([0xE2; 32], 4))),
        ("the release before", changed(|p| (p.mrenclave, p.isv_svn) = ([0xE0; 32], 2))),
        ("an old release", changed(|p| (p.mrenclave, p.isv_svn) = ([0xDF; 32], 1))),
        ("another product", changed(|p| p.isv_prod_id = 8)),
        ("another signer", changed(|p| p.mrsigner = [0x52; 32])),
        ("another signer's build", changed(|p| (p.mrsigner, p.mrenclave) = ([0x52; 32], [0xE2; 32]))),
        ("debug", app().with_debug()),
        ("another configuration", changed(|p| p.config_id = [0xC2; 64])),
        ("a newer configuration", changed(|p| p.config_svn = 10)),
        ("an older configuration", changed(|p| p.config_svn = 8)),
        ("another family", changed(|p| p.isv_family_id = [0; 16])),
        ("another extended product", changed(|p| p.isv_ext_prod_id = [0; 16])),
        ("without KSS", EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)),
        ("more features", changed(|p| p.attributes.xfrm |= 0x6_00E4)),
        ("saves more on exits", changed(|p| p.misc_select = 3)),
    ]
}

/// Checks one prediction against what the machine does, and says which of the three it was.
#[track_caller]
fn assert_holds(prediction: &Outlook, result: &Result<Vec<u8>, Error>, key: &[u8]) -> usize {
    match (prediction, result) {
        (Outlook::Opens, Ok(found)) => {
            assert_eq!(found, key);
            0
        }
        (Outlook::MayNot(_), Ok(found)) => {
            assert_eq!(found, key);
            1
        }
        (Outlook::MayNot(_), Err(error)) => {
            assert!(matches!(error, Error::TcbTooOld { .. } | Error::OtherMachine), "{error}");
            1
        }
        // One of two good reasons: nothing may have been known of the machine's keys.
        (Outlook::DoesNot(Error::TcbTooOld { register: "CPUSVN", .. }), Err(Error::OtherMachine)) => 2,
        (Outlook::DoesNot(predicted), Err(error)) => {
            assert_eq!(predicted.code(), error.code());
            2
        }
        (prediction, result) => panic!("{prediction:?} was predicted, and {result:?} happened"),
    }
}

/// R3, R4, R7, R8, R9: who opens under each policy is who the registers admit, and `opens_under` knows it.
#[test]
fn each_policy_admits_whom_it_names() {
    let host = Host::new();
    let mut admitted = Vec::new();
    for policy in policies() {
        let (request, key) = host.bind(&app(), &policy);
        assert_eq!(request.policy(), policy);
        let mut who = Vec::new();
        for (name, program) in programs() {
            let identity = host.identity(&program);
            let here = PlatformState::here(&identity).confirmed();
            let result = host.derive(&program, &request);
            assert_holds(&request.opens_under(&identity, &here), &result, &key);
            if result.is_ok() {
                who.push(name);
            }
        }
        admitted.push(who);
    }
    let always = ["the same", "more features", "saves more on exits"];
    let releases = ["the next release", "the release before"];
    let config = ["another configuration", "a newer configuration", "an older configuration"];
    let ids = ["another family", "another extended product"];
    let wanted: [&[&[&str]]; 6] = [
        &[&always, &config, &ids, &["another signer", "without KSS"]],
        &[&always, &releases, &config, &ids, &["without KSS"]],
        &[&always, &ids, &["another signer", "a newer configuration"]],
        &[&always, &config, &ids, &["without KSS"]],
        &[&always, &releases, &ids, &["a newer configuration"]],
        &[&always, &releases, &config, &["an old release"]],
    ];
    for ((mut who, wanted), policy) in admitted.into_iter().zip(wanted).zip(POLICIES) {
        let mut wanted = wanted.concat();
        who.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(who, wanted, "{policy}");
    }
}

/// R1, R16: the keys of one program under different policies have nothing to do with each other, and a request whose policy was
/// exchanged gets another key or none.
#[test]
fn policies_cannot_be_exchanged() {
    let host = Host::new();
    let (request, key) =
        host.bind(&app(), &"registers:MRENCLAVE+MRSIGNER,product=7,svn=3,label=acme".parse().unwrap());
    let KeyRequest::Simulated(inner) = &request else { panic!("not simulated") };
    let KeyRequest::Sgx(sgx) = inner.as_ref() else { panic!("not SGX") };
    for keypolicy in 0..=u8::MAX {
        let mut changed = sgx.as_ref().clone();
        changed.keypolicy = keypolicy.into();
        if keypolicy & 2 == 0 {
            changed.label.clear();
        }
        let same = changed == **sgx;
        let changed = KeyRequest::Simulated(Box::new(KeyRequest::Sgx(Box::new(changed))));
        assert_eq!(host.derive(&app(), &changed).is_ok_and(|found| found == key), same, "{keypolicy:#b}");
    }
}

/// R7, R9, R14: what cannot be bound is refused, and by which error.
#[test]
fn what_cannot_be_bound_is_refused() {
    let host = Host::new();
    let plain = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
    let code = |program: &EnclaveIdentity, policy: Policy| {
        host.machine().enclave(program).unwrap().bind(&policy).err().unwrap().code()
    };
    let parsed = |text: &str| text.parse::<Policy>().unwrap();
    assert_eq!(code(&plain, parsed("registers:MRENCLAVE+CONFIGID")), "machine.unsupported");
    assert_eq!(code(&app(), parsed("signer:product=8,svn=0,label=acme")), "policy.outside");
    assert_eq!(code(&app(), parsed("signer:product=7,svn=4,label=acme")), "policy.outside");
    let unnamed = Policy::measurement().with_register(bulla_tee::Register::MrSigner);
    assert_eq!(code(&app(), unnamed), "policy.under_bound");
}

/// R5: every pair of a sealing and an opening CPUSVN, mixed components among them: it opens exactly if no component has
/// fallen.
#[test]
fn cpusvn_matrix() {
    let host = Host::new();
    let versions = [
        [5, 5, 2, 2, 3, 1, 0, 3],
        [6, 5, 2, 2, 3, 1, 0, 3],
        [5, 5, 2, 2, 3, 1, 0, 4],
        // Mixed: higher in one component than the first, and lower in another.
        [6, 4, 2, 2, 3, 1, 0, 3],
        [4, 9, 9, 9, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9, 9],
        [0; 8],
    ];
    let mut opened = 0;
    for sealed in versions {
        host.set_cpusvn(sealed);
        let (request, key) = host.bind(&app(), &Policy::default());
        for current in versions {
            host.set_cpusvn(current);
            let reached = sealed.iter().zip(current).all(|(sealed, current)| *sealed <= current);
            match host.derive(&app(), &request) {
                Ok(found) => {
                    assert!(reached, "{sealed:?} {current:?}");
                    assert_eq!(found, key);
                    opened += 1;
                }
                Err(Error::TcbTooOld { register: "CPUSVN", .. }) => {
                    assert!(!reached, "{sealed:?} {current:?}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(opened, 4 + 2 + 2 + 3 + 2 + 1 + 7);
}

/// R5: every pair of a sealing and an opening ISVSVN and CONFIGSVN.
#[test]
fn isvsvn_and_configsvn_matrix() {
    let host = Host::new();
    let at = |(isv_svn, config_svn)| EnclaveIdentity { isv_svn, config_svn, ..app() };
    let policy = "registers:MRENCLAVE+CONFIGID".parse().unwrap();
    let versions: Vec<(u16, u16)> = (0..3).flat_map(|isv| (0..3).map(move |config| (isv, config))).collect();
    for sealed in &versions {
        let (request, key) = host.bind(&at(*sealed), &policy);
        for current in &versions {
            let result = host.derive(&at(*current), &request);
            let wanted = match (sealed.0 <= current.0, sealed.1 <= current.1) {
                (true, true) => None,
                (false, _) => Some("ISVSVN"),
                (true, false) => Some("CONFIGSVN"),
            };
            match (result, wanted) {
                (Ok(found), None) => assert_eq!(found, key),
                (Err(Error::TcbTooOld { register, .. }), Some(wanted)) => assert_eq!(register, wanted),
                (result, _) => panic!("{sealed:?} {current:?}: {result:?}"),
            }
        }
    }
}

/// A change of the machine, and what is known of it beforehand.
struct Change {
    name: &'static str,
    carry_out: fn(&Host) -> Host,
    plan: fn(PlatformState) -> PlatformState,
}

/// The same machine after `change`, on a copy of its directory.
fn copied(host: &Host, change: impl Fn(&Machine)) -> Host {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("machine");
    copy(&host.dir, &dir);
    change(&Machine::open(&dir).unwrap());
    Host { _parent: parent, dir }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

const CHANGES: [Change; 10] = [
    Change { name: "none", carry_out: |host| copied(host, |_| ()), plan: |state| state },
    Change {
        name: "microcode up",
        carry_out: |host| copied(host, |m| m.microcode(Step::Up).unwrap()),
        plan: PlatformState::after_microcode_up,
    },
    Change {
        name: "microcode down",
        carry_out: |host| copied(host, |m| m.microcode(Step::Down).unwrap()),
        plan: PlatformState::after_microcode_down,
    },
    Change {
        name: "microcode down and up",
        carry_out: |host| {
            copied(host, |m| [Step::Down, Step::Up].iter().for_each(|step| m.microcode(*step).unwrap()))
        },
        plan: |state| state.after_microcode_down().after_microcode_up(),
    },
    Change {
        name: "a feature more",
        carry_out: |host| copied(host, |m| m.add_features(0x6_0000).unwrap()),
        plan: |state| state,
    },
    Change {
        name: "a firmware update that ends the keys",
        carry_out: |host| copied(host, |m| m.platform_reset().unwrap()),
        plan: PlatformState::after_firmware_update,
    },
    Change {
        name: "a firmware update that does not",
        carry_out: |host| copied(host, |m| m.microcode(Step::Up).unwrap()),
        plan: |state| state.after_firmware_update().after_microcode_up(),
    },
    Change {
        name: "owner epoch",
        carry_out: |host| copied(host, |m| m.owner_epoch_reset().unwrap()),
        plan: PlatformState::with_other_keys,
    },
    Change {
        name: "another processor",
        carry_out: |host| copied(host, |m| m.replace_processor().unwrap()),
        plan: PlatformState::with_other_keys,
    },
    Change { name: "another host", carry_out: |_| Host::new(), plan: PlatformState::with_other_keys },
];

/// B38, R88: (blob, change, program) triples, predicted and then carried out. A blob was sealed now, at an older or at a
/// newer microcode, or on another host; a prediction rests on whether it opens now, as a plan knows it.
#[test]
fn predictions_come_true() {
    let host = Host::new();
    let mut counts = [0; 3];
    let mut sealed = Vec::new();
    for policy in policies() {
        for step in [Step::Down, Step::Up, Step::Up, Step::Down] {
            host.machine().microcode(step).unwrap();
            sealed.push(host.bind(&app(), &policy));
        }
        sealed.push(Host::new().bind(&app(), &policy));
    }
    let program = |name| programs().into_iter().find(|(found, _)| *found == name).unwrap().1;
    let planned = ["the same", "the next release", "an old release", "debug", "another signer"].map(program);
    let now = PlatformState::here(&host.identity(&app()));
    for change in CHANGES {
        let after = (change.carry_out)(&host);
        for (request, key) in &sealed {
            let confirmed = host.derive(&app(), request).is_ok();
            let start = if confirmed { now.clone().confirmed() } else { now.clone() };
            for program in &planned {
                let prediction = request.opens_under(&host.identity(program), &(change.plan)(start.clone()));
                let result = after.derive(program, request);
                let which = assert_holds(&prediction, &result, key);
                counts[which] += 1;
                // What opens now, on this machine, is a matter of doubt only where the machine's own knowledge is.
                if which == 1 && confirmed {
                    let doubtful = ["microcode down", "microcode down and up"].contains(&change.name);
                    assert!(doubtful || change.name.starts_with("a firmware"), "{}", change.name);
                }
            }
        }
    }
    assert_eq!(counts.iter().sum::<usize>(), CHANGES.len() * 30 * 5);
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

/// B38 in one line each, without any knowledge but the machine's.
#[test]
fn what_each_change_does_to_a_sealed_key() {
    let host = Host::new();
    let (request, key) = host.bind(&app(), &Policy::default());
    for change in CHANGES {
        let result = (change.carry_out)(&host).derive(&app(), &request);
        let code = match change.name {
            "microcode down" => Some("machine.tcb_too_old"),
            "a firmware update that ends the keys" | "owner epoch" | "another processor" | "another host" => {
                Some("machine.other_machine")
            }
            _ => None,
        };
        assert_eq!(result.as_ref().err().map(Error::code), code, "{}", change.name);
        assert!(code.is_some() || result.unwrap() == key, "{}", change.name);
    }
}

/// R5, R6, R83: a floor on CPUSVN follows the microcode up, as far as the processor shows that it is higher, and never down.
#[test]
fn a_floor_admits_a_higher_cpusvn_only() {
    let host = Host::new();
    let (before, _) = host.bind(&app(), &Policy::default());
    let floor =
        Floor::default().raise(&Floor { cpusvn: [svn([5, 5, 2, 2, 3, 1, 0, 3])].into(), ..Floor::default() });
    let floor = floor.unwrap();
    floor.check(&before).unwrap();
    let admit = |floor: &Floor| floor.admit_present(&host.machine().enclave(&app()).unwrap());
    assert_eq!(admit(&floor).unwrap(), floor, "it is there already");

    host.machine().microcode(Step::Up).unwrap();
    let (after, _) = host.bind(&app(), &Policy::default());
    assert_eq!(floor.check(&after).unwrap_err().code(), "machine.below_floor");
    let both = admit(&floor).unwrap();
    both.check(&before).unwrap();
    both.check(&after).unwrap();
    let new_only = Floor { cpusvn: [svn([6, 5, 2, 2, 3, 1, 0, 3])].into(), ..Floor::default() };
    let new_only = both.raise(&new_only).unwrap();
    assert_eq!(new_only.check(&before).unwrap_err().code(), "machine.below_floor");

    // Down again, and aside: lower in another component.
    for live in [[5, 5, 2, 2, 3, 1, 0, 3], [9, 4, 2, 2, 3, 1, 0, 3]] {
        host.set_cpusvn(live);
        assert_eq!(admit(&both).unwrap_err().code(), "machine.tcb_too_old");
        assert_eq!(admit(&new_only).unwrap_err().code(), "machine.tcb_too_old");
    }
    // Without a floor there is nothing to admit to.
    assert_eq!(admit(&Floor::default()).unwrap(), Floor::default());
}
