//! R100: what was done to a log is found, and where.

use bulla_crypto::{SigningKey, sha256};

use super::*;

/// A log as a provider with a fixed key writes it, in two files.
struct Sample {
    key: SigningKey,
    end: Position,
    lines: Vec<Vec<u8>>,
}

impl Sample {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_seed(bulla_crypto::Secret::new([seed; 32]));
        Self { key, end: Position::GENESIS, lines: Vec::new() }
    }

    fn push(&mut self, entry: &Entry) {
        let line = compose(self.end, 1_700_000_000 + self.end.number, entry);
        self.end = self.end.after(&line);
        self.lines.push(line);
    }

    fn sign(&mut self) {
        let signature = hex::encode(self.key.sign(&checkpoint(self.end)));
        self.push(&Entry::Checkpoint { signature });
    }

    fn stated(&self) -> Stated {
        Stated {
            version: "0.1.0".into(),
            signing_key: hex::encode(self.key.verifying_key().as_bytes()),
            measurement: "11".repeat(32),
            authority: "22".repeat(32),
            policy: "strict/1".into(),
            policy_digest: "33".repeat(32),
            roots: vec!["44".repeat(16)],
            statement: None,
            simulated: true,
        }
    }

    fn release(&mut self, path: &str) {
        self.push(&Entry::Released(Released {
            mode: Mode::V1,
            evidence: "55".repeat(32),
            binding: "measurement".into(),
            instance: None,
            keys: vec![
                serde_json::from_value(serde_json::json!({
                    "path": path, "purpose": "disk", "algorithm": "hkdf-sha256", "length": 32
                }))
                .unwrap(),
            ],
            root_id: "44".repeat(16),
            epoch: 1,
            policy: "strict/1".into(),
            policy_digest: "33".repeat(32),
            simulated: true,
        }));
    }

    fn refuse(&mut self) {
        self.push(&Entry::Refused(Refused {
            mode: Mode::Legacy,
            code: "policy-denied".into(),
            cause: "policy.debug".into(),
            count: 4,
            path: None,
            purpose: None,
            evidence: Some("66".repeat(32)),
            policy: "strict/1".into(),
            policy_digest: "33".repeat(32),
            simulated: true,
        }));
    }

    /// Three batches.
    fn whole() -> Self {
        let mut sample = Self::new(7);
        sample.push(&Entry::Start(sample.stated()));
        sample.sign();
        sample.release("app/db");
        sample.release("app/\"wal\\let\"");
        sample.refuse();
        sample.sign();
        sample.release("app/db");
        sample.sign();
        sample
    }

    fn text(&self) -> Vec<u8> {
        text(&self.lines)
    }
}

fn text(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
}

fn judge(text: &[u8]) -> Verdict {
    let mut verifier = Verifier::new();
    verifier.read("audit.log", text, &mut |_| ()).unwrap();
    verifier.end()
}

fn troubles(lines: &[Vec<u8>]) -> Vec<(u64, Trouble)> {
    let findings = judge(&text(lines)).findings.into_iter();
    findings.map(|finding| (finding.place.line, finding.trouble)).collect()
}

#[test]
fn a_log_that_nobody_touched_is_whole() {
    let sample = Sample::whole();
    let verdict = judge(&sample.text());
    assert_eq!((verdict.findings, verdict.tail), (vec![], None));
    assert_eq!((verdict.first, verdict.end, verdict.signed), (1, Some(sample.end), 7));
    assert_eq!(verdict.statements[0].1, sample.stated());
    assert_eq!(judge(b"").end, None);
}

/// R100: edits, bit by bit. What the last line says of itself is covered by the next one, or by a witnessed head.
#[test]
fn every_flipped_bit_is_found_where_it_is() {
    let good = Sample::whole();
    let last = good.text().len() - good.lines.last().unwrap().len() - 1;
    for at in 0..last {
        for bit in 0..8 {
            let mut bad = good.text();
            bad[at] ^= 1 << bit;
            let verdict = judge(&bad);
            let line = bad[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            let Some(found) = verdict.findings.first() else {
                // Without the line end between them, the last two lines are half a line, as a crash leaves one.
                assert_eq!(
                    (verdict.tail.unwrap().after.unwrap().number, line),
                    (6, 7),
                    "bit {bit} of byte {at}"
                );
                continue;
            };
            assert!(
                found.place.line <= line + 1 && line <= found.place.line + 1,
                "{found:?} for line {line}"
            );
        }
    }
}

/// R100: deletion, repetition, reordering.
#[test]
fn lines_that_are_missing_or_moved_are_named() {
    let lines = Sample::whole().lines;
    for at in 1..lines.len() - 1 {
        let mut cut = lines.clone();
        cut.remove(at);
        let number = at as u64 + 1;
        assert_eq!(troubles(&cut)[0], (number, Trouble::Missing { from: number, to: number }));

        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        let out_of_order = Trouble::OutOfOrder { number, after: number };
        assert_eq!(troubles(&doubled), [(number + 1, out_of_order)]);

        let mut swapped = lines.clone();
        swapped.swap(at, at - 1);
        assert!(!troubles(&swapped).is_empty());
    }
    let mut cut = lines;
    cut.drain(2..5);
    assert_eq!(troubles(&cut), [(3, Trouble::Missing { from: 3, to: 5 })]);
}

/// R100: who changes a line and all hashes after it lacks the signing key.
#[test]
fn recomputed_hashes_show_at_the_next_checkpoint() {
    let mut forged = Sample::new(7);
    let good = Sample::whole();
    for line in &good.lines {
        let mut entry = Line::parse(line).unwrap().entry().unwrap();
        if let Entry::Released(released) = &mut entry {
            released.binding = "owner".into();
        }
        forged.push(&entry);
    }
    let wanted = [(6, Trouble::Signature { from: 2, to: 5 }), (8, Trouble::Signature { from: 2, to: 7 })];
    assert_eq!(troubles(&forged.lines), wanted);

    // With a key of his own he has to state it, and a new start shows.
    let mut other = Sample::new(8);
    other.push(&Entry::Start(other.stated()));
    other.release("app/db");
    other.sign();
    assert_eq!(judge(&other.text()).statements[0].1.signing_key, other.stated().signing_key);
    let both = [good.lines, other.lines].concat();
    assert_eq!(troubles(&both), [(9, Trouble::NewChain { after: 8 })]);
}

/// R100: an inserted line, with and without a place in the chain.
#[test]
fn inserted_lines_are_found() {
    let good = Sample::whole();
    let mut forger = Sample::new(9);
    forger.end = Line::parse(&good.lines[3]).unwrap().follows();
    forger.release("evil");
    let mut lines = good.lines.clone();
    lines.insert(3, forger.lines[0].clone());
    assert_eq!(troubles(&lines)[0].0, 5);
    let mut lines = good.lines;
    lines.insert(3, b"{}".to_vec());
    assert_eq!(troubles(&lines), [(4, Trouble::NoLine)]);
}

/// A log that was cut off between two batches is as good as a shorter one; only a head from elsewhere tells.
#[test]
fn a_cut_shows_against_a_witnessed_head() {
    let sample = Sample::whole();
    let witness = |lines: &[Vec<u8>]| {
        let mut verifier = Verifier::new().witness(sha256(&[&sample.lines[6]]));
        verifier.read("audit.log", &*text(lines), &mut |_| ()).unwrap();
        verifier.end()
    };
    assert_eq!(witness(&sample.lines).witnessed, Some(7));
    let cut = witness(&sample.lines[..6]);
    assert_eq!((cut.findings, cut.witnessed), (vec![], None));
    assert_eq!(judge(&text(&sample.lines[..7])).unsigned(), 1);
}

/// What a crash left is no trouble if the provider closed exactly that; and is trouble if it closed something else.
#[test]
fn only_the_bytes_that_are_named_are_excused() {
    let mut sample = Sample::whole();
    let torn = b"\x00\x00{\"number\":9,\n{\"half\n";
    let before = sample.text();
    let lines = sample.lines.len();
    let (bytes, hash) = (torn.len() as u64, hex::encode(sha256(&[torn])));
    sample.push(&Entry::Recovered(Recovered { bytes, sha256: hash, lost: 0 }));
    sample.sign();
    sample.release("app/db");
    sample.sign();
    let after = text(&sample.lines[lines..]);
    let verdict = judge(&[&before, &torn[..], &after].concat());
    assert_eq!((verdict.findings, verdict.tail, verdict.recovered.len()), (vec![], None, 1));
    assert_eq!(verdict.end, Some(sample.end));
    let as_long = [&[b'x'; 21][..], b"\n"].concat();
    assert_eq!(as_long.len(), torn.len());
    for other in [&b""[..], b"other\n", &as_long, &torn[1..], &[&torn[..], b"x\n"].concat()] {
        assert!(!judge(&[&before, other, &after].concat()).findings.is_empty());
    }
    // Nobody has closed it yet.
    let verdict = judge(&[&before, &torn[..]].concat());
    let tail = verdict.tail.unwrap();
    assert_eq!((tail.bytes, tail.after.unwrap().number, tail.findings), (bytes, 8, 0));
    assert!(verdict.findings.is_empty());
    // Whole lines that do not follow are more than a crash.
    let verdict = judge(&[&before, sample.lines[9].as_slice(), b"\n"].concat());
    assert!(!verdict.findings.is_empty());
}

/// Bounded: a line without end, and trouble without end.
#[test]
fn endless_trouble_is_counted_and_not_kept() {
    let good = Sample::whole();
    let endless = vec![b'{'; 3 * LINE_MAX];
    let verdict = judge(&[good.text(), endless.clone(), b"\n".to_vec(), good.lines[0].clone()].concat());
    assert_eq!(verdict.tail.unwrap().bytes, (endless.len() + 1 + good.lines[0].len()) as u64);
    let verdict = judge(&b"\n".repeat(5_000));
    assert_eq!((verdict.findings.len() as u64 + verdict.more, verdict.tail.unwrap().bytes), (0, 5_000));
    let verdict = judge(&[&b"\n".repeat(5_000), good.text().as_slice()].concat());
    assert_eq!((verdict.findings.len(), verdict.more), (1_000, 4_000));
}

/// The committed log, byte for byte; `tests/python/audit.py` judges the same file.
#[test]
fn the_vectors_are_what_is_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/audit-v1.log");
    if std::env::var_os("BULLA_WRITE_VECTORS").is_some() {
        std::fs::write(path, Sample::whole().text()).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), Sample::whole().text());
}
