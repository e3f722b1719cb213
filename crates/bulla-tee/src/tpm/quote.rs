//! A TPM's quote, with what it takes to verify it.

use minicbor::{Decode, Encode};

use crate::Error;

/// A TPM's quote over registers of its SHA-256 bank. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TpmQuote {
    /// The attestation key on P-256: x and y. Everything else of its public area is fixed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 64],
    /// What was signed (TPM 2.0 Library, part 2, TPMS_ATTEST).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub attest: Vec<u8>,
    /// r and s, 32 bytes each.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// Which registers, by a bit for each.
    #[n(3)]
    pub pcrs: u32,
    /// Their values, ascending, 32 bytes each.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub values: Vec<u8>,
}

impl TpmQuote {
    /// No encoding is longer (R31).
    pub const LIMIT: usize = 4096;

    /// The encoding: deterministic CBOR, an array of five.
    pub fn encode(&self) -> Vec<u8> {
        crate::request::to_cbor(self)
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`Error::BadReport`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let read = (bytes.len() <= Self::LIMIT).then(|| crate::request::from_cbor::<Self>(bytes)).flatten();
        read.filter(|quote| quote.encode() == bytes).ok_or(Error::BadReport)
    }
}
