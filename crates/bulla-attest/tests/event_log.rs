//! Event logs (R26, B4, B22, B23, N59-N61): genuine ones where `BULLA_VECTORS` names the set, and logs of the test's own,
//! replayed by the test's own arithmetic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::path::Path;

use aws_lc_rs::digest::{SHA384, digest};
use bulla_attest::{Boundary, Collateral, EventLog, Policy, TrustAnchor, Verifier};
use bulla_crypto::Class;
use bulla_sim::{EnclaveIdentity, Machine, QuoteForm, TdDescription};
use bulla_tee::{Identity, TdxIdentity};
use common::{Vectors, announce, loose, verify};
use serde_json::{Value, json};

const READY: Boundary<'_> = Boundary { register: 3, event: "system-ready" };
const RUNTIME: u32 = 0x0800_0001;

/// A log, cut into its events, and the guest that it is of.
#[derive(Clone)]
struct Sample {
    name: String,
    /// What stands before the first event; a JSON log has nothing there.
    header: Option<Vec<u8>>,
    events: Vec<Vec<u8>>,
    guest: TdxIdentity,
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        match &self.header {
            Some(header) => [header.clone(), self.events.concat()].concat(),
            None => [b"[".as_slice(), &self.events.join(&b","[..]), b"]"].concat(),
        }
    }

    fn parse(&self) -> Result<EventLog, bulla_attest::Error> {
        match self.header {
            Some(_) => EventLog::from_ccel(&self.bytes()),
            None => EventLog::from_json(&self.bytes()),
        }
    }

    /// The code of the first refusal on the way to a matching log, or "ok".
    fn code(&self) -> &'static str {
        match self.parse() {
            Ok(log) => log.matches(&self.guest).map_or_else(|error| error.code(), |_| "ok"),
            Err(error) => error.code(),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.events);
        changed
    }

    /// Register (0 to 3; 9 for none) and digest of an event, read by the test's own means.
    fn extends(&self, number: usize) -> (usize, [u8; 48]) {
        let event = &self.events[number];
        if self.header.is_some() {
            let index = u32::from_le_bytes(event[..4].try_into().unwrap()) as usize;
            let no_action = event[4..8] == [3, 0, 0, 0];
            return (if no_action || index == 0 { 9 } else { index - 1 }, event[14..62].try_into().unwrap());
        }
        let event: Value = serde_json::from_slice(event).unwrap();
        let digest = hex::decode(event["digest"].as_str().unwrap()).unwrap();
        (event["imr"].as_u64().unwrap() as usize, digest.try_into().unwrap())
    }

    /// The registers after the first so many events, by the test's own arithmetic.
    fn registers(&self, count: usize) -> [[u8; 48]; 4] {
        let mut registers = [[0; 48]; 4];
        for number in 0..count {
            let (register, digest) = self.extends(number);
            if let Some(register) = registers.get_mut(register) {
                *register = sha384(&[&*register, digest.as_slice()].concat());
            }
        }
        registers
    }
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest(&SHA384, bytes).as_ref().try_into().unwrap()
}

fn guest(rtmr: [[u8; 48]; 4]) -> TdxIdentity {
    TdxIdentity {
        mrtd: [1; 48],
        rtmr,
        mrconfigid: [0; 48],
        mrowner: [0; 48],
        mrownerconfig: [0; 48],
        mrservicetd: [0; 48],
        attributes: 1 << 28,
        xfam: 3,
        tee_tcb_svn: [5; 16],
        mrseam: [2; 48],
    }
}

fn ccel_event(index: u32, kind: u32, digest: [u8; 48], content: &[u8]) -> Vec<u8> {
    let numbers = [index, kind, 1].map(u32::to_le_bytes);
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    [numbers.as_flattened(), &[0x0c, 0], &digest, &size, content].concat()
}

/// The event that describes a log.
fn ccel_header() -> Vec<u8> {
    let description =
        [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0c, 0, 48, 0, 0]].concat();
    let size = u32::try_from(description.len()).unwrap().to_le_bytes();
    [[1, 0, 0, 0, 3, 0, 0, 0].as_slice(), &[0; 20], &size, &description].concat()
}

fn own_ccel() -> Sample {
    let of_content = |index, kind, content: &[u8]| ccel_event(index, kind, sha384(content), content);
    let events = vec![
        of_content(1, 0x8000_0001, b"SecureBoot"),
        ccel_event(1, 0x0a, [7; 48], b"ACPI DATA"),
        ccel_event(1, 3, [0; 48], b"StartupLocality"),
        of_content(2, 4, &[0; 4]),
        ccel_event(0, 0x8000_0008, [9; 48], b"of no run-time register"),
        of_content(1, 4, &[0; 4]),
        ccel_event(2, 0x8000_0003, [8; 48], b"a boot application"),
        ccel_event(3, 0x0d, [6; 48], b"kernel_cmdline: quiet"),
        of_content(4, 0x0d, b""),
    ];
    let sample =
        Sample { name: "own CCEL".into(), header: Some(ccel_header()), events, guest: guest([[0; 48]; 4]) };
    let rtmr = sample.registers(sample.events.len());
    Sample { guest: guest(rtmr), ..sample }
}

fn runtime(name: &str, payload: &[u8]) -> Value {
    let measured = [b"\x01\0\0\x08:".as_slice(), name.as_bytes(), b":", payload].concat();
    json!({"imr": 3, "event_type": RUNTIME, "digest": hex::encode(sha384(&measured)), "event": name,
           "event_payload": hex::encode(payload)})
}

fn boot(register: usize, content: &[u8], digest: [u8; 48]) -> Value {
    json!({"imr": register, "event_type": 0x0a, "digest": hex::encode(digest), "event": "",
           "event_payload": hex::encode(content)})
}

fn own_json(compose: &[u8]) -> Sample {
    of_values(vec![
        boot(0, b"ACPI DATA", [7; 48]),
        boot(0, &[0; 4], sha384(&[0; 4])),
        boot(1, b"loader", [8; 48]),
        runtime("system-preparing", b""),
        boot(2, b"command line", [9; 48]),
        runtime("compose-hash", compose),
        runtime("key-provider", b"{}"),
        runtime("system-ready", b""),
        runtime("user-event", b"whatever"),
        boot(2, b"initrd", [6; 48]),
    ])
}

/// A JSON log and the guest that has it.
fn of_values(values: Vec<Value>) -> Sample {
    let events = values.iter().map(|value| value.to_string().into_bytes()).collect();
    let sample = Sample { name: "own JSON".into(), header: None, events, guest: guest([[0; 48]; 4]) };
    let rtmr = sample.registers(sample.events.len());
    Sample { guest: guest(rtmr), ..sample }
}

/// A genuine log, with the registers from its quote, verified.
fn genuine(vectors: &Vectors, folder: &Path, file: &str) -> Sample {
    let name = file.split('.').next().unwrap();
    let bytes = std::fs::read(folder.join("eventlog").join(file)).unwrap();
    let (header, events) = if file.ends_with(".json") {
        let list: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        (None, list.iter().map(|event| event.to_string().into_bytes()).collect())
    } else {
        let end = 32 + u32::from_le_bytes(bytes[28..32].try_into().unwrap()) as usize;
        let (header, mut rest) = bytes.split_at(end);
        let mut events = Vec::new();
        while !rest.is_empty() {
            let end = 66 + u32::from_le_bytes(rest[62..66].try_into().unwrap()) as usize;
            events.push(rest[..end].to_vec());
            rest = &rest[end..];
        }
        (Some(header.to_vec()), events)
    };
    let vector = vectors.get(name);
    let case = &vector.cases[0];
    let claims = verify(&vector.quote, &case.collateral, case.now, &loose()).unwrap();
    let Identity::Tdx(guest) = claims.identity else { panic!("{name} is no TDX quote") };
    Sample { name: file.into(), header, events, guest: *guest }
}

fn genuine_samples() -> Vec<Sample> {
    let Some(folder) = std::env::var_os("BULLA_VECTORS") else { return Vec::new() };
    let vectors = Vectors::load();
    ["tdx-v4-05.ccel.bin", "tdx-v4-08.events.json", "tdx-v4-09.events.json"]
        .map(|file| genuine(&vectors, Path::new(&folder), file))
        .to_vec()
}

fn samples() -> Vec<Sample> {
    let mut samples = vec![own_ccel(), own_json(b"one")];
    samples.extend(genuine_samples());
    samples
}

/// R26: every log replays to the registers of its guest, and to no others.
#[test]
fn r26_a_log_replays_to_the_registers_of_its_guest() {
    for sample in samples() {
        let log = sample.parse().unwrap();
        assert_eq!(log.replay(), sample.registers(sample.events.len()), "{}", sample.name);
        assert_eq!(sample.code(), "ok", "{}", sample.name);
        for register in 0..4 {
            let mut other = sample.guest.clone();
            other.rtmr[register][47] ^= 1;
            let error = log.matches(&other).unwrap_err();
            assert_eq!((error.code(), error.class()), ("event_log.rtmr_mismatch", Class::Refused));
            assert!(error.to_string().contains(&format!("in RTMR{register}")), "{error}");
        }
        announce(format_args!("event log {}: {} events replay", sample.name, sample.events.len()));
    }
}

/// B22, N59: a log with an event missing, doubled, in another place, added or changed is not believed.
#[test]
fn b22_a_log_that_was_changed_is_refused() {
    for sample in samples() {
        for number in 0..sample.events.len() {
            let (register, digest) = sample.extends(number);
            let name = format!("{}, event {number}", sample.name);
            if register > 3 {
                assert_eq!(
                    sample.with(|events| drop(events.remove(number))).code(),
                    "ok",
                    "{name}: counts for nothing"
                );
                continue;
            }
            let mismatch = "event_log.rtmr_mismatch";
            assert_eq!(sample.with(|events| drop(events.remove(number))).code(), mismatch, "{name}: dropped");
            let doubled = sample.with(|events| events.insert(number, events[number].clone()));
            assert_eq!(doubled.code(), mismatch, "{name}: doubled");
            let later = (number + 1..sample.events.len())
                .find(|later| sample.extends(*later).0 == register && sample.extends(*later).1 != digest);
            if let Some(later) = later {
                assert_eq!(
                    sample.with(|events| events.swap(number, later)).code(),
                    mismatch,
                    "{name}: swapped"
                );
            }
            let moved = sample.with(|events| match &sample.header {
                Some(_) => events[number][0] = u8::try_from((register + 1) % 4 + 1).unwrap(),
                None => edit(events, number, |event| event["imr"] = json!((register + 1) % 4)),
            });
            assert_eq!(moved.code(), mismatch, "{name}: in another register");
            let relabelled = sample.with(|events| match &sample.header {
                Some(_) => events[number][4..8].copy_from_slice(&[3, 0, 0, 0]),
                None => edit(events, number, |event| event["event_type"] = json!(3)),
            });
            assert_eq!(relabelled.code(), mismatch, "{name}: called one that is not extended");
            let flipped = sample.with(|events| match &sample.header {
                Some(_) => events[number][61] ^= 1,
                None => edit(events, number, |event| {
                    let mut digest = digest;
                    digest[47] ^= 1;
                    event["digest"] = json!(hex::encode(digest));
                }),
            });
            let wanted = if kind(&sample, number) == RUNTIME { "event_log.digest" } else { mismatch };
            assert_eq!(flipped.code(), wanted, "{name}: another digest");
        }
        let added = sample.with(|events| match &sample.header {
            Some(_) => events.push(ccel_event(4, 0x0d, [1; 48], b"more")),
            None => events.push(runtime("more", b"").to_string().into_bytes()),
        });
        assert_eq!(added.code(), "event_log.rtmr_mismatch", "{}: added", sample.name);
    }
}

fn kind(sample: &Sample, number: usize) -> u32 {
    match &sample.header {
        Some(_) => 0,
        None => {
            let event: Value = serde_json::from_slice(&sample.events[number]).unwrap();
            u32::try_from(event["event_type"].as_u64().unwrap()).unwrap()
        }
    }
}

fn edit(events: &mut [Vec<u8>], number: usize, change: impl FnOnce(&mut Value)) {
    let mut event = serde_json::from_slice(&events[number]).unwrap();
    change(&mut event);
    events[number] = event.to_string().into_bytes();
}

/// R26: at the boundary its register is what it was then, and the others are what they are now.
#[test]
fn r26_a_boundary_cuts_its_own_register() {
    for sample in samples().into_iter().filter(|sample| sample.header.is_none()) {
        let ready = sample.events.iter().position(|event| name_of(event) == "system-ready").unwrap();
        let log = sample.parse().unwrap();
        let at_ready = log.matches(&sample.guest).unwrap().at(READY).unwrap();
        let mut wanted = sample.guest.rtmr;
        wanted[3] = sample.registers(ready + 1)[3];
        assert_ne!(wanted[3], sample.guest.rtmr[3], "{}: something came later", sample.name);
        assert_eq!(at_ready.registers, wanted, "{}", sample.name);
        let later: Vec<_> = at_ready.later.iter().map(|event| event.name().unwrap()).collect();
        let expected: Vec<_> = (ready + 1..sample.events.len())
            .filter(|number| sample.extends(*number).0 == 3)
            .map(|number| name_of(&sample.events[number]))
            .collect();
        assert_eq!(later, expected, "{}", sample.name);
    }
}

fn name_of(event: &[u8]) -> String {
    let event: Value = serde_json::from_slice(event).unwrap();
    event["event"].as_str().unwrap().to_owned()
}

/// Nothing proves the order of events in different registers: a log that shows an event of RTMR2 behind the boundary in
/// RTMR3 must not make RTMR2 look as if it had not happened.
#[test]
fn r26_events_of_other_registers_count_wherever_the_log_shows_them() {
    let sample = own_json(b"one");
    let reference = sample.parse().unwrap();
    let reference = reference.matches(&sample.guest).unwrap().at(READY).unwrap().registers;
    for position in 0..sample.events.len() {
        let moved = sample.with(|events| {
            let last = events.pop().unwrap();
            let other = events.remove(4);
            events.insert(position.min(events.len()), other);
            events.push(last);
        });
        let log = moved.parse().unwrap();
        let registers = log.matches(&sample.guest).unwrap().at(READY).unwrap().registers;
        assert_eq!(registers, reference, "{position}");
        assert_eq!(registers[2], sample.guest.rtmr[2]);
    }
}

/// B22: an extension after the boundary shows, does not change the registers at it, and is refused where the policy says so.
#[test]
fn b22_an_extension_after_the_boundary_shows() {
    let mut values = vec![runtime("app-id", b"1"), runtime("system-ready", b"")];
    let before = of_values(values.clone());
    let log = before.parse().unwrap();
    let at_ready = log.matches(&before.guest).unwrap().at(READY).unwrap();
    assert_eq!(at_ready.registers, before.guest.rtmr);
    at_ready.require_nothing_later().unwrap();

    values.push(runtime("evil", b"x"));
    let after = of_values(values);
    assert_ne!(after.guest.rtmr, before.guest.rtmr);
    let log = after.parse().unwrap();
    let at_ready = log.matches(&after.guest).unwrap().at(READY).unwrap();
    assert_eq!(at_ready.registers, before.guest.rtmr);
    let error = at_ready.require_nothing_later().unwrap_err();
    assert_eq!((error.code(), error.class()), ("event_log.extended", Class::Refused));
    assert!(error.to_string().contains("\"evil\""), "{error}");
    // The old log does not fit any more.
    assert_eq!(Sample { guest: after.guest, ..before }.code(), "event_log.rtmr_mismatch");
}

/// B22: a boundary must be there, once, where it is looked for, and nothing may hide another one.
#[test]
fn b22_a_boundary_is_there_once_in_its_register() {
    let at = |values: Vec<Value>| {
        let sample = of_values(values);
        let log = sample.parse().unwrap();
        let matched = log.matches(&sample.guest).unwrap();
        matched.at(READY).map_or_else(
            |error| {
                assert_eq!(error.class(), Class::Refused, "{error}");
                error.code()
            },
            |_| "ok",
        )
    };
    let ready = || runtime("system-ready", b"");
    let in_register = |register: usize, mut event: Value| {
        event["imr"] = json!(register);
        event
    };
    let opaque = |content: &[u8]| in_register(3, boot(3, content, [5; 48]));
    assert_eq!(at(vec![ready()]), "ok");
    assert_eq!(at(vec![]), "event_log.no_boundary");
    assert_eq!(
        at(vec![runtime("system-ready2", b""), runtime("", b"system-ready")]),
        "event_log.no_boundary"
    );
    assert_eq!(at(vec![ready(), ready()]), "event_log.boundary_twice");
    assert_eq!(at(vec![ready(), runtime("system-ready", b"again")]), "event_log.boundary_twice");
    assert_eq!(at(vec![ready(), in_register(2, ready())]), "event_log.boundary_twice");
    assert_eq!(at(vec![in_register(2, ready())]), "event_log.boundary_register");
    // An event whose name is not covered could be anything, before and after; in other registers it does not matter.
    assert_eq!(at(vec![opaque(b"x"), ready()]), "event_log.unnamed_event");
    assert_eq!(at(vec![ready(), opaque(b"x")]), "event_log.unnamed_event");
    let mut hidden = ready();
    hidden["event_type"] = json!(0x0a);
    assert_eq!(at(vec![hidden, runtime("system-ready", b"late")]), "event_log.unnamed_event");
    assert_eq!(at(vec![boot(2, b"x", [5; 48]), ready()]), "ok");
    // A firmware log has no names at all, and no fifth register has a boundary.
    let sample = own_ccel();
    let log = sample.parse().unwrap();
    let matched = log.matches(&sample.guest).unwrap();
    for (register, wanted) in [(3, "event_log.unnamed_event"), (4, "event_log.no_boundary")] {
        assert_eq!(matched.at(Boundary { register, event: "" }).unwrap_err().code(), wanted);
    }
}

/// R26: with a log, a policy's registers are those at the boundary, and the claims keep those of the quote.
#[test]
fn r26_a_policy_names_the_registers_at_the_boundary() {
    let now = 1_800_000_000;
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::create(dir.path().join("machine")).unwrap();
    let sample = own_json(b"app");
    let td = TdDescription { rtmr: sample.guest.rtmr, ..TdDescription::default_guest() };
    let quote = machine.td_quote(&td, &[0; 64]).unwrap();
    let collateral = Collateral::from_json(machine.collateral(&quote, now).unwrap().as_bytes()).unwrap();
    let verifier = Verifier::new(TrustAnchor::from_der(&machine.root_der()).unwrap());
    let policy = |rtmr3: &[u8; 48]| {
        let head = "version = 1\nname = \"app\"\nrevision = 1\nallow_simulated = true\n[registers.app]\n";
        Policy::from_toml(&format!("{head}rtmr3 = [\"{}\"]\n", hex::encode(rtmr3))).unwrap()
    };
    let log = sample.parse().unwrap();
    let at = log.matches(&sample.guest).unwrap().at(READY).unwrap();
    let [then, last] = [policy(&at.registers[3]), policy(&sample.guest.rtmr[3])];

    let (claims, found) = verifier.verify_at(&quote, &log, READY, &collateral, now, &then).unwrap();
    assert_eq!(found, at);
    assert!(matches!(&claims.identity, Identity::Tdx(guest) if guest.rtmr == sample.guest.rtmr));
    let another = own_json(b"another").parse().unwrap();
    let code = |log, boundary, policy| {
        verifier.verify_at(&quote, log, boundary, &collateral, now, policy).unwrap_err().code()
    };
    assert_eq!(code(&log, READY, &last), "policy.registers");
    assert_eq!(code(&log, Boundary { event: "never", ..READY }, &then), "event_log.no_boundary");
    assert_eq!(code(&another, READY, &then), "event_log.rtmr_mismatch");
    assert_eq!(verifier.verify(&quote, &collateral, now, &then).unwrap_err().code(), "policy.registers");
    assert!(verifier.verify(&quote, &collateral, now, &last).is_ok());

    // Every other rule is as it was, and an enclave has no such registers.
    let strict = Policy::strict();
    assert_eq!(code(&log, READY, &strict), "policy.simulated");
    let enclave = EnclaveIdentity::new([1; 32], [2; 32], 3, 4);
    let quote = machine.sgx_quote_in(QuoteForm::SgxV3, &enclave, &[0; 64]).unwrap();
    let collateral = Collateral::from_json(machine.collateral(&quote, now).unwrap().as_bytes()).unwrap();
    let refused = verifier.verify_at(&quote, &log, READY, &collateral, now, &strict.allow_simulated());
    assert_eq!(refused.unwrap_err().code(), "event_log.not_tdx");
}

/// B23: two applications on one image have the same boot registers, and different ones for the application.
#[test]
fn b23_two_applications_on_one_image_differ() {
    let at_ready = |sample: &Sample| {
        let log = sample.parse().unwrap();
        log.matches(&sample.guest).unwrap().at(READY).unwrap().registers
    };
    let (one, other) = (at_ready(&own_json(b"one")), at_ready(&own_json(b"other")));
    assert_eq!(one[..3], other[..3]);
    assert_ne!(one[3], other[3]);
    for sample in genuine_samples().into_iter().filter(|sample| sample.header.is_none()) {
        let mut values: Vec<Value> =
            sample.events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect();
        let compose = values.iter_mut().find(|event| event["event"] == "compose-hash").unwrap();
        *compose = runtime("compose-hash", b"another application");
        let (one, other) = (at_ready(&sample), at_ready(&of_values(values)));
        assert_eq!(one[..3], other[..3], "{}", sample.name);
        assert_ne!(one[3], other[3], "{}", sample.name);
    }
}

/// N61: what no digest covers is never stated as a fact, and changing it changes no register.
#[test]
fn n61_only_what_a_digest_covers_is_a_fact() {
    for sample in samples() {
        let log = sample.parse().unwrap();
        for event in log.matches(&sample.guest).unwrap().events() {
            let covered = sha384(&event.claimed_content) == event.digest;
            let runtime = event.claimed_type == RUNTIME;
            assert_eq!(event.content().is_some(), covered || runtime, "{event:?}");
            assert_eq!(event.name().is_some(), runtime, "{event:?}");
        }
    }
    // A separator: its content is its preimage, until somebody changes it.
    let sample = own_json(b"one");
    let log = sample.parse().unwrap();
    let separator = &log.matches(&sample.guest).unwrap().events()[1];
    assert_eq!((separator.content(), separator.name()), (Some([0; 4].as_slice()), None));
    let changed = sample.with(|events| edit(events, 1, |event| event["event_payload"] = json!("00000001")));
    let log = changed.parse().unwrap();
    let separator = &log.matches(&sample.guest).unwrap().events()[1];
    assert_eq!((separator.content(), separator.claimed_content.as_slice()), (None, [0, 0, 0, 1].as_slice()));
    // Of a run-time event, nothing can be changed.
    for (field, value) in [("event", "system-readx"), ("event_payload", "00")] {
        let changed = sample.with(|events| edit(events, 7, |event| event[field] = json!(value)));
        assert_eq!(changed.code(), "event_log.digest", "{field}");
    }
}

/// What dstack writes and leaves out: the digest of run-time events, and version 2, whose pre-image is canonical JSON.
#[test]
fn runtime_events_are_named_by_their_digest() {
    let mut bare = runtime("app-id", b"\x01");
    let digest = bare["digest"].take();
    bare.as_object_mut().unwrap().remove("digest");
    let log = EventLog::from_json(json!([bare]).to_string().as_bytes()).unwrap();
    let mut guest = guest([[0; 48]; 4]);
    let digest = hex::decode(digest.as_str().unwrap()).unwrap();
    guest.rtmr[3] = sha384(&[[0; 48].as_slice(), &digest].concat());
    assert_eq!(log.matches(&guest).unwrap().events()[0].name(), Some("app-id"));

    let name = "a:b\"\\\n\u{1f}\u{7f}\u{e9}/";
    let canonical =
        "{\"name\":\"a:b\\\"\\\\\\n\\u001f\u{7f}\u{e9}/\",\"payload\":\"0aff\",\"type\":134217729}";
    let second = json!({"imr": 3, "event_type": RUNTIME, "digest": hex::encode(sha384(canonical.as_bytes())),
        "event": name, "event_payload": "0aff", "version": 2, "preimage": hex::encode(canonical)});
    let log = EventLog::from_json(json!([second]).to_string().as_bytes()).unwrap();
    guest.rtmr[3] = sha384(&[[0; 48].as_slice(), &sha384(canonical.as_bytes())].concat());
    assert_eq!(log.matches(&guest).unwrap().events()[0].name(), Some(name));

    let code = |change: &dyn Fn(&mut Value)| {
        let mut event = second.clone();
        change(&mut event);
        EventLog::from_json(json!([event]).to_string().as_bytes()).unwrap_err().code()
    };
    assert_eq!(code(&|event| event["version"] = json!(3)), "event_log.parse");
    assert_eq!(code(&|event| event["version"] = json!(0)), "event_log.parse");
    // Nothing says where a name with a colon ends in version 1.
    assert_eq!(code(&|event| event["version"] = json!(1)), "event_log.parse");
    assert_eq!(code(&|event| event["event"] = json!("a")), "event_log.digest");
    assert_eq!(code(&|event| event["preimage"] = json!("00")), "event_log.digest");
    assert_eq!(code(&|event| event["event_type"] = json!(4)), "event_log.parse");
}

/// A firmware log cut anywhere is malformed, or, cut between two events, of another guest.
#[test]
fn a_firmware_log_cut_at_every_byte_is_refused() {
    for sample in samples().into_iter().filter(|sample| sample.header.is_some()) {
        let bytes = sample.bytes();
        let mut end = sample.header.as_ref().unwrap().len();
        let mut ends = vec![end];
        for event in &sample.events {
            end += event.len();
            ends.push(end);
        }
        let counts = (0..sample.events.len()).rfind(|number| sample.extends(*number).0 < 4).unwrap();
        for cut in 0..bytes.len() {
            let code = EventLog::from_ccel(&bytes[..cut])
                .and_then(|log| log.matches(&sample.guest).map(|_| "ok"))
                .unwrap_or_else(|error| error.code());
            let started = ends.iter().rfind(|end| **end <= cut).map_or(0, |end| *end);
            let wanted = if cut < ends[0] || bytes[started..cut].iter().any(|byte| *byte != 0) {
                "event_log.parse"
            } else if cut < ends[counts + 1] {
                "event_log.rtmr_mismatch"
            } else {
                "ok"
            };
            assert_eq!(code, wanted, "{} cut at {cut}", sample.name);
        }
    }
}

/// Firmware fills the room behind the log, and with nothing but one byte.
#[test]
fn filling_behind_a_firmware_log_is_uniform() {
    for sample in samples().into_iter().filter(|sample| sample.header.is_some()) {
        let code = |filling: &[u8]| {
            let bytes = [sample.bytes(), filling.to_vec()].concat();
            match EventLog::from_ccel(&bytes) {
                Ok(log) => log.matches(&sample.guest).map_or_else(|error| error.code(), |_| "ok"),
                Err(error) => error.code(),
            }
        };
        for filling in [vec![0xff; 1], vec![0xff; 244_043], vec![0; 1], vec![0; 70_000]] {
            assert_eq!(code(&filling), "ok", "{} of {}", filling.len(), filling[0]);
        }
        for filling in [vec![1], vec![0xff, 0], vec![0, 0xff], vec![0xfe; 100]] {
            assert_eq!(code(&filling), "event_log.parse", "{filling:?}");
        }
        let mut late = vec![0xff; 10_000];
        late.extend([0xfe]);
        assert_eq!(code(&late), "event_log.parse");
    }
}

/// N60 and what else a firmware log can lie about.
#[test]
fn n60_a_malformed_firmware_log_is_refused() {
    let sample = own_ccel();
    let header = ccel_header().len();
    let code = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sample.bytes();
        change(&mut bytes);
        EventLog::from_ccel(&bytes).map_or_else(
            |error| {
                assert_eq!(error.class(), Class::Damaged, "{error}");
                error.code()
            },
            |_| "ok",
        )
    };
    assert_eq!(code(&|_| {}), "ok");
    let put = |at: usize, value: u32| code(&|bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()));
    for index in [5, 6, 0x0100_0001, 0xffff_fffe, 0xffff_ffff] {
        assert_eq!(put(header, index), "event_log.parse", "register index {index:#x}");
    }
    for count in [0, 2, 0xffff_ffff] {
        assert_eq!(put(header + 8, count), "event_log.parse", "{count} digests");
    }
    for algorithm in [0x04, 0x0b, 0x0d, 0x12, 0xff] {
        assert_eq!(
            code(&|bytes| bytes[header + 12] = algorithm),
            "event_log.parse",
            "algorithm {algorithm:#x}"
        );
    }
    for size in [0xffff_ffff, 0x7fff_ffff, 100_000] {
        assert_eq!(put(header + 62, size), "event_log.parse", "{size} bytes");
    }
    // The description of the log: class, minor version, errata and the size of integers may be any.
    for at in 0..header {
        let wanted = if (48..56).contains(&at) && at != 53 { "ok" } else { "event_log.parse" };
        assert_eq!(code(&|bytes| bytes[at] ^= 0x40), wanted, "byte {at} of the header");
    }
    let longer = code(&|bytes| {
        bytes[28] += 1;
        bytes.insert(header, 0);
    });
    assert_eq!(longer, "event_log.parse", "a description with more behind it");
    let vendor = code(&|bytes| {
        bytes[28] += 1;
        bytes[header - 1] = 1;
        bytes.insert(header, 0);
    });
    assert_eq!(vendor, "ok", "a byte of the vendor's");
    assert_eq!(EventLog::from_ccel(&[]).unwrap_err().code(), "event_log.parse");
    assert_eq!(EventLog::from_ccel(&[0xff; 1000]).unwrap_err().code(), "event_log.parse");
}

/// B4: a JSON log of another shape, in any respect.
#[test]
fn b4_a_malformed_json_log_is_refused() {
    let code = |text: &str| {
        EventLog::from_json(text.as_bytes()).map_or_else(
            |error| {
                assert_eq!(error.class(), Class::Damaged, "{error}");
                error.code()
            },
            |_| "ok",
        )
    };
    let good = boot(0, b"x", [1; 48]);
    assert_eq!(code(&json!([good]).to_string()), "ok");
    assert_eq!(code("[]"), "ok");
    let change = |field: &str, value: Value| {
        let mut event = good.clone();
        event[field] = value;
        code(&json!([event]).to_string())
    };
    for (field, value) in [
        ("imr", json!(4)),
        ("imr", json!(-1)),
        ("imr", json!("0")),
        ("imr", json!(0.0)),
        ("event_type", json!(4_294_967_296_u64)),
        ("digest", json!("")),
        ("digest", json!("00".repeat(47))),
        ("digest", json!("00".repeat(49))),
        ("digest", json!("zz".repeat(48))),
        ("digest", json!(null)),
        ("event", json!(null)),
        ("event_payload", json!("0")),
        ("event_payload", json!("0g")),
        ("event_payload", json!([0])),
        ("version", json!(2)),
        ("preimage", json!("00")),
        ("unknown", json!(0)),
    ] {
        assert_eq!(change(field, value.clone()), "event_log.parse", "{field} is {value}");
    }
    for field in ["imr", "event_type", "digest", "event", "event_payload"] {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(field);
        assert_eq!(code(&json!([event]).to_string()), "event_log.parse", "no {field}");
        let twice = good.to_string().replacen('{', &format!("{{\"{field}\":{},", good[field]), 1);
        assert_eq!(code(&format!("[{twice}]")), "event_log.parse", "{field} twice");
    }
    for text in ["", "{}", "null", "[[]]", "[] []", "[]]", "[null]", "\u{feff}[]", &good.to_string()] {
        assert_eq!(code(text), "event_log.parse", "{text}");
    }
    for open in ["[", "{\"imr\":", "[{\"event\":"] {
        assert_eq!(code(&open.repeat(100_000)), "event_log.parse");
    }
    assert_eq!(EventLog::from_json(b"[\"\xff\"]").unwrap_err().code(), "event_log.parse");
}

/// R31: the size is judged first.
#[test]
fn r31_a_log_above_its_limit_is_refused() {
    for length in [1024 * 1024 + 1, 20_000_000] {
        let bytes = vec![b' '; length];
        assert_eq!(EventLog::from_ccel(&bytes).unwrap_err().code(), "event_log.too_large");
        assert_eq!(EventLog::from_json(&bytes).unwrap_err().code(), "event_log.too_large");
    }
    let bytes = vec![b' '; 1024 * 1024];
    assert_eq!(EventLog::from_json(&bytes).unwrap_err().code(), "event_log.parse");
}
