//! The TOML form of a policy. Whatever is not understood refuses the whole document (R108).

use std::collections::{BTreeMap, BTreeSet};

use bulla::Recipient;
use bulla::successor::Upgrade;
use bulla_protocol::text::{is_name, unix_time};
use bulla_protocol::v1::{Algorithm, KEY_LENGTHS, PURPOSE_MAX};
use bulla_tee::GuestRegisters;
use serde::Deserialize;
use toml::value::Datetime;
use toml::{Table, Value};

use super::usage::{BindingName, Claims, Pattern, Rule, Sessions};
use super::{Legacy, Policy, PolicyError, SessionBounds, digest};
use crate::custody::{Kind, Recovery, Target, Terms};
use crate::registers::{EventBoundary, RegisterPolicy};

/// What the appraisals take from the rest of the document, so that nothing is said twice.
const SAID_ABOVE: [(&str, &str); 6] = [
    ("version", "version"),
    ("name", "name"),
    ("revision", "version"),
    ("allow_simulated", "simulated"),
    ("min_tcb_evaluation_data_number", "collateral.min_tcb_evaluation_data_number"),
    ("platforms", "platforms.allow"),
];

/// Items of each list of sections, at most.
const LIST_MAX: usize = 256;
/// Recipients of a recovery, at most.
const RECIPIENTS_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    name: String,
    #[serde(default)]
    simulated: bool,
    custody: CustodyForm,
    #[serde(default)]
    guests: Table,
    #[serde(default)]
    provider: Table,
    platforms: Option<PlatformsForm>,
    legacy: Option<LegacyForm>,
    #[serde(default)]
    transport: TransportForm,
    #[serde(default)]
    registers: Vec<RegistersForm>,
    #[serde(default)]
    usage: Vec<UsageForm>,
    session: Option<SessionForm>,
    #[serde(default)]
    collateral: CollateralForm,
    recovery: Option<RecoveryForm>,
    #[serde(default)]
    upgrade: Vec<UpgradeForm>,
    #[serde(default)]
    migration: Vec<MigrationForm>,
    #[serde(default)]
    epochs: EpochsForm,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CustodyForm {
    Hardware,
    Keyring,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformsForm {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LegacyForm {
    #[serde(default)]
    mrconfigid: Vec<String>,
    #[serde(default)]
    mrowner: Vec<String>,
    #[serde(default)]
    mrownerconfig: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransportForm {
    #[serde(default)]
    classical: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistersForm {
    name: String,
    version: u32,
    bind: Vec<String>,
    boundary: Option<BoundaryForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundaryForm {
    register: String,
    event: String,
    #[serde(default)]
    later: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageForm {
    path: String,
    purposes: Option<Vec<String>>,
    algorithms: Option<Vec<Algorithm>>,
    lengths: Option<Vec<u16>>,
    bindings: Option<Vec<String>>,
    #[serde(default)]
    claims: ClaimsForm,
    session: Option<SessionsForm>,
    session_keys: Option<u32>,
    not_after: Option<Datetime>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimsForm {
    owners: Option<Vec<String>>,
    products: Option<Vec<String>>,
    min_svn: Option<u32>,
    #[serde(default)]
    registers: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SessionsForm {
    Only,
    Never,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionForm {
    seconds: Option<u32>,
    keys: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollateralForm {
    #[serde(default)]
    min_tcb_evaluation_data_number: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecoveryForm {
    threshold: u8,
    recipients: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeForm {
    mrenclave: Option<String>,
    mrsigner: Option<String>,
    product: Option<u16>,
    min_svn: Option<u16>,
    not_after: Option<Datetime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MigrationForm {
    ppid: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochsForm {
    #[serde(default)]
    minimum: u32,
}

/// Reads a document that `authority` has signed.
pub(super) fn read(document: &str, authority: [u8; 32]) -> Result<Policy, PolicyError> {
    let form: Form = toml::from_str(document).map_err(|error| PolicyError::Invalid(error.to_string()))?;
    policy(form, digest(document), authority).map_err(PolicyError::Invalid)
}

fn policy(form: Form, digest: [u8; 32], authority: [u8; 32]) -> Result<Policy, String> {
    check_name("name", &form.name)?;
    check_number("version", form.version)?;
    let said = said(&form)?;
    let guests = appraisal("guests", &form.guests, &said)?;
    let own = appraisal("provider", &form.provider, &said)?;
    let registers = each("registers", form.registers, register_policy)?;
    let names: Vec<_> = registers.iter().map(|policy| (policy.name.as_str(), policy.version)).collect();
    set("registers", names.iter().map(|name| Ok::<_, String>(*name)))?;
    let usage = each("usage", form.usage, |form| rule(form, &names))?;
    Ok(Policy {
        digest,
        authority,
        guests,
        own,
        usage,
        simulated: form.simulated,
        evaluation_number: form.collateral.min_tcb_evaluation_data_number,
        legacy: form.legacy.map(legacy).transpose()?,
        classical: form.transport.classical,
        session: form.session.map_or_else(|| Ok(SessionBounds::default()), session)?,
        terms: Terms {
            custody: custody(form.custody, form.recovery.is_some(), !form.upgrade.is_empty())?,
            recovery: form.recovery.map(recovery).transpose()?,
            upgrades: each("upgrade", form.upgrade, upgrade)?,
            migration: set("migration", form.migration.iter().map(|form| id("ppid", &form.ppid)))?,
            minimum_epoch: form.epochs.minimum,
        },
        name: form.name,
        version: form.version,
        measurement: RegisterPolicy::measurement(),
        registers,
    })
}

/// What both appraisals take from the rest of the document.
fn said(form: &Form) -> Result<Table, String> {
    let mut said = Table::from_iter([
        ("version".into(), Value::Integer(1)),
        ("name".into(), Value::String(form.name.clone())),
        ("revision".into(), Value::Integer(form.version.into())),
        ("allow_simulated".into(), Value::Boolean(form.simulated)),
    ]);
    let number = Value::Integer(form.collateral.min_tcb_evaluation_data_number.into());
    said.insert("min_tcb_evaluation_data_number".into(), number);
    if let Some(PlatformsForm { allow }) = &form.platforms {
        let ppids = set("platforms.allow", allow.iter().map(|text| id::<16>("platforms.allow", text)))?;
        let ppids = ppids.iter().map(|ppid| Value::String(hex::encode(ppid))).collect();
        said.insert("platforms".into(), Table::from_iter([("ppid".into(), Value::Array(ppids))]).into());
    }
    Ok(said)
}

/// An appraisal policy, in its own form without what the rest of the document says already.
fn appraisal(section: &str, form: &Table, said: &Table) -> Result<bulla_attest::Policy, String> {
    if let Some((key, instead)) = SAID_ABOVE.into_iter().find(|(key, _)| form.contains_key(*key)) {
        return Err(format!("{section}.{key}: write {instead}, for guests and provider alike"));
    }
    let mut whole = said.clone();
    whole.extend(form.clone());
    let text = toml::to_string(&whole).map_err(|error| format!("{section}: {error}"))?;
    bulla_attest::Policy::from_toml(&text).map_err(|error| format!("{section}: {error}"))
}

fn legacy(form: LegacyForm) -> Result<Legacy, String> {
    let values = |name: &str, texts: &[String]| set(name, texts.iter().map(|text| digits(name, text)));
    Ok(Legacy {
        mrconfigid: values("legacy.mrconfigid", &form.mrconfigid)?,
        mrowner: values("legacy.mrowner", &form.mrowner)?,
        mrownerconfig: values("legacy.mrownerconfig", &form.mrownerconfig)?,
    })
}

fn register_policy(form: RegistersForm) -> Result<RegisterPolicy, String> {
    check_name("name", &form.name)?;
    check_number("version", form.version)?;
    if ["measurement", "owner"].contains(&form.name.as_str()) {
        return Err(format!("{} is the name of a binding", form.name));
    }
    let bind = set("bind", form.bind.iter().map(|text| register(text)))?;
    if !bind.contains("MRTD") {
        return Err("bind must have mrtd: without it no image is named (R14)".into());
    }
    let bind: Vec<_> = GuestRegisters::NAMES.into_iter().filter(|name| bind.contains(name)).collect();
    let boundary = form.boundary.map(|form| boundary(form, &bind)).transpose()?;
    Ok(RegisterPolicy { name: form.name, version: form.version, bind, boundary })
}

fn boundary(form: BoundaryForm, bind: &[&'static str]) -> Result<EventBoundary, String> {
    let name = register(&form.register)?;
    let number = name.strip_prefix("RTMR").and_then(|digit| digit.parse().ok());
    let register =
        number.filter(|_| bind.contains(&name)).ok_or("boundary.register is an RTMR that is bound")?;
    if !(1..=128).contains(&form.event.len()) || form.event.chars().any(char::is_control) {
        return Err("boundary.event must be 1 to 128 characters on one line".into());
    }
    Ok(EventBoundary { register, event: form.event, later: form.later })
}

fn rule(form: UsageForm, registers: &[(&str, u32)]) -> Result<Rule, String> {
    let purpose =
        |text: &String| match text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
            true if (1..=PURPOSE_MAX).contains(&text.len()) => Ok(text.clone()),
            _ => Err(format!("{text:?} is no purpose: lower-case letters, digits and hyphens")),
        };
    let length = |length: &u16| match KEY_LENGTHS.contains(length) {
        true => Ok(*length),
        false => Err(format!("{length} is no length of a key: 16 to 64 bytes")),
    };
    Ok(Rule {
        path: Pattern::new(&form.path)?,
        purposes: optional("purposes", form.purposes.as_deref(), purpose)?,
        algorithms: optional("algorithms", form.algorithms.as_deref(), |algorithm| Ok(algorithm.as_str()))?,
        lengths: optional("lengths", form.lengths.as_deref(), length)?,
        bindings: optional("bindings", form.bindings.as_deref(), |text| binding(text, registers))?,
        claims: claims(form.claims)?,
        session: match form.session {
            None => Sessions::Any,
            Some(SessionsForm::Only) => Sessions::Only,
            Some(SessionsForm::Never) => Sessions::Never,
        },
        session_keys: form.session_keys,
        not_after: form.not_after.as_ref().map(time).transpose()?,
    })
}

fn binding(text: &String, registers: &[(&str, u32)]) -> Result<BindingName, String> {
    match text.as_str() {
        "measurement" => Ok(BindingName::Measurement),
        "owner" => Ok(BindingName::Owner),
        _ => {
            let parts = text.split_once('/').and_then(|(name, version)| Some((name, version.parse().ok()?)));
            let (name, version) = parts.filter(|known| registers.contains(known)).ok_or(format!(
                "{text:?} is no binding: measurement, owner, or NAME/VERSION of one in [[registers]]"
            ))?;
            Ok(BindingName::Registers(name.to_owned(), version))
        }
    }
}

fn claims(form: ClaimsForm) -> Result<Claims, String> {
    let values = |(name, texts): (String, Vec<String>)| {
        let place = format!("claims.registers.{name}");
        Ok((register(&name)?, set(&place, texts.iter().map(|text| digits(&place, text)))?))
    };
    let product = |text: &String| check_name("a product", text).map(|()| text.clone());
    Ok(Claims {
        owners: optional("owners", form.owners.as_deref(), |text| digits("owners", text))?,
        products: optional("products", form.products.as_deref(), product)?,
        min_svn: form.min_svn,
        registers: form.registers.into_iter().map(values).collect::<Result<_, String>>()?,
    })
}

fn session(form: SessionForm) -> Result<SessionBounds, String> {
    let default = SessionBounds::default();
    let seconds = form.seconds.unwrap_or(default.seconds);
    let keys = form.keys.unwrap_or(default.keys);
    if !(1..=86_400).contains(&seconds) || keys == 0 {
        return Err("session: seconds are 1 to 86400, and keys at least 1".into());
    }
    Ok(SessionBounds { seconds, keys })
}

/// What a kind of custody has no use for would be a promise that nobody keeps.
fn custody(form: CustodyForm, has_recovery: bool, has_upgrade: bool) -> Result<Kind, String> {
    match form {
        CustodyForm::Keyring => Ok(Kind::Keyring),
        CustodyForm::Hardware if has_recovery || has_upgrade => {
            Err("the roots of custody \"hardware\" stay in one enclave on one machine: [recovery] and [[upgrade]] need \
                 custody = \"keyring\""
                .into())
        }
        CustodyForm::Hardware => Ok(Kind::Hardware),
    }
}

fn recovery(form: RecoveryForm) -> Result<Recovery, String> {
    let parse = |text: &String| text.parse::<Recipient>().map_err(|error| format!("recovery: {error}"));
    let recipients = form.recipients.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    set("recovery.recipients", recipients.iter().map(|recipient| Ok(recipient.id())))?;
    let most = recipients.len().min(RECIPIENTS_MAX);
    if recipients.len() > RECIPIENTS_MAX || form.threshold < 2 || usize::from(form.threshold) > most {
        return Err(
            "recovery: threshold must be 2 up to the number of recipients, of which there are 32 at most"
                .into(),
        );
    }
    Ok(Recovery { threshold: form.threshold, recipients })
}

fn upgrade(form: UpgradeForm) -> Result<Target, String> {
    let UpgradeForm { mrenclave, mrsigner, product, min_svn, not_after } = form;
    let enclave = match (mrenclave, mrsigner, product, min_svn) {
        (Some(text), None, None, None) => Upgrade::Measurement(id("mrenclave", &text)?),
        (None, Some(text), Some(product), Some(min_svn)) => {
            Upgrade::Signer { signer: id("mrsigner", &text)?, product, min_svn }
        }
        _ => return Err("name mrenclave, or mrsigner with product and min_svn (R7)".into()),
    };
    Ok(Target { enclave, not_after: not_after.as_ref().map(time).transpose()? })
}

/// The name of a machine or an enclave.
fn id<const N: usize>(place: &str, text: &str) -> Result<[u8; N], String> {
    let id = digits(place, text)?;
    if id == [0; N] { Err(format!("{place}: zero names nothing")) } else { Ok(id) }
}

/// A register's name as in [`GuestRegisters::NAMES`], of the lower-case one that documents have.
fn register(text: &str) -> Result<&'static str, String> {
    let name = GuestRegisters::NAMES.into_iter().find(|name| name.to_lowercase() == text);
    let known = || GuestRegisters::NAMES.map(str::to_lowercase).join(", ");
    name.ok_or_else(|| format!("{text:?} is no register; known are {}", known()))
}

fn time(datetime: &Datetime) -> Result<u64, String> {
    unix_time(datetime).ok_or_else(|| "not_after is a date, or a date and a time with an offset".into())
}

fn check_name(what: &str, text: &str) -> Result<(), String> {
    if is_name(text) {
        Ok(())
    } else {
        Err(format!("{what} must be 1 to 64 letters, digits, '.', '_' or '-'"))
    }
}

fn check_number(what: &str, number: u32) -> Result<(), String> {
    if number == 0 { Err(format!("{what} must be 1 or above")) } else { Ok(()) }
}

fn digits<const N: usize>(place: &str, text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let read = hex::decode_to_slice(text, &mut bytes);
    read.map(|()| bytes).map_err(|_| format!("{place}: a value is not {N} bytes in hexadecimal"))
}

/// The items of a list of sections, with the number of a wrong one.
fn each<F, T>(section: &str, forms: Vec<F>, read: impl Fn(F) -> Result<T, String>) -> Result<Vec<T>, String> {
    if forms.len() > LIST_MAX {
        return Err(format!("[[{section}]] is there more than {LIST_MAX} times"));
    }
    let number = |(at, form)| read(form).map_err(|error| format!("[[{section}]] {}: {error}", at + 1));
    forms.into_iter().enumerate().map(number).collect()
}

/// `None` stays so: nothing is asked.
fn optional<F, T: Ord>(
    place: &str,
    values: Option<&[F]>,
    read: impl Fn(&F) -> Result<T, String>,
) -> Result<Option<BTreeSet<T>>, String> {
    values.map(|values| set(place, values.iter().map(read))).transpose()
}

/// A value that is there twice is a slip of the pen, perhaps in the other one.
fn set<T: Ord>(place: &str, values: impl Iterator<Item = Result<T, String>>) -> Result<BTreeSet<T>, String> {
    let mut set = BTreeSet::new();
    for value in values {
        if !set.insert(value?) {
            return Err(format!("{place}: a value is there twice"));
        }
    }
    Ok(set)
}
