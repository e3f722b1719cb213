//! The one door to the terminal. Results go to standard output, talk to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fmt;
use std::io::{self, Write};

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::failure::Failure;

/// A line of a result.
pub(crate) fn result(line: impl fmt::Display) {
    // A reader that went away is not our failure.
    let _ = writeln!(io::stdout(), "{line}");
}

/// A named value of a result. Texts are escaped: anyone can write an envelope, and the terminal obeys what it is shown.
pub(crate) fn field(name: &str, value: &Value) {
    match value.as_str() {
        Some(text) => result(format_args!("{name:<14} {}", escaped(text))),
        None => result(format_args!("{name:<14} {value}")),
    }
}

/// A text that the terminal shows and does not obey.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |character: char| match character {
        '\'' | '"' => character.to_string(),
        _ => character.escape_debug().to_string(),
    };
    text.chars().map(escape).collect()
}

/// The day of a time in Unix seconds.
pub(crate) fn date(unix: u64) -> String {
    let at = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    at.and_then(|at| at.format(format_description!("[year]-[month]-[day]")).ok())
        .unwrap_or_else(|| unix.to_string())
}

/// A line of talk.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "bulla: {line}");
}

/// Why the command failed.
pub(crate) fn failure(failure: &Failure) {
    note(format_args!("error: {failure} [{}]", failure.code));
}
