//! What is allowed in the metadata.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use super::metadata::{Config, Decimal, Kdf, Keyslot, Metadata, Segment};
use super::{disk, untrusted};
use crate::Error;

/// Ciphers of the data, with the key's bytes.
///
/// `aes-gcm-random` and `chacha20-random` are not here: their nonces of 96 random bits meet twice too soon on a disk.
const CIPHERS: [Cipher; 3] = [
    Cipher { name: "aes-xts-plain64", integrity: None, key_size: 64 },
    Cipher { name: "aes-xts-plain64", integrity: Some("hmac(sha256)"), key_size: 96 },
    Cipher { name: "aes-xts-random", integrity: Some("hmac(sha256)"), key_size: 96 },
];

/// The cipher of the key slots, with the key's bytes.
const SLOT_CIPHER: (&str, [u32; 2]) = ("aes-xts-plain64", [32, 64]);

const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];
const HASHES: [(&str, usize); 2] = [("sha256", 32), ("sha512", 64)];
const STRIPES: u32 = 4000;
const PAGE: u64 = 4096;

/// Four times what `cryptsetup` takes if it is not told otherwise.
const MAX_SLOTS_SIZE: u64 = 64 << 20;

/// The least that `cryptsetup` makes, and more than anybody waits for: a header cannot keep a guest busy for hours.
const ITERATIONS: RangeInclusive<u32> = 1000..=100_000_000;
const ARGON2_PASSES: RangeInclusive<u32> = 1..=100;
const ARGON2_KIB: RangeInclusive<u32> = 32..=(4 << 20);
const ARGON2_LANES: RangeInclusive<u32> = 1..=4;
const SALT: RangeInclusive<usize> = 16..=64;

#[derive(Debug, PartialEq)]
pub(super) struct Cipher {
    pub(super) name: &'static str,
    pub(super) integrity: Option<&'static str>,
    pub(super) key_size: u32,
}

/// Where the data lies, and how it is encrypted.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) cipher: &'static Cipher,
    pub(super) sector_size: u32,
    pub(super) offset: usize,
}

/// Judges the metadata of a header of `size`.
pub(super) fn judge(text: &str, size: usize) -> Result<Layout, Error> {
    let metadata = Metadata::read(text)?;
    let slots = slots_area(&metadata.config, size)?;
    if !metadata.tokens.0.is_empty() {
        return Err(untrusted(
            "tokens",
            "a token chooses where a passphrase comes from, and none is allowed",
        ));
    }
    let [(0, segment)] = metadata.segments.0.as_slice() else {
        return Err(untrusted("segments", "not exactly segment 0"));
    };
    let cipher = segment_cipher(segment, slots.end)?;
    digest(&metadata)?;
    for (number, slot) in &metadata.keyslots.0 {
        slot.judge(cipher)
            .map_err(|(field, reason)| untrusted(format!("keyslots.{number}.{field}"), reason))?;
    }
    areas(&metadata.keyslots.0, &slots)?;

    let offset = usize::try_from(slots.end).map_err(|_| untrusted("config.keyslots_size", "too large"))?;
    Ok(Layout { cipher, sector_size: segment.sector_size, offset })
}

/// Where the key slots lie: from the end of the second header to the data.
fn slots_area(config: &Config, size: usize) -> Result<Range<u64>, Error> {
    if config.json_size.0 != (size - disk::BINARY) as u64 {
        return Err(untrusted("config.json_size", "it is not the size of the metadata"));
    }
    if config.requirements.as_ref().is_some_and(|requirements| !requirements.mandatory.is_empty()) {
        return Err(untrusted(
            "config.requirements",
            "a re-encryption is under way, or something unknown is",
        ));
    }
    if !config.flags.is_empty() {
        return Err(untrusted("config.flags", "flags belong on the command line of who opens the volume"));
    }
    let slots_size = config.keyslots_size.0;
    if slots_size == 0 || slots_size > MAX_SLOTS_SIZE || !slots_size.is_multiple_of(PAGE) {
        return Err(untrusted("config.keyslots_size", format_args!("{slots_size} is none of the format's")));
    }
    let start = 2 * size as u64;
    Ok(start..start + slots_size)
}

fn segment_cipher(segment: &Segment, data: u64) -> Result<&'static Cipher, Error> {
    let refuse = |field, reason: String| Err(untrusted(format_args!("segments.0.{field}"), reason));
    if segment.kind != "crypt" {
        return refuse("type", format!("{} instead of crypt", segment.kind));
    }
    if !segment.flags.is_empty() {
        return refuse("flags", "a re-encryption leaves them".into());
    }
    if segment.offset.0 != data {
        return refuse("offset", format!("{} instead of {data}, the header's end", segment.offset.0));
    }
    if segment.size != "dynamic" {
        return refuse("size", format!("{} instead of dynamic", segment.size));
    }
    if segment.iv_tweak.0 != 0 {
        return refuse("iv_tweak", format!("{} instead of 0", segment.iv_tweak.0));
    }
    if !SECTOR_SIZES.contains(&segment.sector_size) {
        return refuse("sector_size", format!("{} is none of the format's", segment.sector_size));
    }
    if let Some(integrity) = &segment.integrity
        && (integrity.journal_encryption != "none" || integrity.journal_integrity != "none")
    {
        return refuse("integrity", "the journal has ciphers of its own".into());
    }
    let integrity = segment.integrity.as_ref().map(|integrity| integrity.kind.as_str());
    let allowed = |cipher: &&Cipher| cipher.name == segment.encryption && cipher.integrity == integrity;
    match CIPHERS.iter().find(allowed) {
        Some(cipher) => Ok(cipher),
        None => {
            let with = integrity.map(|kind| format!(" with {kind}")).unwrap_or_default();
            refuse("encryption", format!("{}{with} is not on the list", segment.encryption))
        }
    }
}

/// One digest, for the segment and for every key slot: no slot opens with another volume key.
fn digest(metadata: &Metadata) -> Result<(), Error> {
    let [(number, digest)] = metadata.digests.0.as_slice() else {
        return Err(untrusted("digests", "not exactly one"));
    };
    let refuse = |field, reason| Err(untrusted(format_args!("digests.{number}.{field}"), reason));
    if digest.kind != "pbkdf2" {
        return refuse("type", "not pbkdf2");
    }
    let slots: Vec<u64> = metadata.keyslots.0.iter().map(|(number, _)| u64::from(*number)).collect();
    let named: BTreeSet<u64> = digest.keyslots.iter().map(|number| number.0).collect();
    if slots.is_empty() || !named.iter().eq(&slots) || digest.keyslots.len() != slots.len() {
        return refuse("keyslots", "not every key slot, once");
    }
    if !matches!(digest.segments.as_slice(), [Decimal(0)]) {
        return refuse("segments", "not exactly segment 0");
    }
    let Some((_, length)) = HASHES.iter().find(|(hash, _)| *hash == digest.hash) else {
        return refuse("hash", "neither sha256 nor sha512");
    };
    if !ITERATIONS.contains(&digest.iterations) {
        return refuse("iterations", "too few or too many");
    }
    if !SALT.contains(&digest.salt.0) {
        return refuse("salt", "too short or too long");
    }
    if digest.digest.0 != *length {
        return refuse("digest", "not as long as its hash is");
    }
    Ok(())
}

/// Each area lies among the key slots, and none on another.
fn areas(slots: &[(u8, Keyslot)], within: &Range<u64>) -> Result<(), Error> {
    let mut areas: Vec<_> =
        slots.iter().map(|(number, slot)| (slot.area.offset.0, slot.area.size.0, number)).collect();
    areas.sort_unstable();
    let mut free = within.start;
    for (offset, size, number) in areas {
        let end = offset.checked_add(size).filter(|end| *end <= within.end);
        match end {
            Some(end) if offset >= free && offset.is_multiple_of(PAGE) => free = end,
            _ => return Err(untrusted(format_args!("keyslots.{number}.area"), "it lies where it must not")),
        }
    }
    Ok(())
}

impl Keyslot {
    /// Names the field and what is wrong with it.
    fn judge(&self, cipher: &Cipher) -> Result<(), (&'static str, &'static str)> {
        let is_hash = |name: &str| HASHES.iter().any(|(hash, _)| *hash == name);
        if self.kind != "luks2" {
            return Err(("type", "not luks2"));
        }
        if self.key_size != cipher.key_size {
            return Err(("key_size", "not that of the segment's cipher"));
        }
        if self.af.kind != "luks1" || self.af.stripes != STRIPES || !is_hash(&self.af.hash) {
            return Err(("af", "not 4000 stripes under sha256 or sha512"));
        }
        if self.area.kind != "raw" {
            return Err(("area.type", "not raw"));
        }
        if self.area.encryption != SLOT_CIPHER.0 {
            return Err(("area.encryption", "not aes-xts-plain64"));
        }
        if !SLOT_CIPHER.1.contains(&self.area.key_size) {
            return Err(("area.key_size", "neither 32 nor 64"));
        }
        if self.area.size.0 < u64::from(self.key_size) * u64::from(STRIPES) {
            return Err(("area.size", "too small for the key"));
        }
        let (salt, bounded) = match &self.kdf {
            Kdf::Pbkdf2 { hash, iterations, salt } => {
                (salt, is_hash(hash) && ITERATIONS.contains(iterations))
            }
            Kdf::Argon2i { time, memory, cpus, salt } | Kdf::Argon2id { time, memory, cpus, salt } => {
                let bounded = ARGON2_PASSES.contains(time) && ARGON2_KIB.contains(memory);
                (salt, bounded && ARGON2_LANES.contains(cpus))
            }
        };
        if !bounded || !SALT.contains(&salt.0) {
            return Err(("kdf", "its parameters are out of bounds"));
        }
        Ok(())
    }
}
