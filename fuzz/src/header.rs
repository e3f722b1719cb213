//! The header: what anyone reads of an envelope without a key.

use bulla::{Header, Opener, Recipient};
use bulla_crypto::{Class, sha256};
use bulla_tee::KeyRequest;

use crate::cbor::{byte_strings, is_canonical};

/// Magic and version.
const BEGINNING: &[u8] = b"\x93bulla\r\n\x01";

/// Reads the bytes as a header, and then what is in them, or all of them, as the CBOR of a header with the length and the
/// checksum that it takes.
pub fn header(data: &[u8]) {
    read(data);
    read(&framed(cbor(data)));
}

/// A header and something behind it, which must not be read.
fn read(bytes: &[u8]) {
    let bytes = [bytes, b"behind"].concat();
    let mut rest = bytes.as_slice();
    match Header::read(&mut rest) {
        Ok(header) => {
            let (read, _) = bytes.split_at(bytes.len() - rest.len());
            assert_eq!(read, framed(cbor(read)), "what was read is not a whole header");
            check(&header, cbor(read));
        }
        Err(error) => assert_eq!(error.class(), Class::Damaged, "{error}"),
    }
}

fn check(header: &Header, cbor: &[u8]) {
    assert!(is_canonical(cbor), "a header in another encoding was taken");
    // A slot is an array of four: its kind, its salt, its opener and the wrapped key.
    let in_slots = byte_strings(cbor, 3);
    assert_eq!(in_slots.len(), 3 * header.slots().len());
    assert!(in_slots.chunks(3).all(|slot| is_canonical(slot[1])), "an opener in another encoding was taken");
    assert!((1..=1024).contains(&header.context().len()));
    assert_ne!(header.epoch(), Some(0));
    let labels: Vec<_> = header.labels().collect();
    assert!(labels.len() <= 32);
    assert!(labels.iter().all(|(name, value)| (1..=64).contains(&name.len()) && value.len() <= 1024));

    let slots = header.slots();
    assert!(slots.len() <= 64);
    assert_eq!(header.weakest(), slots.iter().map(bulla::Slot::strength).min());
    let mut simulated = None;
    for slot in slots {
        match slot.opener() {
            Opener::Machine(request) => {
                let is_simulated = matches!(request, KeyRequest::Simulated(_));
                assert_eq!(*simulated.get_or_insert(is_simulated), is_simulated, "simulated and real slots");
                let encoded = request.encode();
                assert!(cbor.windows(encoded.len()).any(|found| found == encoded));
                assert_eq!(KeyRequest::decode(request.kind(), &encoded).unwrap(), *request);
            }
            Opener::Recipient(opener) => check_recipient(opener.recipient()),
            Opener::Threshold(opener) => {
                let recipients: Vec<_> = opener.recipients().collect();
                assert!(2 <= opener.threshold() && usize::from(opener.threshold()) <= recipients.len());
                assert!(recipients.len() <= 16);
                recipients.iter().for_each(|recipient| check_recipient(recipient));
            }
            _ => panic!("an opener that no target knows"),
        }
    }
    if let Some(index) = header.origin() {
        assert!(matches!(slots.get(index).map(bulla::Slot::opener), Some(Opener::Machine(_))));
    }
}

fn check_recipient(recipient: &Recipient) {
    assert_eq!(recipient.to_string().parse::<Recipient>().unwrap(), *recipient);
}

/// A header around `cbor`.
pub(crate) fn framed(cbor: &[u8]) -> Vec<u8> {
    let length = u32::try_from(cbor.len()).unwrap_or(u32::MAX);
    let framed = [BEGINNING, &length.to_be_bytes(), cbor].concat();
    let checksum = sha256(&[&framed]);
    [framed.as_slice(), checksum.first_chunk::<16>().unwrap()].concat()
}

/// The CBOR in what may be an envelope, as far as it is there; all of it otherwise.
fn cbor(data: &[u8]) -> &[u8] {
    let inside = || {
        let (length, rest) = data.strip_prefix(BEGINNING)?.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        Some(rest.split_at(length.min(rest.len())).0)
    };
    inside().unwrap_or(data)
}
