//! Opening what was changed anywhere.

use std::io::{self, Cursor, Read};

use bulla::{Error, Header, Origin};
use bulla_crypto::sha256;

use crate::edits::Script;
use crate::header::framed;
use crate::vectors::{self, Vector};

/// Bytes before the header's CBOR, and from its end to the payload.
const BEFORE: usize = 13;

/// Takes a vector that opens (two bytes say which) and edits it as the rest of the script says; if the third byte is odd, the
/// edits are to the header's CBOR, which then gets a length and a checksum that fit. What does not open must say why; what
/// opens must be what was sealed.
pub fn unseal(data: &[u8]) {
    let mut script = Script::new(data);
    let (Some(tag), Some(how)) = (script.number(), script.byte()) else { return };
    let vector = vectors::good(tag);
    let mut envelope = vector.envelope.clone();
    if how & 1 == 0 {
        script.edit(&mut envelope);
    } else {
        edit_header(script, &mut envelope);
    }
    check(vector, &envelope);
}

fn edit_header(script: Script<'_>, envelope: &mut Vec<u8>) {
    let mut rest = envelope.as_slice();
    Header::read(&mut rest).unwrap();
    let behind = rest.to_vec();
    envelope.truncate(envelope.len() - behind.len() - 16);
    let mut cbor = envelope.split_off(BEFORE);
    script.edit(&mut cbor);
    *envelope = [framed(&cbor), behind].concat();
}

/// Every way to open gives the same.
fn check(vector: &Vector, envelope: &[u8]) {
    let unsealer = vector.reader.unsealer();
    let whole = unsealer.unseal(envelope);
    match &whole {
        Ok((secret, opened)) => {
            let sealed =
                vectors::ALL.iter().find(|sealed| is(envelope, sealed, opened.origin == Origin::Unchecked));
            let sealed = sealed.expect("what nobody sealed has opened");
            if *sealed == vector.envelope {
                assert_eq!(sha256(&[secret.expose()]), vector.secret_sha256);
            }
        }
        Err(error) => {
            assert_ne!(envelope, vector.envelope, "{error}");
            assert!(!error.to_string().is_empty());
        }
    }

    let mut streamed = Vec::new();
    let result = unsealer.unseal_stream(envelope, &mut streamed);
    assert_eq!(code(&result), code(&whole));
    let mut read = Vec::new();
    let result = unsealer.reader(envelope).and_then(|mut reader| {
        // A failure is told by `finish`.
        let _ = io::copy(&mut reader, &mut read);
        reader.finish()
    });
    assert_eq!(code(&result), code(&whole));
    if let Ok((secret, _)) = &whole {
        assert_eq!(secret.expose(), streamed);
        assert_eq!(secret.expose(), read);
    }

    let mut range = Vec::new();
    let ranged =
        unsealer.range(Cursor::new(envelope)).map(|mut reader| reader.read_to_end(&mut range).is_ok());
    match (&whole, ranged) {
        (Ok((secret, _)), ranged) => {
            assert!(matches!(ranged, Ok(true)));
            assert_eq!(secret.expose(), range);
        }
        // It checks no trailer.
        (Err(Error::Origin), _) => {}
        (Err(_), ranged) => assert!(!matches!(ranged, Ok(true)), "a part opens of what does not open"),
    }
}

/// Whether this envelope is that one; its trailer may be another where nobody checked it.
fn is(envelope: &[u8], sealed: &[u8], but_for_trailer: bool) -> bool {
    let behind = if but_for_trailer { 32 } else { 0 };
    let kept = sealed.len().saturating_sub(behind);
    envelope.len() == sealed.len() && envelope.split_at(kept).0 == sealed.split_at(kept).0
}

fn code<T>(result: &Result<T, Error>) -> Option<&'static str> {
    result.as_ref().err().map(Error::code)
}
