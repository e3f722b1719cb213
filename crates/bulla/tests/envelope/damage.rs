//! What arrives otherwise than it was sent, by accident or by somebody who cuts and pastes.

use std::io::{self, Read};

use bulla::{Error, Header, Unsealer};
use bulla_crypto::Class;

use crate::machine::here;
use crate::surgery::{CHUNK, FRAME, Parts};

fn refusal(envelope: &[u8]) -> Error {
    match bulla::unseal(&here(), "test", envelope) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_damaged(envelope: &[u8], what: impl std::fmt::Display) {
    let error = refusal(envelope);
    assert_eq!(error.class(), Class::Damaged, "{what}: {error}");
}

/// R56, B25: no single bit can change, and each change is told as damage, never as another identity.
#[test]
fn every_flipped_bit_is_damage() {
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            assert_damaged(&flipped, format_args!("bit {bit} of byte {at}"));
        }
    }
}

/// R56, B25: no prefix opens.
#[test]
fn every_truncation_is_damage() {
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    for length in 0..sealed.len() {
        assert_damaged(&sealed[..length], format_args!("cut to {length}"));
    }
    assert_eq!(refusal(&[]).code(), "envelope.truncated");
    assert_eq!(refusal(b"\x93bul").code(), "envelope.truncated");
    assert_eq!(refusal(b"PK\x03\x04").code(), "envelope.magic");
    assert_eq!(refusal(b"\x93bulla\n\0\0\0").code(), "envelope.magic");
}

/// R56, B25: nothing can follow.
#[test]
fn a_trailing_byte_is_damage() {
    for length in [0, 6, CHUNK - 1, CHUNK, CHUNK + 1] {
        let mut sealed = bulla::seal(&here(), "test", &vec![1; length]).unwrap();
        sealed.push(0);
        assert_damaged(&sealed, format_args!("after {length} bytes"));
    }
}

/// R59, B30: chunks keep their places, their number and their end.
#[test]
fn chunks_cannot_be_moved() {
    let parts = Parts::of(&bulla::seal(&here(), "test", &vec![1; 3 * CHUNK + 7]).unwrap());
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut parts = parts.clone();
        change(&mut parts.chunks);
        parts.join()
    };
    assert_eq!(parts.chunks.len(), 4);
    assert!(bulla::unseal(&here(), "test", &parts.join()).is_ok());

    let cases: [(&str, u64, &dyn Fn(&mut Vec<Vec<u8>>)); 13] = [
        ("the first dropped", 0, &|chunks| drop(chunks.remove(0))),
        ("one dropped", 1, &|chunks| drop(chunks.remove(1))),
        ("the last dropped", 2, &|chunks| drop(chunks.pop())),
        ("all but the first dropped", 0, &|chunks| chunks.truncate(1)),
        ("all but the last dropped", 0, &|chunks| drop(chunks.drain(..3))),
        ("one doubled", 2, &|chunks| chunks.insert(1, chunks[1].clone())),
        ("the last doubled", 3, &|chunks| chunks.push(chunks[3].clone())),
        ("two swapped", 0, &|chunks| chunks.swap(0, 1)),
        ("the last two swapped", 2, &|chunks| chunks.swap(2, 3)),
        ("the last one early", 1, &|chunks| {
            chunks.truncate(1);
            chunks.push(parts.chunks[3].clone());
        }),
        ("a chunk appended", 3, &|chunks| chunks.push(chunks[0].clone())),
        ("the last one cut", 3, &|chunks| chunks[3].truncate(20)),
        ("a middle one cut", 1, &|chunks| chunks[1].truncate(CHUNK)),
    ];
    for (what, at, change) in cases {
        match refusal(&with(change)) {
            Error::PayloadChanged { chunk } => assert_eq!(chunk, at, "{what}"),
            other => panic!("{what}: {other}"),
        }
    }
    assert_eq!(refusal(&with(&|chunks| chunks[3].truncate(15))).code(), "envelope.truncated");
    assert_eq!(refusal(&with(&|chunks| chunks.clear())).code(), "envelope.truncated");
}

/// R59, R96: in the caller's room nothing is left of a secret that did not open whole, and what is behind it is not touched.
#[test]
fn a_room_keeps_nothing_of_what_is_refused() {
    let secret = vec![1; 3 * CHUNK + 7];
    let mut sealed = bulla::seal(&here(), "test", &secret).unwrap();
    let (here, mut room) = (here(), vec![0xFF; secret.len() + 9]);
    let unsealer = Unsealer::new("test").machine(&here);

    let (len, _) = unsealer.unseal_into(&sealed, &mut room).unwrap();
    assert!(room[..len] == secret && room[len..] == [0xFF; 9]);
    assert!(unsealer.unseal_into(&sealed, &mut room[..secret.len()]).is_ok(), "it fits exactly");
    let refused = unsealer.unseal_into(&sealed, &mut room[..secret.len() - 1]).unwrap_err();
    assert_eq!(refused.code(), Error::Invalid("").code());
    assert!(room[..len] == secret, "nothing was decrypted to a room that is too small");

    *sealed.last_mut().unwrap() ^= 1;
    assert!(matches!(unsealer.unseal_into(&sealed, &mut room), Err(Error::PayloadChanged { chunk: 3 })));
    assert!(room[..len] == vec![0; len] && room[len..] == [0xFF; 9]);
}

/// R59: a chunk reaches the output only after it has authenticated, so what precedes a refusal is a prefix of the secret.
#[test]
fn nothing_unauthenticated_is_passed_on() {
    let secret: Vec<u8> = (0..2 * CHUNK).map(|i| i as u8).collect();
    let mut sealed = bulla::seal(&here(), "test", &secret).unwrap();
    let end = sealed.len();
    sealed[end - 1] ^= 1;
    let mut output = Vec::new();
    let error = bulla::unseal_stream(&here(), "test", sealed.as_slice(), &mut output).unwrap_err();
    assert_eq!(error.code(), "envelope.payload_changed");
    assert_eq!(output, secret[..CHUNK]);
}

/// R58, B29: the commitment is checked before anything of the payload is decrypted.
#[test]
fn nothing_is_decrypted_under_a_header_that_does_not_authenticate() {
    let mut parts = Parts::of(&bulla::seal(&here(), "test", &[7; 100]).unwrap());
    parts.mac[31] ^= 1;
    let mut output = Vec::new();
    let error = bulla::unseal_stream(&here(), "test", parts.join().as_slice(), &mut output).unwrap_err();
    assert_eq!((error.code(), output.len()), ("envelope.header_changed", 0));
}

/// R60, R71, B31: a length is believed only within its bound, and nothing is read or allocated for a lie.
#[test]
fn a_claimed_length_is_bounded_before_it_is_used() {
    for length in [u32::MAX, 64 * 1024 + 1] {
        let mut claim = b"\x93bulla\r\n\x01".to_vec();
        claim.extend(length.to_be_bytes());
        let mut input = claim.as_slice().chain(io::repeat(0).take(1 << 20));
        assert_eq!(Header::read(&mut input).unwrap_err().code(), "envelope.malformed");
        assert_eq!(input.get_ref().1.limit(), 1 << 20, "it read past the length field");
    }
}

/// B31: lengths inside the CBOR are believed no more.
#[test]
fn a_claimed_length_inside_the_header_costs_nothing() {
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    let claims: [&[u8]; 5] = [
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", // a map of 2^64 - 1 entries
        b"\xa1\x05\x9b\xff\xff\xff\xff\xff\xff\xff\xff", // 2^64 - 1 slots
        b"\xa1\x03\x7b\xff\xff\xff\xff\xff\xff\xff\xff", // a context of 2^64 - 1 bytes
        b"\xa1\x06\x9b\x00\x00\x00\xff\xff\xff\xff\xff", // 2^40 critical keys
        b"\xa1\x05\x81\x84\x63sim\x5b\x00\x00\x01\x00\x00\x00\x00\x00", // a salt of 2^40 bytes
    ];
    for claim in claims {
        let mut parts = Parts::of(&sealed);
        parts.cbor = claim.to_vec();
        assert_eq!(refusal(&parts.join()).code(), "envelope.malformed");
    }
    let mut parts = Parts::of(&sealed);
    parts.cbor = [&b"\xa1\x05"[..], &[0x81; 64 * 1024 - 3], b"\x00"].concat(); // arrays in arrays, 65,533 deep
    assert_eq!(refusal(&parts.join()).code(), "envelope.malformed");
}

/// The header is read to its end and not beyond, so that a detached or embedded header works.
#[test]
fn a_header_is_read_without_touching_the_payload() {
    let sealed = bulla::seal(&here(), "test", b"secret").unwrap();
    let mut input = sealed.as_slice();
    let header = Header::read(&mut input).unwrap();
    assert_eq!(input.len(), 32 + 6 + 16);
    assert_eq!(header.slots().len(), 1);
    assert_eq!(Parts::of(&sealed).cbor.len() + FRAME + 16 + input.len(), sealed.len());
}
