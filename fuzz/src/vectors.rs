//! The committed vectors of the format, and the readers they are for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use bulla::{Header, Opener, RecipientKey, Share, Unsealer};
use bulla_crypto::sha256;
use bulla_tee::Tee;

use crate::described::Machine;

pub(crate) const PUBLIC_PREFIX: &str = "bulla-recipient-1:";
pub(crate) const PRIVATE_PREFIX: &str = "bulla-recipient-key-1:";
pub(crate) const SHARE_PREFIX: &str = "bulla-share-1:";

/// An envelope that opens, for its reader.
pub(crate) struct Vector {
    pub(crate) envelope: Vec<u8>,
    pub(crate) reader: Reader,
    pub(crate) secret_sha256: [u8; 32],
    /// What it is told by in a script: whoever adds a vector changes the meaning of few scripts.
    tag: u16,
}

/// Who opens it, without the demands: what opens with them opens without.
pub(crate) struct Reader {
    context: String,
    pub(crate) machine: Option<Machine>,
    pub(crate) keys: Vec<RecipientKey>,
    shares: Vec<Share>,
}

/// The vectors that open, in the order of their tags.
pub(crate) static GOOD: LazyLock<Vec<Vector>> = LazyLock::new(|| {
    let described = named("json").into_iter().filter_map(|(name, text)| {
        let described: Described = serde_json::from_slice(&text).unwrap();
        Some((name, described.opened?, described.reader))
    });
    let mut vectors: Vec<_> =
        described.map(|(name, opened, reader)| Vector::new(&name, &opened, reader)).collect();
    assert!(vectors.len() > 50, "too few vectors");
    vectors.sort_by_key(|vector| vector.tag);
    vectors
});

/// Every envelope among the vectors, of those too that do not open for their reader.
pub(crate) static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| named("bulla").into_values().collect());

/// The vector that a script names: the first with this tag or a greater one.
pub(crate) fn good(tag: u16) -> &'static Vector {
    let place = GOOD.partition_point(|vector| vector.tag < tag);
    GOOD.iter().cycle().nth(place).unwrap()
}

/// The first vector that a machine opens, and which the enclave of a simulated machine sealed.
pub(crate) fn of_simulated_enclave() -> &'static Vector {
    let is = |vector: &&Vector| matches!(&vector.reader.machine, Some(machine) if machine.request.is_some() && machine.identity().unwrap().is_simulated());
    GOOD.iter().find(is).unwrap()
}

/// The first vector that one private key opens.
pub(crate) fn of_recipient() -> &'static Vector {
    GOOD.iter().find(|vector| vector.reader.keys.len() == 1 && vector.reader.machine.is_none()).unwrap()
}

impl Vector {
    fn new(name: &str, opened: &Opened, reader: DescribedReader) -> Self {
        let envelope = fs::read(directory().join(name).with_extension("bulla")).unwrap();
        let mut reader = Reader::new(reader);
        if let Some(machine) = &mut reader.machine {
            machine.request =
                Header::read(&mut envelope.as_slice()).unwrap().slots().iter().find_map(|slot| {
                    match slot.opener() {
                        Opener::Machine(request) => Some(request.clone()),
                        _ => None,
                    }
                });
        }
        let (secret, _) = reader.unsealer().unseal(&envelope).unwrap();
        let secret_sha256 = sha256(&[secret.expose()]);
        assert_eq!(hex::encode(secret_sha256), opened.secret_sha256, "{name}");
        let [first, second, ..] = sha256(&[name.as_bytes()]);
        Self { envelope, reader, secret_sha256, tag: u16::from_be_bytes([first, second]) }
    }
}

impl Reader {
    fn new(described: DescribedReader) -> Self {
        let key = |(kem, key): (u16, Bytes)| {
            RecipientKey::from_text(&checked_text(PRIVATE_PREFIX, kem, &key.0)).unwrap()
        };
        let share = |(slot, index, value): (Bytes, u8, Bytes)| {
            let text = [SHARE_PREFIX, &hex::encode([&slot.0[..], &[index], &value.0].concat())].concat();
            Share::from_text(&text).unwrap()
        };
        Self {
            context: described.context,
            machine: described.machine,
            keys: described.private_keys.into_iter().map(key).collect(),
            shares: described.shares.into_iter().map(share).collect(),
        }
    }

    pub(crate) fn unsealer(&self) -> Unsealer<'_> {
        let mut unsealer = Unsealer::new(&self.context);
        if let Some(machine) = &self.machine {
            unsealer = unsealer.machine(machine);
        }
        let unsealer = self.keys.iter().fold(unsealer, Unsealer::key);
        self.shares.iter().fold(unsealer, Unsealer::share)
    }
}

/// The text form of a key, with a checksum that fits.
pub(crate) fn checked_text(prefix: &str, kem: u16, key: &[u8]) -> String {
    let mut bytes = [&kem.to_be_bytes(), key].concat();
    let checksum = sha256(&[prefix.as_bytes(), &bytes]);
    bytes.extend(checksum.iter().take(4));
    prefix.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/bulla/tests/vectors"))
}

/// The vectors' files of one kind, without it in their names.
fn named(extension: &str) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

#[derive(Deserialize)]
struct Described {
    reader: DescribedReader,
    opened: Option<Opened>,
}

#[derive(Deserialize)]
struct DescribedReader {
    context: String,
    machine: Option<Machine>,
    #[serde(default)]
    private_keys: Vec<(u16, Bytes)>,
    #[serde(default)]
    shares: Vec<(Bytes, u8, Bytes)>,
}

#[derive(Deserialize)]
struct Opened {
    secret_sha256: String,
}

/// Hexadecimal digits.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Bytes(Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = hex::FromHexError;

    fn try_from(digits: String) -> Result<Self, Self::Error> {
        hex::decode(digits).map(Self)
    }
}
