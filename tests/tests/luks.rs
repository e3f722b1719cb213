//! The header of a LUKS2 volume as the real `cryptsetup` writes it, and as an attacker changes it (R92, B41).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bulla::Error;
use bulla::luks::Volume;
use bulla_crypto::sha256;
use serde_json::{Value, json};
use tempfile::TempDir;

const SIZE: usize = 16 << 10;

/// A formatted volume in a file, and its key.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn format(options: &[&str]) -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(disk.path("key"), [0x5A; 32]).unwrap();
        fs::File::create(disk.path("volume")).unwrap().set_len(20 << 20).unwrap();
        let format = ["luksFormat", "--batch-mode", "--type=luks2", "--key-file=key"];
        let output = disk.cryptsetup(&[&format, options, &["volume"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cryptsetup(&self, arguments: &[&str]) -> Output {
        Command::new("/usr/sbin/cryptsetup").args(arguments).current_dir(&self.folder).output().unwrap()
    }

    fn judge(&self) -> Result<Volume, Error> {
        Volume::read(fs::File::open(self.path("volume")).unwrap())
    }

    /// Whether `cryptsetup` opens the volume with the key, by that header.
    fn opens_by(&self, header: &Path) -> bool {
        let header = format!("--header={}", header.display());
        let open = ["open", "--test-passphrase", &header, "--key-file=key", "volume"];
        self.cryptsetup(&open).status.success()
    }

    /// Whether `cryptsetup` takes the header for a valid one.
    fn is_valid(&self) -> bool {
        self.cryptsetup(&["luksDump", "volume"]).status.success()
    }

    /// Edits the metadata, in both headers and with right checksums: all that an attacker has to do.
    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut volume = fs::read(self.path("volume")).unwrap();
        let text: Vec<u8> = volume[4096..SIZE].iter().copied().take_while(|byte| *byte != 0).collect();
        let mut metadata = serde_json::from_slice(&text).unwrap();
        edit(&mut metadata);
        let text = metadata.to_string();
        for half in volume.chunks_mut(SIZE).take(2) {
            half[4096..].fill(0);
            half[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
            half[448..512].fill(0);
            let checksum = sha256(&[half]);
            half[448..480].copy_from_slice(&checksum);
        }
        fs::write(self.path("volume"), volume).unwrap();
    }
}

const FAST: [&str; 2] = ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"];

#[test]
fn what_cryptsetup_formats_passes_and_opens_by_the_copy() {
    let argon = ["--pbkdf=argon2id", "--pbkdf-force-iterations=4", "--pbkdf-memory=32"];
    let offset = [FAST.as_slice(), &["--offset=16384", "--sector-size=512"]].concat();
    for (options, at, sector) in
        [(&FAST[..], 16 << 20, 4096), (&argon, 16 << 20, 4096), (&offset, 8 << 20, 512)]
    {
        let disk = Disk::format(options);
        let volume = disk.judge().unwrap();
        assert_eq!((volume.offset(), volume.sector_size()), (at, sector), "{options:?}");
        assert_eq!((volume.cipher(), volume.integrity(), volume.key_bits()), ("aes-xts-plain64", None, 512));
        let uuid = disk.cryptsetup(&["luksUUID", "volume"]).stdout;
        assert_eq!(String::from_utf8(uuid).unwrap().trim(), volume.uuid());

        let copy = disk.path("copy");
        fs::write(&copy, volume.header()).unwrap();
        assert!(disk.opens_by(&copy));
        // What becomes of the header on the disk afterwards changes nothing.
        let mut data = fs::read(disk.path("volume")).unwrap();
        data[..volume.header().len()].fill(0);
        fs::write(disk.path("volume"), data).unwrap();
        assert!(disk.opens_by(&copy) && !disk.is_valid());
    }
}

#[test]
fn a_second_key_slot_and_a_removed_one_pass() {
    let disk = Disk::format(&FAST);
    fs::write(disk.path("next"), [0xA5; 32]).unwrap();
    let add = ["luksAddKey", "--batch-mode", "--key-file=key", FAST[0], FAST[1], "volume", "next"];
    assert!(disk.cryptsetup(&add).status.success());
    let both = disk.judge().unwrap();
    assert!(disk.cryptsetup(&["luksRemoveKey", "--batch-mode", "volume", "key"]).status.success());
    let next = disk.judge().unwrap();
    assert_eq!(both.uuid(), next.uuid());
    assert_ne!(both.header(), next.header());
    // A key of its own in a slot that no digest vouches for.
    let unbound = [
        "luksAddKey",
        "--batch-mode",
        "--key-file=next",
        "--unbound",
        "--key-size=512",
        FAST[0],
        FAST[1],
        "volume",
        "key",
    ];
    assert!(disk.cryptsetup(&unbound).status.success());
    assert_eq!(refused(&disk), "digests");
}

/// What an attacker does to the metadata, and the field that gives it away.
struct Attack(&'static str, fn(&mut Value));

/// Each of these is valid to `cryptsetup`, which is why the header must not be left to it alone.
#[test]
fn b41_what_cryptsetup_would_believe() {
    let attacks = [
        Attack("segments.0.encryption", |metadata| {
            metadata["segments"]["0"]["encryption"] = json!("cipher_null-ecb");
        }),
        Attack("keyslots.0.area.encryption", |metadata| {
            metadata["keyslots"]["0"]["area"]["encryption"] = json!("cipher_null-ecb");
        }),
        Attack("segments.0.offset", |metadata| {
            metadata["segments"]["0"]["offset"] = json!((17 << 20).to_string());
        }),
        Attack("segments.0.size", |metadata| metadata["segments"]["0"]["size"] = json!("4096")),
        Attack("segments.0.iv_tweak", |metadata| metadata["segments"]["0"]["iv_tweak"] = json!("8")),
        Attack("segments.1", |metadata| {
            let first = (17 << 20).to_string();
            metadata["segments"]["0"]["size"] = json!((1 << 20).to_string());
            metadata["segments"]["1"] = json!({ "type": "linear", "offset": first, "size": "dynamic" });
        }),
        Attack("config.requirements", |metadata| {
            metadata["config"]["requirements"] = json!({ "mandatory": ["offline-reencrypt"] });
        }),
        Attack("config.flags", |metadata| metadata["config"]["flags"] = json!(["allow-discards"])),
        Attack("tokens", |metadata| {
            metadata["tokens"]["0"] =
                json!({ "type": "luks2-keyring", "keyslots": ["0"], "key_description": "theirs" });
        }),
    ];
    let disk = Disk::format(&FAST);
    let original = fs::read(disk.path("volume")).unwrap();
    for Attack(field, attack) in attacks {
        fs::write(disk.path("volume"), &original).unwrap();
        disk.edit(attack);
        assert!(disk.is_valid(), "{field}");
        assert_eq!(refused(&disk), field);
    }
}

/// A re-encryption that `cryptsetup` itself has begun.
#[test]
fn b41_reencryption_begun() {
    let disk = Disk::format(&FAST);
    let begin = ["reencrypt", "--init-only", "--batch-mode", "--key-file=key", FAST[0], FAST[1], "volume"];
    let output = disk.cryptsetup(&begin);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(disk.is_valid());
    refused(&disk);
}

/// `cryptsetup` would take the newer of two headers that differ.
#[test]
fn b41_a_newer_secondary() {
    let disk = Disk::format(&FAST);
    let mut volume = fs::read(disk.path("volume")).unwrap();
    let secondary = &mut volume[SIZE..2 * SIZE];
    secondary[23] += 1;
    secondary[448..512].fill(0);
    let checksum = sha256(&[secondary]);
    secondary[448..480].copy_from_slice(&checksum);
    fs::write(disk.path("volume"), volume).unwrap();
    assert_eq!(refused(&disk), "sequence");
    assert!(disk.is_valid());
}

/// The field that the refusal names.
#[track_caller]
fn refused(disk: &Disk) -> String {
    match disk.judge().unwrap_err() {
        Error::UntrustedVolumeHeader { field, .. } => field,
        other => panic!("{other}"),
    }
}
