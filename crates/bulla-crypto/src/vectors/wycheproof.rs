//! Wycheproof's vectors, for every primitive as we call it.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use wycheproof::{ByteString, TestResult, aead, eddsa, hkdf, mac, mlkem, xdh};

use super::schedule::{Context, Suite, dhkem};
use crate::{
    AeadKey, HpkeError, HpkePrivateKey, HpkePublicKey, Info, Kem, NONCE_LEN, Secret, TAG_LEN, TooLong,
    VerifyingKey, hkdf_bytes, hmac, hmac_verify,
};

#[test]
fn aes_256_gcm() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let (mut opened, mut refused) = (0, 0);
    let groups = set.test_groups.iter().filter(|group| {
        (group.key_size, group.nonce_size, group.tag_size) == (256, 8 * NONCE_LEN, 8 * TAG_LEN)
    });
    for test in groups.flat_map(|group| &group.tests) {
        let key = AeadKey::new(&Secret::try_from(&test.key[..]).unwrap());
        let nonce = test.nonce[..].try_into().unwrap();
        let tag = test.tag[..].try_into().unwrap();
        let mut message = test.ct.to_vec();
        let result = key.open(&nonce, &test.aad, &mut message, &tag);
        if test.result == TestResult::Valid {
            assert_eq!(result, Ok(()), "{}", test.tc_id);
            assert_eq!(message, test.pt[..]);
            assert_eq!(key.seal(&nonce, &test.aad, &mut message), tag);
            assert_eq!(message, test.ct[..]);
            opened += 1;
        } else {
            assert!(result.is_err(), "{}", test.tc_id);
            assert!(message.iter().all(|&byte| byte == 0), "{}: something was left", test.tc_id);
            refused += 1;
        }
    }
    assert_eq!((opened, refused), (39, 27));
}

/// R10
#[test]
fn hkdf_sha_256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let (mut derived, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let result = hkdf_bytes(&test.ikm, &test.salt, &Info::raw(test.info.to_vec()), test.size);
        if test.result == TestResult::Valid {
            assert_eq!(result.unwrap().expose(), &test.okm[..], "{}", test.tc_id);
            derived += 1;
        } else {
            assert_eq!(result.err(), Some(TooLong), "{}", test.tc_id);
            refused += 1;
        }
    }
    assert_eq!((derived, refused), (83, 3));
}

/// R64: a tag that is changed, or cut short and filled up, does not verify.
#[test]
fn hmac_sha_256() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let (mut verified, mut refused, mut cut) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let valid = test.result == TestResult::Valid;
            let (first, second) = test.msg.split_at(test.msg.len() / 2);
            match <&[u8; 32]>::try_from(&test.tag[..]) {
                Ok(tag) => {
                    assert_eq!(hmac_verify(&test.key, &[&test.msg], tag), valid, "{}", test.tc_id);
                    assert_eq!(hmac_verify(&test.key, &[first, second], tag), valid);
                    *if valid { &mut verified } else { &mut refused } += 1;
                }
                Err(_) => {
                    assert_eq!(hmac(&test.key, &[&test.msg])[..test.tag.len()] == test.tag[..], valid);
                    let mut filled = [0; 32];
                    filled[..test.tag.len()].copy_from_slice(&test.tag);
                    assert!(!hmac_verify(&test.key, &[&test.msg], &filled));
                    cut += 1;
                }
            }
        }
    }
    assert_eq!((verified, refused, cut), (33, 54, 87));
}

/// R41: what is of low order or not canonical is no public key; the rest agree, on the curve and on its twist.
#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut agreed, mut low_order, mut not_canonical) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = HpkePrivateKey::from_seed(Kem::X25519, Secret::try_from(&test.private_key[..]).unwrap());
        let info = Info::new("test");
        let found = key.export(&info, &test.public_key, b"").map(|secret| secret.expose().to_vec());
        if test.flags.contains(&xdh::TestFlag::ZeroSharedSecret) {
            assert_eq!(found, Err(HpkeError::BadEncapsulatedKey), "{}", test.tc_id);
            low_order += 1;
        } else {
            let shared = dhkem(&test.shared_secret, &test.public_key, key.public_key().as_bytes());
            let expected = Context::new(Suite { kem: 0x0020, aead: 2 }, &shared, info.as_bytes());
            assert_eq!(found, Ok(expected.export(b"")), "{}", test.tc_id);
            agreed += 1;
        }
        let top_bit = test.public_key[31] & 0x80 != 0;
        let odd = top_bit || test.flags.contains(&xdh::TestFlag::NonCanonicalPublic);
        let public = HpkePublicKey::from_bytes(Kem::X25519, &test.public_key);
        let good = !odd && !test.flags.contains(&xdh::TestFlag::ZeroSharedSecret);
        assert_eq!(public.is_ok(), good, "{}: {}", test.tc_id, test.comment);
        not_canonical += usize::from(odd);
    }
    assert_eq!((agreed, low_order, not_canonical), (487, 31, 26));
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let (mut verified, mut refused, mut wrong_length) = (0, 0, 0);
    for group in &set.test_groups {
        let key = VerifyingKey::from_bytes(group.key.pk[..].try_into().unwrap());
        for test in &group.tests {
            let valid = test.result == TestResult::Valid;
            match <&[u8; 64]>::try_from(&test.sig[..]) {
                Ok(signature) => {
                    let result = key.verify(&Info::raw(test.msg.to_vec()), signature);
                    assert_eq!(result.is_ok(), valid, "{}: {}", test.tc_id, test.comment);
                    *if valid { &mut verified } else { &mut refused } += 1;
                }
                Err(_) => {
                    assert!(!valid);
                    wrong_length += 1;
                }
            }
        }
    }
    assert_eq!((verified, refused, wrong_length), (88, 51, 12));
}

/// R41: as the first part of an X-Wing key, an encapsulation key passes our check if it is one, and only then.
#[test]
fn ml_kem_768_encapsulation() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap();
    let point = [&[9][..], &[0; 31]].concat();
    let (mut made, mut refused, mut not_reduced) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let bytes = given(&test.encaps_key);
        let checked = HpkePublicKey::from_bytes(Kem::XWing, &[bytes, &point].concat());
        if test.result == TestResult::Valid {
            assert!(checked.is_ok(), "{}", test.tc_id);
            let key = EncapsulationKey::new(&bytes.try_into().unwrap()).unwrap();
            let (ciphertext, secret) = key.encapsulate_deterministic(&given(&test.msg).try_into().unwrap());
            assert_eq!(ciphertext[..], *given(&test.ct), "{}", test.tc_id);
            assert_eq!(secret[..], *given(&test.shared_secret));
            made += 1;
        } else {
            assert_eq!(checked, Err(HpkeError::BadPublicKey), "{}", test.tc_id);
            refused += 1;
            not_reduced += usize::from(test.flags.contains(&mlkem::TestFlag::ModulusOverflow));
        }
    }
    assert_eq!((made, refused, not_reduced), (133, 132, 12));
}

/// The primitive in X-Wing, which no call of ours reaches alone: from the seed, and with ciphertexts that it rejects
/// without saying so.
#[test]
fn ml_kem_768_decapsulation() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap();
    let (mut found, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(seed), Ok(ciphertext)) = (given(&test.seed).try_into(), given(&test.ct).try_into()) else {
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            refused += 1;
            continue;
        };
        let key = DecapsulationKey::from_seed(seed);
        assert_eq!(key.encapsulation_key().to_bytes()[..], *given(&test.encaps_key), "{}", test.tc_id);
        assert_eq!(key.decapsulate(&ciphertext)[..], *given(&test.shared_secret), "{}", test.tc_id);
        found += 1;
    }
    assert_eq!((found, refused), (161, 40));
}

fn given(field: &Option<ByteString>) -> &[u8] {
    field.as_ref().unwrap()
}
