//! R12: a second implementation, which shares nothing with the first, agrees with the committed vectors.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_python_implementation_agrees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/check.py");
    let output = Command::new("python3").arg("-B").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42 values agree\n");
}
