//! The two binary headers, and the metadata text that each has behind it.

use bulla_crypto::sha256;
use zerocopy::big_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::untrusted;
use crate::Error;

/// Bytes of a binary header; its metadata follow.
pub(super) const BINARY: usize = size_of::<BinaryHeader>();

/// The sizes that a binary header and its metadata can have together.
const SIZES: std::ops::RangeInclusive<usize> = (16 << 10)..=(4 << 20);

const SHA256: [u8; 32] = *b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The same on disk. What is padding is written as zeros.
#[derive(Clone, PartialEq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BinaryHeader {
    magic: [u8; 6],
    version: U16,
    size: U64,
    sequence: U64,
    label: [u8; 48],
    checksum_algorithm: [u8; 32],
    salt: [u8; 64],
    uuid: [u8; 40],
    subsystem: [u8; 48],
    offset: U64,
    padding: [u8; 184],
    checksum: [u8; 64],
    padding_to_page: [u8; 3584],
}

/// Judges what the first binary header says of itself, and returns the size of it and its metadata.
pub(super) fn size(beginning: &[u8]) -> Result<usize, Error> {
    let (header, _) = split(beginning)?;
    if &header.magic != b"LUKS\xba\xbe" {
        return Err(untrusted("magic", "no LUKS volume begins like this"));
    }
    if header.version.get() != 2 {
        return Err(untrusted("version", format_args!("{} instead of 2", header.version)));
    }
    match usize::try_from(header.size.get()) {
        Ok(size) if SIZES.contains(&size) && size.is_power_of_two() => Ok(size),
        _ => Err(untrusted("size", format_args!("{} is none of the format's", header.size))),
    }
}

/// Judges both binary headers, each of `size` with its metadata, and returns the UUID and the text of the metadata.
///
/// Of two headers that differ, `cryptsetup` takes the newer one and overwrites the other. Here they have to agree, so there is
/// nothing to choose.
pub(super) fn judge(both: &[u8], size: usize) -> Result<(String, &str), Error> {
    let (first, second) = both.split_at_checked(size).ok_or_else(|| untrusted("size", "cut short"))?;
    let (primary, area) = split(first)?;
    let (secondary, second_area) = split(second)?;
    for (header, area, name) in [(&primary, area, "primary"), (&secondary, second_area, "secondary")] {
        if header.checksum_algorithm != SHA256 {
            return Err(untrusted(format_args!("{name}.checksum_algorithm"), "not sha256"));
        }
        if header.checksum != checksum(header, area) {
            return Err(untrusted(format_args!("{name}.checksum"), "it does not match"));
        }
    }
    if primary.offset.get() != 0 {
        return Err(untrusted("primary.offset", "not 0"));
    }
    if primary.sequence != secondary.sequence {
        let reason = format_args!("{} and {} differ", primary.sequence, secondary.sequence).to_string();
        return Err(untrusted("sequence", reason));
    }
    let expected = BinaryHeader {
        magic: *b"SKUL\xba\xbe",
        offset: primary.size,
        salt: secondary.salt,
        checksum: secondary.checksum,
        ..primary
    };
    if secondary != expected || area != second_area {
        return Err(untrusted("secondary", "it is not a copy of the primary header"));
    }
    Ok((uuid(&expected.uuid)?, text(area)?))
}

fn split(bytes: &[u8]) -> Result<(BinaryHeader, &[u8]), Error> {
    BinaryHeader::read_from_prefix(bytes).map_err(|_| untrusted("size", "cut short"))
}

/// Over the header, its own checksum as zeros, and the metadata.
fn checksum(header: &BinaryHeader, area: &[u8]) -> [u8; 64] {
    let mut checksum = [0; 64];
    let unsigned = BinaryHeader { checksum, ..header.clone() };
    for (to, from) in checksum.iter_mut().zip(sha256(&[unsigned.as_bytes(), area])) {
        *to = from;
    }
    checksum
}

/// 36 characters and then nothing but zeros.
fn uuid(field: &[u8; 40]) -> Result<String, Error> {
    let (text, rest) = field.split_at(36);
    let expected = |(index, byte): (usize, &u8)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
    };
    if !text.iter().enumerate().all(expected) || rest != [0; 4] {
        return Err(untrusted("uuid", "not a UUID"));
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// The text ends at the first zero, and nothing but zeros follows.
fn text(area: &[u8]) -> Result<&str, Error> {
    let end = area.iter().position(|byte| *byte == 0).unwrap_or(area.len());
    let (text, rest) = area.split_at(end);
    if rest.is_empty() || rest.iter().any(|byte| *byte != 0) {
        return Err(untrusted("metadata", "something follows the text"));
    }
    std::str::from_utf8(text).map_err(|_| untrusted("metadata", "not UTF-8"))
}
