//! Headers that somebody without the key edited with care: the checksum fits, so it is for the other checks to refuse.

use bulla::{Error, Policy, Sealer};
use bulla_crypto::Class;
use bulla_tee::sgx::SgxRequest;

use crate::machine::here;
use crate::surgery::{Fields, Parts, edited, edited_request};

fn refusal(envelope: &[u8], context: &str) -> Error {
    match bulla::unseal(&here(), context, envelope) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn sealed() -> Vec<u8> {
    Sealer::new("test").machine(&here(), Policy::default()).created(1_700_000_000).seal(b"secret").unwrap()
}

/// R1, R56, R58: every field of the header is authenticated.
#[test]
fn no_field_can_be_edited() {
    let cases: [(&str, &str, fn(&mut Fields)); 20] = [
        ("suite", "envelope.unsupported", |f| f.suite = 2),
        ("envelope id", "envelope.header_changed", |f| f.envelope_id[0] ^= 1),
        ("payload salt", "envelope.header_changed", |f| f.salt[0] ^= 1),
        ("context", "envelope.other_context", |f| f.context = "else".into()),
        ("created", "envelope.header_changed", |f| f.created = Some(1_700_000_001)),
        ("created removed", "envelope.header_changed", |f| f.created = None),
        ("critical", "envelope.unsupported", |f| f.critical = vec![7]),
        ("critical lists an extension", "envelope.unsupported", |f| {
            (f.critical, f.extension) = (vec![16], Some(vec![1]));
        }),
        ("an extension added", "envelope.header_changed", |f| f.extension = Some(vec![1])),
        ("epoch", "envelope.header_changed", |f| f.epoch = Some(1)),
        ("origin", "envelope.header_changed", |f| f.origin = Some(0)),
        ("a reserved key", "envelope.unsupported", |f| f.anchor = Some(1)),
        ("no slot", "envelope.no_opener", |f| f.slots.clear()),
        ("a slot doubled", "envelope.header_changed", |f| f.slots.push(f.slots[0].clone())),
        ("65 slots", "envelope.malformed", |f| f.slots = vec![f.slots[0].clone(); 65]),
        ("slot kind", "request.invalid", |f| f.slots[0].kind = "sgx".into()),
        ("unknown slot kind", "request.invalid", |f| f.slots[0].kind = "psp".into()),
        ("slot salt", "envelope.header_changed", |f| f.slots[0].salt[0] ^= 1),
        ("wrapped key", "envelope.header_changed", |f| f.slots[0].wrapped[0] ^= 1),
        ("wrapped key's tag", "envelope.header_changed", |f| f.slots[0].wrapped[47] ^= 1),
    ];
    let sealed = sealed();
    assert!(bulla::unseal(&here(), "test", &edited(&sealed, |_| ())).is_ok());
    for (what, code, edit) in cases {
        let error = refusal(&edited(&sealed, edit), "test");
        assert_eq!(error.code(), code, "{what}: {error}");
        let refused = ["envelope.other_context", "envelope.no_opener"].contains(&code);
        let class = if refused { Class::Refused } else { Class::Damaged };
        assert_eq!(error.class(), class, "{what}");
    }
}

/// R63: an edited context opens under neither name.
#[test]
fn renaming_the_context_does_not_move_the_secret() {
    let renamed = edited(&sealed(), |fields| fields.context = "else".into());
    assert_eq!(refusal(&renamed, "test").code(), "envelope.other_context");
    assert_eq!(refusal(&renamed, "else").code(), "envelope.header_changed");
}

/// R1, B27: every selector of the recorded request is bound to the file key, those that the machine ignores included.
#[test]
fn no_selector_can_be_edited() {
    let cases: [(&str, &str, Class, fn(&mut SgxRequest)); 19] = [
        ("policy none", "request.invalid", Class::Damaged, |r| r.keypolicy = 0),
        ("policy signer", "request.invalid", Class::Damaged, |r| r.keypolicy = 2),
        ("ISVSVN up", "machine.tcb_too_old", Class::TooOld, |r| r.isvsvn += 1),
        ("ISVSVN down", "envelope.header_changed", Class::Damaged, |r| r.isvsvn -= 1),
        ("CPUSVN up", "machine.tcb_too_old", Class::TooOld, |r| r.cpusvn[0] += 1),
        ("CPUSVN down", "envelope.header_changed", Class::Damaged, |r| r.cpusvn[0] -= 1),
        ("marker", "machine.wrong_backend", Class::Refused, |r| r.cpusvn[15] = 0),
        ("CONFIGSVN", "request.invalid", Class::Damaged, |r| r.configsvn = 1),
        ("mask without DEBUG", "request.invalid", Class::Damaged, |r| r.flags_mask &= !2),
        ("mask without INIT", "request.invalid", Class::Damaged, |r| r.flags_mask &= !1),
        ("XFRM mask", "machine.other_machine", Class::Refused, |r| r.xfrm_mask = 4),
        ("MISC mask", "machine.other_machine", Class::Refused, |r| r.misc_mask ^= 1 << 31),
        ("KEYID zero", "request.invalid", Class::Damaged, |r| r.keyid = [0; 32]),
        ("KEYID", "machine.other_machine", Class::Refused, |r| r.keyid[0] ^= 1),
        ("MRENCLAVE", "machine.other_identity", Class::Refused, |r| r.mrenclave[0] ^= 1),
        ("MRSIGNER", "envelope.header_changed", Class::Damaged, |r| r.mrsigner[0] ^= 1),
        ("ISVPRODID", "machine.other_identity", Class::Refused, |r| r.isv_prod_id += 1),
        ("flags", "machine.other_identity", Class::Refused, |r| r.flags ^= 2),
        ("machine tag", "machine.other_machine", Class::Refused, |r| r.machine_tag[0] ^= 1),
    ];
    let sealed = sealed();
    assert!(bulla::unseal(&here(), "test", &edited_request(&sealed, |_| ())).is_ok());
    for (what, code, class, edit) in cases {
        let error = refusal(&edited_request(&sealed, edit), "test");
        assert_eq!((error.code(), error.class()), (code, class), "{what}: {error}");
    }
}

/// R56, R58: slots of one envelope open nothing in another of the same machine, program and context.
#[test]
fn slots_and_payloads_cannot_be_exchanged() {
    let (mut one, two) = (Parts::of(&sealed()), Parts::of(&sealed()));
    let fields: Fields = minicbor::decode(&two.cbor).unwrap();
    let foreign = edited(&one.join(), |f| f.slots = fields.slots.clone());
    assert_eq!(refusal(&foreign, "test").code(), "envelope.header_changed");

    one.chunks = two.chunks;
    assert_eq!(refusal(&one.join(), "test").code(), "envelope.payload_changed");
    one.mac = two.mac;
    assert_eq!(refusal(&one.join(), "test").code(), "envelope.header_changed");
}

/// R56, B26: one header has one encoding; everything else that a lenient reader would take for the same is refused.
#[test]
fn only_the_canonical_encoding_is_read() {
    let with = |change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut parts = Parts::of(&sealed());
        parts.cbor = change(&parts.cbor);
        parts.join()
    };
    let cases: [(&str, &dyn Fn(&[u8]) -> Vec<u8>); 8] = [
        ("an item after the map", &|cbor| [cbor, &[0]].concat()),
        ("the suite in two bytes", &|cbor| [&cbor[..2], &[0x18, 1], &cbor[3..]].concat()),
        ("a key in two bytes", &|cbor| [&cbor[..1], &[0x18, 0], &cbor[2..]].concat()),
        ("a key twice", &|cbor| [&[cbor[0] + 1, 0, 1], &cbor[1..]].concat()),
        ("keys in another order", &|cbor| [&cbor[..1], &cbor[3..], &[0, 1]].concat()),
        ("a map without a length", &|cbor| [&[0xBF], &cbor[1..], &[0xFF]].concat()),
        ("an entry less than claimed", &|cbor| [&[cbor[0] + 1], &cbor[1..]].concat()),
        ("no map at all", &|_| vec![0x80]),
    ];
    for (what, change) in cases {
        let error = refusal(&with(change), "test");
        assert_eq!((error.code(), error.class()), ("envelope.malformed", Class::Damaged), "{what}");
    }
}

/// Nothing in the header, which anyone can write, reaches a terminal as a control sequence.
#[test]
fn a_claimed_context_is_printed_harmlessly() {
    let hostile = edited(&sealed(), |fields| fields.context = "\u{1b}[2Jpwned".into());
    let text = refusal(&hostile, "test").to_string();
    assert_eq!(
        text,
        r#"sealed for another context: the header claims "\u{1b}[2Jpwned", and "test" was asked for"#
    );
}
