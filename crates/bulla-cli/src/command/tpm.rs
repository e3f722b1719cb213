//! `bulla tpm`: who a TPM is, what its authorities approve of, and its counters.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_tee::tpm::{NAMES, PcrSet, TpmIdentity};
use bulla_tee::{Anchor, EvidenceKind, Identity, Policy, Tee};
use bulla_tpm::{Approver, Counter, Endorsement, Tpm};
use serde_json::{Map, Value, json};

use crate::args::{
    TpmAnswer, TpmApprove, TpmApprover, TpmCommand, TpmCounter, TpmCounterStatus, TpmEnrol, TpmOutput,
    TpmQuoteFor, TpmShow,
};
use crate::command::attest::tpm::challenge;
use crate::failure::Failure;
use crate::{anchor, files, machine, openers, say};

const KEY_LIMIT: u64 = 64 * 1024;

/// Runs a subcommand.
pub(crate) fn run(machine: Option<&str>, subcommand: &TpmCommand) -> Result<(), Failure> {
    match subcommand {
        TpmCommand::Show(options) => show(&tpm(machine)?, options),
        TpmCommand::Keys(options) => keys(&tpm(machine)?, options),
        TpmCommand::Answer(options) => answer(&tpm(machine)?, options),
        TpmCommand::Quote(options) => quote(&tpm(machine)?, options),
        TpmCommand::Approver(options) => approver(options),
        TpmCommand::Approve(options) => approve(machine, options),
        TpmCommand::Counter(TpmCounter::Enrol(options)) => enrol(tpm(machine)?, options),
        TpmCommand::Counter(TpmCounter::Status(options)) => status(machine, options),
        TpmCommand::Counter(TpmCounter::Advance(options)) => {
            let counter = anchor::counter(&options.enrolment, address(machine)?)?;
            counter.advance(&counter.enrolment().id, options.to)?;
            Ok(())
        }
    }
}

/// The address of the TPM that the machine string names; that of the kernel's first one if none is given.
fn address(machine: Option<&str>) -> Result<&str, Failure> {
    match machine.map(|machine| machine.split_once(':').unwrap_or((machine, ""))) {
        None => Ok(""),
        Some(("tpm", address)) => Ok(address),
        Some((kind, _)) => {
            Err(Failure::usage(format!("this is for a TPM, and the machine is `{kind}`: --machine tpm")))
        }
    }
}

fn tpm(machine: Option<&str>) -> Result<Tpm, Failure> {
    machine::tpm_at(address(machine)?)
}

fn registers(tpm: &Tpm) -> Result<TpmIdentity, Failure> {
    match tpm.identity()? {
        Identity::Tpm(identity) => Ok(*identity),
        _ => Err(Failure::other("a TPM says that it is something else")),
    }
}

fn show(tpm: &Tpm, options: &TpmShow) -> Result<(), Failure> {
    let identity = registers(tpm)?;
    let mut lines: Vec<(&str, Value)> = vec![
        ("endorsement_key", hex::encode(tpm.endorsement_key()?).into()),
        ("storage_key", hex::encode(identity.parent).into()),
    ];
    lines.extend(NAMES.into_iter().zip(identity.pcrs.map(|value| Value::from(hex::encode(value)))));
    print(options.json, &lines);
    Ok(())
}

fn print(as_json: bool, lines: &[(&str, Value)]) {
    if as_json {
        let lines: Map<_, _> =
            lines.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        say::result(Value::from(lines));
        return;
    }
    lines.iter().for_each(|(name, value)| say::field(name, value));
}

fn write(output: &TpmOutput, bytes: &[u8]) -> Result<(), Failure> {
    files::output(output.output.as_deref(), |file| file.write_all(bytes))
}

fn keys(tpm: &Tpm, options: &TpmOutput) -> Result<(), Failure> {
    let (endorsement, attestation) = tpm.points()?;
    let certificates: Vec<_> = tpm.certificates()?.iter().map(|der| STANDARD.encode(der)).collect();
    let keys = json!({
        "endorsement_key": hex::encode(endorsement),
        "attestation_key": hex::encode(attestation),
        "certificates": certificates,
    });
    write(options, format!("{keys}\n").as_bytes())
}

fn answer(tpm: &Tpm, options: &TpmAnswer) -> Result<(), Failure> {
    let question: Value = serde_json::from_slice(&files::read(&options.question, KEY_LIMIT)?)
        .map_err(|_| Failure::usage("it is not JSON").about(&options.question))?;
    let part =
        |name: &str| question.get(name).and_then(Value::as_str).and_then(|digits| hex::decode(digits).ok());
    let (Some(blob), Some(seed)) = (part("blob"), part("seed")) else {
        return Err(Failure::usage("it is no question of `bulla attest tpm ask`").about(&options.question));
    };
    let by = match question.get("by").and_then(Value::as_str) {
        Some("rsa") => Endorsement::Rsa,
        _ => Endorsement::Ecc,
    };
    let answer = tpm.activate(by, &blob, &seed)?;
    write(&options.output, format!("{}\n", hex::encode(answer.expose())).as_bytes())
}

fn quote(tpm: &Tpm, options: &TpmQuoteFor) -> Result<(), Failure> {
    let evidence = tpm.attest(&challenge(&options.nonce)?, EvidenceKind::Quote)?;
    write(&options.output, evidence.bytes())
}

fn approver(options: &TpmApprover) -> Result<(), Failure> {
    let approver = if options.new {
        let key = Approver::new_key()?;
        files::create(&options.key, key.expose())?;
        say::note(format_args!("{} approves for whoever holds it: keep it offline", options.key.display()));
        Approver::from_pem(&key)?
    } else {
        read(&options.key)?
    };
    say::result(hex::encode(approver.public()));
    Ok(())
}

fn read(path: &std::path::Path) -> Result<Approver, Failure> {
    openers::warn_if_others_can_read(path);
    let text = files::secret(path, KEY_LIMIT)?;
    Approver::from_pem(&text).map_err(|error| Failure::from(error).about(path))
}

fn approve(machine: Option<&str>, options: &TpmApprove) -> Result<(), Failure> {
    let approver = read(&options.key)?;
    let (pcrs, state) = match (&options.state, &options.registers) {
        (Some(planned), _) => planned_state(planned)?,
        (None, Some(numbers)) => present_state(&registers(&tpm(machine)?)?, numbers)?,
        (None, None) => return Err(Failure::usage("say which state: --state or --registers")),
    };
    let approval = approver.approve(&options.label, pcrs, &state)?;
    files::output(Some(&options.output), |output| output.write_all(&approval.encode()))?;
    say::note(format_args!(
        "{} approves, for the label {:?}, of registers {pcrs}:",
        hex::encode(approver.public()),
        options.label
    ));
    for (register, value) in pcrs.iter().zip(state.chunks(32)) {
        say::note(format_args!("PCR{register} {}", hex::encode(value)));
    }
    Ok(())
}

fn set(numbers: &str) -> Result<PcrSet, Failure> {
    let policy: Policy = format!("pcr:{numbers}").parse()?;
    policy.pcr_policy().map(|policy| policy.pcrs).ok_or_else(|| Failure::usage("registers are as in 4+7"))
}

/// `N:HEX+N:HEX`, which is a planned state of a policy of these registers.
fn planned_state(text: &str) -> Result<(PcrSet, Vec<u8>), Failure> {
    let numbers: Vec<_> =
        text.split('+').map(|pair| pair.split_once(':').map_or(pair, |(number, _)| number)).collect();
    let policy: Policy = format!("pcr:{},or={text}", numbers.join("+")).parse()?;
    let named = policy.pcr_policy().and_then(|policy| Some((policy.pcrs, policy.alternatives.first()?)));
    let (pcrs, values) = named.ok_or_else(|| Failure::usage("a state is as in 4:HEX+7:HEX"))?;
    Ok((pcrs, values.values().flatten().copied().collect()))
}

fn present_state(identity: &TpmIdentity, numbers: &str) -> Result<(PcrSet, Vec<u8>), Failure> {
    let pcrs = set(numbers)?;
    Ok((pcrs, pcrs.iter().filter_map(|register| identity.pcrs.get(register)).flatten().copied().collect()))
}

fn enrol(tpm: Tpm, options: &TpmEnrol) -> Result<(), Failure> {
    // Before there is a counter without one.
    if options.output.exists() {
        let path = options.output.display();
        return Err(Failure::usage(format!(
            "{path} exists, and may be the enrolment of a counter: name another"
        )));
    }
    let context = match (&options.context, &options.ring) {
        (Some(context), _) => context.clone(),
        (None, Some(ring)) => {
            let (name, role) = ring.split_once('/').unwrap_or((ring, "data"));
            bulla::Ring::context(name, role)?
        }
        (None, None) => return Err(Failure::usage("say what it counts: --context or --ring")),
    };
    let counter = Counter::enrol(tpm, options.index, anchor::id(&context))?;
    files::create(&options.output, &counter.enrolment().encode())?;
    let (path, key) = (options.output.display(), hex::encode(counter.enrolment().endorsement_key));
    say::note(format_args!(
        "pinned the TPM with the endorsement key {key}: compare it with what you know of the machine"
    ));
    say::note(format_args!("keep {path} where nobody can exchange it; use it as --anchor tpm:{path}"));
    Ok(())
}

fn status(machine: Option<&str>, options: &TpmCounterStatus) -> Result<(), Failure> {
    let counter = anchor::counter(&options.enrolment, address(machine)?)?;
    let enrolment = counter.enrolment();
    let reading = counter.highest(&enrolment.id)?;
    print(
        options.json,
        &[
            ("epoch", reading.highest.into()),
            ("authenticated", json!(reading.authenticated)),
            ("endorsement_key", hex::encode(enrolment.endorsement_key).into()),
            ("index", format!("0x{:08x}", enrolment.index).into()),
            ("id", hex::encode(enrolment.id).into()),
        ],
    );
    Ok(())
}
