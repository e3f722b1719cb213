//! The header of a LUKS2 volume.

use std::io::{self, Read};

use bulla::Error;
use bulla::luks::Volume;
use bulla_crypto::sha256;
use serde_json::Value;

use crate::edits::Script;

/// Bytes of one of the two headers with its metadata, and of a device.
const HALF: usize = 16 << 10;
const DEVICE: u64 = (1 << 20) + 1;
/// Where the metadata and where the checksum begin.
const TEXT: usize = 4096;
const CHECKSUM: usize = 448;

/// Judges a header. The first byte says what the rest is: 0 the metadata of a header that is otherwise as it should be, 1 edits
/// to a good header, 2 edits after which both checksums are made to fit, 3 the same where the second half follows the first.
pub fn luks(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let mut halves = match how % 4 {
        0 => return judge([false, true].map(|second| signed(half(rest, second))).concat()),
        _ => [false, true].map(|second| signed(half(GOOD.as_bytes().split_at(1).1, second))).concat(),
    };
    if how % 4 == 3 {
        halves.truncate(HALF);
    }
    Script::new(rest).edit(&mut halves);
    match how % 4 {
        1 => judge(halves),
        2 => judge(halves.chunks(HALF).map(|half| signed(half.to_vec())).collect::<Vec<_>>().concat()),
        _ => {
            halves.resize(HALF, 0);
            let mut second = halves.clone();
            put(&mut second, 0, b"SKUL\xba\xbe");
            put(&mut second, 256, &(HALF as u64).to_be_bytes());
            judge([signed(halves), signed(second)].concat());
        }
    }
}

/// Key slots of which nothing is known follow the header, then data.
fn judge(header: Vec<u8>) {
    let device = header.chain(io::repeat(0x55)).take(DEVICE);
    match Volume::read(device) {
        Ok(volume) => check(&volume, &header),
        Err(Error::UntrustedVolumeHeader { field, reason }) => {
            assert!(field.len() < 2000 && reason.len() < 2000, "an endless message");
            assert!(!format!("{field}{reason}").contains(char::is_control));
        }
        Err(error) => panic!("{error}"),
    }
}

/// What `cryptsetup` would do with it, by the fields as its own reader takes them: the last one of a name.
fn check(volume: &Volume, header: &[u8]) {
    let copy = volume.header();
    assert!(copy.starts_with(&header[..2 * HALF]), "the copy is not what was read");
    assert_eq!(copy.len() as u64, volume.offset());
    assert!(
        copy.chunks(HALF).take(2).all(|half| signed(half.to_vec()) == half),
        "a checksum that does not fit"
    );

    let area = &header[TEXT..HALF];
    let text = area.split(|byte| *byte == 0).next().unwrap();
    let metadata: Value = serde_json::from_slice(text).unwrap();
    let entries = |name: &str| metadata[name].as_object().unwrap().clone();
    assert!(entries("tokens").is_empty());
    assert!(metadata["config"].get("requirements").is_none_or(|found| found == &Value::Null));
    assert_eq!(entries("segments").len(), 1);
    let segment = &metadata["segments"]["0"];
    assert_eq!(segment["type"], "crypt");
    assert_eq!(segment["encryption"], volume.cipher());
    assert!(!volume.cipher().contains("null"));
    assert_eq!(segment["offset"], volume.offset().to_string());
    assert_eq!(segment["size"], "dynamic");
    assert_eq!(segment["sector_size"], volume.sector_size());
    assert_eq!(
        segment.get("integrity").map(|found| &found["type"]).and_then(Value::as_str),
        volume.integrity()
    );
    assert_eq!(entries("digests").len(), 1);
    assert!(!entries("keyslots").is_empty());
    for slot in entries("keyslots").values() {
        assert_eq!(slot["key_size"], volume.key_bits() / 8);
        assert!(slot["area"]["encryption"].as_str().is_some_and(|cipher| cipher.starts_with("aes-")));
    }
}

/// A header of volume, with a text as its metadata.
fn half(text: &[u8], second: bool) -> Vec<u8> {
    let mut half = vec![0; HALF];
    put(&mut half, 0, if second { b"SKUL\xba\xbe" } else { b"LUKS\xba\xbe" });
    put(&mut half, 6, &2_u16.to_be_bytes());
    put(&mut half, 8, &(HALF as u64).to_be_bytes());
    put(&mut half, 16, &3_u64.to_be_bytes());
    put(&mut half, 72, b"sha256");
    put(&mut half, 104, &[if second { 0xA5 } else { 0x5A }; 64]);
    put(&mut half, 168, b"eb2a38a3-d223-4198-92ee-9aca2f6021af");
    put(&mut half, 256, &(if second { HALF as u64 } else { 0 }).to_be_bytes());
    put(&mut half, TEXT, text);
    half
}

fn put(half: &mut [u8], at: usize, bytes: &[u8]) {
    half.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// With a checksum that fits.
fn signed(mut half: Vec<u8>) -> Vec<u8> {
    put(&mut half, CHECKSUM, &[0; 64]);
    let checksum = sha256(&[&half]);
    put(&mut half, CHECKSUM, &checksum);
    half
}

/// What `cryptsetup luksFormat` writes, with fewer bytes for key slots, behind the byte that says so.
const GOOD: &str = include_str!("../corpus/luks/good");
