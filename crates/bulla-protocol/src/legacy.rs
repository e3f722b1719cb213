//! The frames of the earlier key providers, which their unmodified clients speak: a 32-bit big-endian length, then JSON.
//!
//! ```text
//! request   {"quote": [4, 0, 2, ...]}
//! response  {"encrypted_key": [...], "provider_quote": [...]}
//! ```
//!
//! There is no error frame: a refusal closes the connection.

use bulla_crypto::{Secret, sha256};

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
/// [`Code::Malformed`] for anything but one object with the one field `quote`, written without escapes, an array of numbers of 0
/// to 255 (B4);
/// [`Code::TooLarge`] for more than [`QUOTE_MAX`] of them.
///
/// ```
/// assert_eq!(bulla_protocol::legacy::quote(br#"{"quote":[4,0,255]}"#), Ok(vec![4, 0, 255]));
/// ```
pub fn quote(body: &[u8]) -> Result<Vec<u8>, Code> {
    if body.len() > BODY_MAX {
        return Err(Code::TooLarge);
    }
    let mut rest = Rest(body);
    ["{", "\"quote\"", ":", "["].into_iter().try_for_each(|token| rest.token(token))?;
    let mut quote = Vec::with_capacity(QUOTE_MAX.min(body.len() / 2));
    if rest.token("]").is_err() {
        loop {
            if quote.len() == QUOTE_MAX {
                return Err(Code::TooLarge);
            }
            quote.push(rest.number()?);
            if rest.token(",").is_err() {
                break rest.token("]")?;
            }
        }
    }
    rest.token("}")?;
    rest.end().map(|()| quote)
}

/// A whole response frame, length included.
pub fn response(encrypted_key: &[u8], provider_quote: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(64 + NUMBER_MAX * (encrypted_key.len() + provider_quote.len()));
    frame.extend([0; 4]);
    frame.extend(br#"{"encrypted_key":"#);
    print(encrypted_key, &mut frame);
    frame.extend(br#","provider_quote":"#);
    print(provider_quote, &mut frame);
    frame.push(b'}');
    let length = u32::try_from(frame.len() - 4).expect("a quote is far below 4 GiB");
    if let Some(prefix) = frame.first_chunk_mut() {
        *prefix = length.to_be_bytes();
    }
    frame
}

/// Bytes as an array of numbers.
fn print(bytes: &[u8], to: &mut Vec<u8>) {
    to.push(b'[');
    let first = to.len();
    for byte in bytes {
        // All of the table's four at once, and then back to what the number has: faster than as many as it has.
        let (text, length) = NUMBERS.get(usize::from(*byte)).expect("as many as there are bytes");
        let end = to.len() + length;
        to.extend(text);
        to.truncate(end);
    }
    to.truncate(to.len().saturating_sub(1).max(first));
    to.push(b']');
}

/// The most characters of a byte: three digits and a comma.
const NUMBER_MAX: usize = 4;

/// Every byte in decimal with a comma behind it, and how long that is.
#[allow(clippy::indexing_slicing, reason = "computed by the compiler")]
const NUMBERS: [([u8; NUMBER_MAX], usize); 256] = {
    let mut numbers = [([b','; NUMBER_MAX], 0); 256];
    let mut number = 0;
    while number < 256 {
        let length = if number > 99 {
            3
        } else if number > 9 {
            2
        } else {
            1
        };
        let (mut at, mut rest) = (length, number);
        while at > 0 {
            at -= 1;
            numbers[number].0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        numbers[number].1 = length + 1;
        number += 1;
    }
    numbers
};

/// The key of the earlier providers: SHA-256 of a 16-byte seal key, MRTD and RTMR0 to RTMR3.
pub fn derived_key(seal_key: &Secret<16>, mrtd: &[u8; 48], rtmr: &[[u8; 48]; 4]) -> Secret<32> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr;
    Secret::new(sha256(&[seal_key.expose(), mrtd, rtmr0, rtmr1, rtmr2, rtmr3]))
}

/// What is left to read of a request (RFC 8259). It knows no more of JSON than the one shape has: a library takes four times
/// as long for thousands of numbers, and printing them two times; that would be a fifth of what an answer costs.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn token(&mut self, token: &str) -> Result<(), Code> {
        self.space();
        self.0 = self.0.strip_prefix(token.as_bytes()).ok_or(Code::Malformed)?;
        Ok(())
    }

    /// A number of 0 to 255, without a leading zero. Of a longer one, what is left is no token that can follow.
    fn number(&mut self) -> Result<u8, Code> {
        self.space();
        let digit = |digit: &u8| u16::from(digit - b'0');
        let (number, rest) = match self.0 {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
                (digit(a) * 100 + digit(b) * 10 + digit(c), rest)
            }
            [a @ b'1'..=b'9', b @ b'0'..=b'9', rest @ ..] => (digit(a) * 10 + digit(b), rest),
            [a @ b'0'..=b'9', rest @ ..] => (digit(a), rest),
            _ => return Err(Code::Malformed),
        };
        self.0 = rest;
        u8::try_from(number).map_err(|_| Code::Malformed)
    }

    fn end(mut self) -> Result<(), Code> {
        self.space();
        if self.0.is_empty() { Ok(()) } else { Err(Code::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

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
            "{\"\\u0071uote\":[1]}",
            "{\"quote\":[1",
            "\u{0}",
            &deep,
            &format!("{{\"quote\":{deep}}}"),
            &too_long,
        ] {
            assert!(quote(body.as_bytes()).is_err(), "{}", &body[..body.len().min(40)]);
        }
        assert_eq!(quote(too_long.as_bytes()), Err(Code::TooLarge));
        assert_eq!(quote(&[0xFF; 8]), Err(Code::Malformed));
        assert_eq!(quote(b" {\"quote\" : [ 1, 2 ] }\n"), Ok(vec![1, 2]));
        assert_eq!(quote(&vec![b' '; BODY_MAX + 1]), Err(Code::TooLarge));
    }

    /// What a library for JSON makes of a body.
    fn as_json(body: &[u8]) -> Option<Vec<u8>> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Request {
            quote: Vec<u8>,
        }
        serde_json::from_slice(body).ok().map(|request: Request| request.quote)
    }

    proptest! {
        /// R32, B4: no body is read otherwise than a library for JSON reads it, or panics.
        #[test]
        fn bodies_are_read_as_json(
            bytes in vec(any::<u8>(), 0..40),
            inserted in "[ \t\n\r0-9.eE+,:{}\\[\\]\"\u{0}\u{b}-]{0,3}",
            at in any::<Index>(),
            removed in 0_usize..3,
        ) {
            let good = serde_json::to_string(&serde_json::json!({ "quote": bytes })).unwrap();
            prop_assert_eq!(quote(good.as_bytes()), Ok(bytes));
            let at = at.index(good.len() + 1);
            let mut body = good.into_bytes();
            body.splice(at..(at + removed).min(body.len()), inserted.bytes());
            prop_assert_eq!(quote(&body).ok(), as_json(&body), "{}", String::from_utf8_lossy(&body));
        }
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

    proptest! {
        #[test]
        fn responses_are_json(sealed in vec(any::<u8>(), 0..40), quote in vec(any::<u8>(), 0..40)) {
            let frame = response(&sealed, &quote);
            let (prefix, body) = frame.split_at(4);
            prop_assert_eq!(body_length(prefix.try_into().unwrap()), Ok(body.len()));
            let json = serde_json::json!({ "encrypted_key": sealed, "provider_quote": quote });
            prop_assert_eq!(std::str::from_utf8(body).unwrap(), json.to_string());
        }
    }

    #[test]
    fn every_byte_is_printed() {
        let all: Vec<_> = (0..=255).collect();
        let frame = response(&all, &[]);
        let json = serde_json::json!({ "encrypted_key": all, "provider_quote": [] });
        assert_eq!(&frame[4..], json.to_string().as_bytes());
    }

    #[test]
    fn a_response_is_a_frame() {
        let frame = response(&[1, 2], &[3]);
        assert_eq!(&frame[4..], br#"{"encrypted_key":[1,2],"provider_quote":[3]}"#);
        assert_eq!(body_length(frame[..4].try_into().unwrap()), Ok(frame.len() - 4));
    }
}
