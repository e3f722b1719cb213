use super::*;
use crate::SgxIdentity;
use crate::samples::{
    enclave, guest, key_file, kss_enclave, provider, release, sgx, sgx_identity, snp, tdx_identity,
};
use crate::sgx::arch::flags;
use crate::{GuestBinding, Policy, Register, SIMULATED_MARKER};

fn wrapped(request: SgxRequest) -> KeyRequest {
    KeyRequest::Sgx(Box::new(request))
}

/// MRENCLAVE, MRSIGNER and every KSS identifier.
fn everything() -> Policy {
    Policy::signer(release())
        .with_register(Register::MrEnclave)
        .with_register(Register::ConfigId)
        .with_register(Register::IsvFamilyId)
        .with_register(Register::IsvExtProdId)
}

fn policies() -> [Policy; 4] {
    [
        Policy::default(),
        Policy::signer(release()),
        Policy::measurement().with_register(Register::ConfigId),
        everything(),
    ]
}

#[test]
fn every_kind_comes_back_from_its_encoding() {
    let sgx = policies().map(|policy| wrapped(sgx(&policy)));
    let others = [
        KeyRequest::TdxProvider(Box::new(provider())),
        KeyRequest::SgxKeyFile(Box::new(key_file())),
        KeyRequest::Snp(Box::new(snp(&Policy::measurement()))),
    ];
    let real = sgx.into_iter().chain(others);
    for request in real {
        assert_eq!(KeyRequest::decode(request.kind(), &request.encode()).unwrap(), request);
        let simulated = KeyRequest::Simulated(Box::new(request));
        assert_eq!(KeyRequest::decode("sim", &simulated.encode()).unwrap(), simulated);
    }
}

/// A request says under which policy it was made, so that it can be made again.
#[test]
fn the_policy_comes_back_from_the_request() {
    for policy in policies() {
        let request = wrapped(sgx(&policy));
        assert_eq!(request.policy(), policy);
        assert_eq!(KeyRequest::Simulated(Box::new(request)).policy(), policy);
    }
    assert_eq!(KeyRequest::TdxProvider(Box::new(provider())).policy(), Policy::measurement());
}

/// R12: the encoding is frozen. The bytes were written by hand from the table at [`SgxRequest`].
#[test]
fn the_encoding_equals_its_vectors() {
    let bytes = |byte: &str, count: usize| {
        let head = if count < 24 { format!("{:02x}", 0x40 + count) } else { format!("58{count:02x}") };
        head + &byte.repeat(count)
    };
    let common = [bytes("06", 32), bytes("01", 32), bytes("02", 32)].concat();
    let masks = "1bff0000000000000b001af000000000";
    let vectors = [
        (
            Policy::measurement(),
            ["92", "01", "04", &bytes("05", 16), "00", masks, &common, "03", "01"].concat()
                + &[bytes("00", 64), bytes("00", 16), bytes("00", 16), "60".into()].concat(),
        ),
        (
            Policy::signer(release()),
            ["92", "02", "02", &bytes("05", 16), "00", masks, &common, "03", "01"].concat()
                + &[bytes("00", 64), bytes("00", 16), bytes("00", 16), "6461636d65".into()].concat(),
        ),
        (
            everything(),
            ["92", "183b", "02", &bytes("05", 16), "08", masks, &common, "03", "01"].concat()
                + &[bytes("07", 64), bytes("09", 16), bytes("0a", 16), "6461636d65".into()].concat(),
        ),
    ];
    for (policy, before_the_tag) in vectors {
        let mut request = sgx(&policy);
        request.machine_tag = [0x7A; 16];
        assert_eq!(hex::encode(wrapped(request).encode()), before_the_tag + &bytes("7a", 16), "{policy}");
    }
}

/// R12, R16: the encoding of a guest's request is frozen, that of the first version included, which named no binding. The bytes
/// were written by hand from the specification of envelopes.
#[test]
fn the_encoding_of_a_guests_request_equals_its_vectors() {
    let registers: String =
        (1..=9).map(|register| format!("5830{}", format!("{register:02x}").repeat(48))).collect();
    let common = format!(
        "50{}5820{}5820{}6470617468677365616c696e6789{registers}",
        "01".repeat(16),
        "02".repeat(32),
        "03".repeat(32)
    );
    let owner = GuestBinding::Owner { owner: [0xAB; 32], product: "wallet".into(), svn: 300 };
    let vectors = [
        (GuestBinding::Measurement, format!("86{common}")),
        (GuestBinding::Registers { name: "boot".into(), version: 2 }, format!("87{common}830164626f6f7402")),
        (owner, format!("87{common}84025820{}6677616c6c657419012c", "ab".repeat(32))),
    ];
    for (binding, bytes) in vectors {
        let request =
            KeyRequest::TdxProvider(Box::new(ProviderRequest { binding: binding.clone(), ..provider() }));
        assert_eq!(hex::encode(request.encode()), bytes, "{binding}");
        assert_eq!(KeyRequest::decode("tdx-provider", &hex::decode(&bytes).unwrap()).unwrap(), request);
        assert_eq!(request.policy(), Policy::guest(binding));
    }
    for bad in [
        format!("87{common}f6"),
        format!("87{common}80"),
        format!("87{common}830364626f6f7402"),
        format!("87{common}84025820{}6677616c6c657419012c", "00".repeat(32)),
        format!("87{common}830164626f200002"),
        format!("88{common}f6f6"),
    ] {
        let error = KeyRequest::decode("tdx-provider", &hex::decode(&bad).unwrap()).unwrap_err();
        assert!(matches!(error, Error::InvalidRequest(_)), "{bad}");
    }
}

/// R12, R16: the encoding of a request by Gramine's key file is frozen. The bytes were written by hand from the specification of
/// envelopes.
#[test]
fn the_encoding_of_a_key_file_equals_its_vector() {
    let bytes = format!("875820{}030450{}0518e700", "01".repeat(32), "05".repeat(16));
    let request = KeyRequest::SgxKeyFile(Box::new(key_file()));
    assert_eq!(hex::encode(request.encode()), bytes);
    assert_eq!(KeyRequest::decode("sgx-key-file", &hex::decode(&bytes).unwrap()).unwrap(), request);
    assert_eq!(request.policy(), Policy::measurement());
    for bad in [
        bytes.replacen("0101", "0000", 16),
        bytes.replace("0518e700", "0418e700"),
        bytes.replace("0518e700", "0518e7"),
        format!("{bytes}00"),
        bytes.replacen("87", "88", 1) + "00",
        bytes.replace("030450", "03041850"),
    ] {
        let error = KeyRequest::decode("sgx-key-file", &hex::decode(&bad).unwrap()).unwrap_err();
        assert!(matches!(error, Error::InvalidRequest(_)), "{bad}");
    }
}

/// Only the provider says whether another image of the owner may have the key; nobody else's certainty is claimed.
#[test]
fn an_owners_key_is_for_the_provider_to_give() {
    let owner = GuestBinding::Owner { owner: [1; 32], product: "wallet".into(), svn: 1 };
    let request = KeyRequest::TdxProvider(Box::new(ProviderRequest { binding: owner, ..provider() }));
    let mut next = guest();
    next.rtmr[3] = [0; 48];
    let outlook = |guest: &crate::TdxIdentity| {
        let identity = Identity::Tdx(Box::new(guest.clone()));
        request.opens_under(&identity, &PlatformState::here(&identity).confirmed())
    };
    assert!(matches!(outlook(&guest()), Outlook::Opens));
    assert!(matches!(outlook(&next), Outlook::MayNot(Doubt::Entitlement)));
    let error = SgxRequest::new(&request.policy(), &enclave(), [1; 32]).unwrap_err();
    assert_eq!(error.code(), "machine.unsupported");
}

/// R32: any other encoding, kind, nesting or cut is refused.
#[test]
fn only_the_canonical_encoding_is_read() {
    let request = wrapped(sgx(&everything()));
    let bytes = request.encode();
    for length in 0..bytes.len() {
        assert!(KeyRequest::decode("sgx", &bytes[..length]).is_err());
    }
    let trailing = [&bytes[..], &[0]].concat();
    let indefinite = [&[0x9F][..], &bytes[1..], &[0xFF]].concat();
    let one_more = [&[0x93][..], &bytes[1..], &[0]].concat();
    let policy_in_more_bytes = [&[0x92, 0x19, 0][..], &bytes[2..]].concat();
    for bytes in [&trailing, &indefinite, &one_more, &policy_in_more_bytes] {
        assert!(KeyRequest::decode("sgx", bytes).is_err());
    }
    assert!(KeyRequest::decode("tdx-provider", &bytes).is_err());
    assert!(KeyRequest::decode("sgy", &bytes).is_err());
    let nested = KeyRequest::Simulated(Box::new(KeyRequest::Simulated(Box::new(request))));
    assert!(KeyRequest::decode("sim", &nested.encode()).is_err());

    let mut zero = provider();
    zero.guest.mrtd = [0; 48];
    let bytes = KeyRequest::TdxProvider(Box::new(zero)).encode();
    assert!(matches!(KeyRequest::decode("tdx-provider", &bytes), Err(Error::InvalidRequest(_))));
}

/// The field that decides for `identity`, on a machine that gave the key before.
fn field(request: &KeyRequest, identity: &SgxIdentity) -> Option<&'static str> {
    let identity = sgx_identity(identity.clone());
    request.opens_under(&identity, &PlatformState::here(&identity).confirmed()).field()
}

/// R7, R9, R14: each selected register decides, and is named; what is not selected does not decide.
#[test]
fn the_selected_registers_decide() {
    type Change = fn(&mut SgxIdentity);
    let changes: [(&str, Change); 6] = [
        ("MRENCLAVE", |i| i.mrenclave[0] ^= 1),
        ("MRSIGNER", |i| i.mrsigner[0] ^= 1),
        ("CONFIGID", |i| i.config_id[0] ^= 1),
        ("ISVFAMILYID", |i| i.isv_family_id[0] ^= 1),
        ("ISVEXTPRODID", |i| i.isv_ext_prod_id[0] ^= 1),
        ("CONFIGSVN", |i| i.config_svn -= 1),
    ];
    for policy in policies() {
        let request = wrapped(sgx(&policy));
        assert_eq!(field(&request, &kss_enclave()), None);
        let mut selected: Vec<_> = policy.registers().map(Register::name).collect();
        if selected.contains(&"CONFIGID") {
            selected.push("CONFIGSVN");
        }
        for (register, change) in changes {
            let mut other = kss_enclave();
            change(&mut other);
            let wanted = selected.contains(&register).then_some(register);
            assert_eq!(field(&request, &other), wanted, "{policy}");
        }
    }
}

/// R3, R4, R5: what decides under every policy.
#[test]
fn product_version_and_debug_decide_under_every_policy() {
    type Change = fn(&mut SgxIdentity);
    let changes: [(Option<&str>, Change); 7] = [
        (Some("ISVPRODID"), |i| i.isv_prod_id = 9),
        (Some("ISVSVN"), |i| i.isv_svn = 1),
        (None, |i| i.isv_svn = 5),
        (Some("ATTRIBUTES"), |i| i.attributes.flags |= flags::DEBUG),
        (None, |i| i.attributes.flags |= flags::PROVISION_KEY),
        (None, |i| i.attributes.xfrm = 0x600E7),
        (None, |i| i.misc_select = 1),
    ];
    for policy in policies() {
        let request = wrapped(sgx(&policy));
        for (wanted, change) in changes {
            let mut other = kss_enclave();
            change(&mut other);
            assert_eq!(field(&request, &other), wanted, "{policy}");
        }
    }
    // The lowest version of a signer policy is the policy's, that of a measurement is the sealer's.
    let at_three = SgxIdentity { isv_svn: 3, ..kss_enclave() };
    assert_eq!(field(&wrapped(sgx(&Policy::signer(release()))), &at_three), None);
    assert_eq!(field(&wrapped(sgx(&Policy::measurement())), &at_three), Some("ISVSVN"));
}

/// R9: EGETKEY would fault, which ends the process, so the loss of KSS is refused before it is asked.
#[test]
fn a_kss_policy_needs_kss_to_open() {
    let mut without = kss_enclave();
    without.attributes = enclave().attributes;
    for policy in policies() {
        let uses_kss = policy.registers().any(|register| register > Register::MrSigner);
        let wanted = uses_kss.then_some("ATTRIBUTES.KSS");
        assert_eq!(field(&wrapped(sgx(&policy)), &without), wanted, "{policy}");
    }
}

#[test]
fn a_mismatch_says_what_is_claimed_and_found() {
    let request = KeyRequest::TdxProvider(Box::new(provider()));
    let outlook = |guest| {
        let identity = Identity::Tdx(Box::new(guest));
        request.opens_under(&identity, &PlatformState::here(&identity))
    };
    outlook(guest()).into_result().unwrap();
    let mut other = guest();
    other.rtmr[3] = [0; 48];
    let error = outlook(other).into_result().unwrap_err();
    assert!(error.to_string().contains("the header claims RTMR3 0505"), "{error}");
}

/// R15, R16: a request is for one kind of machine, simulated or real; the tag and the marker must agree.
#[test]
fn requests_are_for_their_kind_of_machine() {
    let mut marked = kss_enclave();
    marked.cpusvn[8..].copy_from_slice(&SIMULATED_MARKER);
    let mut marked_guest = guest();
    marked_guest.tee_tcb_svn[8..].copy_from_slice(&SIMULATED_MARKER);
    let (real, simulated) = (sgx_identity(kss_enclave()), sgx_identity(marked.clone()));
    let simulated_guest = Identity::Tdx(Box::new(marked_guest));

    let sgx_real = wrapped(sgx(&Policy::default()));
    let sgx_marked = wrapped(SgxRequest::new(&Policy::default(), &marked, [6; 32]).unwrap());
    let provider = KeyRequest::TdxProvider(Box::new(provider()));
    let tagged = |request: &KeyRequest| KeyRequest::Simulated(Box::new(request.clone()));
    let identities = [&real, &simulated, &tdx_identity(), &simulated_guest];
    let cases = [
        (sgx_real.clone(), [true, false, false, false]),
        (tagged(&sgx_real), [false; 4]),
        (sgx_marked.clone(), [false; 4]),
        (tagged(&sgx_marked), [false, true, false, false]),
        (provider.clone(), [false, false, true, false]),
        (tagged(&provider), [false, false, false, true]),
    ];
    for (request, wanted) in cases {
        for (identity, wanted) in identities.into_iter().zip(wanted) {
            let outlook = request.opens_under(identity, &PlatformState::here(identity));
            match outlook.into_result() {
                Ok(()) => assert!(wanted, "{request:?} on {identity:?}"),
                Err(error) => {
                    assert!(!wanted, "{request:?} on {identity:?}: {error}");
                    assert_eq!(error.code(), "machine.wrong_backend");
                }
            }
        }
    }
}
