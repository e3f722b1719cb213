//! What the sources themselves must not say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// The library code of every crate, without its tests: the file, the number of the line, the line.
fn lines() -> Vec<(PathBuf, usize, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut folders: Vec<_> =
        fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
    let mut lines = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" && name != "vectors" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "vectors.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let library = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let numbered =
                    library.lines().zip(1..).map(|(line, number)| (path.clone(), number, line.into()));
                lines.extend(numbered);
            }
        }
    }
    assert!(lines.len() > 10_000, "{} lines", lines.len());
    lines
}

/// R64: no secret is compared by `==`, which ends at the first byte that differs. Their types have none
/// (`bulla_crypto::Secret`); this is for the bytes that are taken out of them.
#[test]
fn r64_secrets_are_not_compared_byte_by_byte() {
    let compared = |line: &str| {
        let of_bytes = line.contains("expose()") && !line.contains("expose().len()");
        of_bytes && (line.contains(" == ") || line.contains(" != "))
    };
    assert!(compared("if key.expose() == other"));
    let found: Vec<_> = lines()
        .into_iter()
        .filter(|(_, _, line)| !line.trim_start().starts_with("//") && compared(line))
        .map(|(path, number, line)| format!("{}:{number}: {line}", path.display()))
        .collect();
    assert_eq!(found, [""; 0]);
}

/// R84: no name promises to erase anything, and whatever is written about it says that nothing is.
#[test]
fn r84_nothing_claims_to_erase() {
    let mut spoken = 0;
    for (path, number, line) in lines() {
        let place = format!("{}:{number}: {line}", path.display());
        let lower = line.to_lowercase();
        if ["fn erase", "fn shred", "fn destroy", "struct erase"].iter().any(|name| lower.contains(name)) {
            panic!("{place}");
        }
        if ["erase", "erasing", "erasure"].iter().any(|word| lower.contains(word)) {
            let denies = ["not erasure", "nothing is erased", "erases nothing", "erases"];
            assert!(denies.iter().any(|words| lower.contains(words)), "{place}");
            spoken += 1;
        }
    }
    assert!(spoken >= 3, "it is said");
}
