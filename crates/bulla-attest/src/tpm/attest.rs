//! What a TPM signs (TPM 2.0 Library, part 2, TPMS_ATTEST), strictly.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// TPM_GENERATED_VALUE: no TPM signs other bytes that begin so.
const GENERATED: u32 = 0xFF54_4347;
/// TPM_ST_ATTEST_QUOTE.
const QUOTE: u16 = 0x8018;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000B;

/// A quote over registers of the SHA-256 bank, by a key with a SHA-256 Name, over 32 bytes of the verifier's.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    magic: U32,
    kind: U16,
    signer_size: U16,
    signer_algorithm: U16,
    signer: [u8; 32],
    extra_size: U16,
    extra: [u8; 32],
    clock: U64,
    resets: U32,
    restarts: U32,
    safe: u8,
    firmware: U64,
    selections: U32,
    bank: U16,
    select_size: u8,
    select: [u8; 3],
    digest_size: U16,
    digest: [u8; 32],
}

pub(super) struct Attest {
    pub(super) extra_data: [u8; 32],
    pub(super) pcrs: u32,
    pub(super) digest: [u8; 32],
    pub(super) resets: u32,
    pub(super) restarts: u32,
    pub(super) firmware: u64,
}

impl Attest {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let raw = Raw::read_from_bytes(bytes).ok()?;
        let fixed = raw.magic.get() == GENERATED
            && raw.kind.get() == QUOTE
            && (raw.signer_size.get(), raw.signer_algorithm.get()) == (34, SHA256)
            && raw.extra_size.get() == 32
            && raw.safe <= 1
            && (raw.selections.get(), raw.bank.get(), raw.select_size) == (1, SHA256, 3)
            && raw.digest_size.get() == 32;
        let [low, middle, high] = raw.select;
        fixed.then_some(Self {
            extra_data: raw.extra,
            pcrs: u32::from_le_bytes([low, middle, high, 0]),
            digest: raw.digest,
            resets: raw.resets.get(),
            restarts: raw.restarts.get(),
            firmware: raw.firmware.get(),
        })
    }
}
