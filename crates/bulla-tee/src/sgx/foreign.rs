//! Sealing keys of requests that other software recorded in the same enclave.

use bulla_crypto::Secret;

use super::arch::{KEYNAME_SEAL, KEYPOLICY_KSS, KEYPOLICY_MRENCLAVE, KEYPOLICY_MRSIGNER, Keyrequest, flags};
use super::request::{has_kss, svn_reached};
use crate::{Error, Mismatch, SgxIdentity, is_simulated};

const KEYPOLICY_KNOWN: u16 = KEYPOLICY_MRENCLAVE | KEYPOLICY_MRSIGNER | KEYPOLICY_KSS;

/// An enclave that derives the keys of KEYREQUESTs that other software recorded, so that what that software sealed can move
/// over. It names no identity, as ours do ([`SgxRequest`](super::SgxRequest)): another enclave, or another machine, gets another key.
pub trait ForeignKeys {
    /// The key of a recorded KEYREQUEST.
    ///
    /// Only what no processor faults on goes to the instruction, and only the sealing key of an identity: the name is SEAL,
    /// MRENCLAVE or MRSIGNER is selected (R14), INIT and DEBUG are in the mask (R3), all that is reserved is zero.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for another request; [`Error::OtherIdentity`] where it needs KSS and the enclave has none;
    /// [`Error::TcbTooOld`] where the enclave or its processor is below a recorded version, [`Error::WrongBackend`] where one of
    /// both is simulated, and those of [`Tee::identity`](crate::Tee::identity).
    fn foreign_key(&self, request: &Keyrequest) -> Result<Secret<16>, Error>;
}

/// Refuses what no software seals under, and what this enclave cannot be asked for.
pub(crate) fn check(request: &Keyrequest, identity: &SgxIdentity) -> Result<(), Error> {
    let forced = flags::INIT | flags::DEBUG;
    let faults = [
        (request.keyname != KEYNAME_SEAL, "it is not for a sealing key"),
        (
            request.keypolicy & (KEYPOLICY_MRENCLAVE | KEYPOLICY_MRSIGNER) == 0,
            "the key policy selects no identity, so anyone could have the key",
        ),
        (request.keypolicy & !KEYPOLICY_KNOWN != 0, "the key policy has bits that no processor knows"),
        (request.attribute_mask.flags & forced != forced, "the attribute mask leaves out INIT or DEBUG"),
        (request.reserved1 != 0 || request.reserved2 != [0; 434], "its reserved bytes are not zero"),
        // Processors without CET fault on it, which would end the process.
        (request.cet_attributes_mask != 0, "it has a CET mask"),
    ];
    if let Some((_, what)) = faults.into_iter().find(|(fault, _)| *fault) {
        return Err(Error::InvalidRequest(what));
    }
    if is_simulated(&request.cpusvn) != is_simulated(&identity.cpusvn) {
        let name = |simulated| if simulated { "simulated" } else { "real" };
        let (wanted, found) = (name(is_simulated(&request.cpusvn)), name(is_simulated(&identity.cpusvn)));
        return Err(Error::WrongBackend { wanted, found });
    }
    // A KSS policy without KSS is a fault, which would end the process.
    if request.keypolicy & KEYPOLICY_KSS != 0 || request.configsvn != 0 {
        Mismatch::check("ATTRIBUTES.KSS", &[1], &[has_kss(identity).into()])?;
    }
    svn_reached("ISVSVN", request.isvsvn, identity.isv_svn)?;
    svn_reached("CONFIGSVN", request.configsvn, identity.config_svn)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::sgx::arch::{Attributes, KEYPOLICY_CONFIGID};

    fn identity() -> SgxIdentity {
        SgxIdentity {
            mrenclave: [1; 32],
            mrsigner: [2; 32],
            isv_prod_id: 1,
            isv_svn: 3,
            cpusvn: [4; 16],
            attributes: Attributes { flags: flags::INIT, xfrm: 3 },
            misc_select: 0,
            config_id: [0; 64],
            config_svn: 0,
            isv_family_id: [0; 16],
            isv_ext_prod_id: [0; 16],
        }
    }

    /// As Intel's SDK makes it by default.
    fn request() -> Keyrequest {
        Keyrequest {
            keyname: KEYNAME_SEAL,
            keypolicy: KEYPOLICY_MRSIGNER,
            isvsvn: 3,
            cpusvn: [4; 16],
            attribute_mask: Attributes { flags: 0xFF00_0000_0000_000B, xfrm: 0 },
            keyid: [7; 32],
            misc_mask: 0xF000_0000,
            ..Keyrequest::new_zeroed()
        }
    }

    /// Every one of these would fault, end the process, or give a key that others have too.
    #[test]
    fn nothing_goes_to_the_processor_that_is_not_for_it() {
        check(&request(), &identity()).unwrap();
        let refused = |edit: fn(&mut Keyrequest), code| {
            let mut edited = request();
            edit(&mut edited);
            assert_eq!(check(&edited, &identity()).unwrap_err().code(), code);
        };
        refused(|r| r.keyname = 3, "request.invalid");
        refused(|r| r.keyname = 0, "request.invalid");
        refused(|r| r.keypolicy = 0, "request.invalid");
        refused(|r| r.keypolicy = KEYPOLICY_CONFIGID, "request.invalid");
        refused(|r| r.keypolicy |= 1 << 6, "request.invalid");
        refused(|r| r.attribute_mask.flags = flags::INIT, "request.invalid");
        refused(|r| r.attribute_mask.flags = flags::DEBUG, "request.invalid");
        refused(|r| r.reserved1 = 1, "request.invalid");
        refused(|r| r.reserved2[433] = 1, "request.invalid");
        refused(|r| r.cet_attributes_mask = 1, "request.invalid");
        refused(|r| r.cpusvn[8..].copy_from_slice(&crate::SIMULATED_MARKER), "machine.wrong_backend");
        refused(|r| r.keypolicy |= KEYPOLICY_CONFIGID, "machine.other_identity");
        refused(|r| r.configsvn = 1, "machine.other_identity");
        refused(|r| r.isvsvn = 4, "machine.tcb_too_old");

        let mut with_kss = identity();
        with_kss.attributes.flags |= flags::KSS;
        with_kss.config_svn = 5;
        let request =
            |configsvn| Keyrequest { keypolicy: KEYPOLICY_MRSIGNER | KEYPOLICY_KSS, configsvn, ..request() };
        check(&request(5), &with_kss).unwrap();
        assert_eq!(check(&request(6), &with_kss).unwrap_err().code(), "machine.tcb_too_old");
    }
}
