//! The envelope format against its second implementation, `python/envelope.py`, which was written from
//! `docs/spec/envelope.md` (R12, R56).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bulla::Header;
use bulla_sim::{EnclaveIdentity, Machine};
use bulla_tee::Tee;

const CHUNK: usize = 64 * 1024;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/bulla/tests/vectors")
}

fn python(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/envelope.py");
    let output = Command::new("/usr/bin/python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn each_vector_gives_what_its_description_says() {
    let count = fs::read_dir(vectors()).unwrap().count() / 2;
    let checked = python(&["check", vectors().to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), count.to_string());
}

/// Frozen with the format, and nobody's hand changed them.
#[test]
fn the_vectors_are_made_the_same_again() {
    let made = tempfile::tempdir().unwrap();
    python(&["make", made.path().to_str().unwrap()]);
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

#[test]
fn it_opens_what_the_library_seals() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::create(folder.path().join("machine")).unwrap();
    let enclave = machine.enclave(&EnclaveIdentity::of_this_process(&machine).unwrap()).unwrap();
    for length in [0, 1, CHUNK, 2 * CHUNK + 1] {
        let secret: Vec<u8> = (0..length).map(|i| (i % 253) as u8).collect();
        let mut sealed = Vec::new();
        bulla::seal_stream(&enclave, "naïve ✓", Some(length as u64), secret.as_slice(), &mut sealed).unwrap();
        let path = folder.path().join("sealed");
        fs::write(&path, &sealed).unwrap();
        let header = Header::read(&mut sealed.as_slice()).unwrap();
        let key = hex::encode(enclave.derive(header.slots()[0].request()).unwrap().expose());
        let opened = python(&["open", path.to_str().unwrap(), "naïve ✓", &key]);
        assert!(opened.stdout == secret, "{length} bytes");
    }
}
