//! A header takes memory for what it is, and none for what it claims (R71, B31). Alone in its process, whose allocator counts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use bulla::Header;
use bulla_crypto::sha256;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const LARGEST: usize = 64 * 1024;
/// What the bytes of the largest header can become while they are read: each of them an item of an array or half of one of a map.
const MOST: usize = 2 << 20;

#[test]
fn a_header_takes_memory_for_what_it_is_and_none_for_what_it_claims() {
    let all: u32 = u32::MAX;
    for claimed in [all, all >> 1, LARGEST as u32 + 1] {
        let taken = taken(&[b"\x93bulla\r\n\x01", claimed.to_be_bytes().as_slice(), b"and no more"].concat());
        assert!(taken < 1024, "{taken} bytes for a length of {claimed}");
    }
    // More slots, critical fields, labels, bytes of context and fields than memory has.
    for claims in [
        "a1059bffffffffffffffff",
        "a1069bffffffffffffffff",
        "a107bbffffffffffffffff",
        "a1037bffffffffffffffff",
        "bbffffffffffffffff",
    ] {
        let taken = taken(&framed(&hex::decode(claims).unwrap()));
        assert!(taken < 1024, "{taken} bytes for {claims}");
    }

    let filled = |start: &[u8], item: &[u8]| {
        let items = (LARGEST - start.len()) / item.len();
        [start, &item.repeat(items)].concat()
    };
    let extensions =
        (256..16_000_u16).flat_map(|key| [&[0x19], key.to_be_bytes().as_slice(), &[0x40]].concat());
    let largest = [
        filled(&hex::decode("a1069a0000fff0").unwrap(), &[0]),
        filled(&hex::decode("a107ba00007ff0").unwrap(), &[0x60, 0x60]),
        [&hex::decode("b93d80").unwrap(), extensions.collect::<Vec<_>>().as_slice()].concat(),
        filled(&[], &[0x81]),
        filled(&[], &[0]),
    ];
    for cbor in largest {
        assert!(cbor.len() > LARGEST - 4096 && cbor.len() <= LARGEST);
        let taken = taken(&framed(&cbor));
        assert!(taken < MOST, "{taken} bytes for a header that begins {:02x?}", &cbor[..8]);
    }
}

/// Bytes that were taken at any time while these were read.
fn taken(mut envelope: &[u8]) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let _ = Header::read(&mut envelope);
    ALLOCATOR.peak_usage().saturating_sub(before)
}

fn framed(cbor: &[u8]) -> Vec<u8> {
    let length = u32::try_from(cbor.len()).unwrap();
    let framed = [b"\x93bulla\r\n\x01", length.to_be_bytes().as_slice(), cbor].concat();
    [framed.as_slice(), &sha256(&[&framed])[..16]].concat()
}
