use bulla_crypto::Class;
use zerocopy::IntoBytes;

use super::*;
use crate::request::to_cbor;
use crate::samples::{SNP_TCB, release, snp, snp_guest};
use crate::{Doubt, Identity, KeyRequest, Outlook, PlatformState, Register, SIMULATED_MARKER};

fn both() -> Policy {
    Policy::signer(release()).with_register(Register::MrEnclave)
}

fn outlook(
    request: &SnpRequest,
    identity: &SnpIdentity,
    change: fn(PlatformState) -> PlatformState,
) -> Outlook {
    let identity = Identity::Snp(Box::new(identity.clone()));
    let here = PlatformState::here(&identity).confirmed();
    KeyRequest::Snp(Box::new(request.clone())).opens_under(&identity, &change(here))
}

/// R12: the encoding is frozen. The bytes were written by hand from the table at [`SnpRequest`].
#[test]
fn the_encoding_equals_its_vectors() {
    let bytes = |byte: &str, count: usize| {
        let head = if count < 24 { format!("{:02x}", 0x40 + count) } else { format!("58{count:02x}") };
        head + &byte.repeat(count)
    };
    let start = |select: &str, svn: &str| {
        let tcb = "480900000000001748";
        ["8d02", select, "01", svn, tcb, &bytes("06", 32), &bytes("01", 48), "1a0002001f"].concat()
    };
    let end = |label: &str| [&bytes("02", 32), &bytes("07", 48), label, &bytes("0c", 16)].concat();
    let (none, three) = (bytes("00", 16), format!("5003{}", "00".repeat(15)));
    let (empty, acme) = ("60", "6461636d65");
    let vectors = [
        (Policy::measurement(), start("1829", "00") + &none + &end(empty)),
        (Policy::signer(release()), start("1835", "02") + &three + &end(acme)),
        (both(), start("183d", "02") + &three + &end(acme)),
    ];
    for (policy, bytes) in vectors {
        let request = KeyRequest::Snp(Box::new(snp(&policy)));
        assert_eq!(hex::encode(request.encode()), bytes, "{policy}");
        assert_eq!(KeyRequest::decode("snp", &hex::decode(&bytes).unwrap()).unwrap(), request);
        assert_eq!(request.policy(), policy);
    }
}

/// R1: what the firmware is asked for, byte for byte.
#[test]
fn the_request_to_the_firmware_equals_its_vectors() {
    let svn = "02000000";
    for (policy, select, svn) in [
        (Policy::measurement(), "29", "00000000"),
        (Policy::signer(release()), "35", svn),
        (both(), "3d", svn),
    ] {
        let request = snp(&policy);
        let golden = |select: &str, svn: &str| {
            format!("0200000000000000{select}0000000000000001000000{svn}0900000000001748")
        };
        assert_eq!(hex::encode(request.keyreq().as_bytes()), golden(select, svn), "{policy}");
        assert_eq!(hex::encode(request.tag_keyreq().as_bytes()), golden("21", "00000000"), "{policy}");
    }
}

/// R5: what is recorded is the committed TCB, which later firmware can go back to; not what runs, which may yet be taken
/// back, nor what the host lets the machine report.
#[test]
fn the_committed_tcb_is_recorded() {
    assert_eq!(snp(&Policy::measurement()).tcb_version, SNP_TCB);
    assert_eq!(snp(&Policy::measurement()).tcb(&snp_guest()), Some(snp_guest().committed_tcb));
}

/// R7, R14: a signer is needed where the signer says which product it is, and so is the right product.
#[test]
fn a_signer_policy_needs_a_signer_and_its_product() {
    let new = |policy: &str, change: fn(&mut SnpIdentity)| {
        let mut identity = snp_guest();
        change(&mut identity);
        SnpRequest::new(&policy.parse().unwrap(), &identity, SNP_TCB, [6; 32])
    };
    let signer = "signer:product=3,svn=4,label=acme";
    assert_eq!(new(signer, |_| {}).unwrap().signer, [7; 48]);
    let authored = new(signer, |guest| guest.author_key_digest = [8; 48]).unwrap();
    assert_eq!(authored.signer, [8; 48], "the author's key stands for all ID keys that it certifies");
    let refused = |policy: &str, change| {
        let error = new(policy, change).unwrap_err();
        (error.code(), error.class(), error.to_string())
    };
    let (code, class, text) = refused(signer, |guest| guest.id_key_digest = [0; 48]);
    assert_eq!((code, class), ("policy.under_bound", Class::Usage));
    assert!(text.contains("ID block"), "{text}");
    let other = |guest: &mut SnpIdentity| guest.family_id[15] = 1;
    for (policy, change, register) in [
        ("signer:product=2,svn=4,label=acme", (|_| {}) as fn(&mut SnpIdentity), "FAMILY_ID"),
        (signer, other, "FAMILY_ID"),
        ("signer:product=3,svn=5,label=acme", |_| {}, "GUEST_SVN"),
    ] {
        let (code, class, text) = refused(policy, change);
        assert_eq!((code, class), ("policy.outside", Class::Refused), "{policy}");
        assert!(text.contains(register), "{text}");
    }
    for policy in
        ["registers:MRENCLAVE+CONFIGID", "pcr:7", &format!("owner:{},product=a,svn=1", "ab".repeat(32))]
    {
        assert_eq!(refused(policy, |_| {}).0, "machine.unsupported", "{policy}");
    }
}

/// R2, R3, R7, R13, R14, R32: what no sealing writes.
#[test]
fn a_request_that_binds_to_too_little_is_refused() {
    type Change = fn(&mut SnpRequest);
    let changes: [(&str, Change); 20] = [
        ("root", |r| r.root_key_select = 0),
        ("root", |r| r.root_key_select = 1),
        ("root", |r| r.root_key_select = 4),
        ("policy", |r| r.guest_field_select &= !field::POLICY),
        ("TCB", |r| r.guest_field_select &= !field::TCB_VERSION),
        ("identity", |r| r.guest_field_select &= ALWAYS),
        ("version", |r| r.guest_field_select |= field::IMAGE_ID),
        ("version", |r| r.guest_field_select |= 1 << 6),
        ("version", |r| r.guest_field_select &= !field::GUEST_SVN),
        ("version", |r| r.guest_field_select &= !field::FAMILY_ID),
        ("privilege", |r| r.vmpl = 4),
        ("KEYID", |r| r.keyid = [0; 32]),
        ("MEASUREMENT", |r| r.measurement = [0; 48]),
        ("signer", |r| r.signer = [0; 48]),
        ("FAMILY_ID", |r| r.family_id[2] = 1),
        ("GUEST_SVN", |r| r.guest_svn = 65_536),
        ("label", |r| r.label.clear()),
        ("label", |r| r.label = "two words".into()),
        ("label", |r| r.guest_field_select = ALWAYS | field::MEASUREMENT),
        ("field", |r| {
            (r.guest_field_select, r.label) = (ALWAYS | field::MEASUREMENT, String::new());
        }),
    ];
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let mut request = snp(&both());
        change(&mut request);
        match KeyRequest::decode("snp", &to_cbor(&request)) {
            Err(Error::InvalidRequest(found)) => assert!(found.contains(what), "{number}: {found}"),
            other => panic!("{number}: {other:?}"),
        }
    }
    // Without an ID block, a measurement alone is enough.
    let unsigned = SnpRequest { signer: [0; 48], ..snp(&Policy::measurement()) };
    KeyRequest::decode("snp", &to_cbor(&unsigned)).unwrap();
}

/// Each field that enters the key decides, and is named; no other does.
#[test]
fn what_enters_the_key_decides() {
    type Change = fn(&mut SnpIdentity);
    let changes: [(Change, Option<&str>, Option<&str>); 16] = [
        (|_| {}, None, None),
        (|g| g.measurement[47] ^= 1, Some("MEASUREMENT"), None),
        (|g| g.id_key_digest[0] ^= 1, Some("ID_KEY_DIGEST"), Some("ID_KEY_DIGEST")),
        (|g| g.author_key_digest[0] ^= 1, Some("AUTHOR_KEY_DIGEST"), Some("AUTHOR_KEY_DIGEST")),
        (|g| g.policy |= crate::snp::policy::DEBUG, Some("POLICY"), Some("POLICY")),
        (|g| g.host_data[31] ^= 1, Some("HOST_DATA"), Some("HOST_DATA")),
        (|g| g.vmpl = 2, Some("VMPL"), Some("VMPL")),
        (|g| g.vmpl = 0, None, None),
        (|g| g.family_id[0] ^= 1, None, Some("FAMILY_ID")),
        (|g| g.image_id[0] ^= 1, None, None),
        (|g| g.guest_svn = 2, None, None),
        (|g| g.guest_svn = 1, None, Some("GUEST_SVN")),
        (|g| g.committed_tcb.microcode = 71, Some("TCB"), Some("TCB")),
        (|g| g.committed_tcb.snp = 22, Some("TCB"), Some("TCB")),
        (|g| g.committed_tcb = SnpTcb { microcode: 99, snp: 24, ..g.committed_tcb }, None, None),
        (|g| g.reported_tcb = SnpTcb::default(), None, None),
    ];
    for (number, (change, measured, signed)) in changes.into_iter().enumerate() {
        let mut guest = snp_guest();
        change(&mut guest);
        for (policy, wanted) in [(Policy::measurement(), measured), (Policy::signer(release()), signed)] {
            let found = outlook(&snp(&policy), &guest, |here| here);
            assert_eq!(found.field(), wanted, "{number} {policy}: {found:?}");
        }
    }
    let turin = SnpIdentity { cpuid: [0x1A, 2, 1], ..snp_guest() };
    let found = outlook(&snp(&Policy::measurement()), &turin, |here| here);
    assert!(matches!(found, Outlook::DoesNot(Error::OtherMachine)), "{found:?}");
}

/// R15.
#[test]
fn a_simulated_chip_is_not_a_real_one() {
    let mut simulated = snp_guest();
    simulated.chip_id[56..].copy_from_slice(&SIMULATED_MARKER);
    let request = snp(&Policy::measurement());
    let found = outlook(&request, &simulated, |here| here);
    assert!(matches!(found, Outlook::DoesNot(Error::WrongBackend { .. })), "{found:?}");
    let tagged = KeyRequest::Simulated(Box::new(KeyRequest::Snp(Box::new(request))));
    for (identity, opens) in [(simulated, true), (snp_guest(), false)] {
        let identity = Identity::Snp(Box::new(identity));
        let platform = PlatformState::here(&identity).confirmed();
        assert_eq!(matches!(tagged.opens_under(&identity, &platform), Outlook::Opens), opens);
    }
}

/// R5, R88: parts of a TCB can be compared, unlike CPUSVN.
#[test]
fn what_ends_access_is_foretold() {
    let present = snp(&Policy::measurement());
    let mut older = present.clone();
    older.tcb_version[7] -= 1;
    // What is reported or not yet committed to says nothing.
    let guest = SnpIdentity {
        reported_tcb: SnpTcb::default(),
        current_tcb: SnpTcb { snp: 24, ..snp_guest().current_tcb },
        ..snp_guest()
    };
    let said = |request: &SnpRequest, change| match outlook(request, &guest, change) {
        Outlook::Opens => "opens".to_owned(),
        Outlook::MayNot(doubt) => format!("may not: {}", doubt.field()),
        Outlook::DoesNot(error) => error.code().to_owned(),
    };
    for (request, down) in [(&present, "machine.tcb_too_old"), (&older, "may not: TCB")] {
        assert_eq!(said(request, |here| here), "opens");
        assert_eq!(said(request, PlatformState::after_microcode_up), "opens");
        assert_eq!(said(request, PlatformState::after_microcode_down), down);
        assert_eq!(said(request, PlatformState::after_firmware_update), "may not: machine keys");
        assert_eq!(said(request, PlatformState::with_other_keys), "machine.other_machine");
    }
    assert_eq!(Doubt::Tcb.field(), "TCB");
}
