//! What counts as agreement.
//!
//! - Both accept: the levels are equal, and so are the platform's names and an enclave's report.
//! - bulla accepts: level and advisories are also those of Intel's description, whether or not the library knows the level.
//! - Both refuse.
//! - bulla refuses by policy, Intel's library has none: the levels are equal.
//! - bulla refuses and Intel's library accepts: the code is in [`STRICTER`], and the input is of the kind that stands there.
//! - Only what came after the library is not judged by it: quotes of version 5, and the level of a guest whose TDX module is of
//!   version 1 or later. Its chains, documents and signatures are judged.
//!
//! Anything else is a disagreement.

use std::collections::BTreeSet;
use std::fmt;

use bulla_attest::{Claims, Error, TcbStatus};
use bulla_tee::Identity;
use serde_json::Value;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::inputs::Input;
use crate::qvl::{Answer, Level, Names, Report};

/// Where bulla is stricter on purpose.
struct Stricter {
    /// The codes.
    codes: &'static [&'static str],
    /// Which inputs may be refused by one of them although the library accepts.
    only: fn(&Input) -> bool,
    /// Why bulla refuses what the library accepts.
    why: &'static str,
}

const STRICTER: [Stricter; 10] = [
    Stricter {
        codes: &["tcb_info.unsupported_version"],
        only: |input| input.item("tcb_info").contains("\"version\":2,"),
        why: "TCB info of version 2 has no place for components; version 4 of the service does not give it any more",
    },
    Stricter {
        codes: &["parse.too_large"],
        only: |input| input.quote.len() > 32 * 1024,
        why: "a quote has a limit before anything is read (R31)",
    },
    Stricter {
        codes: &["pck.chain", "tcb_info.chain", "qe_identity.chain"],
        only: |_| true,
        why: "a chain is certificates and nothing else, leaf first, of the wanted shape; the library looks for what it needs",
    },
    Stricter {
        codes: &[
            "pck_crl.chain",
            "pck_crl.chain_signature",
            "pck_crl.untrusted_root",
            "pck_crl.cert_expired",
        ],
        only: |_| true,
        why: "the chain that comes with the PCK CRL is judged as well; the library does not take it (R28)",
    },
    Stricter {
        codes: &["pck_crl.parse", "root_crl.parse"],
        only: |input| ["pck_crl", "root_ca_crl"].iter().any(|name| is_followed(input.item(name))),
        why: "nothing follows a CRL",
    },
    Stricter {
        codes: &[
            "tcb_info.untrusted_root",
            "tcb_info.chain_signature",
            "qe_identity.untrusted_root",
            "qe_identity.chain_signature",
            "pck.untrusted_root",
            "pck.chain_signature",
        ],
        only: |input| input.certificates().any(|der| is_loose(&der)),
        why: "both names of a certificate's algorithm are the same (RFC 5280, 4.1.1.2) and its signature is whole octets; the \
              library reads over what is not signed",
    },
    Stricter {
        codes: &["tcb_info.signature", "qe_identity.signature"],
        only: |input| ["tcb_info", "qe_identity"].iter().any(|name| !is_compact(input.item(name))),
        why: "signatures are over the received bytes (R19); the library writes the document anew, without its white space",
    },
    Stricter {
        codes: &[
            "tcb_info.not_yet_valid",
            "qe_identity.not_yet_valid",
            "root_crl.not_yet_valid",
            "pck_crl.not_yet_valid",
        ],
        only: |input| input.windows().0.iter().any(|begin| *begin > input.now),
        why: "what is from the future is not taken: a clock was turned back (R28); the library looks at ends only",
    },
    Stricter {
        codes: &["pck.cert_expired", "tcb_info.cert_expired", "qe_identity.cert_expired"],
        only: |input| input.windows().0.iter().any(|begin| *begin > input.now),
        why: "the same for certificates",
    },
    Stricter {
        codes: &["tcb_info.expired", "qe_identity.expired", "root_crl.expired", "pck_crl.expired"],
        only: |input| input.windows().1.contains(&input.now),
        why: "the second of the next update is the first that does not count; to the library it is the last that does",
    },
];

/// In what no signature covers: the second name of the algorithm, and how many bits of the last octet are none of the signature's.
fn is_loose(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
        let algorithms = [&certificate.signature_algorithm, &certificate.tbs_certificate.signature];
        algorithms[0] != algorithms[1] || certificate.signature_value.unused_bits != 0
    })
}

fn is_followed(crl: &str) -> bool {
    let der = hex::decode(crl).unwrap_or_default();
    CertificateRevocationList::from_der(&der).is_ok_and(|(rest, _)| !rest.is_empty())
}

/// Without white space, but for that in strings.
fn is_compact(document: &str) -> bool {
    serde_json::from_str::<Value>(document).is_ok_and(|parsed| parsed.to_string().as_str() == document)
}

/// A kind of agreement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Both accept.
    Accept(&'static str),
    /// Both accept the signatures; the library does not know how to find the level.
    Newer,
    /// Both find this level, and bulla's policy has something against what runs.
    Policy(&'static str, &'static str),
    /// The library accepts.
    Stricter(&'static str, &'static str),
    /// By bulla's code and the library's first complaint.
    Refuse(&'static str, String),
    /// The library does not know the quote's version. The code, or `ok`.
    Unjudged(&'static str),
}

impl Kind {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Accept(_) => "both accept, same level",
            Self::Newer => "both accept but for the level",
            Self::Policy(..) => "same level, refused by policy",
            Self::Stricter(..) => "bulla is stricter on purpose",
            Self::Refuse(..) => "both refuse",
            Self::Unjudged(_) => "not judged by the library",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self {
            Self::Newer => Ok(()),
            Self::Accept(what) | Self::Unjudged(what) => write!(f, ": {what}"),
            Self::Stricter(code, why) => write!(f, ": {code}: {why}"),
            Self::Policy(code, level) => write!(f, ": {code}, {level}"),
            Self::Refuse(code, complaint) => write!(f, ": {code}, {complaint}"),
        }
    }
}

/// The library's verdict.
enum Verdict {
    Level(TcbStatus),
    Newer,
    Refused(String),
    Unjudged,
}

/// How they agree, or how not.
pub(crate) fn judge(input: &Input, ours: &Result<Claims, Error>, theirs: &Answer) -> Result<Kind, String> {
    let verdict = verdict(input, theirs);
    let claims = match ours {
        Ok(claims) => claims,
        Err(error) => return judge_refusal(input, error, verdict),
    };
    same_platform(claims, &theirs.platform)?;
    same_advisories(claims, theirs.level.as_ref())?;
    match verdict {
        Verdict::Level(level) => {
            same_level(claims.tcb.status, level)?;
            same_report(claims, theirs.report.as_ref())?;
            Ok(Kind::Accept(level.as_str()))
        }
        Verdict::Newer => Ok(Kind::Newer),
        Verdict::Unjudged => Ok(Kind::Unjudged("ok")),
        Verdict::Refused(complaint) => Err(format!("only Intel's library refuses: {complaint}")),
    }
}

fn judge_refusal(input: &Input, error: &Error, verdict: Verdict) -> Result<Kind, String> {
    let code = error.code();
    let level = match verdict {
        Verdict::Refused(complaint) => return Ok(Kind::Refuse(code, complaint)),
        Verdict::Unjudged => return Ok(Kind::Unjudged(code)),
        Verdict::Level(level) => Some(level),
        Verdict::Newer => None,
    };
    if let Some(tcb) = error.tcb() {
        level.map_or(Ok(()), |level| same_level(tcb.status, level))?;
        return Ok(Kind::Policy(code, level.map_or("unknown level", TcbStatus::as_str)));
    }
    // Of a level that the library does not judge, it does not say that there is none either.
    if level.is_none() && matches!(code, "tcb.no_matching_level" | "tdx_module.mismatch") {
        return Ok(Kind::Unjudged(code));
    }
    let row = STRICTER.iter().find(|row| row.codes.contains(&code) && (row.only)(input));
    row.map_or_else(|| Err(format!("only bulla refuses, by {code}")), |row| Ok(Kind::Stricter(code, row.why)))
}

fn verdict(input: &Input, answer: &Answer) -> Verdict {
    let [others @ .., quote] = &answer.steps;
    let names = ["PCK", "TCB info", "QE identity"];
    if let Some((name, step)) = names.iter().zip(others).find(|(_, step)| *step != "OK") {
        return Verdict::Refused(format!("{name} {step}"));
    }
    Verdict::Level(match quote.as_str() {
        "OK" => TcbStatus::UpToDate,
        "TCB_SW_HARDENING_NEEDED" => TcbStatus::SwHardeningNeeded,
        "TCB_CONFIGURATION_NEEDED" => TcbStatus::ConfigurationNeeded,
        "TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED" => TcbStatus::ConfigurationAndSwHardeningNeeded,
        "TCB_OUT_OF_DATE" => TcbStatus::OutOfDate,
        "TCB_OUT_OF_DATE_CONFIGURATION_NEEDED" => TcbStatus::OutOfDateConfigurationNeeded,
        "TCB_REVOKED" => TcbStatus::Revoked,
        "UNSUPPORTED_QUOTE_FORMAT" if input.quote.first() == Some(&5) => return Verdict::Unjudged,
        "TCB_INFO_MISMATCH" if has_newer_module(input, &answer.platform) => return Verdict::Newer,
        complaint => return Verdict::Refused(complaint.to_owned()),
    })
}

/// Whether the library says so, last of all, because it looks for the TDX module's version in the platform's levels, where version 0
/// alone stands since there are `tdxModuleIdentities` (Intel PCS v4, TCB info version 3). It says so of a TCB info for another
/// platform or TEE as well, before it looks at signatures.
fn has_newer_module(input: &Input, platform: &Names) -> bool {
    let Ok(tcb_info) = serde_json::from_str::<Value>(input.item("tcb_info")) else { return false };
    let is = |name: &str, found: &Option<String>| {
        let wanted = tcb_info[name].as_str().map(str::to_lowercase);
        wanted.is_some() && wanted == *found
    };
    // The second byte of TEE_TCB_SVN is the module's version.
    let newer = input.quote.first() == Some(&4) && input.quote.get(49).is_some_and(|version| *version > 0);
    newer && tcb_info["id"] == "TDX" && is("fmspc", &platform.fmspc) && is("pceId", &platform.pceid)
}

fn same_level(ours: TcbStatus, theirs: TcbStatus) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{ours} is {theirs} to Intel's library")) }
}

/// Of what is accepted, also where the library does not say: by Intel's description.
fn same_advisories(claims: &Claims, theirs: Option<&Level>) -> Result<(), String> {
    let theirs = theirs.ok_or("there is no level by Intel's description")?;
    let advisories: BTreeSet<_> = claims.tcb.advisory_ids.iter().collect();
    if claims.tcb.status.as_str() == theirs.status && advisories.into_iter().eq(&theirs.advisories) {
        return Ok(());
    }
    Err(format!("{:?} is {theirs:?} by Intel's description", claims.tcb))
}

fn same_platform(claims: &Claims, theirs: &Names) -> Result<(), String> {
    let ours = claims.platform.intel().ok_or("not a platform of Intel's")?;
    let ours = [hex::encode(ours.ppid), hex::encode(ours.pceid), hex::encode(ours.fmspc)].map(Some);
    if ours == [theirs.ppid.clone(), theirs.pceid.clone(), theirs.fmspc.clone()] {
        return Ok(());
    }
    Err(format!("another platform: {ours:?}, {theirs:?}"))
}

/// A guest's report is not in the library's answer.
fn same_report(claims: &Claims, theirs: Option<&Report>) -> Result<(), String> {
    let (Identity::Sgx(enclave), Some(theirs)) = (&claims.identity, theirs) else { return Ok(()) };
    let attributes = [enclave.attributes.flags.to_le_bytes(), enclave.attributes.xfrm.to_le_bytes()];
    let same = theirs.cpusvn == hex::encode(enclave.cpusvn)
        && theirs.attributes == hex::encode(attributes.concat())
        && theirs.mrenclave == hex::encode(enclave.mrenclave)
        && theirs.mrsigner == hex::encode(enclave.mrsigner)
        && theirs.isv_prod_id == enclave.isv_prod_id
        && theirs.isv_svn == enclave.isv_svn
        && theirs.misc_select == enclave.misc_select
        && theirs.report_data == hex::encode(claims.report_data);
    if same { Ok(()) } else { Err(format!("another report: {theirs:?}")) }
}
