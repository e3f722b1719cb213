//! What a kernel hands over as a quote, and whether it is this guest's own (R37).

use zerocopy::{FromBytes, IntoBytes};

use super::arch::{QuoteHeader, TdQuoteBody, TdReport};
use crate::Error;

/// TEE type of TDX in a quote's header.
const TEE_TDX: [u8; 4] = [0x81, 0, 0, 0];
/// Type and length of the body, in version 5.
const DESCRIPTOR: usize = 6;
/// No quote is larger (R31); those of today have 5 KiB.
pub(super) const LIMIT: usize = 64 * 1024;

/// The quote in `bytes`, which `giver` gave, without what is behind it, if it is one of the guest that `own` is of, and over the
/// same report data (R54). The signature is for a verifier, who has the collateral.
///
/// Kernels before 7.1 do not look whether their host made one (0f409eaea53e), and give what lay in the buffer: nothing, zeros, or
/// an earlier quote.
pub(super) fn take(bytes: &[u8], own: &TdReport, giver: &'static str) -> Result<Vec<u8>, Error> {
    let (quote, body) = cut(bytes).map_err(|reason| {
        let fault = format!(
            "gave no quote and said that it did: {reason}; update the kernel, and see on the host that the quote \
             generation service runs"
        );
        Error::Device { device: giver, fault }
    })?;
    if body.report_data != own.report_mac.report_data {
        return Err(Error::SelfEvidence("it carries the report data of another call"));
    }
    // The module may be updated at any time, and is not the guest.
    let (info, module) = (&own.td_info, &body);
    let guest = TdQuoteBody {
        tee_tcb_svn: module.tee_tcb_svn,
        mrseam: module.mrseam,
        mrsignerseam: module.mrsignerseam,
        seam_attributes: module.seam_attributes,
        attributes: info.attributes,
        xfam: info.xfam,
        mrtd: info.mrtd,
        mrconfigid: info.mrconfigid,
        mrowner: info.mrowner,
        mrownerconfig: info.mrownerconfig,
        rtmr: info.rtmr,
        report_data: own.report_mac.report_data,
    };
    if body.as_bytes() != guest.as_bytes() {
        return Err(Error::SelfEvidence("it is of another guest, or of this one at another time"));
    }
    Ok(quote.to_vec())
}

fn cut(bytes: &[u8]) -> Result<(&[u8], TdQuoteBody), &'static str> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err("there is nothing in it");
    }
    let (header, rest) = QuoteHeader::ref_from_prefix(bytes).map_err(|_| "it is shorter than a header")?;
    let (body_at, body_size) = match u16::from_le_bytes(header.version) {
        4 => (size_of::<QuoteHeader>(), size_of::<TdQuoteBody>()),
        5 => {
            let descriptor = rest.first_chunk::<DESCRIPTOR>().ok_or("it is shorter than a header")?;
            let [_, _, size @ ..] = *descriptor;
            (size_of::<QuoteHeader>() + DESCRIPTOR, u32::from_le_bytes(size) as usize)
        }
        _ => return Err("it is of no version of TDX quotes"),
    };
    if header.tee_type != TEE_TDX {
        return Err("it is not a TDX guest's");
    }
    let body = bytes.get(body_at..).and_then(|rest| rest.get(..body_size)).ok_or("it is cut off")?;
    let (body, _) = TdQuoteBody::read_from_prefix(body).map_err(|_| "its body is too short")?;
    let length_at = body_at + body_size;
    let length = bytes.get(length_at..).and_then(|rest| rest.first_chunk::<4>()).ok_or("it is cut off")?;
    let end = (length_at + 4).saturating_add(u32::from_le_bytes(*length) as usize);
    let (quote, padding) = bytes.split_at_checked(end).ok_or("it is cut off")?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err("there is something behind it");
    }
    Ok((quote, body))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    const GIVER: &str = "somebody";

    fn own() -> TdReport {
        let mut report = TdReport::new_zeroed();
        (report.td_info.mrtd, report.td_info.rtmr[3]) = ([0x11; 48], [0x13; 48]);
        report.report_mac.report_data = [7; 64];
        report
    }

    fn quote(version: u16, body_size: usize) -> Vec<u8> {
        let mut quote = vec![0; 48];
        quote[..2].copy_from_slice(&version.to_le_bytes());
        quote[4] = 0x81;
        if version == 5 {
            quote.extend([2, 0]);
            quote.extend((body_size as u32).to_le_bytes());
        }
        let body_at = quote.len();
        quote.resize(body_at + body_size, 0);
        quote[body_at..][..16].fill(5);
        quote[body_at + 136..][..48].fill(0x11);
        quote[body_at + 328 + 3 * 48..][..48].fill(0x13);
        quote[body_at + 520..][..64].fill(7);
        quote.extend(3_u32.to_le_bytes());
        quote.extend([9; 3]);
        quote
    }

    #[test]
    fn a_quote_is_cut_to_its_length() {
        for (version, size) in [(4, 584), (5, 584), (5, 648)] {
            let whole = quote(version, size);
            let mut padded = whole.clone();
            padded.resize(8192, 0);
            assert_eq!(take(&whole, &own(), GIVER).unwrap(), whole);
            assert_eq!(take(&padded, &own(), GIVER).unwrap(), whole);
            for length in 0..whole.len() {
                assert!(take(&whole[..length], &own(), GIVER).is_err(), "{length}");
            }
        }
    }

    /// What kernels without a check of their host's status give.
    #[test]
    fn what_is_no_quote_is_refused() {
        let whole = quote(4, 584);
        let mut behind = whole.clone();
        behind.push(1);
        let [mut sgx, mut version, mut huge] = [whole.clone(), whole.clone(), whole];
        (sgx[4], version[0]) = (0, 3);
        huge[632..636].fill(0xFF);
        let mut small = quote(5, 584);
        small[50..54].copy_from_slice(&500_u32.to_le_bytes());
        for bad in [vec![], vec![0; 8192], sgx, version, huge, behind, small] {
            assert_eq!(take(&bad, &own(), GIVER).unwrap_err().code(), "machine.device");
        }
    }

    /// R37, R54: every byte that is the guest's has to be its own; those of the module may change.
    #[test]
    fn every_byte_of_the_guest_has_to_be_our_own() {
        for (version, at) in [(4, 48), (5, 54)] {
            for byte in 0..584 {
                let mut changed = quote(version, 584);
                changed[at + byte] ^= 1;
                match take(&changed, &own(), GIVER) {
                    Ok(_) => assert!(byte < 120, "byte {byte}"),
                    Err(Error::SelfEvidence(what)) => {
                        assert_eq!(what.contains("another call"), byte >= 520, "byte {byte}: {what}");
                        assert!(byte >= 120, "byte {byte}");
                    }
                    Err(error) => panic!("byte {byte}: {error}"),
                }
            }
        }
    }
}
