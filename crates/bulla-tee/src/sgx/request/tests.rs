use zerocopy::IntoBytes;

use super::*;
use crate::samples::{enclave, kss_enclave, release, sgx};
use crate::{KeyRequest, Register};

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

/// R1, R8: the operand of EGETKEY for each policy, byte for byte (Intel SDM vol. 3D, KEYREQUEST).
#[test]
fn key_requests_equal_their_vectors() {
    let cpusvn = "05".repeat(16);
    let masks = "0b000000000000ff0000000000000000";
    let keyid = "06".repeat(32);
    let after_isvsvn = ["0000", &cpusvn, masks, &keyid, "000000f0"].concat();
    let vectors = [
        (Policy::default(), "04000100", "0400", "0000"),
        (policy("signer:product=3,svn=2,label=acme"), "04000200", "0200", "0000"),
        (policy("signer:product=3,svn=4,label=acme"), "04000200", "0400", "0000"),
        (policy("registers:MRENCLAVE+CONFIGID"), "04000900", "0400", "0800"),
        (policy("registers:MRENCLAVE+ISVFAMILYID+ISVEXTPRODID"), "04003100", "0400", "0000"),
        (policy("registers:MRSIGNER+CONFIGID,product=3,svn=0,label=x"), "04000a00", "0000", "0800"),
        (policy("registers:MRENCLAVE+MRSIGNER,product=3,svn=2,label=x"), "04000300", "0200", "0000"),
    ];
    for (policy, name_and_policy, isvsvn, configsvn) in vectors {
        let golden = [name_and_policy, isvsvn, &after_isvsvn, configsvn, &"00".repeat(434)].concat();
        assert_eq!(hex::encode(sgx(&policy).keyrequest().as_bytes()), golden, "{policy}");
        // The machine tag selects nothing but masks and KEYID, whatever the policy.
        let nothing = ["04000000", "0000", "0000", &"00".repeat(16), masks, &keyid, "000000f0"].concat();
        let golden = nothing + &"00".repeat(436);
        assert_eq!(hex::encode(sgx(&policy).tag_keyrequest().as_bytes()), golden);
    }
}

/// R1: every selector of the architectural request is in it and in the encoding.
#[test]
fn every_selector_is_recorded() {
    type Edit = fn(&mut SgxRequest);
    let edits: [Edit; 9] = [
        |r| r.keypolicy ^= 1,
        |r| r.isvsvn += 1,
        |r| r.cpusvn[0] += 1,
        |r| r.configsvn += 1,
        |r| r.flags_mask ^= 1 << 40,
        |r| r.xfrm_mask ^= 4,
        |r| r.misc_mask ^= 1,
        |r| r.cet_mask ^= 1,
        |r| r.keyid[0] ^= 1,
    ];
    let original = sgx(&policy("registers:MRSIGNER+CONFIGID,product=3,svn=2,label=acme"));
    let encoded = |request: &SgxRequest| KeyRequest::Sgx(Box::new(request.clone())).encode();
    for edit in edits {
        let mut edited = original.clone();
        edit(&mut edited);
        assert!(edited.keyrequest() != original.keyrequest());
        assert_ne!(encoded(&edited), encoded(&original));
    }
    // R7: another label is another request, so another info of every derivation from the key.
    let other = sgx(&policy("registers:MRSIGNER+CONFIGID,product=3,svn=2,label=other"));
    assert_ne!(encoded(&other), encoded(&original));
}

/// B27, R2, R3, R7, R13, R14: what no sealing writes is no request, however well it is encoded.
#[test]
fn invalid_requests_are_refused() {
    type Edit = fn(&mut SgxRequest);
    let decode = |request: SgxRequest| {
        KeyRequest::decode("sgx", &KeyRequest::Sgx(Box::new(request)).encode()).map(|_| ())
    };
    let refused = |policy: &Policy, edits: &[Edit]| {
        decode(sgx(policy)).unwrap();
        for (index, edit) in edits.iter().enumerate() {
            let mut edited = sgx(policy);
            edit(&mut edited);
            let error = decode(edited).unwrap_err();
            assert!(matches!(error, Error::InvalidRequest(_)), "{policy}, {index}: {error}");
        }
    };
    let always: [Edit; 13] = [
        |r| r.cet_mask = 1,
        |r| r.keyid = [0; 32],
        |r| r.flags_mask &= !flags::DEBUG,
        |r| r.flags_mask &= !flags::INIT,
        |r| r.flags |= flags::MODE64BIT,
        |r| r.keypolicy = 0,
        |r| r.keypolicy &= !3,
        // NOISVPRODID, and what no processor has.
        |r| r.keypolicy |= 1 << 2,
        |r| r.keypolicy |= 1 << 6,
        |r| r.keypolicy |= 1 << 15,
        |r| r.mrenclave = [0; 32],
        |r| r.mrsigner = [0; 32],
        |r| r.label = "two words".into(),
    ];
    let measurement: [Edit; 3] = [|r| r.keypolicy |= 2, |r| r.keypolicy = 2, |r| r.label = "acme".into()];
    let signer: [Edit; 5] = [
        |r| r.label = String::new(),
        |r| r.label = "x".repeat(65),
        |r| r.label = "a,b".into(),
        |r| r.label = "\u{7f}".into(),
        |r| r.keypolicy = 1,
    ];
    let no_kss: [Edit; 4] = [
        |r| r.configsvn = 1,
        |r| r.config_id[63] = 1,
        |r| r.isv_family_id[15] = 1,
        |r| r.isv_ext_prod_id[0] = 1,
    ];
    let kss: [Edit; 3] = [|r| r.keypolicy ^= 1 << 3, |r| r.keypolicy ^= 1 << 4, |r| r.keypolicy ^= 1 << 5];
    refused(&Policy::default(), &[&always[..], &measurement, &no_kss].concat());
    refused(&Policy::signer(release()), &[&always[..], &signer, &no_kss].concat());
    let all = policy("registers:MRENCLAVE+CONFIGID+ISVFAMILYID+ISVEXTPRODID");
    refused(&all, &[&always[..], &measurement[..1], &kss].concat());
}

/// R7: who seals for a signer's product and version is of that product, and not below that version.
#[test]
fn a_sealer_meets_its_own_policy() {
    let refusal = |product, min_svn| {
        let signer = SignerPolicy { product, min_svn, ..release() };
        SgxRequest::new(&Policy::signer(signer), &enclave(), [6; 32]).map(|_| ())
    };
    refusal(3, 0).unwrap();
    refusal(3, 4).unwrap();
    let error = refusal(3, 5).unwrap_err();
    assert!(matches!(error, Error::OutsidePolicy { register: "ISVSVN", .. }), "{error}");
    let error = refusal(2, 0).unwrap_err();
    assert!(matches!(error, Error::OutsidePolicy { register: "ISVPRODID", .. }), "{error}");
    assert_eq!((error.code(), error.class()), ("policy.outside", bulla_crypto::Class::Refused));
}

/// R9: the identifiers exist with KSS only.
#[test]
fn kss_registers_need_kss() {
    for register in [Register::ConfigId, Register::IsvFamilyId, Register::IsvExtProdId] {
        for base in [Policy::measurement(), Policy::signer(release())] {
            let policy = base.with_register(register);
            let error = SgxRequest::new(&policy, &enclave(), [6; 32]).unwrap_err();
            assert_eq!((error.code(), error.class()), ("machine.unsupported", bulla_crypto::Class::Usage));
            SgxRequest::new(&policy, &kss_enclave(), [6; 32]).unwrap();
        }
    }
}

/// R14, R7.
#[test]
fn an_under_bound_policy_binds_nothing() {
    let unlabelled = SignerPolicy { label: String::new(), ..release() };
    for policy in [Policy::measurement().with_register(Register::MrSigner), Policy::signer(unlabelled)] {
        let error = SgxRequest::new(&policy, &enclave(), [6; 32]).unwrap_err();
        assert_eq!(error.code(), "policy.under_bound");
    }
}
