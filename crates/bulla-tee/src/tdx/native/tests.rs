use super::*;
use crate::samples::{bare_guest as bare, native as request};
use crate::{Doubt, Identity, KeyRequest, Outlook, PlatformState, SIMULATED_MARKER};

fn outlook(guest: TdxIdentity, change: fn(PlatformState) -> PlatformState) -> Outlook {
    let identity = Identity::Tdx(Box::new(guest));
    let here = PlatformState::here(&identity).confirmed();
    KeyRequest::TdxNative(Box::new(request())).opens_under(&identity, &change(here))
}

/// R12, R16: the encoding is frozen. The bytes were written by hand from the specification of envelopes.
#[test]
fn the_encoding_equals_its_vector() {
    let register = |byte: &str| format!("5830{}", byte.repeat(48));
    let bytes = [
        "8e1b0000000700000001".to_owned(),
        "1b8000000030000071".to_owned(),
        "00".to_owned(),
        format!("50{}", "05".repeat(16)),
        format!("50050102{}", "00".repeat(13)),
        format!("5820{}", "08".repeat(32)),
        "190100".to_owned(),
        "1a10000000".to_owned(),
        ["01", "02", "03", "04", "00"].map(register).concat(),
        format!("50{}", "09".repeat(16)),
    ]
    .concat();
    let request = KeyRequest::TdxNative(Box::new(request()));
    assert_eq!(hex::encode(request.encode()), bytes);
    assert_eq!(KeyRequest::decode("tdx-native", &hex::decode(&bytes).unwrap()).unwrap(), request);
    assert_eq!(request.policy(), Policy::measurement());
    let tagged = KeyRequest::Simulated(Box::new(request));
    assert_eq!(KeyRequest::decode("sim", &tagged.encode()).unwrap(), tagged);
}

/// R1: the operand, byte by byte (TDKEYREQUEST).
#[test]
fn the_operand_equals_its_vector() {
    use zerocopy::IntoBytes;
    let operand = [
        "0000",
        "01", // SW_KEYNAME
        "01", // KEYSIZE
        "00000000",
        "0100000007000000",
        "7100003000000080",
        "0000000000000000",
        &"05".repeat(16),
        &format!("050102{}", "00".repeat(13)),
        "000000000000",
        &"08".repeat(32),
        &"00".repeat(26),
    ]
    .concat();
    assert_eq!(hex::encode(request().keyrequest(Name::MachineTag).as_bytes()), operand);
    let key = request().keyrequest(Name::Key);
    assert_eq!((key.sw_keyname, key.keyname.get()), (0, 0));
}

/// R2, R3, R13, R14, R32: what no sealing writes.
#[test]
fn a_request_that_binds_to_too_little_is_refused() {
    type Change = fn(&mut NativeRequest);
    let changes: [Change; 15] = [
        |r| r.keypolicy = 0,
        |r| r.keypolicy = 7 << 32,
        |r| r.keypolicy |= 1 << 35,
        |r| r.keypolicy &= !(1 << 33),
        |r| r.keypolicy |= 1 << 1,
        |r| r.rtmr2 = [0; 48],
        |r| r.attributes_mask &= !attributes::DEBUG,
        |r| r.attributes_mask &= !(1 << 5),
        |r| r.attributes |= 1 << 63 | 1 << 30,
        |r| r.cpusvn = [0; 16],
        |r| r.tee_tcb_svn = [0; 16],
        |r| r.salt = [0; 32],
        |r| r.bits = 0,
        |r| r.bits = 512,
        |r| (r.mrtd, r.keypolicy) = ([0; 48], 7 << 32 | 1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut request = request();
        change(&mut request);
        let encoded = KeyRequest::TdxNative(Box::new(request)).encode();
        let error = KeyRequest::decode("tdx-native", &encoded).unwrap_err();
        assert!(matches!(error, Error::InvalidRequest(_)), "{number}");
    }
}

/// R9, R14, R25: what the module does not mix in is refused and not silently left out.
#[test]
fn what_cannot_be_bound_is_refused() {
    type Change = fn(&mut TdxIdentity);
    let changes: [Change; 4] = [
        |g| g.mrconfigid[47] = 1,
        |g| g.mrowner[0] = 1,
        |g| g.mrownerconfig[0] = 1,
        |g| g.attributes |= attributes::MIGRATABLE,
    ];
    for change in changes {
        let mut guest = bare();
        change(&mut guest);
        let error = NativeRequest::new(&Policy::measurement(), &guest, [5; 16], [8; 32]).unwrap_err();
        assert_eq!(error.code(), "machine.unsupported");
    }
    for policy in [
        "registers:MRENCLAVE+CONFIGID",
        "signer:product=1,svn=1,label=x",
        "register-policy:boot,version=1",
        "pcr:4",
    ] {
        let error = NativeRequest::new(&policy.parse().unwrap(), &bare(), [5; 16], [8; 32]).unwrap_err();
        assert_eq!(error.code(), "machine.unsupported", "{policy}");
    }
}

/// R3, R4, R8: each register that the key is bound to decides, and is named; no other does.
#[test]
fn the_bound_registers_decide() {
    type Change = fn(&mut TdxIdentity);
    let changes: [(Option<&str>, Change); 15] = [
        (None, |_| {}),
        (Some("MRTD"), |g| g.mrtd[0] ^= 1),
        (Some("RTMR0"), |g| g.rtmr[0][0] ^= 1),
        (Some("RTMR1"), |g| g.rtmr[1] = [0; 48]),
        (Some("RTMR2"), |g| g.rtmr[2][47] ^= 1),
        // It was zero, and whoever left it out had the same key.
        (None, |g| g.rtmr[3] = [1; 48]),
        (Some("MRCONFIGID"), |g| g.mrconfigid[0] = 1),
        (Some("MROWNER"), |g| g.mrowner[0] = 1),
        (Some("MROWNERCONFIG"), |g| g.mrownerconfig[0] = 1),
        (Some("ATTRIBUTES"), |g| g.attributes |= attributes::DEBUG),
        (Some("ATTRIBUTES"), |g| g.attributes |= 1 << 5),
        (Some("ATTRIBUTES"), |g| g.attributes = 0),
        (None, |g| g.attributes |= 1 << 30),
        (None, |g| g.xfam ^= 0x200),
        (None, |g| (g.mrseam, g.tee_tcb_svn[0]) = ([1; 48], 9)),
    ];
    for (number, (wanted, change)) in changes.into_iter().enumerate() {
        let mut other = bare();
        change(&mut other);
        assert_eq!(outlook(other, |here| here).field(), wanted, "{number}");
    }
}

/// R5, R88: CPUSVN is recorded, and only the processor compares it; so is the module's version.
#[test]
fn what_only_the_machine_can_say() {
    assert!(matches!(outlook(bare(), PlatformState::after_microcode_up), Outlook::Opens));
    let down = outlook(bare(), PlatformState::after_microcode_down);
    assert!(matches!(down, Outlook::MayNot(Doubt::Cpusvn)));
    let moved = outlook(bare(), PlatformState::with_other_keys);
    assert!(matches!(moved, Outlook::DoesNot(Error::OtherMachine)));
    let mut older = bare();
    older.tee_tcb_svn[0] = 4;
    assert!(matches!(outlook(older, |here| here), Outlook::MayNot(Doubt::TdxModule)));
}

/// R15: a request of a simulated module is for one, and nothing else is.
#[test]
fn a_request_is_for_its_kind_of_module() {
    let mut marked = bare();
    marked.tee_tcb_svn[8..].copy_from_slice(&SIMULATED_MARKER);
    let of_marked = NativeRequest::new(&Policy::measurement(), &marked, [5; 16], [8; 32]).unwrap();
    of_marked.fits(&marked).unwrap();
    request().fits(&bare()).unwrap();
    for (request, guest) in [(&request(), &marked), (&of_marked, &bare())] {
        assert_eq!(request.fits(guest).unwrap_err().code(), "machine.wrong_backend");
    }
}
