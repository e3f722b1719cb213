//! The committed vectors, which hold the format still. `tests/python/envelope.py` says what stands in them.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use bulla::{Error, Floor, Kem, Opened, Origin, Recipient, RecipientKey, Share, Unsealer};
use bulla_crypto::{SecretBytes, sha256};

use crate::described::{Machine, Register};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    shows: String,
    reader: Reader,
    opened: Option<Outcome>,
    refused: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reader {
    context: String,
    machine: Option<Machine>,
    #[serde(default)]
    private_keys: Vec<(u16, String)>,
    #[serde(default)]
    shares: Vec<(String, u8, String)>,
    #[serde(default)]
    demands: Demands,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Demands {
    epoch: Option<u64>,
    recipients: Option<Vec<(u16, String)>>,
    floor: Option<FloorFields>,
    #[serde(default)]
    origin: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorFields {
    #[serde(rename = "ISVSVN")]
    isvsvn: u16,
    #[serde(rename = "CPUSVN")]
    cpusvn: Vec<String>,
    epoch: u64,
}

impl From<&FloorFields> for Floor {
    fn from(fields: &FloorFields) -> Self {
        let cpusvn = fields.cpusvn.iter().map(|digits| hex::decode(digits).unwrap().try_into().unwrap());
        Self { isvsvn: fields.isvsvn, cpusvn: cpusvn.collect(), epoch: fields.epoch }
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outcome {
    secret_sha256: String,
    slot: usize,
    origin: String,
}

/// The machine of the plainest vector, on a real processor.
pub(crate) fn real() -> Machine {
    let text = fs::read(directory().join("good_one_chunk.json")).unwrap();
    let vector: Vector = serde_json::from_slice(&text).unwrap();
    let mut machine = vector.reader.machine.unwrap();
    let Some(Register::Bytes(cpusvn)) = machine.registers.get_mut("CPUSVN") else { panic!("no CPUSVN") };
    cpusvn.replace_range(16.., "0000000000000000");
    machine
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The text form of a key, which is how keys get into the library.
fn text_of(prefix: &str, kem: u16, key: &str) -> String {
    use base64::Engine;
    let mut bytes = kem.to_be_bytes().to_vec();
    bytes.extend(hex::decode(key).unwrap());
    let checksum = sha256(&[prefix.as_bytes(), &bytes]);
    bytes.extend(&checksum[..4]);
    prefix.to_owned() + &base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

impl Reader {
    /// As a whole; as a stream and by a reader, which say the same; and by ranges, which say the same of what opens.
    fn unseal(&self, envelope: &[u8]) -> Result<(SecretBytes, Opened), Error> {
        let whole = self.with_unsealer(|unsealer| unsealer.unseal(envelope));
        let mut streamed = Vec::new();
        match (&whole, self.with_unsealer(|unsealer| unsealer.unseal_stream(envelope, &mut streamed))) {
            (Ok((secret, _)), Ok(_)) => assert_eq!(secret.expose(), streamed),
            (Err(one), Err(other)) => assert_eq!(one.code(), other.code()),
            (whole, stream) => panic!("as a whole: {}, as a stream: {}", whole.is_ok(), stream.is_ok()),
        }
        let read = self.with_unsealer(|unsealer| {
            let mut secret = Vec::new();
            let mut reader = unsealer.reader(envelope)?;
            // Why it failed is what `finish` says.
            let _ = reader.read_to_end(&mut secret);
            reader.finish().map(|opened| (secret, opened))
        });
        match (&whole, &read) {
            (Ok((one, _)), Ok((other, _))) => assert_eq!(one.expose(), other),
            (Err(one), Err(other)) => assert_eq!(one.code(), other.code()),
            (whole, read) => panic!("as a whole: {}, by a reader: {}", whole.is_ok(), read.is_ok()),
        }
        let ranges = self.with_unsealer(|unsealer| {
            let mut secret = Vec::new();
            unsealer
                .range(Cursor::new(envelope))?
                .read_to_end(&mut secret)
                .map(|_| secret)
                .map_err(|_| Error::NotAsWritten)
        });
        match (&whole, ranges) {
            // A part does not show who wrote the whole.
            (Ok(_), ranges) if self.demands.origin => {
                assert_eq!(ranges.unwrap_err().code(), "envelope.no_origin");
            }
            (Ok((secret, _)), ranges) => assert_eq!(secret.expose(), ranges.unwrap()),
            // It says of the trailer that it is unchecked.
            (Err(Error::Origin), ranges) => assert!(ranges.is_ok()),
            (Err(_), ranges) => assert!(ranges.is_err()),
        }
        whole
    }

    fn with_unsealer<T>(&self, unseal: impl FnOnce(&Unsealer<'_>) -> T) -> T {
        let private = |(kem, key): &(u16, String)| {
            assert!(Kem::from_id(*kem).is_some());
            RecipientKey::from_text(&text_of("bulla-recipient-key-1:", *kem, key)).unwrap()
        };
        let public = |(kem, key): &(u16, String)| -> Recipient {
            text_of("bulla-recipient-1:", *kem, key).parse().unwrap()
        };
        let keys: Vec<_> = self.private_keys.iter().map(private).collect();
        let share = |(slot, index, value): &(String, u8, String)| {
            Share::from_text(&format!("bulla-share-1:{slot}{index:02x}{value}")).unwrap()
        };
        let shares: Vec<_> = self.shares.iter().map(share).collect();
        let floor = self.demands.floor.as_ref().map(Floor::from);
        let mut unsealer = Unsealer::new(&self.context).at_least(self.demands.epoch.unwrap_or(0));
        if let Some(machine) = &self.machine {
            unsealer = unsealer.machine(machine);
        }
        if let Some(recipients) = &self.demands.recipients {
            unsealer = unsealer.expect_recipients(&recipients.iter().map(public).collect::<Vec<_>>());
        }
        if self.demands.origin {
            unsealer = unsealer.require_origin();
        }
        if let Some(floor) = &floor {
            unsealer = unsealer.floor(floor);
        }
        let unsealer = keys.iter().fold(unsealer, Unsealer::key);
        unseal(&shares.iter().fold(unsealer, Unsealer::share))
    }
}

/// Each vector gives what its description says, here; `tests/` of the workspace holds the second implementation to the same.
#[test]
fn vectors_open_or_are_refused_as_they_say() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let vector: Vector = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let envelope = fs::read(path.with_extension("bulla")).unwrap();
        let result = vector.reader.unseal(&envelope);
        let opened = result.as_ref().ok().map(|(secret, opened)| Outcome {
            secret_sha256: hex::encode(sha256(&[secret.expose()])),
            slot: opened.slot,
            origin: match opened.origin {
                Origin::Proved => "proved".into(),
                Origin::Unchecked => "unchecked".into(),
                _ => "none".into(),
            },
        });
        let refused = result.err().map(|error| error.code().to_owned());
        if (&opened, &refused) != (&vector.opened, &vector.refused) {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            wrong.push(format!(
                "{name} ({}): {refused:?} {opened:?}, and not {:?}",
                vector.shows, vector.refused
            ));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} vectors:\n{}", wrong.len(), wrong.join("\n"));
}
