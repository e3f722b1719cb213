//! The request of a TDX guest to its key provider, as a slot records it.

use minicbor::{Decode, Encode};

use crate::{Error, GuestBinding, Mismatch, TdxIdentity};

/// Which key a TDX guest got from which provider, and for which registers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ProviderRequest {
    /// The root that the key was derived from.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub root_id: [u8; 16],
    /// MRENCLAVE of the provider that was accepted when sealing.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub provider: [u8; 32],
    /// The hash of the provider authority's key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub authority: [u8; 32],
    /// The key's path.
    #[n(3)]
    pub path: String,
    /// The key's purpose.
    #[n(4)]
    pub purpose: String,
    /// The guest that sealed, register by register.
    #[n(5)]
    pub guest: GuestRegisters,
    /// To what of the guest the key is bound. That to the measurement takes no room in the encoding.
    #[n(6)]
    pub binding: GuestBinding,
}

/// The registers of the binding `measurement`. MRSEAM and TCB SVNs are not among them: an update of the TDX module must
/// not change keys.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
#[allow(missing_docs, reason = "each is named and described in TdxIdentity")]
pub struct GuestRegisters {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub mrtd: [u8; 48],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub rtmr0: [u8; 48],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub rtmr1: [u8; 48],
    #[cbor(n(3), with = "minicbor::bytes")]
    pub rtmr2: [u8; 48],
    #[cbor(n(4), with = "minicbor::bytes")]
    pub rtmr3: [u8; 48],
    #[cbor(n(5), with = "minicbor::bytes")]
    pub mrconfigid: [u8; 48],
    #[cbor(n(6), with = "minicbor::bytes")]
    pub mrowner: [u8; 48],
    #[cbor(n(7), with = "minicbor::bytes")]
    pub mrownerconfig: [u8; 48],
    #[cbor(n(8), with = "minicbor::bytes")]
    pub mrservicetd: [u8; 48],
}

impl GuestRegisters {
    /// The names of the registers, in the order in which a key derivation takes them.
    pub const NAMES: [&'static str; 9] =
        ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3", "MRCONFIGID", "MROWNER", "MROWNERCONFIG", "MRSERVICETD"];

    /// Name and value of each register, in the order in which a key derivation takes them.
    pub fn named(&self) -> [(&'static str, &[u8; 48]); 9] {
        let values = [
            &self.mrtd,
            &self.rtmr0,
            &self.rtmr1,
            &self.rtmr2,
            &self.rtmr3,
            &self.mrconfigid,
            &self.mrowner,
            &self.mrownerconfig,
            &self.mrservicetd,
        ];
        let mut values = values.into_iter();
        Self::NAMES.map(|name| (name, values.next().expect("there are as many names as values")))
    }
}

impl From<&TdxIdentity> for GuestRegisters {
    fn from(identity: &TdxIdentity) -> Self {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = identity.rtmr;
        Self {
            mrtd: identity.mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            mrconfigid: identity.mrconfigid,
            mrowner: identity.mrowner,
            mrownerconfig: identity.mrownerconfig,
            mrservicetd: identity.mrservicetd,
        }
    }
}

impl ProviderRequest {
    /// Refuses what no sealing writes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.guest.mrtd == [0; 48] {
            return Err(Error::InvalidRequest("the guest's MRTD is zero"));
        }
        self.binding.check().map_err(|_| Error::InvalidRequest("no guest's key is bound to what it names"))
    }

    /// Whether the provider alone can say if this guest may have the key: it is another one than sealed, and not bound by
    /// its measurement.
    pub(crate) fn is_for_the_provider_to_say(&self, identity: &TdxIdentity) -> bool {
        self.binding != GuestBinding::Measurement && self.guest != GuestRegisters::from(identity)
    }

    pub(crate) fn fits(&self, identity: &TdxIdentity) -> Result<(), Error> {
        if self.binding != GuestBinding::Measurement {
            return Ok(());
        }
        let here = GuestRegisters::from(identity);
        for ((register, claimed), (_, found)) in self.guest.named().into_iter().zip(here.named()) {
            Mismatch::check(register, claimed, found)?;
        }
        Ok(())
    }
}
