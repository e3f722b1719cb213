//! R12: a second implementation, which shares nothing with the first, agrees with the committed vectors of
//! `docs/spec/documents.md`, signatures included.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_python_implementation_agrees() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("/usr/bin/python3")
        .arg("-B")
        .arg(here.join("python/documents.py"))
        .arg(here.join("../crates/bulla-protocol/tests/vectors/documents-v1.json"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "91 values agree\n");
}
