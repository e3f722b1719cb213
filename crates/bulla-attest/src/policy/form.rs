//! The TOML form of a policy, version 1.

use std::collections::{BTreeMap, BTreeSet};

use bulla_tee::SnpTcb;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use toml::value::Datetime;

use super::exception::{Advisories, Exception};
use super::registers::{Alias, Number, Register};
use super::{Pin, Platforms, Policy, SnpRules, TdxRules};
use crate::{AmdProduct, Error, TcbStatus};

const VERSION: i64 = 1;
const NAME_MAX: usize = 64;
const REASON_MAX: usize = 256;
const ADVISORY_MAX: usize = 32;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: i64,
    name: String,
    revision: u32,
    #[serde(default, skip_serializing_if = "is_off")]
    allow_simulated: bool,
    #[serde(default)]
    min_tcb_evaluation_data_number: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<ExceptionForm>,
    platforms: Option<PlatformsForm>,
    #[serde(default)]
    tdx: TdxForm,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    registers: BTreeMap<String, BTreeMap<String, ValueForm>>,
    snp: Option<SnpForm>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ExceptionForm {
    status: String,
    #[serde(default, skip_serializing_if = "is_off")]
    any_advisory: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    advisories: Vec<String>,
    until: Datetime,
    reason: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PlatformsForm {
    #[serde(default)]
    ppid: Vec<String>,
    #[serde(default)]
    chip_id: Vec<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TdxForm {
    #[serde(default, skip_serializing_if = "is_off")]
    allow_performance_counters: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allow_service_tds: Vec<String>,
    #[serde(default)]
    mrconfigid: PinForm,
    #[serde(default)]
    mrowner: PinForm,
    #[serde(default)]
    mrownerconfig: PinForm,
    min_module_svn: Option<BTreeMap<String, u8>>,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "\"bound\", \"zero\" or a list of values in hexadecimal")]
enum PinForm {
    Word(String),
    List(Vec<String>),
}

impl Default for PinForm {
    fn default() -> Self {
        Self::Word("bound".into())
    }
}

#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "a number or a list of values in hexadecimal")]
enum ValueForm {
    Number(u32),
    List(Vec<String>),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SnpForm {
    #[serde(default, skip_serializing_if = "is_off")]
    allow_provider_keys: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    allow_unknown_revocation: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    allow_smt: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    allow_cxl: bool,
    #[serde(default)]
    max_vmpl: u32,
    #[serde(default, skip_serializing_if = "is_off")]
    require_single_socket: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    require_aes_256_xts: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    require_rapl_disabled: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    require_ciphertext_hiding: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    require_page_swap_disabled: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    require_alias_check: bool,
    min_tcb: BTreeMap<String, FloorForm>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FloorForm {
    #[serde(default, skip_serializing_if = "is_zero")]
    fmc: u8,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_off(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(number: &u8) -> bool {
    *number == 0
}

pub(super) fn read(text: &str) -> Result<Policy, Error> {
    if text.len() > Policy::LIMIT {
        let detail = format!("it is {} bytes long, and the limit is {}", text.len(), Policy::LIMIT);
        return Err(Error::PolicyFile(detail));
    }
    check_version(text)?;
    let form: Form = toml::from_str(text).map_err(|error| Error::PolicyFile(error.to_string()))?;
    policy(form).map_err(Error::PolicyFile)
}

/// Before everything else, so that a later version is not refused for what is new in it.
fn check_version(text: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Versioned {
        version: i64,
    }
    let found = toml::from_str::<Versioned>(text).map_err(|error| Error::PolicyFile(error.to_string()))?;
    if found.version == VERSION {
        return Ok(());
    }
    Err(Error::PolicyFile(format!("it has version {}, and only version {VERSION} is known", found.version)))
}

fn policy(form: Form) -> Result<Policy, String> {
    check_name("name", &form.name)?;
    let mut exceptions = BTreeSet::new();
    for (number, form) in form.exceptions.into_iter().enumerate() {
        let place = |error| format!("exception {}: {error}", number + 1);
        if !exceptions.insert(exception(form).map_err(place)?) {
            return Err(place("it is there twice".into()));
        }
    }
    let registers = form.registers.into_iter().map(|(name, values)| {
        check_name("the name of a set of registers", &name)?;
        let alias = alias(values).map_err(|error| format!("registers.{name}: {error}"))?;
        Ok((name, alias))
    });
    Ok(Policy {
        name: form.name,
        revision: form.revision,
        simulated: form.allow_simulated,
        min_tcb_evaluation_data_number: form.min_tcb_evaluation_data_number,
        exceptions,
        platforms: form.platforms.map(platforms).transpose()?,
        tdx: tdx(form.tdx)?,
        registers: registers.collect::<Result<_, String>>()?,
        snp: form.snp.map(snp).transpose()?,
    })
}

fn exception(form: ExceptionForm) -> Result<Exception, String> {
    let status: TcbStatus = form.status.parse().map_err(|error: Error| error.to_string())?;
    let advisories = match (form.any_advisory, form.advisories.as_slice()) {
        (true, []) => Advisories::Any,
        (true, _) => return Err("any_advisory and advisories exclude each other".into()),
        (false, []) if status == TcbStatus::UpToDate => {
            return Err("UpToDate needs no exception but for advisories".into());
        }
        (false, ids) => {
            let fits = |id: &String| {
                (1..=ADVISORY_MAX).contains(&id.len())
                    && id
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
            };
            if let Some(id) = ids.iter().find(|id| !fits(id)) {
                return Err(format!("{id:?} is no advisory, for example INTEL-SA-00615"));
            }
            Advisories::Listed(set(ids.iter().cloned())?)
        }
    };
    let reason = form.reason;
    if reason.trim().is_empty() || reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control)
    {
        return Err(format!("the reason must be 1 to {REASON_MAX} characters on one line"));
    }
    Ok(Exception::new(status, advisories, unix(&form.until)?, reason)?)
}

/// A date counts from its first second, in UTC.
fn unix(until: &Datetime) -> Result<u64, String> {
    let text = match (until.date, until.time, until.offset) {
        (Some(_), None, None) => format!("{until}T00:00:00Z"),
        (Some(_), Some(_), Some(_)) => until.to_string(),
        _ => return Err("until must be a date, or a date and a time with Z or an offset".into()),
    };
    let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| format!("until: {text} is no time"))?;
    // Else it could not be written again.
    let time = time.checked_to_offset(UtcOffset::UTC).ok_or("until is after the year 9999")?;
    u64::try_from(time.unix_timestamp()).map_err(|_| "until is before 1970".into())
}

fn datetime(unix: u64) -> Datetime {
    let time = i64::try_from(unix).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.and_then(|text| text.parse().ok()).expect("a policy's times were read from such a text")
}

fn platforms(form: PlatformsForm) -> Result<Platforms, String> {
    let platforms = Platforms {
        ppid: hex_set("platforms.ppid", &form.ppid)?,
        chip_id: hex_set("platforms.chip_id", &form.chip_id)?,
    };
    if platforms.ppid.contains(&[0; 16]) || platforms.chip_id.contains(&[0; 64]) {
        return Err("platforms: a zero names no machine".into());
    }
    Ok(platforms)
}

fn tdx(form: TdxForm) -> Result<TdxRules, String> {
    let service_tds = hex_set("tdx.allow_service_tds", &form.allow_service_tds)?;
    if service_tds.contains(&[0; 48]) {
        return Err("tdx.allow_service_tds: zero stands for no service TD, and is always accepted".into());
    }
    let module = |(name, svn): (String, u8)| {
        let number = name.strip_prefix("TDX_").filter(|digits| digits.len() == 2);
        let number = number.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match number {
            Some(number) if module_name(number) == name => Ok((number, svn)),
            _ => Err(format!("tdx.min_module_svn: {name:?} is no module identity, for example TDX_01")),
        }
    };
    let modules = form.min_module_svn.map(|table| table.into_iter().map(module).collect());
    Ok(TdxRules {
        performance_counters: form.allow_performance_counters,
        service_tds,
        min_module_svn: modules.transpose()?,
        mrconfigid: pin("tdx.mrconfigid", form.mrconfigid)?,
        mrowner: pin("tdx.mrowner", form.mrowner)?,
        mrownerconfig: pin("tdx.mrownerconfig", form.mrownerconfig)?,
    })
}

/// As the vendor writes it in the TCB info.
pub(super) fn module_name(number: u8) -> String {
    format!("TDX_{number:02X}")
}

fn pin(place: &str, form: PinForm) -> Result<Pin, String> {
    match form {
        PinForm::Word(word) if word == "bound" => Ok(None),
        PinForm::Word(word) if word == "zero" => Ok(Some(BTreeSet::from([[0; 48]]))),
        PinForm::Word(word) => {
            Err(format!("{place}: {word:?} is not \"bound\", \"zero\" or a list of values in hexadecimal"))
        }
        PinForm::List(values) => hex_set(place, &values).map(Some),
    }
}

fn alias(form: BTreeMap<String, ValueForm>) -> Result<Alias, String> {
    let (mut values, mut numbers, mut kinds) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for (name, value) in form {
        let register = Register::ALL.into_iter().find(|register| register.name() == name);
        let number = Number::ALL.into_iter().find(|number| number.name() == name);
        match (register, number, value) {
            (Some(register), _, ValueForm::List(texts)) => {
                let decode = |text: &String| {
                    let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == register.len());
                    bytes.ok_or_else(|| not_hex(&name, text, register.len()))
                };
                let accepted = texts.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
                kinds.insert(register.kind());
                values.insert(register, set(accepted.into_iter())?);
            }
            (_, Some(number), ValueForm::Number(wanted)) if wanted <= number.max() => {
                kinds.insert(number.kind());
                numbers.insert(number, wanted);
            }
            (Some(_), _, _) => return Err(format!("{name} is a list of values in hexadecimal")),
            (_, Some(number), _) => return Err(format!("{name} is a number up to {}", number.max())),
            (None, None, _) => {
                let known = Register::ALL.map(Register::name).join(", ");
                let numbers = Number::ALL.map(Number::name).join(", ");
                return Err(format!("{name:?} is no register; known are {known} and {numbers}"));
            }
        }
    }
    let mut kinds = kinds.into_iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return Err("it must have registers, all of one kind of machine".into());
    };
    let names = [
        (
            Register::MrSigner,
            Number::IsvProdId,
            "isv_prod_id: without it every product of the signer is accepted",
        ),
        (
            Register::IdKeyDigest,
            Number::MinGuestSvn,
            "min_guest_svn: without it every version that the key signed is accepted",
        ),
    ];
    for (register, number, why) in names {
        if values.contains_key(&register) && !numbers.contains_key(&number) {
            return Err(format!("{} needs {why}", register.name()));
        }
    }
    Ok(Alias { kind, values, numbers })
}

fn snp(form: SnpForm) -> Result<SnpRules, String> {
    if form.max_vmpl > 3 {
        return Err("snp.max_vmpl is 0 to 3".into());
    }
    let floor = |(product, floor): (String, FloorForm)| {
        let known = AmdProduct::ALL.into_iter().find(|known| known.as_str() == product).ok_or_else(|| {
            let known = AmdProduct::ALL.map(AmdProduct::as_str).join(", ");
            format!("snp.min_tcb: {product:?} is no product; known are {known}")
        })?;
        if matches!(known, AmdProduct::Milan | AmdProduct::Genoa) && floor.fmc != 0 {
            return Err(format!("snp.min_tcb.{product}: it has no fmc"));
        }
        let FloorForm { fmc, bootloader, tee, snp, microcode } = floor;
        Ok((known, SnpTcb { fmc, bootloader, tee, snp, microcode }))
    };
    Ok(SnpRules {
        min_tcb: form.min_tcb.into_iter().map(floor).collect::<Result<_, String>>()?,
        max_vmpl: form.max_vmpl,
        provider_keys: form.allow_provider_keys,
        unknown_revocation: form.allow_unknown_revocation,
        smt: form.allow_smt,
        cxl: form.allow_cxl,
        single_socket: form.require_single_socket,
        aes_256_xts: form.require_aes_256_xts,
        rapl_disabled: form.require_rapl_disabled,
        ciphertext_hiding: form.require_ciphertext_hiding,
        page_swap_disabled: form.require_page_swap_disabled,
        alias_check: form.require_alias_check,
    })
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(format!("{what} must be 1 to {NAME_MAX} letters, digits, '.', '_' or '-'"))
}

fn hex_set<const N: usize>(place: &str, texts: &[String]) -> Result<BTreeSet<[u8; N]>, String> {
    let decode = |text: &String| {
        let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| not_hex(place, text, N))
    };
    let values = texts.iter().map(decode).collect::<Result<Vec<[u8; N]>, _>>()?;
    set(values.into_iter()).map_err(|error| format!("{place}: {error}"))
}

fn not_hex(place: &str, text: &str, length: usize) -> String {
    let shown: String = text.chars().take(16).collect();
    format!("{place}: {shown:?}… is not {length} bytes in hexadecimal")
}

/// A value that is there twice is a slip of the pen, perhaps in the other one.
fn set<T: Ord>(values: impl Iterator<Item = T>) -> Result<BTreeSet<T>, String> {
    let mut set = BTreeSet::new();
    for value in values {
        if !set.insert(value) {
            return Err("a value is there twice".into());
        }
    }
    Ok(set)
}

pub(super) fn write(policy: &Policy) -> String {
    let exceptions = policy.exceptions.iter().map(|exception| ExceptionForm {
        status: exception.status.as_str().into(),
        any_advisory: exception.advisories == Advisories::Any,
        advisories: match &exception.advisories {
            Advisories::Listed(ids) => ids.iter().cloned().collect(),
            Advisories::Any => Vec::new(),
        },
        until: datetime(exception.until),
        reason: exception.reason.clone(),
    });
    let registers = policy.registers.iter().map(|(name, alias)| {
        let values = alias.values.iter().map(|(register, accepted)| {
            (register.name().into(), ValueForm::List(accepted.iter().map(hex::encode).collect()))
        });
        let numbers =
            alias.numbers.iter().map(|(number, wanted)| (number.name().into(), ValueForm::Number(*wanted)));
        (name.clone(), values.chain(numbers).collect())
    });
    let tdx = &policy.tdx;
    let form = Form {
        version: VERSION,
        name: policy.name.clone(),
        revision: policy.revision,
        allow_simulated: policy.simulated,
        min_tcb_evaluation_data_number: policy.min_tcb_evaluation_data_number,
        exceptions: exceptions.collect(),
        platforms: policy.platforms.as_ref().map(|platforms| PlatformsForm {
            ppid: hex_list(&platforms.ppid),
            chip_id: hex_list(&platforms.chip_id),
        }),
        tdx: TdxForm {
            allow_performance_counters: tdx.performance_counters,
            allow_service_tds: hex_list(&tdx.service_tds),
            mrconfigid: pin_form(&tdx.mrconfigid),
            mrowner: pin_form(&tdx.mrowner),
            mrownerconfig: pin_form(&tdx.mrownerconfig),
            min_module_svn: tdx
                .min_module_svn
                .as_ref()
                .map(|table| table.iter().map(|(number, svn)| (module_name(*number), *svn)).collect()),
        },
        registers: registers.collect(),
        snp: policy.snp.as_ref().map(snp_form),
    };
    toml::to_string(&form).expect("texts, numbers, lists and tables are TOML")
}

fn snp_form(rules: &SnpRules) -> SnpForm {
    let floor = |(product, floor): (&AmdProduct, &SnpTcb)| {
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = *floor;
        (product.as_str().into(), FloorForm { fmc, bootloader, tee, snp, microcode })
    };
    SnpForm {
        allow_provider_keys: rules.provider_keys,
        allow_unknown_revocation: rules.unknown_revocation,
        allow_smt: rules.smt,
        allow_cxl: rules.cxl,
        max_vmpl: rules.max_vmpl,
        require_single_socket: rules.single_socket,
        require_aes_256_xts: rules.aes_256_xts,
        require_rapl_disabled: rules.rapl_disabled,
        require_ciphertext_hiding: rules.ciphertext_hiding,
        require_page_swap_disabled: rules.page_swap_disabled,
        require_alias_check: rules.alias_check,
        min_tcb: rules.min_tcb.iter().map(floor).collect(),
    }
}

fn pin_form(pin: &Pin) -> PinForm {
    match pin {
        None => PinForm::default(),
        Some(values) if values.iter().eq([&[0; 48]]) => PinForm::Word("zero".into()),
        Some(values) => PinForm::List(hex_list(values)),
    }
}

fn hex_list<const N: usize>(values: &BTreeSet<[u8; N]>) -> Vec<String> {
    values.iter().map(hex::encode).collect()
}
