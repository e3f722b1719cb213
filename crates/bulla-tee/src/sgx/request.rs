//! The recorded EGETKEY request.

use minicbor::{Decode, Encode};
use zerocopy::FromZeros;

use super::arch::{Attributes, KEYNAME_SEAL, KEYPOLICY_MRENCLAVE, KEYPOLICY_MRSIGNER, Keyrequest, flags};
use crate::{Error, Mismatch, SgxIdentity, is_simulated};

/// Flags that enter every key: INIT and DEBUG (R3), and bits that are reserved today. The value is that of Intel's SDK.
const FLAGS_MASK: u64 = 0xFF00_0000_0000_000B;
/// No extended feature enters a key: a wider register file is no reason to lose data (R4).
const XFRM_MASK: u64 = 0;
/// MISCSELECT bits that are reserved today. The value is that of Intel's SDK.
const MISC_MASK: u32 = 0xF000_0000;

/// Every selector of an SGX sealing key, and the identity it was made for (R1).
///
/// The first ten fields are the architectural KEYREQUEST; what they leave out is zero there. The rest is what the enclave
/// and the machine were when sealing, recorded so that a refusal can say what differs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SgxRequest {
    /// KEYPOLICY.
    #[n(0)]
    pub keypolicy: u16,
    /// ISVSVN when sealing.
    #[n(1)]
    pub isvsvn: u16,
    /// CPUSVN when sealing; opaque.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub cpusvn: [u8; 16],
    /// CONFIGSVN when sealing.
    #[n(3)]
    pub configsvn: u16,
    /// ATTRIBUTEMASK.FLAGS.
    #[n(4)]
    pub flags_mask: u64,
    /// ATTRIBUTEMASK.XFRM.
    #[n(5)]
    pub xfrm_mask: u64,
    /// MISCMASK.
    #[n(6)]
    pub misc_mask: u32,
    /// CET_ATTRIBUTES_MASK.
    #[n(7)]
    pub cet_mask: u8,
    /// KEYID: 32 fresh random bytes (R2).
    #[cbor(n(8), with = "minicbor::bytes")]
    pub keyid: [u8; 32],
    /// The measurement of the enclave that sealed.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub mrenclave: [u8; 32],
    /// The signer of the enclave that sealed.
    #[cbor(n(10), with = "minicbor::bytes")]
    pub mrsigner: [u8; 32],
    /// The product id of the enclave that sealed.
    #[n(11)]
    pub isv_prod_id: u16,
    /// The attribute flags of the enclave that sealed, masked by `flags_mask`.
    #[n(12)]
    pub flags: u64,
    /// Tells this machine from another: EGETKEY under the same KEYID, with no identity and no security version selected.
    /// Any enclave on the machine can compute it, so it is no secret, and without the machine it is random.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub machine_tag: [u8; 16],
}

impl SgxRequest {
    /// The request of a new key for `identity` under [`Policy::Measurement`](crate::Policy::Measurement), current in
    /// everything; the machine tag is still empty.
    pub(crate) fn for_measurement(identity: &SgxIdentity, keyid: [u8; 32]) -> Self {
        Self {
            keypolicy: KEYPOLICY_MRENCLAVE,
            isvsvn: identity.isv_svn,
            cpusvn: identity.cpusvn,
            configsvn: identity.config_svn,
            flags_mask: FLAGS_MASK,
            xfrm_mask: XFRM_MASK,
            misc_mask: MISC_MASK,
            cet_mask: 0,
            keyid,
            mrenclave: identity.mrenclave,
            mrsigner: identity.mrsigner,
            isv_prod_id: identity.isv_prod_id,
            flags: identity.attributes.flags & FLAGS_MASK,
            machine_tag: [0; 16],
        }
    }

    /// Refuses what no sealing writes: no identity register (R14), masks without INIT and DEBUG (R3), a zero KEYID (R2).
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.keypolicy & (KEYPOLICY_MRENCLAVE | KEYPOLICY_MRSIGNER) == 0 {
            return Err(Error::InvalidRequest(
                "the key policy selects no identity, so anyone could have the key",
            ));
        }
        if self.keypolicy != KEYPOLICY_MRENCLAVE {
            return Err(Error::InvalidRequest("the key policy is not one that this version writes"));
        }
        if self.flags_mask & (flags::INIT | flags::DEBUG) != flags::INIT | flags::DEBUG {
            return Err(Error::InvalidRequest("the attribute mask leaves out INIT or DEBUG"));
        }
        // Processors without CET fault on it, which would end the process.
        if self.cet_mask != 0 {
            return Err(Error::InvalidRequest("the CET mask is not one that this version writes"));
        }
        if self.keyid == [0; 32] {
            return Err(Error::InvalidRequest("the KEYID is zero"));
        }
        Ok(())
    }

    pub(crate) fn opens_under(&self, identity: &SgxIdentity) -> Result<(), Error> {
        if is_simulated(&self.cpusvn) != is_simulated(&identity.cpusvn) {
            let name = |simulated| if simulated { "simulated" } else { "real" };
            let (wanted, found) = (name(is_simulated(&self.cpusvn)), name(is_simulated(&identity.cpusvn)));
            return Err(Error::WrongBackend { wanted, found });
        }
        Mismatch::check("MRENCLAVE", &self.mrenclave, &identity.mrenclave)?;
        Mismatch::check("ISVPRODID", &self.isv_prod_id.to_be_bytes(), &identity.isv_prod_id.to_be_bytes())?;
        let here = identity.attributes.flags & self.flags_mask;
        Mismatch::check("ATTRIBUTES", &self.flags.to_be_bytes(), &here.to_be_bytes())?;
        svn_reached("ISVSVN", self.isvsvn, identity.isv_svn)?;
        svn_reached("CONFIGSVN", self.configsvn, identity.config_svn)
    }

    /// The operand of EGETKEY.
    pub(crate) fn keyrequest(&self) -> Keyrequest {
        Keyrequest {
            keyname: KEYNAME_SEAL,
            keypolicy: self.keypolicy,
            isvsvn: self.isvsvn,
            cet_attributes_mask: self.cet_mask,
            cpusvn: self.cpusvn,
            attribute_mask: Attributes { flags: self.flags_mask, xfrm: self.xfrm_mask },
            keyid: self.keyid,
            misc_mask: self.misc_mask,
            configsvn: self.configsvn,
            ..Keyrequest::new_zeroed()
        }
    }

    /// The operand of EGETKEY for [`machine_tag`](Self::machine_tag).
    pub(crate) fn tag_keyrequest(&self) -> Keyrequest {
        Keyrequest {
            keyname: KEYNAME_SEAL,
            attribute_mask: Attributes { flags: self.flags_mask, xfrm: self.xfrm_mask },
            keyid: self.keyid,
            misc_mask: self.misc_mask,
            ..Keyrequest::new_zeroed()
        }
    }
}

fn svn_reached(register: &'static str, sealed: u16, current: u16) -> Result<(), Error> {
    if sealed <= current {
        return Ok(());
    }
    Err(Error::TcbTooOld { register, sealed: sealed.to_string(), current: current.to_string() })
}
