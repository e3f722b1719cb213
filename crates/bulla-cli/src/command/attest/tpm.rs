//! TPMs: their quotes, and whose an attestation key is.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_attest::Error;
use bulla_attest::tpm::{
    Activation, EndorsementKey, Pending, TpmClaims, TpmPolicy, attestation_key_name, endorsement_key_name,
    verify_endorsement_certificate, verify_tpm_quote,
};
use bulla_crypto::{Role, RoleHash, Secret};
use bulla_tee::tpm::{NAMES, TpmQuote};
use serde_json::{Value, json};

use super::{claims, reason, refusal};
use crate::args::{AttestTpm, Expected, TpmAccept, TpmAsk, Verify};
use crate::failure::Failure;
use crate::{files, machine, say};

/// Bytes of a file with keys, a question or an answer.
const LIMIT: u64 = 64 * 1024;
/// Bytes of a file with roots.
const ROOTS_LIMIT: u64 = 1 << 20;

/// Runs a subcommand.
pub(crate) fn run(subcommand: &AttestTpm) -> Result<(), Failure> {
    match subcommand {
        AttestTpm::Ask(options) => ask(options),
        AttestTpm::Accept(options) => accept(options),
    }
}

/// Whether this is evidence of a TPM, good or not: an array of five whose first is a key of 64 bytes. Quotes of others begin with
/// their version.
pub(super) fn is_quote(evidence: &[u8]) -> bool {
    evidence.starts_with(&[0x85, 0x58, 0x40])
}

/// Verifies a quote and prints what it proves.
pub(super) fn verify(options: &Verify, evidence: &[u8]) -> Result<(), Failure> {
    let judged = Judged::new(options, evidence)?;
    match (&judged.verdict, options.json) {
        (Ok(claims), true) => say::result(json_of(claims)),
        (Err(error), true) => say::result(refusal(error)),
        (Ok(claims), false) => lines(claims).iter().for_each(|(name, value)| say::field(name, value)),
        (Err(_), false) => {}
    }
    judged.verdict.map(drop).map_err(Failure::from)
}

/// The same with what was accepted, and the rule where it was refused.
pub(super) fn explain(options: &Verify, evidence: &[u8]) -> Result<(), Failure> {
    let judged = Judged::new(options, evidence)?;
    let rules = judged.rules();
    if options.json {
        let verdict = judged.verdict.as_ref().map_or_else(refusal, json_of);
        say::result(json!({ "verdict": verdict, "policy": { "rules": rules } }));
        return judged.verdict.map(drop).map_err(Failure::from);
    }
    rules.iter().for_each(|rule| say::result(format_args!("- {rule}")));
    say::result("");
    match &judged.verdict {
        Ok(claims) => {
            say::result("accepted");
            lines(claims).iter().for_each(|(name, value)| say::field(name, value));
        }
        Err(error) => reason::print(error),
    }
    judged.verdict.map(drop).map_err(Failure::from)
}

struct Judged {
    policy: TpmPolicy,
    report_data: [u8; 64],
    verdict: Result<TpmClaims, Error>,
}

impl Judged {
    fn new(options: &Verify, evidence: &[u8]) -> Result<Self, Failure> {
        if [&options.collateral, &options.store, &options.root, &options.policy, &options.event_log]
            .into_iter()
            .any(Option::is_some)
            || !options.tcb.is_empty()
        {
            let rule =
                "a TPM's quote is judged by --attestation-key, --state and --nonce or --report-data alone";
            return Err(Failure::usage(rule));
        }
        let Expected { attestation_key, state, .. } = &options.tpm;
        if attestation_key.is_empty() {
            let wanted = "this is a TPM's quote: say whose it has to be, in which state and for what: --attestation-key, --state and \
                          --nonce or --report-data";
            return Err(Failure::usage(wanted));
        }
        let attestation_keys = attestation_key
            .iter()
            .map(|name| array("an attestation key's name", name))
            .collect::<Result<_, _>>()?;
        let states = state.iter().map(|state| values(state)).collect::<Result<_, _>>()?;
        let policy = TpmPolicy { attestation_keys, states };
        let report_data = report_data(&options.tpm)?;
        let verdict = verify_tpm_quote(evidence, &report_data, &policy);
        Ok(Self { policy, report_data, verdict })
    }

    fn rules(&self) -> Vec<String> {
        let keys = self
            .policy
            .attestation_keys
            .iter()
            .map(|key| format!("signed by the attestation key {}", hex::encode(key)));
        let states = self.policy.states.iter().map(|state| {
            let values: Vec<_> = state
                .iter()
                .map(|(register, value)| format!("PCR{register} {}", hex::encode(value)))
                .collect();
            format!("in the state {}", values.join(", "))
        });
        let made_for = format!("made for the report data {}", hex::encode(self.report_data));
        keys.chain(states).chain([made_for]).collect()
    }
}

/// What the quote has to be for.
fn report_data(expected: &Expected) -> Result<[u8; 64], Failure> {
    match (&expected.nonce, &expected.report_data) {
        (Some(nonce), _) => Ok(*challenge(nonce)?.as_bytes()),
        (None, Some(data)) => array("report data", data),
        (None, None) => Err(Failure::usage("say what the quote was made for: --nonce or --report-data")),
    }
}

/// The report data of a quote for a verifier's nonce: 16 to 64 bytes.
pub(crate) fn challenge(nonce: &str) -> Result<RoleHash, Failure> {
    let bytes = hex::decode(nonce).ok().filter(|bytes| (16..=64).contains(&bytes.len()));
    let bytes =
        bytes.ok_or_else(|| Failure::usage("a nonce is 16 to 64 fresh random bytes, in hexadecimal"))?;
    Ok(RoleHash::new(Role::Challenge, &[("nonce", &bytes)]))
}

fn array<const N: usize>(what: &str, digits: &str) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits.trim(), &mut bytes)
        .map_err(|_| Failure::usage(format!("{what} is {} hexadecimal digits", 2 * N)))?;
    Ok(bytes)
}

/// `N:HEX+N:HEX`, of any register: what a quote is accepted by need not bind a key.
fn values(text: &str) -> Result<BTreeMap<usize, [u8; 32]>, Failure> {
    let invalid = || Failure::usage(format!("`{text}` is no state, which is as in 4:HEX+7:HEX"));
    let mut values = BTreeMap::new();
    for pair in text.split('+') {
        let (number, digits) = pair.split_once(':').ok_or_else(invalid)?;
        let register = number.parse().ok().filter(|register| *register < NAMES.len()).ok_or_else(invalid)?;
        if values.insert(register, array("a register's value", digits)?).is_some() {
            return Err(invalid());
        }
    }
    Ok(values)
}

fn lines(claims: &TpmClaims) -> Vec<(String, Value)> {
    let TpmClaims { attestation_key, pcrs, resets, restarts, firmware } = claims;
    let fixed: [(&str, Value); 5] = [
        ("tee", "tpm".into()),
        ("attestation_key", hex::encode(attestation_key).into()),
        ("resets", (*resets).into()),
        ("restarts", (*restarts).into()),
        ("firmware", format!("{firmware:#x}").into()),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
    fixed.chain(registers(pcrs)).collect()
}

fn registers(pcrs: &BTreeMap<usize, [u8; 32]>) -> impl Iterator<Item = (String, Value)> {
    pcrs.iter().map(|(register, value)| (format!("pcr{register}"), hex::encode(value).into()))
}

fn json_of(claims: &TpmClaims) -> Value {
    claims::report(lines(claims))
}

/// What a quote claims, before anything of it is verified.
pub(super) fn claimed(evidence: &[u8]) -> Result<Vec<(String, Value)>, Failure> {
    let quote = TpmQuote::decode(evidence)?;
    let selected = (0..NAMES.len()).filter(|register| quote.pcrs >> register & 1 == 1);
    let pcrs = selected.zip(quote.values.as_chunks::<32>().0.iter().copied()).collect();
    let kind = [
        ("kind".to_owned(), Value::from("tpm")),
        ("attestation_key".to_owned(), hex::encode(attestation_key_name(&quote.key)).into()),
    ];
    Ok(kind.into_iter().chain(registers(&pcrs)).collect())
}

fn object(path: &Path) -> Result<Value, Failure> {
    let bytes = files::read(path, LIMIT)?;
    serde_json::from_slice(&bytes).map_err(|_| Failure::usage("it is not JSON").about(path))
}

fn field<const N: usize>(object: &Value, name: &str, path: &Path) -> Result<[u8; N], Failure> {
    let digits = object.get(name).and_then(Value::as_str).unwrap_or_default();
    array(name, digits).map_err(|failure| failure.about(path))
}

/// A question that only the TPM with a known endorsement key can answer.
fn ask(options: &TpmAsk) -> Result<(), Failure> {
    let keys = object(&options.keys)?;
    let attestation = field(&keys, "attestation_key", &options.keys)?;
    let endorsement = match &options.endorsement_key {
        Some(name) => named(options, &keys, name)?,
        None => certified(options, &keys)?,
    };
    let asked = Activation::by(&endorsement, &attestation).map_err(bulla::Error::from)?;
    files::create(&options.keep, asked.pending().to_bytes().expose())?;
    let by = if matches!(endorsement, EndorsementKey::Rsa(_)) { "rsa" } else { "ecc" };
    let credential = asked.credential();
    let text =
        json!({ "by": by, "blob": hex::encode(&credential.blob), "seed": hex::encode(&credential.seed) });
    files::output(Some(&options.output), |output| writeln!(output, "{text}"))
}

/// The endorsement key, if it has this name.
fn named(options: &TpmAsk, keys: &Value, name: &str) -> Result<EndorsementKey, Failure> {
    let endorsement = field(keys, "endorsement_key", &options.keys)?;
    let (wanted, found): ([u8; 32], _) =
        (array("an endorsement key's name", name)?, endorsement_key_name(&endorsement));
    if wanted != found {
        let (wanted, found) = (hex::encode(wanted), hex::encode(found));
        return Err(Failure::refused(format!(
            "this is another TPM: its endorsement key is {found}, and not {wanted}"
        )));
    }
    Ok(EndorsementKey::Ecc(endorsement))
}

/// The first endorsement key that the roots vouch for.
fn certified(options: &TpmAsk, keys: &Value) -> Result<EndorsementKey, Failure> {
    let mut roots = Vec::new();
    for path in &options.ek_root {
        let text = files::read(path, ROOTS_LIMIT)?;
        let blocks = pem::parse_many(&text).map_err(|_| Failure::usage("it is not PEM").about(path))?;
        roots.extend(
            blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").map(pem::Pem::into_contents),
        );
    }
    let texts = keys.get("certificates").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let certificates = texts.iter().filter_map(|text| STANDARD.decode(text.as_str()?).ok());
    let mut reason = None;
    for certificate in certificates {
        match verify_endorsement_certificate(&certificate, &roots, machine::now()) {
            Ok(key) => {
                if let EndorsementKey::Ecc(point) = &key {
                    let name = hex::encode(endorsement_key_name(point));
                    say::note(format_args!("the endorsement key {name} is certified under a given root"));
                }
                return Ok(key);
            }
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    Err(reason.map_or_else(
        || Failure::refused("the TPM holds no certificate of an endorsement key: pin the key by its name"),
        Failure::from,
    ))
}

fn accept(options: &TpmAccept) -> Result<(), Failure> {
    let kept = files::secret(&options.kept, LIMIT)?;
    let pending = Pending::from_bytes(&kept)
        .ok_or_else(|| Failure::usage("it is not what `bulla attest tpm ask` kept").about(&options.kept))?;
    let text = files::secret(&options.answer, LIMIT)?;
    let answer = str::from_utf8(text.expose()).unwrap_or_default();
    let answer = Secret::new(array("an answer", answer).map_err(|failure| failure.about(&options.answer))?);
    let name = pending.accept(&answer).ok_or_else(|| {
        Failure::refused("the answer is not the TPM's to this question: pin nothing, and ask again")
    })?;
    say::result(hex::encode(name));
    Ok(())
}
