//! What other SDKs seal, made by a second implementation of `docs/spec/import.md` and of the simulated processor,
//! `python/sdk.py`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Frozen, and nobody's hand changed them. `bulla`'s own tests open them.
#[test]
fn the_vectors_are_made_the_same_again() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (made, kept) = (tempfile::tempdir().unwrap(), here.join("../crates/bulla/tests/import/vectors"));
    let script = here.join("python/sdk.py");
    let output =
        Command::new("/usr/bin/python3").arg("-B").arg(script).arg("make").arg(made.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = |path: &Path| -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert!(names(&kept).len() > 100);
    assert_eq!(names(made.path()), names(&kept));
    for name in names(&kept) {
        assert!(
            fs::read(made.path().join(&name)).unwrap() == fs::read(kept.join(&name)).unwrap(),
            "{name:?}"
        );
    }
}
