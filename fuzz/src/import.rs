//! What other SDKs sealed.

use std::sync::LazyLock;

use bulla::Error;
use bulla::import::{Blob, Imported, Sdk};
use bulla_crypto::{AeadKey, Class, Secret, sha256};
use bulla_tee::sgx::ForeignKeys;
use bulla_tee::sgx::arch::{Keyrequest, flags};
use bulla_tee::{
    DerivedKey, Error as MachineError, Evidence, EvidenceKind, Identity, KeyRequest, Policy, ReportData, Tee,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::edits::Script;

const SECRET: &[u8] = b"correct horse battery staple";
const TEXT: &[u8] = b"wallet, version 2";

/// An enclave that gives another key for every request.
struct Enclave;

impl ForeignKeys for Enclave {
    fn foreign_key(&self, request: &Keyrequest) -> Result<Secret<16>, MachineError> {
        Ok(Secret::fill_with(|key| key.copy_from_slice(&sha256(&[request.as_bytes()])[..16])))
    }
}

impl Tee for Enclave {
    fn identity(&self) -> Result<Identity, MachineError> {
        unreachable!("nobody asks who it is")
    }

    fn bind(&self, _: &Policy) -> Result<(KeyRequest, DerivedKey), MachineError> {
        unreachable!("nothing is sealed")
    }

    fn derive(&self, _: &KeyRequest) -> Result<DerivedKey, MachineError> {
        unreachable!("no envelope is opened")
    }

    fn attest(&self, _: &ReportData, _: EvidenceKind<'_>) -> Result<Evidence, MachineError> {
        unreachable!("nothing is proved")
    }

    fn foreign_keys(&self) -> Option<&dyn ForeignKeys> {
        Some(self)
    }
}

fn request(keyid: u8) -> Keyrequest {
    let mut request = Keyrequest { keyname: 4, keypolicy: 2, keyid: [keyid; 32], ..Keyrequest::new_zeroed() };
    request.attribute_mask.flags = flags::INIT | flags::DEBUG;
    request
}

fn encrypted(key: &AeadKey, text: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let mut bytes = SECRET.to_vec();
    let tag = key.seal(&[0; 12], text, &mut bytes);
    (bytes, tag)
}

fn intel(text: &[u8]) -> Vec<u8> {
    let request = request(1);
    let key = AeadKey::of_128_bits(&Enclave.foreign_key(&request).unwrap());
    let (ciphertext, tag) = encrypted(&key, text);
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let (offset, size) = (number(ciphertext.len()), number(ciphertext.len() + text.len()));
    [request.as_bytes(), &offset, &[0; 12], &size, &[0; 12], &tag, &ciphertext, text].concat()
}

fn ego(keyids: &[u8]) -> Vec<u8> {
    let requests: Vec<_> = keyids.iter().map(|keyid| request(*keyid)).collect();
    let keys: Vec<_> = requests.iter().map(|request| Enclave.foreign_key(request).unwrap()).collect();
    let key = match keys.as_slice() {
        [key] => AeadKey::of_128_bits(key),
        keys => AeadKey::new(&Secret::fill_with(|both| {
            both.copy_from_slice(&keys.iter().flat_map(|key| *key.expose()).collect::<Vec<_>>());
        })),
    };
    let (ciphertext, tag) = encrypted(&key, &[]);
    let size = u32::try_from(512 * keyids.len()).unwrap().to_le_bytes();
    [&size, requests.as_bytes(), &[0; 12], &ciphertext, &tag].concat()
}

static GOOD: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| [intel(&[]), intel(TEXT), ego(&[0]), ego(&[1, 2])]);

/// Opens a blob. The first byte says what the rest is: 0 the blob, 1 to 4 edits to a good one.
pub fn import(data: &[u8]) -> bool {
    let Some((&which, rest)) = data.split_first() else { return false };
    let good = usize::from(which).checked_sub(1).map(|which| &GOOD[which % GOOD.len()]);
    let blob = good.map_or_else(
        || rest.to_vec(),
        |good| {
            let mut blob = good.clone();
            Script::new(rest).edit(&mut blob);
            blob
        },
    );
    let opened = open(&blob);
    match &opened {
        Ok(imported) => {
            assert!(GOOD.contains(&blob), "what nobody sealed has opened");
            assert_eq!(imported.secret.expose(), SECRET);
        }
        Err(error) => {
            assert!(matches!(error.class(), Class::Damaged | Class::Refused), "{error}");
            assert_ne!(Some(&blob), good, "{error}");
            let said = error.to_string();
            assert!(said.len() < 400 && !said.contains(char::is_control), "{said}");
        }
    }
    opened.is_ok()
}

fn open(bytes: &[u8]) -> Result<Imported, Error> {
    let blob = Blob::parse(bytes)?;
    let size = blob.key_requests().count() * 512;
    match (blob.sdk(), blob.additional_data()) {
        (Sdk::Intel, Some(text)) => assert!(size == 512 && bytes.ends_with(text)),
        (Sdk::Ego, None) => {
            assert_eq!(bytes.first_chunk(), Some(&u32::try_from(size).unwrap().to_le_bytes()))
        }
        _ => panic!("neither of both"),
    }
    blob.open(&Enclave, None)
}
