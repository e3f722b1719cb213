//! The recorded EGETKEY request.

use minicbor::{Decode, Encode};
use zerocopy::FromZeros;

use super::arch::{
    Attributes, KEYNAME_SEAL, KEYPOLICY_CONFIGID, KEYPOLICY_ISVEXTPRODID, KEYPOLICY_ISVFAMILYID,
    KEYPOLICY_KSS, KEYPOLICY_MRENCLAVE, KEYPOLICY_MRSIGNER, Keyrequest, flags,
};
use crate::identity::same_kind_of_processor;
use crate::policy::{KEYPOLICY_REGISTERS, is_label};
use crate::{Error, Mismatch, Policy, SgxIdentity, SignerPolicy};

/// Flags that enter every key: INIT and DEBUG (R3), and bits that are reserved today. The value is that of Intel's SDK.
const FLAGS_MASK: u64 = 0xFF00_0000_0000_000B;
/// No extended feature enters a key: a wider register file is no reason to lose data (R4).
const XFRM_MASK: u64 = 0;
/// MISCSELECT bits that are reserved today. The value is that of Intel's SDK.
const MISC_MASK: u32 = 0xF000_0000;

/// Every selector of an SGX sealing key, and the identity it was made for (R1).
///
/// Fields 0 to 8 are the architectural KEYREQUEST; what they leave out is zero there. The rest is what the enclave and the
/// machine were when sealing, recorded so that a refusal can say what differs. The encoding is a CBOR array of these 18
/// fields, always all of them:
///
/// | field | CBOR | value |
/// |---|---|---|
/// | 0 | uint | KEYPOLICY: bits 0 MRENCLAVE, 1 MRSIGNER, 3 CONFIGID, 4 ISVFAMILYID, 5 ISVEXTPRODID; 0 or 1 is set, 2 and 6 to 15 are not |
/// | 1 | uint | ISVSVN: the lowest that opens. That of the sealer, or the policy's if KEYPOLICY has MRSIGNER |
/// | 2 | bytes, 16 | CPUSVN when sealing |
/// | 3 | uint | CONFIGSVN when sealing; 0 unless KEYPOLICY has CONFIGID |
/// | 4 | uint | ATTRIBUTEMASK.FLAGS, with INIT and DEBUG (bits 0 and 1) |
/// | 5 | uint | ATTRIBUTEMASK.XFRM |
/// | 6 | uint | MISCMASK |
/// | 7 | uint | CET_ATTRIBUTES_MASK: 0 |
/// | 8 | bytes, 32 | KEYID: random, not zero |
/// | 9 | bytes, 32 | MRENCLAVE of the sealer, not zero |
/// | 10 | bytes, 32 | MRSIGNER of the sealer, not zero |
/// | 11 | uint | ISVPRODID of the sealer |
/// | 12 | uint | ATTRIBUTES.FLAGS of the sealer, masked by field 4 |
/// | 13 | bytes, 64 | CONFIGID of the sealer; zero unless KEYPOLICY has it |
/// | 14 | bytes, 16 | ISVFAMILYID of the sealer; zero unless KEYPOLICY has it |
/// | 15 | bytes, 16 | ISVEXTPRODID of the sealer; zero unless KEYPOLICY has it |
/// | 16 | text | label: 1 to 64 characters `!` to `~` without `,` if KEYPOLICY has MRSIGNER, else empty |
/// | 17 | bytes, 16 | machine tag: EGETKEY with KEYNAME 4, fields 4, 5, 6 and 8, and zeros |
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SgxRequest {
    /// KEYPOLICY.
    #[n(0)]
    pub keypolicy: u16,
    /// The lowest ISVSVN that opens.
    #[n(1)]
    pub isvsvn: u16,
    /// CPUSVN when sealing; opaque.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub cpusvn: [u8; 16],
    /// CONFIGSVN when sealing, if CONFIGID is selected: it enters the key with that, at the value asked for.
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
    /// CONFIGID of the enclave that sealed, if it is selected.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub config_id: [u8; 64],
    /// ISVFAMILYID of the enclave that sealed, if it is selected.
    #[cbor(n(14), with = "minicbor::bytes")]
    pub isv_family_id: [u8; 16],
    /// ISVEXTPRODID of the enclave that sealed, if it is selected.
    #[cbor(n(15), with = "minicbor::bytes")]
    pub isv_ext_prod_id: [u8; 16],
    /// For which application or tenant, if MRSIGNER is selected (R7).
    #[n(16)]
    pub label: String,
    /// Tells this machine from another: EGETKEY under the same KEYID, with no identity and no security version selected.
    /// Any enclave on the machine can compute it, so it is no secret, and without the machine it is random.
    #[cbor(n(17), with = "minicbor::bytes")]
    pub machine_tag: [u8; 16],
}

impl SgxRequest {
    /// The request of a new key for `identity` under `policy`, current in everything that the policy does not set; the
    /// machine tag is still empty.
    pub(crate) fn new(policy: &Policy, identity: &SgxIdentity, keyid: [u8; 32]) -> Result<Self, Error> {
        policy.check()?;
        let keypolicy = policy.keypolicy();
        if keypolicy == 0 {
            let what = "bind to the owner of a guest's image or to a register policy";
            return Err(Error::Unsupported { machine: "an SGX enclave", what });
        }
        if keypolicy & KEYPOLICY_KSS != 0 && !has_kss(identity) {
            return Err(Error::Unsupported {
                machine: "an enclave without the KSS attribute",
                what: "bind to CONFIGID, ISVFAMILYID or ISVEXTPRODID",
            });
        }
        let (isvsvn, label) = match policy.signer_policy() {
            None => (identity.isv_svn, String::new()),
            Some(signer) => {
                require_met(signer, identity)?;
                (signer.min_svn, signer.label.clone())
            }
        };
        let selected = |bit| keypolicy & bit != 0;
        Ok(Self {
            keypolicy,
            isvsvn,
            cpusvn: identity.cpusvn,
            configsvn: if selected(KEYPOLICY_CONFIGID) { identity.config_svn } else { 0 },
            flags_mask: FLAGS_MASK,
            xfrm_mask: XFRM_MASK,
            misc_mask: MISC_MASK,
            cet_mask: 0,
            keyid,
            mrenclave: identity.mrenclave,
            mrsigner: identity.mrsigner,
            isv_prod_id: identity.isv_prod_id,
            flags: identity.attributes.flags & FLAGS_MASK,
            config_id: kept(selected(KEYPOLICY_CONFIGID), &identity.config_id),
            isv_family_id: kept(selected(KEYPOLICY_ISVFAMILYID), &identity.isv_family_id),
            isv_ext_prod_id: kept(selected(KEYPOLICY_ISVEXTPRODID), &identity.isv_ext_prod_id),
            label,
            machine_tag: [0; 16],
        })
    }

    /// The policy that it was made under.
    pub fn policy(&self) -> Policy {
        let signer =
            SignerPolicy { product: self.isv_prod_id, min_svn: self.isvsvn, label: self.label.clone() };
        Policy::of_keypolicy(self.keypolicy, signer)
    }

    /// Refuses what no sealing writes: no identity register (R14), a signer without a label (R7), masks without INIT and
    /// DEBUG (R3), a zero KEYID (R2), values of registers that are not selected.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let selected = |bit| self.keypolicy & bit != 0;
        let forced = flags::INIT | flags::DEBUG;
        let label_fits =
            if selected(KEYPOLICY_MRSIGNER) { is_label(&self.label) } else { self.label.is_empty() };
        let unselected = !selected(KEYPOLICY_CONFIGID) && (self.configsvn != 0 || self.config_id != [0; 64])
            || !selected(KEYPOLICY_ISVFAMILYID) && self.isv_family_id != [0; 16]
            || !selected(KEYPOLICY_ISVEXTPRODID) && self.isv_ext_prod_id != [0; 16];
        let faults = [
            (
                !selected(KEYPOLICY_MRENCLAVE | KEYPOLICY_MRSIGNER),
                "the key policy selects no identity, so anyone could have the key",
            ),
            // NOISVPRODID among them, which would leave the product out.
            (selected(!KEYPOLICY_REGISTERS), "the key policy is not one that this version writes"),
            (self.flags_mask & forced != forced, "the attribute mask leaves out INIT or DEBUG"),
            (self.flags & !self.flags_mask != 0, "it claims attributes that its mask leaves out"),
            // Processors without CET fault on it, which would end the process.
            (self.cet_mask != 0, "the CET mask is not one that this version writes"),
            (self.keyid == [0; 32], "the KEYID is zero"),
            (self.mrenclave == [0; 32], "MRENCLAVE is zero"),
            (self.mrsigner == [0; 32], "MRSIGNER is zero"),
            (!label_fits, "a label goes with MRSIGNER, and only with it"),
            (unselected, "it holds a register that the key policy does not select"),
        ];
        match faults.into_iter().find(|(fault, _)| *fault) {
            Some((_, what)) => Err(Error::InvalidRequest(what)),
            None => Ok(()),
        }
    }

    /// Whether every selected register of `identity` is the recorded one and no recorded version is above it. Without
    /// that, EGETKEY must not be asked: a KSS policy without KSS is a fault, which would end the process.
    pub(crate) fn fits(&self, identity: &SgxIdentity) -> Result<(), Error> {
        same_kind_of_processor(&self.cpusvn, &identity.cpusvn)?;
        let same = |bit, register, claimed: &[u8], found: &[u8]| {
            if self.keypolicy & bit == 0 {
                return Ok(());
            }
            Mismatch::check(register, claimed, found)
        };
        let (product, flags) = (identity.isv_prod_id, identity.attributes.flags & self.flags_mask);
        same(KEYPOLICY_MRENCLAVE, "MRENCLAVE", &self.mrenclave, &identity.mrenclave)?;
        same(KEYPOLICY_MRSIGNER, "MRSIGNER", &self.mrsigner, &identity.mrsigner)?;
        Mismatch::check("ISVPRODID", &self.isv_prod_id.to_be_bytes(), &product.to_be_bytes())?;
        Mismatch::check("ATTRIBUTES", &self.flags.to_be_bytes(), &flags.to_be_bytes())?;
        same(KEYPOLICY_KSS, "ATTRIBUTES.KSS", &[1], &[has_kss(identity).into()])?;
        same(KEYPOLICY_CONFIGID, "CONFIGID", &self.config_id, &identity.config_id)?;
        same(KEYPOLICY_ISVFAMILYID, "ISVFAMILYID", &self.isv_family_id, &identity.isv_family_id)?;
        same(KEYPOLICY_ISVEXTPRODID, "ISVEXTPRODID", &self.isv_ext_prod_id, &identity.isv_ext_prod_id)?;
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

/// R7: who seals under a signer policy can open it.
fn require_met(signer: &SignerPolicy, identity: &SgxIdentity) -> Result<(), Error> {
    let outside =
        |register, wanted, found: u16| Error::OutsidePolicy { register, wanted, found: found.to_string() };
    if signer.product != identity.isv_prod_id {
        return Err(outside("ISVPRODID", signer.product.to_string(), identity.isv_prod_id));
    }
    if signer.min_svn > identity.isv_svn {
        return Err(outside("ISVSVN", format!("{} and above", signer.min_svn), identity.isv_svn));
    }
    Ok(())
}

pub(crate) fn has_kss(identity: &SgxIdentity) -> bool {
    identity.attributes.flags & flags::KSS != 0
}

fn kept<const N: usize>(selected: bool, value: &[u8; N]) -> [u8; N] {
    if selected { *value } else { [0; N] }
}

pub(crate) fn svn_reached(register: &'static str, sealed: u16, current: u16) -> Result<(), Error> {
    if sealed <= current {
        return Ok(());
    }
    Err(Error::TcbTooOld { register, sealed: sealed.to_string(), current: current.to_string() })
}

#[cfg(test)]
mod tests;
