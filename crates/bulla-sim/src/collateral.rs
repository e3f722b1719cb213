//! What Intel's provisioning service would say about a simulated machine (Intel PCS API version 4), in the JSON that
//! `dcap-qvl` reads.

use bulla_tee::tdx::QuoteHeader;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use zerocopy::FromBytes;

use crate::history::{Edition, History, Recovery, number};
use crate::machine::{INITIAL_CPUSVN, PCESVN, State};
use crate::pki::Pki;
use crate::quoting::{QE_FLAGS, QE_SVN, QE3_PRODUCT, TDQE_PRODUCT, TEE_TDX, qe_signer};
use crate::{Error, TdxModule};

/// What is open below the initial versions.
const ADVISORY: &str = "SIM-SA-00001";
/// How long collateral is valid, as Intel's.
const VALIDITY: Duration = Duration::days(30);
/// How old it is when it is asked for.
const AGE: Duration = Duration::days(1);

/// What a quote is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeeType {
    /// An SGX enclave.
    Sgx,
    /// A TDX guest.
    Tdx,
}

impl TeeType {
    pub(crate) fn of(quote: &[u8]) -> Result<Self, Error> {
        let Ok((header, _)) = QuoteHeader::read_from_prefix(quote) else {
            return Err(Error::NotAQuote("it is shorter than a header"));
        };
        match (u16::from_le_bytes(header.version), u32::from_le_bytes(header.tee_type)) {
            (3, _) | (4 | 5, 0) => Ok(Self::Sgx),
            (4 | 5, TEE_TDX) => Ok(Self::Tdx),
            _ => Err(Error::NotAQuote("its version or TEE type is unknown")),
        }
    }
}

/// The collateral for quotes of `tee`, issued a day before `now_unix` with what is known then.
pub(crate) fn collateral(
    pki: &Pki,
    state: &State,
    history: &History,
    tee: TeeType,
    edition: Edition,
    now_unix: u64,
) -> Result<String, Error> {
    let [issued, until] = window(now_unix)?;
    let known = history.known(edition, now_unix)?;
    let head = json!({
        "issueDate": date(issued)?,
        "nextUpdate": date(until)?,
        "tcbEvaluationDataNumber": number(known),
    });

    let tcb_info = tcb_info(tee, state, known, head.clone())?.to_string();
    let qe_identity = qe_identity(tee, head).to_string();
    let [root_ca_crl, pck_crl] = pki.crls(issued, until, history.revoked(now_unix))?;
    let collateral = json!({
        "pck_crl_issuer_chain": pki.platform_ca_chain(),
        "root_ca_crl": hex::encode(root_ca_crl),
        "pck_crl": hex::encode(pck_crl),
        "tcb_info_issuer_chain": pki.tcb_signing_chain(),
        "tcb_info_signature": hex::encode(pki.tcb_signing.sign(tcb_info.as_bytes())?),
        "tcb_info": tcb_info,
        "qe_identity_issuer_chain": pki.tcb_signing_chain(),
        "qe_identity_signature": hex::encode(pki.tcb_signing.sign(qe_identity.as_bytes())?),
        "qe_identity": qe_identity,
    });
    Ok(collateral.to_string())
}

/// From a day before until the end of what is issued then.
pub(crate) fn window(now_unix: u64) -> Result<[OffsetDateTime; 2], Error> {
    let issued = time(now_unix)?.checked_sub(AGE).ok_or(Error::Time(now_unix))?;
    let until = issued.checked_add(VALIDITY).ok_or(Error::Time(now_unix))?;
    Ok([issued, until])
}

fn time(unix: u64) -> Result<OffsetDateTime, Error> {
    let seconds = i64::try_from(unix).map_err(|_| Error::Time(unix))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::Time(unix))
}

fn date(at: OffsetDateTime) -> Result<String, Error> {
    at.format(&Rfc3339).map_err(|_| Error::Time(at.unix_timestamp().unsigned_abs()))
}

/// How a version and all above it, up to the next step, stand.
struct Step {
    from: u8,
    status: &'static str,
    date: String,
    advisories: Vec<String>,
}

/// The steps of one version number, highest first: what the last recovery asked for is UpToDate, what is below is OutOfDate
/// with the advisories of all recoveries since, and `revoked` is Revoked.
fn steps(
    initial: u8,
    revoked: u8,
    known: &[Recovery],
    asked: impl Fn(&Recovery) -> u8,
) -> Result<Vec<Step>, Error> {
    let step = |from, status, date: &str| Step { from, status, date: date.into(), advisories: Vec::new() };
    let mut steps = vec![
        step(initial, "UpToDate", "2026-02-11T00:00:00Z"),
        step(revoked + 1, "OutOfDate", "2025-08-13T00:00:00Z"),
        step(revoked, "Revoked", "2024-03-13T00:00:00Z"),
    ];
    let below = |steps: &mut [Step], advisory: &str| {
        steps.iter_mut().for_each(|step| step.advisories.push(advisory.to_owned()));
    };
    below(steps.get_mut(1..).unwrap_or_default(), ADVISORY);
    for recovery in known {
        if steps.first().is_some_and(|highest| highest.from < asked(recovery)) {
            below(&mut steps, &recovery.advisory);
            steps
                .iter_mut()
                .filter(|step| step.status == "UpToDate")
                .for_each(|step| step.status = "OutOfDate");
            steps.insert(0, step(asked(recovery), "UpToDate", &date(time(recovery.at)?)?));
        }
    }
    Ok(steps)
}

/// tcbInfo of version 3.
fn tcb_info(tee: TeeType, state: &State, known: &[Recovery], head: Value) -> Result<Value, Error> {
    let platform = steps(INITIAL_CPUSVN[0], 0, known, |recovery| recovery.microcode)?;
    let levels: Vec<_> = platform
        .iter()
        .map(|step| {
            let (mut cpusvn, mut pcesvn, mut tdx) =
                (INITIAL_CPUSVN, PCESVN, TdxModule::INITIAL.tee_tcb_svn());
            cpusvn[0] = step.from;
            if step.status == "Revoked" {
                (cpusvn, pcesvn, tdx) = ([0; 16], 0, [0; 16]);
            }
            let components = |svns: [u8; 16]| json!(svns.map(|svn| json!({ "svn": svn })));
            let tcb = json!({ "sgxtcbcomponents": components(cpusvn), "pcesvn": pcesvn });
            let of_guests = tee == TeeType::Tdx;
            level(step, if of_guests { with(tcb, "tdxtcbcomponents", components(tdx)) } else { tcb })
        })
        .collect();
    let members = [
        ("id", json!(if tee == TeeType::Tdx { "TDX" } else { "SGX" })),
        ("version", json!(3)),
        ("fmspc", json!(hex::encode_upper(state.fmspc()))),
        ("pceId", json!(hex::encode_upper(state.pceid()))),
        ("tcbType", json!(0)),
        ("tcbLevels", json!(levels)),
    ];
    let info = members.into_iter().fold(head, |info, (name, value)| with(info, name, value));
    if tee == TeeType::Sgx {
        return Ok(info);
    }
    let module = json!({
        "mrsigner": hex::encode(TdxModule::INITIAL.mrsigner),
        "attributes": hex::encode(TdxModule::INITIAL.attributes),
        "attributesMask": hex::encode_upper([0xFF; 8]),
    });
    let TdxModule { major, minor, .. } = TdxModule::INITIAL;
    let identity = with(module.clone(), "id", json!(format!("TDX_{major:02X}")));
    let module_levels: Vec<_> = steps(minor, 1, known, |recovery| recovery.tdx_module)?
        .iter()
        .map(|step| level(step, json!({ "isvsvn": step.from })))
        .collect();
    let identities = json!([with(identity, "tcbLevels", json!(module_levels))]);
    Ok(with(with(info, "tdxModule", module), "tdxModuleIdentities", identities))
}

fn level(step: &Step, tcb: Value) -> Value {
    let level = json!({ "tcb": tcb, "tcbDate": step.date, "tcbStatus": step.status });
    if step.advisories.is_empty() { level } else { with(level, "advisoryIDs", json!(step.advisories)) }
}

/// `object` with one more member.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.into(), value);
    }
    object
}

/// enclaveIdentity of version 2.
fn qe_identity(tee: TeeType, head: Value) -> Value {
    let (id, product) = if tee == TeeType::Tdx { ("TD_QE", TDQE_PRODUCT) } else { ("QE", QE3_PRODUCT) };
    let attributes = [QE_FLAGS.to_le_bytes(), [0; 8]].concat();
    let members = [
        ("id", json!(id)),
        ("version", json!(2)),
        ("miscselect", json!("00000000")),
        ("miscselectMask", json!("FFFFFFFF")),
        ("attributes", json!(hex::encode_upper(attributes))),
        // All flags but MODE64BIT, and no XFRM.
        ("attributesMask", json!("FBFFFFFFFFFFFFFF0000000000000000")),
        ("mrsigner", json!(hex::encode_upper(qe_signer()))),
        ("isvprodid", json!(product)),
        (
            "tcbLevels",
            json!([
                { "tcb": { "isvsvn": QE_SVN }, "tcbDate": "2026-02-11T00:00:00Z", "tcbStatus": "UpToDate" },
            ]),
        ),
    ];
    members.into_iter().fold(head, |identity, (name, value)| with(identity, name, value))
}
