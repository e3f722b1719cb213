//! What other SDKs sealed, on a simulated machine that answers `ENCLU`. `tests/python/sdk.py` made the vectors, from the specifications
//! alone, and says what stands in them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::TempDir;

use bulla::import::{Blob, Sdk};
use bulla::{Error, Floor, Sealer, Unsealer};
use bulla_crypto::Class;
use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave};
use bulla_tee::sgx::Enclave;
use bulla_tee::sgx::arch::{Attributes, KEYPOLICY_MRSIGNER};
use bulla_tee::{Policy, Tee};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    shows: String,
    machine: MachineFields,
    enclave: EnclaveFields,
    additional: Option<String>,
    opened: Option<Outcome>,
    refused: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineFields {
    seal_fuses: String,
    owner_epoch: String,
    cpusvn: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnclaveFields {
    mrenclave: String,
    mrsigner: String,
    product: u16,
    svn: u16,
    flags: u64,
    config_id: String,
    config_svn: u16,
    family_id: String,
    ext_product_id: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outcome {
    secret: String,
    labels: Vec<(String, String)>,
}

/// A machine, with its folder.
struct Bench {
    machine: Machine,
    _folder: TempDir,
}

impl Bench {
    fn new(fields: &MachineFields) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path()).unwrap();
        let path = machine.dir().join("machine.toml");
        let text = fs::read_to_string(&path).unwrap();
        let line = |line: &str| {
            let value = match line.split(" =").next()? {
                "seal_fuses" => &fields.seal_fuses,
                "owner_epoch" => &fields.owner_epoch,
                "cpusvn" => &fields.cpusvn,
                _ => return None,
            };
            Some(format!("{} = \"{value}\"", line.split(" =").next()?))
        };
        let lines: Vec<_> = text.lines().map(|old| line(old).unwrap_or_else(|| old.into())).collect();
        fs::write(path, lines.join("\n")).unwrap();
        Self { machine: Machine::open(folder.path()).unwrap(), _folder: folder }
    }

    fn enclave(&self, fields: &EnclaveFields) -> SimulatedEnclave {
        self.machine.enclave(&identity(fields)).unwrap()
    }
}

fn identity(fields: &EnclaveFields) -> EnclaveIdentity {
    EnclaveIdentity {
        mrenclave: array(&fields.mrenclave),
        mrsigner: array(&fields.mrsigner),
        isv_prod_id: fields.product,
        isv_svn: fields.svn,
        attributes: Attributes { flags: fields.flags, xfrm: 3 },
        misc_select: 0,
        config_id: array(&fields.config_id),
        config_svn: fields.config_svn,
        isv_family_id: array(&fields.family_id),
        isv_ext_prod_id: array(&fields.ext_product_id),
    }
}

fn array<const N: usize>(digits: &str) -> [u8; N] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/vectors")
}

fn vector(name: &str) -> (Vector, Vec<u8>) {
    let path = directory().join(name);
    let description = fs::read(path.with_extension("json")).unwrap();
    (serde_json::from_slice(&description).unwrap(), fs::read(path.with_extension("sealed")).unwrap())
}

fn open(tee: &dyn Tee, blob: &[u8], additional: Option<&str>) -> Result<Outcome, Error> {
    let additional = additional.map(|digits| hex::decode(digits).unwrap());
    let imported = Blob::parse(blob)?.open(tee, additional.as_deref())?;
    Ok(Outcome {
        secret: hex::encode(imported.secret.expose()),
        labels: imported.labels.into_iter().map(|(name, value)| (name.into(), value)).collect(),
    })
}

/// Frozen: what opens today opens later, and what is refused is refused for the same reason.
#[test]
fn vectors_open_or_are_refused_as_they_say() {
    let mut count = 0;
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let (vector, blob) = vector(path.file_stem().unwrap().to_str().unwrap());
        let bench = Bench::new(&vector.machine);
        let result = open(&bench.enclave(&vector.enclave), &blob, vector.additional.as_deref());
        let refused = result.as_ref().err().map(|error| error.code().to_owned());
        assert_eq!(refused, vector.refused, "{}: {}", path.display(), vector.shows);
        assert_eq!(result.ok(), vector.opened, "{}: {}", path.display(), vector.shows);
        count += 1;
    }
    assert!(count > 60, "{count}");
}

/// The same key by Occlum's device.
#[test]
fn what_was_sealed_in_occlum_opens_there() {
    let (signer, blob) = vector("good_intel_signer");
    let (newer, newer_blob) = vector("bad_intel_newer_microcode");
    let bench = Bench::new(&signer.machine);
    let identity = identity(&signer.enclave);
    let device = bench.machine.occlum(&identity).unwrap();
    let random = Box::new(bulla_crypto::SystemRandom);
    let enclave = Enclave::occlum(bulla_tee::sgx::Processor::Simulated, random, &device.root()).unwrap();
    let enclave = bench.machine.run(&identity, enclave).unwrap();
    assert_eq!(open(&enclave, &blob, None).unwrap(), signer.opened.unwrap());
    assert_eq!(open(&enclave, &newer_blob, None).unwrap_err().code(), newer.refused.unwrap());
}

/// As Intel's own SDK wrote it, on a processor that is not here.
#[test]
fn a_blob_of_a_real_processor_is_read() {
    let (_, bytes) = vector("bad_intel_real");
    let blob = Blob::parse(&bytes).unwrap();
    assert_eq!((blob.sdk(), blob.additional_data()), (Sdk::Intel, Some(&b"aad mac text"[..])));
    let request = blob.key_requests().next().unwrap();
    assert_eq!((request.keypolicy, request.isvsvn), (KEYPOLICY_MRSIGNER, 0));
    assert_eq!(hex::encode(request.cpusvn), "1213ffff010200000000000000000000");
    assert_eq!((request.attribute_mask.flags, request.misc_mask), (0xFF00_0000_0000_000B, 0xF000_0000));
}

/// No bit of a blob can be changed, and nothing of it left out.
#[test]
fn whatever_was_changed_is_refused() {
    for name in ["good_intel_text", "good_ego_product_256", "good_ego_empty"] {
        let (vector, blob) = vector(name);
        let bench = Bench::new(&vector.machine);
        let enclave = bench.enclave(&vector.enclave);
        assert!(open(&enclave, &blob, None).is_ok());
        for place in 0..blob.len() {
            let mut changed = blob.clone();
            changed[place] ^= 1 << (place % 8);
            assert!(open(&enclave, &changed, None).is_err(), "{name}: byte {place}");
        }
        for len in 0..blob.len() {
            assert!(open(&enclave, &blob[..len], None).is_err(), "{name}: {len} bytes");
        }
    }
}

/// R6: a blob of below the floor may be forged by whoever broke that processor.
#[test]
fn a_floor_holds_for_blobs_too() {
    let (vector, blob) = vector("good_ego_product_256");
    let blob = Blob::parse(&blob).unwrap();
    let cpusvn = array(&vector.machine.cpusvn);
    let floor =
        |isvsvn, cpusvn: &[[u8; 16]]| Floor { isvsvn, cpusvn: cpusvn.iter().copied().collect(), epoch: 0 };
    blob.check_floor(&floor(3, &[cpusvn])).unwrap();
    for floor in [floor(4, &[cpusvn]), floor(3, &[[1; 16]])] {
        let error = blob.check_floor(&floor).unwrap_err();
        assert_eq!((error.code(), error.class()), ("machine.below_floor", Class::TooOld));
    }
}

/// A guest has no key of an enclave.
#[test]
fn only_an_enclave_opens_them() {
    let (vector, blob) = vector("good_intel_signer");
    let bench = Bench::new(&vector.machine);
    let guest = bench.machine.guest(bulla_sim::TdDescription::default_guest()).unwrap();
    assert_eq!(open(&guest, &blob, None).unwrap_err().code(), "machine.unsupported");
}

/// A label for every kind of additional data fits into an envelope.
#[test]
fn what_was_imported_can_be_sealed() {
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "json") || !name.starts_with("good_") {
            continue;
        }
        let (vector, blob) = vector(&name);
        let bench = Bench::new(&vector.machine);
        let enclave = bench.enclave(&vector.enclave);
        let additional = vector.additional.map(|digits| hex::decode(digits).unwrap());
        let imported = Blob::parse(&blob).unwrap().open(&enclave, additional.as_deref()).unwrap();
        let sealer = Sealer::new("wallet").machine(&enclave, Policy::default());
        let sealer = imported.labels.iter().fold(sealer, |sealer, (name, value)| sealer.label(name, value));
        let sealed = sealer.seal(imported.secret.expose()).unwrap();
        let (secret, _) = Unsealer::new("wallet").machine(&enclave).unseal(&sealed).unwrap();
        assert_eq!(secret.expose(), imported.secret.expose());
    }
}
