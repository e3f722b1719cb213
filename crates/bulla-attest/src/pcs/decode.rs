//! From answers to the parts of a set.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fetch::{Wanted, fault};
use super::transport::Answer;
use crate::Error;
use crate::error::ServiceFault;

/// A signed document, exactly as it was signed.
pub(super) struct Document {
    pub(super) text: String,
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, rename = "tcbInfo", alias = "enclaveIdentity")]
    inner: &'a RawValue,
    signature: &'a str,
}

/// The inner object of a TCB info or a QE identity, and its signature.
pub(super) fn document(wanted: &Wanted<'_>, answer: &Answer) -> Result<Document, Error> {
    let malformed = |why: &str| fault(wanted, ServiceFault::Malformed, why);
    let envelope: Envelope<'_> = serde_json::from_slice(&answer.body)
        .map_err(|error| malformed(&format!("it does not answer with a signed document: {error}")))?;
    let signature =
        hex::decode(envelope.signature).map_err(|_| malformed("the signature is not hexadecimal"))?;
    Ok(Document { text: envelope.inner.get().to_owned(), signature })
}

/// DER, or its hexadecimal digits, or PEM.
pub(super) fn crl(wanted: &Wanted<'_>, answer: &Answer) -> Result<Vec<u8>, Error> {
    let malformed = || fault(wanted, ServiceFault::Malformed, "it does not answer with a revocation list");
    let body = answer.body.as_slice();
    // The tag of a SEQUENCE. It is also the digit 0, but digits of DER begin with a 3.
    if body.first() == Some(&0x30) {
        return Ok(body.to_vec());
    }
    let text = str::from_utf8(body).map_err(|_| malformed())?.trim();
    if text.starts_with("-----BEGIN X509 CRL-----") {
        return pem::parse(text).map(pem::Pem::into_contents).map_err(|_| malformed());
    }
    hex::decode(text).map_err(|_| malformed())
}

/// The issuers, from the one header that has one of these names.
pub(super) fn issuers(wanted: &Wanted<'_>, answer: &Answer, names: &[&str]) -> Result<String, Error> {
    let malformed = |why: &str| fault(wanted, ServiceFault::Malformed, why);
    let mut values = answer.headers.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let (Some((_, value)), None) = (values.next(), values.next()) else {
        return Err(malformed("its answer does not have one header with the issuers"));
    };
    // Some encoders write + for a space, and the plus signs of base64 as %2B; others leave those alone.
    let spaced = if value.contains("BEGIN+CERTIFICATE") { value.replace('+', " ") } else { value.clone() };
    let pem = percent_decode_str(&spaced).decode_utf8().map_err(|_| malformed("the issuers are not text"))?;
    Ok(pem.into_owned())
}
