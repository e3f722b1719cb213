//! `bulla completions` and `bulla man`, both made from the one definition of the command line.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::Failure;
use crate::files;

/// Prints completions.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "bulla", &mut script);
    files::output(None, |output| output.write_all(&script))
}

/// Writes one page for the command and one for each subcommand.
pub(crate) fn man_pages(directory: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Args::command(), directory)
        .map_err(|error| Failure::file("write man pages to", directory, &error))
}
