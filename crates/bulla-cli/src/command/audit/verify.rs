//! `bulla audit verify`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bulla_crypto::sha256;
use bulla_protocol::v1::Statement;
use bulla_provider::audit::{Place, Stated, Verdict, Verifier};
use serde_json::json;

use crate::args::AuditVerify;
use crate::failure::Failure;
use crate::say;

/// More than a statement has, in bytes.
const STATEMENT_MAX: u64 = 256 * 1024;
/// Where report data and MRENCLAVE stand in a quote of version 3 or 4: behind a header of 48 bytes.
const MRENCLAVE: std::ops::Range<usize> = 48 + 64..48 + 96;
const REPORT_DATA: std::ops::Range<usize> = 48 + 320..48 + 384;

/// Checks a log. What is wrong is printed, all of it, before the command fails.
pub(super) fn run(options: &AuditVerify) -> Result<(), Failure> {
    let files = super::files(&options.files)?;
    let mut verifier = Verifier::new();
    let head = options.head.as_deref().map(|head| hash(head, "--head")).transpose()?;
    if let Some(head) = head {
        verifier = verifier.witness(head);
    }
    super::read(&mut verifier, &files, &mut |_| ())?;
    let verdict = verifier.end();
    let beside = files.first().and_then(|file| file.parent()).map(|folder| folder.join("statements"));
    let folder = options.statements.clone().or(beside).unwrap_or_default();
    let signers = signers(&verdict, &folder);
    let troubles = troubles(options, head, &verdict, &signers)?;

    if options.json {
        print_json(&verdict, &signers, &troubles);
    } else {
        print(&verdict, &signers, &troubles);
    }
    if troubles.is_empty() {
        return Ok(());
    }
    Err(Failure::audit("the audit log is not what its provider wrote: see above"))
}

/// Who signed, one for each key.
struct Signer {
    place: Place,
    stated: Stated,
    /// The kept statement, or why it proves nothing.
    kept: Result<PathBuf, &'static str>,
    /// What the quote in it must cover.
    report_data: Option<String>,
}

fn signers(verdict: &Verdict, folder: &Path) -> Vec<Signer> {
    let mut seen = BTreeSet::new();
    let new =
        |(_, stated): &&(Place, Stated)| seen.insert((stated.signing_key.clone(), stated.statement.clone()));
    let stated = verdict.statements.iter().filter(new);
    stated
        .map(|(place, stated)| {
            let (kept, report_data) = match kept(stated, folder) {
                Ok((path, data)) => (Ok(path), Some(hex::encode(data))),
                Err(reason) => (Err(reason), None),
            };
            Signer { place: place.clone(), stated: stated.clone(), kept, report_data }
        })
        .collect()
}

/// The statement whose hash the log has: its quote covers the key that signs the log, in this enclave.
fn kept(stated: &Stated, folder: &Path) -> Result<(PathBuf, [u8; 64]), &'static str> {
    let name =
        stated.statement.as_deref().ok_or("the provider could not prove itself when it stated this")?;
    hash(name, "statement").map_err(|_| "the log names no hash of a statement")?;
    let path = folder.join(format!("{name}.json"));
    if fs::metadata(&path).is_ok_and(|file| file.len() > STATEMENT_MAX) {
        return Err("the kept statement is too large");
    }
    let text = fs::read(&path).map_err(|_| "the statement was not kept")?;
    if hex::encode(sha256(&[&text])) != *name {
        return Err("the kept statement was changed");
    }
    let statement: Statement = serde_json::from_slice(&text).map_err(|_| "the kept statement is damaged")?;
    let data = *statement.report_data().as_bytes();
    let covered = hex::encode(statement.signing_key) == stated.signing_key
        && hex::encode(statement.authority) == stated.authority
        && hex::encode(statement.policy_digest) == stated.policy_digest;
    if !covered || statement.quote.get(REPORT_DATA) != Some(data.as_slice()) {
        return Err("the kept quote is not about this key");
    }
    if statement.quote.get(MRENCLAVE).map(hex::encode).as_ref() != Some(&stated.measurement) {
        return Err("the kept quote is of another enclave");
    }
    Ok((path, data))
}

/// Everything that is wrong, in words.
fn troubles(
    options: &AuditVerify,
    head: Option<[u8; 32]>,
    verdict: &Verdict,
    signers: &[Signer],
) -> Result<Vec<String>, Failure> {
    let mut troubles: Vec<String> =
        verdict.findings.iter().map(|finding| format!("{}: {}", finding.place, finding.trouble)).collect();
    if verdict.more > 0 {
        troubles.push(format!("{} more like these", verdict.more));
    }
    if verdict.end.is_none() {
        troubles.push("there is not one line of an audit log".into());
    }
    if head.is_some() && verdict.witnessed.is_none() {
        troubles
            .push("no line has the witnessed head: the log was cut off, or it is another provider's".into());
    }
    let pins = [(&options.provider_id, "--provider-id"), (&options.authority, "--authority")];
    for (pin, name) in pins {
        let Some(pin) = pin else { continue };
        let pin = hex::encode(hash(pin, name)?);
        for Signer { place, stated, .. } in signers {
            let found = if name == "--authority" { &stated.authority } else { &stated.measurement };
            if *found != pin {
                troubles.push(format!("{place}: signed by a provider of another {}: {found}", &name[2..]));
            }
        }
    }
    if options.provider_id.is_some() {
        for signer in signers {
            if let Err(reason) = signer.kept {
                troubles.push(format!("{}: nothing shows whose key this is: {reason}", signer.place));
            }
        }
        if verdict.unchecked > 0 || signers.is_empty() {
            troubles.push("signatures whose key is stated in an earlier file: give that one too".into());
        }
    }
    Ok(troubles)
}

fn print(verdict: &Verdict, signers: &[Signer], troubles: &[String]) {
    if let Some(end) = verdict.end {
        say::result(format_args!("entries        {} to {}", verdict.first, end.number));
        say::result(format_args!("head           {}", hex::encode(end.head)));
        say::result(format_args!("signed to      {}", verdict.signed));
    }
    if let Some(number) = verdict.witnessed {
        say::result(format_args!("witnessed      entry {number}"));
    }
    for Signer { place, stated, kept, report_data } in signers {
        say::result(format_args!("signed by      {} from {place} on", say::escaped(&stated.signing_key)));
        say::result(format_args!("  provider id  {}", say::escaped(&stated.measurement)));
        say::result(format_args!("  authority    {}", say::escaped(&stated.authority)));
        match (kept, report_data) {
            (Ok(path), Some(data)) => {
                say::result(format_args!("  statement    {}", path.display()));
                say::result(format_args!("  report data  {data}"));
            }
            (Err(reason), _) => say::result(format_args!("  not proved   {reason}")),
            _ => {}
        }
        if stated.simulated {
            say::result("  SIMULATED    this machine protects nothing");
        }
    }
    if verdict.first > 1 {
        say::note(format_args!("entries 1 to {} are in files that were not given", verdict.first - 1));
    }
    for (place, recovered) in &verdict.recovered {
        say::note(format_args!(
            "{place}: a crash or failing disk left {} bytes, which the provider closed; {} entries were lost, and no key of theirs left",
            recovered.bytes, recovered.lost
        ));
    }
    if let Some(tail) = &verdict.tail {
        say::note(format_args!(
            "{} bytes behind the last line are none: a crash, which the next start closes, or a provider that is writing",
            tail.bytes
        ));
    }
    if verdict.unsigned() > 0 {
        say::note(format_args!("the last {} entries are not signed yet", verdict.unsigned()));
    }
    for trouble in troubles {
        say::result(say::escaped(trouble));
    }
}

fn print_json(verdict: &Verdict, signers: &[Signer], troubles: &[String]) {
    let signers: Vec<_> = signers
        .iter()
        .map(|signer| {
            json!({
                "place": signer.place.to_string(),
                "stated": signer.stated,
                "statement": signer.kept.as_ref().ok(),
                "not_proved": signer.kept.as_ref().err(),
                "report_data": signer.report_data,
            })
        })
        .collect();
    say::result(json!({
        "first": verdict.first,
        "last": verdict.end.map(|end| end.number),
        "head": verdict.end.map(|end| hex::encode(end.head)),
        "signed": verdict.signed,
        "witnessed": verdict.witnessed,
        "recovered": verdict.recovered.iter().map(|(_, recovered)| recovered).collect::<Vec<_>>(),
        "tail": verdict.tail.as_ref().map(|tail| tail.bytes),
        "signers": signers,
        "troubles": troubles,
    }));
}

fn hash(text: &str, name: &str) -> Result<[u8; 32], Failure> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash)
        .map_err(|_| Failure::usage(format!("{name} is not 64 hexadecimal digits")))?;
    Ok(hash)
}
