//! The one door to the terminal. Results go to standard output, talk to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fmt;
use std::io::{self, Write};

use crate::failure::Failure;

/// A line of a result.
pub(crate) fn result(line: impl fmt::Display) {
    // A reader that went away is not our failure.
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line of talk.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "bulla: {line}");
}

/// Why the command failed.
pub(crate) fn failure(failure: &Failure) {
    note(format_args!("error: {failure} [{}]", failure.code));
}
