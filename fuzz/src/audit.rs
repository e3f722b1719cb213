//! Audit logs.

use bulla_provider::audit::{Line, Verifier, advice};

use crate::edits::Script;

/// A log of three batches, as a provider writes it.
const LOG: &[u8] = include_bytes!("../../crates/bulla-provider/tests/vectors/audit-v1.log");

/// Edits the committed log as the bytes say, or takes them as a log if they begin with a brace, and judges it; whether it is
/// found to be as it was written.
pub fn audit(data: &[u8]) -> bool {
    let mut log = LOG.to_vec();
    if data.first() == Some(&b'{') {
        log = data.to_vec();
    } else {
        Script::new(data).edit(&mut log);
    }
    let mut lines = Vec::new();
    let mut verifier = Verifier::new();
    verifier.read("log", &*log, &mut |line| lines.push(line.bytes().to_vec())).unwrap();
    let verdict = verifier.end();
    for line in &lines {
        let line = Line::parse(line).unwrap();
        let _ = (line.head(), line.entry());
    }
    let _ = std::str::from_utf8(data).map(advice);
    assert!(verdict.end.is_none_or(|end| verdict.signed < end.number));
    assert!(verdict.findings.len() as u64 <= 1_000);
    // Nothing but what was written passes: a beginning of it, and at most half a line behind.
    let sound = verdict.findings.is_empty() && verdict.signed > 0 && verdict.first == 1;
    if sound && data.first() != Some(&b'{') {
        let signed = usize::try_from(verdict.signed).unwrap();
        let covered: Vec<_> = lines.iter().take(signed).map(Vec::as_slice).collect();
        let written: Vec<_> = LOG.split(|byte| *byte == b'\n').take(signed).collect();
        assert_eq!(covered, written, "an edit was not found");
    }
    sound && log == LOG
}
