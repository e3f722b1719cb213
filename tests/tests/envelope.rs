//! The envelope format against its second implementation, `python/envelope.py`, which was written from
//! `docs/spec/envelope.md` (R12, R56).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use bulla::{Header, Kem, Opener, Policy, Recipient, RecipientKey, Sealer, Share, SignerPolicy};
use bulla_sim::{EnclaveIdentity, Machine, SimulatedEnclave};
use bulla_tee::{Identity, Tee};

const CHUNK: usize = 64 * 1024;
const CONTEXT: &str = "naïve ✓";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn vectors() -> PathBuf {
    here().join("../crates/bulla/tests/vectors")
}

fn python(script: &str, arguments: &[&str]) -> Output {
    let script = here().join("python").join(script);
    let output = Command::new("/usr/bin/python3").arg("-B").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The second implementation rests on values that others have published: RFC 9180, FIPS 203, the X-Wing draft.
#[test]
fn its_primitives_give_the_published_values() {
    python("hpke.py", &["check", here().join("python/hpke_vectors.json").to_str().unwrap()]);
}

#[test]
fn each_vector_gives_what_its_description_says() {
    let count = fs::read_dir(vectors()).unwrap().count() / 2;
    let checked = python("envelope.py", &["check", vectors().to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), count.to_string());
}

/// Frozen with the format, and nobody's hand changed them.
#[test]
fn the_vectors_are_made_the_same_again() {
    let made = tempfile::tempdir().unwrap();
    python("envelope.py", &["make", made.path().to_str().unwrap()]);
    let names = |path: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(made.path()), names(&vectors()));
    for name in names(made.path()) {
        assert!(
            fs::read(made.path().join(&name)).unwrap() == fs::read(vectors().join(&name)).unwrap(),
            "{name:?}"
        );
    }
}

/// A simulated machine, and a place for envelopes.
struct Bench {
    folder: tempfile::TempDir,
    enclave: SimulatedEnclave,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::create(folder.path().join("machine")).unwrap();
        let enclave = machine.enclave(&EnclaveIdentity::of_this_process(&machine).unwrap()).unwrap();
        Self { folder, enclave }
    }

    /// What the second implementation makes of an envelope: the secret, and how it opened.
    fn open(&self, envelope: &[u8], reader: &Value) -> (Vec<u8>, Value) {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("sealed"), envelope).unwrap();
        fs::write(path("reader"), reader.to_string()).unwrap();
        let opened = python(
            "envelope.py",
            &["open", path("sealed").to_str().unwrap(), path("reader").to_str().unwrap()],
        );
        let how: Value = serde_json::from_slice(&opened.stderr).unwrap();
        (opened.stdout, json!([how["opened"]["slot"], how["opened"]["origin"]]))
    }

    /// The machine as a reader's description has it, with the key that it gives for the slot at `index`.
    fn description(&self, envelope: &[u8], index: usize) -> Value {
        let header = Header::read(&mut &envelope[..]).unwrap();
        let Opener::Machine(request) = header.slots()[index].opener() else { panic!("no machine") };
        let Identity::Sgx(identity) = self.enclave.identity().unwrap() else { panic!("not SGX") };
        let tag = request.encode();
        json!({
            "kind": "sgx",
            "simulated": true,
            "key": hex::encode(self.enclave.derive(request).unwrap().expose()),
            // It is the last field of the inner opener, and that of the outer one.
            "tag": hex::encode(tag.last_chunk::<16>().unwrap()),
            "registers": {
                "MRENCLAVE": hex::encode(identity.mrenclave),
                "MRSIGNER": hex::encode(identity.mrsigner),
                "ISVPRODID": identity.isv_prod_id,
                "ISVSVN": identity.isv_svn,
                "CPUSVN": hex::encode(identity.cpusvn),
                "CONFIGSVN": identity.config_svn,
                "CONFIGID": hex::encode(identity.config_id),
                "ISVFAMILYID": hex::encode(identity.isv_family_id),
                "ISVEXTPRODID": hex::encode(identity.isv_ext_prod_id),
                "ATTRIBUTES.FLAGS": identity.attributes.flags,
                "ATTRIBUTES.XFRM": identity.attributes.xfrm,
                "MISCSELECT": identity.misc_select,
            },
        })
    }

    fn by_machine(&self, envelope: &[u8], index: usize) -> (Vec<u8>, Value) {
        let machine = self.description(envelope, index);
        self.open(envelope, &json!({ "context": CONTEXT, "machine": machine }))
    }

    fn by_keys(&self, envelope: &[u8], keys: &[&RecipientKey]) -> (Vec<u8>, Value) {
        let keys: Vec<_> = keys.iter().map(|key| private_key(key)).collect();
        self.open(envelope, &json!({ "context": CONTEXT, "private_keys": keys }))
    }
}

/// Number of the KEM and private key, out of the key's text form: both, and four bytes of a checksum.
fn private_key(key: &RecipientKey) -> Value {
    let text = key.to_text();
    let (_, encoded) = std::str::from_utf8(text.expose()).unwrap().split_once(':').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(encoded).unwrap();
    assert_eq!(bytes.len(), 2 + 32 + 4);
    json!([u16::from_be_bytes([bytes[0], bytes[1]]), hex::encode(&bytes[2..34])])
}

fn keys(kems: &[Kem]) -> Vec<RecipientKey> {
    kems.iter().map(|kem| RecipientKey::generate(*kem).unwrap()).collect()
}

fn recipients(keys: &[RecipientKey]) -> Vec<Recipient> {
    keys.iter().map(|key| key.recipient().clone()).collect()
}

fn secret(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 253) as u8).collect()
}

#[test]
fn it_opens_what_the_library_seals() {
    let bench = Bench::new();
    for length in [0, 1, CHUNK, 2 * CHUNK + 1] {
        let mut sealed = Vec::new();
        bulla::seal_stream(&bench.enclave, CONTEXT, secret(length).as_slice(), &mut sealed).unwrap();
        let (opened, how) = bench.by_machine(&sealed, 0);
        assert!(opened == secret(length), "{length} bytes");
        assert_eq!(how, json!([0, "none"]));
    }
}

#[test]
fn it_opens_what_the_library_seals_under_each_policy() {
    let bench = Bench::new();
    let Identity::Sgx(identity) = bench.enclave.identity().unwrap() else { panic!("not SGX") };
    let signer = SignerPolicy { product: identity.isv_prod_id, min_svn: 0, label: "wallet".into() };
    for policy in [Policy::measurement(), Policy::signer(signer)] {
        let sealed = Sealer::new(CONTEXT).machine(&bench.enclave, policy).seal(b"secret").unwrap();
        assert_eq!(bench.by_machine(&sealed, 0).0, b"secret");
    }
}

/// The trailer is the machine's, and its own slot alone can tell.
#[test]
fn it_opens_what_the_library_seals_with_recipients_and_an_origin() {
    let (bench, keys) = (Bench::new(), keys(&[Kem::X25519, Kem::XWing]));
    for length in [0, 100, CHUNK, CHUNK + 1] {
        let sealer = Sealer::new(CONTEXT)
            .recovery(keys[0].recipient())
            .machine(&bench.enclave, Policy::default())
            .recovery(keys[1].recipient())
            .created(1_700_000_000)
            .label("für", "alle")
            .label("b", "")
            .epoch(7);
        let sealed = sealer.seal(&secret(length)).unwrap();
        assert_eq!(bench.by_machine(&sealed, 1), (secret(length), json!([1, "proved"])), "{length} bytes");
        assert_eq!(bench.by_keys(&sealed, &[&keys[0]]), (secret(length), json!([0, "unchecked"])));
        assert_eq!(bench.by_keys(&sealed, &[&keys[1]]), (secret(length), json!([2, "unchecked"])));
    }
}

/// Any two of three holders, each with the own key or with the share that the library takes out for it.
#[test]
fn it_opens_what_the_library_seals_with_a_threshold() {
    let (bench, keys) = (Bench::new(), keys(&[Kem::X25519, Kem::XWing, Kem::X25519]));
    let sealed = Sealer::new(CONTEXT)
        .machine(&bench.enclave, Policy::default())
        .threshold(2, &recipients(&keys))
        .seal(b"secret")
        .unwrap();
    for pair in [[0, 1], [0, 2], [1, 2]] {
        let opened = bench.by_keys(&sealed, &pair.map(|index| &keys[index]));
        assert_eq!(opened, (b"secret".to_vec(), json!([1, "unchecked"])), "{pair:?}");
    }
    assert_eq!(bench.by_machine(&sealed, 0), (b"secret".to_vec(), json!([0, "proved"])));

    let header = Header::read(&mut sealed.as_slice()).unwrap();
    let share = |key| {
        let share = Share::take(&header, key).unwrap();
        // The text form ends with slot, index and share.
        let text = String::from_utf8(share.to_text().expose().to_vec()).unwrap();
        let value = text[text.len() - 64..].to_owned();
        json!([hex::encode(share.slot()), share.index(), value])
    };
    let reader = json!({ "context": CONTEXT, "shares": [share(&keys[2]), share(&keys[0])] });
    assert_eq!(bench.open(&sealed, &reader), (b"secret".to_vec(), json!([1, "unchecked"])));
}
