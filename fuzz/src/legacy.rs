//! The target `legacy`.

use bulla_protocol::legacy::{body_length, quote, response};
use bulla_protocol::{BODY_MAX, Code, QUOTE_MAX};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    quote: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    encrypted_key: Vec<u8>,
    provider_quote: Vec<u8>,
}

/// Reads a length, and a request as the earlier providers' clients send it; whether it is one. A library that knows all of JSON
/// is the measure, but for what this reader refuses by intent.
pub fn legacy(data: &[u8]) -> bool {
    if let Some((prefix, rest)) = data.split_first_chunk() {
        match body_length(*prefix) {
            Ok(length) => assert!((1..=BODY_MAX).contains(&length)),
            Err(Code::Malformed) => assert_eq!(*prefix, [0; 4]),
            Err(code) => assert_eq!(code, Code::TooLarge),
        }
        print(prefix, rest);
    }
    let (found, wanted) = (quote(data), serde_json::from_slice::<Request>(data));
    match (&found, &wanted) {
        (Ok(found), Ok(wanted)) => assert_eq!(*found, wanted.quote),
        (Ok(_), Err(error)) => panic!("it reads what is no request: {error}"),
        (Err(Code::TooLarge), _) => assert!(data.len() > 2 * QUOTE_MAX),
        (Err(code), wanted) => {
            assert_eq!(*code, Code::Malformed);
            // The library takes a name with escapes, and fields without names.
            let unusual = data.contains(&b'\\') || data.trim_ascii_start().starts_with(b"[");
            assert!(wanted.is_err() || unusual, "it does not read a request");
        }
    }
    found.is_ok()
}

/// What is answered is read as it was written, whatever it is.
fn print(key: &[u8], quote: &[u8]) {
    let frame = response(key, quote);
    let (prefix, body) = frame.split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*prefix) as usize, body.len());
    let read: Response = serde_json::from_slice(body).unwrap();
    assert_eq!((&read.encrypted_key[..], &read.provider_quote[..]), (key, quote));
}
