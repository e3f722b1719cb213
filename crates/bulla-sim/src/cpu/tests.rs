use super::*;

/// A fixed processor, for vectors.
fn cpu() -> Cpu {
    Cpu {
        seal_fuses: Secret::new([0xF5; 32]),
        report_key_seed: Secret::new([0x4E; 32]),
        tdx_report_key: Secret::new([0x7D; 32]),
        owner_epoch: [0x0E; 16],
        cpusvn: svn([5, 5, 2, 2, 3, 1, 0, 3]),
        tee_tcb_svn: svn([5, 1, 2, 0, 0, 0, 0, 0]),
        mrseam: [0x5E; 48],
        mrsignerseam: [0; 48],
        seam_attributes: [0; 8],
    }
}

fn svn(live: [u8; 8]) -> [u8; 16] {
    [live, bulla_tee::SIMULATED_MARKER].concat().try_into().unwrap()
}

fn enclave() -> EnclaveIdentity {
    let plain = EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3);
    EnclaveIdentity {
        attributes: Attributes { flags: plain.attributes.flags | flags::KSS, xfrm: 0xE7 },
        misc_select: 3,
        config_id: [0xC1; 64],
        config_svn: 6,
        isv_family_id: [0xFA; 16],
        isv_ext_prod_id: [0xE7; 16],
        ..plain
    }
}

fn without_kss() -> EnclaveIdentity {
    EnclaveIdentity::new([0xE1; 32], [0x51; 32], 7, 3)
}

/// Every input selected.
fn request() -> Keyrequest {
    Keyrequest {
        keyname: KEYNAME_SEAL,
        keypolicy: KEYPOLICY_KNOWN & !KEYPOLICY_NOISVPRODID,
        isvsvn: 3,
        cpusvn: cpu().cpusvn,
        attribute_mask: Attributes { flags: 0xFF00_0000_0000_000B, xfrm: 0xE4 },
        keyid: [0x1D; 32],
        misc_mask: 0xF000_0001,
        configsvn: 6,
        ..Keyrequest::new_zeroed()
    }
}

fn key(enclave: &EnclaveIdentity, request: &Keyrequest) -> Result<[u8; 16], Refusal> {
    cpu().egetkey(enclave, request).map(|key| *key.expose())
}

/// The derivation is frozen. The values were computed by a Python script from `docs/spec/simulator.md` alone.
#[test]
fn seal_keys_equal_their_vectors() {
    let plain = Keyrequest {
        keyname: KEYNAME_SEAL,
        keypolicy: KEYPOLICY_MRENCLAVE,
        isvsvn: 3,
        cpusvn: cpu().cpusvn,
        attribute_mask: Attributes { flags: 0xFF00_0000_0000_000B, xfrm: 0 },
        keyid: [0x1D; 32],
        misc_mask: 0xF000_0000,
        ..Keyrequest::new_zeroed()
    };
    let empty = Keyrequest { keyname: KEYNAME_SEAL, ..Keyrequest::new_zeroed() };
    let report = Keyrequest { keyname: KEYNAME_REPORT, keyid: [0x1D; 32], ..Keyrequest::new_zeroed() };
    let vectors = [
        (enclave(), request(), "97aa3925c6bacf7e387b7af993fcb5d4"),
        (without_kss(), plain, "89e31534b14894ef58eddecaf394be5b"),
        (without_kss().with_debug(), plain, "79c5bf551b8e82b24f93dba8d9cb9945"),
        (without_kss(), empty, "e724e9f1aa358f32f2fd2b5972ed3332"),
        (enclave(), report, "44686fc8a7d70c7098c6f8b2ff0397b8"),
    ];
    for (enclave, request, expected) in vectors {
        assert_eq!(hex::encode(key(&enclave, &request).unwrap()), expected);
    }
}

/// R1: whoever changes any bit of a KEYREQUEST gets another key, a status or a fault.
#[test]
fn every_bit_of_a_request_decides() {
    let original = key(&enclave(), &request()).unwrap();
    for bit in 0..512 * 8 {
        let mut changed = request();
        *changed.as_mut_bytes().get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        assert_ne!(key(&enclave(), &changed), Ok(original), "bit {bit}");
    }
}

#[test]
fn every_secret_of_the_machine_decides() {
    let original = key(&enclave(), &request()).unwrap();
    let other_fuses = Cpu { seal_fuses: Secret::new([0xF6; 32]), ..cpu() };
    let other_epoch = Cpu { owner_epoch: [0x0F; 16], ..cpu() };
    for other in [other_fuses, other_epoch] {
        assert_ne!(*other.egetkey(&enclave(), &request()).unwrap().expose(), original);
    }
    // Reports have a secret of their own, and sealing does not know it.
    let other_seed = Cpu { report_key_seed: Secret::new([0; 32]), ..cpu() };
    assert_eq!(*other_seed.egetkey(&enclave(), &request()).unwrap().expose(), original);
}

/// R14: what of the identity enters the key is what the policy selects, and ISVPRODID unless it is excluded.
#[test]
fn the_policy_selects_the_identity() {
    let changes: [(u16, EnclaveIdentity); 7] = [
        (KEYPOLICY_MRENCLAVE, EnclaveIdentity { mrenclave: [0xE2; 32], ..enclave() }),
        (KEYPOLICY_MRSIGNER, EnclaveIdentity { mrsigner: [0x52; 32], ..enclave() }),
        (KEYPOLICY_CONFIGID, EnclaveIdentity { config_id: [0xC2; 64], ..enclave() }),
        (KEYPOLICY_ISVFAMILYID, EnclaveIdentity { isv_family_id: [0xFB; 16], ..enclave() }),
        (KEYPOLICY_ISVEXTPRODID, EnclaveIdentity { isv_ext_prod_id: [0xE8; 16], ..enclave() }),
        (0, EnclaveIdentity { isv_svn: 4, ..enclave() }),
        (0, EnclaveIdentity { config_svn: 7, ..enclave() }),
    ];
    for (bit, changed) in &changes {
        for keypolicy in 0..=KEYPOLICY_KNOWN {
            let request = Keyrequest { keypolicy, ..request() };
            let same = key(&enclave(), &request) == key(changed, &request);
            assert_eq!(same, keypolicy & bit == 0, "policy {keypolicy:#x}, {changed:?}");
        }
    }
    let product = EnclaveIdentity { isv_prod_id: 8, ..enclave() };
    let excluded = Keyrequest { keypolicy: request().keypolicy | KEYPOLICY_NOISVPRODID, ..request() };
    assert_ne!(key(&enclave(), &request()), key(&product, &request()));
    assert_eq!(key(&enclave(), &excluded), key(&product, &excluded));
    // CONFIGSVN counts with CONFIGID only.
    let unbound = Keyrequest { keypolicy: KEYPOLICY_MRENCLAVE, ..request() };
    assert_eq!(key(&enclave(), &unbound), key(&enclave(), &Keyrequest { configsvn: 5, ..unbound }));
}

/// R3, R4: masks select attributes bit by bit, but INIT and DEBUG are always in.
#[test]
fn masks_select_attributes_and_debug_is_forced() {
    let open = Keyrequest { attribute_mask: Attributes { flags: 0, xfrm: 0 }, misc_mask: 0, ..request() };
    for bit in 0..64 {
        let mut changed = enclave();
        changed.attributes.flags ^= 1 << bit;
        if 1 << bit == flags::KSS {
            continue;
        }
        let forced = 1 << bit & (flags::INIT | flags::DEBUG) != 0;
        assert_eq!(key(&enclave(), &open) != key(&changed, &open), forced, "flag {bit}");
        let mut masked = open;
        masked.attribute_mask.flags = 1 << bit;
        assert_ne!(key(&enclave(), &masked), key(&changed, &masked), "flag {bit}");

        let mut changed = enclave();
        changed.attributes.xfrm ^= 1 << bit;
        assert_eq!(key(&enclave(), &open), key(&changed, &open), "feature {bit}");
        masked = open;
        masked.attribute_mask.xfrm = 1 << bit;
        assert_ne!(key(&enclave(), &masked), key(&changed, &masked), "feature {bit}");
    }
    for bit in 0..32 {
        let changed = EnclaveIdentity { misc_select: enclave().misc_select ^ 1 << bit, ..enclave() };
        assert_eq!(key(&enclave(), &open), key(&changed, &open), "misc {bit}");
        let masked = Keyrequest { misc_mask: 1 << bit, ..open };
        assert_ne!(key(&enclave(), &masked), key(&changed, &masked), "misc {bit}");
    }
}

/// R5: a key of any lower version, never of a higher one; CPUSVN is compared component by component.
#[test]
fn versions_are_ordered() {
    let at = |cpusvn| key(&enclave(), &Keyrequest { cpusvn, ..request() });
    let too_high = Err(Refusal::Status(status::INVALID_CPUSVN));
    let lower = [[5, 5, 2, 2, 3, 1, 0, 3], [4, 5, 2, 2, 3, 1, 0, 3], [0; 8], [5, 5, 2, 2, 3, 0, 0, 0]];
    let higher = [
        [6, 5, 2, 2, 3, 1, 0, 3],
        [0, 0, 0, 0, 0, 0, 1, 0],
        [5, 5, 2, 2, 3, 1, 0, 4],
        // Mixed: lower in one component and higher in another.
        [4, 6, 2, 2, 3, 1, 0, 3],
        [6, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 255],
    ];
    let mut keys: Vec<_> = lower.map(|live| at(svn(live)).unwrap()).to_vec();
    // All zeroes is the lowest of any processor, marker or not.
    keys.push(at([0; 16]).unwrap());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), lower.len() + 1, "each version has its key");
    for live in higher {
        assert_eq!(at(svn(live)), too_high, "{live:?}");
    }
    // R15: the CPUSVN of a real processor is none of this one's.
    assert_eq!(at([1; 16]), too_high);
    assert_eq!(at([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), too_high);

    let too_high = Err(Refusal::Status(status::INVALID_ISVSVN));
    assert_eq!(key(&enclave(), &Keyrequest { isvsvn: 4, ..request() }), too_high);
    assert_eq!(key(&enclave(), &Keyrequest { configsvn: 7, ..request() }), too_high);
    assert!(key(&enclave(), &Keyrequest { isvsvn: 0, configsvn: 0, ..request() }).is_ok());

    // The same key after an update of processor and enclave.
    let updated = Cpu { cpusvn: svn([6, 5, 2, 2, 3, 1, 0, 9]), ..cpu() };
    let newer = EnclaveIdentity { isv_svn: 9, config_svn: 9, ..enclave() };
    assert_eq!(updated.egetkey(&newer, &request()).map(|key| *key.expose()), key(&enclave(), &request()));
}

#[test]
fn names_of_other_keys_are_refused() {
    let named = |keyname| key(&enclave(), &Keyrequest { keyname, ..request() });
    for keyname in 0..=2 {
        assert_eq!(named(keyname), Err(Refusal::Status(status::INVALID_ATTRIBUTE)));
    }
    for keyname in [5, 256, 0xFFFF] {
        assert_eq!(named(keyname), Err(Refusal::Status(status::INVALID_KEYNAME)));
    }
}

/// Not a status: the instruction faults, whichever key is asked for.
#[test]
fn malformed_requests_fault() {
    let fault = Err(Refusal::Fault(Fault::GeneralProtection));
    for keyname in 0..=5 {
        let base = Keyrequest { keyname, ..request() };
        assert_eq!(key(&enclave(), &Keyrequest { reserved1: 1, ..base }), fault);
        for at in [0, 433] {
            let mut reserved2 = [0; 434];
            *reserved2.get_mut(at).unwrap() = 1;
            assert_eq!(key(&enclave(), &Keyrequest { reserved2, ..base }), fault);
        }
        for bit in 6..16 {
            assert_eq!(key(&enclave(), &Keyrequest { keypolicy: base.keypolicy | 1 << bit, ..base }), fault);
        }
        let plain = Keyrequest { keypolicy: KEYPOLICY_MRENCLAVE, configsvn: 0, ..base };
        for bit in 2..6 {
            assert_eq!(key(&without_kss(), &Keyrequest { keypolicy: 1 << bit, ..plain }), fault);
        }
        assert_eq!(key(&without_kss(), &Keyrequest { configsvn: 1, ..plain }), fault);
    }
}

#[test]
fn operands_fault_where_they_may_not_be() {
    assert_eq!(operand_fault(0x7F00_0000_0200, 512), None);
    for (address, alignment) in [(0x7F00_0000_0100, 512), (0x7F00_0000_0201, 512), (0x7F00_0000_0008, 16)] {
        assert_eq!(operand_fault(address, alignment), Some(Fault::GeneralProtection));
    }
    assert_eq!(operand_fault(1 << 47, 512), Some(Fault::GeneralProtection));
    assert_eq!(operand_fault(0, 512), Some(Fault::PageFault));
}

/// EREPORT is for one target: its report key, from EGETKEY, makes the MAC.
#[test]
fn reports_are_for_their_target() {
    let target = EnclaveIdentity::new([0x7A; 32], [0x7B; 32], 1, 1);
    let report = cpu().ereport(&enclave(), &target.targetinfo(), &[0xDA; 64]).unwrap();
    assert!(report.body == enclave().report_body(&cpu().cpusvn, &[0xDA; 64]));

    let ask = Keyrequest { keyname: KEYNAME_REPORT, keyid: report.keyid, ..Keyrequest::new_zeroed() };
    let report_key = cpu().egetkey(&target, &ask).unwrap();
    assert_eq!(cmac(&report_key, report.body.as_bytes()), report.mac);
    assert!(cpu().is_report_for(&target, &report));

    for other in [
        EnclaveIdentity { mrenclave: [0x7C; 32], ..target.clone() },
        EnclaveIdentity { misc_select: 1, ..target.clone() },
        EnclaveIdentity { config_svn: 1, ..target.clone() },
        target.clone().with_debug(),
    ] {
        assert!(!cpu().is_report_for(&other, &report), "{other:?}");
    }
    // The report key has no signer and no version: a new version of the target can read the report.
    assert!(cpu().is_report_for(&EnclaveIdentity { isv_svn: 2, mrsigner: [0; 32], ..target }, &report));
    for other in [
        Cpu { report_key_seed: Secret::new([0; 32]), ..cpu() },
        Cpu { cpusvn: svn([6; 8]), ..cpu() },
        Cpu { owner_epoch: [0; 16], ..cpu() },
    ] {
        assert!(!other.is_report_for(&target, &report));
    }
}

#[test]
fn a_malformed_targetinfo_faults() {
    let target = enclave().targetinfo();
    let bad = [
        Targetinfo { reserved1: 1, ..target },
        Targetinfo { reserved2: [1; 8], ..target },
        Targetinfo { reserved3: [1; 384], ..target },
    ];
    for target in bad {
        assert!(matches!(cpu().ereport(&enclave(), &target, &[0; 64]), Err(Fault::GeneralProtection)));
    }
}

/// R35: the MAC covers every bit of the structure, and the hashes every bit of what is beside it.
#[test]
fn tdreports_are_checked_to_the_bit() {
    let report = cpu().tdreport(&crate::TdDescription::default_guest().td_info(), &[5; 64]);
    assert_eq!(cpu().everifyreport2(&report.report_mac), Ok(()));
    assert_eq!(report.report_mac.tee_tcb_info_hash, sha384(&[report.tee_tcb_info.as_bytes()]));
    assert_eq!(report.report_mac.tee_info_hash, sha384(&[report.td_info.as_bytes()]));
    let refused = Err(Refusal::Status(status::INVALID_REPORTMACSTRUCT));
    for bit in 0..256 * 8 {
        let mut changed = report.report_mac;
        *changed.as_mut_bytes().get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        let status = if reaches(&cpu().cpusvn, &changed.cpusvn) {
            status::INVALID_REPORTMACSTRUCT
        } else {
            status::INVALID_CPUSVN
        };
        assert_eq!(cpu().everifyreport2(&changed), Err(Refusal::Status(status)), "bit {bit}");
    }
    let other = Cpu { tdx_report_key: Secret::new([0; 32]), ..cpu() };
    assert_eq!(other.everifyreport2(&report.report_mac), refused);

    // A MAC does not help a structure of another type or with reserved bits.
    let remade = |change: fn(&mut ReportMac)| {
        let mut changed = report.report_mac;
        change(&mut changed);
        changed.mac = hmac(cpu().tdx_report_key.expose(), &[mac_covered(&changed)]);
        cpu().everifyreport2(&changed)
    };
    assert_eq!(remade(|report| report.report_type = [0x81, 0, 1, 0]), Ok(()));
    for change in [
        (|report| report.report_type = [0, 0, 0, 0]) as fn(&mut ReportMac),
        |report| report.report_type = [0x81, 1, 0, 0],
        |report| report.report_type = [0x81, 0, 2, 0],
        |report| report.report_type = [0x81, 0, 0, 1],
        |report| report.reserved1 = [1; 12],
        |report| report.reserved2 = [1; 32],
    ] {
        assert_eq!(remade(change), refused);
    }
}
