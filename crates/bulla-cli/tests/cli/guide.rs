//! The commands of the documentation, as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_command_about_sealing_ends_as_it_says() {
    run("docs/sealing.md");
}

#[test]
fn every_command_about_attestation_ends_as_it_says() {
    run("docs/attestation.md");
}

#[test]
fn every_command_about_providers_ends_as_it_says() {
    run("docs/provider.md");
}

#[test]
fn every_command_about_machines_ends_as_it_says() {
    run("docs/machines.md");
}

/// Every line of every block runs and ends as it says, `!` for a refusal.
fn run(guide: &str) {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(guide);
    let guide = fs::read_to_string(guide).unwrap();
    let blocks = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    let refused = lines.iter().filter(|line| line.starts_with("! ")).count();
    assert!(lines.len() > 20 && refused > 3);

    // A refusal that does not come must end the script, which `!` alone does not.
    let script: String = lines
        .iter()
        .map(|line| match line.strip_prefix("! ") {
            Some(command) => format!("if {command}\nthen echo 'not refused' >&2; exit 1; fi\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_bulla")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        // What a script has started ends with it, however that ends.
        .args(["-euxo", "pipefail", "-c", &format!("trap 'kill $(jobs -p) || true' EXIT\n{script}")])
        .current_dir(folder.path())
        .env("PATH", path)
        .env_remove("BULLA_MACHINE")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
