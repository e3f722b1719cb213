//! The interoperable extension: tagged CBOR around a quote and claims (RFC 8949).

use std::convert::Infallible;

use bulla_crypto::{RoleHash, sha256, sha384, sha512};
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder, decode, encode};

use super::RaTlsFault;
use crate::Error;

/// A quote of Intel's, in the IANA registry of CBOR tags.
const TEE_QUOTE: u64 = 60_000;

const PUBKEY_HASH: &str = "pubkey-hash";
const NONCE: &str = "nonce";

/// How many claims are read. Two are known; some writers add their own.
const CLAIMS_LIMIT: u64 = 16;

/// What an RA-TLS certificate says about its key.
///
/// ```
/// use bulla_attest::CertificateClaims;
///
/// # let (spki, quote) = ([0x30; 91], [3; 5000]);
/// let claims = CertificateClaims::new(&spki, Some(b"the verifier's nonce"));
/// let report_data = claims.report_data(); // have the machine quote this …
/// let extension = claims.extension(&quote); // … and put this under `RA_TLS_OID`, uncritical
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateClaims {
    /// The encoding, which the report data is the hash of.
    bytes: Vec<u8>,
    /// Of the SubjectPublicKeyInfo.
    key_hash: KeyHash,
    nonce: Option<Vec<u8>>,
}

/// A hash and its algorithm, by its number in the IANA registry of named information.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyHash {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

impl CertificateClaims {
    /// The claims for a key, given as DER SubjectPublicKeyInfo, in the deterministic encoding.
    pub fn new(key: &[u8], nonce: Option<&[u8]>) -> Self {
        let key_hash = KeyHash::Sha256(sha256(&[key]));
        let hash = key_hash.encode();
        // Shorter names come first.
        let nonce_claim = nonce.map(|nonce| (NONCE, nonce));
        let claims: Vec<_> = nonce_claim.into_iter().chain([(PUBKEY_HASH, hash.as_slice())]).collect();
        Self { bytes: encode_claims(&claims), key_hash, nonce: nonce.map(<[u8]>::to_vec) }
    }

    /// The nonce of the verifier that this certificate was made for, if it was made for one.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_deref()
    }

    /// The report data of the quote to have made.
    pub fn report_data(&self) -> RoleHash {
        RoleHash::ra_tls_claims(&self.bytes)
    }

    /// The content of the extension, [`RA_TLS_OID`](crate::RA_TLS_OID), around that quote.
    pub fn extension(&self, quote: &[u8]) -> Vec<u8> {
        written(|to| {
            to.tag(Tag::new(TEE_QUOTE))?.array(2)?.bytes(quote)?.bytes(&self.bytes)?;
            Ok(())
        })
    }

    /// Whether the hash is that of this key.
    pub(super) fn is_for(&self, key: &[u8]) -> bool {
        match &self.key_hash {
            KeyHash::Sha256(hash) => *hash == sha256(&[key]),
            KeyHash::Sha384(hash) => *hash == sha384(&[key]),
            KeyHash::Sha512(hash) => *hash == sha512(&[key]),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let claims = decode_claims(bytes)
            .map_err(|error| fault(&format!("its claims are no map of claims: {error}")))?;
        // What the library read leniently shows here: lengths in more bytes than they need, bytes behind the end.
        if encode_claims(&claims) != bytes {
            return Err(fault("its claims are not in the definite, shortest encoding"));
        }
        let mut names: Vec<_> = claims.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
            return Err(fault("it has a claim twice"));
        }
        let claim = |wanted| claims.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let hash = claim(PUBKEY_HASH).ok_or_else(|| fault("its claims do not name a key (pubkey-hash)"))?;
        let key_hash = KeyHash::parse(hash)?;
        Ok(Self { bytes: bytes.to_vec(), key_hash, nonce: claim(NONCE).map(<[u8]>::to_vec) })
    }
}

impl KeyHash {
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let read = || -> Result<(u64, &[u8]), decode::Error> {
            let mut from = Decoder::new(bytes);
            match from.array()? {
                Some(2) => Ok((from.u64()?, from.bytes()?)),
                _ => Err(decode::Error::message("it has two parts")),
            }
        };
        let (algorithm, digest) =
            read().map_err(|error| fault(&format!("its pubkey-hash is no hash: {error}")))?;
        let hash = match algorithm {
            1 => digest.try_into().ok().map(Self::Sha256),
            7 => digest.try_into().ok().map(Self::Sha384),
            8 => digest.try_into().ok().map(Self::Sha512),
            _ => None,
        };
        let hash = hash.ok_or_else(|| {
            let length = digest.len();
            fault(&format!(
                "its pubkey-hash has {length} bytes of algorithm {algorithm}; known are 1, 7 and 8 (SHA-256, -384, -512)"
            ))
        })?;
        if hash.encode() != bytes {
            return Err(fault("its pubkey-hash is not in the definite, shortest encoding"));
        }
        Ok(hash)
    }

    fn encode(&self) -> Vec<u8> {
        let (algorithm, digest): (u64, &[u8]) = match self {
            Self::Sha256(digest) => (1, digest),
            Self::Sha384(digest) => (7, digest),
            Self::Sha512(digest) => (8, digest),
        };
        written(|to| {
            to.array(2)?.u64(algorithm)?.bytes(digest)?;
            Ok(())
        })
    }
}

/// Reads the content of an extension: quote, claims.
pub(super) fn read_extension(value: &[u8]) -> Result<(Vec<u8>, CertificateClaims), Error> {
    let not_cbor = |error: decode::Error| fault(&format!("it is no tagged evidence: {error}"));
    let mut from = Decoder::new(value);
    let tag = from.tag().map_err(not_cbor)?.as_u64();
    if tag != TEE_QUOTE {
        let detail = format!(
            "the evidence in the certificate is {} (CBOR tag {tag}), and quotes of SGX and TDX are read (tag {TEE_QUOTE})",
            tag_name(tag)
        );
        return Err(Error::ra_tls(RaTlsFault::Unsupported, detail));
    }
    let mut pair = || -> Result<(&[u8], &[u8]), decode::Error> {
        match from.array()? {
            Some(2) => Ok((from.bytes()?, from.bytes()?)),
            _ => Err(decode::Error::message("it has two parts, quote and claims")),
        }
    };
    let (quote, claims) = pair().map_err(not_cbor)?;
    let claims = CertificateClaims::parse(claims)?;
    if claims.extension(quote) != value {
        return Err(fault("it is not in the definite, shortest encoding, or has bytes behind its end"));
    }
    Ok((quote.to_vec(), claims))
}

fn tag_name(tag: u64) -> &'static str {
    match tag {
        60_001 => "a local report",
        60_002 => "a local report of SGX",
        0x1a_7504 => "an SEV-SNP report of rats-tls",
        0x1a_7505 => "an SEV report of rats-tls",
        0x1a_7506 => "a CSV report of rats-tls",
        _ => "of an unknown kind",
    }
}

fn decode_claims(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, decode::Error> {
    let mut from = Decoder::new(bytes);
    let count = from.map()?.ok_or_else(|| decode::Error::message("of indefinite length"))?;
    if count > CLAIMS_LIMIT {
        return Err(decode::Error::message("more than 16"));
    }
    let mut claims = Vec::new();
    for _ in 0..count {
        claims.push((from.str()?, from.bytes()?));
    }
    Ok(claims)
}

/// In the order given.
fn encode_claims(claims: &[(&str, &[u8])]) -> Vec<u8> {
    written(|to| {
        to.map(claims.len() as u64)?;
        for (name, value) in claims {
            to.str(name)?.bytes(value)?;
        }
        Ok(())
    })
}

fn written(
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), encode::Error<Infallible>>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes)).expect("writing to memory does not fail");
    bytes
}

fn fault(detail: &str) -> Error {
    Error::ra_tls(RaTlsFault::Parse, format!("the extension with the evidence: {detail}"))
}
