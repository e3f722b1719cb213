//! The frames of the earlier key providers, which their unmodified clients speak: a 32-bit big-endian length, then JSON.
//!
//! ```text
//! request   {"quote": [4, 0, 2, ...]}
//! response  {"encrypted_key": [...], "provider_quote": [...]}
//! ```
//!
//! There is no error frame: a refusal closes the connection.

use std::fmt;

use bulla_crypto::{Secret, sha256};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{BODY_MAX, Code, QUOTE_MAX};

/// The length that a frame announces, checked before anything is allocated (R47, B1).
///
/// # Errors
/// [`Code::Malformed`] for zero, [`Code::TooLarge`] above [`BODY_MAX`].
pub fn body_length(prefix: [u8; 4]) -> Result<usize, Code> {
    match u32::from_be_bytes(prefix) as usize {
        0 => Err(Code::Malformed),
        length if length > BODY_MAX => Err(Code::TooLarge),
        length => Ok(length),
    }
}

/// The quote in the body of a request.
///
/// # Errors
/// [`Code::Malformed`] for anything but one object with the one field `quote`, an array of numbers of 0 to 255 (B4);
/// [`Code::TooLarge`] for more than [`QUOTE_MAX`] of them.
///
/// ```
/// assert_eq!(bulla_protocol::legacy::quote(br#"{"quote":[4,0,255]}"#), Ok(vec![4, 0, 255]));
/// ```
pub fn quote(body: &[u8]) -> Result<Vec<u8>, Code> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request {
        quote: Numbers,
    }
    if body.len() > BODY_MAX {
        return Err(Code::TooLarge);
    }
    let request: Request = serde_json::from_slice(body).map_err(|_| Code::Malformed)?;
    match request.quote.0 {
        quote if quote.len() > QUOTE_MAX => Err(Code::TooLarge),
        quote => Ok(quote),
    }
}

/// A whole response frame, length included.
pub fn response(encrypted_key: &[u8], provider_quote: &[u8]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a> {
        encrypted_key: &'a [u8],
        provider_quote: &'a [u8],
    }
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, &Response { encrypted_key, provider_quote })
        .expect("writing to memory");
    let length = u32::try_from(frame.len() - 4).expect("a quote is far below 4 GiB");
    if let Some(prefix) = frame.first_chunk_mut() {
        *prefix = length.to_be_bytes();
    }
    frame
}

/// The key of the earlier providers: SHA-256 of a 16-byte seal key, MRTD and RTMR0 to RTMR3.
pub fn derived_key(seal_key: &Secret<16>, mrtd: &[u8; 48], rtmr: &[[u8; 48]; 4]) -> Secret<32> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr;
    Secret::new(sha256(&[seal_key.expose(), mrtd, rtmr0, rtmr1, rtmr2, rtmr3]))
}

/// A JSON array of bytes, never longer in memory than the limit of a quote and one more.
struct Numbers(Vec<u8>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(NumbersVisitor)
    }
}

struct NumbersVisitor;

impl<'de> Visitor<'de> for NumbersVisitor {
    type Value = Numbers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers of 0 to 255")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Numbers, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            if bytes.len() > QUOTE_MAX {
                return Err(A::Error::custom("more bytes than a quote has"));
            }
            bytes.push(byte);
        }
        Ok(Numbers(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1: zero, one above the limit and the largest length are refused from four bytes alone.
    #[test]
    fn lengths_are_bounded() {
        assert_eq!(body_length([0; 4]), Err(Code::Malformed));
        assert_eq!(body_length([0xFF; 4]), Err(Code::TooLarge));
        assert_eq!(body_length((BODY_MAX as u32 + 1).to_be_bytes()), Err(Code::TooLarge));
        assert_eq!(body_length((BODY_MAX as u32).to_be_bytes()), Ok(BODY_MAX));
    }

    /// B4: nesting, duplicate, unknown and trailing fields, and numbers that are no bytes.
    #[test]
    fn only_the_one_shape_is_read() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let too_long = format!("{{\"quote\":[{}0]}}", "0,".repeat(QUOTE_MAX + 1));
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "{\"quote\":null}",
            "{\"quote\":\"00\"}",
            "{\"quote\":[256]}",
            "{\"quote\":[-1]}",
            "{\"quote\":[1.5]}",
            "{\"quote\":[1],\"quote\":[2]}",
            "{\"quote\":[1],\"more\":1}",
            "{\"quote\":[1]}x",
            "{\"quote\":[1",
            "\u{0}",
            &deep,
            &format!("{{\"quote\":{deep}}}"),
            &too_long,
        ] {
            assert!(quote(body.as_bytes()).is_err(), "{}", &body[..body.len().min(40)]);
        }
        assert_eq!(quote(&[0xFF; 8]), Err(Code::Malformed));
        assert_eq!(quote(b" {\"quote\" : [ 1, 2 ] }\n"), Ok(vec![1, 2]));
        assert_eq!(quote(&vec![b' '; BODY_MAX + 1]), Err(Code::TooLarge));
    }

    /// The formula over sequential bytes, computed apart with `hashlib`.
    #[test]
    fn the_formula_is_that_of_the_earlier_providers() {
        let seal_key = Secret::new(std::array::from_fn(|i| i as u8));
        let register = |n: u8| [n; 48];
        let key = derived_key(&seal_key, &register(1), &[register(2), register(3), register(4), register(5)]);
        assert_eq!(
            hex::encode(key.expose()),
            "3745865ad614e9957deb5db878904d6c1f294c444069e9abb5716d35498450e4"
        );
    }

    #[test]
    fn a_response_is_a_frame() {
        let frame = response(&[1, 2], &[3]);
        assert_eq!(&frame[4..], br#"{"encrypted_key":[1,2],"provider_quote":[3]}"#);
        assert_eq!(body_length(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
    }
}
