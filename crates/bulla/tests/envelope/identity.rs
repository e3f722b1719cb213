//! Envelopes that arrive intact where they must not open: which reason is given, and that there is one.

use bulla::Error;
use bulla_crypto::Class;
use bulla_sim::{EnclaveIdentity, Step};
use bulla_tee::Tee;

use crate::machine::{TestMachine, here, program};
use crate::surgery::{Fields, Parts, edited};
use crate::vectors;

#[track_caller]
fn assert_refused(tee: &dyn Tee, context: &str, envelope: &[u8], class: Class, text: &str) {
    let error = match bulla::unseal(tee, context, envelope) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    };
    assert_eq!(error.class(), class, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

/// R63, B28.
#[test]
fn another_context_is_refused_by_name() {
    let sealed = bulla::seal(&here(), "wallet", b"secret").unwrap();
    let text = r#"the header claims "wallet", and "database" was asked for"#;
    assert_refused(&here(), "database", &sealed, Class::Refused, text);
    assert_refused(&here(), "Wallet", &sealed, Class::Refused, "");
}

/// R63.
#[test]
fn a_context_is_needed() {
    let sealed = bulla::seal(&here(), &"x".repeat(1024), b"secret").unwrap();
    for context in [String::new(), "x".repeat(1025)] {
        let error = bulla::seal(&here(), &context, b"secret").unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Usage, "context.invalid"));
        assert_refused(&here(), &context, &sealed, Class::Usage, "a context has between 1 and 1024 bytes");
    }
}

/// B28: the reason names the register, what the header claims and what was found.
#[test]
fn another_program_is_refused_by_register() {
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    let cases: [(&str, Class, fn(&mut EnclaveIdentity)); 4] = [
        (
            "not sealed to this identity: the header claims MRENCLAVE e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0\
             e0e0e0e0e0e0e0e0, and here it is 01e0",
            Class::Refused,
            |identity| identity.mrenclave[0] = 1,
        ),
        ("ISVPRODID 0007, and here it is 0008", Class::Refused, |identity| identity.isv_prod_id = 8),
        ("ATTRIBUTES", Class::Refused, |identity| *identity = identity.clone().with_debug()),
        ("ISVSVN is too old: sealed at 3, now 2", Class::TooOld, |identity| identity.isv_svn = 2),
    ];
    for (text, class, change) in cases {
        assert_refused(&program(change), "test", &sealed, class, text);
    }
}

/// B28: the same program elsewhere, and on a machine that lost its keys.
#[test]
fn another_machine_is_refused() {
    let machine = TestMachine::new();
    let sealed = bulla::seal(&machine.program(|_| ()), "test", b"secret").unwrap();
    assert_refused(&here(), "test", &sealed, Class::Refused, "sealed on another machine");
    let reset = machine.platform_reset();
    assert_refused(&reset.program(|_| ()), "test", &sealed, Class::Refused, "got new keys");
}

/// R5: an update of microcode or program version does not end a secret; going back below the sealing does, by name.
#[test]
fn an_update_keeps_the_secret() {
    let machine = TestMachine::new();
    let sealed = bulla::seal(&machine.program(|_| ()), "test", b"secret").unwrap();
    let machine = machine.microcode(Step::Up);
    let updated = machine.program(|identity| identity.isv_svn = 9);
    assert_eq!(bulla::unseal(&updated, "test", &sealed).unwrap().expose(), b"secret");

    let sealed_later = bulla::seal(&machine.program(|_| ()), "test", b"secret").unwrap();
    let machine = machine.microcode(Step::Down);
    let text = "CPUSVN is too old: sealed at 0605";
    assert_refused(&machine.program(|_| ()), "test", &sealed_later, Class::TooOld, text);
    assert!(bulla::unseal(&machine.program(|_| ()), "test", &sealed).is_ok());
}

/// R15: a simulated slot is nothing to a real machine, and slots of both never stand in one envelope.
#[test]
fn simulated_and_real_never_mix() {
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    let real = vectors::real();
    let text = "needs a sim machine, and the one at hand is sgx";
    assert_refused(&real, "test", &sealed, Class::Refused, text);

    let mixed = edited(&sealed, |fields| {
        let mut slot = fields.slots[0].clone();
        let (_, body): (String, minicbor::bytes::ByteVec) = minicbor::decode(&slot.opener).unwrap();
        (slot.kind, slot.opener) = ("sgx".into(), body.into());
        fields.slots.push(slot);
    });
    assert_refused(&here(), "test", &mixed, Class::Damaged, "mixes slots of simulated and of real machines");
}

/// With several slots, the reason is that of the one that came closest, wherever it stands.
#[test]
fn the_closest_reason_is_given() {
    let fields = |tee: &dyn Tee| -> Fields {
        let sealed = bulla::seal(tee, "test", b"secret").unwrap();
        minicbor::decode(&Parts::of(&sealed).cbor).unwrap()
    };
    let ordered = [
        (fields(&program(|identity| identity.mrenclave[0] = 1)), "machine.other_identity"),
        (fields(&TestMachine::new().program(|_| ())), "machine.other_machine"),
        (fields(&program(|identity| identity.isv_svn = 4)), "machine.tcb_too_old"),
        (fields(&here()), "envelope.header_changed"), // bound to its own envelope, so it is mine and does not open
    ];
    let host = bulla::seal(&here(), "test", b"secret").unwrap();
    let refusal = |slots: [&Fields; 2]| -> Error {
        let slots = slots.map(|from| from.slots[0].clone()).to_vec();
        bulla::unseal(&here(), "test", &edited(&host, |fields| fields.slots = slots)).err().unwrap()
    };
    for (far, (farther, _)) in ordered.iter().enumerate() {
        for (closer, code) in &ordered[far..] {
            assert_eq!(refusal([farther, closer]).code(), *code);
            assert_eq!(refusal([closer, farther]).code(), *code);
        }
    }
}
