//! `bulla audit`: reading what a provider has recorded.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;

use bulla_provider::audit::{Line, Verifier};

use crate::args::Audit;
use crate::failure::Failure;

mod show;
mod verify;

/// Runs a subcommand.
pub(crate) fn run(subcommand: &Audit) -> Result<(), Failure> {
    match subcommand {
        Audit::Verify(options) => verify::run(options),
        Audit::Show(options) => show::run(options),
    }
}

/// The files of the log: of a folder, its full files in their order and then the one that is written.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |error: &std::io::Error| Failure::file("list", path, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
            let name = entry.map_err(|error| failed(&error))?.file_name();
            let of_log =
                name.to_str().is_some_and(|name| name.starts_with("audit.") && name.ends_with(".log"));
            found.extend(of_log.then(|| path.join(name)));
        }
        if found.is_empty() {
            return Err(Failure::usage(format!("{} holds no audit.log", path.display())));
        }
        // Digits sort before letters, so the file that is written comes last.
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Has every file read.
fn read(verifier: &mut Verifier, files: &[PathBuf], each: &mut dyn FnMut(&Line<'_>)) -> Result<(), Failure> {
    for path in files {
        let failed = |error: &std::io::Error| Failure::file("read", path, error);
        let file = File::open(path).map_err(|error| failed(&error))?;
        let reader = BufReader::with_capacity(256 * 1024, file);
        verifier.read(&path.display().to_string(), reader, each).map_err(|error| failed(&error))?;
    }
    Ok(())
}
