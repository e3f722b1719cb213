//! What a quote's platform is good for, and why it may be remembered.
//!
//! An [`Endorsement`] is the verdict on everything around a quote: the PCK chain and the revocation lists, the quoting
//! enclave and the attestation key that it vouches for, TCB info and QE identity, the level of platform and TDX module, and
//! until when all of that is good. It is most of the work, and the same for all quotes of one kind from one platform.
//! So it is remembered under a [`Key`]: the quote's bytes, less those below, with the trust root, the
//! collateral's digest, the policy's floor and the version of this verifier. Who finds it remembered has spared the walk and
//! nothing else: the bytes were parsed, the signature over header and body is verified with the endorsed key,
//! and the policy judges the actual body, each time. Who does not find it verifies in full; a miss refuses nothing.
//!
//! # The bytes that the key leaves out, and why they cannot change the verdict
//!
//! As absolute half-open ranges; in version 5, whose body begins 6 bytes later, each is 6 higher. A range is left out by
//! its place and the lengths are in the key, so no two quotes that differ elsewhere have one key.
//!
//! | SGX 3 and 4 | field | why the endorsement does not depend on it |
//! |---|---|---|
//! | 80..96 | ISVEXTPRODID | who runs: nothing but a policy reads it |
//! | 112..144 | MRENCLAVE | the same |
//! | 176..208 | MRSIGNER | the same; the quoting enclave's own MRSIGNER, which decides, is in its report |
//! | 240..304 | CONFIGID | the same |
//! | 304..308 | ISVPRODID, ISVSVN | the same; those of the quoting enclave are in its report |
//! | 308..310 | CONFIGSVN | the same |
//! | 352..368 | ISVFAMILYID | the same |
//! | 368..432 | report data | what the quote is for: its receiver compares it |
//! | 436..500 | signature | verified each time, over the actual header and body; the endorsement is of the key, not of what it signs |
//!
//! | TDX 4 | field | why the endorsement does not depend on it |
//! |---|---|---|
//! | 184..232 | MRTD | who runs: nothing but a policy reads it |
//! | 232..376 | MRCONFIGID, MROWNER, MROWNERCONFIG | the same |
//! | 376..568 | RTMR 0 to 3 | the same |
//! | 568..632 | report data | what the quote is for: its receiver compares it |
//! | 636..700 | signature (in a version 5 quote with a TD 1.5 body at 706..770) | as above |
//!
//! Left in, because the walk or the simulator's marker is about them: the header; of SGX CPUSVN, MISCSELECT, CET
//! attributes, ATTRIBUTES and all reserved bytes; of TDX TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES, TD ATTRIBUTES, XFAM,
//! TEE_TCB_SVN2 and MRSERVICETD; all lengths, the attestation key, the QE report, its signature, its authentication
//! data and the PCK chain to the last line break. So the walk judges **nothing** that the key leaves out: it reads of
//! a body the TCB SVNs, the module's signer and attributes, SGX DEBUG, the TD attributes and MRSERVICETD. The policy judges
//! all of these again on a hit, with the rest of the body.
//!
//! The tests compare the verdicts with and without a memory over mutated quotes that the simulator signs again
//! (`tests/steady.rs`).

use std::iter;
use std::mem::offset_of;
use std::ops::Range;

use bulla_crypto::Sha256;
use bulla_tee::sgx::arch::ReportBody;
use bulla_tee::tdx::TdQuoteBody;

use crate::crypto::VerifyingKey;
use crate::quote::{Body, Quote};
use crate::{Error, IntelPlatform, Tcb, TrustAnchor};

/// Enters every key: changes whenever what an endorsement says, or what is left out of the key, does.
const VERSION: &[u8] = concat!("bulla-attest ", env!("CARGO_PKG_VERSION"), " endorsement 1").as_bytes();

/// The verdict on everything around a quote.
#[derive(Debug)]
pub(crate) struct Endorsement {
    pub(crate) platform: IntelPlatform,
    pub(crate) tcb: Tcb,
    /// Whether the platform, or what runs on it, carries the simulator's marker.
    pub(crate) simulated: bool,
    pub(crate) window: Window,
    /// Which the quoting enclave vouches for.
    pub(crate) attestation_key: VerifyingKey,
}

impl Endorsement {
    /// Whether the endorsed key signed this quote's header and body.
    pub(crate) fn check_signature(&self, quote: &Quote<'_>) -> Result<(), Error> {
        if self.attestation_key.has_signed(quote.signed, quote.signature) {
            Ok(())
        } else {
            Err(Error::QuoteSignature)
        }
    }
}

/// When several dated things are good all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: u64,
    /// This second does not count.
    pub(crate) until: u64,
}

impl Window {
    pub(crate) const ALWAYS: Self = Self { from: 0, until: u64::MAX };

    pub(crate) fn narrow(&mut self, (from, until): (u64, u64)) {
        self.from = self.from.max(from);
        self.until = self.until.min(until);
    }

    pub(crate) fn contains(&self, now: u64) -> bool {
        (self.from..self.until).contains(&now)
    }
}

/// What an endorsement is remembered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key for a quote in its surroundings: the digest of the collateral, the trust root, and the lowest TCB evaluation
    /// data number that the policy accepts.
    pub(crate) fn of(quote: &Quote<'_>, collateral: &[u8; 32], anchor: &TrustAnchor, floor: u32) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(VERSION);
        hasher.update(anchor.fingerprint());
        hasher.update(collateral);
        hasher.update(&floor.to_be_bytes());
        hasher.update(&(quote.bytes.len() as u64).to_be_bytes());
        let mut at = 0;
        for masked in masked(quote) {
            hasher.update(
                quote.bytes.get(at..masked.start).expect("ranges follow each other within the quote"),
            );
            at = masked.end;
        }
        hasher.update(quote.bytes.get(at..).expect("the quote goes on after its signature"));
        Self(hasher.finish())
    }
}

#[cfg(test)]
impl Key {
    /// A key of nothing.
    pub(crate) fn numbered(number: usize) -> Self {
        Self(bulla_crypto::sha256(&[&number.to_be_bytes()]))
    }
}

/// The bytes that the key leaves out, in their order.
fn masked(quote: &Quote<'_>) -> impl Iterator<Item = Range<usize>> {
    let body = quote.signed.len() - quote.body.size();
    let signature = quote.signed.len() + size_of::<u32>();
    let fields = match quote.body {
        Body::Sgx(_) => &SGX[..],
        Body::Tdx { .. } => &TDX[..],
    };
    let fields = fields.iter().map(move |&(start, end)| body + start..body + end);
    fields.chain(iter::once(signature..signature + quote.signature.len()))
}

/// In a body, from the beginning of one field to the beginning of another.
const SGX: [(usize, usize); 5] = [
    (offset_of!(ReportBody, isv_ext_prod_id), offset_of!(ReportBody, attributes)),
    (offset_of!(ReportBody, mrenclave), offset_of!(ReportBody, reserved2)),
    (offset_of!(ReportBody, mrsigner), offset_of!(ReportBody, reserved3)),
    (offset_of!(ReportBody, config_id), offset_of!(ReportBody, reserved4)),
    (offset_of!(ReportBody, isv_family_id), size_of::<ReportBody>()),
];
const TDX: [(usize, usize); 1] = [(offset_of!(TdQuoteBody, mrtd), size_of::<TdQuoteBody>())];

#[cfg(test)]
mod tests {
    use super::*;

    /// A well-formed quote of zeros of a version, TEE type and body.
    fn zeros(version: u16, tee: u32, body: usize, kind: u16) -> Vec<u8> {
        let certification = |kind: u16, data: &[u8]| {
            [&kind.to_le_bytes()[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat()
        };
        let mut qe = [vec![0; 384 + 64 + 2], certification(5, b"-")].concat();
        if version > 3 {
            qe = certification(6, &qe);
        }
        let data = [vec![0; 128], qe].concat();
        let descriptor = certification(kind, &vec![0; body]);
        let body = if version == 5 { descriptor } else { vec![0; body] };
        [
            &version.to_le_bytes()[..],
            &[2, 0],
            &tee.to_le_bytes(),
            &[0; 4],
            &dcap_qvl::INTEL_QE_VENDOR_ID,
            &[0; 20],
            &body,
            &u32::try_from(data.len()).unwrap().to_le_bytes(),
            &data,
        ]
        .concat()
    }

    #[test]
    fn the_ranges_are_those_of_the_table() {
        let sgx = [80..96, 112..144, 176..208, 240..310, 352..432, 436..500];
        let later = sgx.clone().map(|range| range.start + 6..range.end + 6);
        let table = [
            (zeros(3, 0, 384, 0), sgx.to_vec()),
            (zeros(4, 0, 384, 0), sgx.to_vec()),
            (zeros(5, 0, 384, 1), later.to_vec()),
            (zeros(4, 0x81, 584, 0), vec![184..632, 636..700]),
            (zeros(5, 0x81, 584, 2), vec![190..638, 642..706]),
            (zeros(5, 0x81, 648, 3), vec![190..638, 706..770]),
        ];
        for (bytes, ranges) in table {
            let quote = Quote::parse(&bytes).unwrap();
            assert_eq!(masked(&quote).collect::<Vec<_>>(), ranges);
        }
    }

    #[test]
    fn every_byte_outside_the_ranges_and_all_surroundings_change_the_key() {
        let anchor = TrustAnchor::intel();
        for bytes in
            [zeros(3, 0, 384, 0), zeros(5, 0, 384, 1), zeros(4, 0x81, 584, 0), zeros(5, 0x81, 648, 3)]
        {
            let quote = Quote::parse(&bytes).unwrap();
            let key = Key::of(&quote, &[0; 32], &anchor, 0);
            assert_ne!(key, Key::of(&quote, &[1; 32], &anchor, 0));
            assert_ne!(key, Key::of(&quote, &[0; 32], &anchor, 1));
            let ranges: Vec<_> = masked(&quote).collect();
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                // Where a change leaves a quote at all.
                let Ok(changed) = Quote::parse(&changed) else { continue };
                let same = Key::of(&changed, &[0; 32], &anchor, 0) == key;
                assert_eq!(same, ranges.iter().any(|range| range.contains(&at)), "byte {at}");
            }
        }
    }
}
