//! Guests of one simulated machine with their requests in hand: their quotes were made before.

use std::ops::Range;

use bulla_crypto::sha256;
use bulla_sim::{Machine, TdDescription};
use crypto_box::SecretKey;

/// How many different requests are sent in turn.
const REQUESTS: u8 = 64;
/// Where an SGX quote has what its report is for: 32 bytes of hash.
const REPORT_DATA: Range<usize> = 48 + 320..48 + 352;

/// Legacy clients in one image, so that all are to have one key.
pub(crate) struct Guests {
    secrets: Vec<SecretKey>,
    frames: Vec<Vec<u8>>,
}

impl Guests {
    pub(crate) fn new(machine: &Machine) -> Self {
        let secrets: Vec<_> = (1..=REQUESTS).map(|number| SecretKey::from([number; 32])).collect();
        let frame = |secret: &SecretKey| {
            let mut data = [0; 64];
            data.split_at_mut(32).0.copy_from_slice(secret.public_key().as_bytes());
            let quote = machine.td_quote(&TdDescription::default_guest(), &data).unwrap();
            let body = serde_json::to_vec(&serde_json::json!({ "quote": quote })).unwrap();
            [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
        };
        let frames = secrets.iter().map(frame).collect();
        Self { secrets, frames }
    }

    /// The frame that is sent as the `number`th.
    pub(crate) fn frame(&self, number: usize) -> &[u8] {
        self.frames.get(number % self.frames.len()).expect("within")
    }

    /// The key in the body of the answer to it, after the checks that the existing clients make.
    pub(crate) fn key(&self, number: usize, answer: &[u8]) -> [u8; 32] {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        let field =
            |name: &str| -> Vec<u8> { serde_json::from_value(answer.get(name).unwrap().clone()).unwrap() };
        let (sealed, quote) = (field("encrypted_key"), field("provider_quote"));
        assert_eq!(quote.get(REPORT_DATA), Some(&sha256(&[&sealed])[..]), "the quote is over this answer");
        let secret = self.secrets.get(number % self.secrets.len()).expect("within");
        secret.unseal(&sealed).expect("sealed to this guest").try_into().expect("a key is 32 bytes")
    }
}
