//! `request`, and what else asks a key provider.

use std::path::PathBuf;
use std::str::FromStr;

use bulla_protocol::v1::{Algorithm, Selector};
use bulla_tee::GuestBinding;
use clap::{Args as Group, ValueEnum, ValueHint};
use serde_json::Value;

use super::OptionalPin;

#[derive(Debug, Group)]
#[command(after_help = "\
ALGORITHM is hkdf-sha256 (if not given), hkdf-sha384, or the seed of a private key: x25519, x-wing. LENGTH is 16 to 64 bytes, 32 if not \
given. Another path, purpose, algorithm or length gives an unrelated key.")]
pub(crate) struct Request {
    /// The provider: http://HOST:PORT, https://HOST:PORT, unix:PATH or vsock:CID:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) provider: String,

    #[command(flatten)]
    pub(crate) pin: OptionalPin,

    /// Names the key
    #[arg(long, requires = "purpose", required_unless_present = "key")]
    pub(crate) path: Option<String>,

    /// What the key is for: lower-case letters, digits and hyphens
    #[arg(long, requires = "path")]
    pub(crate) purpose: Option<String>,

    /// How the key is derived
    #[arg(long, value_name = "ALGORITHM", default_value = "hkdf-sha256", value_parser = algorithm)]
    pub(crate) algorithm: Algorithm,

    /// Bytes of the key, 16 to 64
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub(crate) length: u16,

    /// One of several keys, all asked for at once
    #[arg(long, value_name = "PATH:PURPOSE[,ALGORITHM[,LENGTH]]", conflicts_with = "path")]
    pub(crate) key: Vec<KeyName>,

    #[command(flatten)]
    pub(crate) asked: KeyTerms,

    #[command(flatten)]
    pub(crate) entitled: Entitled,

    /// Ask in an attested session over TLS instead of with evidence for this request; needs an https:// address
    #[arg(long)]
    pub(crate) session: bool,

    #[command(flatten)]
    pub(crate) shown: Shown,

    /// Write the key, raw, to this file (mode 0600) instead of standard output; one for each key, in their order
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "fd")]
    pub(crate) output: Vec<PathBuf>,

    /// Write the key, raw, to this open descriptor instead; one for each key, in their order
    #[arg(long, value_name = "N")]
    pub(crate) fd: Vec<u32>,
}

/// What the provider is shown, and how its answer is encrypted.
#[derive(Clone, Copy, Debug, Group)]
pub(crate) struct Shown {
    /// What to show of this guest
    #[arg(long, value_enum, default_value_t = EvidenceChoice::Any)]
    pub(crate) evidence: EvidenceChoice,

    /// What the keys are encrypted to on their way
    #[arg(long, value_enum, default_value_t = SuiteChoice::XWing, conflicts_with = "session")]
    pub(crate) suite: SuiteChoice,
}

/// The evidence of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvidenceChoice {
    /// A quote, or a local report where nothing gives a quote
    Any,
    /// A quote, which is judged here first
    Quote,
    /// A local report, which only an enclave on this machine can judge, as the provider is
    Report,
}

/// The suites of protocol v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteChoice {
    /// Suite 2: ML-KEM-768 and X25519, safe while either is
    XWing,
    /// Suite 1: X25519 alone, which falls to quantum computers; where the provider's policy allows it
    X25519,
}

/// To what keys are bound, and from where they come.
#[derive(Debug, Group)]
pub(crate) struct KeyTerms {
    /// What the keys are bound to: `measurement` (exactly this guest), `owner:HEX,product=NAME,svn=N` (every image that the owner
    /// entitles; see --manifest) or `register-policy:NAME,version=N` (the registers that a policy of the provider names)
    #[arg(long, value_name = "BINDING", default_value = "measurement")]
    pub(crate) binding: GuestBinding,

    /// Keep the keys apart from those of other instances that are bound to the same
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,

    /// From this root of the provider instead of its newest, 32 hexadecimal digits, as an earlier request printed it
    #[arg(long, value_name = "HEX")]
    pub(crate) root: Option<String>,

    /// What was measured into this guest's run-time registers, for a register policy with a boundary: JSON as guest agents publish
    /// it
    #[arg(long, value_name = "JSON", value_hint = ValueHint::FilePath)]
    pub(crate) event_log: Option<PathBuf>,
}

/// What this guest is entitled to.
#[derive(Debug, Group)]
pub(crate) struct Entitled {
    /// The owner of this guest's image, 64 hexadecimal digits, from the image itself and never from the host: what is sealed for an
    /// owner's images is opened for this owner alone
    #[arg(long, value_name = "HEX", requires = "manifest")]
    pub(crate) owner: Option<String>,

    /// The owner's manifest for this guest's image, as `bulla manifest sign` wrote it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) manifest: Option<PathBuf>,
}

/// `PATH:PURPOSE[,ALGORITHM[,LENGTH]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyName(pub(crate) Selector);

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A purpose has no colon, and a path may have one.
        let (path, terms) = text.rsplit_once(':').ok_or("write PATH:PURPOSE, as in app/db:disk")?;
        let mut terms = terms.split(',');
        let purpose = terms.next().unwrap_or_default();
        let algorithm = terms.next().map_or(Ok(Algorithm::HkdfSha256), algorithm)?;
        let length = terms.next().map_or(Ok(32), str::parse);
        let length = length.map_err(|_| "LENGTH is a number of bytes, 16 to 64".to_owned())?;
        if terms.next().is_some() {
            return Err("there is nothing after LENGTH".into());
        }
        Ok(Self(Selector { path: path.into(), purpose: purpose.into(), algorithm, length }))
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    serde_json::from_value(Value::from(name))
        .map_err(|_| format!("{name:?} is no algorithm: there are hkdf-sha256, hkdf-sha384, x25519, x-wing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_path_and_purpose() {
        let key = |path: &str, purpose: &str, algorithm, length| {
            Ok(KeyName(Selector { path: path.into(), purpose: purpose.into(), algorithm, length }))
        };
        assert_eq!("app/db:disk".parse(), key("app/db", "disk", Algorithm::HkdfSha256, 32));
        assert_eq!("a:b:disk,hkdf-sha384,48".parse(), key("a:b", "disk", Algorithm::HkdfSha384, 48));
        assert_eq!("app:tls,x-wing".parse(), key("app", "tls", Algorithm::XWing, 32));
        for bad in ["app", "app:disk,", "app:disk,md5", "app:disk,x25519,x", "app:disk,x25519,32,", ""] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }
}
