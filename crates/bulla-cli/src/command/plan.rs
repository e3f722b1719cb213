//! `bulla plan`: will it open after a change?

use std::path::Path;

use bulla::plan::{Change, Forecast, Verdict, forecast};
use bulla::{Floor, Header};
use bulla_crypto::{Class, sha256};
use bulla_tee::sgx::arch::{Attributes, SIGSTRUCT_HEADER, Sigstruct, flags};
use bulla_tee::{Identity, SgxIdentity, Tee};
use serde_json::{Value, json};
use zerocopy::FromBytes;

use crate::args::Plan;
use crate::failure::Failure;
use crate::{files, openers, say};

/// Bytes of an executable or a description of a guest.
const BUILD_LIMIT: u64 = 1 << 30;

/// Prints what is to be expected of each file.
pub(crate) fn run(machine: Option<&str>, options: &Plan) -> Result<(), Failure> {
    let tee = openers::tee(machine, &options.guest)?;
    let change = parse(&options.after, tee.as_ref())?;
    let mut rows = Vec::new();
    let mut worst = None;
    for path in &options.files {
        let header =
            Header::read(&mut files::input(Some(path))?).map_err(|error| Failure::from(error).about(path))?;
        let forecast = forecast(&header, Some(tee.as_ref()), &change)?;
        worst = worst.max(class(&forecast));
        if options.json {
            rows.push(row(path, &forecast));
        } else {
            print(path, &forecast);
        }
    }
    if options.json {
        say::result(Value::Array(rows));
    }
    match worst {
        None => Ok(()),
        Some(Worst::TooOld) => Err(Failure::plan(Class::TooOld)),
        Some(Worst::Refused) => Err(Failure::plan(Class::Refused)),
    }
}

/// What a file that will not open counts for; a refusal outweighs a version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    TooOld,
    Refused,
}

fn class(forecast: &Forecast) -> Option<Worst> {
    match (forecast.verdict, forecast.field) {
        (Verdict::Opens, _) => None,
        (_, Some("CPUSVN" | "ISVSVN" | "CONFIGSVN" | "TCB" | "GUEST_SVN" | "epoch")) => Some(Worst::TooOld),
        _ => Some(Worst::Refused),
    }
}

fn print(path: &Path, forecast: &Forecast) {
    let path = path.display().to_string();
    let path = path.escape_debug();
    let reason = forecast.reason.escape_debug();
    match forecast.field {
        None => say::result(format_args!("{path}: {}: {reason}", word(forecast.verdict))),
        Some(field) => say::result(format_args!("{path}: {}: {field}: {reason}", word(forecast.verdict))),
    }
    if let Some(remedy) = forecast.remedy {
        say::result(format_args!("  {remedy}"));
    }
}

fn row(path: &Path, forecast: &Forecast) -> Value {
    json!({
        "file": path.display().to_string(),
        "opens": word(forecast.verdict),
        "slot": forecast.slot,
        "field": forecast.field,
        "reason": forecast.reason,
        "remedy": forecast.remedy,
    })
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Opens => "yes",
        Verdict::ByKeys => "by private keys only",
        Verdict::MayNot => "maybe not",
        Verdict::DoesNot => "no",
    }
}

fn parse(after: &str, tee: &dyn Tee) -> Result<Change, Failure> {
    let (name, value) = after.split_once('=').unwrap_or((after, ""));
    match (name, value) {
        ("microcode-up", "") => Ok(Change::MicrocodeUp),
        ("microcode-down", "") => Ok(Change::MicrocodeDown),
        ("firmware-update", "") => Ok(Change::FirmwareUpdate),
        ("host", name) if !name.is_empty() => Ok(Change::Host),
        ("rebuild", file) if !file.is_empty() => rebuilt(Path::new(file), tee.identity()?),
        ("signer", digits) if !digits.is_empty() => {
            let mut mrsigner = [0; 32];
            hex::decode_to_slice(digits, &mut mrsigner)
                .map_err(|_| Failure::usage("signer=HEX takes the 64 hexadecimal digits of MRSIGNER"))?;
            let identity = enclave(tee.identity()?)?;
            Ok(changed(SgxIdentity { mrsigner, ..identity }))
        }
        ("policy", terms) if !terms.is_empty() => floor(terms).map(Change::Floor),
        _ => Err(Failure::usage(format!(
            "unknown change `{after}`: it is one of microcode-up, microcode-down, firmware-update, host=NAME, rebuild=FILE, \
             signer=HEX, policy=isvsvn=N,epoch=N"
        ))),
    }
}

fn changed(identity: SgxIdentity) -> Change {
    Change::Identity(Box::new(Identity::Sgx(Box::new(identity))))
}

fn enclave(identity: Identity) -> Result<SgxIdentity, Failure> {
    match identity {
        Identity::Sgx(identity) => Ok(*identity),
        _ => Err(Failure::usage("only an enclave has a signer")),
    }
}

/// The identity of another build, on this machine.
fn rebuilt(file: &Path, present: Identity) -> Result<Change, Failure> {
    let content = files::read(file, BUILD_LIMIT)?;
    if let Ok(sigstruct) = Sigstruct::ref_from_bytes(&content)
        && sigstruct.header == SIGSTRUCT_HEADER
    {
        let present = enclave(present)?;
        // What the loader chooses stays as it is; INIT is set once the signature has passed.
        let decided = sigstruct.attribute_mask.flags & !flags::INIT;
        let flags = present.attributes.flags & !decided | sigstruct.attributes.flags & decided;
        return Ok(changed(SgxIdentity {
            attributes: Attributes { flags, ..present.attributes },
            mrenclave: sigstruct.enclave_hash,
            mrsigner: sha256(&[&sigstruct.modulus]),
            isv_prod_id: sigstruct.isv_prod_id,
            isv_svn: sigstruct.isv_svn,
            isv_family_id: sigstruct.isv_family_id,
            isv_ext_prod_id: sigstruct.isv_ext_prod_id,
            ..present
        }));
    }
    unsigned(file, &content, present)
}

/// A build without a signature has an identity on a simulated machine only.
#[cfg(feature = "sim")]
fn unsigned(file: &Path, content: &[u8], present: Identity) -> Result<Change, Failure> {
    match present {
        Identity::Sgx(present) if bulla_tee::is_simulated(&present.cpusvn) => {
            Ok(changed(SgxIdentity { mrenclave: sha256(&[content]), ..*present }))
        }
        Identity::Tdx(present) if bulla_tee::is_simulated(&present.tee_tcb_svn) => {
            let next = crate::command::sim::guest_identity(file, &present)?;
            Ok(Change::Identity(Box::new(Identity::Tdx(Box::new(next)))))
        }
        Identity::Snp(present) if bulla_tee::is_simulated_chip(&present.chip_id) => {
            let next = crate::command::sim::snp_guest_identity(file, &present)?;
            Ok(Change::Identity(Box::new(Identity::Snp(Box::new(next)))))
        }
        _ => Err(not_signed(file)),
    }
}

#[cfg(not(feature = "sim"))]
fn unsigned(file: &Path, _: &[u8], _: Identity) -> Result<Change, Failure> {
    Err(not_signed(file))
}

fn not_signed(file: &Path) -> Failure {
    Failure::usage(format!("{} is no SIGSTRUCT: name the `.sig` file of the build", file.display()))
}

/// `isvsvn=N,epoch=N`.
fn floor(terms: &str) -> Result<Floor, Failure> {
    let wrong = || Failure::usage("policy=TERMS takes isvsvn=N and epoch=N, with a comma between");
    let mut floor = Floor::default();
    for term in terms.split(',') {
        match term.split_once('=').ok_or_else(wrong)? {
            ("isvsvn", value) => floor.isvsvn = value.parse().map_err(|_| wrong())?,
            ("epoch", value) => floor.epoch = value.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        }
    }
    Ok(floor)
}
