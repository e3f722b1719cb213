//! What a plan says of an envelope is what then happens (R88): every kind of envelope with every kind of change, each forecast
//! first and then carried out.

use std::io::{self, Write};

use bulla::plan::{Change, Verdict, forecast};
use bulla::{Floor, Header, Kem, Policy, RecipientKey, Register, Rewrap, Sealer, SignerPolicy, Unsealer};
use bulla_sim::{EnclaveIdentity, SimulatedEnclave, Step};
use bulla_tee::Tee;
use bulla_tee::sgx::arch::flags;

use crate::machine::TestMachine;

/// What an envelope is sealed by: the enclave of every pair, before the change.
fn program(machine: &TestMachine, change: fn(&mut EnclaveIdentity)) -> SimulatedEnclave {
    let kss = |identity: &mut EnclaveIdentity| {
        identity.attributes.flags |= flags::KSS;
        (identity.config_id, identity.isv_family_id) = ([0xC0; 64], [0xFA; 16]);
    };
    machine.program_of(|identity| {
        kss(identity);
        change(identity);
    })
}

struct World {
    machine: TestMachine,
    keys: [RecipientKey; 2],
}

type Envelope = (&'static str, fn(World) -> (World, Vec<u8>));
type Event = (&'static str, fn(World) -> Planned);

/// A change that is planned, and how it is carried out: the machine or the program of afterwards, and the floor.
struct Planned {
    change: Change,
    carry_out: Box<dyn FnOnce() -> (SimulatedEnclave, Floor)>,
}

fn release() -> Policy {
    Policy::signer(SignerPolicy { product: 7, min_svn: 2, label: "acme".into() })
}

fn sealed(world: &World, build: impl Fn(Sealer<'_>) -> Sealer<'_>, policy: Option<Policy>) -> Vec<u8> {
    let enclave = program(&world.machine, |_| ());
    let sealer = build(Sealer::new("test"));
    match policy {
        Some(policy) => sealer.machine(&enclave, policy).seal(b"secret").unwrap(),
        None => sealer.seal(b"secret").unwrap(),
    }
}

const ENVELOPES: [Envelope; 11] = [
    ("measurement", |world| {
        let envelope = sealed(&world, |sealer| sealer, Some(Policy::measurement()));
        (world, envelope)
    }),
    ("signer", |world| {
        let envelope = sealed(&world, |sealer| sealer, Some(release()));
        (world, envelope)
    }),
    ("measurement and CONFIGID", |world| {
        let policy = Policy::measurement().with_register(Register::ConfigId);
        let envelope = sealed(&world, |sealer| sealer, Some(policy));
        (world, envelope)
    }),
    ("signer and ISVFAMILYID", |world| {
        let policy = release().with_register(Register::IsvFamilyId);
        let envelope = sealed(&world, |sealer| sealer, Some(policy));
        (world, envelope)
    }),
    ("sealed before an update", |world| {
        let envelope = sealed(&world, |sealer| sealer, Some(Policy::measurement()));
        (World { machine: world.machine.microcode(Step::Up), ..world }, envelope)
    }),
    ("refreshed after an update", |world| {
        let envelope = sealed(&world, |sealer| sealer, Some(Policy::measurement()));
        let world = World { machine: world.machine.microcode(Step::Up), ..world };
        let enclave = program(&world.machine, |_| ());
        let mut refreshed = Vec::new();
        let unsealer = Unsealer::new("test").machine(&enclave);
        Rewrap::new().refresh(&enclave).run(&unsealer, envelope.as_slice(), &mut refreshed).unwrap();
        (world, refreshed)
    }),
    ("measurement and recovery", |world| {
        let recipient = world.keys[0].recipient().clone();
        let envelope = sealed(&world, |sealer| sealer.recovery(&recipient), Some(Policy::measurement()));
        (world, envelope)
    }),
    ("recovery alone", |world| {
        let recipient = world.keys[0].recipient().clone();
        let envelope = sealed(&world, |sealer| sealer.recovery(&recipient), None);
        (world, envelope)
    }),
    ("threshold alone", |world| {
        let recipients = world.keys.each_ref().map(|key| key.recipient().clone());
        let envelope = sealed(&world, |sealer| sealer.threshold(2, &recipients), None);
        (world, envelope)
    }),
    ("of epoch 4", |world| {
        let envelope = sealed(&world, |sealer| sealer.epoch(4), Some(Policy::measurement()));
        (world, envelope)
    }),
    ("for this program and the next", |world| {
        let envelope = sealed(&world, |sealer| sealer, Some(Policy::measurement()));
        let (enclave, next) = (program(&world.machine, |_| ()), program(&world.machine, rebuilt));
        let mut both = Vec::new();
        let unsealer = Unsealer::new("test").machine(&enclave);
        Rewrap::new()
            .machine(&next, Policy::measurement())
            .run(&unsealer, envelope.as_slice(), &mut both)
            .unwrap();
        (world, both)
    }),
];

fn rebuilt(identity: &mut EnclaveIdentity) {
    identity.mrenclave[0] = 1;
}

fn planned(change: Change, carry_out: impl FnOnce() -> (SimulatedEnclave, Floor) + 'static) -> Planned {
    Planned { change, carry_out: Box::new(carry_out) }
}

fn platform(change: Change, world: World, carry_out: fn(TestMachine) -> TestMachine) -> Planned {
    planned(change, move || (program(&carry_out(world.machine), |_| ()), Floor::default()))
}

fn identity(world: World, change: fn(&mut EnclaveIdentity)) -> Planned {
    let next = program(&world.machine, change);
    let identity = next.identity().unwrap();
    planned(Change::Identity(Box::new(identity)), move || (next, Floor::default()))
}

fn floor(world: World, floor: Floor) -> Planned {
    planned(Change::Floor(floor.clone()), move || (program(&world.machine, |_| ()), floor))
}

const EVENTS: [Event; 13] = [
    ("microcode-up", |world| platform(Change::MicrocodeUp, world, |machine| machine.microcode(Step::Up))),
    ("microcode-down", |world| {
        platform(Change::MicrocodeDown, world, |machine| machine.microcode(Step::Down))
    }),
    ("firmware-update", |world| platform(Change::FirmwareUpdate, world, TestMachine::platform_reset)),
    ("host", |world| platform(Change::Host, world, |_| TestMachine::new())),
    ("rebuild", |world| identity(world, rebuilt)),
    ("rebuild of a later version", |world| {
        identity(world, |identity| {
            rebuilt(identity);
            identity.isv_svn = 9;
        })
    }),
    ("rebuild of an earlier version", |world| {
        identity(world, |identity| {
            rebuilt(identity);
            identity.isv_svn = 1;
        })
    }),
    ("signer", |world| identity(world, |identity| identity.mrsigner[0] ^= 1)),
    ("signer and rebuild", |world| {
        identity(world, |identity| {
            rebuilt(identity);
            identity.mrsigner[0] ^= 1;
        })
    }),
    ("another configuration", |world| identity(world, |identity| identity.config_id = [0xC1; 64])),
    ("another family", |world| identity(world, |identity| identity.isv_family_id = [0xFB; 16])),
    ("policy: ISVSVN 3", |world| floor(world, Floor { isvsvn: 3, ..Floor::default() })),
    ("policy: epoch 5", |world| floor(world, Floor { epoch: 5, ..Floor::default() })),
];

/// What happened.
#[derive(Debug, PartialEq)]
enum Outcome {
    Opened,
    OpenedByKeys,
    Lost,
}

#[test]
fn what_is_forecast_is_what_happens() {
    let mut pairs = 0;
    for (what, seal) in ENVELOPES {
        for (after, plan) in EVENTS {
            let keys = [(); 2].map(|()| RecipientKey::generate(Kem::X25519).unwrap());
            let (world, envelope) = seal(World { machine: TestMachine::new(), keys });
            let keys = world.keys.each_ref().map(|key| {
                RecipientKey::from_text(std::str::from_utf8(key.to_text().expose()).unwrap()).unwrap()
            });
            let here = program(&world.machine, |_| ());
            let header = Header::read(&mut envelope.as_slice()).unwrap();
            let Planned { change, carry_out } = plan(world);
            let forecast = forecast(&header, Some(&here), &change).unwrap();

            let (afterwards, floor) = carry_out();
            let by_machine = Unsealer::new("test").machine(&afterwards).floor(&floor);
            let by_keys = Unsealer::new("test").key(&keys[0]).key(&keys[1]).floor(&floor);
            let outcome = match (by_machine.unseal(&envelope), by_keys.unseal(&envelope)) {
                (Ok(_), _) => Outcome::Opened,
                (Err(_), Ok(_)) => Outcome::OpenedByKeys,
                (Err(_), Err(_)) => Outcome::Lost,
            };
            let has_machine = header.slots().iter().any(|slot| slot.kind() == "sim");
            let expected: &[Outcome] = match forecast.verdict {
                Verdict::Opens if has_machine => &[Outcome::Opened],
                Verdict::Opens | Verdict::ByKeys => &[Outcome::OpenedByKeys],
                Verdict::MayNot => &[Outcome::Opened, Outcome::Lost],
                Verdict::DoesNot => &[Outcome::Lost],
            };
            assert!(expected.contains(&outcome), "{what}, {after}: {forecast:?}, and {outcome:?}");
            let changes_program = after.contains("rebuild");
            // What only the machine can say is said to be so, and nothing else is.
            let unknowable = after == "firmware-update" && has_machine
                || (what, after) == ("sealed before an update", "microcode-down")
                // The other program's slot, of which only that program can say where it was made.
                || (what == "for this program and the next" && outcome == Outcome::Opened && changes_program);
            let may_not = forecast.verdict == Verdict::MayNot
                || (forecast.verdict == Verdict::ByKeys && after == "firmware-update");
            assert_eq!(may_not, unknowable, "{what}, {after}: {forecast:?}");
            if forecast.verdict != Verdict::Opens {
                assert!(
                    forecast.field.is_some() && forecast.remedy.is_some(),
                    "{what}, {after}: {forecast:?}"
                );
            }
            pairs += 1;
        }
    }
    assert_eq!(pairs, ENVELOPES.len() * EVENTS.len());
    let _ = writeln!(io::stderr(), "{pairs} pairs were forecast and carried out, on the simulated machine");
}

/// The field that decides is named, for each kind of reason.
#[test]
fn the_deciding_field_is_named() {
    let cases = [
        ("measurement", "microcode-down", "CPUSVN"),
        ("sealed before an update", "microcode-down", "CPUSVN"),
        ("measurement", "firmware-update", "machine keys"),
        ("measurement", "host", "machine keys"),
        ("measurement", "rebuild", "MRENCLAVE"),
        ("measurement and recovery", "rebuild", "MRENCLAVE"),
        ("signer", "signer", "MRSIGNER"),
        ("signer", "rebuild of an earlier version", "ISVSVN"),
        ("measurement and CONFIGID", "another configuration", "CONFIGID"),
        ("signer and ISVFAMILYID", "another family", "ISVFAMILYID"),
        ("signer", "policy: ISVSVN 3", "ISVSVN"),
        ("of epoch 4", "policy: epoch 5", "epoch"),
    ];
    for (what, after, field) in cases {
        let keys = [(); 2].map(|()| RecipientKey::generate(Kem::X25519).unwrap());
        let seal = ENVELOPES.iter().find(|(name, _)| *name == what).unwrap().1;
        let plan = EVENTS.iter().find(|(name, _)| *name == after).unwrap().1;
        let (world, envelope) = seal(World { machine: TestMachine::new(), keys });
        let here = program(&world.machine, |_| ());
        let header = Header::read(&mut envelope.as_slice()).unwrap();
        let planned = plan(world);
        let forecast = forecast(&header, Some(&here), &planned.change).unwrap();
        assert_eq!(forecast.field, Some(field), "{what}, {after}: {forecast:?}");
    }
}
