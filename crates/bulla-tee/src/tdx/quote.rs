//! What a kernel hands over as a quote.

use core::mem::offset_of;

use zerocopy::FromBytes;

use super::arch::{QuoteHeader, TdQuoteBody};

/// TEE type of TDX in a quote's header.
const TEE_TDX: [u8; 4] = [0x81, 0, 0, 0];
/// Type and length of the body, in version 5.
const DESCRIPTOR: usize = 6;

/// The quote in `bytes` without what is behind it, if it is one over `report_data`. Kernels up to 6.18 do not look whether
/// their host made one, and give what lay in the buffer: nothing, zeros, or an earlier quote.
pub(super) fn cut(bytes: &[u8], report_data: &[u8; 64]) -> Result<Vec<u8>, &'static str> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err("there is nothing in it");
    }
    let (header, rest) = QuoteHeader::ref_from_prefix(bytes).map_err(|_| "it is shorter than a header")?;
    let version = u16::from_le_bytes(header.version);
    let (body_at, body_size) = match version {
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
    let data = body.get(offset_of!(TdQuoteBody, report_data)..).and_then(|rest| rest.first_chunk::<64>());
    if data != Some(report_data) {
        return Err("it is over other report data: an earlier one, or another program's");
    }
    let length_at = body_at + body_size;
    let length = bytes.get(length_at..).and_then(|rest| rest.first_chunk::<4>()).ok_or("it is cut off")?;
    let end = (length_at + 4).saturating_add(u32::from_le_bytes(*length) as usize);
    let (quote, padding) = bytes.split_at_checked(end).ok_or("it is cut off")?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err("there is something behind it");
    }
    Ok(quote.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(version: u16, body_size: usize) -> Vec<u8> {
        let mut quote = vec![0; 48];
        quote[..2].copy_from_slice(&version.to_le_bytes());
        quote[4] = 0x81;
        if version == 5 {
            quote.extend([2, 0]);
            quote.extend((body_size as u32).to_le_bytes());
        }
        let body_at = quote.len();
        quote.resize(body_at + body_size, 0x11);
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
            assert_eq!(cut(&whole, &[7; 64]).as_deref(), Ok(&whole[..]));
            assert_eq!(cut(&padded, &[7; 64]).as_deref(), Ok(&whole[..]));
            for length in 0..whole.len() {
                assert!(cut(&whole[..length], &[7; 64]).is_err(), "{length}");
            }
        }
    }

    /// What kernels without a check of their host's status give.
    #[test]
    fn what_is_no_quote_is_refused() {
        let whole = quote(4, 584);
        let mut behind = whole.clone();
        behind.push(1);
        let [mut sgx, mut version, mut huge] = [whole.clone(), whole.clone(), whole.clone()];
        (sgx[4], version[0]) = (0, 3);
        huge[632..636].fill(0xFF);
        for bad in [vec![], vec![0; 8192], sgx, version, huge, behind] {
            assert!(cut(&bad, &[7; 64]).is_err());
        }
        assert!(cut(&whole, &[8; 64]).unwrap_err().contains("other report data"));
    }
}
