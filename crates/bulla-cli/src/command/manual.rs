//! `bulla completions` and `bulla man`, both made from the one definition of the command line.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::Failure;

/// Prints completions.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    clap_complete::generate(shell, &mut Args::command(), "bulla", &mut io::stdout());
    Ok(())
}

/// Writes one page for the command and one for each subcommand.
pub(crate) fn man_pages(directory: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Args::command(), directory)
        .map_err(|error| Failure::file("write man pages to", directory, &error))
}
