//! What Intel's provisioning service would say about a simulated machine (Intel PCS API version 4), in the JSON that
//! `dcap-qvl` reads.

use bulla_tee::tdx::QuoteHeader;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use zerocopy::FromBytes;

use crate::Error;
use crate::machine::{INITIAL_CPUSVN, INITIAL_TEE_TCB_SVN, PCESVN, State};
use crate::pki::Pki;
use crate::quoting::{QE_FLAGS, QE_SVN, QE3_PRODUCT, TDQE_PRODUCT, TEE_TDX, qe_signer};

const EVALUATION_DATA_NUMBER: u32 = 20;
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

/// The collateral for quotes of `tee`, issued a day before `now_unix`.
pub(crate) fn collateral(pki: &Pki, state: &State, tee: TeeType, now_unix: u64) -> Result<String, Error> {
    let issued = i64::try_from(now_unix)
        .ok()
        .and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok())
        .and_then(|now| now.checked_sub(AGE))
        .ok_or(Error::Time(now_unix))?;
    let until = issued.checked_add(VALIDITY).ok_or(Error::Time(now_unix))?;
    let date = |at: OffsetDateTime| at.format(&Rfc3339).map_err(|_| Error::Time(now_unix));
    let dates = [date(issued)?, date(until)?];

    let tcb_info = tcb_info(tee, state, &dates).to_string();
    let qe_identity = qe_identity(tee, &dates).to_string();
    let [root_ca_crl, pck_crl] = pki.crls(issued, until)?;
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

/// tcbInfo of version 3. The initial microcode and above is UpToDate; below it is OutOfDate, down to the lowest, which is
/// Revoked.
fn tcb_info(tee: TeeType, state: &State, [issued, until]: &[String; 2]) -> Value {
    let mut out_of_date = INITIAL_CPUSVN;
    out_of_date[0] = 1;
    let levels = [
        level(tee, &INITIAL_CPUSVN, PCESVN, "2026-02-11T00:00:00Z", "UpToDate"),
        level(tee, &out_of_date, PCESVN, "2025-08-13T00:00:00Z", "OutOfDate"),
        level(tee, &[0; 16], 0, "2024-03-13T00:00:00Z", "Revoked"),
    ];
    let info = json!({
        "id": if tee == TeeType::Tdx { "TDX" } else { "SGX" },
        "version": 3,
        "issueDate": issued,
        "nextUpdate": until,
        "fmspc": hex::encode_upper(state.fmspc()),
        "pceId": hex::encode_upper(state.pceid()),
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION_DATA_NUMBER,
        "tcbLevels": levels,
    });
    if tee == TeeType::Sgx {
        return info;
    }
    let module = json!({
        "mrsigner": hex::encode([0; 48]),
        "attributes": hex::encode([0; 8]),
        "attributesMask": hex::encode_upper([0xFF; 8]),
    });
    let [minor, major, ..] = INITIAL_TEE_TCB_SVN;
    let identity = with(module.clone(), "id", json!(format!("TDX_{major:02X}")));
    let module_levels = json!([
        { "tcb": { "isvsvn": minor }, "tcbDate": "2026-02-11T00:00:00Z", "tcbStatus": "UpToDate" },
    ]);
    let identities = json!([with(identity, "tcbLevels", module_levels)]);
    with(with(info, "tdxModule", module), "tdxModuleIdentities", identities)
}

fn level(tee: TeeType, cpusvn: &[u8; 16], pcesvn: u16, date: &str, status: &str) -> Value {
    let components = |svns: &[u8; 16]| json!(svns.map(|svn| json!({ "svn": svn })));
    let mut tcb = json!({ "sgxtcbcomponents": components(cpusvn), "pcesvn": pcesvn });
    if tee == TeeType::Tdx {
        let lowest = *cpusvn == [0; 16];
        tcb = with(tcb, "tdxtcbcomponents", components(if lowest { &[0; 16] } else { &INITIAL_TEE_TCB_SVN }));
    }
    let level = json!({ "tcb": tcb, "tcbDate": date, "tcbStatus": status });
    if status == "UpToDate" { level } else { with(level, "advisoryIDs", json!([ADVISORY])) }
}

/// `object` with one more member.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.into(), value);
    }
    object
}

/// enclaveIdentity of version 2.
fn qe_identity(tee: TeeType, [issued, until]: &[String; 2]) -> Value {
    let (id, product) = if tee == TeeType::Tdx { ("TD_QE", TDQE_PRODUCT) } else { ("QE", QE3_PRODUCT) };
    let attributes = [QE_FLAGS.to_le_bytes(), [0; 8]].concat();
    json!({
        "id": id,
        "version": 2,
        "issueDate": issued,
        "nextUpdate": until,
        "tcbEvaluationDataNumber": EVALUATION_DATA_NUMBER,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": hex::encode_upper(attributes),
        // All flags but MODE64BIT, and no XFRM.
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(qe_signer()),
        "isvprodid": product,
        "tcbLevels": [
            { "tcb": { "isvsvn": QE_SVN }, "tcbDate": "2026-02-11T00:00:00Z", "tcbStatus": "UpToDate" },
        ],
    })
}
