//! Step `derive`: the key (`docs/spec/derivation.md`, frozen by `tests/vectors`).

use bulla_crypto::{Info, SecretBytes, hkdf_bytes};
use bulla_protocol::v1::Request;
use bulla_tee::tdx::attributes;
use bulla_tee::{GuestRegisters, TdxIdentity};

use crate::custody::Root;
use crate::policy::Policy;

/// The version of this derivation.
const VERSION: u8 = 1;
/// Which bits of TD ATTRIBUTES enter a key: those by which a host could look into the guest, or move it.
const ATTRIBUTES_MASK: u64 =
    attributes::TUD | attributes::SEPT_VE_DISABLE | attributes::MIGRATABLE | attributes::PERFMON;
/// No bit of XFAM enters a key: a wider register file is no reason to lose data (R4).
const XFAM_MASK: u64 = 0;

const _: () =
    assert!(ATTRIBUTES_MASK & attributes::DEBUG != 0, "a debugged guest never has the key of another");

/// The key of `request` for `guest`: HKDF-SHA-256 of the root.
pub(crate) fn key(root: &Root, policy: &Policy, request: &Request, guest: &TdxIdentity) -> SecretBytes {
    hkdf_bytes(root.key().expose(), b"", &info(root.id(), policy, request, guest), request.length.into())
        .expect("64 bytes are few")
}

/// Every input but the root, named and length-prefixed (R10, R11, R25, R26).
fn info(root_id: &[u8; 16], policy: &Policy, request: &Request, guest: &TdxIdentity) -> Info {
    let info = Info::new("bulla/derived-key/v1")
        .part("format version", &[VERSION])
        .part("algorithm", request.algorithm.as_bytes())
        .part("length", &request.length.to_be_bytes())
        .part("root id", root_id)
        .part("authority", &policy.authority)
        .part("policy name", policy.name.as_bytes())
        .part("policy version", &policy.version.to_be_bytes())
        .part("binding", request.binding.as_bytes());
    GuestRegisters::from(guest)
        .named()
        .into_iter()
        .fold(info, |info, (name, register)| info.part(name, register))
        .part("ATTRIBUTES mask", &ATTRIBUTES_MASK.to_be_bytes())
        .part("ATTRIBUTES", &(guest.attributes & ATTRIBUTES_MASK).to_be_bytes())
        .part("XFAM mask", &XFAM_MASK.to_be_bytes())
        .part("XFAM", &(guest.xfam & XFAM_MASK).to_be_bytes())
        .part("path", request.path.as_bytes())
        .part("purpose", request.purpose.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use bulla_crypto::Secret;
    use bulla_protocol::legacy;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        roots: Vec<RootVector>,
        keys: Vec<KeyVector>,
        legacy: Vec<LegacyVector>,
    }

    #[derive(Deserialize)]
    struct RootVector {
        #[serde(flatten)]
        custody: CustodyVector,
        authority: String,
        epoch: u32,
        secret: String,
        root: String,
        root_id: String,
        commitment: String,
        legacy_seal_key: String,
    }

    #[derive(Deserialize)]
    #[serde(tag = "custody", rename_all = "lowercase")]
    enum CustodyVector {
        Hardware { kind: String, request: String },
        Keyring { ring: String, key: String },
    }

    #[derive(Deserialize)]
    struct KeyVector {
        name: String,
        root: String,
        authority: String,
        policy_name: String,
        policy_version: u32,
        algorithm: String,
        binding: String,
        length: u16,
        path: String,
        purpose: String,
        guest: std::collections::HashMap<String, String>,
        info: String,
        key: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    struct LegacyVector {
        #[serde(rename = "seal_key")]
        seal_key: String,
        mrtd: String,
        rtmr0: String,
        rtmr1: String,
        rtmr2: String,
        rtmr3: String,
        #[serde(rename = "key")]
        key: String,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../tests/vectors/derivation-v1.json")).unwrap()
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    fn root(hex: &str) -> Root {
        Root::from_secret(1, Secret::new(bytes(hex)))
    }

    /// R12: the bytes are those of the committed vectors, which `tests/python/derivation.py` of the workspace computes by itself.
    #[test]
    fn roots_are_those_of_the_vectors() {
        for vector in vectors().roots {
            let (secret, authority) = (hex::decode(vector.secret).unwrap(), bytes(&vector.authority));
            let root = match vector.custody {
                CustodyVector::Hardware { kind, request } => {
                    Root::hardware(&authority, vector.epoch, &kind, &hex::decode(request).unwrap(), &secret)
                }
                CustodyVector::Keyring { ring, key } => {
                    Root::keyring(&authority, vector.epoch, &bytes(&ring), &bytes(&key), &secret)
                }
            };
            assert_eq!(hex::encode(root.key().expose()), vector.root);
            assert_eq!(hex::encode(root.id()), vector.root_id);
            assert_eq!(hex::encode(root.commitment()), vector.commitment);
            assert_eq!(hex::encode(root.legacy_seal_key().expose()), vector.legacy_seal_key);
        }
    }

    #[test]
    fn legacy_keys_are_those_of_the_vectors() {
        for vector in vectors().legacy {
            let rtmr = [vector.rtmr0, vector.rtmr1, vector.rtmr2, vector.rtmr3].map(|rtmr| bytes(&rtmr));
            let key = legacy::derived_key(&Secret::new(bytes(&vector.seal_key)), &bytes(&vector.mrtd), &rtmr);
            assert_eq!(hex::encode(key.expose()), vector.key);
        }
    }

    #[test]
    fn keys_are_those_of_the_vectors() {
        for vector in vectors().keys {
            let register = |name: &str| bytes(&vector.guest[name]);
            let guest = TdxIdentity {
                mrtd: register("MRTD"),
                rtmr: ["RTMR0", "RTMR1", "RTMR2", "RTMR3"].map(register),
                mrconfigid: register("MRCONFIGID"),
                mrowner: register("MROWNER"),
                mrownerconfig: register("MROWNERCONFIG"),
                mrservicetd: register("MRSERVICETD"),
                attributes: u64::from_be_bytes(bytes(&vector.guest["ATTRIBUTES"])),
                xfam: u64::from_be_bytes(bytes(&vector.guest["XFAM"])),
                ..guest()
            };
            let policy = Policy {
                name: vector.policy_name,
                version: vector.policy_version,
                authority: bytes(&vector.authority),
                ..Policy::development()
            };
            let request = Request {
                algorithm: vector.algorithm,
                binding: vector.binding,
                length: vector.length,
                path: vector.path,
                purpose: vector.purpose,
                ..request()
            };
            let root = root(&vector.root);
            let info = info(root.id(), &policy, &request, &guest);
            assert_eq!(hex::encode(info.as_bytes()), vector.info, "{}", vector.name);
            let key = key(&root, &policy, &request, &guest);
            assert_eq!(hex::encode(key.expose()), vector.key, "{}", vector.name);
        }
    }

    fn guest() -> TdxIdentity {
        TdxIdentity {
            mrtd: [1; 48],
            rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]],
            mrconfigid: [6; 48],
            mrowner: [7; 48],
            mrownerconfig: [8; 48],
            mrservicetd: [9; 48],
            attributes: attributes::SEPT_VE_DISABLE,
            xfam: 0xE7,
            tee_tcb_svn: [10; 16],
            mrseam: [11; 48],
        }
    }

    fn request() -> Request {
        Request {
            version: 1,
            suite: 1,
            binding: "measurement".into(),
            path: "a".into(),
            purpose: "b".into(),
            algorithm: "hkdf-sha256".into(),
            length: 32,
            root_id: [0; 16],
            provider_key: [0; 32],
            public_key: [0; 32],
            challenge: Vec::new(),
        }
    }

    /// The first 16 bytes, so that keys of different lengths can be compared.
    fn start(root: &Root, policy: &Policy, request: &Request, guest: &TdxIdentity) -> [u8; 16] {
        *key(root, policy, request, guest).expose().first_chunk().unwrap()
    }

    fn derived(edit: impl FnOnce(&mut Policy, &mut Request, &mut TdxIdentity)) -> [u8; 16] {
        let (mut policy, mut request, mut guest) = (Policy::development(), request(), guest());
        edit(&mut policy, &mut request, &mut guest);
        start(&root(&"11".repeat(32)), &policy, &request, &guest)
    }

    /// R10, R11, R25, R26: every selector is an input, and no two of them can be confused.
    #[test]
    fn every_input_changes_the_key() {
        let mut keys = vec![
            derived(|_, _, _| {}),
            start(&root(&"12".repeat(32)), &Policy::development(), &request(), &guest()),
            derived(|policy, _, _| policy.authority[0] ^= 1),
            derived(|policy, _, _| policy.name = "stricter".into()),
            derived(|policy, _, _| policy.version += 1),
            derived(|_, request, _| request.binding.push('x')),
            derived(|_, request, _| request.algorithm.push('x')),
            derived(|_, request, _| request.length += 1),
            derived(|_, request, _| request.path.push('x')),
            derived(|_, request, _| request.purpose.push('x')),
            derived(|_, request, _| (request.path, request.purpose) = ("ab".into(), String::new())),
            derived(|_, _, guest| guest.mrtd[47] ^= 1),
            derived(|_, _, guest| guest.mrconfigid[47] ^= 1),
            derived(|_, _, guest| guest.mrowner[47] ^= 1),
            derived(|_, _, guest| guest.mrownerconfig[47] ^= 1),
            derived(|_, _, guest| guest.mrservicetd[47] ^= 1),
            derived(|_, _, guest| guest.rtmr.swap(0, 1)),
        ];
        keys.extend((0..4).map(|index| derived(|_, _, guest| guest.rtmr[index][0] ^= 1)));
        let bits = (0..8).chain([28, 29, 63]);
        keys.extend(bits.map(|bit| derived(|_, _, guest| guest.attributes ^= 1 << bit)));
        let unique: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(unique.len(), keys.len());
    }

    /// What an update of the machine changes, and what only one request has, is no input.
    #[test]
    fn nothing_else_changes_the_key() {
        let same = derived(|_, _, _| {});
        assert_eq!(same, derived(|_, _, guest| guest.tee_tcb_svn = [0; 16]));
        assert_eq!(same, derived(|_, _, guest| guest.mrseam = [0; 48]));
        assert_eq!(same, derived(|_, _, guest| guest.xfam = 0x6_00E7));
        assert_eq!(same, derived(|_, _, guest| guest.attributes |= 1 << 30));
        assert_eq!(same, derived(|policy, _, _| policy.digest = [0; 32]));
        assert_eq!(same, derived(|_, request, _| request.public_key = [9; 32]));
        assert_eq!(same, derived(|_, request, _| request.challenge = vec![9; 48]));
    }

    proptest! {
        /// R10: two requests share a key only if they are one.
        #[test]
        fn different_requests_have_different_keys(
            a in ("[a-c/]{1,4}", "[a-c-]{1,4}", 16u16..65),
            b in ("[a-c/]{1,4}", "[a-c-]{1,4}", 16u16..65),
        ) {
            let key = |(path, purpose, length): &(String, String, u16)| derived(|_, request, _| {
                (request.path, request.purpose, request.length) = (path.clone(), purpose.clone(), *length);
            });
            prop_assert_eq!(a == b, key(&a) == key(&b));
        }

        /// R25, R26: nor do two guests.
        #[test]
        fn different_guests_have_different_keys(byte in 0usize..9 * 48, change in 1u8..) {
            let edited = derived(|_, _, guest| {
                let TdxIdentity { mrtd, rtmr: [a, b, c, d], mrconfigid, mrowner, mrownerconfig, mrservicetd, .. } = guest;
                let registers = [mrtd, a, b, c, d, mrconfigid, mrowner, mrownerconfig, mrservicetd];
                registers[byte / 48][byte % 48] ^= change;
            });
            prop_assert_ne!(edited, derived(|_, _, _| {}));
        }
    }
}
