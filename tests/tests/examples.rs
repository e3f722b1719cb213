//! The examples, as their readers run them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::process::Command;

use support::Bulla;

#[path = "../../crates/bulla-cli/tests/cli/support.rs"]
mod support;

#[test]
fn example_sqlcipher() {
    example("sqlcipher.sh");
}

#[test]
fn example_mariadb() {
    example("mariadb.sh");
}

#[test]
fn example_luks() {
    example("luks.sh");
}

#[test]
fn example_password_file() {
    example("password-file.sh");
}

/// R5, R45, R75, R79, R83, R87, R100, P5, P6: a disk outlives a rotation, an update of the microcode, of the guest's image and of the
/// provider's build, and the loss of its host; who was refused stands in the audit log with the reason.
#[test]
fn example_provider() {
    example("provider.sh");
}

/// R43: from an earlier provider to this one, by a second key slot.
#[test]
fn example_migrate() {
    example("migrate.sh");
}

/// Runs a script as its reader does, from another folder. It insists on everything itself.
#[track_caller]
fn example(name: &str) {
    let bulla = Bulla::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let mut command = Command::new(script);
    command.env("BULLA", bulla.program()).env_remove("BULLA_MACHINE").current_dir(bulla.path("."));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(bulla.names(".").is_empty(), "it leaves nothing behind");
}
