//! An anchor string becomes an anchor, here and nowhere else.

use bulla_crypto::{Info, sha256};
use bulla_tee::Anchor;

use crate::failure::Failure;

/// The anchor that the string names.
pub(crate) fn open(anchor: &str) -> Result<Box<dyn Anchor>, Failure> {
    match anchor.split_once(':') {
        #[cfg(feature = "tpm")]
        Some(("tpm", parameter)) if !parameter.is_empty() => {
            let (enrolment, address) = parameter.split_once(',').unwrap_or((parameter, ""));
            Ok(Box::new(counter(std::path::Path::new(enrolment), address)?))
        }
        #[cfg(not(feature = "tpm"))]
        Some(("tpm", _)) => {
            Err(Failure::usage("this program was built without TPMs: build it with the feature `tpm`"))
        }
        _ => Err(Failure::usage(format!("unknown anchor `{anchor}`: it is tpm:ENROLMENT[,TCTI]"))),
    }
}

/// The counter that an enrolment in a file names, in the TPM at an address.
#[cfg(feature = "tpm")]
pub(crate) fn counter(enrolment: &std::path::Path, address: &str) -> Result<bulla_tpm::Counter, Failure> {
    let bytes = crate::files::read(enrolment, 4096)?;
    let enrolment =
        bulla_tpm::Enrolment::decode(&bytes).map_err(|error| Failure::from(error).about(enrolment))?;
    Ok(bulla_tpm::Counter::open(crate::machine::tpm_at(address)?, enrolment))
}

/// What an anchor knows the envelopes of a context by: the first half of a hash.
pub(crate) fn id(context: &str) -> [u8; 16] {
    let info = Info::new("bulla/anchor-id/v1").part("context", context.as_bytes());
    let mut id = [0; 16];
    id.iter_mut().zip(sha256(&[info.as_bytes()])).for_each(|(to, from)| *to = from);
    id
}

/// Tells the anchor of an epoch that is on the disk.
pub(crate) fn advance(anchor: &dyn Anchor, context: &str, epoch: u64) -> Result<(), Failure> {
    anchor.advance(&id(context), epoch).map_err(|error| {
        let failure = Failure::from(error);
        let todo = "the envelope is in its place, and the anchor does not know of it: older ones still open; tell it with \
                    `bulla tpm counter advance`";
        failure.explained(format!("{failure}; {todo}"))
    })
}

#[cfg(test)]
mod tests {
    /// Frozen: enrolments hold it.
    #[test]
    fn the_id_of_a_context_is_frozen() {
        assert_eq!(hex::encode(super::id("wallet")), "5bd34c07b237e07183a6ce3a53d5f3c0");
    }
}
