//! The provisioning services of a simulated machine: what Intel's (PCS API version 4), a caching service in front of it
//! (PCCS) and AMD's key distribution service (KDS) would answer to one request.

use std::collections::BTreeMap;

use bulla_crypto::sha256;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::snp::vendor::PRODUCT;
use crate::{Edition, Error, Machine, TeeType};

/// In headers everything is encoded but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where Intel's host for certificates has the CRL of the root.
const ROOT_CRL: &str = "/IntelSGXRootCA.der";

const JSON: &str = "application/json";
const DER: &str = "application/pkix-crl";
const PEM: &str = "application/x-pem-file";
const TEXT: &str = "text/plain";
const CERTIFICATE: &str = "application/pkix-cert";

/// What is answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status of HTTP, for example 200.
    pub status: u16,
    /// Names and values of the headers. Values are printable ASCII; the length of the body is not among them.
    pub headers: Vec<(&'static str, String)>,
    /// The document.
    pub body: Vec<u8>,
}

impl Response {
    fn ok(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: vec![("Content-Type", kind.into())], body: body.into() }
    }

    fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// 400, with the headers that say why.
    fn bad_request(why: &str) -> Self {
        Self::empty(400).with("Error-Code", "InvalidRequestSyntax").with("Error-Message", why)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With the chain of who signed the document, encoded for a header.
    fn with_chain(self, name: &'static str, pem: &str) -> Self {
        self.with(name, utf8_percent_encode(pem, RESERVED).to_string())
    }

    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What the provisioning service answers at `now_unix` to a request with this method and this path and query.
///
/// | path | parameters | document |
/// |---|---|---|
/// | `/{sgx,tdx}/certification/v4/tcb` | `fmspc`; `update` or `tcbEvaluationDataNumber` | TCB info |
/// | `/{sgx,tdx}/certification/v4/qe/identity` | `update` or `tcbEvaluationDataNumber` | identity of the quoting enclave |
/// | `/{sgx,tdx}/certification/v4/tcbevaluationdatanumbers` | | which numbers there are |
/// | `/sgx/certification/v4/pckcrl` | `ca`; `encoding`: `pem` (if not given) or `der` | CRL of the PCK CA |
/// | `/sgx/certification/v4/rootcacrl` | | CRL of the root in DER, as hexadecimal digits (PCCS) |
/// | `/sgx/certification/v4/crl` | `uri` of the CRL's distribution point | CRL of the root, DER (PCCS) |
/// | `/IntelSGXRootCA.der` | | CRL of the root, DER, as on Intel's host for certificates |
/// | `/vcek/v1/Genoa/CHIPID` | `blSPL`, `teeSPL`, `snpSPL`, `ucodeSPL` | certificate of the chip's key at that TCB, DER (KDS) |
/// | `/vcek/v1/Genoa/cert_chain` | | its issuers: ASK and ARK, PEM (KDS) |
/// | `/vcek/v1/Genoa/crl` | | CRL of the ARK, DER (KDS) |
///
/// Issuers' chains are in headers, in percent-encoded PEM, and each answer has a `Request-ID`. What cannot be asked is 400,
/// with `Error-Code` and `Error-Message`; what there is not is 404; an evaluation number that was retired is 410. It does
/// no input or output; where signing fails it answers 500.
///
/// ```
/// use bulla_sim::{Machine, pcs};
///
/// # let parent = tempfile::tempdir()?;
/// let machine = Machine::create(parent.path().join("machine"))?;
/// let answer = pcs::respond(&machine, 1_800_000_000, "GET", "/tdx/certification/v4/qe/identity");
/// assert_eq!(answer.status, 200);
/// assert!(answer.header("SGX-Enclave-Identity-Issuer-Chain").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn respond(machine: &Machine, now_unix: u64, method: &str, path_and_query: &str) -> Response {
    let response = match method {
        "GET" => route(machine, now_unix, path_and_query),
        _ => Response::empty(405).with("Allow", "GET"),
    };
    // Another one for each request, and the same for the same request: this is a function.
    let id = sha256(&[&now_unix.to_be_bytes(), method.as_bytes(), b" ", path_and_query.as_bytes()]);
    response.with("Request-ID", hex::encode(id.split_at(16).0))
}

fn route(machine: &Machine, now: u64, path_and_query: &str) -> Response {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let Some(query) = Query::parse(query) else {
        return Response::bad_request("a parameter is given twice or is not text");
    };
    let (tee, document) = match path.split_once("/certification/v4/") {
        Some(("/sgx", document)) => (TeeType::Sgx, document),
        Some(("/tdx", document)) => (TeeType::Tdx, document),
        None if path == ROOT_CRL => (TeeType::Sgx, "crl"),
        None if path.starts_with("/vcek/") => {
            return chip_key(machine, now, path, &query).unwrap_or_else(|refusal| refusal);
        }
        _ => return Response::empty(404),
    };
    let answer = match (tee, document) {
        (_, "tcb") => tcb_info(machine, tee, now, &query),
        (_, "qe/identity") => qe_identity(machine, tee, now, &query),
        (_, "tcbevaluationdatanumbers") => evaluation_numbers(machine, tee, now),
        (TeeType::Sgx, "pckcrl") => pck_crl(machine, now, &query),
        (TeeType::Sgx, "rootcacrl") => {
            items(machine, tee, Edition::Standard, now).map(|items| Response::ok(TEXT, items.root_ca_crl))
        }
        (TeeType::Sgx, "crl") => root_crl(machine, now, path, &query),
        _ => Err(Response::empty(404)),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

fn tcb_info(machine: &Machine, tee: TeeType, now: u64, query: &Query) -> Result<Response, Response> {
    let mut fmspc = [0; 6];
    let digits = query.value("fmspc").ok_or_else(|| Response::bad_request("fmspc is missing"))?;
    hex::decode_to_slice(digits, &mut fmspc)
        .map_err(|_| Response::bad_request("fmspc is not 12 hexadecimal digits"))?;
    let items = items(machine, tee, edition(query)?, now)?;
    if fmspc != machine.fmspc() {
        return Err(Response::empty(404));
    }
    Ok(Response::ok(JSON, signed("tcbInfo", &items.tcb_info, &items.tcb_info_signature))
        .with_chain("TCB-Info-Issuer-Chain", &items.tcb_info_issuer_chain))
}

fn qe_identity(machine: &Machine, tee: TeeType, now: u64, query: &Query) -> Result<Response, Response> {
    let items = items(machine, tee, edition(query)?, now)?;
    Ok(Response::ok(JSON, signed("enclaveIdentity", &items.qe_identity, &items.qe_identity_signature))
        .with_chain("SGX-Enclave-Identity-Issuer-Chain", &items.qe_identity_issuer_chain))
}

/// All editions that are valid at the time, newest first.
fn evaluation_numbers(machine: &Machine, tee: TeeType, now: u64) -> Result<Response, Response> {
    let [standard, early] =
        [Edition::Standard, Edition::Early].map(|edition| items(machine, tee, edition, now));
    let (standard, early) = (standard?.head, early?.head);
    let numbers = (standard.number..=early.number).rev().map(|number| {
        let head = items(machine, tee, Edition::Number(number), now)?.head;
        let date = head.levels.first().map(|level| &level.date);
        Ok(json!({ "tcbEvaluationDataNumber": number, "tcbRecoveryEventDate": date, "tcbDate": date }))
    });
    let document = json!({
        "id": early.id,
        "version": 1,
        "issueDate": early.issue_date,
        "nextUpdate": early.next_update,
        "tcbEvalNumbers": numbers.collect::<Result<Vec<_>, Response>>()?,
    })
    .to_string();
    let signature = machine.sign_document(&document).map_err(|error| failed(&error))?;
    let chain = items(machine, tee, Edition::Standard, now)?.tcb_info_issuer_chain;
    Ok(Response::ok(JSON, signed("tcbEvaluationDataNumbers", &document, &signature))
        .with_chain("TCB-Evaluation-Data-Numbers-Issuer-Chain", &chain))
}

fn pck_crl(machine: &Machine, now: u64, query: &Query) -> Result<Response, Response> {
    match query.value("ca") {
        Some("platform") => {}
        // Genuine machines have one or the other; all simulated ones are certified by the platform CA.
        Some("processor") => return Err(Response::empty(404)),
        _ => return Err(Response::bad_request("ca is neither processor nor platform")),
    }
    let items = items(machine, TeeType::Sgx, Edition::Standard, now)?;
    let der = hex::decode(&items.pck_crl).expect("it was encoded a moment ago");
    let response = match query.value("encoding").unwrap_or("pem") {
        "pem" => Response::ok(PEM, pem::encode(&pem::Pem::new("X509 CRL", der))),
        "der" => Response::ok(DER, der),
        _ => return Err(Response::bad_request("encoding is neither pem nor der")),
    };
    Ok(response.with_chain("SGX-PCK-CRL-Issuer-Chain", &items.pck_crl_issuer_chain))
}

/// From Intel's host for certificates, or through a PCCS by the address there.
fn root_crl(machine: &Machine, now: u64, path: &str, query: &Query) -> Result<Response, Response> {
    if path != ROOT_CRL {
        match query.value("uri") {
            None => return Err(Response::bad_request("uri is missing")),
            Some(uri) if !uri.ends_with(ROOT_CRL) => return Err(Response::empty(404)),
            Some(_) => {}
        }
    }
    let items = items(machine, TeeType::Sgx, Edition::Standard, now)?;
    Ok(Response::ok(DER, hex::decode(items.root_ca_crl).expect("it was encoded a moment ago")))
}

/// What AMD's service has about the machine's chip (AMD publication 57230).
fn chip_key(machine: &Machine, now: u64, path: &str, query: &Query) -> Result<Response, Response> {
    let [_, _, "v1", PRODUCT, document] = path.split('/').collect::<Vec<_>>()[..] else {
        return Err(Response::empty(404));
    };
    match document {
        "cert_chain" => Ok(Response::ok(PEM, machine.vcek_issuers())),
        "crl" => machine.vcek_crl(now).map(|crl| Response::ok(DER, crl)).map_err(|error| failed(&error)),
        chip => {
            let mut chip_id = [0; 64];
            hex::decode_to_slice(chip, &mut chip_id)
                .map_err(|_| Response::bad_request("the chip is not 128 hexadecimal digits"))?;
            let part = |name| {
                let value = query.value(name).and_then(|value| value.parse::<u8>().ok());
                value.ok_or_else(|| {
                    Response::bad_request("a part of the TCB is missing or no number up to 255")
                })
            };
            let tcb = [part("blSPL")?, part("teeSPL")?, 0, 0, 0, 0, part("snpSPL")?, part("ucodeSPL")?];
            match machine.vcek_certificate(&chip_id, &tcb) {
                Ok(certificate) => Ok(Response::ok(CERTIFICATE, certificate)),
                Err(Error::NotAQuote(_)) => Err(Response::empty(404)),
                Err(error) => Err(failed(&error)),
            }
        }
    }
}

/// The edition that the query asks for.
fn edition(query: &Query) -> Result<Edition, Response> {
    match (query.value("update"), query.value("tcbEvaluationDataNumber")) {
        (Some(_), Some(_)) => {
            Err(Response::bad_request("update and tcbEvaluationDataNumber exclude each other"))
        }
        (_, Some(number)) => number
            .parse()
            .map(Edition::Number)
            .map_err(|_| Response::bad_request("tcbEvaluationDataNumber is not a number")),
        (None | Some("standard"), None) => Ok(Edition::Standard),
        (Some("early"), None) => Ok(Edition::Early),
        (Some(_), None) => Err(Response::bad_request("update is neither standard nor early")),
    }
}

fn items(machine: &Machine, tee: TeeType, edition: Edition, now: u64) -> Result<Items, Response> {
    let set = machine.collateral_of(tee, edition, now).map_err(|error| failed(&error))?;
    let items: Items = serde_json::from_str(&set).expect("it was written a moment ago");
    let head = serde_json::from_str(&items.tcb_info).expect("it was written a moment ago");
    Ok(Items { head, ..items })
}

fn failed(error: &Error) -> Response {
    match error {
        Error::RetiredEdition(_) => Response::empty(410),
        Error::NoEdition(_) => Response::empty(404),
        _ => Response { body: error.to_string().into_bytes(), ..Response::empty(500) },
    }
}

/// A document with its signature, as served. What is signed are the bytes of the document, so they are not touched.
fn signed(name: &str, document: &str, signature: &str) -> String {
    format!(r#"{{"{name}":{document},"signature":"{signature}"}}"#)
}

/// A set of collateral, in the layout that [`Machine::collateral`] writes.
#[derive(Deserialize)]
struct Items {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    #[serde(skip)]
    head: Head,
}

/// What is of use here in a TCB info.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    id: String,
    issue_date: String,
    next_update: String,
    #[serde(rename = "tcbEvaluationDataNumber")]
    number: u32,
    #[serde(rename = "tcbLevels")]
    levels: Vec<Level>,
}

#[derive(Deserialize)]
struct Level {
    #[serde(rename = "tcbDate")]
    date: String,
}

/// The parameters of a request.
struct Query(BTreeMap<String, String>);

impl Query {
    /// None where a parameter is given twice or is not UTF-8.
    fn parse(query: &str) -> Option<Self> {
        let mut parameters = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let [name, value] = [name, value].map(|text| percent_decode_str(text).decode_utf8());
            if parameters.insert(name.ok()?.into_owned(), value.ok()?.into_owned()).is_some() {
                return None;
            }
        }
        Some(Self(parameters))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
