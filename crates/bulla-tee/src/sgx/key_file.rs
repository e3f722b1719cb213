//! Gramine's own sealing key, for where a program cannot execute EGETKEY itself.

use minicbor::{Decode, Encode};

use super::arch::{Attributes, flags};
use crate::identity::same_kind_of_processor;
use crate::{Error, Mismatch, Policy, SgxIdentity};

/// What always enters a key (R3).
const FORCED: u64 = flags::INIT | flags::DEBUG;
/// What does by the defaults of Gramine's `sgx.seal_key.flags_mask` and `xfrm_mask`: all but AVX, AVX-512 and AMX. A
/// manifest can say otherwise, so these decide nothing before the key is there.
const DEFAULT_MASK: Attributes = Attributes { flags: u64::MAX, xfrm: 0xFFFF_FFFF_FFF9_FF1B };

/// A key of Gramine's file `_sgx_mrenclave`: EGETKEY under MRENCLAVE at the versions that run, with a KEYID of zeros.
///
/// Nothing of it can be chosen, so it is the same for every sealing, and an update of the microcode ends it: the versions are
/// recorded to say so, not to ask for them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KeyFileRequest {
    /// The measurement of the enclave that sealed.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub mrenclave: [u8; 32],
    /// Its product id.
    #[n(1)]
    pub isv_prod_id: u16,
    /// Its security version.
    #[n(2)]
    pub isvsvn: u16,
    /// The processor's security version; opaque.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub cpusvn: [u8; 16],
    /// Its ATTRIBUTES.FLAGS.
    #[n(4)]
    pub flags: u64,
    /// Its ATTRIBUTES.XFRM.
    #[n(5)]
    pub xfrm: u64,
    /// Its MISCSELECT.
    #[n(6)]
    pub misc_select: u32,
}

impl KeyFileRequest {
    /// The request of the key that `identity` has now.
    pub(crate) fn new(policy: &Policy, identity: &SgxIdentity) -> Result<Self, Error> {
        policy.check()?;
        if *policy != Policy::measurement() {
            let what = "bind to anything but the measurement";
            return Err(Error::Unsupported { machine: "Gramine's key file", what });
        }
        Ok(Self {
            mrenclave: identity.mrenclave,
            isv_prod_id: identity.isv_prod_id,
            isvsvn: identity.isv_svn,
            cpusvn: identity.cpusvn,
            flags: identity.attributes.flags,
            xfrm: identity.attributes.xfrm,
            misc_select: identity.misc_select,
        })
    }

    /// Refuses what no sealing writes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.mrenclave == [0; 32] {
            return Err(Error::InvalidRequest("MRENCLAVE is zero"));
        }
        if self.flags & flags::INIT == 0 {
            return Err(Error::InvalidRequest("it claims an enclave that was never started"));
        }
        Ok(())
    }

    /// Whether everything that always enters the key is as recorded.
    pub(crate) fn fits(&self, identity: &SgxIdentity) -> Result<(), Error> {
        same_kind_of_processor(&self.cpusvn, &identity.cpusvn)?;
        let (product, svn) = (identity.isv_prod_id, identity.isv_svn);
        let (forced, found) = (self.flags & FORCED, identity.attributes.flags & FORCED);
        Mismatch::check("MRENCLAVE", &self.mrenclave, &identity.mrenclave)?;
        Mismatch::check("ISVPRODID", &self.isv_prod_id.to_be_bytes(), &product.to_be_bytes())?;
        Mismatch::check("ATTRIBUTES", &forced.to_be_bytes(), &found.to_be_bytes())?;
        Mismatch::check("ISVSVN", &self.isvsvn.to_be_bytes(), &svn.to_be_bytes())?;
        Mismatch::check("CPUSVN", &self.cpusvn, &identity.cpusvn)
    }

    /// Whether something differs that enters the key by Gramine's defaults, and not under every manifest.
    pub(crate) fn is_for_the_manifest_to_say(&self, identity: &SgxIdentity) -> bool {
        let Attributes { flags, xfrm } = identity.attributes;
        (self.flags ^ flags) & DEFAULT_MASK.flags != 0
            || (self.xfrm ^ xfrm) & DEFAULT_MASK.xfrm != 0
            || self.misc_select != identity.misc_select
    }
}
