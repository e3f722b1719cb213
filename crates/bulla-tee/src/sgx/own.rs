//! Whether a quote is this enclave's own (R37): the host carries it, and could have swapped it.

use zerocopy::IntoBytes;

use super::arch::ReportBody;
use crate::Error;

/// The header of every quote.
const HEADER: usize = 48;
/// Type and size of the body, in quotes of version 5.
const DESCRIPTOR: [u8; 6] = [1, 0, 0x80, 1, 0, 0];
/// TEE type of SGX, in quotes of version 4 and 5.
const TEE_SGX: [u8; 4] = [0; 4];

/// The body of an SGX quote (Intel SGX ECDSA QuoteLibReference, quote versions 3 to 5).
pub(crate) fn body(quote: &[u8]) -> Option<&[u8; 384]> {
    let version = u16::from_le_bytes(*quote.first_chunk()?);
    let at = match version {
        3 => HEADER,
        4 if quote.get(4..8)? == TEE_SGX => HEADER,
        5 if quote.get(4..8)? == TEE_SGX && quote.get(HEADER..)?.starts_with(&DESCRIPTOR) => {
            HEADER + DESCRIPTOR.len()
        }
        _ => return None,
    };
    quote.get(at..)?.first_chunk()
}

/// Refuses a quote whose body is not, to the byte, what EREPORT says of this enclave with the same report data (R54). The
/// signature is for a verifier, who has the collateral.
pub(crate) fn check(quote: &[u8], own: &ReportBody) -> Result<(), Error> {
    let body = body(quote).ok_or(Error::SelfEvidence("it is not an SGX quote"))?;
    let (identity, data) = body.split_at(320);
    let (own_identity, own_data) = own.as_bytes().split_at(320);
    if data != own_data {
        return Err(Error::SelfEvidence("it carries the report data of another call"));
    }
    if identity != own_identity {
        return Err(Error::SelfEvidence("it is of another enclave, or of this one at another time"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    /// Body type 1, of 384 bytes (Intel's library of quotes, version 5).
    const OF_SGX: [u8; 6] = [1, 0, 128, 1, 0, 0];

    fn own() -> ReportBody {
        let mut body = ReportBody::new_zeroed();
        (body.mrenclave, body.report_data) = ([0xE1; 32], [7; 64]);
        body
    }

    fn quote(version: u8, tee: u8, descriptor: &[u8]) -> Vec<u8> {
        let mut quote = vec![0; 48];
        (quote[0], quote[4]) = (version, tee);
        [&quote, descriptor, own().as_bytes(), &[9; 600]].concat()
    }

    /// R37, R54: whatever differs is named, and nothing but the body counts.
    #[test]
    fn every_byte_of_the_body_has_to_be_our_own() {
        for (version, descriptor) in [(3, &[][..]), (4, &[]), (5, &OF_SGX)] {
            let good = quote(version, 0, descriptor);
            check(&good, &own()).unwrap();
            let at = 48 + descriptor.len();
            for byte in at..at + 384 {
                let mut changed = good.clone();
                changed[byte] ^= 1;
                let Err(Error::SelfEvidence(what)) = check(&changed, &own()) else { panic!("byte {byte}") };
                assert_eq!(what.contains("another call"), byte >= at + 320, "byte {byte}: {what}");
            }
            for length in 0..at + 384 {
                assert!(check(&good[..length], &own()).is_err(), "length {length}");
            }
        }
        for other in [quote(4, 0x81, &[]), quote(5, 0x81, &OF_SGX), quote(5, 0, &[2]), quote(6, 0, &[])] {
            assert!(matches!(check(&other, &own()), Err(Error::SelfEvidence("it is not an SGX quote"))));
        }
    }
}
