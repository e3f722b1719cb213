//! A picture of who signed what, until when.

use bulla_attest::Signer;
use serde_json::{Value, json};

use crate::say;

/// One line for each signer, those that it signed below it.
pub(super) fn lines(roots: &[Signer]) -> Vec<String> {
    let mut lines = Vec::new();
    for root in roots {
        lines.push(line("", root));
        branches("", &root.signs, &mut lines);
    }
    lines
}

/// The same as JSON.
pub(super) fn json(signer: &Signer) -> Value {
    json!({
        "name": signer.name,
        "detail": signer.detail,
        "valid_from": signer.window.map(|(from, _)| from),
        "valid_until": signer.window.map(|(_, until)| until),
        "signs": signer.signs.iter().map(json).collect::<Vec<_>>(),
    })
}

fn branches(indent: &str, signers: &[Signer], lines: &mut Vec<String>) {
    let Some((last, before)) = signers.split_last() else { return };
    for signer in before {
        lines.push(line(&format!("{indent}├─ "), signer));
        branches(&format!("{indent}│  "), &signer.signs, lines);
    }
    lines.push(line(&format!("{indent}└─ "), last));
    branches(&format!("{indent}   "), &last.signs, lines);
}

/// Names come from certificates that anyone can make, so what the terminal would obey is escaped.
fn line(indent: &str, signer: &Signer) -> String {
    let (name, detail) = (say::escaped(&signer.name), say::escaped(&signer.detail));
    let dates = signer.window.map(|(from, until)| format!(", {} to {}", say::date(from), say::date(until)));
    format!("{indent}{name} ({detail}){}", dates.unwrap_or_default())
}
