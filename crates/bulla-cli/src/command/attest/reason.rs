//! Why evidence was refused, part by part.

use bulla_attest::{Error, Reason};
use serde_json::{Value, json};

use crate::say;

pub(super) fn json(reason: &Reason) -> Value {
    json!({
        "clause": reason.clause,
        "wanted": reason.wanted,
        "found": reason.found,
        "remedy": reason.remedy,
    })
}

pub(super) fn print(error: &Error) {
    let reason = error.reason();
    say::result(format_args!("refused [{}]", reason.code));
    let parts = [
        ("rule", reason.clause),
        ("wanted", reason.wanted),
        ("found", reason.found),
        ("what to do", reason.remedy),
    ];
    parts.into_iter().for_each(|(name, text)| say::field(name, &text.into()));
}
