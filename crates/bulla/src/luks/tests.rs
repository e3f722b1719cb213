//! Headers as `cryptsetup` writes them, made by hand, and what an attacker makes of them (R92, B41).

use serde_json::{Value, json};

use super::*;

const SIZE: usize = 16 << 10;
const DATA: usize = 1 << 20;

/// What `cryptsetup luksFormat` writes, with fewer bytes for key slots.
fn metadata() -> Value {
    // Keys in alphabetical order, which they have in the text whether or not the whole build keeps the order of a map.
    let slot = |offset: usize| {
        json!({
            "af": { "hash": "sha256", "stripes": 4000, "type": "luks1" },
            "area": {
                "encryption": "aes-xts-plain64",
                "key_size": 64,
                "offset": offset.to_string(),
                "size": "258048",
                "type": "raw",
            },
            "kdf": { "hash": "sha256", "iterations": 1000, "salt": salt(), "type": "pbkdf2" },
            "key_size": 64,
            "type": "luks2",
        })
    };
    json!({
        "config": { "json_size": (SIZE - 4096).to_string(), "keyslots_size": (DATA - 2 * SIZE).to_string() },
        "digests": {
            "0": {
                "digest": salt(),
                "hash": "sha256",
                "iterations": 1000,
                "keyslots": ["0", "1"],
                "salt": salt(),
                "segments": ["0"],
                "type": "pbkdf2",
            },
        },
        "keyslots": { "0": slot(2 * SIZE), "1": slot(2 * SIZE + 258_048) },
        "segments": {
            "0": {
                "encryption": "aes-xts-plain64",
                "iv_tweak": "0",
                "offset": DATA.to_string(),
                "sector_size": 4096,
                "size": "dynamic",
                "type": "crypt",
            },
        },
        "tokens": {},
    })
}

/// 32 bytes.
fn salt() -> &'static str {
    "/6bSyVv8Ee3v7u3s6+rp6Ofm5eTj4uHg397d3Nva2dg="
}

/// One of the two binary headers with a text as its metadata, without a checksum.
fn half(text: &str, secondary: bool) -> Vec<u8> {
    let mut half = vec![0; SIZE];
    let mut put = |offset: usize, bytes: &[u8]| half[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, if secondary { b"SKUL\xba\xbe" } else { b"LUKS\xba\xbe" });
    put(6, &2_u16.to_be_bytes());
    put(8, &(SIZE as u64).to_be_bytes());
    put(16, &3_u64.to_be_bytes());
    put(72, b"sha256");
    put(104, &[if secondary { 0xA5 } else { 0x5A }; 64]);
    put(168, b"eb2a38a3-d223-4198-92ee-9aca2f6021af");
    put(256, &(if secondary { SIZE as u64 } else { 0 }).to_be_bytes());
    put(4096, text.as_bytes());
    half
}

/// Gives a half its checksum.
fn sign(half: &mut [u8]) {
    half[448..512].fill(0);
    let checksum = bulla_crypto::sha256(&[half]);
    half[448..480].copy_from_slice(&checksum);
}

/// A device of two halves: key slots follow, then a byte of data.
fn device(mut halves: [Vec<u8>; 2]) -> Vec<u8> {
    halves.iter_mut().for_each(|half| sign(half));
    let mut device = halves.concat();
    device.resize(device.len().max(DATA), 0x55);
    device.push(0xDD);
    device
}

fn with_text(text: &str) -> Vec<u8> {
    device([half(text, false), half(text, true)])
}

/// The device after `edit` of its metadata.
fn edited(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_text(&edited_text(edit))
}

fn edited_text(edit: impl FnOnce(&mut Value)) -> String {
    let mut metadata = metadata();
    edit(&mut metadata);
    metadata.to_string()
}

/// The field that a refusal names.
#[track_caller]
fn refused(device: &[u8]) -> String {
    match Volume::read(device).unwrap_err() {
        Error::UntrustedVolumeHeader { field, .. } => field,
        other => panic!("{other}"),
    }
}

/// Sets a field to a value and says which one the refusal then names.
#[track_caller]
fn refused_with(pointer: &str, value: Value) -> String {
    refused(&edited(|metadata| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        metadata.pointer_mut(parent).unwrap()[name] = value;
    }))
}

#[test]
fn what_cryptsetup_writes_passes_and_the_copy_is_all_before_the_data() {
    let device = with_text(&metadata().to_string());
    let volume = Volume::read(device.as_slice()).unwrap();
    assert_eq!(volume.header(), &device[..DATA]);
    assert_eq!(volume.offset(), DATA as u64);
    assert_eq!(volume.uuid(), "eb2a38a3-d223-4198-92ee-9aca2f6021af");
    assert_eq!((volume.cipher(), volume.integrity()), ("aes-xts-plain64", None));
    assert_eq!((volume.key_bits(), volume.sector_size()), (512, 4096));
}

#[test]
fn argon2_and_authenticated_data_pass() {
    let volume = Volume::read(
        edited(|metadata| {
            metadata["keyslots"]["0"]["kdf"] =
                json!({ "type": "argon2id", "time": 4, "memory": 1_048_576, "cpus": 4, "salt": salt() });
            metadata["keyslots"]["1"]["priority"] = json!(2);
            metadata["segments"]["0"]["integrity"] =
                json!({ "type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none" });
            for (slot, offset) in [("0", 2 * SIZE), ("1", 2 * SIZE + 385_024)] {
                metadata["keyslots"][slot]["key_size"] = json!(96);
                metadata["keyslots"][slot]["area"]["offset"] = json!(offset.to_string());
                metadata["keyslots"][slot]["area"]["size"] = json!("385024");
            }
        })
        .as_slice(),
    )
    .unwrap();
    assert_eq!((volume.integrity(), volume.key_bits()), (Some("hmac(sha256)"), 768));
}

/// CVE-2025-59054: no cipher, in any place.
#[test]
fn b41_null_cipher() {
    for cipher in
        ["cipher_null-ecb", "cipher_null", "null", "aes-ecb", "aes-cbc-plain", "AES-XTS-PLAIN64", ""]
    {
        assert_eq!(refused_with("/segments/0/encryption", json!(cipher)), "segments.0.encryption");
        assert_eq!(refused_with("/keyslots/1/area/encryption", json!(cipher)), "keyslots.1.area.encryption");
    }
    assert_eq!(refused_with("/segments/0/encryption", json!("aes-xts-plain64\0x")), "segments.0.encryption");
    assert_eq!(refused_with("/segments/0/encryption", json!("aes-gcm-random")), "segments.0.encryption");
    let integrity = json!({ "type": "none", "journal_encryption": "none", "journal_integrity": "none" });
    assert_eq!(refused_with("/segments/0/integrity", integrity), "segments.0.encryption");
    assert_eq!(refused_with("/segments/0/type", json!("linear")), "segments.0.type");
}

#[test]
fn b41_changed_segment() {
    assert_eq!(refused_with("/segments/0/offset", json!((DATA + 4096).to_string())), "segments.0.offset");
    assert_eq!(refused_with("/segments/0/offset", json!("0")), "segments.0.offset");
    assert_eq!(refused_with("/segments/0/offset", json!("01048576")), "segments.0.offset");
    assert_eq!(refused_with("/segments/0/offset", json!("+1048576")), "segments.0.offset");
    assert_eq!(refused_with("/segments/0/offset", json!(DATA)), "segments.0.offset");
    assert_eq!(refused_with("/segments/0/size", json!("4096")), "segments.0.size");
    assert_eq!(refused_with("/segments/0/iv_tweak", json!("8")), "segments.0.iv_tweak");
    assert_eq!(refused_with("/segments/0/sector_size", json!(8192)), "segments.0.sector_size");
    assert_eq!(refused_with("/segments/0/flags", json!(["backup-final"])), "segments.0.flags");
    let journal =
        json!({ "type": "hmac(sha256)", "journal_encryption": "cipher_null", "journal_integrity": "none" });
    assert_eq!(refused_with("/segments/0/integrity", journal), "segments.0.integrity");
}

#[test]
fn b41_more_or_fewer_segments() {
    let segment = metadata()["segments"]["0"].clone();
    assert_eq!(refused_with("/segments/1", segment.clone()), "segments");
    assert_eq!(refused_with("/segments", json!({})), "segments");
    assert_eq!(refused_with("/segments", json!({ "1": segment })), "segments");
    assert_eq!(
        refused_with("/segments/1", json!({ "type": "linear", "offset": "0", "size": "4096" })),
        "segments.1"
    );
}

#[test]
fn b41_reencryption_in_progress() {
    for requirement in ["online-reencrypt", "online-reencrypt-v2", "offline-reencrypt", "anything"] {
        let requirements = json!({ "mandatory": [requirement] });
        assert_eq!(refused_with("/config/requirements", requirements), "config.requirements");
    }
    let slot = json!({
        "type": "reencrypt", "key_size": 1, "mode": "reencrypt", "direction": "forward",
        "area": { "type": "checksum", "offset": "548864", "size": "4096", "hash": "sha256", "sector_size": 512 },
    });
    assert!(refused_with("/keyslots/2", slot).starts_with("keyslots.2"));
    assert_eq!(refused_with("/keyslots/1/type", json!("reencrypt")), "keyslots.1.type");
    assert!(
        Volume::read(
            edited(|metadata| metadata["config"]["requirements"] = json!({ "mandatory": [] })).as_slice()
        )
        .is_ok()
    );
}

#[test]
fn b41_large_json() {
    let blanks = " ".repeat(SIZE - 4096 - metadata().to_string().len() - 1);
    assert!(Volume::read(with_text(&format!("{}{blanks}", metadata())).as_slice()).is_ok());
    assert_eq!(refused(&with_text(&format!("{}{blanks} ", metadata()))), "metadata", "no zero at the end");
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for (field, value) in [("tokens", "{}"), ("segments.0.integrity", "null")] {
        let name = field.rsplit('.').next().unwrap();
        let text = edited_text(|metadata| metadata["segments"]["0"]["integrity"] = Value::Null);
        let (from, to) = (format!("\"{name}\":{value}"), format!("\"{name}\":{{\"0\":{deep}}}"));
        assert!(text.contains(&from));
        assert!(refused(&with_text(&text.replace(&from, &to))).starts_with(field), "{field}");
    }
    let mut many = metadata();
    for number in 2..40 {
        many["keyslots"][number.to_string()] = metadata()["keyslots"]["1"].clone();
    }
    many.as_object_mut().unwrap().retain(|name, _| name == "keyslots");
    let mut large = half("", false);
    large[8..16].copy_from_slice(&(4_u64 << 20).to_be_bytes());
    large.resize(4 << 20, 0);
    let text = many.to_string();
    large[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
    let mut secondary = large.clone();
    secondary[..6].copy_from_slice(b"SKUL\xba\xbe");
    secondary[256..264].copy_from_slice(&(4_u64 << 20).to_be_bytes());
    assert_eq!(refused(&device([large.clone(), secondary])), "keyslots");
    large[8..16].copy_from_slice(&(8_u64 << 20).to_be_bytes());
    assert_eq!(refused(&large), "size", "before anything of this size is read");
}

/// Its own checksum vouches for nothing: all edits above carry a right one. One that is wrong is refused all the same.
#[test]
fn b41_checksum() {
    let mut device = with_text(&metadata().to_string());
    device[4096 + 20] ^= 1;
    assert_eq!(refused(&device), "primary.checksum");
    let mut device = with_text(&metadata().to_string());
    device[SIZE + 448 + 31] ^= 1;
    assert_eq!(refused(&device), "secondary.checksum");
    let mut device = with_text(&metadata().to_string());
    device[448 + 32] = 1;
    assert_eq!(refused(&device), "primary.checksum", "after the end of a SHA-256");
}

#[test]
fn b41_secondary_differs() {
    let text = metadata().to_string();
    let other = text.replace("\"sector_size\":4096", "\"sector_size\":512");
    assert_ne!(text, other);
    assert_eq!(refused(&device([half(&text, false), half(&other, true)])), "secondary");
    let mut newer = half(&text, true);
    newer[23] += 1;
    assert_eq!(refused(&device([half(&text, false), newer])), "sequence");
    let mut renamed = half(&text, true);
    renamed[168] = b'a';
    assert_eq!(refused(&device([half(&text, false), renamed])), "secondary");
    let mut hidden = half(&text, true);
    hidden[4000] = 1;
    assert_eq!(refused(&device([half(&text, false), hidden])), "secondary");
    assert_eq!(refused(&device([half(&text, false), half(&text, false)])), "secondary");
}

#[test]
fn b41_binary_header() {
    let text = metadata().to_string();
    for (offset, value, field) in [
        (0, b'X', "magic"),
        (7, 1, "version"),
        (14, 0x41, "size"),
        (13, 0x80, "size"),
        (77, b'5', "primary.checksum_algorithm"),
        (263, 1, "primary.offset"),
        (168, b'/', "uuid"),
        (168 + 39, b'a', "uuid"),
    ] {
        let halves = [false, true].map(|secondary| {
            let mut half = half(&text, secondary);
            half[offset] = value;
            half
        });
        assert_eq!(refused(&device(halves)), field, "{offset}");
    }
}

#[test]
fn b41_duplicate_and_unknown_fields() {
    let text = metadata().to_string();
    let double = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        refused(&with_text(&text.replacen(from, to, 1)))
    };
    let cipher = "\"encryption\":\"aes-xts-plain64\",\"iv_tweak\"";
    assert_eq!(double(cipher, &format!("\"encryption\":\"cipher_null-ecb\",{cipher}")), "segments.0");
    let segment = format!("\"segments\":{{\"0\":{},", metadata()["segments"]["0"]);
    assert_eq!(double("\"segments\":{\"0\"", &format!("{segment}\"0\"")), "segments");
    assert_eq!(double("\"segments\":{\"0\"", &format!("{segment}\"00\"")), "segments");
    assert_eq!(double("\"tokens\":{}", "\"tokens\":{},\"tokens\":{}"), "metadata");
    assert_eq!(
        double("\"hash\":\"sha256\",\"iter", "\"hash\":\"x\",\"hash\":\"sha256\",\"iter"),
        "digests.0"
    );
    let kdf = format!("\"salt\":\"{}\",\"type\":\"pbkdf2\"}}", salt());
    assert!(double(&kdf, &format!("\"salt\":\"\",{kdf}")).starts_with("keyslots.0"));
    assert_eq!(refused_with("/segments/0/surprise", json!(1)), "segments.0.surprise");
    assert_eq!(refused_with("/surprise", json!({})), "surprise");
    assert!(refused_with("/keyslots/0/kdf/surprise", json!({})).starts_with("keyslots.0.kdf"));
    assert_eq!(refused(&with_text(&format!("{text}{{}}"))), "metadata", "a second text");
    assert_eq!(refused(&with_text(&format!("{text}\0x"))), "metadata", "a hidden text");
}

#[test]
fn b41_tokens_and_flags() {
    let token = json!({ "type": "luks2-keyring", "keyslots": ["0"], "key_description": "theirs" });
    assert_eq!(refused_with("/tokens/0", token), "tokens");
    assert_eq!(refused_with("/config/flags", json!(["allow-discards"])), "config.flags");
}

#[test]
fn b41_keyslots() {
    let area = |name: &str| format!("/keyslots/1/area/{name}");
    assert_eq!(refused_with("/keyslots/1/key_size", json!(32)), "keyslots.1.key_size");
    assert_eq!(refused_with("/keyslots/1/af/stripes", json!(1)), "keyslots.1.af");
    assert_eq!(refused_with("/keyslots/1/af/hash", json!("crc32")), "keyslots.1.af");
    assert_eq!(refused_with(&area("type"), json!("none")), "keyslots.1.area.type");
    assert_eq!(refused_with(&area("key_size"), json!(16)), "keyslots.1.area.key_size");
    assert_eq!(refused_with(&area("size"), json!("253952")), "keyslots.1.area.size");
    for offset in ["0", "28672", "290817", "258048", "286720", "1044480", "18446744073709551615"] {
        assert_eq!(refused_with(&area("offset"), json!(offset)), "keyslots.1.area", "{offset}");
    }
    for (name, value) in
        [("iterations", json!(1)), ("iterations", json!(u32::MAX)), ("salt", json!("")), ("hash", json!("x"))]
    {
        assert_eq!(refused_with(&format!("/keyslots/0/kdf/{name}"), value), "keyslots.0.kdf", "{name}");
    }
    let endless = json!({ "type": "argon2id", "time": u32::MAX, "memory": 32, "cpus": 1, "salt": salt() });
    assert_eq!(refused_with("/keyslots/0/kdf", endless), "keyslots.0.kdf");
    let greedy = json!({ "type": "argon2id", "time": 4, "memory": u32::MAX, "cpus": 1, "salt": salt() });
    assert_eq!(refused_with("/keyslots/0/kdf", greedy), "keyslots.0.kdf");
    assert!(refused_with("/keyslots/0/kdf/type", json!("none")).starts_with("keyslots.0.kdf"));
}

#[test]
fn b41_digests() {
    for (name, value) in [
        ("type", json!("none")),
        ("keyslots", json!(["0"])),
        ("keyslots", json!(["0", "1", "2"])),
        ("keyslots", json!(["0", "1", "1"])),
        ("segments", json!([])),
        ("segments", json!(["0", "1"])),
        ("hash", json!("crc32")),
        ("iterations", json!(1)),
        ("salt", json!("AAAA")),
        ("digest", json!("AA==")),
    ] {
        assert_eq!(refused_with(&format!("/digests/0/{name}"), value), format!("digests.0.{name}"));
    }
    assert_eq!(refused_with("/digests/1", metadata()["digests"]["0"].clone()), "digests");
    assert_eq!(
        refused(&edited(|metadata| {
            metadata["keyslots"] = json!({});
            metadata["digests"]["0"]["keyslots"] = json!([]);
        })),
        "digests.0.keyslots"
    );
}

#[test]
fn b41_sizes() {
    assert_eq!(refused_with("/config/json_size", json!("16384")), "config.json_size");
    for size in ["0", "4097", "1099511627776"] {
        assert_eq!(refused_with("/config/keyslots_size", json!(size)), "config.keyslots_size", "{size}");
    }
    let device = with_text(&metadata().to_string());
    for length in [0, 511, 4095, SIZE, 2 * SIZE - 1, DATA - 1] {
        assert_eq!(refused(&device[..length]), "device", "{length}");
    }
}

/// What an attacker wrote does not reach a terminal as it is.
#[test]
fn a_refusal_is_escaped_and_short() {
    let refusal = Volume::read(edited(|metadata| metadata["\u{1b}[2J"] = json!({})).as_slice()).unwrap_err();
    assert!(!refusal.to_string().contains('\u{1b}'), "{refusal}");
    let long = "x".repeat(5000);
    let refusal =
        Volume::read(edited(|metadata| metadata[long.as_str()] = json!({})).as_slice()).unwrap_err();
    assert!(refusal.to_string().len() < 700, "{refusal}");
    assert_eq!((refusal.code(), refusal.class()), ("volume.untrusted", bulla_crypto::Class::Refused));
}
