//! What other SDKs sealed, opened in the enclave that can have its key, so that it can be sealed anew.
//!
//! `docs/spec/import.md` describes the formats: `sgx_sealed_data_t` of Intel's SGX SDK, and what EGo's package `ecrypto` writes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_crypto::{AeadKey, Secret, SecretBytes, sha256};
use bulla_tee::sgx::ForeignKeys;
use bulla_tee::sgx::arch::{KEYNAME_SEAL, KEYPOLICY_MRENCLAVE, Keyrequest};
use bulla_tee::{Floor, Tee};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::Error;
use crate::header::MAX_LABEL_VALUE;

/// The most bytes that are taken for a blob: 256 MiB.
pub const MAX_LEN: usize = 256 << 20;

/// Which software sealed a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sdk {
    /// Intel's SGX SDK, and those that have its format: `sgx_seal_data`.
    Intel,
    /// EGo: `ecrypto.SealWithUniqueKey`, `SealWithProductKey`, and both with 256 bits.
    Ego,
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intel => "Intel's SDK",
            Self::Ego => "EGo",
        })
    }
}

/// What another SDK sealed. What it says of itself is a claim until it opens.
pub struct Blob<'a> {
    sdk: Sdk,
    requests: (Keyrequest, Option<Keyrequest>),
    nonce: [u8; 12],
    ciphertext: &'a [u8],
    tag: [u8; 16],
    /// Intel's SDK keeps it in the blob, EGo does not.
    additional: Option<&'a [u8]>,
}

/// What was in a blob.
pub struct Imported {
    /// What was sealed.
    pub secret: SecretBytes,
    /// Names and values that say where it comes from, for [`Sealer::label`](crate::Sealer::label): `imported-from`, and the
    /// additional data as `additional-data`, `additional-data-base64` or `additional-data-sha256`.
    pub labels: Vec<(&'static str, String)>,
}

/// `sgx_sealed_data_t` as it is compiled, up to its payload.
#[derive(FromBytes, zerocopy::Immutable, zerocopy::KnownLayout, zerocopy::Unaligned)]
#[repr(C)]
struct IntelHead {
    request: [u8; 512],
    plain_text_offset: U32,
    reserved1: [u8; 12],
    payload_size: U32,
    reserved2: [u8; 12],
    tag: [u8; 16],
}

impl<'a> Blob<'a> {
    /// Reads a whole blob of either kind: they differ in their first four bytes.
    ///
    /// # Errors
    /// [`Error::NotForeign`] for anything else, and [`Error::ForeignMalformed`] where it is cut, has bytes behind its end or
    /// says what neither SDK writes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_LEN {
            return Err(Error::TooLarge("the blob"));
        }
        let (first, rest) = U32::read_from_prefix(bytes).map_err(|_| Error::NotForeign)?;
        match first.get() {
            512 | 1024 => Self::ego(rest, first.get() == 1024),
            // KEYNAME and KEYPOLICY.
            first if first & 0xFFFF == u32::from(KEYNAME_SEAL) => Self::intel(bytes),
            _ => Err(Error::NotForeign),
        }
    }

    fn intel(bytes: &'a [u8]) -> Result<Self, Error> {
        let malformed = |what| Error::ForeignMalformed { sdk: Sdk::Intel, what };
        let (head, payload) = IntelHead::read_from_prefix(bytes).map_err(|_| malformed("it is cut short"))?;
        let request = Keyrequest::read_from_bytes(&head.request).map_err(|_| malformed("it is cut short"))?;
        if head.reserved1 != [0; 12] || head.reserved2 != [0; 12] {
            return Err(malformed("bytes that are reserved are not zero, as where Open Enclave sealed it"));
        }
        if request.keyid == [0; 32] {
            // Its nonce is always zero, so the key must be fresh.
            return Err(malformed("its KEYID is zero"));
        }
        let size = head.payload_size.get() as usize;
        if payload.len() != size {
            let cut = payload.len() < size;
            return Err(malformed(if cut { "it is cut short" } else { "there are bytes behind its end" }));
        }
        let (ciphertext, additional) = payload
            .split_at_checked(head.plain_text_offset.get() as usize)
            .ok_or_else(|| malformed("its text begins behind its end"))?;
        if ciphertext.is_empty() {
            return Err(malformed("nothing is sealed in it"));
        }
        Ok(Self {
            sdk: Sdk::Intel,
            requests: (request, None),
            nonce: [0; 12],
            ciphertext,
            tag: head.tag,
            additional: Some(additional),
        })
    }

    fn ego(bytes: &'a [u8], of_256_bits: bool) -> Result<Self, Error> {
        let cut = || Error::ForeignMalformed { sdk: Sdk::Ego, what: "it is cut short" };
        let (first, rest) = Keyrequest::read_from_prefix(bytes).map_err(|_| cut())?;
        let (second, rest) = if of_256_bits {
            let (second, rest) = Keyrequest::read_from_prefix(rest).map_err(|_| cut())?;
            (Some(second), rest)
        } else {
            (None, rest)
        };
        let (nonce, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or_else(cut)?;
        let requests = (first, second);
        Ok(Self { sdk: Sdk::Ego, requests, nonce: *nonce, ciphertext, tag: *tag, additional: None })
    }

    /// Which software sealed it.
    pub fn sdk(&self) -> Sdk {
        self.sdk
    }

    /// How to get its key again: one KEYREQUEST for each 128 bits of it.
    pub fn key_requests(&self) -> impl Iterator<Item = &Keyrequest> {
        let (first, second) = &self.requests;
        [first].into_iter().chain(second)
    }

    /// The additional data in the clear, where the format keeps it.
    pub fn additional_data(&self) -> Option<&'a [u8]> {
        self.additional
    }

    /// Refuses what was sealed below a floor (R6): whoever had the key of an old, broken processor can make blobs that look old.
    ///
    /// # Errors
    /// That of the floor.
    pub fn check_floor(&self, floor: &Floor) -> Result<(), Error> {
        self.key_requests()
            .try_for_each(|request| Ok(floor.check_versions(Some(request.isvsvn), Some(&request.cpusvn))?))
    }

    /// Opens it, if `machine` is the enclave that it was sealed in, or one of the same signer where it was sealed for those.
    ///
    /// `additional` is the additional data. EGo needs it where there was any; in the blobs of Intel's SDK it stands, and what is
    /// given here has to be the same.
    ///
    /// # Errors
    /// [`Error::ForeignKey`] where it does not open; [`Error::AdditionalData`] where the additional data is another, or so long that it
    /// would be lost; those of [`ForeignKeys::foreign_key`].
    pub fn open(&self, machine: &dyn Tee, additional: Option<&[u8]>) -> Result<Imported, Error> {
        let keys = machine.foreign_keys().ok_or(bulla_tee::Error::Unsupported {
            machine: "a machine that is no SGX enclave",
            what: "open what an enclave sealed",
        })?;
        if let (Some(given), Some(stored)) = (additional, self.additional)
            && given != stored
        {
            return Err(Error::AdditionalData("it is not what was sealed with it"));
        }
        let text = self.additional.or(additional).unwrap_or_default();
        let kept = kept(text, additional.is_some())?;
        let key = self.key(keys)?;
        let (secret, ()) = SecretBytes::fill_with(self.ciphertext.len(), |secret| {
            key.open_to(&self.nonce, text, self.ciphertext, &self.tag, secret)
        })
        .map_err(|_| Error::ForeignKey { wanted: self.wanted() })?;
        let from = match self.sdk {
            Sdk::Intel => "intel-sdk",
            Sdk::Ego => "ego",
        };
        let labels = [("imported-from", from.to_owned())].into_iter().chain(kept).collect();
        Ok(Imported { secret, labels })
    }

    fn key(&self, keys: &dyn ForeignKeys) -> Result<AeadKey, Error> {
        let (first, second) = &self.requests;
        let first = keys.foreign_key(first)?;
        let Some(second) = second else { return Ok(AeadKey::of_128_bits(&first)) };
        let second = keys.foreign_key(second)?;
        let both = Secret::fill_with(|both| {
            let (one, other) = both.split_at_mut(16);
            one.copy_from_slice(first.expose());
            other.copy_from_slice(second.expose());
        });
        Ok(AeadKey::new(&both))
    }

    /// Whom the blob claims to be for.
    fn wanted(&self) -> &'static str {
        let (first, _) = &self.requests;
        if first.keypolicy & KEYPOLICY_MRENCLAVE != 0 {
            "exactly the enclave that sealed it (MRENCLAVE)"
        } else {
            "enclaves of the same signer and product (MRSIGNER)"
        }
    }
}

/// The label that keeps additional data. What no label can hold is kept by its hash, if the caller has it anyway.
fn kept(additional: &[u8], given: bool) -> Result<Option<(&'static str, String)>, Error> {
    if additional.is_empty() {
        return Ok(None);
    }
    let readable = str::from_utf8(additional).ok().filter(|text| !text.contains(char::is_control));
    if let Some(text) = readable.filter(|text| text.len() <= MAX_LABEL_VALUE) {
        return Ok(Some(("additional-data", text.to_owned())));
    }
    // Four characters for each three bytes.
    if additional.len().div_ceil(3) * 4 <= MAX_LABEL_VALUE {
        return Ok(Some(("additional-data-base64", STANDARD.encode(additional))));
    }
    if !given {
        let why = "it is too long for a label: take it out of the blob and give it as a file";
        return Err(Error::AdditionalData(why));
    }
    Ok(Some(("additional-data-sha256", hex::encode(sha256(&[additional])))))
}
